"""Tests of inside/attribution/objects.py: what is shown of the objects that a detector finds."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from inside.attribution.as_it_is import draw_examples
from inside.attribution.objects import (
    LARGEST,
    ObjectsFound,
    describe_objects,
    look_for_objects,
    objects_results,
    report_objects,
)
from inside.data.sources import ImageSet
from inside.models.detectors import Objects


class Bright(nn.Module):
    """Finds one object, around what is bright, and in red images a second one, half as sure."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images):
        places = (images[0].amax(0) > 0.3).nonzero()
        box = torch.cat([places.min(0).values.flip(0), places.max(0).values.flip(0) + 1]).float()
        n = 2 if images[0][0].max() > 0.9 else 1
        return [{"boxes": box.repeat(n, 1), "labels": torch.tensor([1, 2][:n]), "scores": torch.tensor([0.9, 0.6][:n])}]


@pytest.fixture
def look(tmp_path, monkeypatch):
    """look({class: colour, ...}): what `Bright` finds in images with a rectangle of that colour."""
    monkeypatch.setattr("inside.attribution.objects.build_detector", lambda name: (Bright().eval(), ["nothing", "cat", "a$b$"]))

    def of(colors, detector="bright", size=(40, 30)):
        for name, color in colors.items():
            image = Image.new("RGB", size)
            image.paste(color, (size[0] // 4, size[1] // 3, size[0] // 2, size[1]))
            image.save(tmp_path / f"{name}.png")
        table = pd.DataFrame({"path": [f"{name}.png" for name in colors], "label": list(colors)})
        return look_for_objects(ImageSet("set", tmp_path, table, ""), detector, device=torch.device("cpu"))
    return of


COLORS = {"b": (255, 0, 0), "a": (0, 200, 0), "c10": (0, 0, 255), "c2": (255, 255, 255)}


def test_objects_are_counted_by_kind(look):
    found = look(COLORS)
    assert found.labels == ["a", "b", "c2", "c10"] and [list(each.names) for each in found.objects] == [["cat"], ["cat", "a$b$"], ["cat", "a$b$"], ["cat"]]
    assert found.objects[0].boxes == [[10, 10, 20, 30]] and found.pictures[0].shape == (30, 40, 3)
    assert found.table.to_dict("list") == {"object": ["cat", "a$b$"], "count": [4, 2], "images": [4, 2], "mean score": pytest.approx([0.9, 0.6])}
    assert json.loads(json.dumps(objects_results(found))) == {"objects_reason": None, "objects": {
        "detector": "bright", "images": 4, "least_score": 0.5, "counts": {"cat": 4, "a$b$": 2}}}


def test_the_report_shows_boxes_and_numbers(look):
    figure, table = report_objects(look(COLORS))
    assert figure.caption.startswith("The detector finds 6 objects in 4 of the 4 images: 4 cat and 2 a$b$. One image per class")
    assert "a: 1 cat; b: 1 cat and 1 a$b$; c2: " in figure.alt and table.caption.startswith("Most frequent: cat, 4 in 4 of the images.")
    axes = figure.drawing.axes
    assert [len(ax.patches) for ax in axes[:4]] == [2, 4, 4, 2]  # a white line below each
    box = axes[0].patches[-1]
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == (9.5, 9.5, 10, 20)
    assert [text.get_text() for text in axes[1].texts] == ["cat 0.90", "a$b$ 0.60"] and axes[0].get_title() == "a"


def test_large_images_are_reduced(look):
    found = look({"a": (255, 0, 0)}, size=(2 * LARGEST, 300))
    assert found.pictures[0].shape == (150, LARGEST, 3) and found.objects[0].boxes[0][3] == 150


def test_images_without_objects():
    none = ObjectsFound("x", ["a"], [np.zeros((8, 8, 3), np.uint8)], [Objects([], [], [])])
    assert describe_objects(none) == "The detector finds no object in the 1 image." and none.table.empty
    (figure,) = report_objects(none)
    assert "a: none" in figure.alt
    one = ObjectsFound("x", ["a", "b"], none.pictures * 2, [Objects([[0, 0, 4, 4]], ["cat"], [0.7]), *none.objects])
    assert describe_objects(one) == "The detector finds 1 object in 1 of the 2 images: 1 cat."


def test_objects_of_one_kind_in_one_image():
    several = Objects([[0, 0, 4, 4]] * 3, ["cat", "cat", "dog"], [0.9, 0.7, 0.6])
    found = ObjectsFound("x", ["a", "b"], [np.zeros((8, 8, 3), np.uint8)] * 2, [several, Objects([], [], [])])
    assert found.table.to_dict("list") == {"object": ["cat", "dog"], "count": [2, 1], "images": [1, 1], "mean score": pytest.approx([0.8, 0.6])}
    assert describe_objects(found) == "The detector finds 3 objects in 1 of the 2 images: 2 cat and 1 dog."


@pytest.mark.parametrize("detector, reason", [("", 'DETECTOR is ""'), ("unknown", "it has no weights")])
def test_why_nothing_is_looked_for(look, monkeypatch, detector, reason):
    def refuse(name):
        raise ValueError("it has no weights.")
    monkeypatch.setattr("inside.attribution.objects.build_detector", refuse)
    found = look(COLORS, detector)
    (text,) = report_objects(found)
    assert text.markdown.startswith("Left out: ") and reason in text.markdown and re.fullmatch(r"[^\n]+[^.]\.", text.markdown)
    assert objects_results(found)["objects"] is None and reason in objects_results(found)["objects_reason"]


def test_the_images_are_those_of_the_guesses():
    table = pd.DataFrame({"path": list("abcdefgh"), "label": ["x", "y"] * 4}, index=range(10, 18))
    drawn = draw_examples(table, seed=3)
    assert drawn["label"].tolist() == ["x", "y"] and (table["path"].iloc[drawn.index] == drawn["path"].to_numpy()).all()
    assert drawn.equals(draw_examples(table, seed=3)) and not all(drawn.equals(draw_examples(table, seed=seed)) for seed in range(5))
