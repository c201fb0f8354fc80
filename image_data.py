"""Images: data sets by name and by path, the image table, duplicates, the split, transforms, and grids of images.

Every data source is first made into one folder of images and one table, a row an image; all of notebook 01 hangs on it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torchvision
from PIL import Image as PILImage
from PIL import ImageOps
from scipy.optimize import LinearConstraint, milp
from scipy.sparse.csgraph import connected_components
from torch.utils.data import Dataset
from torchvision.transforms import v2
from torchvision.transforms.functional import to_pil_image

import demo_scenes
from helpers import (
    AUGMENTATIONS,
    DATA,
    DATASETS,
    ROOT,
    SPLITS,
    check_split,
    fingerprint,
    natural_sort,
    nearest,
    require_reachable,
    write_csv,
)

# ---------------------------------------------------------------------------------------- sources

IMAGE_SUFFIXES = frozenset(".jpg .jpeg .png .bmp .gif .tif .tiff .webp .ppm .pgm".split())
SPLIT_FOLDERS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
                 "test": "test"}
INTEL_IMAGES = 17034


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """A folder of images before any is opened: `files` has the columns path (relative to root), label, given.

    `given` names the split that the data set itself puts an image into ("train", "val", "test"), "" where it does not.
    `about` is one sentence for the reader; `drawn` is True for pictures that no camera took.
    """

    name: str
    root: Path
    files: pd.DataFrame
    about: str
    drawn: bool = False

    @property
    def classes(self) -> list[str]:
        """The class names in natural order."""
        return natural_sort(self.files["label"].unique())


def open_dataset(dataset: str, *, demo_images: int = 1200, seed: int = 0, data: Path | None = None,
                 labels: bool = True) -> ImageSource:
    """The data set of a name or of a folder; drawn or fetched into `data` where it is not there yet.

    Folders: class folders; train/ with val/ or test/ of class folders; seg_train/ and seg_test/ (merged); an own copy
    of cifar-10-batches-py/ or MNIST/raw/; with labels=False also a flat folder of images. Raises ValueError.
    """
    data = DATA if data is None else Path(data)
    if dataset == "demo":
        folder = data / f"demo-{demo_scenes.VERSION}-{demo_images}-{seed}"
        if not folder.is_dir():
            print(f"drawing {demo_images:,} scenes into {folder}")
        demo_scenes.write_demo_set(folder, n_images=demo_images, seed=seed)
        about = f"{demo_images:,} scenes drawn by this project (seed {seed}): these are drawings, not photographs"
        return _read_folder(folder, "demo", about=about, drawn=True)
    if dataset in DATASETS:
        about, prepare = _NAMED[dataset]
        folder = data / dataset
        if not folder.is_dir():
            with _unpacking(folder) as temporary:
                prepare(temporary, data / "downloads")
        return _read_folder(folder, dataset, about=about)
    places = [Path(dataset).expanduser(), ROOT / dataset]
    root = next((place.resolve() for place in places if place.is_dir()), None)
    if root is None:
        looked = " and ".join(dict.fromkeys(str(place.absolute()) for place in places))
        raise ValueError(f"DATASET = {dataset!r} is neither a data set's name nor a folder (looked at {looked}); "
                         f"{nearest(dataset, DATASETS)}")
    for inside, name in (("cifar-10-batches-py", "cifar10"), ("MNIST", "mnist")):
        if (root / inside).is_dir() or root.name == inside:
            folder = data / f"{name}-{fingerprint(str(root))}"
            if not folder.is_dir():
                with _unpacking(folder) as temporary:
                    _NAMED[name][1](temporary, root if (root / inside).is_dir() else root.parent)
            return _read_folder(folder, name, about=f"{_NAMED[name][0]}, from an own copy")
    return _read_folder(root, root.name, about=f"the images of the folder {root.name}/", labels=labels)


@contextmanager
def _unpacking(folder: Path):
    """Give an empty temporary folder that becomes `folder` when the block ends without an error, else goes."""
    temporary = folder.with_name(f".{os.getpid()}-{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _visible(folder: Path) -> list[Path]:
    """The entries of a folder in natural order, without hidden ones and those that archives leave behind."""
    entries = {entry.name: entry for entry in folder.iterdir()
               if not entry.name.startswith((".", "__")) and entry.name != "lost+found"}
    return [entries[name] for name in natural_sort(entries)]


def _images_below(folder: Path) -> list[Path]:
    """All image files below a folder, by their ending, without hidden ones."""
    found = []
    for entry in _visible(folder):
        if entry.is_dir():
            found += _images_below(entry)
        elif entry.suffix.lower() in IMAGE_SUFFIXES:
            found.append(entry)
    return found


def _read_folder(root: Path, name: str, *, about: str, drawn: bool = False, labels: bool = True) -> ImageSource:
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
    files = pd.DataFrame(rows, columns=["path", "label", "given"])
    empty = [entry.name for top, _ in tops for entry in _visible(top)
             if entry.is_dir() and not entry.name.startswith("seg_") and not _images_below(entry)]
    if files.empty:
        flat = bool(_images_below(root))
        raise ValueError(f"The folder {root} holds " + (
            "images but no class folders: put the images of each class into a folder of the class's name." if flat else
            f"no image ({', '.join(sorted(IMAGE_SUFFIXES))}): point DATASET to a folder with one folder a class."))
    if labels and empty:
        raise ValueError(f"The class folder {empty[0]!r} of {root} holds no image: fill it or remove it.")
    if labels and files["label"].nunique() < 2:
        raise ValueError(f"The folder {root} holds one class only, {files['label'][0]!r}: a classifier needs two.")
    return ImageSource(name, root, files, about, drawn)


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
        require_reachable(url, kind, size, f"Set DATASET to a folder that holds an own copy: {inside}/ as it comes, "
                                           "or one folder of images a class.")
        print(f"{kind}: fetching {size} from {url}")
    for split in ("train", "test"):
        images = dataset(downloads, train=split == "train", download=True)
        for number, (pixels, label) in enumerate(zip(images.data, images.targets, strict=True)):
            name = str(images.classes[int(label)]).split(" - ")[0]
            _save_png(np.asarray(pixels), folder / split / name / f"{number:05d}.png")


def _write_imagenette(folder: Path, downloads: Path) -> None:
    url = "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz"
    if not (downloads / "imagenette2-160").is_dir():
        require_reachable(url, "Imagenette", "94 MB", "Set DATASET to a folder that holds an own copy: "
                                                      "imagenette2-160/ (or -320, or full size) with train/ and val/.")
        print(f"Imagenette: fetching 94 MB from {url}")
    for split in ("train", "val"):
        images = torchvision.datasets.Imagenette(downloads, split=split, size="160px",
                                                 download=not (downloads / "imagenette2-160").is_dir())
        for wnid, names in zip(images.wnids, images.classes, strict=True):
            shutil.copytree(downloads / "imagenette2-160" / split / wnid, folder / split / names[0])


def _write_intel(folder: Path, downloads: Path) -> None:
    import kagglehub
    handle, page = "puneet6060/intel-image-classification", "https://www.kaggle.com"
    require_reachable(f"{page}/datasets/{handle}", "The Intel scenes data set", "346 MB",
                      "Set DATASET to a folder that holds an own copy, with seg_train/ and seg_test/.")
    print(f"Intel scenes: fetching 346 MB from {page}/datasets/{handle}")
    fetched = Path(kagglehub.dataset_download(handle))
    for part in ("seg_train", "seg_test"):
        shutil.copytree(fetched / part, folder / part)
    count = len(_images_below(folder))
    if count != INTEL_IMAGES:
        raise ValueError(f"The Intel scenes came with {count:,} images instead of {INTEL_IMAGES:,}: the download is "
                         f"not whole; delete {fetched} and start again.")


def _save_png(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PILImage.fromarray(np.asarray(pixels).round().astype(np.uint8)).save(path)


_NAMED = {
    "digits": ("1,797 handwritten digits of 8×8 pixels, from scikit-learn", _write_digits),
    "photo_patches": ("208 patches of 48×48 pixels from scikit-learn's two sample photographs", _write_photo_patches),
    "intel": ("17,034 photographs of six kinds of natural scene (the Intel scenes, merged)", _write_intel),
    "cifar10": ("60,000 photographs of 32×32 pixels in ten classes (CIFAR-10)", partial(
        _write_torchvision, kind="CIFAR10", size="170 MB", url=torchvision.datasets.CIFAR10.url)),
    "mnist": ("70,000 handwritten digits of 28×28 pixels (MNIST)", partial(
        _write_torchvision, kind="MNIST", size="12 MB", url=torchvision.datasets.MNIST.mirrors[0])),
    "imagenette": ("13,394 photographs of ten ImageNet classes, 160 pixels high or wide (Imagenette)", _write_imagenette),
}


# ---------------------------------------------------------------------------------------- table

def load_image(path: Path) -> PILImage.Image:
    """Decode an image file of any mode to RGB, upright by its EXIF orientation; transparency becomes white.

    16-bit gray levels are scaled to 8 bits (Pillow alone would clip them). Raises OSError, ValueError or
    SyntaxError, as Pillow does, for what cannot be decoded.
    """
    with PILImage.open(path) as image:
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):
            levels = np.asarray(image, dtype=np.float64)
            if levels.min() < 0 or levels.max() > 65535:
                raise ValueError("32-bit levels beyond 16 bits: convert it to 8 or 16 bits")
            image = PILImage.fromarray((levels / 257).round().astype(np.uint8))
        elif image.mode == "F":
            raise ValueError("floating-point levels: convert it to 8 or 16 bits")
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = PILImage.alpha_composite(PILImage.new("RGBA", image.size, "white"), image)
        return image.convert("RGB")


def _examine(path: Path) -> tuple[int, int, str, str]:
    """(width, height, sha256 of the decoded RGB pixels, reason why it could not be decoded or "")."""
    try:
        image = load_image(path)
    except Exception as error:  # decoders raise many kinds; each means that this file is no image we can use
        reason = str(error).replace(str(path), path.name) or type(error).__name__
        return 0, 0, "", "no image file" if isinstance(error, PILImage.UnidentifiedImageError) else reason
    digest = hashlib.sha256(f"{image.width}x{image.height}".encode() + image.tobytes())
    return image.width, image.height, digest.hexdigest(), ""


def image_table(source: ImageSource, *, bad_images: str = "skip", cache: Path | None = None,
                workers: int | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Decode every file once and give the image table and the table of bad images.

    Images: path, label, given, width, height, sha256 (of the decoded pixels), group (of duplicates, <NA> for single
    ones). Bad: path, reason. What is known of a file that has not changed (size, time) is kept in `cache`, so that
    a second call decodes nothing. bad_images="stop" raises ValueError where one cannot be decoded.
    """
    cache = (DATA / "cache" if cache is None else Path(cache)) / f"{fingerprint(str(source.root))}.csv"
    columns = ["path", "bytes", "changed", "width", "height", "sha256", "reason"]
    known = {row[:3]: row for row in pd.read_csv(cache, keep_default_na=False).itertuples(index=False, name=None)} \
        if cache.exists() else {}
    stats = [(path, (root := os.stat(source.root / path)).st_size, root.st_mtime_ns) for path in source.files["path"]]
    new = [key for key in stats if key not in known]
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:  # Pillow and hashlib release the interpreter's lock
        for key, found in zip(new, pool.map(lambda key: _examine(source.root / key[0]), new), strict=True):
            known[key] = (*key, *found)
    seen = pd.DataFrame([known[key] for key in stats], columns=columns)
    if new:
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_csv(cache, seen)
    bad = seen.loc[seen["reason"] != "", ["path", "reason"]].reset_index(drop=True)
    if len(bad) and bad_images == "stop":
        raise ValueError(f"{len(bad)} of {len(seen):,} images cannot be decoded, the first is {bad['path'][0]} "
                         f"({bad['reason'][0]}): mend or remove them, or set BAD_IMAGES = \"skip\".")
    table = source.files.merge(seen.loc[seen["reason"] == "", ["path", "width", "height", "sha256"]], on="path")
    if table.empty:
        raise ValueError(f"None of the {len(seen):,} files of {source.root} can be decoded: {bad['reason'][0]}.")
    shared = table["sha256"].duplicated(keep=False)
    table["group"] = pd.Series(pd.factorize(table["sha256"].where(shared))[0], dtype="Int64").mask(~shared)
    return table, bad


