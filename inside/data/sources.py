"""Data sets by name and by folder.

Every source first becomes one folder of images and one table with one row per image: all that notebook 01 works on.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tarfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torchvision
from PIL import Image as PILImage

from inside.data.demo.scenes import VERSION, scene_counts, write_demo_set
from inside.data.listing import find_folder, list_folder
from inside.files import DATA, fingerprint, one_at_a_time, require_reachable
from inside.names import DATASETS
from inside.text import natural_sort, visible

if hasattr(tarfile, "data_filter"):  # the default of Python 3.14: an archive cannot write outside of its folder
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images below `root`: one row of `table` each, with the path relative to root and the label ("" if there is none).

    As listed by `open_dataset`, before any is opened, the table also has the column `given`: the part to which the data set
    itself assigns an image ("train", "val", "test"), "" if to none. `decode_images` adds width, height, sha256 and group.
    `about` is one sentence for the reader; `drawn` is True for drawings. `refused` {path: reason} are files that are named
    like images and cannot be read as such; `notes` are sentences on links, on what is not used, on names that look alike.
    """

    name: str
    root: Path
    table: pd.DataFrame
    about: str
    drawn: bool = False
    refused: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> list[str]:
        """The class names in natural order, [""] if the images have no labels."""
        return natural_sort(self.table["label"].unique())


def open_dataset(dataset: str, *, demo_images: int = 1200, seed: int = 0, data: Path | None = None,
                 labels: bool = True) -> ImageSet:
    """The data set with this name or in this folder; drawn or downloaded into `data` if it is not there yet.

    Folders: class folders; train/ with val/ or test/ of class folders; seg_train/ and seg_test/ (merged); a local copy
    of cifar-10-batches-py/ or MNIST/raw/; with labels=False also a flat folder of images. Raises ValueError.
    """
    data = DATA if data is None else Path(data)
    if dataset == "demo":
        folder = data / f"demo-{VERSION}-{demo_images}-{seed}"
        write_demo_set(folder, n_images=demo_images, seed=seed)
        about = f"{demo_images:,} scenes drawn by this project (seed {seed}): these are drawings, not photographs"
        return _read_folder(folder, "demo", about=about, drawn=True)
    if dataset in DATASETS:
        about, prepare = _NAMED[dataset]
        folder = data / dataset
        _make_once(folder, partial(prepare, downloads=data / "downloads"))
        return _read_folder(folder, dataset, about=f"{DATASETS[dataset]:,} {about}")
    root = find_folder(dataset)
    if (name := _as_downloaded(root)) is not None:
        folder, inside = data / f"{name}-{fingerprint(str(root))}", DOWNLOADS[name].folder
        downloads = root if (root / inside).is_dir() else root.parent
        _make_once(folder, partial(_NAMED[name][1], downloads=downloads, fetch=False))
        return _read_folder(folder, name, about=f"{DATASETS[name]:,} {_NAMED[name][0]}, from a local copy")
    return _read_folder(root, root.name, about=f"the images of the folder {root.name}/", labels=labels)


def list_dataset(dataset: str, *, demo_images: int = 1200, data: Path | None = None,
                 labels: bool = True) -> pd.DataFrame | None:
    """The table of `open_dataset` before anything is drawn, unpacked or fetched; None where it is not known before that.

    Raises ValueError where `open_dataset` would: no such folder, no images, one class, or a download that cannot be had.
    """
    data = DATA if data is None else Path(data)
    if dataset == "demo":
        rows = [(f"{label}/{index}", label, "") for label, count in scene_counts(demo_images).items()
                for index in range(count)]
        return pd.DataFrame(rows, columns=["path", "label", "given"])
    if dataset in DATASETS and not (data / dataset).is_dir():
        if dataset in DOWNLOADS and not DOWNLOADS[dataset].is_in(data / "downloads"):
            DOWNLOADS[dataset].require()
        return None
    root = data / dataset if dataset in DATASETS else find_folder(dataset)
    return None if _as_downloaded(root) else _read_folder(root, dataset, about="", labels=labels).table


def _as_downloaded(root: Path) -> str | None:
    """The data set of which a folder is a local copy in the format in which it is downloaded."""
    for name, within in (("cifar10", {"data_batch_1", "test_batch"}), ("mnist", {"raw", "processed"})):
        for folder in (root / DOWNLOADS[name].folder, root):
            if folder.name == DOWNLOADS[name].folder and any((folder / part).exists() for part in within):
                return name  # a class folder may have the name, too
    return None


def _make_once(folder: Path, prepare: Callable[[Path], None]) -> None:
    """Let `prepare` fill an empty temporary folder that becomes `folder` if all goes well, unless that exists already."""
    if folder.is_dir():
        return
    with one_at_a_time(folder):
        if folder.is_dir():  # made while this process was waiting
            return
        temporary = folder.with_name(f".{folder.name}.draft")
        shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
        temporary.mkdir()
        try:
            prepare(temporary)
            os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _read_folder(root: Path, name: str, *, about: str, drawn: bool = False, labels: bool = True) -> ImageSet:
    """The images of a folder in one of the layouts that `open_dataset` names."""
    found = list_folder(root, labels=labels)
    table = pd.DataFrame(found.rows, columns=["path", "label", "given"])
    return ImageSet(name, root, table, about, drawn, found.refused, tuple(found.notes))


def _write_digits(folder: Path, downloads: Path) -> None:
    from sklearn.datasets import load_digits
    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        _save_png(pixels * 255 / 16, folder / str(label) / f"{number:04d}.png")


