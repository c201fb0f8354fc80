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
from inside.shown import Figure, Fold, Shown, Table, Text
from inside.text import format_share
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
            return "The settings are those of the parameters: no search was made in this run."
        return describe.describe_trials(self.search)

    def takeaways(self) -> list[str]:
        """Whether the search helped, as sentences; [] where there was none."""
        return describe.describe_search(self.search, self.noise)

    def report(self) -> list[Shown]:
        """Trials and new seeds in one figure, whether the search helped, and, folded, all trials and what mattered."""
        if self.search is None:
            return [Text("No settings were searched in this run: `SEARCH_TRIALS` is 0, or `TRAIN` is False.")]
        return [*_report_search(self.search, self.noise, self.takeaways()),
                _fold_tables(self.search, self.noise), _fold_options(self.search)]

    def results(self) -> dict[str, Any]:
        """{search, noise_band} for 01_results.json; None where there was none."""
        found, noise = self.search, None if self.noise is None else self.noise.to_dict("records")
        return {"noise_band": noise, "search": found and {
            "trials": len(found.trials), "space": found.settings["SEARCH_SPACE"],
            "sampler": found.settings["SEARCH_SAMPLER"], "images": found.settings["SEARCH_IMAGES"],
            "epochs": found.settings["SEARCH_EPOCHS"] or found.settings["EPOCHS"], "best": found.ranked[0].params,
            "score": found.ranked[0].value, "first_score": found.trials["score"].iloc[0],
            "score_as_they_stand": found.base.value}}


def _report_search(found: Search, noise: pd.DataFrame | None, takeaways: list[str]) -> list[Shown]:
    told = describe.describe_trials(found)
    if noise is not None:
        told += f" {describe.describe_band(noise)}"
    seeds = [] if noise is None else [Text(describe.describe_noise(noise))]
    caption = f"{told} Left: the score of each trial; pruned ones at the score at which they were stopped." + (
        "" if noise is None else " Right: the same settings, trained again with new seeds.")
    return [Figure(plots.plot_search(found.trials, base=found.base.value, band=noise), "search",
                   f"Score of each trial by number, the best so far, and the settings as they stand. {told} "
                   + " ".join(part.markdown for part in seeds), caption),
            *seeds, Text(" ".join(takeaways))]


def _fold_tables(found: Search, noise: pd.DataFrame | None) -> Fold:
    best = found.ranked[0]
    trials = Table(found.trials.sort_values("score", ascending=False, kind="stable"), "trials",
                   f"Trial {best.number} has the highest score of the complete trials, {format_share(best.value)}."
                   f"{describe.describe_level(found)} One row per trial, by score (mean class accuracy on validation); then "
                   "its options.", digits=4)
    if noise is None:
        return Fold("All trials", (trials,))
    band = Table(noise, "noise_band", f"{describe.describe_seeds(noise)} One row per setting and seed; `trial_score`: its "
                 "score in the search.", digits=4)
    return Fold("All trials and all seeds", (trials, band))


def _fold_options(found: Search) -> Fold:
    table, best = importances(found), found.ranked[0]
    told, strongest = describe.describe_importances(table), describe.describe_strongest(table)
    lines = Figure(plots.plot_parallel_coordinates(found), "search_parallel",
                   f"A line for each complete trial through its options {', '.join(found.space)} and its score; the "
                   f"thick line is the best trial, {format_share(best.value)}.",
                   f"The best trial, {best.number}, is the thick line. One line per complete trial, through its "
                   "options to its score; brighter: a higher score; a gap: the trial does not have this option.")
    bars = Figure(plots.plot_importances(table), "search_importance",
                  f"Importance and correlation of each option with the score. {strongest} {told}",
                  f"{strongest} Left: importance; beside it the correlation with the score, its chance level in grey.")
    values = Table(table, "search_importance", f"{describe.describe_chances(table)} `chance`: what the absolute correlation "
                   "stays below in 95 of 100 permutations of the scores.")
    return Fold("Which options mattered", (bars, Text(told), lines, Text(describe.describe_best(found)), values))


def choose_settings(run: RunFolder, settings: Mapping[str, Any], split: Split) -> Choice:
    """The settings to train with: those of the best trial of a search, else the given ones.

    Searches SEARCH_TRIALS settings on the split, writes trials.csv, and trains the best again with FINAL_SEEDS. With
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