def size_table(table: pd.DataFrame) -> pd.DataFrame:
    """Images by class, with the range of their widths and heights in pixels."""
    by_class = table.groupby("label")
    ends = {side: by_class[side].agg(["min", "max"]).astype(str) for side in ("width", "height")}
    span = {side: end["min"].where(end["min"] == end["max"], end["min"] + "–" + end["max"]) for side, end in ends.items()}
    sizes = pd.DataFrame({"images": by_class.size(), **span}).loc[natural_sort(table["label"].unique())]
    return sizes.rename_axis("class").reset_index()


def duplicate_table(table: pd.DataFrame) -> pd.DataFrame:
    """The images that share their pixels with another: group, path, label, split, conflicting (several labels)."""
    found = table.dropna(subset=["group"]).sort_values(["group", "path"], kind="stable")
    found = found.assign(conflicting=found.groupby("group")["label"].transform("nunique") > 1)
    columns = ["group", "path", "label", "split", "conflicting"]
    return found[[name for name in columns if name in found]].reset_index(drop=True)


def describe_duplicates(duplicates: pd.DataFrame) -> str:
    """What `duplicate_table` found, and what it cannot find, in two sentences."""
    groups, conflicting = (rows["group"].nunique() for rows in (duplicates, duplicates[duplicates["conflicting"]]))
    found = (f"{groups:,} group{'' if groups == 1 else 's'} of images with the same decoded pixels, {conflicting:,} of them "
             "with several labels.") if groups else "No two images have the same decoded pixels."
    return f"{found} Copies that were compressed anew (as JPEG), resized or cropped have other pixels and are not found."


