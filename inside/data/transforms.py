"""From decoded images to what a network reads: resized, normalised, and in training augmented."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image as PILImage
from torchvision.transforms import v2

from inside.data.augmentation import Augmentation, any_draw, draw_numbers
from inside.data.pixels import LARGEST_SIDE
from inside.data.threads import spread
from inside.names import AUGMENTATIONS
from inside.text import did_you_mean

Load = Callable[[Any], PILImage.Image]


class Transform:
    """PIL image -> normalised (channels, image_size, image_size) float32, of the whole image or, as evaluated, its middle.

    Of `augmentation`, if any, calls draw afresh from torch's generator; images of a training are given by `Draw`, and with
    them what is drawn. See `make_transform`.
    """

    def __init__(self, preprocessing: Mapping, image_size: int, augmentation: str, reduced: int | None):
        interpolation, channels = v2.InterpolationMode(preprocessing["interpolation"]), preprocessing.get("channels", 3)
        self.size, self.channels, self.mean, self.std = image_size, channels, preprocessing["mean"], preprocessing["std"]
        self.first = v2.Compose([*([v2.Grayscale(1)] if channels == 1 else []),
                                 *([v2.Resize((reduced, reduced), interpolation)] if reduced else []), v2.Identity()])
        shorter = preprocessing.get("resize")
        self.resize = v2.Resize((image_size, image_size), interpolation) if not shorter else v2.Compose(
            [v2.Resize(shorter, interpolation), v2.CenterCrop(image_size)])
        self.augmentation = None if augmentation == "none" else Augmentation(augmentation, image_size, interpolation)
        self.last = v2.Compose([v2.ToDtype(torch.float32, scale=True),
                                v2.Normalize(self.mean, self.std), v2.ToPureTensor()])
        self.plain = channels == 3 and not reduced and not shorter

    def __call__(self, image: PILImage.Image) -> torch.Tensor:
        """One image; with augmentation, a draw of torch's generator."""
        return self.images([image], draw_numbers([any_draw()]) if self.augmentation else None)[0]

    def images(self, items: Iterable[Any], numbers: np.ndarray | None = None, *,
               load: Load = lambda image: image) -> torch.Tensor:
        """N images, normalised (N, channels, size, size), with `numbers` (N, 32) augmented by these (see `draw_numbers`).

        `load` gives the image of an item, by several threads at once; by default the items are images.
        """
        if numbers is None or self.augmentation is None:
            sized = spread(lambda item: v2.functional.pil_to_tensor(self.resize(self.first(load(item)))), items)
            return self.last(torch.stack(sized))
        augmented = self.augmentation.one_by_one(spread(lambda item: self.first(load(item)), items), numbers)
        return self.augmentation.erase(self.last(torch.stack(list(map(v2.functional.pil_to_tensor, augmented)))), numbers)

    def decoded(self, items: Iterable[Any], augmentation: Augmentation, numbers: np.ndarray, *,
                load: Load) -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
        """Images as (channels, height, width) uint8, each with its `cuts` for `batch`; large ones are cut already."""
        images: list[PILImage.Image] = spread(lambda item: self.first(load(item)), items)
        cuts = augmentation.cuts(numbers, *np.array([[image.height, image.width] for image in images]).T)
        for number, image in enumerate(images):
            if max(image.size) > LARGEST_SIDE:
                images[number] = augmentation.one_by_one([image], numbers[number:number + 1])[0]
                cuts[number] = torch.tensor([0, 0, self.size, self.size, 0])
        return zip(map(v2.functional.pil_to_tensor, images), cuts, strict=True)

    def takes_batches(self, height: int, width: int) -> bool:
        """Whether images of this size can be transformed as one tensor, with the same result (augmented: up to rounding)."""
        if self.augmentation is None:
            return self.plain and (height, width) == (self.size, self.size)
        return self.plain and self.augmentation.takes_batches

    def batch(self, images: torch.Tensor, cuts: torch.Tensor | None = None) -> torch.Tensor:
        """As `images`, for N images (N, channels, H, W) uint8 that `takes_batches`, augmented by `cuts`, if any."""
        return self.last(images if self.augmentation is None or cuts is None else self.augmentation.batch(images, cuts))


def make_transform(preprocessing: Mapping, image_size: int, augmentation: str = "none", *,
                   reduced: int | None = None) -> Transform:
    """The transform that gives a network its images: PIL image -> normalised (3, image_size, image_size) float32.

    The whole image is resized, nothing is cropped, unless `preprocessing` has `resize`: then the shorter side is resized to
    that many pixels, and the middle is cut out. Augmentation is drawn for each image: "light" random resized crops
    (70-100% of the area) and flips, "strong" wider crops, plus TrivialAugment and random erasing, see `Augmentation`. Mean,
    standard deviation and interpolation come from `preprocessing`, which belongs to the weights. `reduced` first shrinks the
    image to that many pixels per side, for the resolution control of notebook 03. With channels 1 in `preprocessing`, images
    become grey.
    """
    if augmentation not in AUGMENTATIONS:
        raise ValueError(f"AUGMENTATION = {augmentation!r} is not valid: {did_you_mean(augmentation, AUGMENTATIONS)}")
    return Transform(preprocessing, image_size, augmentation, reduced)
