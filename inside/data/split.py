"""The split into train, validation and test: stratified, seeded, duplicates kept together; and its proof."""

from __future__ import annotations

import dataclasses
import functools
import math
import reprlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from inside.data.dealing import _class_quotas, _draw_split
from inside.data.sources import ImageSet
from inside.files import fingerprint, read_csv, write_csv
from inside.names import SPLITS, check_split
from inside.text import literal, natural_sort, visible


def split_counts(n_images: int, sizes: Sequence[float]) -> list[int]:
    """Images in train, validation and test: `sizes` are counts, or fractions that sum to at most 1."""
    check_split(sizes)
    if all(isinstance(size, int) for size in sizes):
        if sum(sizes) > n_images:
            raise ValueError(f"SPLIT = {list(sizes)} asks for {sum(sizes):,} images, but there are only {n_images:,}: "
                             "lower the counts or give fractions.")
        return [int(size) for size in sizes]
    total = round(n_images * min(sum(sizes), 1))
    val, test = (round(n_images * size) for size in sizes[1:])
    if min(total - val - test, val, test) < 1:
        raise ValueError(f"SPLIT = {list(sizes)} leaves a part empty with {n_images:,} images: use larger fractions.")
    return [total - val - test, val, test]


@dataclasses.dataclass(frozen=True)
class Split:
    """A split of the images below `root`: their table with a column `split`, "" for unused ones."""

    table: pd.DataFrame
    root: Path
    classes: list[str]

    @functools.cached_property
    def parts(self) -> dict[str, pd.DataFrame]:
        """{"train", "val", "test": table} of the parts that contain images."""
        parts = {part: self.table[self.table["split"] == part].reset_index(drop=True) for part in SPLITS}
        return {part: table for part, table in parts.items() if len(table)}

    @property
    def fingerprint(self) -> str:
        """The fingerprint of a split: which image, identified by its pixels, is in which part with which label."""
        return fingerprint(self.table[["path", "label", "split", "sha256"]])

    def save(self, path: Path) -> Split:
        """Write the table to `path` (split.csv) and return the split as read from there."""
        columns = ["path", "label", "split", "width", "height", "sha256", "group"]
        write_csv(path, self.table[columns])
        return self.read(path, self.root)

    @classmethod
    def read(cls, path: Path, root: Path) -> Split:
        """The split in a split.csv, of the images below `root`. ValueError where it is no such table, as after an edit."""
        try:
            table = read_csv(path, texts=("path", "label", "split", "sha256"), dtype={"group": "Int64"})
            problem = _problem(table)
        except (ValueError, OSError) as error:  # pandas' errors of parsing are ValueErrors
            problem = str(error).splitlines()[0]
        if problem:
            raise ValueError(f"{path} is not as notebook 01 writes it ({problem}): run notebook 01 again.")
        return cls(table, root, natural_sort(table["label"].unique()))


def _problem(table: pd.DataFrame) -> str:
    """What keeps a table from being that of a split; "" for nothing."""
    missing = [name for name in ("path", "label", "split", "sha256", "group") if name not in table]
    if missing or table.empty:
        return f"there is no column {', '.join(missing)}" if missing else "it has no row"
    parts = table.loc[~table["split"].isin([*SPLITS, ""]), "split"]
    if len(parts):
        return f"a part is called {reprlib.repr(parts.iloc[0])}"
    twice = table.loc[table["path"].duplicated(), "path"]
    if len(twice):
        return f"{visible(twice.iloc[0])} stands there twice"
    away = [path for path in table["path"] if Path(path).is_absolute() or ".." in Path(path).parts]
    return f"{visible(away[0])} is not within the folder of the images" if away else ""


def split_images(images: ImageSet, sizes: Sequence[float], *, seed: int) -> Split:
    """The split of decoded images, see `split_table`."""
    return Split(split_table(images.table, sizes, seed=seed), images.root, images.classes)


def split_table(table: pd.DataFrame, sizes: Sequence[float], *, seed: int) -> pd.DataFrame:
    """The image table with a column `split`: "train", "val", "test", or "" for images that are not used.

    Stratified: each class has its share of each part, rounded to whole images. Images with the same pixels, or of the same
    `group`, go to the same part; if that makes the shares impossible, they are met as closely as whole groups allow (see
    `describe_split`).
    Test images given by the data set (its val/ if it has no test/) remain the test images, and copies of them elsewhere
    are not used. The same images, sizes and seed give the same split, whatever the order of the rows. Raises
    ValueError, also if a class would have no image in one of the parts.
    """
    parts, free, counts = _plan_split(_as_pictures(table), sizes)
    if len(free):
        parts[free.index] = _draw_split(free, counts, seed)
    table = table.assign(split=parts)
    _require_every_class(table)
    return table


def _as_pictures(table: pd.DataFrame) -> pd.DataFrame:
    """A table in which all images of a group have the sha256 of one of them, so that they stay together."""
    if "group" not in table:
        return table
    return table.assign(sha256=table.groupby("group")["sha256"].transform("min").fillna(table["sha256"]))