# ---------------------------------------------------------------------------------------- split

def split_counts(n_images: int, sizes: Sequence[float]) -> list[int]:
    """Images in train, validation and test: `sizes` are counts, or fractions that sum to at most 1."""
    check_split(sizes)
    if all(isinstance(size, int) for size in sizes):
        if sum(sizes) > n_images:
            raise ValueError(f"SPLIT = {list(sizes)} asks for {sum(sizes):,} images, but there are {n_images:,}: "
                             "lower the counts or give fractions.")
        return list(sizes)
    total = round(n_images * min(sum(sizes), 1))
    val, test = (round(n_images * size) for size in sizes[1:])
    if min(total - val - test, val, test) < 1:
        raise ValueError(f"SPLIT = {list(sizes)} leaves a part empty with {n_images:,} images: give larger fractions.")
    return [total - val - test, val, test]


def _apportion(class_sizes: pd.Series, n_images: int) -> pd.Series:
    """Share `n_images` among the classes in proportion to their sizes, by the largest remainders."""
    exact = class_sizes * (n_images / class_sizes.sum())
    shares = np.floor(exact + 1e-9).astype(int)
    largest = (exact - shares).sort_values(ascending=False, kind="stable").index
    shares[largest[:n_images - shares.sum()]] += 1
    return shares


