"""Data sets by name and by folder.

Every source first becomes one folder of images and one table with one row per image: all that notebook 01 works on.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torchvision
from PIL import Image as PILImage

from inside.data.demo.scenes import VERSION, write_demo_set
from inside.files import DATA, ROOT, fingerprint, one_at_a_time, require_reachable
from inside.names import DATASETS
from inside.text import did_you_mean, natural_sort

IMAGE_SUFFIXES = frozenset(".jpg .jpeg .png .bmp .gif .tif .tiff .webp .ppm .pgm".split())
SPLIT_FOLDERS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
                 "test": "test"}


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images below `root`: one row of `table` each, with the path relative to root and the label ("" if there is none).

    As listed by `open_dataset`, before any is opened, the table also has the column `given`: the part to which the data set
    itself assigns an image ("train", "val", "test"), "" if to none. `decode_images` adds width, height, sha256 and group.
    `about` is one sentence for the reader; `drawn` is True for drawings.
    """

    name: str
    root: Path
    table: pd.DataFrame
    about: str
    drawn: bool = False

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
    places = [Path(dataset).expanduser(), ROOT / dataset]
    root = next((place.resolve() for place in places if place.is_dir()), None)
    if root is None:
        looked = " and ".join(dict.fromkeys(str(place.absolute()) for place in places))
        raise ValueError(f"DATASET = {dataset!r} is neither the name of a data set nor a folder (looked at {looked}); "
                         f"{did_you_mean(dataset, DATASETS)}")
    for inside, name in (("cifar-10-batches-py", "cifar10"), ("MNIST", "mnist")):
        if (root / inside).is_dir() or root.name == inside:
            folder = data / f"{name}-{fingerprint(str(root))}"
            _make_once(folder, partial(_NAMED[name][1], downloads=root if (root / inside).is_dir() else root.parent))
            return _read_folder(folder, name, about=f"{DATASETS[name]:,} {_NAMED[name][0]}, from a local copy")
    return _read_folder(root, root.name, about=f"the images of the folder {root.name}/", labels=labels)


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


def _visible(folder: Path) -> list[Path]:
    """The entries of a folder in natural order, without hidden ones and leftovers of archives."""
    entries = {entry.name: entry for entry in folder.iterdir()
               if not entry.name.startswith((".", "__")) and entry.name != "lost+found"}
    return [entries[name] for name in natural_sort(entries)]


def _images_below(folder: Path) -> list[Path]:
    """All image files below a folder, by their extension, without hidden ones."""
    found = []
    for entry in _visible(folder):
        if entry.is_dir():
            found += _images_below(entry)
        elif entry.suffix.lower() in IMAGE_SUFFIXES:
            found.append(entry)
    return found


def _read_folder(root: Path, name: str, *, about: str, drawn: bool = False, labels: bool = True) -> ImageSet:
    """List the images of a folder in one of the layouts that `open_dataset` names."""
    folders = {entry.name: entry for entry in _visible(root) if entry.is_dir()}
    splits = {folder: SPLIT_FOLDERS[folder.lower()] for folder in folders if folder.lower() in SPLIT_FOLDERS}
    if {"seg_train", "seg_test"} <= set(folders):  # the Intel scenes, merged; each is nested once in the archive
        tops = [(inner if (inner := folders[part] / part).is_dir() else folders[part], "")
                for part in ("seg_train", "seg_test")]
    elif "train" in splits.values() and len(set(splits.values())) > 1:
        tops = [(folders[folder], split) for folder, split in splits.items()]
    else:
        tops = [(root, "")]
    rows = [(file.relative_to(root).as_posix(), entry.name, given)
            for top, given in tops for entry in _visible(top) if entry.is_dir() for file in _images_below(entry)]
    if not labels and not rows:
        rows = [(file.relative_to(root).as_posix(), "", "") for file in _images_below(root)]
    table = pd.DataFrame(rows, columns=["path", "label", "given"])
    empty = [entry.name for top, _ in tops for entry in _visible(top)
             if entry.is_dir() and not entry.name.startswith("seg_") and not _images_below(entry)]
    if table.empty:
        flat = bool(_images_below(root))
        raise ValueError(f"The folder {root} contains " + (
            "images but no class folders: put the images of each class into a folder named after the class." if flat else
            f"no image ({', '.join(sorted(IMAGE_SUFFIXES))}): point DATASET to a folder with one folder per class."))
    if labels and empty:
        raise ValueError(f"The class folder {empty[0]!r} of {root} contains no image: fill it or remove it.")
    if labels and table["label"].nunique() < 2:
        raise ValueError(f"The folder {root} contains only one class, {table['label'][0]!r}: a classifier needs two.")
    return ImageSet(name, root, table, about, drawn)


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


def _write_torchvision(folder: Path, downloads: Path, *, kind: str, url: str, size: str) -> None:
    """Unpack CIFAR-10 or MNIST into class folders below train/ and test/ (torchvision verifies the checksums)."""
    dataset = getattr(torchvision.datasets, kind)
    try:
        dataset(downloads, download=False)
    except RuntimeError:
        inside = {"CIFAR10": "cifar-10-batches-py", "MNIST": "MNIST"}[kind]
        require_reachable(url, kind, size, f"Set DATASET to a folder with a local copy: {inside}/ as downloaded, "
                                           "or one folder of images per class.")
        print(f"{kind}: downloading {size} from {url}")
    for split in ("train", "test"):
        images = dataset(downloads, train=split == "train", download=True)
        for number, (pixels, label) in enumerate(zip(images.data, images.targets, strict=True)):
            name = str(images.classes[int(label)]).split(" - ")[0]
            _save_png(np.asarray(pixels), folder / split / name / f"{number:05d}.png")


def _write_imagenette(folder: Path, downloads: Path) -> None:
    url = "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz"
    if not (downloads / "imagenette2-160").is_dir():
        require_reachable(url, "Imagenette", "94 MB", "Set DATASET to a folder with a local copy: "
                                                      "imagenette2-160/ (or -320, or full size) with train/ and val/.")
        print(f"Imagenette: downloading 94 MB from {url}")
    for split in ("train", "val"):
        images = torchvision.datasets.Imagenette(downloads, split=split, size="160px",
                                                 download=not (downloads / "imagenette2-160").is_dir())
        for wnid, names in zip(images.wnids, images.classes, strict=True):
            shutil.copytree(downloads / "imagenette2-160" / split / wnid, folder / split / names[0])


def _write_intel(folder: Path, downloads: Path) -> None:
    import kagglehub
    handle, page = "puneet6060/intel-image-classification", "https://www.kaggle.com"
    require_reachable(f"{page}/datasets/{handle}", "The Intel scenes data set", "346 MB",
                      "Set DATASET to a folder with a local copy, with seg_train/ and seg_test/.")
    print(f"Intel scenes: downloading 346 MB from {page}/datasets/{handle}")
    fetched = Path(kagglehub.dataset_download(handle))
    for part in ("seg_train", "seg_test"):
        shutil.copytree(fetched / part, folder / part)
    count, whole = len(_images_below(folder)), DATASETS["intel"]
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
    "cifar10": ("photographs of 32×32 pixels in ten classes (CIFAR-10)", partial(
        _write_torchvision, kind="CIFAR10", size="170 MB", url=torchvision.datasets.CIFAR10.url)),
    "mnist": ("handwritten digits of 28×28 pixels (MNIST)", partial(
        _write_torchvision, kind="MNIST", size="12 MB", url=torchvision.datasets.MNIST.mirrors[0])),
    "imagenette": ("photographs of ten ImageNet classes, 160 pixels high or wide (Imagenette)", _write_imagenette),
}
