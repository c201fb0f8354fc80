"""The augmentation of training images: what is drawn for an image, and how it is applied.

All that is drawn follows from seed, epoch and image alone, whatever batches, workers and processes there are.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from inside.data.threads import spread

CROPS = {"light": (0.7, 1.0), "strong": (0.4, 1.0)}  # the share of an image's area that a crop has
RATIOS = (3 / 4, 4 / 3)  # width to height of a crop
ATTEMPTS = 10
TOP, LEFT, FLIP, COLOURS, ERASING = 20, 21, 22, 24, 26  # where the numbers of an image stand after those of its crop's size


def draw_numbers(draws: Iterable[tuple[int, int, str]]) -> np.ndarray:
    """32 numbers in [0, 1) for each of N draws (seed, epoch, name of an image): (N, 32) float64, the bits of BLAKE2b."""
    digests = (hashlib.blake2b(f"{seed}/{epoch}/{image}".encode(errors="surrogateescape")).digest()
               for seed, epoch, image in draws)
    return np.frombuffer(b"".join(digests), "<u2").reshape(-1, 32) / 2**16


def any_draw() -> tuple[int, int, str]:
    """A draw of torch's generator, for an image that belongs to no epoch."""
    return int(torch.randint(2**31, ())), 0, ""


def crop_boxes(numbers: np.ndarray, heights: np.ndarray, widths: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """Random crops of images, (N, 4) whole numbers of pixels: top, left, height, width.

    As `v2.RandomResizedCrop` draws them (Szegedy et al. 2015): a share of the area, uniform in `scale`, and a ratio of the
    sides, log-uniform in RATIOS; the first of ten attempts that fits, else the largest crop of a valid ratio, centred.
    """
    area = (heights * widths)[:, None] * (scale[0] + (scale[1] - scale[0]) * numbers[:, :ATTEMPTS])
    low, high = np.log(RATIOS)
    ratio = np.exp(low + (high - low) * numbers[:, ATTEMPTS:2 * ATTEMPTS])
    tall, wide = (np.sqrt(area / ratio).round().astype(int), np.sqrt(area * ratio).round().astype(int))
    fits = (tall >= 1) & (wide >= 1) & (tall <= heights[:, None]) & (wide <= widths[:, None])
    rows, first, found = np.arange(len(fits)), fits.argmax(1), fits.any(1)
    tall = np.where(found, tall[rows, first], np.minimum(heights, (widths / RATIOS[0]).round().astype(int)))
    wide = np.where(found, wide[rows, first], np.minimum(widths, (heights * RATIOS[1]).round().astype(int)))
    top = np.where(found, np.floor(numbers[:, TOP] * (heights - tall + 1)), (heights - tall) // 2)
    left = np.where(found, np.floor(numbers[:, LEFT] * (widths - wide + 1)), (widths - wide) // 2)
    return np.stack([top, left, tall, wide], 1).astype(int)


class Augmentation:
    """Random crops, resized to size × size pixels, and flips, all by the numbers of `draw_numbers`.

    `kind`: "light" (crops of 70-100% of the area) or "strong" (40-100%, then TrivialAugment, Müller and Hutter 2021, and
    random erasing, Zhong et al. 2017).
    """

    def __init__(self, kind: str, size: int, interpolation: v2.InterpolationMode):
        self.kind, self.size, self.interpolation = kind, size, interpolation
        self.colours = v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR)
        self.erasing = v2.RandomErasing(0.25)

    def one_by_one(self, images: Sequence[PILImage.Image], numbers: np.ndarray) -> list[PILImage.Image]:
        """N images, each resized to size × size pixels, by their rows of `numbers` (N, 32)."""
        heights, widths = np.array([image.height for image in images]), np.array([image.width for image in images])
        boxes = crop_boxes(numbers, heights, widths, CROPS[self.kind]).tolist()
        each = list(zip(images, boxes, numbers, strict=True))
        if self.kind == "strong":  # whose colours are drawn from generators that threads share
            return [self._image(*of_image) for of_image in each]
        return spread(lambda of_image: self._image(*of_image), each)

    def _image(self, image: PILImage.Image, box: list[int], numbers: np.ndarray) -> PILImage.Image:
        image = functional.resized_crop(image, *box, [self.size, self.size], self.interpolation)
        image = functional.horizontal_flip(image) if numbers[FLIP] < 0.5 else image
        if self.kind == "strong":
            with _seeded(numbers[COLOURS:]):
                image = self.colours(image)
        return image

    def erase(self, images: Tensor, numbers: np.ndarray) -> Tensor:
        """Normalised images (N, C, size, size), a rectangle of some set to zero where the kind is "strong"."""
        if self.kind == "strong":
            for place, of_image in enumerate(numbers):
                with _seeded(of_image[ERASING:]):
                    images[place] = self.erasing(images[place])
        return images

    @property
    def takes_batches(self) -> bool:
        """Whether `batch` gives what `one_by_one` gives, up to rounding."""
        return self.kind == "light" and self.interpolation in KERNELS

    def cuts(self, numbers: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> Tensor:
        """Crops of images of these sizes, as `crop_boxes` gives them, and 1 for those to be flipped: (N, 5) int."""
        boxes = crop_boxes(numbers, heights, widths, CROPS[self.kind])
        return torch.from_numpy(np.column_stack([boxes, numbers[:, FLIP] < 0.5]))

    def batch(self, images: Tensor, cuts: Tensor) -> Tensor:
        """Images (N, C, H, W) uint8, cropped, resized and flipped by `cuts`: float32 (N, C, size, size) from 0 to 1.

        Resizing is linear along each axis, so it is two matrix products; the images may be padded below and to the right.
        """
        n, _, height, width = images.shape
        starts, lengths = cuts[:, :2].T.flatten(), cuts[:, 2:4].T.flatten()  # of the rows, then of the columns
        weights = resizing(starts, lengths, max(height, width), self.size, self.interpolation)
        rows, columns = weights[:n, :, :height], weights[n:, :, :width]
        columns = torch.where(cuts[:, 4, None, None] == 1, columns.flip(1), columns)
        return (rows[:, None] @ images.float() @ columns[:, None].mT).clamp(0, 255) / 255


def resizing(starts: Tensor, lengths: Tensor, total: int, size: int, interpolation: v2.InterpolationMode) -> Tensor:
    """The weights of `total` pixels in each of `size` resized ones, of N crops (start, length) of a line: (N, size, total).

    Those of Pillow: a kernel about the middle of each new pixel, as wide as a new one where lines get shorter, within the
    crop. Pillow rounds its result, and that after the first axis, to whole numbers.
    """
    starts, scale = starts[:, None, None].float(), lengths[:, None, None].float() / size
    middles = starts + scale * (torch.arange(size, device=starts.device)[:, None] + 0.5)
    pixels = torch.arange(total, device=starts.device) + 0.5
    weights = KERNELS[interpolation](((pixels - middles) / scale.clamp(min=1)).abs())
    weights = weights * ((pixels > starts) & (pixels < starts + scale * size))
    return weights / weights.sum(-1, keepdim=True)


def _triangle(distance: Tensor) -> Tensor:
    return (1 - distance).clamp(min=0)


def _cubic(distance: Tensor) -> Tensor:
    """Keys 1981, with a = -0.5."""
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((5 - distance) * distance - 8) * distance / 2 + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))


KERNELS = {v2.InterpolationMode.BILINEAR: _triangle, v2.InterpolationMode.BICUBIC: _cubic}


@contextlib.contextmanager
def _seeded(numbers: np.ndarray) -> Iterator[None]:
    """The draws of torchvision's transforms follow from two of an image's numbers, the first, while the block runs."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(numbers[0] * 2**32 + numbers[1] * 2**16))
        yield
