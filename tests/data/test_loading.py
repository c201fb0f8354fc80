"""Tests of inside/data/loading.py."""

import pytest
import torch
from PIL import Image

from inside.data.loading import TensorImages, make_loader, make_transform
from shared.images import GRAY


def test_evaluation_is_fixed_and_the_whole_image():
    image = Image.new("RGB", (100, 50), "black")
    image.paste("white", (90, 0, 100, 50))
    tensor = make_transform(GRAY, 32)(image)
    assert tensor.shape == (3, 32, 32) and tensor.dtype == torch.float32
    assert tensor[:, :, 0].max() == -1 and tensor[:, :, -1].min() > 0.9  # the last column, (1 - 0.5) / 0.5 = 1
    assert torch.equal(tensor, make_transform(GRAY, 32)(image))


def test_preprocessing_is_that_of_the_weights():
    image = Image.new("RGB", (40, 40), (255, 0, 51))
    tensor = make_transform({"mean": [0.5, 0.4, 0.2], "std": [0.25, 0.2, 0.1], "interpolation": "bicubic"}, 16)(image)
    assert torch.allclose(tensor.mean((1, 2)), torch.tensor([2.0, -2.0, 0.0]), atol=1e-5)


def test_unknown_augmentation():
    with pytest.raises(ValueError, match="did you mean 'strong'"):
        make_transform(GRAY, 32, "stronk")


def test_a_last_batch_of_one_is_dropped_in_training_only():
    dataset = TensorImages(torch.zeros(9, 3), [0] * 9)
    assert [len(batch[1]) for batch in make_loader(dataset, batch_size=4, shuffle=True)] == [4, 4]
    assert [len(batch[1]) for batch in make_loader(dataset, batch_size=4)] == [4, 4, 1]
