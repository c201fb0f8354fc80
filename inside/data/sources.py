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

import numpy as np
import pandas as pd
import torchvision
from PIL import Image as PILImage

from inside.data.demo.scenes import VERSION, write_demo_set
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
    for inside, name in (("cifar-10-batches-py", "cifar10"), ("MNIST", "mnist")):
        if (root / inside).is_dir() or root.name == inside:
            folder = data / f"{name}-{fingerprint(str(root))}"
            _make_once(folder, partial(_NAMED[name][1], fetch=False,
                                        downloads=root if (root / inside).is_dir() else root.parent))
            return _read_folder(folder, name, about=f"{DATASETS[name]:,} {_NAMED[name][0]}, from a local copy")
    return _read_folder(root, root.name, about=f"the images of the folder {root.name}/", labels=labels)


def _make_once(folder: Path, prepare: Callable[[Path], None]) -> None:
    """Let `prepare` fill an empty temporary folder that becomes `folder` if all goes well, unless that exists already."""
    if folder.is_dir():
        return
    with one_at_a_time(folder):
        if folder.is_dir():  # made while this process was waiting
            return
        temporary = folder.with_name(f".{os.getpid()}-{folder.name}")
        shutil.rmtree(temporary, ignore_errors=True)
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


def _write_torchvision(folder: Path, downloads: Path, *, kind: str, url: str, size: str, fetch: bool = True) -> None:
    """Unpack CIFAR-10 or MNIST into class folders below train/ and test/ (torchvision verifies the checksums).

    A copy that is not whole is fetched again, or, without `fetch`, left as it is: ValueError.
    """
    dataset = getattr(torchvision.datasets, kind)
    try:
        dataset(downloads, download=False)
    except Exception as error:
        if not fetch:
            raise ValueError(f"{kind} in {visible(str(downloads))} is no whole copy (files are missing, damaged or "
                             "changed): fetch it again, or point DATASET to one folder of images per class.") from error
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
    "cifar10": ("photographs of 32×32 pixels in ten classes (CIFAR-10)", partial(
        _write_torchvision, kind="CIFAR10", size="170 MB", url=torchvision.datasets.CIFAR10.url)),
    "mnist": ("handwritten digits of 28×28 pixels (MNIST)", partial(
        _write_torchvision, kind="MNIST", size="12 MB", url=torchvision.datasets.MNIST.mirrors[0])),
    "imagenette": ("photographs of ten ImageNet classes, 160 pixels high or wide (Imagenette)", _write_imagenette),
}
