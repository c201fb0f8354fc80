"""From files to batches: the data set, the order of an epoch, loaders."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image as PILImage
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, SequentialSampler
from torchvision.transforms import v2

from inside.data.augmentation import any_draw, draw_numbers
from inside.data.pixels import Pixels, PixelWriter, folder_of_pixels
from inside.data.table import load_image
from inside.data.transforms import Transform
from inside.device import count_cores
from inside.processes import rank, world

SMALL = 64  # pixels: images up to this side stay in memory, as one tensor
IN_MEMORY = 2e9  # bytes of such a tensor, at most


class Draw(NamedTuple):
    """An image of an epoch: its augmentation follows from these."""

    seed: int
    epoch: int
    place: int


class ImageDataset(Dataset):
    """The images of a table (columns path, label) below `root`: (transformed image, index of the class).

    A `Draw` gives an image with the augmentation of its epoch, an index alone one with any. Where the table has the columns
    sha256, width and height, as `decode_images` gives it, pixels come from the cache of decoded images, if they are there;
    images of one size of up to SMALL pixels are read once, into one tensor, and transformed a batch at a time.
    """

    def __init__(self, table: pd.DataFrame, root: Path, classes: Sequence[str], transform: Transform):
        self.names = [str(path) for path in table["path"]]
        self.paths = [str(Path(root) / path) for path in table["path"]]
        number = {label: place for place, label in enumerate(classes)}
        self.targets = [number[label] for label in table["label"]]
        self.transform = transform
        self.undone = False  # whether images are given as decoded, for `LoaderOnDevice`
        self.keys = table["sha256"].tolist() if "sha256" in table else []
        self.pixels = Pixels(folder_of_pixels())
        same = transform.plain and transform.augmentation is None
        self.resized = f"{transform.size} {transform.resize.interpolation.value}" if same else ""
        sizes = set(zip(table["height"], table["width"], strict=True)) if {"height", "width"} <= set(table) else set()
        side = max(max(size) for size in sizes) if len(sizes) == 1 else SMALL + 1
        small = side <= SMALL and len(table) * 3 * side * side <= IN_MEMORY
        self.whole = small and transform.takes_batches(*next(iter(sizes)))
        self._memory: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int | Draw) -> tuple[torch.Tensor, int]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int | Draw]) -> list[tuple[Any, int]]:
        places = _places(indices)
        return list(zip(self._images(places, indices), [self.targets[place] for place in places], strict=True))

    def _images(self, places: Sequence[int], indices: Sequence[int | Draw]) -> Iterable:
        """The images of rows, transformed; if `undone`, as decoded, each with its cuts."""
        transform, augmentation = self.transform, self.transform.augmentation
        if augmentation is None:
            return transform.batch(self.memory[places]) if self.whole else transform.images(places, load=self.image)
        numbers = draw_numbers((each.seed, each.epoch, self.names[each.place]) if isinstance(each, Draw) else any_draw()
                               for each in indices)
        if not self.whole:
            return transform.decoded(places, augmentation, numbers, load=self.image) if self.undone else \
                transform.images(places, numbers, load=self.image)
        found = self.memory[places]
        cuts = augmentation.cuts(numbers, *(np.full(len(places), side) for side in found.shape[2:]))
        return zip(found, cuts, strict=True) if self.undone else transform.batch(found, cuts)

    def image(self, index: int) -> PILImage.Image:
        """The decoded image of a row, from the cache, there possibly resized for the transform, or from its file."""
        keys = [self.keys[index], f"{self.keys[index]} {self.resized}"] if self.keys else []
        kept = next((found for key in keys if (found := self.pixels.get(key)) is not None), None)
        return load_image(self.paths[index]) if kept is None else PILImage.fromarray(kept.numpy())

    def keep_resized(self) -> None:
        """Decode the images that are too large for the cache and keep them there as the transform resizes them."""
        missing = [place for place, key in enumerate(self.keys) if self.resized
                   and key not in self.pixels.places and f"{key} {self.resized}" not in self.pixels.places]
        if len(missing) > 100:
            print(f"{len(missing):,} large images are decoded, and kept as they are evaluated", flush=True)
        if missing:
            resize = lambda place: np.asarray(self.transform.resize(load_image(self.paths[place])))  # noqa: E731
            with PixelWriter(self.pixels.folder) as writer, ThreadPoolExecutor(count_cores()) as pool:
                for place, pixels in zip(missing, pool.map(resize, missing), strict=True):
                    writer.add(f"{self.keys[place]} {self.resized}", pixels)
            self.pixels = Pixels(self.pixels.folder)

    @property
    def memory(self) -> torch.Tensor:
        """All images (N, 3, H, W) uint8, read at the first call."""
        if self._memory is None:
            first = v2.functional.pil_to_tensor(self.image(0))
            self._memory = torch.empty(len(self), *first.shape, dtype=torch.uint8)
            for place in range(len(self)):
                self._memory[place] = v2.functional.pil_to_tensor(self.image(place))
        return self._memory


class TensorImages(Dataset):
    """Features or images in memory: tensors (N, ...) and their targets, as a data set with `.targets`."""

    def __init__(self, features: torch.Tensor, targets: Sequence[int]):
        self.targets = list(targets)
        self.tensors = features.clone(), torch.tensor(self.targets)  # clone: inference tensors cannot be trained on

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int | Draw) -> tuple[torch.Tensor, int]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int | Draw]) -> list[tuple[torch.Tensor, int]]:
        places = _places(indices)
        return list(zip(self.tensors[0][places].unbind(), [self.targets[place] for place in places], strict=True))


def _places(indices: Sequence[int | Draw]) -> list[int]:
    return [each.place if isinstance(each, Draw) else each for each in indices]


class EpochSampler(Sampler[Draw]):
    """The shuffled images of an epoch as `Draw`s: their order follows from seed and epoch, see `begin`."""

    def __init__(self, n: int):
        self.n, self.seed, self.epoch = n, 0, 1

    def begin(self, seed: int, epoch: int) -> None:
        """The epoch that the next iteration gives."""
        self.seed, self.epoch = seed, epoch

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[Draw]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        for index in torch.randperm(self.n, generator=generator).tolist():
            yield Draw(self.seed, self.epoch, index)


class Shares(BatchSampler):
    """This process's share of the batches of a sampler, where several compute together.

    To train, every n-th image of each batch; a process for which a last batch has none gets its first image, which is not
    counted. Otherwise whole batches, one after the other, so that the shares of all ranks in their order are all batches.
    """

    def __init__(self, sampler: Sampler, batch_size: int, drop_last: bool, *, to_train: bool):
        super().__init__(sampler, batch_size, drop_last)
        batches, self.rank, self.world = super().__len__(), rank(), world()
        self.to_train = to_train
        self.own = range(self.rank * batches // self.world, (self.rank + 1) * batches // self.world)

    def __len__(self) -> int:
        return super().__len__() if self.to_train else len(self.own)

    def __iter__(self) -> Iterator[list]:
        if not self.to_train:
            yield from itertools.islice(super().__iter__(), self.own.start, self.own.stop)
            return
        for batch in super().__iter__():
            yield batch[self.rank::self.world] or batch[:1]


class LoaderOnDevice(DataLoader):
    """A loader of augmented images that are cropped, resized and normalised on `device`, a whole batch at a time."""

    def __init__(self, dataset: ImageDataset, device: torch.device, **options: Any):
        super().__init__(dataset, collate_fn=pad, **options)
        self.device, statistics = device, (dataset.transform.mean, dataset.transform.std)
        self.mean, self.std = (torch.tensor(values, device=device).view(-1, 1, 1) for values in statistics)
        dataset.undone = True

    def __iter__(self) -> Iterator:  # type: ignore[override]
        for images, cuts in super().__iter__():
            images, cuts = images.to(self.device, non_blocking=True), cuts.to(self.device, non_blocking=True)
            yield (self.dataset.transform.augmentation.batch(images, cuts) - self.mean) / self.std, cuts[:, 5]


def pad(items: Sequence[tuple[tuple[torch.Tensor, torch.Tensor], int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Decoded images, padded below and to the right, (N, channels, H, W) uint8; their cuts and targets (N, 6)."""
    shape = [max(image.shape[axis] for (image, _), _ in items) for axis in range(3)]
    padded = torch.zeros(len(items), *shape, dtype=torch.uint8)
    for place, ((image, _), _) in enumerate(items):
        padded[place, :, :image.shape[1], :image.shape[2]] = image
    return padded, torch.column_stack([torch.stack([cuts for (_, cuts), _ in items]),
                                       torch.tensor([target for _, target in items])])


