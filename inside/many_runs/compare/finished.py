"""Finished runs as a comparison needs them: parameters, test images and predictions; which of them repeat a setting."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from inside.data.split import Split
from inside.evaluation.intervals import sampling_units
from inside.files import RunFolder, fingerprint, read_csv, read_json
from inside.report.found import Found
from inside.settings import PARAMETERS, split_seed
from inside.text import brief, visible, without_passwords

MOST_NAMED = 8  # runs
SEEDS = ("SEED", "SPLIT_SEED")
ASIDE = {"RUN", *SEEDS, "LABEL_ISSUES", "STUDY_STORAGE", "COMPARE", "RANKED_CLASSES", "SAMPLE_GRID", "WORKERS", "PROCESSES",
         "TRACKERS", "INTERACTIVE"}  # of notebook 01: they change nothing of what its network learns


@dataclass(frozen=True)
class FinishedRun:
    """A run with the results of notebook 01; `name` is its folder's, told apart from others where several have it.

    `test`: path, label, sha256, group (of duplicates), predicted, confidence of the test images, sorted by path; empty where
    they cannot be paired, for the reason `unpaired`. `validation`: the fingerprint of the validation images.
    """

    name: str
    found: Found
    parameters: Mapping[str, Any]
    test: pd.DataFrame
    validation: str = ""
    unpaired: str = ""

    @classmethod
    def read(cls, folder: Path, name: str) -> FinishedRun:
        """The run in a folder. ValueError where notebook 01 has no results there, or where they are damaged."""
        found = Found.read(folder) if folder.is_dir() else Found(folder, {})
        own = found.results["01"]
        if not all(isinstance(own.get(part), Mapping) and isinstance(own[part].get("mean_class_accuracy"), (int, float))
                   for part in ("val", "test")):
            raise ValueError(f"The run {visible(name)} has no results of notebook 01: run that first, or leave the run out.")
        made = read_json(folder / "run.json") if (folder / "run.json").is_file() else {}
        parameters = made.get("parameters")
        return cls(name, found, parameters if isinstance(parameters, Mapping) else {}, *_images(folder))

    @property
    def own(self) -> Mapping[str, Any]:
        """The results of notebook 01."""
        return self.found.results["01"]

    def score(self, part: str, measure: str = "mean_class_accuracy") -> float:
        """A measure of "val" or "test"; NaN where there is none."""
        value = self.own[part].get(measure)
        return float(value) if isinstance(value, (int, float)) else float("nan")

    @cached_property
    def images(self) -> str:
        """The fingerprint of the test images and their labels: equal for runs that can be paired; "" for none."""
        return _fingerprint(self.test)

    @cached_property
    def hits(self) -> np.ndarray:
        """Whether each test image is classified correctly, (N,), in the order of `test`."""
        return (self.test["label"] == self.test["predicted"]).to_numpy()

    @cached_property
    def units(self) -> np.ndarray:
        """One number for each test image, (N,), the same for copies of a picture: see `sampling_units`."""
        return sampling_units(self.test["label"], self.test["group"])

    @property
    def setting(self) -> str:
        """The fingerprint of what its network was trained with, but for seeds; its own where that is not known."""
        return fingerprint({name: value for name, value in self.parameters.items() if _matters(name)} or self.name)

    @property
    def seed(self) -> str:
        """Its seeds, as text; SPLIT_SEED "auto" is SEED."""
        own = {name: self.parameters.get(name) for name in SEEDS}
        return json.dumps([own["SEED"], split_seed(own)])


def _matters(name: str) -> bool:
    known = PARAMETERS.get(name)
    return name not in ASIDE and (known is None or "1" in known.notebooks)


def _images(folder: Path) -> tuple[pd.DataFrame, str, str]:
    """`test`, `validation` and `unpaired` of a run."""
    none = pd.DataFrame(columns=["path", "label", "sha256", "group", "predicted", "confidence"])
    try:
        parts = Split.read(folder / "split.csv", folder).parts
        predictions = read_csv(folder / "predictions_test.csv", texts=("path", "label", "predicted"))
        test = parts.get("test", none)[list(none)[:4]].merge(
            predictions[["path", "label", "predicted", "confidence"]], on=["path", "label"], how="outer", indicator=True,
            validate="1:1")
    except (ValueError, KeyError, OSError) as error:
        return none, "", f"split.csv or predictions_test.csv cannot be read ({type(error).__name__})"
    if not (test["_merge"] == "both").all() or test.empty:
        return none, "", "predictions_test.csv is not of the test images in split.csv"
    return test.drop(columns="_merge").sort_values("path", ignore_index=True), _fingerprint(parts.get("val", none)), ""


def _fingerprint(images: pd.DataFrame) -> str:
    return fingerprint(images.sort_values("path")[["path", "label", "sha256"]]) if len(images) else ""


def read_runs(runs: Sequence[str | Path]) -> tuple[list[FinishedRun], list[str]]:
    """The runs with these names or in these folders, the best on validation first, and why others are left out.

    A folder that is named twice is one run. Raises ValueError where fewer than two can be compared.
    """
    folders = list({RunFolder(run, make=False).folder.resolve() if isinstance(run, str) else run.resolve(): None
                    for run in runs})
    read, left_out = [], []
    for folder, name in zip(folders, _names(folders), strict=True):
        try:
            read.append(FinishedRun.read(folder, name))
        except (ValueError, OSError) as error:
            left_out.append(str(error))
    if len(read) < 2:
        raise ValueError(" ".join(["A comparison takes two runs or more that have finished notebook 01.", *left_out]))
    return sorted(read, key=lambda run: -np.nan_to_num(run.score("val"), nan=-1)), left_out


def _names(folders: Sequence[Path]) -> list[str]:
    """The name of each folder, with as many of those above it as tell it apart from the others."""
    depth = 1
    while len(names := ["/".join(folder.parts[-depth:]) for folder in folders]) > len(set(names)):
        depth += 1
    return names


def run_labels(runs: Sequence[FinishedRun]) -> dict[str, str]:
    """{name: what figures and heads of tables call a run}: its name, or, of more than MOST_NAMED, its place among them."""
    return {run.name: run.name if len(runs) <= MOST_NAMED else f"{place}" for place, run in enumerate(runs, 1)}


def differing_parameters(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """parameter, then a column for each run with its value as text; only those of which runs have different values.

    A run that has no value, as those of a notebook that did not run, has –.
    """
    names = dict.fromkeys(name for run in runs for name in run.parameters if name != "RUN")
    rows = [[name, *(told(run.parameters[name]) if name in run.parameters else "–" for run in runs)] for name in names]
    table = pd.DataFrame(rows, columns=["parameter", *(run.name for run in runs)])
    return table[np.array([len({*row[1:]} - {"–"}) > 1 for row in rows], dtype=bool)].reset_index(drop=True)


def told(value: object) -> str:
    """The value of a parameter as text."""
    return without_passwords(brief(value))


def grouped(runs: Sequence[FinishedRun], key: Callable[[FinishedRun], str]) -> list[list[FinishedRun]]:
    """Runs with an equal key together, the largest group first, else in their order."""
    groups: dict[str, list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return sorted(groups.values(), key=len, reverse=True)


def settings_of(runs: Sequence[FinishedRun]) -> dict[str, list[FinishedRun]]:
    """{name: runs} of the settings that several seeds repeat, a run for each seed, the best on validation first."""
    groups = [list({run.seed: run for run in reversed(group)}.values())[::-1]
              for group in grouped([run for run in runs if run.parameters], lambda run: run.setting)]
    repeated = [group for group in groups if len(group) > 1]
    repeated.sort(key=lambda group: -np.nan_to_num(np.mean([run.score("val") for run in group]), nan=-1))
    changed = differing_parameters([group[0] for group in groups]).set_index("parameter")
    changed = changed[np.array([_matters(name) for name in changed.index], dtype=bool)]
    return {_setting_name(changed, group[0]): group for group in repeated}


def _setting_name(changed: pd.DataFrame, run: FinishedRun) -> str:
    """The parameters that tell a setting from the others, or, where they are many or long, one of its runs."""
    parts = ", ".join(f"{name} {value}" for name, value in changed[run.name].items())
    return parts if 0 < len(parts) <= 60 else f"the setting of {run.name}"
