"""The search over settings, and whether its best is really better.

A trial is one training, scored by mean class accuracy on validation.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from inside.data.split import Split
from inside.files import fingerprint
from inside.models.build import legal_options, require_weights
from inside.selection.space import base_values, grid_of, search_space, suggest, values_of, with_trial_params
from inside.selection.study import RepeatableSampler, _same_value, open_study, reason_of, run_trials, trial_table
from inside.settings import parameters_where
from inside.text import format_duration, format_share, format_value
from inside.training.compatible import is_random
from inside.training.experiment import TRAINING_VERSION, Experiment, train
from inside.training.tracking import tracking


@dataclasses.dataclass(frozen=True)
class Search:
    """A finished search: its study, the space, and the settings that it started from.

    `apart` is the training of the settings as they stand where no trial of the study has them.
    """

    study: optuna.Study
    space: dict[str, BaseDistribution]
    settings: dict[str, Any]
    n_trials: int
    apart: FrozenTrial | None = None

    @property
    def trials(self) -> pd.DataFrame:
        """number, state, score, seconds, then one column per option; one row per trial (see trials.csv)."""
        return trial_table(self.study, self.space, self.n_trials)

    @property
    def ranked(self) -> list[FrozenTrial]:
        """The complete trials, best first, each setting once. ValueError when there is none."""
        done = self._ended(TrialState.COMPLETE)
        if not done:
            reasons = [trial.user_attrs["reason"] for trial in self.study.trials if "reason" in trial.user_attrs]
            raise ValueError("No trial of the search came to an end" + (f": {reasons[0]}" if reasons else "."))
        best: dict[str, FrozenTrial] = {}
        for trial in done:
            best.setdefault(json.dumps(trial.params, sort_keys=True), trial)
        return list(best.values())

    @property
    def base(self) -> FrozenTrial:
        """How the settings as they stand did: the trial that has them and was not pruned, else `apart`."""
        assert (found := self._found_base()) is not None, "no trial has the settings as they stand"
        return found

    def _found_base(self) -> FrozenTrial | None:
        own = with_trial_params(self.settings, {})
        ended = self._ended(TrialState.COMPLETE) + self._ended(TrialState.FAIL)
        return next((trial for trial in ended if same_settings(self.settings_of(trial), own)), self.apart)

    def _ended(self, state: TrialState) -> list[FrozenTrial]:
        """The trials of the search that ended in a state, by score."""
        trials = [trial for trial in self.study.get_trials(deepcopy=False)
                  if trial.number < self.n_trials and trial.state == state]
        return sorted(trials, key=lambda trial: (-(trial.value or 0), trial.number))

    @property
    def candidates(self) -> dict[str, FrozenTrial]:
        """{"best", "runner-up", "as they stand": trial}; the last where it is neither of the others."""
        named = dict(zip(("best", "runner-up"), self.ranked, strict=False))
        return named if self.base_name else named | {"as they stand": self.base}

    @property
    def base_name(self) -> str:
        """"best" or "runner-up" where the settings as they stand are one of these, else ""."""
        own = with_trial_params(self.settings, {})
        return next((name for name, trial in zip(("best", "runner-up"), self.ranked, strict=False)
                     if same_settings(self.settings_of(trial), own)), "")

    def settings_of(self, trial: FrozenTrial) -> dict[str, Any]:
        """The settings with the options of a trial, for the full training."""
        return with_trial_params(self.settings, trial.params)


def same_settings(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two settings are those of the same training; an option that is not given has its default."""
    def flat(settings):
        plain = {name: settings[name] for name in parameters_where(comparable=True) if name != "ARCHITECTURE_OPTIONS"}
        return plain | legal_options(settings["ARCHITECTURE"]) | settings["ARCHITECTURE_OPTIONS"]
    one, other = flat(one), flat(other)
    return one.keys() == other.keys() and all(_same_value(one[name], other[name]) for name in one)


def stratified_subset(part: pd.DataFrame, n_images: int, *, seed: int) -> pd.DataFrame:
    """n_images of a part, drawn with its class shares, in its order (0, or as many as there are: all).

    Each class keeps at least one image: with fewer n_images than classes there is one of each.
    """
    if not 0 < n_images < len(part):
        return part
    rng = np.random.default_rng(seed)
    sizes = part["label"].value_counts().sort_index()
    chosen = [rng.choice(part.index[part["label"] == label], count, replace=False)
              for label, count in class_shares(sizes, n_images).items()]
    return part.loc[np.sort(np.concatenate(chosen))].reset_index(drop=True)


