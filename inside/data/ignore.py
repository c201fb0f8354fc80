"""IGNORE: images that a reader has struck out are left out after the split, so that all others keep their part."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from inside.data.split import Split
from inside.files import ROOT, read_csv
from inside.names import SPLITS
from inside.text import did_you_mean, visible


def read_ignored(file: str) -> list[str]:
    """The column `path` of a CSV file, in the folder where one works or that of the project; "" gives none.

    Raises ValueError where there is no such file, or no such column in it.
    """
    if not file:
        return []
    try:
        place = next(place for place in (Path(file).expanduser(), ROOT / file) if place.is_file())
        table = read_csv(place, texts=("path",))
    except StopIteration:
        raise ValueError(f"IGNORE = {file!r} is no file: give a CSV file with a column path, or \"\".") from None
    except (ValueError, OSError, RuntimeError) as error:  # pandas' errors of parsing are ValueErrors
        raise ValueError(f"IGNORE = {file!r} cannot be read ({str(error).splitlines()[0]}): give a CSV file with a column "
                         "path.") from None
    if "path" not in table:
        raise ValueError(f"IGNORE = {file!r} has no column path: give one, with paths as they stand in split.csv.")
    return list(dict.fromkeys(table["path"]))


def check_ignored(file: str, known: Collection[str]) -> None:
    """Raise ValueError unless IGNORE can be read and names images of the data set alone, whose paths are `known`."""
    paths = read_ignored(file)
    strange = [path for path in paths if path not in set(known)] if paths else []
    if strange:
        others = f" and {len(strange) - 1:,} others" if len(strange) > 2 else " and another" if len(strange) > 1 else ""
        raise ValueError(f"IGNORE names {visible(strange[0])!r}{others}, which the data set does not have: "
                         f"{did_you_mean(strange[0], known)}")


def ignore_images(split: Split, file: str) -> Split:
    """The split in which the images that the file IGNORE names are in no part. Raises ValueError, as `check_ignored` does,
    and where a part has no image of a class any more."""
    check_ignored(file, split.table["path"].tolist())
    struck = split.table["path"].isin(read_ignored(file))
    table = split.table.assign(split=split.table["split"].mask(struck, ""))
    counts = pd.crosstab(table["label"], table["split"]).reindex(columns=list(SPLITS), fill_value=0)
    empty = [(label, part) for label in split.classes for part in SPLITS if not counts[part][label]]
    if struck.any() and empty:
        label, part = empty[0]
        raise ValueError(f"IGNORE leaves no image of the class {label!r} in {part}: strike out fewer, or remove the class.")
    return dataclasses.replace(split, table=table)


def describe_ignored(drawn: pd.DataFrame, left: pd.DataFrame) -> list[str]:
    """How many images of each part IGNORE leaves out: the tables of a split before and after; [] for none."""
    gone = drawn.loc[drawn["split"] != left["split"], "split"].value_counts()
    if gone.empty:
        return []
    parts = ", ".join(f"{gone[part]:,} of {word}" for part, word in (
        ("train", "training"), ("val", "validation"), ("test", "test")) if part in gone)
    number = int(gone.sum())
    return [f"IGNORE leaves out {number:,} image{'s' * (number > 1)}: {parts}. All others keep their part."]