def split_images(table: pd.DataFrame, sizes: Sequence[float], *, seed: int) -> pd.DataFrame:
    """The image table with a column `split`: "train", "val", "test", or "" for images that are not used.

    Stratified: each class has its share of each part, rounded to whole images. Images with the same pixels go to the same
    part; where that makes the shares impossible they are met as nearly as whole groups allow (see `describe_split`).
    A data set's given test images (its val/ where it has no test/) stay the test images, and copies of them elsewhere
    are not used. The same images, sizes and seed give the same split, in whatever order the rows stand. Raises
    ValueError, also where a class would have no image in one of the parts.
    """
    parts, free, counts = _plan_split(table, sizes)
    if len(free):
        parts[free.index] = _draw_split(free, counts, seed)
    table = table.assign(split=parts)
    _require_every_class(table)
    return table


def _plan_split(table: pd.DataFrame, sizes: Sequence[float]) -> tuple[pd.Series, pd.DataFrame, list[int]]:
    """(parts that the data set gives or "", the rows to be drawn, how many of these go to train, val and test)."""
    parts = pd.Series("", index=table.index)
    if not (table["given"] != "").any():
        return parts, table, split_counts(len(table), sizes)
    parts[table["given"] == ("test" if (table["given"] == "test").any() else "val")] = "test"
    copies = table["sha256"].isin(table.loc[parts == "test", "sha256"]) & (parts == "")
    free = table[(parts == "") & ~copies]
    if (free["given"] == "val").any():
        both = (free["given"] == "train") & free["sha256"].isin(free.loc[free["given"] == "val", "sha256"])
        parts[free.index] = free["given"].mask(both, "")
        return parts, free[:0], [0, 0, 0]
    train, val = sizes[0], sizes[1]
    if isinstance(val, float):
        val = max(1, round(len(free) * val / (train + val)))
    if len(free) - val < 1:
        raise ValueError(f"SPLIT = {list(sizes)} leaves no training image beside {val:,} for validation: "
                         f"{len(free):,} images are there besides the given test images.")
    return parts, free, [len(free) - val, val, 0]


def _require_every_class(table: pd.DataFrame) -> None:
    """Raise ValueError where a class has no image in one of the parts of a split."""
    counts = pd.crosstab(table["label"], table["split"]).reindex(columns=[*SPLITS, ""], fill_value=0)
    for label, row in counts.loc[natural_sort(counts.index)].iterrows():
        if row[list(SPLITS)].min() < 1:
            copies = f", and {row['']} of its images are not used since their pixels are in a given part" if row[""] else ""
            raise ValueError(f"The class {label!r} has no image in {row[list(SPLITS)].idxmin()}{copies}: add images to it "
                             "there, or remove the class.")


def _class_quotas(labels: pd.Series, counts: Sequence[int]) -> pd.DataFrame:
    """How many images of a class (row, natural order) belong to a part (column); parts with the count 0 are left out."""
    sizes = labels.value_counts().loc[natural_sort(labels.unique())]
    used = _apportion(sizes, sum(counts))
    quota = pd.DataFrame({"val": _apportion(used, counts[1]), "test": _apportion(used, counts[2])})
    quota.insert(0, "train", used - quota["val"] - quota["test"])
    quota = quota[[part for part, count in zip(SPLITS, counts, strict=True) if count]]
    for label, row in quota.iterrows():
        if row.min() < 1:
            raise ValueError(f"The class {label!r} with its {sizes[label]} images would have none in {row.idxmin()}: add "
                             "images to it, remove it, or give that part a larger share in SPLIT.")
    return quota


def _pictures(table: pd.DataFrame) -> dict[str, Counter]:
    """{sha256: {label: images}} of a table: what has to stay together, in natural order of the first path."""
    names = natural_sort({name for path in table["path"] for name in path.split("/")})
    rank = {name: place for place, name in enumerate(names)}
    rows = sorted(zip(table["path"], table["sha256"], table["label"], strict=True),
                  key=lambda row: ([rank[name] for name in row[0].split("/")], row))
    found: dict[str, Counter] = {}
    for _, content, label in rows:
        found.setdefault(content, Counter())[label] += 1
    return found


