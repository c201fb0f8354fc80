"""The settings that notebook 01 trains with, and what it shows of the search that led to them, where there was one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pandas as pd

from inside.data.split import Split
from inside.files import RunFolder, write_csv
from inside.selection import describe, plots
from inside.selection.importance import importances
from inside.selection.search import Search, noise_band, run_search
from inside.shown import Figure, Shown, Table, Text
from inside.training.experiment import load_trained


@dataclasses.dataclass(frozen=True)
class Choice:
    """The settings of the full training, and the search that led to them (None: there was none), with its new seeds."""

    settings: dict[str, Any]
    search: Search | None = None
    noise: pd.DataFrame | None = None

    @property
    def summary(self) -> str:
        """A sentence: where the settings come from."""
        if self.search is None:
            return "The settings are those of the parameters: nothing was searched in this run."
        return describe.describe_trials(self.search)

    def takeaways(self) -> list[str]:
        """Whether the search helped, as sentences; [] where there was none."""
        return describe.describe_search(self.search, self.noise)

    def report(self) -> list[Shown]:
        """Trials, what mattered, the new seeds, and whether the search helped."""
        if self.search is None:
            return [Text("Nothing was searched in this run: `SEARCH_TRIALS` is 0, or `TRAIN` is False.")]
        return [*_report_trials(self.search), *_report_importances(self.search), *self._report_noise(),
                Text(" ".join(self.takeaways()))]

    def _report_noise(self) -> list[Shown]:
        if self.noise is None:
            return []
        told = describe.describe_noise(self.noise)
        return [Table(self.noise, "noise_band", digits=4),
                Figure(plots.plot_noise_band(self.noise).figure, "noise_band", told), Text(told)]

    def results(self) -> dict[str, Any]:
        """{search, noise_band} for 01_results.json; None where there was none."""
        found, noise = self.search, None if self.noise is None else self.noise.to_dict("records")
        return {"noise_band": noise, "search": found and {
            "trials": len(found.trials), "space": found.settings["SEARCH_SPACE"],
            "sampler": found.settings["SEARCH_SAMPLER"], "best": found.ranked[0].params, "score": found.ranked[0].value,
            "first_score": found.trials["score"].iloc[0], "score_as_they_stand": found.base.value}}


def _report_trials(found: Search) -> list[Shown]:
    told, best = describe.describe_trials(found), found.ranked[0]
    return [
        Table(found.trials.sort_values("score", ascending=False), "trials", digits=4), Text(told),
        Figure(plots.plot_trials(found.trials, base=found.base.value).figure, "search_trials",
               f"Score of each trial by number, the best so far, and the settings as they stand. {told}"),
        Figure(plots.plot_parallel_coordinates(found), "search_parallel",
               f"A line for each complete trial through its options {', '.join(found.space)} and its score; the thick line "
               f"is the best trial, {best.value:.3f}.")]


def _report_importances(found: Search) -> list[Shown]:
    table = importances(found)
    told = describe.describe_importances(table)
    return [Table(table, "search_importance"), Figure(plots.plot_importances(table), "search_importance",
                                                      f"Importance and correlation of each option with the score. {told}"),
            Text(told)]


def choose_settings(run: RunFolder, settings: Mapping[str, Any], split: Split) -> Choice:
    """The settings to train with: those of the best trial of a search, else the given ones.

    Searches SEARCH_TRIALS settings on the split, writes trials.csv, and trains the best anew with FINAL_SEEDS. With
    TRAIN = False they are those of the network that the run holds (ValueError where it holds none of this split).
    """
    if not settings["TRAIN"]:
        trained = load_trained(run, split=split)[1].settings  # to show the network; its weights are loaded later
        return Choice({**settings, **trained, "WEIGHTS": "random"})
    if not settings["SEARCH_TRIALS"]:
        return Choice(dict(settings))
    found = run_search(settings, split, folder=run.folder)
    write_csv(run.path("trials.csv"), found.trials)
    noise = noise_band(found, split, folder=run.folder) if settings["FINAL_SEEDS"] else None
    return Choice(found.settings_of(found.ranked[0]), found, noise)
