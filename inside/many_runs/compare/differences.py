"""Which run, or which setting, is better than which on the same test images: tables, and sentences made from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from inside.many_runs.compare.finished import FinishedRun
from inside.many_runs.compare.paired import (
    Difference,
    holm,
    one_sided,
    paired_differences,
    resampled_means,
    setting_difference,
    verdict,
)
from inside.text import format_significant, listed, literal, points

MOST_ALL_PAIRS = 6  # runs; of more, each is compared with the best on validation only
PAIRED = ["first", "second", "images", "difference", "low", "high", "accuracy", "accuracy_low", "accuracy_high",
          "only_first", "only_second", "p", "adjusted", "verdict"]
SETTINGS = ["first", "second", "first_seeds", "second_seeds", "comparable", "same_images", "difference", "low", "high",
            "p", "adjusted", "verdict"]


def paired_table(groups: Sequence[Sequence[FinishedRun]]) -> pd.DataFrame:
    """PAIRED, a row for each pair of runs within a group that was tested on the same images.

    `difference` (mean class accuracy) and `accuracy` are first minus second with their 95% intervals; `only_first`,
    `only_second`: pictures that only one of them has right; `p`: McNemar's exact test, `adjusted` for all rows by Holm.
    `verdict`: 1 where the first is better, -1 where the second is, 0 where they cannot be told apart, see `paired.verdict`,
    or where one has the higher mean class accuracy and the other more pictures right: then p is no evidence for the former.
    """
    rows = []
    for group in groups:
        units = min((run.units for run in group), key=lambda found: found.max())  # the copies that most runs know of
        for first, second in pairs(group):
            by_class, overall = paired_differences(first.hits, second.hits, first.test["label"], units)
            rows.append([first.name, second.name, len(units), *by_class, *overall,
                         *one_sided(first.hits, second.hits, units)])
    table = _judged(pd.DataFrame(rows, columns=PAIRED[:-2]), PAIRED)
    return table.assign(verdict=table["verdict"].where(~_disagree(table), 0))


def _disagree(table: pd.DataFrame | pd.Series) -> Any:
    """Whether the two of a row are each better by one measure: mean class accuracy, and pictures that only one has right."""
    return table["difference"] * (table["only_first"] - table["only_second"]) < 0


def pairs(group: Sequence[Any]) -> list[tuple[Any, Any]]:
    """All pairs; of more than MOST_ALL_PAIRS the first with each of the others."""
    return list(combinations(group, 2)) if len(group) <= MOST_ALL_PAIRS else [(group[0], other) for other in group[1:]]


def setting_table(settings: Mapping[str, Sequence[FinishedRun]]) -> pd.DataFrame:
    """SETTINGS, a row for each pair of settings: means over seeds of the mean class accuracy on test, first minus second.

    Where all runs of both were tested on the same images (`same_images`), the interval also holds for other images. Where
    one setting has test images that the other has not (not `comparable`), the difference may be that of the images:
    no interval and no p-value, and those of the others are not adjusted for it.
    """
    rows = []
    for first, second in pairs(list(settings)):
        images, theirs = ({run.images for run in settings[name]} for name in (first, second))
        comparable = images == theirs and "" not in images
        same = comparable and len(images) == 1
        variance = _image_variance(settings[first], settings[second]) if same else 0.0
        scores, others = ([run.score("test") for run in settings[name]] for name in (first, second))
        found, p = setting_difference(scores, others, variance)
        found, p = (found, p) if comparable else (Difference(found.value, math.nan, math.nan), math.nan)
        rows.append([first, second, len(scores), len(others), comparable, same, *found, p])
    return _judged(pd.DataFrame(rows, columns=SETTINGS[:-2]), SETTINGS)


def _image_variance(first: Sequence[FinishedRun], second: Sequence[FinishedRun]) -> float:
    """The variance of the difference of the means over seeds when other images are drawn."""
    gain = np.mean([run.hits for run in first], axis=0) - np.mean([run.hits for run in second], axis=0)
    units = min((run.units for run in (*first, *second)), key=lambda found: found.max())
    return float(resampled_means(gain, first[0].test["label"], units)[0].var())


def _judged(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """A table of differences with p-values adjusted for all rows, and verdicts."""
    compared = table["p"].notna()
    table["adjusted"] = pd.Series(holm(table.loc[compared, "p"]), table.index[compared]).reindex(table.index)
    table["verdict"] = [verdict(Difference(*ends), p) for *ends, p in
                        table[["difference", "low", "high", "adjusted"]].to_numpy(float)]
    return table[list(columns)]


def describe_runs(group: Sequence[FinishedRun], table: pd.DataFrame) -> str:
    """A sentence on runs with the same test images: which is better than which, by more than chance."""
    own = table[table["first"].isin([run.name for run in group])]
    if len(group) == 2:
        return _describe_pair(own.iloc[0], len(table))
    other = " (whose images are not the same for all)" if len({run.validation for run in group}) > 1 else ""
    return (f"Of {len(group)} runs on the same {len(group[0].test):,} test images, **{literal(group[0].name)}** is the best "
            f"on validation{other}. On test, it {_describe_against(group[0].name, own)}.")


def _describe_pair(row: pd.Series, n: int) -> str:
    start = f"On the same {row['images']:,} test images, "
    return start + _two(row, n, "by more than chance", "mean class accuracy", "McNemar’s exact test: ")


def _two(row: pd.Series, n: int, by: str, measure: str, test: str) -> str:
    """Which of the two of a row is better, or that they cannot be told apart, and the numbers; one of n comparisons."""
    sign, ends = (1, ("low", "high")) if row["difference"] >= 0 else (-1, ("high", "low"))
    higher, lower = (f"**{literal(row[name])}**" for name in ("first", "second")[::sign])
    if not row.get("comparable", True):
        return (f"{higher} and {lower} cannot be compared, since they are not known to have the same test images: a "
                f"difference of {points(abs(row['difference']))} percentage points in {measure} may be one between images.")
    low, high = (sign * row[name] for name in ends)
    interval = f"95% interval {points(low)} to {points(high)}; " if low == low else ""
    adjusted = f", adjusted for {n} comparisons" if n > 1 else ""
    gap, numbers = points(abs(row["difference"])), f"({interval}{test}{format_p(row['adjusted'])}{adjusted})"
    if row["verdict"]:
        return f"{higher} is better than {lower} {by}: its {measure} is {gap} percentage points higher {numbers}."
    much = f"their {measure} is the same" if gap == "0" else f"the {measure} of {higher} is {gap} percentage points higher"
    other = f", but {lower} classifies more images correctly" if "only_first" in row and _disagree(row) else ""
    return f"{higher} and {lower} cannot be told apart: {much} {numbers}{other}."


def format_p(value: float) -> str:
    """A p-value for a sentence: p = 0.031, p < 0.0001."""
    return "p < 0.0001" if value < 1e-4 else f"p = {format_significant(value, 2)}"


def _describe_against(name: str, table: pd.DataFrame) -> str:
    """Which others `name` is better than, worse than and not told apart from, in a table of differences."""
    own = table[(table["first"] == name) | (table["second"] == name)]
    verdict = own["verdict"].where(own["first"] == name, -own["verdict"])
    verdict = verdict.where(own["comparable"], 2) if "comparable" in own else verdict
    other = own["second"].where(own["first"] == name, own["first"])
    parts = []
    for sign, words in ((1, "is better by more than chance than"), (-1, "is worse by more than chance than"),
                        (0, "cannot be told apart from"), (2, "is not known to have the same test images as")):
        found = [f"**{literal(name)}**" for name in other[verdict == sign]]
        if found:
            parts.append(f"{words} {listed(found) if len(found) < MOST_ALL_PAIRS else f'{len(found)} others'}")
    return ", and ".join(parts)


def describe_settings(settings: Mapping[str, Sequence[FinishedRun]], table: pd.DataFrame) -> list[str]:
    """Sentences on settings that several seeds repeat: which is better than which, by more than seeds and images explain."""
    best, *others = list(settings)
    seeds = sorted({len(runs) for runs in settings.values()})
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    if not others:
        return [f"One setting is repeated, with {count} seeds: no other setting can be compared with it as a setting."]
    if len(others) == 1:
        lines = [f"With {count} seeds each, " + _two(table.iloc[0], 1, "by more than the spread over seeds explains",
                                                     "average mean class accuracy on test", "")]
    else:
        lines = [f"Of {len(settings)} settings with {count} seeds each, **{literal(best)}** is the best on validation. "
                 f"On test, it {_describe_against(best, table)}; the spread over seeds is taken into account."]
    if seeds[0] < 3:
        lines.append("Two seeds say little about a spread: only large differences between settings can be seen with them.")
    return lines
