"""What the page of a comparison holds, section by section."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from inside.many_runs.compare import details
from inside.many_runs.compare.differences import (
    MOST_ALL_PAIRS,
    describe_runs,
    describe_settings,
    format_p,
    paired_table,
    setting_table,
)
from inside.many_runs.compare.finished import (
    MOST_NAMED,
    FinishedRun,
    differing_parameters,
    grouped,
    read_runs,
    run_labels,
    settings_of,
)
from inside.shown import Shown, Table, Text
from inside.text import format_duration, format_share, listed, literal, points

ENDS = ("low", "high")
VERDICTS = {1: "first is better", 0: "not told apart", -1: "second is better"}


@dataclass(frozen=True)
class Comparison:
    """Runs, the best on validation first; `left_out`: a sentence for each that could not be read."""

    runs: Sequence[FinishedRun]
    left_out: Sequence[str] = ()

    @classmethod
    def of(cls, runs: Sequence[str | Path]) -> Comparison:
        """The runs with these names or in these folders; see `read_runs`."""
        return cls(*read_runs(runs))

    @cached_property
    def groups(self) -> list[list[FinishedRun]]:
        """The runs that can be paired, those with the same test images together; alone where nothing can be paired."""
        return grouped([run for run in self.runs if run.images], lambda run: run.images)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """See `paired_table`."""
        return paired_table(self.groups)

    @cached_property
    def settings(self) -> Mapping[str, list[FinishedRun]]:
        """See `settings_of`."""
        return settings_of(self.runs)

    @cached_property
    def setting_pairs(self) -> pd.DataFrame:
        """See `setting_table`."""
        return setting_table(self.settings)

    def verdict(self) -> list[str]:
        """What the page says first: which setting or run is better, and whether by more than chance."""
        told = describe_settings(self.settings, self.setting_pairs) if self.settings else []
        single = len({run.setting for run in self.runs}) - len(self.settings)
        if self.settings and single:
            told.append(f"{single} other setting{'s have' if single > 1 else ' has'} one seed only: what is said of a "
                        "network of one seed is not said of its setting.")
        told += [describe_runs(group, self.pairs) for group in self.groups if len(group) > 1]
        if self.pairs.empty:
            told.append("No two of these runs were tested on the same images: their numbers stand side by side, and which "
                        "of the networks is better cannot be said.")
        elif not self.settings:
            told.append("This is about these networks, not about their settings: the same settings with another seed give "
                        "other networks. Several seeds of each setting would show how much.")
        return told

    def sections(self) -> Iterator[tuple[str, list[Shown]]]:
        """(title, what it shows) of the sections that have something to show."""
        missing = list(self.left_out)
        together = self.groups[0] if self.groups else []
        sections = [("The runs", self._runs()), ("Parameters that differ", self._parameters()),
                    ("Settings over their seeds", self._settings()),
                    ("Differences on the same test images", self._differences()),
                    ("Learning curves", details.learning_curves(self.runs, missing)),
                    ("Classes", details.classes(self.runs, missing)),
                    ("Images that only one classifies correctly", details.disagreements(together, missing)),
                    ("Feature maps", details.feature_maps(self.runs, missing)),
                    ("Not in this page", self._not_here(missing))]
        return ((title, shown) for title, parts in sections if (shown := list(parts)))

    def _runs(self) -> Iterator[Shown]:
        letters = {run.images: chr(ord("A") + place % 26) * (1 + place // 26) for place, (run, *_) in enumerate(self.groups)}
        numbers = run_labels(self.runs) if len(self.runs) > MOST_NAMED else {}
        lettered = len(letters) > 1 or len(self.groups[0] if self.groups else []) < len(self.runs)
        rows = [{"run": f"{numbers[run.name]} · {run.name}" if numbers else run.name,
                 **({"test images": letters.get(run.images, "unpaired")} if lettered else {}),
                 "validation: mean class accuracy": _with_interval(run, "val", "accuracy"),
                 "validation: mAP": _with_interval(run, "val", "average_precision"),
                 "test: mean class accuracy": _with_interval(run, "test", "accuracy"),
                 "test: mAP": _with_interval(run, "test", "average_precision"), **_costs(run)} for run in self.runs]
        told = "; the same letter: the same test images" if lettered else ""
        yield Table(pd.DataFrame(rows), "runs", f"{len(rows)} runs, the best on validation first, with 95% intervals{told}."
                    " An interval holds for other images of this kind, not for another training. Runs whose intervals "
                    "overlap can still differ on the same images.", rows=len(rows))

    def _parameters(self) -> Iterator[Shown]:
        table = differing_parameters(self.runs)
        if table.empty:
            yield Text("None: the runs have the same parameters.")
        else:
            told = "The one parameter that differs" if len(table) == 1 else f"The {len(table)} parameters that differ"
            if len(self.runs) > len(table):
                table = table.set_index("parameter").T.rename_axis("run").reset_index().rename_axis(None, axis=1)
            yield Table(table, "parameters", f"{told} between the runs.", rows=len(table))

    def _settings(self) -> Iterator[Shown]:
        if not self.settings:
            return
        rows = []
        for name, runs in self.settings.items():
            val, test = (np.array([run.score(part) for run in runs]) for part in ("val", "test"))
            rows.append({"setting": name, "seeds": len(runs), "validation: mean": val.mean(),
                         "validation: sd": val.std(ddof=1), "test: mean": test.mean(), "test: sd": test.std(ddof=1),
                         "test: lowest": test.min(), "test: highest": test.max()})
        yield Table(pd.DataFrame(rows), "settings", "Mean class accuracy of each setting over its seeds: mean, standard "
                    "deviation (sd) and range.", rows=len(rows))
        table = self.setting_pairs
        if len(table):
            shown = table[["first", "second"]].assign(**{
                "mean class accuracy": _differences_told(table, "difference", *ENDS), "p": _p_values(table["p"])})
            if table["comparable"].sum() > 1:
                shown["p, adjusted"] = _p_values(table["adjusted"])
            verdicts = table["verdict"].map(VERDICTS).where(table["comparable"], "not the same test images")
            yield Table(shown.assign(verdict=verdicts), "setting_differences", _setting_rule(table),
                        rows=len(table))

    def _differences(self) -> Iterator[Shown]:
        table = self.pairs
        if table.empty:
            return
        shown = table[["first", "second", "images"]].assign(**{
            "mean class accuracy": _differences_told(table, "difference", *ENDS),
            "accuracy": _differences_told(table, "accuracy", "accuracy_low", "accuracy_high"),
            "only first right": table["only_first"], "only second right": table["only_second"],
            "McNemar’s p": _p_values(table["p"]), "p, adjusted": _p_values(table["adjusted"]),
            "verdict": table["verdict"].map(VERDICTS)})
        many = len(table) > 1
        adjusted = f", and its p adjusted for {len(table)} comparisons by Holm’s method" * many
        told = ["Differences in percentage points, first minus second, with 95% intervals by a bootstrap over the images "
                "in which copies of a picture stay together; pictures that only one of the two classifies correctly; "
                f"McNemar’s exact test{adjusted}. A run is called better where {'the adjusted ' * many}p is below 0.05, the "
                "interval of the mean class accuracy leaves out 0, and it classifies more images correctly, too."]
        if any(len(group) > MOST_ALL_PAIRS for group in self.groups):
            told.append(f"Of more than {MOST_ALL_PAIRS} runs, the best on validation is compared with each of the others.")
        yield Table(shown if many else shown.drop(columns="p, adjusted"), "differences", " ".join(told), rows=len(table))

    def _not_here(self, missing: Sequence[str]) -> Iterator[Shown]:
        lines = list(missing)
        lines += [f"{literal(run.name)} is not compared image by image: {run.unpaired}."
                  for run in self.runs if run.unpaired]
        alone = [group for group in self.groups if len(self.groups) > 1]
        if alone:
            lines.append("Runs with different test images are not compared image by image: "
                         + "; ".join(listed([literal(run.name) for run in group]) for group in alone) + ".")
        if lines:
            yield Text.bullets(lines)


def _with_interval(run: FinishedRun, part: str, measure: str) -> str:
    """A mean over classes with its 95% interval, as text."""
    value = run.score(part, f"mean_{'class_' * (measure == 'accuracy')}{measure}")
    try:
        mean = run.found.table(f"metrics_{part}.csv").iloc[-1]
        ends = [float(mean[f"{measure}_{end}"]) for end in ENDS]
    except (ValueError, KeyError, IndexError, TypeError, OSError):
        return format_share(value)
    return format_share(value) + ("" if any(end != end for end in ends) else f" ({' to '.join(map(format_share, ends))})")


def _differences_told(table: pd.DataFrame, value: str, low: str, high: str) -> list[str]:
    """Differences in percentage points with their intervals, as text."""
    return [points(a) + ("" if pd.isna(b) else f" ({points(b)} to {points(c)})")
            for a, b, c in table[[value, low, high]].to_numpy(float)]


def _p_values(values: pd.Series) -> list[str]:
    return ["–" if pd.isna(value) else format_p(value).removeprefix("p = ").removeprefix("p ") for value in values]


def _setting_rule(table: pd.DataFrame) -> str:
    """How settings are compared, for the caption of their differences."""
    images = {(True,): ", to which the variance of drawing other test images is added", (False,): ""}.get(
        tuple(table["same_images"].unique()), ", to which the variance of drawing other test images is added where all runs "
        "of both have the same")
    n = int(table["comparable"].sum())
    many = f", its p adjusted for {n} comparisons by Holm’s method" if n > 1 else ""
    return ("Differences of the means over seeds in percentage points, first minus second, with Welch’s 95% interval over "
            f"seeds{images}{many}. A setting is called better where that interval leaves out 0 and p is below 0.05"
            f"{'' if table['comparable'].all() else '; neither where the two are not known to have the same test images'}.")


def _costs(run: FinishedRun) -> dict[str, object]:
    """Time, sizes and images of a run."""
    own, seconds = run.own, run.own.get("seconds")
    return {"training": format_duration(seconds) if isinstance(seconds, (int, float)) else "–",
            "parameters": _count(own.get("parameters")), "operations": _count(own.get("macs")),
            "images": own.get("n_images")}


def _count(value: object) -> str:
    """A count in millions, where it is as large, as text."""
    return "–" if not isinstance(value, (int, float)) else f"{value / 1e6:,.3g} M" if value >= 1e6 else f"{value:,.0f}"


