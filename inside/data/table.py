"""The image table: every file decoded once, with its size, a fingerprint of its pixels, and its duplicates."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image as PILImage
from PIL import ImageOps

from inside.data.sources import ImageSet
from inside.files import DATA, fingerprint, read_csv, write_csv
from inside.text import literal, natural_sort


def load_image(path: str | Path) -> PILImage.Image:
    """Decode an image file of any mode to RGB, upright by its EXIF orientation; transparency becomes white.

    16-bit grey levels are scaled to 8 bits (Pillow alone would clip them). Raises OSError, ValueError or
    SyntaxError, as Pillow does, for a file that cannot be decoded.
    """
    with PILImage.open(path) as image:
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):
            levels = np.asarray(image, dtype=np.float64)
            if levels.min() < 0 or levels.max() > 65535:
                raise ValueError("32-bit values beyond the 16-bit range: convert the image to 8 or 16 bits")
            image = PILImage.fromarray((levels / 257).round().astype(np.uint8))
        elif image.mode == "F":
            raise ValueError("floating-point values: convert the image to 8 or 16 bits")
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = PILImage.alpha_composite(PILImage.new("RGBA", image.size, "white"), image)
        return image.convert("RGB")


def _examine(path: Path) -> tuple[int, int, str, str]:
    """(width, height, sha256 of the decoded RGB pixels, the reason why it could not be decoded or "")."""
    try:
        image = load_image(path)
    except Exception as error:  # decoders raise many kinds; each means that this file is not an image we can use
        reason = str(error).replace(str(path), path.name) or type(error).__name__
        return 0, 0, "", "not an image file" if isinstance(error, PILImage.UnidentifiedImageError) else reason
    digest = hashlib.sha256(f"{image.width}x{image.height}".encode() + image.tobytes())
    return image.width, image.height, digest.hexdigest(), ""


def decode_images(images: ImageSet, *, bad_images: str = "skip", cache: Path | None = None,
                  workers: int | None = None) -> tuple[ImageSet, pd.DataFrame]:
    """Decode every file of a set once; returns the set of those that can be decoded and the table of those that cannot.

    The image table: path, label, given, width, height, sha256 (of the decoded pixels), group (of duplicates, <NA> for
    unique images). Bad: path, reason. The results for files that have not changed (size, time) are kept in `cache`, so that
    a second call decodes nothing. bad_images="stop" raises ValueError if a file cannot be decoded.
    """
    cache = (DATA / "cache" if cache is None else Path(cache)) / f"{fingerprint(str(images.root))}.csv"
    columns = ["path", "bytes", "changed", "width", "height", "sha256", "reason"]
    kept = read_csv(cache, texts=("path", "sha256", "reason")) if cache.exists() else pd.DataFrame(columns=columns)
    known = {row[:3]: row for row in kept.itertuples(index=False, name=None)}
    stats = [(path, (root := os.stat(images.root / path)).st_size, root.st_mtime_ns) for path in images.table["path"]]
    new = [key for key in stats if key not in known]
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:  # Pillow and hashlib release the interpreter's lock
        for key, found in zip(new, pool.map(lambda key: _examine(images.root / key[0]), new), strict=True):
            known[key] = (*key, *found)
    seen = pd.DataFrame([known[key] for key in stats], columns=columns)
    if new:
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_csv(cache, seen)
    bad = seen.loc[seen["reason"] != "", ["path", "reason"]].reset_index(drop=True)
    if len(bad) and bad_images == "stop":
        raise ValueError(f"{len(bad)} of {len(seen):,} images cannot be decoded, the first is {literal(bad['path'][0])} "
                         f"({bad['reason'][0]}): repair or remove them, or set BAD_IMAGES = \"skip\".")
    table = images.table.merge(seen.loc[seen["reason"] == "", ["path", "width", "height", "sha256"]], on="path")
    if table.empty:
        raise ValueError(f"None of the {len(seen):,} files of {images.root} can be decoded: {bad['reason'][0]}.")
    shared = table["sha256"].duplicated(keep=False)
    table["group"] = pd.Series(pd.factorize(table["sha256"].where(shared))[0], dtype="Int64").mask(~shared)
    return dataclasses.replace(images, table=table), bad


def size_table(table: pd.DataFrame) -> pd.DataFrame:
    """Images per class, with the range of their widths and heights in pixels."""
    by_class = table.groupby("label")
    ends = {side: by_class[side].agg(["min", "max"]).astype(str) for side in ("width", "height")}
    span = {side: end["min"].where(end["min"] == end["max"], end["min"] + "–" + end["max"]) for side, end in ends.items()}
    sizes = pd.DataFrame({"images": by_class.size(), **span}).loc[natural_sort(table["label"].unique())]
    return sizes.rename_axis("class").reset_index()


def duplicate_table(table: pd.DataFrame) -> pd.DataFrame:
    """The images that share their pixels with another one: group, path, label, split, conflicting (several labels)."""
    found = table.dropna(subset=["group"]).sort_values(["group", "path"], kind="stable")
    found = found.assign(conflicting=found.groupby("group")["label"].transform("nunique") > 1)
    columns = ["group", "path", "label", "split", "conflicting"]
    return found[[name for name in columns if name in found]].reset_index(drop=True)


def describe_duplicates(duplicates: pd.DataFrame) -> str:
    """What `duplicate_table` found, and what it cannot find, in two sentences."""
    groups, conflicting = (rows["group"].nunique() for rows in (duplicates, duplicates[duplicates["conflicting"]]))
    found = (f"{groups:,} group{'' if groups == 1 else 's'} of images with the same decoded pixels, {conflicting:,} of them "
             "with different labels.") if groups else "No two images have the same decoded pixels."
    return f"{found} Copies that were recompressed (as JPEG), resized or cropped have different pixels and are not found."


def image_marks(table: pd.DataFrame) -> dict[str, str]:
    """{path: sign}: "‡ " for a suspected label error (same pixels, other label), "† " for another duplicate."""
    found = duplicate_table(table)
    return {row["path"]: "‡ " if row["conflicting"] else "† " for row in found.to_dict("records")}
