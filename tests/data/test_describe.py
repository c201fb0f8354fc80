"""Tests of inside/data/describe.py."""

import numpy as np
import pandas as pd
import pytest

from inside.data.describe import (
    describe_conflicts,
    describe_counts,
    describe_draws,
    describe_overlaps,
    describe_preprocessing,
    describe_sizes,
)
from inside.data.split import split_overlaps


@pytest.mark.parametrize("sizes, told", [
    ({"a": 1}, "The only class has 1 image."), ({"a": 5, "b": 5}, "All 2 classes have 5 images each."),
    ({"a": 1000, "b": 5, "c": 5}, "The classes have from 5 images (b and c) to 1,000 (a).")])
def test_sizes(sizes, told):
    assert describe_sizes(pd.DataFrame({"class": sizes.keys(), "images": sizes.values()})) == told


def test_conflicts_name_the_labels():
    rows = [(0, "b"), (0, "a"), (1, "a"), (1, "b"), (2, "c"), (2, "c"), (3, "c"), (3, "a")]
    table = pd.DataFrame(rows, columns=["group", "label"])
    table["conflicting"] = table.groupby("group")["label"].transform("nunique") > 1
    assert describe_conflicts(table) == "3 groups of identical images carry different labels: a and b (2 groups); a and c."
    assert describe_conflicts(table[table["group"] == 2]) == "No group of identical images carries different labels."


def test_counts():
    counts = pd.DataFrame({"class": ["a", "b", "all"], "train": [700, 300, 1000], "val": [7, 3, 10], "test": [60, 40, 100],
                           "train %": [70.0, 30, 100], "val %": [70.0, 30, 100], "test %": [60.0, 40, 100]})
    told = describe_counts(counts)
    assert told == "1,000 images to train, 10 to validate and 100 to test; the share of a class differs by at most 10.0 percentage points between them."
    assert describe_counts(counts.assign(**{"test %": counts["train %"]})).endswith("; every class has the same share of each.")


def test_overlaps():
    table = pd.DataFrame({"path": ["1", "2", "3", "3"], "sha256": ["x", "x", "y", "z"], "split": ["train", "val", "val", "test"]})
    assert describe_overlaps(split_overlaps(table)) == \
        "train and val share 0 paths and 1 decoded image. val and test share 1 path and 0 decoded images."
    assert describe_overlaps(split_overlaps(table.iloc[[0, 2]])) == \
        "Train, validation and test have no file and no decoded image in common."


def test_draws():
    image = np.full((4, 4, 3), 100, np.uint8)
    assert describe_draws(image, [image, image], "none").startswith("With the augmentation “none” training sees the image as")
    assert "by 10 of 255 levels on average" in describe_draws(image, [image + 10, image - 10], "strong")
    assert "by 10 to 50 of 255 levels on average" in describe_draws(image, [image + 10, image - 50], "strong")


def test_the_preprocessing_is_told_in_words():
    told = describe_preprocessing({"mean": [0.485, 0.456, 0.406], "std": [0.5], "interpolation": "bicubic", "channels": 3})
    assert told == "bicubic interpolation; mean 0.485, 0.456, 0.406 and standard deviation 0.5 of the channels"
