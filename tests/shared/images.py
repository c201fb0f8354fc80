"""Tables of images that tests of data share."""

import numpy as np
from PIL import Image

from inside.data.sources import open_dataset
from inside.data.table import decode_images


def table_of(folder, tmp_path, **options):
    images, bad = decode_images(open_dataset(str(folder), data=tmp_path / "data"), cache=tmp_path / "cache", **options)
    return images.table, bad


GRAY = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}


def write_images(folder, paths):
    """Different noise images of 12×10 pixels at these paths below a folder."""
    rng = np.random.default_rng(0)
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (10, 12, 3), dtype=np.uint8)).save(folder / path)