def check_split_fits(table: pd.DataFrame, sizes: Sequence[float]) -> None:
    """Raise ValueError where images as they are listed (none is opened: each is taken for unique) cannot be split so."""
    listed = table.assign(sha256=table["path"])
    parts, free, counts = _plan_split(listed, sizes)
    if len(free):
        _class_quotas(free["label"], counts)
    if (parts != "").any():  # of those that are drawn, each class has one in train and val
        drawn = [free.assign(split=part) for part in ("train", "val")]
        _require_every_class(pd.concat([listed.assign(split=parts)[parts != ""], *drawn]))


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
    return parts, free, [*_train_and_val(len(free), sizes, int(copies.sum())), 0]


def _train_and_val(n: int, sizes: Sequence[float], copies: int) -> tuple[int, int]:
    """How many of n images go to train and val where the test images are given: fractions are of all but the test part.

    Where only `copies` of test images, which are not used, are missing from a count, train has so many fewer.
    """
    train, val, test = sizes
    if isinstance(val, float):
        total = min(n, round(n * (train + val) / (1 - test)))
        val = max(1, round(total * val / (train + val)))
        train = total - val
    if train + val > n + copies:
        raise ValueError(f"SPLIT = {list(sizes)} asks for {train:,} training and {val:,} validation images: there are "
                         f"{n + copies:,} images apart from the given test images.")
    train = min(train, n - val)
    if train < 1:
        raise ValueError(f"SPLIT = {list(sizes)} leaves no training image besides {val:,} for validation: there are {n:,} "
                         "images apart from the given test images.")
    return int(train), int(val)


def _require_every_class(table: pd.DataFrame) -> None:
    """Raise ValueError if a class has no image in one of the parts of a split."""
    counts = pd.crosstab(table["label"], table["split"]).reindex(columns=[*SPLITS, ""], fill_value=0)
    for label, row in counts.loc[natural_sort(counts.index)].iterrows():
        if row[list(SPLITS)].min() < 1:
            copies = (f", and {row['']} of its images are unused because copies of them are in a given part"
                      if row[""] else "")
            raise ValueError(f"The class {label!r} has no image in {row[list(SPLITS)].idxmin()}{copies}: add images to it "
                             "there, or remove the class.")


def proportional_sample(table: pd.DataFrame, n: int, *, seed: int) -> pd.DataFrame:
    """n rows of a table (column label), drawn at random, in their order: as many of a class as its share, at least one.

    0, or as many as there are: all. The shares hold to within one image.
    """
    if not 0 < n < len(table):
        return table
    drawn = table.sample(frac=1, random_state=seed)
    by_label = drawn.groupby("label")["label"]
    place = by_label.cumcount() / by_label.transform("size")  # 0 for the first of each class
    return table.loc[sorted(place.sort_values(kind="stable").index[:max(n, by_label.ngroups)])].reset_index(drop=True)


def split_overlaps(table: pd.DataFrame, near: pd.DataFrame | None = None) -> pd.DataFrame:
    """For each pair of train, val and test: how many paths and decoded images they share (0: disjoint).

    With `near` (path, other_path), also how many of these near duplicates have one image in each.
    """
    parts = {split: table[table["split"] == split] for split in SPLITS}
    rows = [{"parts": f"{a} and {b}", **{f"shared {what}": len(set(parts[a][column]) & set(parts[b][column]))
                                        for what, column in (("paths", "path"), ("content", "sha256"))}}
            for a, b in (("train", "val"), ("train", "test"), ("val", "test"))]
    overlaps = pd.DataFrame(rows)
    if near is not None:
        part = table.set_index("path")["split"]
        ends = list(zip(near["path"].map(part), near["other_path"].map(part), strict=True))
        overlaps["near duplicates"] = [sum(set(both) == set(pair.split(" and ")) for both in ends)
                                       for pair in overlaps["parts"]]
    return overlaps


def class_counts(table: pd.DataFrame) -> pd.DataFrame:
    """Images by class and part, and each class's share of the part in percent.

    The last row is the sum, "all", or "(all)" if a class has that name: find it by its position.
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


def describe_split(table: pd.DataFrame, sizes: Sequence[float]) -> list[str]:
    """Sentences on the table that `split_table` gave for `sizes`: what is given, how near the shares are, what is left."""
    parts, free, counts = _plan_split(_as_pictures(table), sizes)
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
        lines.append(f"{_images(copies)} {'is' if copies == 1 else 'are'} not used: copies of "
                     f"{'it' if copies == 1 else 'them'} are in a part that the data set gives.")
    if sum(counts) < len(free):
        unused = int((free["split"] == "").sum())
        lines.append(f"SPLIT asks for {sum(counts):,} of the {_images(len(free))}; {unused:,} are not used.")
    return lines


def _describe_shares(free: pd.DataFrame, quota: pd.DataFrame, found: pd.DataFrame, *, named: int = 10) -> list[str]:
    """Sentences on the images `found` of each class in each part beside their `quota`; up to `named` misses by name."""
    words = [{"val": "validation"}.get(part, part) for part in quota]
    missed = quota.index[(found != quota).any(axis=1)]
    together = free.groupby("sha256")["label"].transform("size")
    lines = []
    for label in missed[:named]:
        group = together[free["label"] == label].max()
        here = _listed([f"{number:,} {word}" for number, word in zip(found.loc[label], words, strict=True)])
        lines.append(f"“{literal(label)}” has {here} images where its shares are {_listed(quota.loc[label])}: "
                     f"duplicates stay together, and its largest group has {group:,}.")
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
