"""From files to batches: the data set, transforms, loaders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.transforms import v2

from inside.data.table import load_image
from inside.names import AUGMENTATIONS
from inside.text import did_you_mean


class ImageDataset(Dataset):
    """The images of a table (columns path, label) below `root`: (transformed image, index of the class)."""

    def __init__(self, table: pd.DataFrame, root: Path, classes: Sequence[str], transform: Callable):
        self.paths = [str(Path(root) / path) for path in table["path"]]
        number = {label: place for place, label in enumerate(classes)}
        self.targets = [number[label] for label in table["label"]]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(load_image(self.paths[index])), self.targets[index]


def make_transform(preprocessing: Mapping, image_size: int, augmentation: str = "none", *,
                   reduced: int | None = None) -> v2.Compose:
    """PIL image -> normalised (3, image_size, image_size) float32; the whole image is resized, nothing is cropped.

    Augmentation is drawn afresh for each image: "light" random resized crops (70-100 % of the area) and flips, "strong"
    wider crops, plus TrivialAugment (Müller and Hutter 2021) and random erasing. Mean, standard deviation
    and interpolation come from `preprocessing`, which belongs to the weights. `reduced` first shrinks the image to that
    many pixels per side, for the resolution control of notebook 03. With channels 1 in `preprocessing`, images become grey.
    """
    if augmentation not in AUGMENTATIONS:
        raise ValueError(f"AUGMENTATION = {augmentation!r} is not valid: {did_you_mean(augmentation, AUGMENTATIONS)}")
    interpolation = v2.InterpolationMode(preprocessing["interpolation"])
    size = (image_size, image_size)
    crop = {"light": (0.7, 1.0), "strong": (0.4, 1.0)}
    first = [v2.Resize(size, interpolation)] if augmentation == "none" else [
        v2.RandomResizedCrop(size, scale=crop[augmentation], interpolation=interpolation), v2.RandomHorizontalFlip()]
    strong = augmentation == "strong"
    return v2.Compose([
        *([v2.Grayscale(1)] if preprocessing.get("channels") == 1 else []),
        *([v2.Resize((reduced, reduced), interpolation)] if reduced else []),
        *first,
        *([v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR)] if strong else []),
        v2.ToImage(), v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(preprocessing["mean"], preprocessing["std"]), v2.ToPureTensor(),
        *([v2.RandomErasing(0.25)] if strong else []),
    ])


def make_loader(dataset: Dataset, *, batch_size: int, shuffle: bool = False, workers: int = 0) -> DataLoader:
    """A DataLoader with its own generator, which the training loop reseeds every epoch.

    The order, and hence every augmentation, follows from that seed and the number of workers. When shuffled, a last
    batch of one image is dropped, since batch norm cannot work on it.
    """
    return DataLoader(dataset, batch_size=batch_size, shuffle=shuffle, num_workers=workers,
                      generator=torch.Generator(), pin_memory=torch.cuda.is_available(),
                      drop_last=shuffle and len(dataset) > batch_size and len(dataset) % batch_size == 1)


def to_device(images: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Images on the device, in channels_last if they have four axes."""
    layout = {"memory_format": torch.channels_last} if images.ndim == 4 else {}
    return images.to(device, non_blocking=True, **layout)


class TensorImages(TensorDataset):
    """Features or images in memory: tensors (N, ...) and their targets, as a data set with `.targets`."""

    def __init__(self, features: torch.Tensor, targets: Sequence[int]):
        super().__init__(features.clone(), torch.tensor(list(targets)))  # clone: inference tensors cannot be trained on
        self.targets = list(targets)
