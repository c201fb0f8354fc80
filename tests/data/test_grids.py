"""Tests of inside/data/grids.py."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from PIL import Image

from inside.data.grids import FRAMES, captions, draw_augmentation, draw_samples, plot_images, plot_predictions, short_paths
from inside.data.transforms import make_transform
from shared.images import GRAY, table_of

WORDS = st.text("ab/1.x…", min_size=1, max_size=70)


@settings(max_examples=60, deadline=None, derandomize=True)
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
    texts = captions(table, None, {"street/1.jpg": "‡ "})
    first = [text.rpartition("\n")[0] for text in texts]
    assert first[:2] == ["buildings/1", "‡ street/1"] and len(set(first)) == 4
    assert [text.rpartition("\n")[2] for text in texts] == ["0.500 → street", "0.500"] * 2
    same = table.assign(path=["a/1.jpg", "a/1.png", "a/2.png", "a/3.png"])  # told apart by the ending alone
    assert len(set(captions(same, None, {}))) == 4 and captions(same, None, {})[0].startswith("a/1.jpg")


def test_frames_and_signs_tell_what_is_right(make_folder):
    root = make_folder({"a": 2, "b": 1})
    table = pd.DataFrame({"path": ["a/0.png", "a/1.png", "b/0.png"], "label": ["a", "a", "b"], "predicted": ["a", "b", "b"], "prob_a": 0.5, "prob_b": 0.5})
    fig = plot_predictions(table, root, columns=2, titles=["a title that is longer than an image is wide" * 2, "second"])
    signs = [ax.texts[0] for ax in fig.axes if ax.get_visible()]
    assert [sign.get_text() for sign in signs] == ["✓", "✗", "✓"] and FRAMES[True][1] != FRAMES[False][1]
    for ax, sign, right in zip(fig.axes, signs, (True, False, True), strict=False):
        assert to_hex(ax.spines["left"].get_edgecolor()) == to_hex(sign.get_bbox_patch().get_facecolor()) == FRAMES[right][1]
    assert [ax.texts[-1].get_text()[-6:] for ax in fig.axes[::2]] == ["s wide", "second"] and not fig.axes[3].get_visible()
    fig.canvas.draw()
    assert fig.axes[0].get_position().width > 0.42  # a title longer than an image does not push its neighbour away
    plt.close(fig)


def test_samples_are_different_images_of_each_class(make_folder, tmp_path):
    folder = make_folder({"class 10": 1, "class 2": 5} | {f"x{number}": 2 for number in range(12)})
    table, _ = table_of(folder, tmp_path)
    for seed in range(5):
        sample = draw_samples(table, seed=seed)
        assert sample["path"].is_unique and sample["label"].value_counts().drop("class 10").eq(2).all()
        assert list(sample["label"].unique()) == [*["class 2", "class 10"], *(f"x{number}" for number in range(10))]
    assert not draw_samples(table, seed=0).equals(draw_samples(table, seed=1))


def test_draws_of_an_augmentation(make_folder):
    folder = make_folder({"a": 1})
    transforms = {kind: make_transform(GRAY, 16, name) for kind, name in (("eval", "none"), ("train", "light"))}
    drawn = [np.asarray(picture).astype(int) for picture in draw_augmentation(folder / "a/0.png", transforms, GRAY, seed=0, draws=3)]
    again = [np.asarray(picture).astype(int) for picture in draw_augmentation(folder / "a/0.png", transforms, GRAY, seed=0, draws=3)]
    other = [np.asarray(picture).astype(int) for picture in draw_augmentation(folder / "a/0.png", transforms, GRAY, seed=1, draws=3)]
    assert len(drawn) == 4 and all((one == two).all() for one, two in zip(drawn, again, strict=True))
    assert (drawn[0] == other[0]).all() and (drawn[1] != other[1]).any() and (drawn[1] != drawn[2]).any()
    same = draw_augmentation(folder / "a/0.png", {kind: transforms["eval"] for kind in transforms}, GRAY, seed=0)
    assert len(same) == 8 and all(np.array_equal(same[0], picture) for picture in same)


def test_captions_are_no_formulas():
    fig = plot_images([Image.new("L", (4, 4))], ["$\\frac$ a_b $x$"], columns=1, titles=["$\\nothing$"])
    fig.canvas.draw()
    assert fig.axes[0].get_xlabel() == "$\\frac$ a_b $x$" and fig.axes[0].texts[0].get_text() == "$\\nothing$"
    plt.close(fig)