def make_loader(dataset: Dataset, *, batch_size: int, shuffle: bool = False, workers: int | str = 0,
                device: torch.device | None = None) -> DataLoader:
    """A loader of batches; when shuffled, its `sampler` is an `EpochSampler`, which the training loop sets each epoch.

    `workers`: processes that load, "auto": see `count_workers`; the batches do not depend on it. When shuffled, a last
    batch of one image is dropped, since batch norm cannot work on it. Where several processes compute, see `Shares`.
    `device`: that which computes. On a GPU, images of a training with AUGMENTATION "light" are given there, see
    `LoaderOnDevice`.
    """
    n = count_workers(dataset, batch_size, device) if workers == "auto" else int(workers)
    sampler = EpochSampler(len(dataset)) if shuffle else SequentialSampler(dataset)
    last = shuffle and len(dataset) > batch_size and len(dataset) % batch_size == 1
    options: dict = {"batch_size": batch_size, "sampler": sampler, "drop_last": last} if world() == 1 else {
        "batch_sampler": Shares(sampler, batch_size, last, to_train=shuffle)}
    options |= {"num_workers": n, "persistent_workers": n > 0, "generator": torch.Generator(),
                "pin_memory": torch.cuda.is_available()}
    augmentation = dataset.transform.augmentation if isinstance(dataset, ImageDataset) else None
    if device is not None and device.type != "cpu" and augmentation is not None and augmentation.takes_batches:
        return LoaderOnDevice(dataset, device, **options)
    return DataLoader(dataset, **options)


def count_workers(dataset: Dataset, batch_size: int, device: torch.device | None = None, *, fast: float = 20e-6) -> int:
    """How many processes should load images: none unless a GPU computes, else all cores but one, 16 at most.

    `device`: that which computes; None: a GPU, where there is one. No processes either where this one loads an image in
    less than `fast` seconds, measured on a batch.
    """
    cores = count_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))  # those of this process
    on_gpu = torch.cuda.is_available() if device is None else device.type == "cuda"
    if not on_gpu or cores < 2 or not len(dataset):
        return 0
    indices = list(range(min(batch_size, len(dataset))))
    dataset.__getitems__(indices)  # the first call may read all images into memory
    start = time.perf_counter()
    dataset.__getitems__(indices)
    return 0 if (time.perf_counter() - start) / len(indices) < fast else min(cores - 1, 16)


def to_device(images: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Images on the device, in channels_last if they have four axes."""
    layout = {"memory_format": torch.channels_last} if images.ndim == 4 else {}
    return images.to(device, non_blocking=True, **layout)
