"""The image table: every file decoded once, with its size, a fingerprint of its pixels, and its duplicates."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image as PILImage
from PIL import ImageOps

from inside.data.pixels import LARGEST_SIDE, PixelWriter
from inside.data.sources import ImageSet
from inside.files import DATA, fingerprint, read_csv, write_csv
from inside.pictures import open_picture
from inside.text import literal, natural_sort, visible

DIM = 2 ** 12  # 16-bit images whose values are all below it keep at most 17 of 256 levels


class UnreadableImage(ValueError):
    """An image that could be decoded when the images were listed and no longer can."""

    def __init__(self, told: str):
        super().__init__(told.rpartition("UnreadableImage: ")[2].strip())  # a worker process sends its whole traceback


def load_image(path: str | Path) -> PILImage.Image:
    """Decode an image file that `decode_images` has found good, as it does. Raises UnreadableImage, with its name."""
    try:
        return decode_image(path)
    except FileNotFoundError:
        raise UnreadableImage(f"The image {visible(str(path))} is gone since the images were listed: put it back, or run "
                              "notebook 01 again.") from None
    except Exception as error:
        raise UnreadableImage(f"The image {visible(str(path))} has changed since the images were listed and cannot be "
                              f"decoded ({_reason(error, Path(path))}): put it back, or run notebook 01 again.") from None


def decode_image(path: str | Path) -> PILImage.Image:
    """Decode an image file of any mode to RGB, upright by its EXIF orientation; transparency becomes white.

    Of several frames, the first. 16-bit grey levels are scaled to 8 bits (Pillow alone would clip them). Raises OSError,
    ValueError, SyntaxError or DecompressionBombError, as Pillow does, for a file that cannot be decoded.
    """
    with open_picture(path) as image:
        return _to_rgb(image)


def _to_rgb(image: PILImage.Image) -> PILImage.Image:
    image.load()
    with contextlib.suppress(Exception):  # EXIF that is no EXIF turns nothing
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        levels = _levels(image)
        if levels.min() < 0 or levels.max() > 65535:
            raise ValueError("32-bit values beyond the 16-bit range: convert the image to 8 or 16 bits")
        image = PILImage.fromarray((levels / 257).round().astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("floating-point values: convert the image to 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = PILImage.alpha_composite(PILImage.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _levels(image: PILImage.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.float64)


def _remark(image: PILImage.Image) -> str:
    """What to know about an opened image: "animated"; "dim" where it uses under a sixteenth of 16 bits; or ""."""
    if image.format in ("GIF", "WEBP", "PNG") and getattr(image, "is_animated", False):
        return "animated"
    return "dim" if image.mode.startswith("I") and _levels(image).max() < DIM else ""


def _examine(path: Path, keep: PixelWriter) -> tuple[int, int, str, str, str]:
    """(width, height, sha256 of the decoded RGB pixels, `_remark`, why it could not be decoded or "").

    Width -1: the system is the reason, such as a missing permission, and it may be another one at the next call.
    """
    try:
        with open_picture(path) as file:
            image, remark = _to_rgb(file), _remark(file)
    except Exception as error:  # decoders raise many kinds; each means that this file is not an image we can use
        of_system = isinstance(error, MemoryError) or isinstance(error, OSError) and error.errno
        return -1 if of_system else 0, 0, "", "", _reason(error, path)
    digest = hashlib.sha256(f"{image.width}x{image.height}".encode() + image.tobytes()).hexdigest()
    if max(image.size) <= LARGEST_SIDE:
        keep.add(digest, np.asarray(image))
    return image.width, image.height, digest, remark, ""


def _reason(error: Exception, path: Path) -> str:
    """Why a file could not be decoded, in a few words."""
    if isinstance(error, PILImage.DecompressionBombError):
        return f"more than {2 * (PILImage.MAX_IMAGE_PIXELS or 0):,} pixels: make the image smaller"
    if isinstance(error, PILImage.UnidentifiedImageError):
        start = path.read_bytes()[:512].lower()
        kinds = {b"ftyphei": "HEIC", b"ftypmif1": "HEIC", b"<svg": "SVG", b"<html": "a web page", b"<!doctype": "a web page"}
        found = next((f" but {kind}" for sign, kind in kinds.items() if sign in start), "")
        return f"not an image file{found}" if start else "an empty file"
    if isinstance(error, OSError) and error.errno and error.strerror:
        return error.strerror
    return str(error).replace(str(path), path.name) or type(error).__name__


_COLUMNS = {"path": "str", "bytes": "int64", "changed": "int64", "width": "int64", "height": "int64", "sha256": "str",
            "remark": "str", "reason": "str"}


def examine_images(root: Path, paths: Iterable[str], *, cache: Path | None = None,
                   workers: int | None = None) -> pd.DataFrame:
    """A row for each path below `root`: path, width, height, sha256 (of the decoded pixels), remark, reason ("": good).

    What is found out about a file is kept in `cache` until its size or one of its times changes; a cache that cannot be
    read is made anew. The pixels of images that are not too large are kept beside it.
    """
    folder = DATA / "cache" if cache is None else Path(cache)
    cache = folder / f"{fingerprint(str(root))}.csv"
    known, stats = _read_cache(cache), [(path, *_state(root / path)) for path in paths]
    new = [key for key in stats if key != known.get(key[0], ())[:3]]
    with PixelWriter(folder / "pixels") as keep, ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        examined = pool.map(lambda key: _examine(root / key[0], keep), new)  # Pillow and hashlib release Python's lock
        for key, found in zip(new, examined, strict=True):
            known[key[0]] = (*key, *found)
    if new:
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_csv(cache, pd.DataFrame([row for row in known.values() if row[3] >= 0], columns=list(_COLUMNS)))
    seen = pd.DataFrame([known[path] for path, *_ in stats], columns=list(_COLUMNS))
    return seen.drop(columns=["bytes", "changed"])


def _state(path: Path) -> tuple[int, int]:
    """(bytes, time of the last change of content or attributes) of a file; (-1, -1) for one that cannot be asked."""
    try:
        found = path.stat()
    except OSError:
        return -1, -1
    return found.st_size, max(found.st_mtime_ns, found.st_ctime_ns)


def _read_cache(cache: Path) -> dict[str, tuple]:
    """{path: row} of what is known; {} where nothing is, or nothing that can be read."""
    if not cache.exists():
        return {}
    try:
        kept = read_csv(cache, texts=("path", "sha256", "remark", "reason"))[list(_COLUMNS)].astype(_COLUMNS)
    except (ValueError, KeyError, OSError) as error:  # pandas' errors of parsing are ValueErrors
        print(f"{cache} cannot be read ({type(error).__name__}): all images are decoded again")
        return {}
    return {row[0]: row for row in kept.itertuples(index=False, name=None)}


def decode_images(images: ImageSet, *, bad_images: str = "skip", every_class: bool = True, cache: Path | None = None,
                  workers: int | None = None) -> tuple[ImageSet, pd.DataFrame]:
    """Decode every file of a set once; returns the set of those that can be decoded and the table of those that cannot.

    The image table: path, label, given, width, height, sha256, group (of duplicates, <NA> for unique images). Bad: path,
    reason. A second call decodes what has changed, see `examine_images`. ValueError: nothing of the set, or with
    `every_class` nothing of a class, can be decoded; with bad_images="stop", a file that cannot.
    """
    seen = examine_images(images.root, images.table["path"], cache=cache, workers=workers)
    good = seen["reason"] == ""
    refused = pd.DataFrame(list(images.refused.items()), columns=["path", "reason"])
    bad = pd.concat([seen.loc[~good, ["path", "reason"]], refused], ignore_index=True)
    if len(bad) and bad_images == "stop":
        raise ValueError(f"{len(bad)} of {len(seen) + len(refused):,} images cannot be decoded, the first is "
                         f"{literal(bad['path'][0])} ({bad['reason'][0]}): repair or remove them, or set BAD_IMAGES = "
                         '"skip".')
    table = images.table.merge(seen.loc[good, ["path", "width", "height", "sha256"]], on="path")
    if table.empty:
        raise ValueError(f"None of the {len(seen):,} images of {images.root} can be decoded: the first is "
                         f"{literal(bad['path'][0])} ({bad['reason'][0]}).")
    lost = [label for label in images.classes if label not in set(table["label"])]
    if lost and every_class:
        first = bad.loc[bad["path"].isin(images.table.loc[images.table["label"] == lost[0], "path"])].iloc[0]
        raise ValueError(f"No image of the class {lost[0]!r} can be decoded, the first is {literal(first['path'])} "
                         f"({first['reason']}): repair its images, or remove the class.")
    shared = table["sha256"].duplicated(keep=False)
    table["group"] = pd.Series(pd.factorize(table["sha256"].where(shared))[0], dtype="Int64").mask(~shared)
    return dataclasses.replace(images, table=table, notes=(*images.notes, *_remarks(seen[good]))), bad


_REMARKS = {"animated": "animated, such as {}: the first frame is used.",
            "dim": "dark, such as {}, using less than a sixteenth of the range of 16 bits, so that 17 levels of grey are "
                   "left at most: stretch the values to 0 to 65,535 first."}


def _remarks(seen: pd.DataFrame) -> list[str]:
    """A sentence for each kind of image that there is something to know about."""
    found = [(told, seen.loc[seen["remark"] == kind, "path"]) for kind, told in _REMARKS.items()]
    return [f"{len(paths):,} {'images are' if len(paths) > 1 else 'image is'} {told.format(literal(paths.iloc[0]))}"
            for told, paths in found if len(paths)]


def require_unchanged(table: pd.DataFrame, root: Path, *, cache: Path | None = None) -> None:
    """Raise ValueError unless the images of a table below `root` still have the pixels that it notes (sha256)."""
    found = examine_images(root, table["path"], cache=cache)
    changed = [(path, reason) for path, old, new, reason in zip(
        table["path"], table["sha256"], found["sha256"], found["reason"], strict=True) if old != new]
    if changed:
        (path, reason), others = changed[0], len(changed) - 1
        more = f" (and {others:,} other{'s' if others > 1 else ''})" if others else ""
        raise ValueError(f"The image {visible(str(path))}{more} is not the one that notebook 01 has split"
                         f"{f' ({reason})' if reason else ''}: run notebook 01 again, or put it back into {root}.")


def size_table(table: pd.DataFrame) -> pd.DataFrame:
    """Images per class, with the range of their widths and heights in pixels."""
    by_class = table.groupby("label")
    ends = {side: by_class[side].agg(["min", "max"]).astype(str) for side in ("width", "height")}
    span = {side: end["min"].where(end["min"] == end["max"], end["min"] + "–" + end["max"]) for side, end in ends.items()}
    sizes = pd.DataFrame({"images": by_class.size(), **span}).loc[natural_sort(table["label"].unique())]
    return sizes.rename_axis("class").reset_index()


def duplicate_table(table: pd.DataFrame) -> pd.DataFrame:
    """The images that share their pixels with another one: group, path, label, split, conflicting (several labels)."""
    shared = table["sha256"].duplicated(keep=False)
    found = table[shared].assign(group=pd.factorize(table.loc[shared, "sha256"])[0])
    found = found.assign(conflicting=found.groupby("group")["label"].transform("nunique") > 1)
    columns = ["group", "path", "label", "split", "conflicting"]
    found = found.sort_values(["group", "path"], kind="stable")
    return found[[name for name in columns if name in found]].reset_index(drop=True)


def describe_duplicates(duplicates: pd.DataFrame) -> str:
    """What `duplicate_table` found, in a sentence."""
    groups, conflicting = (rows["group"].nunique() for rows in (duplicates, duplicates[duplicates["conflicting"]]))
    return (f"{groups:,} group{'' if groups == 1 else 's'} of images with the same decoded pixels, {conflicting:,} of them "
            "with different labels.") if groups else "No two images have the same decoded pixels."


def image_marks(table: pd.DataFrame) -> dict[str, str]:
    """{path: sign}: "‡ " for a suspected label error (its group has several labels), "† " for another duplicate."""
    found = table.dropna(subset=["group"])
    conflicting = found.groupby("group")["label"].transform("nunique") > 1
    return {path: "‡ " if several else "† " for path, several in zip(found["path"], conflicting, strict=True)}
