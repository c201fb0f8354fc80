"""Tests of inside/data/augmentation.py."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torchvision.transforms import v2

from inside.data.augmentation import CROPS, RATIOS, Augmentation, crop_boxes, draw_numbers
from inside.data.demo.scenes import draw_scene
from inside.data.transforms import make_transform
from shared.images import GRAY

BILINEAR = v2.InterpolationMode.BILINEAR


def many(n, seed=0):
    return draw_numbers((seed, 1, f"{number}.png") for number in range(n))


def test_numbers_are_uniform_and_independent_of_each_other_and_of_epoch_seed_and_name():
    numbers = many(4000)
    assert numbers.shape == (4000, 32) and 0 <= numbers.min() and numbers.max() < 1
    assert min(stats.kstest(column, "uniform").pvalue for column in numbers.T) > 1e-4
    others = [draw_numbers((seed, epoch, f"{number}.png") for number in range(4000)) for seed, epoch in ((1, 1), (0, 2))]
    together = np.corrcoef(np.hstack([numbers, *others]).T)
    assert np.abs(together - np.eye(len(together))).max() < 0.08
    assert np.array_equal(numbers, many(4000))


@pytest.mark.parametrize("size", [(32, 32), (150, 100), (40, 400)], ids=str)
@pytest.mark.parametrize("kind", CROPS)
def test_crops_are_distributed_as_those_of_torchvision(kind, size):
    height, width = size
    boxes = crop_boxes(many(1500), np.full(1500, height), np.full(1500, width), CROPS[kind])
    crop = v2.RandomResizedCrop(32, scale=CROPS[kind], ratio=RATIOS)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [crop.make_params([torch.empty(3, height, width)]) for _ in range(1500)]
    for place, name in enumerate(("top", "left", "height", "width")):
        assert stats.ks_2samp(boxes[:, place], [one[name] for one in drawn]).pvalue > 1e-3, name
    assert (boxes[:, 0] + boxes[:, 2] <= height).all() and (boxes[:, 1] + boxes[:, 3] <= width).all() and boxes.min() >= 0


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [20, 32, 48])
def test_a_batch_is_augmented_as_its_images_one_by_one(size, interpolation):
    images = [draw_scene("street", seed=0, index=index).resize((32, 32)) for index in range(16)]
    transform, numbers = make_transform(GRAY | {"interpolation": interpolation}, size, "light"), many(16)
    assert transform.takes_batches(32, 32)
    cuts = transform.augmentation.cuts(numbers, np.full(16, 32), np.full(16, 32))
    together = transform.batch(torch.stack([v2.functional.pil_to_tensor(image) for image in images]), cuts)
    levels = (together - transform.images(images, numbers)).abs() * 255 / 2  # normalised by 0.5
    assert levels.mean() < 0.4 and levels.quantile(0.999) < (1.05 if interpolation == "bilinear" else 3)  # Pillow rounds, twice


def test_what_is_drawn_image_by_image_is_not_taken_in_batches():
    assert not Augmentation("strong", 32, BILINEAR).takes_batches
    assert not Augmentation("light", 32, v2.InterpolationMode.NEAREST).takes_batches
    assert not make_transform(GRAY, 32).takes_batches(16, 16) and make_transform(GRAY, 32).takes_batches(32, 32)


def test_strong_augmentation_colours_and_erases_some_images():
    image = Image.new("RGB", (64, 64), (200, 60, 60))
    transform = make_transform(GRAY, 64, "strong")
    drawn = transform.images([image] * 60, many(60))
    assert torch.equal(drawn, transform.images([image] * 60, many(60)))
    erased = (drawn == 0).flatten(1).sum(1)
    assert 5 <= (erased > 50).sum() <= 25  # a quarter
    assert len({round(float(one.max()), 4) for one in drawn}) > 5
