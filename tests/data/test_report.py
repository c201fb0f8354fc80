"""Tests of inside/data/report.py."""

import shutil

import pytest
import torch

from inside.data.report import report_augmentation, report_duplicates, report_images, report_split
from inside.data.sources import open_dataset
from inside.data.table import decode_images
from inside.shown import Figure, Table, Text


def names(shown):
    return [getattr(part, "name", "text") for part in shown]


@pytest.fixture
def opened(make_folder, tmp_path):
    def opened(**sizes):
        return decode_images(open_dataset(str(make_folder(sizes))), cache=tmp_path / "cache")
    return opened


def test_images_and_what_could_not_be_decoded(opened, make_folder, tmp_path):
    images, bad = opened(cats=3, dogs=4)
    shown = report_images(images, bad, seed=0)
    assert names(shown) == ["text", "image_sizes", "samples"]
    assert "7 images in 2 classes; 0 could not be decoded" in shown[0].markdown
    assert shown[1].table["images"].tolist() == [3, 4] and "cats, dogs" in shown[2].alt
    (tmp_path / "images" / "cats" / "9.png").write_text("no image")
    shown = report_images(*decode_images(open_dataset(str(tmp_path / "images")), cache=tmp_path / "cache"), seed=0)
    assert names(shown) == ["text", "image_sizes", "bad_images", "samples"] and shown[2].table["path"].tolist() == ["cats/9.png"]
    assert "1 could not be decoded" in shown[0].markdown


def test_duplicates_are_shown_where_there_are_any_and_pictures_where_labels_differ(opened, tmp_path):
    images, _ = opened(cats=3, dogs=4)
    assert [type(part) for part in report_duplicates(images)] == [Text]
    folder = tmp_path / "images"
    shutil.copy(folder / "cats" / "0.png", folder / "cats" / "copy.png")
    images, _ = decode_images(open_dataset(str(folder)), cache=tmp_path / "cache")
    assert names(report_duplicates(images)) == ["text", "duplicates"]
    shutil.copy(folder / "cats" / "1.png", folder / "dogs" / "wrong.png")
    images, _ = decode_images(open_dataset(str(folder)), cache=tmp_path / "cache")
    shown = report_duplicates(images)
    assert names(shown) == ["text", "duplicates", "label_conflicts"] and len(shown[1].table) == 4
    assert "cats/1.png; dogs/wrong.png" in shown[2].alt and "copy" not in shown[2].alt
    assert [type(part) for part in shown] == [Text, Table, Figure]


def test_the_split_with_its_sentences(split):
    counts, told = report_split(split, [0.6, 0.2, 0.2])
    assert counts.table["train"].iloc[-1] == len(split.parts["train"]) and told.markdown.startswith("- ")


def test_the_augmentation_shows_three_classes(split):
    def transform(image):
        return torch.zeros(3, 8, 8)
    shown, = report_augmentation(split, {"train": transform, "eval": transform}, {"mean": [0.5] * 3, "std": [0.5] * 3}, seed=0,
                                 augmentation="light")
    paths = [path for path in split.parts["train"]["path"] if path in shown.alt]
    assert len(paths) == len({path.split("/")[0] for path in paths}) == 3 and "“light”" in shown.alt
