"""Tests of inside/attribution/inputs.py."""

import numpy as np
import pytest
import timm
import torch
import torch.utils.checkpoint
from PIL import Image
from torch import nn

from inside.attribution.inputs import (
    describe_sizes,
    feature_maps_of,
    first_convolution,
    first_filters,
    pick_examples,
)
from shared.attribution import CLASSES, Rectified, images, resnet18, seeded


def test_first_filters():
    filters = first_filters(resnet18())
    assert filters.shape == (64, 7, 7, 3)
    assert (filters.min((1, 2, 3)) == 0).all() and np.allclose(filters.max((1, 2, 3)), 1)
    convolution = nn.Conv2d(1, 2, 2)
    with torch.no_grad():
        convolution.weight[:] = torch.tensor([[[[0.0, 1], [2, 4]]], [[[5.0, 5], [5, 5]]]])
    expected = [[[0, 0.25], [0.5, 1]], [[0, 0], [0, 0]]]
    assert first_filters(convolution).squeeze(-1).tolist() == expected
    for model, words in ((nn.Linear(2, 2), "Linear has no convolution"), (nn.Conv2d(4, 2, 1), "they read 4 channels; expected 1 or 3")):
        with pytest.raises(ValueError, match=words):
            first_filters(model)
    assert first_convolution(resnet18()) == "conv1" and first_convolution(nn.Linear(2, 2)) is None


def test_maps_of_a_layer():
    model, image = Rectified(nn.ReLU(inplace=True)), images(1, 12)[0]
    np.testing.assert_allclose(feature_maps_of(model, image, "conv1"), model.conv1(image[None])[0].detach(), atol=1e-6)
    with pytest.raises(ValueError, match="expected one with positions"):
        feature_maps_of(model, image, "head")
    vit = seeded(timm.create_model, "vit_tiny_patch16_224", num_classes=3)
    tokens = vit.norm(vit.blocks(vit._pos_embed(vit.patch_embed(images(1, 224)))))
    maps = feature_maps_of(vit, images(1, 224)[0], "norm")
    assert maps.shape == (192, 14, 14)  # after the class token, row by row
    np.testing.assert_allclose(maps[:, 2, 5], tokens[0, 1 + 2 * 14 + 5].detach(), atol=1e-4)


def test_images_for_display_are_the_images(inspected):
    inspection, table = inspected
    pictures = inspection.pictures(inspection.load(table["path"]))
    np.testing.assert_allclose(pictures[2] * 255, np.asarray(Image.open(inspection.root / "2.png")), atol=1e-3)


def test_examples(inspected):
    _, table = inspected
    right = pick_examples(table, CLASSES, right=True, per_class=1)
    assert (right["label"] == right["predicted"]).all() and right["label"].is_monotonic_increasing and right["label"].is_unique
    wrong = pick_examples(table, CLASSES, right=False, per_class=1)
    assert (wrong["label"] != wrong["predicted"]).all()
    assert wrong["confidence"].max() == table.iloc[4:]["confidence"].max()  # of each class the most confident one
    draws = {tuple(pick_examples(table, CLASSES, right=True, per_class=1, seed=seed)["path"]) for seed in range(8)}
    assert len(draws) > 1


def test_at_which_size_is_told(inspected):
    inspection, _ = inspected
    other = describe_sizes(inspection, 224)
    assert "images at 32×32 pixels" in other and "trained and tested" in other and "measured at 224×224" in other
    assert "images at 32×32 pixels" in describe_sizes(inspection, 32) and "224" not in describe_sizes(inspection, 32)