def _draw_split(free: pd.DataFrame, counts: Sequence[int], seed: int) -> pd.Series:
    """The part of each row of `free`: by class quotas, or as near to them as its duplicates allow; "" for none."""
    rng, quota, pictures = np.random.default_rng(seed), _class_quotas(free["label"], counts), _pictures(free)
    different = Counter(label for need in pictures.values() for label in need)
    for label in quota.index:
        if different[label] < quota.shape[1]:
            raise ValueError(f"The class {label!r} has too few different pictures ({different[label]}) for one in each of "
                             f"{', '.join(quota)}: add images to it, or remove the class.")
    chosen, excess = _deal_by_quota(pictures, quota, rng), 0
    for labels in _connected_classes(pictures, list(quota.index)):
        own = {content: need for content, need in pictures.items() if need.keys() <= set(labels)}
        if not _part_sizes(own, chosen, quota.loc[labels]).equals(quota.loc[labels]):
            chosen |= _deal_nearest(own, quota.loc[labels], excess, chosen, rng, whole=sum(counts) == len(free))
            excess += (_part_sizes(own, chosen, quota.loc[labels]) - quota.loc[labels]).sum()
    return free["sha256"].map(chosen)


def _part_sizes(pictures: Mapping[str, Counter], chosen: Mapping[str, str], like: pd.DataFrame) -> pd.DataFrame:
    """Images of each class in each part, with the rows and columns of `like`."""
    found = Counter((label, chosen[content]) for content, need in pictures.items() for label in need.elements())
    return pd.DataFrame([[found[label, part] for part in like] for label in like.index], like.index, like.columns)


def _deal_by_quota(pictures: Mapping[str, Counter], quota: pd.DataFrame, rng: np.random.Generator) -> dict[str, str]:
    """{sha256: part}: duplicates at random where all their classes have room, then single images; "" where none has."""
    chosen, left = dict.fromkeys(pictures, ""), quota.to_dict("index")
    groups = [item for item in pictures.items() if item[1].total() > 1]
    for content, need in sorted(groups, key=lambda item: -item[1].total()):
        room = [part for part in quota if all(left[label][part] >= images for label, images in need.items())]
        if room:
            weight = np.array([sum(left[label][part] for label in need) for part in room], dtype=float)
            chosen[content] = str(rng.choice(room, p=weight / weight.sum()))
            for label, images in need.items():
                left[label][chosen[content]] -= images
    single: dict[str, list[str]] = {label: [] for label in left}
    for content, need in pictures.items():
        if need.total() == 1:
            single[next(iter(need))].append(content)
    for label, contents in single.items():
        dealt = [part for part, room in left[label].items() for _ in range(room)]
        chosen |= {contents[place]: part for place, part in zip(rng.permutation(len(contents)), dealt, strict=False)}
    return chosen


def _connected_classes(pictures: Mapping[str, Counter], labels: Sequence[str]) -> list[list[str]]:
    """The classes in sets that share no picture with one another, in natural order."""
    index = {label: place for place, label in enumerate(labels)}
    pairs = {(index[first], index[other]) for first, *others in pictures.values() for other in others}
    links = np.zeros((len(labels), len(labels)), dtype=bool)
    links[tuple(np.array(sorted(pairs), dtype=int).reshape(-1, 2).T)] = True
    _, member = connected_components(links, directed=False)
    return [[label for label in labels if member[index[label]] == number] for number in dict.fromkeys(member)]


def _deal_nearest(pictures: Mapping[str, Counter], quota: pd.DataFrame, excess: pd.Series | int, drawn: Mapping[str, str],
                  rng: np.random.Generator, *, whole: bool) -> dict[str, str]:
    """{sha256: part} as near to the quotas as whole pictures come, each class in each part; ValueError where none is.

    Pictures with the same images of the same classes are one kind: `_nearest_numbers` says how many of a kind go where,
    chance says which. `excess`: images of other classes beyond the parts' sizes; `drawn`: a first draw, to stay near;
    `whole`: all are used, else "" marks those that are not.
    """
    kinds: dict[tuple, list[str]] = {}
    for content, need in pictures.items():
        kinds.setdefault(tuple(sorted(need.items())), []).append(content)
    needs = np.array([[dict(kind).get(label, 0) for label in quota.index] for kind in kinds])
    first = np.array([[sum(drawn[content] == part for content in contents) for part in quota]
                      for contents in kinds.values()])
    sizes = np.array([len(contents) for contents in kinds.values()])
    numbers = _nearest_numbers(needs, sizes, quota.to_numpy(), np.asarray(excess), first, whole=whole)
    if numbers is None:
        least = min(quota.index, key=lambda label: sum(label in need for need in pictures.values()))
        raise ValueError(f"The class {least!r} shares so many pictures with {', '.join(quota.index.drop(least))} that no "
                         f"split was found with one of each in {', '.join(quota)}: correct the labels of the pictures that "
                         "stand under several, or add images.")
    chosen = {}
    for contents, number in zip(kinds.values(), numbers, strict=True):
        parts = [*np.repeat(list(quota), number).tolist(), *[""] * (len(contents) - number.sum())]
        chosen |= {contents[place]: part for place, part in zip(rng.permutation(len(contents)), parts, strict=True)}
    return chosen


