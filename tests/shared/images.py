"""Tables of images that tests of data share."""

from inside.data.sources import open_dataset
from inside.data.table import decode_images


def table_of(folder, tmp_path, **options):
    images, bad = decode_images(open_dataset(str(folder), data=tmp_path / "data"), cache=tmp_path / "cache", **options)
    return images.table, bad


GRAY = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}
