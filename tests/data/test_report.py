"""Tests of inside/data/report.py."""

import shutil

import pytest
import torch

from inside.data.report import report_augmentation, report_duplicates, report_images, report_split
from inside.data.sources import open_dataset
from inside.data.table import decode_images
from inside.shown import Figure, Fold, Text


def names(shown):
    """The names of figures and tables, those of a fold in brackets."""
    return [names(part.parts) if isinstance(part, Fold) else getattr(part, "name", "text") for part in shown]


def check_captions(shown):
    """Each figure and table has a caption of whole sentences, and text stands under each figure."""
    for part, following in zip(shown, [*shown[1:], None], strict=True):
        if isinstance(part, Fold):
            check_captions(part.parts)
        elif not isinstance(part, Text):
            assert part.caption.endswith(".") and len(part.caption) > 40
            assert not isinstance(part, Figure) or isinstance(following, Text)


@pytest.fixture
def opened(make_folder, tmp_path):
    def opened(**sizes):
        return decode_images(open_dataset(str(make_folder(sizes))), cache=tmp_path / "cache")
    return opened


def test_images_and_what_could_not_be_decoded(opened, make_folder, tmp_path):
    images, bad = opened(cats=3, dogs=4)
    shown = report_images(images, bad, seed=0)
    assert names(shown) == ["text", "image_sizes", "samples", "text"]
    assert "7 images in 2 classes; every file could be decoded" in shown[0].markdown
    assert shown[1].table["images"].tolist() == [3, 4] and shown[1].caption.startswith("The classes have from 3 images (cats) to 4 (dogs).")
    assert all(name in shown[2].alt for name in ("cats/", "dogs/")) and "all have 12 × 10 pixels" in shown[3].markdown
    assert [ax.get_xlabel().split("/")[0] for ax in shown[2].drawing.axes] == ["cats"] * 2 + ["dogs"] * 2  # one row
    check_captions(shown)
    (tmp_path / "images" / "cats" / "9.png").write_text("no image")
    shown = report_images(*decode_images(open_dataset(str(tmp_path / "images")), cache=tmp_path / "cache"), seed=0)
    assert names(shown) == ["text", "image_sizes", ["bad_images"], "samples", "text"] and shown[2].parts[0].table["path"].tolist() == ["cats/9.png"]
    assert "1 file could not be decoded" in shown[0].markdown and "1 of 1: not an image file." in shown[2].parts[0].caption


def test_duplicates_are_shown_where_there_are_any_and_pictures_where_labels_differ(opened, tmp_path):
    images, _ = opened(cats=3, dogs=4)
    assert [type(part) for part in report_duplicates(images)] == [Text]
    folder = tmp_path / "images"
    shutil.copy(folder / "cats" / "0.png", folder / "cats" / "copy.png")
    images, _ = decode_images(open_dataset(str(folder)), cache=tmp_path / "cache")
    assert names(report_duplicates(images)) == ["text", ["duplicates"]]
    shutil.copy(folder / "cats" / "1.png", folder / "dogs" / "wrong.png")
    images, _ = decode_images(open_dataset(str(folder)), cache=tmp_path / "cache")
    shown = report_duplicates(images)
    assert names(shown) == ["text", "label_conflicts", "text", ["duplicates"]] and len(shown[3].parts[0].table) == 4
    assert "cats/1.png; dogs/wrong.png" in shown[1].alt and "copy" not in shown[1].alt
    assert shown[1].caption.startswith("1 group of identical images carries different labels: cats and dogs.")
    assert [type(part) for part in shown] == [Text, Figure, Text, Fold]
    check_captions(shown)


def test_the_split_with_its_sentences(split):
    counts, told = report_split(split, [0.6, 0.2, 0.2])
    assert counts.table["train"].iloc[-1] == len(split.parts["train"]) and told.markdown.startswith("- ")
    assert counts.caption.startswith(f"{len(split.parts['train'])} images to train, ")


def test_the_augmentation_is_one_row_of_one_image(split):
    def transform(image):
        return torch.zeros(3, 8, 8)
    shown, told = report_augmentation(split, {"train": transform, "eval": transform}, {"mean": [0.5] * 3, "std": [0.5] * 3}, seed=0,
                                      augmentation="light")
    paths = [path for path in split.parts["train"]["path"] if path in shown.alt]
    assert len(paths) == 1 and paths[0] in shown.caption and "“light”" in shown.alt
    assert [ax.get_xlabel() for ax in shown.drawing.axes] == ["as evaluated", *(f"draw {number}" for number in range(1, 8))]
    assert told.markdown == "With the augmentation “light” training sees the image as it is evaluated."  # the two transforms are the same
    check_captions([shown, told])