def _write_photo_patches(folder: Path, downloads: Path, *, size: int = 48) -> None:
    from sklearn.datasets import load_sample_images
    samples = load_sample_images()
    for photo, file in zip(samples.images, samples.filenames, strict=True):
        for top in range(0, photo.shape[0] - size + 1, size):
            for left in range(0, photo.shape[1] - size + 1, size):
                patch = photo[top:top + size, left:left + size]
                _save_png(patch, folder / Path(file).stem / f"{top:03d}-{left:03d}.png")


class Download(NamedTuple):
    """What is fetched for a data set: from where, its name, its size, what works without, its folder when it is there."""

    url: str
    what: str
    size: str
    instead: str
    folder: str = ""
    gigabytes: float = 0.1

    def is_in(self, downloads: Path) -> bool:
        """Whether it has been fetched into this folder."""
        return bool(self.folder) and (downloads / self.folder).is_dir()

    def require(self) -> None:
        """Raise ValueError unless its address answers."""
        require_reachable(self.url, self.what, self.size, f"Set DATASET to a folder with a local copy{self.instead}")


DOWNLOADS = {
    "cifar10": Download(torchvision.datasets.CIFAR10.url, "CIFAR10", "170 MB", ": cifar-10-batches-py/ as downloaded, or "
                        "one folder of images per class.", "cifar-10-batches-py", 0.6),
    "mnist": Download(torchvision.datasets.MNIST.mirrors[0], "MNIST", "12 MB", ": MNIST/ as downloaded, or one folder of "
                      "images per class.", "MNIST", 0.4),
    "imagenette": Download("https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz", "Imagenette", "94 MB",
                           ": imagenette2-160/ (or -320, or full size) with train/ and val/.", "imagenette2-160", 0.4),
    "intel": Download("https://www.kaggle.com/datasets/puneet6060/intel-image-classification", "The Intel scenes data set",
                      "346 MB", ", with seg_train/ and seg_test/.", gigabytes=1.1),
}  # gigabytes: of the archive and all that is unpacked from it, at most


def _write_torchvision(folder: Path, downloads: Path, *, name: str, fetch: bool = True) -> None:
    """Unpack CIFAR-10 or MNIST into class folders below train/ and test/ (torchvision verifies the checksums).

    A copy that is not whole is fetched again, or, without `fetch`, left as it is: ValueError.
    """
    fetched = DOWNLOADS[name]
    dataset = getattr(torchvision.datasets, fetched.what)
    try:
        dataset(downloads, download=False)
    except Exception as error:
        if not fetch:
            raise ValueError(f"{fetched.what} in {visible(str(downloads))} is no whole copy (files are missing, damaged or "
                             "changed): fetch it again, or point DATASET to one folder of images per class.") from error
        fetched.require()
        print(f"{fetched.what}: downloading {fetched.size} from {fetched.url}")
    for split in ("train", "test"):
        images = dataset(downloads, train=split == "train", download=True)
        for number, (pixels, label) in enumerate(zip(images.data, images.targets, strict=True)):
            name = str(images.classes[int(label)]).split(" - ")[0]
            _save_png(np.asarray(pixels), folder / split / name / f"{number:05d}.png")


def _write_imagenette(folder: Path, downloads: Path) -> None:
    if not DOWNLOADS["imagenette"].is_in(downloads):
        DOWNLOADS["imagenette"].require()
        print(f"Imagenette: downloading 94 MB from {DOWNLOADS['imagenette'].url}")
    for split in ("train", "val"):
        images = torchvision.datasets.Imagenette(downloads, split=split, size="160px",
                                                 download=not (downloads / "imagenette2-160").is_dir())
        for wnid, names in zip(images.wnids, images.classes, strict=True):
            shutil.copytree(downloads / "imagenette2-160" / split / wnid, folder / split / names[0])


def _write_intel(folder: Path, downloads: Path) -> None:
    import kagglehub
    DOWNLOADS["intel"].require()
    print(f"Intel scenes: downloading 346 MB from {DOWNLOADS['intel'].url}")
    fetched = Path(kagglehub.dataset_download(DOWNLOADS["intel"].url.partition("/datasets/")[2]))
    for part in ("seg_train", "seg_test"):
        shutil.copytree(fetched / part, folder / part)
    count, whole = len(list_folder(folder).rows), DATASETS["intel"]
    if count != whole:
        raise ValueError(f"The Intel scenes came with {count:,} images instead of {whole:,}: the download is "
                         f"incomplete; delete {fetched} and start again.")


def _save_png(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PILImage.fromarray(np.asarray(pixels).round().astype(np.uint8)).save(path)


# What the images of a name are, and what writes them into an empty folder.
_NAMED: Mapping[str, tuple[str, Callable[..., None]]] = {
    "digits": ("handwritten digits of 8×8 pixels, from scikit-learn", _write_digits),
    "photo_patches": ("patches of 48×48 pixels from scikit-learn's two sample photographs", _write_photo_patches),
    "intel": ("photographs of six kinds of natural scene (the Intel scenes, merged)", _write_intel),
    "cifar10": ("photographs of 32×32 pixels in ten classes (CIFAR-10)", partial(_write_torchvision, name="cifar10")),
    "mnist": ("handwritten digits of 28×28 pixels (MNIST)", partial(_write_torchvision, name="mnist")),
    "imagenette": ("photographs of ten ImageNet classes, 160 pixels high or wide (Imagenette)", _write_imagenette),
}
