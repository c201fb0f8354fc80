"""Near duplicates in groups, which the split keeps on one side."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from inside.curation.near_duplicates import PAIR_COLUMNS, find_pairs, hash_distances
from inside.data.sources import ImageSet

DIAMETER = 24  # bits of 63 within which all images of a group are
MOST_IMAGES, SMALLEST = 20_000, 64  # beyond these, "group" searches nothing


@dataclasses.dataclass(frozen=True)
class NearDuplicates:
    """What a search among the images of a set has found.

    `pairs`: group (<NA> where the limit of the diameter keeps the two apart), path, other_path, distance (bits of 63),
    cosine, correlation, mirrored. `mode`: "group", "report" or "off", with the reason `why_off`; `limit` and `by_chance`:
    see `confirmation`.
    """

    pairs: pd.DataFrame
    mode: str
    why_off: str = ""
    limit: float | None = None
    by_chance: float | None = None

    @property
    def searched(self) -> pd.DataFrame | None:
        """The pairs; None where nothing was searched."""
        return None if self.mode == "off" else self.pairs

    def table(self, images: pd.DataFrame) -> pd.DataFrame:
        """The pairs with the labels of their images, of a split also their parts; `conflicting`: the labels differ."""
        found, known = self.pairs.copy(), images.set_index("path")
        for column in [name for name in ("label", "split") if name in known]:
            for side in ("", "other_"):
                found[f"{side}{column}"] = found[f"{side}path"].map(known[column])
        return found.assign(conflicting=found["label"] != found["other_label"])

    def results(self, split: pd.DataFrame) -> dict:
        """The numbers of 01_results.json."""
        found = self.table(split)
        searched = self.mode != "off"
        return {"mode": self.mode, "why_off": self.why_off or None, "pairs": len(found) if searched else None,
                "conflicting_pairs": int(found["conflicting"].sum()) if searched else None,
                "groups": found["group"].nunique() if searched else None, "limit": self.limit, "by_chance": self.by_chance}


def group_near_duplicates(images: ImageSet, setting: str, *, device: torch.device | None = None,
                          bar: bool = False) -> tuple[ImageSet, NearDuplicates]:
    """Search decoded images for near duplicates; with "group" and "always", they share a `group` of the set's table.

    `setting`: NEAR_DUPLICATES. "group" searches at most MOST_IMAGES images, of at least SMALLEST pixels; "always" and
    "report" search any number and size. Images that cannot be told from copies are left as they are, see `find_pairs`.
    """
    none = pd.DataFrame(columns=["group", "path", "other_path", *PAIR_COLUMNS])
    if why_off := _why_off(images.table, setting):
        return images, NearDuplicates(none, "off", why_off)
    table = images.table.drop_duplicates("sha256").reset_index(drop=True)
    found = find_pairs(table, images.root, device=device, bar=bar)
    if found.why_not:
        return images, NearDuplicates(none, "off", found.why_not)
    member = limited_groups(found.table, found.hashes)
    numbers = group_numbers(images.table, dict(zip(table["sha256"], member, strict=True)))
    mode = "report" if setting == "report" else "group"
    pairs = _with_paths(found.table, table["path"], member, numbers.set_axis(images.table["path"]))
    if mode == "group":
        images = dataclasses.replace(images, table=images.table.assign(group=numbers))
    return images, NearDuplicates(pairs, mode, "", found.limit, found.by_chance)


def _why_off(table: pd.DataFrame, setting: str) -> str:
    """Why a setting searches nothing in an image table; "" where it does."""
    if setting == "off":
        return 'NEAR_DUPLICATES = "off"'
    told = beyond_limits(table) if setting == "group" else ""
    return f'{told}; NEAR_DUPLICATES = "always" searches them all the same' if told else ""


def beyond_limits(table: pd.DataFrame) -> str:
    """Why images are not searched unless that is asked for: they are too many, or too small; "" where they are neither."""
    if len(table) > MOST_IMAGES:
        return f"there are more than {MOST_IMAGES:,} images"
    small = table[["width", "height"]].min(axis=1).median() < SMALLEST
    return f"most images have a side under {SMALLEST} pixels" if small else ""


def limited_groups(pairs: pd.DataFrame, hashes: np.ndarray) -> np.ndarray:
    """The number (N,) of the group of each row: what pairs connect, cut by complete linkage to within DIAMETER bits."""
    n = len(hashes)
    links = coo_array((np.ones(len(pairs)), (pairs["first"], pairs["second"])), shape=(n, n))
    count, member = connected_components(links, directed=False)
    for number in np.flatnonzero(np.bincount(member, minlength=count) > 2):
        rows = np.flatnonzero(member == number)
        apart = hash_distances(hashes, *rows[np.stack(np.triu_indices(len(rows), 1))]).min(0)
        cut = fcluster(linkage(apart, "complete"), DIAMETER, "distance") - 1
        member[rows] = np.where(cut == 0, number, count + cut - 1)
        count += cut.max()
    return member


def group_numbers(table: pd.DataFrame, member: Mapping[str, int]) -> pd.Series:
    """The groups of the rows of an image table when images of the same `member` ({sha256: number}) share one; <NA>: none.

    Groups of identical images keep their numbers, and where several become one, it has the smallest.
    """
    together = table["sha256"].map(member)
    old = table["group"].groupby(together).transform("min")
    new = together.where(together.duplicated(keep=False) & old.isna())
    codes = pd.Series(pd.factorize(new)[0], table.index, dtype="Int64")
    return old.fillna(codes.mask(codes < 0) + (table["group"].max() + 1 if table["group"].notna().any() else 0))


def _with_paths(pairs: pd.DataFrame, paths: pd.Series, member: np.ndarray, numbers: pd.Series) -> pd.DataFrame:
    """Pairs of rows as pairs of paths, with the number of their group."""
    first, second = pairs["first"].to_numpy(), pairs["second"].to_numpy()
    found = pd.DataFrame({"path": paths.to_numpy()[first], "other_path": paths.to_numpy()[second]})
    group = found["path"].map(numbers).astype("Int64").mask(member[first] != member[second])
    return pd.concat([group.rename("group"), found, pairs[list(PAIR_COLUMNS)]], axis=1)
