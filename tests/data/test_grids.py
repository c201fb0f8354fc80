"""Tests of inside/data/grids.py."""

import matplotlib.pyplot as plt
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from inside.data.grids import captions, draw_samples, plot_augmentation, plot_images, short_paths
from inside.data.loading import make_transform
from inside.data.sources import open_dataset
from inside.data.table import decode_images

GRAY = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}


def table_of(folder, tmp_path, **options):
    images, bad = decode_images(open_dataset(str(folder), data=tmp_path / "data"), cache=tmp_path / "cache", **options)
    return images.table, bad


WORDS = st.text("ab/1.x…", min_size=1, max_size=70)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(WORDS, max_size=12), st.integers(4, 30))
def test_short_paths_differ_where_paths_do(paths, width):
    shown = short_paths(paths, width)
    assert len(set(shown)) == len(set(paths)) and all(len(line) <= width for text in shown for line in text.split("\n"))
    for path, text in zip(paths, shown, strict=True):
        text = text.replace("\n", "")
        assert path.endswith(text) or (text[0] == "…" and path.endswith(text[1:]) and len(text) <= len(path))


def test_captions_tell_the_images_of_a_grid_apart():
    """Photographs are often numbered anew in each class folder: the number alone names several of them."""
    paths = ["buildings/1.jpg", "street/1.jpg", "buildings/a very long name of an image 1.jpg", "street/a very long name of an image 1.jpg"]
    table = pd.DataFrame({"path": paths, "label": ["buildings", "street"] * 2, "predicted": "street", "prob_street": 0.5, "prob_buildings": 0.5})
    texts, colors = captions(table, None, {"street/1.jpg": "‡ "})
    first = [text.split("\ntrue")[0] for text in texts]
    assert first[:2] == ["buildings/1.jpg", "‡ street/1.jpg"] and len(set(first)) == 4
    assert texts[0].endswith("\ntrue: buildings\npredicted: street\nscore: 0.500") and colors[0] != colors[1] == colors[3]


def test_samples_are_different_images_of_each_class(make_folder, tmp_path):
    folder = make_folder({"class 10": 1, "class 2": 5} | {f"x{number}": 2 for number in range(12)})
    table, _ = table_of(folder, tmp_path)
    for seed in range(5):
        sample = draw_samples(table, seed=seed)
        assert sample["path"].is_unique and sample["label"].value_counts().drop("class 10").eq(2).all()
        assert list(sample["label"].unique()) == [*["class 2", "class 10"], *(f"x{number}" for number in range(10))]
    assert not draw_samples(table, seed=0).equals(draw_samples(table, seed=1))


def test_every_row_of_the_augmentation_names_its_image(make_folder, tmp_path):
    folder = make_folder({"a": 1, "b": 1})
    table, _ = table_of(folder, tmp_path)
    transforms = {kind: make_transform(GRAY, 16, name) for kind, name in (("eval", "none"), ("train", "light"))}
    fig = plot_augmentation(table, folder, transforms, GRAY, seed=0, draws=2)
    assert [ax.get_xlabel() for ax in fig.axes] == ["a/0.png\nas evaluated", "", "", "b/0.png\nas evaluated", "", ""]
    plt.close(fig)


def test_captions_are_no_formulas():
    fig = plot_images([Image.new("L", (4, 4))], ["$\\frac$ a_b $x$"], columns=1, title="$\\nothing$")
    fig.canvas.draw()
    assert fig.axes[0].get_xlabel() == "$\\frac$ a_b $x$"
    plt.close(fig)