def class_shares(sizes: pd.Series, n_images: int) -> pd.Series:
    """How many of n_images each class gets, by its size: largest remainders, at least one and at most all of a class."""
    exact = sizes * (n_images / sizes.sum())
    counts = exact.astype(int).clip(lower=1)
    while counts.sum() != max(n_images, len(sizes)):
        step = 1 if counts.sum() < n_images else -1
        free = (counts > 1) | (step > 0)
        counts[((exact - counts) * step)[free].idxmax()] += step
    return counts


def run_search(settings: Mapping[str, Any], split: Split, *, folder: Path) -> Search:
    """Try SEARCH_TRIALS settings of SEARCH_SPACE, scored by the best mean class accuracy on validation.

    A trial trains for SEARCH_EPOCHS on SEARCH_IMAGES images (0: as in the full training) and is pruned when it is below
    the median. Trial 0 has the settings as they stand where the space holds them; where no trial has them (a value outside
    of the space, a grid) they are trained once more, apart from the study. The study is study.log in `folder`, or
    STUDY_STORAGE; trials that it holds of the same settings, space and split count, so that more can be added.
    """
    space = search_space(settings)
    grid = grid_of(space) if settings["SEARCH_SAMPLER"] == "grid" else []
    n_trials = min(settings["SEARCH_TRIALS"], len(grid) or settings["SEARCH_TRIALS"])
    if 0 < len(grid) < settings["SEARCH_TRIALS"]:
        print(f"the grid has {len(grid)} combinations: {len(grid)} trials instead of {settings['SEARCH_TRIALS']}")
    architectures = values_of(space["architecture"]) if "architecture" in space else ()
    for architecture in dict.fromkeys([settings["ARCHITECTURE"], *architectures]):
        if not is_random(with_trial_params(settings, {"architecture": architecture})):
            require_weights(architecture)  # weights that cannot be had stop here, not every trial
    split = search_parts(settings, split)
    n_images = len(split.parts["train"])
    if 0 < settings["SEARCH_IMAGES"] < n_images:  # fewer than there are classes
        print(f"a trial takes {n_images} training images, one of each class, instead of {settings['SEARCH_IMAGES']}")
    bearing = [name for name in parameters_where(comparable=True) if name.lower() not in space]  # on a score
    fixed = {name: settings[name] for name in bearing}
    stamp = "search " + fingerprint(TRAINING_VERSION, fixed, settings["SEARCH_SPACE"], settings["SEARCH_SAMPLER"],
                                    settings["SEARCH_EPOCHS"], split.table[["path", "label", "sha256"]])
    sampler = RepeatableSampler(settings["SEARCH_SAMPLER"], settings["SEED"], grid=grid, first=base_values(settings, space))
    study = open_study(settings, folder / "study.log", stamp, sampler)

    def objective(trial: optuna.Trial) -> float:
        drawn = suggest(trial, space, settings["ARCHITECTURE"])
        name = trial_name(trial.number, n_trials)
        return score(with_trial_params(settings, drawn), split, folder, trial, name)

    run_trials(study, n_trials, objective)
    found = Search(study, space, dict(settings), n_trials)
    return found if found._found_base() else dataclasses.replace(found, apart=as_they_stand(settings, split, folder))


def trial_name(number: int, n_trials: int) -> str:
    """A trial and its place among all of them: "trial 0, the first of 8"."""
    tens, ones = divmod(number + 1, 10)
    ending = {1: "st", 2: "nd", 3: "rd"}.get(ones, "th") if tens % 10 != 1 else "th"
    place = "the only one" if n_trials == 1 else "the first" if not number else f"the {number + 1}{ending}"
    return f"trial {number}, {place}" + (f" of {n_trials}" if n_trials > 1 else "")


def search_parts(settings: Mapping[str, Any], split: Split) -> Split:
    """The images of a trial: SEARCH_IMAGES training images, all validation images."""
    train = stratified_subset(split.parts["train"], settings["SEARCH_IMAGES"], seed=settings["SEED"])
    return dataclasses.replace(split, table=pd.concat([train, split.parts["val"]], ignore_index=True))