def _nearest_numbers(needs: np.ndarray, sizes: np.ndarray, quota: np.ndarray, excess: np.ndarray, first: np.ndarray, *,
                     whole: bool) -> np.ndarray | None:
    """How many pictures of each kind go to each part (kinds, parts), each class in each part; None where none is such.

    `needs` (kinds, classes): images of a class in a picture; `sizes` (kinds,): pictures; `quota` (classes, parts). An
    integer programme (HiGHS) that minimises one after another: images off the quotas of the classes, images off the sizes
    of the parts, pictures off the `first` draw (kinds, parts). Each search ends after 1,000 nodes, if not solved by then.
    """
    each = np.eye(quota.shape[1])
    rows = [np.kron(needs.T, each), np.kron(needs.sum(1)[None], each), np.eye(first.size)]
    wanted = np.concatenate([quota.ravel(), quota.sum(0) - excess, first.ravel()])
    off = np.eye(len(wanted))  # behind the numbers x stand variables for |rows x - wanted|
    present, used = (np.pad(matrix, ((0, 0), (0, len(off)))) for matrix in (
        np.kron(needs.T > 0, each), np.kron(np.eye(len(sizes)), np.ones(quota.shape[1]))))
    limits = [LinearConstraint(np.hstack([np.vstack(rows), -off]), ub=wanted),
              LinearConstraint(np.hstack([np.vstack(rows), off]), lb=wanted),
              LinearConstraint(present, lb=1), LinearConstraint(used, sizes if whole else 0, sizes)]
    goal, numbers = np.repeat([0, 1, 2], [len(part) for part in rows]), None
    for number in range(3):
        cost = np.concatenate([np.zeros(first.size), goal == number])
        found = milp(cost, integrality=np.arange(len(cost)) < first.size, constraints=limits, options={"node_limit": 1000})
        if found.x is None:
            break
        numbers = found.x[:first.size].round().astype(int).reshape(first.shape)
        limits.append(LinearConstraint(cost[None], ub=found.fun + 1e-6))
    return numbers


def describe_split(table: pd.DataFrame, sizes: Sequence[float]) -> list[str]:
    """Sentences on the table that `split_images` gave for `sizes`: what is given, how near the shares are, what is left."""
    parts, free, counts = _plan_split(table, sizes)
    lines = []
    if (parts != "").any():
        lines.append("The parts are those that the data set gives: SPLIT is not used." if free.empty else
                     f"The test images are those that the data set gives; SPLIT divides the other {_images(len(free))}.")
    if len(free):
        found = pd.crosstab(free["label"], free["split"])
        quota = _class_quotas(free["label"], counts)
        lines += _describe_shares(free, quota, found.reindex(index=quota.index, columns=quota.columns, fill_value=0))
    copies = int((table["split"] == "").sum() - (free["split"] == "").sum())
    if copies:
        lines.append(f"{_images(copies)} {'is' if copies == 1 else 'are'} not used: the same pixels are in a part that the "
                     "data set gives.")
    if sum(counts) < len(free):
        unused = int((free["split"] == "").sum())
        lines.append(f"SPLIT asks for {sum(counts):,} of the {_images(len(free))}; {unused:,} are not used.")
    return lines


def _describe_shares(free: pd.DataFrame, quota: pd.DataFrame, found: pd.DataFrame, *, named: int = 10) -> list[str]:
    """Sentences on the images `found` of each class in each part beside their `quota`; `named` misses are told by name."""
    words = [{"val": "validation"}.get(part, part) for part in quota]
    missed = quota.index[(found != quota).any(axis=1)]
    together = free.groupby("sha256")["label"].transform("size")
    lines = []
    for label in missed[:named]:
        group = together[free["label"] == label].max()
        here = _listed([f"{number:,} {word}" for number, word in zip(found.loc[label], words, strict=True)])
        lines.append(f"“{label}” has {here} images where its shares are {_listed(quota.loc[label])}: images with the same "
                     f"pixels stay together, and it has a group of {group:,}.")
    if len(missed) > named:
        most = int((found - quota).loc[missed[named:]].abs().max(axis=None))
        lines.append(f"Duplicates keep {len(missed) - named:,} more of the classes from their shares, by at most "
                     f"{_images(most)} in a part.")
    if (found.sum() != quota.sum()).any():
        lines.append(f"So {_listed(words)} have {_listed(found.sum())} images, where SPLIT asks for {_listed(quota.sum())}.")
    fitting = quota.index.difference(missed)
    if len(fitting):
        shares = np.outer(free["label"].value_counts()[fitting], quota.sum() / len(free))
        off = math.ceil(10 * np.abs(found.loc[fitting] - shares).max(axis=None) - 1e-6) / 10
        lines.append(f"Every {'other ' if len(missed) else ''}class has its share of {_listed(words)}"
                     + (f", rounded to whole images: at most {off:.1f} off." if off else ", exactly."))
    return lines


def _images(number: int) -> str:
    return f"{number:,} image{'' if number == 1 else 's'}"


def _listed(items: Iterable[str | int]) -> str:
    """Words or numbers as a reader lists them: a, b and c."""
    *first, last = [item if isinstance(item, str) else f"{item:,}" for item in items]
    return f"{', '.join(first)} and {last}" if first else last


def save_split(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Write the table after splitting to `path` (split.csv) and give what was read from there."""
    columns = ["path", "label", "split", "width", "height", "sha256", "group"]
    write_csv(path, table[columns])
    return read_split(path)


def split_stamp(table: pd.DataFrame) -> str:
    """The fingerprint of a split: which image, by its pixels, is in which part under which label."""
    return fingerprint(table[["path", "label", "split", "sha256"]])


def read_split(path: Path) -> pd.DataFrame:
    """The image table in a split.csv."""
    texts = {name: str for name in ("path", "label", "split", "sha256")}
    return pd.read_csv(path, dtype=texts | {"group": "Int64"}, keep_default_na=False, na_values={"group": [""]})


def split_overlaps(table: pd.DataFrame) -> pd.DataFrame:
    """For each two of train, val and test: how many paths and how many decoded images they share (0: disjoint)."""
    parts = {split: table[table["split"] == split] for split in SPLITS}
    rows = [{"parts": f"{a} and {b}", **{f"shared {what}": len(set(parts[a][column]) & set(parts[b][column]))
                                        for what, column in (("paths", "path"), ("content", "sha256"))}}
            for a, b in (("train", "val"), ("train", "test"), ("val", "test"))]
    return pd.DataFrame(rows)


def class_counts(table: pd.DataFrame) -> pd.DataFrame:
    """Images by class and split, and each class's share of its split in percent.

    The last row is the sum, "all", or "(all)" where a class has that name: find it by its place.
    """
    used = table[table["split"] != ""]
    counts = pd.crosstab(used["label"], used["split"]).reindex(
        index=natural_sort(used["label"].unique()), columns=list(SPLITS), fill_value=0)
    shares = (100 * counts / counts.sum()).add_suffix(" %")
    rows, total = pd.concat([counts, shares], axis=1), "all"
    while total in rows.index:
        total = f"({total})"
    sums = pd.concat([counts.sum(), shares.sum()]).to_frame(total).T.astype(rows.dtypes)
    return pd.concat([rows, sums]).rename_axis(index="class", columns=None).reset_index()


# ---------------------------------------------------------------------------------------- tensors

class ImageDataset(Dataset):
    """The images of a table (columns path, label) below `root`: (transformed image, index of the class)."""

    def __init__(self, table: pd.DataFrame, root: Path, classes: Sequence[str], transform: Callable):
        self.paths = [str(Path(root) / path) for path in table["path"]]
        self.targets = [list(classes).index(label) for label in table["label"]]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(load_image(self.paths[index])), self.targets[index]


def make_transform(preprocessing: Mapping, image_size: int, augmentation: str = "none", *,
                   reduced: int | None = None) -> v2.Compose:
    """PIL image -> normalised (3, image_size, image_size) float32; the whole image is resized, nothing is cropped.

    Augmentation is drawn anew for each image: "light" random resized crops (70-100 % of the area) and flips, "strong"
    larger crops, TrivialAugment (Müller and Hutter 2021) and random erasing besides. Mean, standard deviation
    and interpolation come from `preprocessing`, which belongs to the weights. `reduced` first shrinks the image to that
    many pixels a side, for the resolution control of notebook 03. With channels 1 in `preprocessing` images become gray.
    """
    if augmentation not in AUGMENTATIONS:
        raise ValueError(f"AUGMENTATION = {augmentation!r} is not legal: {nearest(augmentation, AUGMENTATIONS)}")
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


# ---------------------------------------------------------------------------------------- looking at images

def show_images(images: Sequence[PILImage.Image], captions: Sequence[str], *, columns: int, title: str = "",
                colors: Sequence | None = None, size: float = 1.55) -> plt.Figure:
    """A grid of images, row by row, each with a caption under it; `colors` frame the images (None: no frame)."""
    rows = math.ceil(len(images) / columns)
    lines = max((caption.count("\n") + 1 for caption in captions if caption), default=0)
    fig, axes = plt.subplots(rows, columns, figsize=(columns * size, rows * (size + 0.17 * lines) + 0.3 * bool(title)),
                             squeeze=False, layout="constrained")
    for index, ax in enumerate(axes.flat):
        ax.set(xticks=[], yticks=[])
        ax.set_visible(index < len(images))
        if index < len(images):
            ax.imshow(images[index], cmap="gray", vmin=0, vmax=255)
            ax.set_xlabel(captions[index], fontsize=8, labelpad=3, parse_math=False)
            color = colors[index] if colors else None
            ax.spines[:].set(visible=color is not None, color=color or "white", linewidth=3)
    if title:
        fig.suptitle(title, fontsize=11, x=0.01, ha="left", parse_math=False)
    return fig


def draw_samples(table: pd.DataFrame, *, seed: int, per_class: int = 2, classes: int = 12) -> pd.DataFrame:
    """Rows of a table drawn at random: up to `per_class` different images of each of the first `classes` classes."""
    shuffled = table.sample(frac=1, random_state=seed)
    return pd.concat([shuffled[shuffled["label"] == label].head(per_class)
                      for label in natural_sort(table["label"].unique())[:classes]])


def show_augmentation(table: pd.DataFrame, root: Path, transforms: Mapping[str, Callable], preprocessing: Mapping, *,
                      seed: int, draws: int = 7) -> plt.Figure:
    """A row an image of `table`: as the transform "eval" gives it, then `draws` draws of the transform "train"."""
    mean, std = (torch.tensor(preprocessing[name]).view(-1, 1, 1) for name in ("mean", "std"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        images = [load_image(root / path) for path in table["path"]]
        tensors = [transforms[kind](image) for image in images for kind in ("eval", *["train"] * draws)]
    shown = [to_pil_image((tensor * std + mean).clamp(0, 1)) for tensor in tensors]
    texts = [text for name in short_paths(table["path"]) for text in (f"{name}\nas evaluated", *[""] * draws)]
    return show_images(shown, texts, columns=draws + 1)


def short_paths(paths: Iterable[str], width: int = 19) -> list[str]:
    """Captions for paths: folder and name, cut on the left to `width` characters.

    Different paths have different captions: where they would come out the same, more of them is shown, in lines of `width`.
    """
    paths = list(paths)
    lengths = dict.fromkeys(paths, width)
    while True:
        texts = {path: _path_end(path, length, whole=length > width) for path, length in lengths.items()}
        times = Counter(texts.values())
        alike = [path for path, text in texts.items() if times[text] > 1 and lengths[path] < max(len(path), width + 1)]
        if not alike:
            break
        lengths |= {path: lengths[path] + 1 for path in alike}
    return ["\n".join(texts[path][start:start + width] for start in range(0, len(texts[path]), width)) for path in paths]


def _path_end(path: str, length: int, *, whole: bool) -> str:
    """The last `length` characters of a path, or of its last two parts; "…" stands for what is cut."""
    name = path if whole else "/".join(path.split("/")[-2:])
    return name if len(name) <= length else f"…{name[1 - length:]}"


def captions(predictions: pd.DataFrame, score_of: str | None, marks: Mapping[str, str]) -> tuple[list[str], list]:
    """Captions (path, true class, predicted class, score) and frame colours (green right, vermilion wrong) for a grid.

    `score_of` names the class whose score is shown, None: that of the predicted class. `marks` {path: sign} is put
    before the path, which is shortened by `short_paths`.
    """
    texts, colors = [], []
    for row, name in zip(predictions.to_dict("records"), short_paths(predictions["path"]), strict=True):
        score = row[f"prob_{score_of or row['predicted']}"]
        number = f"{score:.3f}" if score >= 0.001 else f"{score:.0e}"
        texts.append(f"{marks.get(row['path'], '')}{name}\ntrue: {row['label']}\npredicted: {row['predicted']}\n"
                     f"score: {number}")
        colors.append("#009e73" if row["label"] == row["predicted"] else "#d55e00")
    return texts, colors


def show_predictions(predictions: pd.DataFrame, root: Path, *, columns: int, score_of: str | None = None,
                     marks: Mapping[str, str] | None = None, title: str = "", size: float = 2.05) -> plt.Figure:
    """A grid of images with their captions (see `captions`), framed green where right and vermilion where wrong."""
    texts, colors = captions(predictions, score_of, marks or {})
    images = [load_image(root / path) for path in predictions["path"]]
    return show_images(images, texts, columns=columns, colors=colors, title=title, size=size)


def image_marks(table: pd.DataFrame) -> dict[str, str]:
    """{path: sign}: "‡ " for a suspected label error (same pixels, other label), "† " for another duplicate."""
    found = duplicate_table(table)
    return {row["path"]: "‡ " if row["conflicting"] else "† " for row in found.to_dict("records")}