def as_they_stand(settings: Mapping[str, Any], split: Split, folder: Path) -> FrozenTrial:
    """The settings as they stand, trained with the budget of a trial: the only trial of a study of its own.

    It is not one of the trials, since its values can lie where the distributions of their study have no place for them.
    """
    own = with_trial_params(settings, {})
    fixed = {name: own[name] for name in parameters_where(comparable=True)}
    stamp = f"as they stand {fingerprint(fixed, settings['SEARCH_EPOCHS'], split.table[['path', 'label', 'sha256']])}"
    study = open_study(settings, folder / "study.log", stamp, RepeatableSampler("random", 0))
    run_trials(study, 1, lambda trial: score(own, split, folder, trial, "settings as they stand"))
    return study.get_trials(deepcopy=False)[0]


def score(settings: Mapping[str, Any], split: Split, folder: Path, trial: optuna.Trial, name: str) -> float:
    """Train with the budget of the search; the best mean class accuracy on validation, reported epoch by epoch."""
    settings = {**settings, **({"EPOCHS": settings["SEARCH_EPOCHS"]} if settings["SEARCH_EPOCHS"] else {})}
    start, best = time.perf_counter(), -math.inf

    def report(row: dict) -> None:
        nonlocal best
        track(row)
        if not math.isfinite(row["val_mean_class_accuracy"]):
            raise ValueError(f"The score on validation is {row['val_mean_class_accuracy']} in epoch {row['epoch']}.")
        best = max(best, row["val_mean_class_accuracy"])
        trial.report(best, row["epoch"])
        if row["epoch"] < settings["EPOCHS"] and trial.should_prune():  # nothing is saved after the last
            _print_trial(trial, name, f"pruned after epoch {row['epoch']} at {format_share(best)}", start)
            raise optuna.TrialPruned
    try:
        with tracking(settings, folder, re.sub(r"[^\w-]+", "-", name)) as track:
            train(Experiment(settings, split), folder / "features", after_epoch=report)
    except optuna.exceptions.OptunaError:
        raise
    except Exception as error:
        _print_trial(trial, name, f"failed: {reason_of(error)}", start)
        raise
    _print_trial(trial, name, f"{format_share(best)}", start)
    return best


def _print_trial(trial: optuna.Trial, name: str, text: str, start: float) -> None:
    seconds = format_duration(time.perf_counter() - start)
    print(f"{name}: {text} ({'; '.join(filter(None, (seconds, format_params(trial))))})", flush=True)


def format_params(trial: FrozenTrial | optuna.Trial) -> str:
    """The options of a trial in a row: learning_rate 0.001, strategy full."""
    return ", ".join(f"{name} {format_value(value)}" for name, value in trial.params.items())


def noise_band(found: Search, split: Split, *, folder: Path) -> pd.DataFrame:
    """The candidates of a search, trained on FINAL_SEEDS new seeds each with the budget of a trial.

    Columns: setting ("best", "runner-up", and "as they stand" where that is neither of the two), trial (None for settings
    that no trial has), seed, score (NaN: the training failed), trial_score (NaN: none). The seed moves new weights, order
    and augmentation; split and images stay. It is a study of its own in the same storage, which a kill does not harm.
    """
    settings, candidates, split = found.settings, found.candidates, search_parts(found.settings, split)
    seeds = [settings["SEED"] + 1 + number for number in range(settings["FINAL_SEEDS"])]
    space = {"setting": CategoricalDistribution(list(candidates)), "seed": CategoricalDistribution(seeds)}
    chosen = {name: found.settings_of(trial) for name, trial in candidates.items()}
    stamp = f"noise band {fingerprint(found.study.study_name, seeds, chosen)}"
    study = open_study(settings, folder / "study.log", stamp, RepeatableSampler("grid", 0, grid=grid_of(space)))
    study.pruner = optuna.pruners.NopPruner()
    n_trials = len(candidates) * len(seeds)

    def objective(trial: optuna.Trial) -> float:
        drawn = {name: trial.suggest_categorical(name, entry.choices) for name, entry in space.items()}
        tried = chosen[drawn["setting"]] | {"SEED": drawn["seed"]}
        return score(tried, split, folder, trial, f"noise band, {trial.number + 1} of {n_trials}")

    run_trials(study, n_trials, objective)
    table = trial_table(study, space, n_trials)
    numbers = {name: None if trial is found.apart else trial.number for name, trial in candidates.items()}
    scores = {name: math.nan if trial.value is None else trial.value for name, trial in candidates.items()}
    kind = object if None in numbers.values() else int
    return table.assign(trial=pd.Series([numbers[name] for name in table["setting"]], dtype=kind),
                        trial_score=table["setting"].map(scores))[["setting", "trial", "seed", "score", "trial_score"]]
