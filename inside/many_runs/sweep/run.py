"""Many runs of one profile: every row of a table is a run of run.py, in a folder of its own.

The rows are shared by processes and machines as the trials of a search are: each is a trial of an Optuna study, which is
claimed, and claimed again where its process has died.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from inside.disk import Need, check_room, needs
from inside.files import RunFolder, fingerprint, read_json, shown_path, write_csv
from inside.many_runs.sweep.processes import Processes
from inside.many_runs.sweep.rows import Row, raise_by_row
from inside.many_runs.sweep.threads import in_threads
from inside.preflight import check
from inside.selection.study import (
    FINISHED,
    RepeatableSampler,
    check_storage,
    open_study,
    reason_of,
    require_storage,
    run_trials,
    worker,
)
from inside.text import errors_of, for_terminal, format_duration, format_share

PAGE = "report.html"  # whose stamp tells that a row has finished


@dataclass(frozen=True)
class Sweep:
    """The rows of a sweep, the parameters that all of them share, the notebooks to run, and the folder of the sweep."""

    folder: Path
    rows: Sequence[Row]
    given: Mapping[str, Any]
    numbers: Sequence[str]

    def run_of(self, row: Row, *, make: bool = False) -> RunFolder:
        """The run folder of a row."""
        return RunFolder(str(self.folder.absolute() / row.name), make=make)

    def parameters(self, row: Row) -> dict[str, Any]:
        """The parameters that are given to a row: RUN is its folder."""
        return {**self.given, **row.changes, "RUN": str(self.run_of(row).folder)}

    def stamp(self, row: Row) -> str:
        """The fingerprint of the parameters and notebooks of a row."""
        return fingerprint("row", {**self.given, **row.changes, "RUN": ""}, list(self.numbers))

    def is_finished(self, row: Row) -> bool:
        """Whether a row has run with these parameters to its end, and its report is still there."""
        return self.run_of(row).is_current(self.stamp(row), PAGE)


def check_sweep(sweep: Sweep, defaults: Mapping[str, Any], storage: str = "") -> None:
    """Raise one ValueError that tells all that would stop a row, before the first starts.

    Rows that differ only in their seeds are checked once; those that have finished are not.
    """
    if (sweep.folder / "run.json").exists():
        raise ValueError(f"{shown_path(sweep.folder)} is a run: give the sweep another --name.")
    unfit = errors_of(check_storage, storage) or errors_of(require_storage, storage)
    problems = [(0, problem.replace("STUDY_STORAGE", "--storage")) for problem in unfit]
    known, room = dict[str, list[str]](), list[Need]()
    for row in sweep.rows:
        if not sweep.is_finished(row):
            settings = {**defaults, **sweep.parameters(row)}
            same = json.dumps(settings | dict.fromkeys(("RUN", "SEED", "SPLIT_SEED")), sort_keys=True)
            if same not in known:
                known[same] = errors_of(check, settings, sweep.numbers)
            problems += [(row.number, problem) for problem in known[same]]
            room += [] if problems else needs(settings, sweep.numbers, sweep.run_of(row))
    problems += [] if problems else [(0, problem) for problem in errors_of(check_room, room, "The sweep", "--name")]
    raise_by_row(problems, max(row.number for row in sweep.rows))


def run_sweep(sweep: Sweep, command: Sequence[str], *, jobs: int = 1, storage: str = "", poll: float = 1.0) -> bool:
    """Run all rows, `jobs` at once, each as a process of `command`; whether all have finished.

    Any number of processes can do so at once, on one machine or on several that share the folder and the `storage` (a
    file or the URL of a database; "": study.log in the folder). A row that fails is told, and the others go on. When it is
    called again, rows that have finished are used, and the others run. Writes summary.csv and, of several runs that have
    finished, compare.html.
    """
    sweep.folder.mkdir(parents=True, exist_ok=True)
    study, processes = _open_study(sweep, storage), Processes(command, jobs)
    progress = Progress(sweep, study)
    in_threads(lambda slot: run_trials(study, len(sweep.rows), partial(_run_row, sweep, processes, slot), poll=poll), jobs,
               meanwhile=progress.tell, stop=processes.stop, poll=poll)
    progress.tell()
    return _conclude(sweep, study)


def _open_study(sweep: Sweep, storage: str) -> optuna.Study:
    """The study of the rows: the last one that is not over, or in which all rows have finished; else a new one."""
    rows = fingerprint([[row.name, sweep.stamp(row)] for row in sweep.rows])
    attempt, over = 0, True
    while over:
        attempt += 1
        try:
            study = open_study({"STUDY_STORAGE": storage}, sweep.folder / "study.log",
                               f"sweep {sweep.folder.name} {attempt} {rows}", RepeatableSampler("random", 0))
        except ValueError as error:
            raise ValueError(str(error).replace("STUDY_STORAGE", "--storage")) from error
        ended = [trial for trial in study.get_trials(deepcopy=False) if trial.state in FINISHED]
        over = len(ended) >= len(sweep.rows) and not all(map(sweep.is_finished, sweep.rows))
    return study


def _run_row(sweep: Sweep, processes: Processes, slot: int, trial: optuna.Trial) -> float:
    """Run the row of a trial, unless it has finished before."""
    row = sweep.rows[trial.number]
    trial.set_user_attr("row", row.name)
    if not sweep.is_finished(row):
        run = sweep.run_of(row, make=True)
        processes.run(run, sweep.parameters(row), sweep.numbers, slot)
        run.mark(sweep.stamp(row), PAGE)
    return 0.0  # Optuna asks for a number


class Progress:
    """Tells on the terminal which rows start and end, whoever runs them, and how long the others will take."""

    def __init__(self, sweep: Sweep, study: optuna.Study):
        self.sweep, self.study = sweep, study
        self.used = {number for number, row in enumerate(sweep.rows) if sweep.is_finished(row)}
        before = f", {len(self.used)} of them finished before" if self.used else ""
        _say(f"sweep {sweep.folder.name}: {len(sweep.rows)} rows in {shown_path(sweep.folder)}{before}; what each of them "
             "prints is in its output.log")
        self.known = {trial.number: trial.state for trial in self._trials() if trial.state in FINISHED}

    def _trials(self) -> list[FrozenTrial]:
        trials = [trial for trial in self.study.get_trials(deepcopy=False) if trial.number < len(self.sweep.rows)]
        return sorted(trials, key=lambda trial: trial.number)

    def tell(self) -> None:
        """Tell what has changed since the last call."""
        trials = self._trials()
        for trial in trials:
            if trial.state == TrialState.RUNNING and "worker" not in trial.user_attrs:
                continue  # it has just been claimed
            if trial.state == self.known.get(trial.number) or trial.number in self.used:
                continue
            self.known[trial.number] = trial.state
            if told := self._event(trial):
                row, left = self.sweep.rows[trial.number], f" · {self._left(trials)}" if trial.state in FINISHED else ""
                _say(f"row {row.number}, {row.name}: {told}{left}")

    def _event(self, trial: FrozenTrial) -> str:
        if trial.state == TrialState.RUNNING:
            name = trial.user_attrs["worker"][0]
            return "started" + (f" by {name}" if name != worker() else "")
        if trial.state == TrialState.FAIL:
            return f"failed: {trial.user_attrs.get('reason', 'for a reason that is not known')}"
        if trial.state != TrialState.COMPLETE:
            return ""
        numbers = main_numbers(self.sweep.run_of(self.sweep.rows[trial.number]))
        score = numbers.get("test accuracy")
        return f"done in {format_duration(_seconds(trial))}" + (f", test accuracy {format_share(score)}" if score else "")

    def _left(self, trials: Sequence[FrozenTrial]) -> str:
        """How many rows are done, have failed and are left, and about how long these will take."""
        failed = sum(trial.state == TrialState.FAIL for trial in trials)
        ran = [_seconds(trial) for trial in trials if trial.state in FINISHED and trial.number not in self.used]
        left = len(self.sweep.rows) - len(self.used) - len(ran)
        told = f"{len(self.used) + len(ran) - failed} done, {failed} failed, {left} left"
        if not left:
            return told
        running = [time.time() - trial.datetime_start.timestamp() for trial in trials
                   if trial.state == TrialState.RUNNING and trial.datetime_start]
        mean = sum(ran) / len(ran)
        seconds = (mean * left - sum(min(passed, mean) for passed in running)) / max(1, len(running))
        return f"{told}, about {format_duration(seconds)}"


def _seconds(trial: FrozenTrial) -> float:
    return trial.duration.total_seconds() if trial.duration else 0.0


def _say(text: str) -> None:
    print(for_terminal(text), flush=True)


def _conclude(sweep: Sweep, study: optuna.Study) -> bool:
    """Write the summary and the page, and tell where they are and what has failed."""
    failed = [trial for trial in study.get_trials(deepcopy=False)
              if trial.state == TrialState.FAIL and trial.number < len(sweep.rows)]
    reasons = {sweep.rows[trial.number].name: str(trial.user_attrs.get("reason", "")) for trial in failed}
    table, finished = summary(sweep, reasons), []
    write_csv(sweep.folder / "summary.csv", table)
    for row, state in zip(sweep.rows, table["state"], strict=True):
        if state == "finished":
            finished.append(sweep.run_of(row).folder)
        else:
            _say(f"{state}: row {row.number}, {row.name}: {reasons.get(row.name) or 'the same command runs it again'}")
    _say(f"summary: {shown_path(sweep.folder / 'summary.csv')}")
    try:
        from inside.many_runs.compare.page import compare_runs  # which loads what draws
        _say(f"comparison: {shown_path(compare_runs(finished, sweep.folder / 'compare.html'))}")
    except Exception as error:  # fewer than two have run notebook 01; whatever it is must not hide what has run
        _say(f"comparison: none, {reason_of(error)}")
    return len(finished) == len(sweep.rows)


def summary(sweep: Sweep, reasons: Mapping[str, str]) -> pd.DataFrame:
    """A row a run: run, a column a changed parameter, state, seconds, the numbers of `main_numbers`, reason.

    `state`: "finished", "failed" (for `reason`) or "unfinished"; `seconds`: of its notebooks, as they were last executed.
    """
    changed = dict.fromkeys(name for row in sweep.rows for name in row.changes)
    rows = []
    for row in sweep.rows:
        state = "finished" if sweep.is_finished(row) else "failed" if row.name in reasons else "unfinished"
        numbers = main_numbers(sweep.run_of(row)) if state == "finished" else {}
        values = {name: row.word(name) if name in row.changes else None for name in changed}
        rows.append({"run": row.name, **values, "state": state, **{name: numbers.get(name) for name in NUMBERS},
                     "reason": reasons.get(row.name, "")})
    return pd.DataFrame(rows)


NUMBERS = ("seconds", "val accuracy", "val mAP", "test accuracy", "test mAP")


def main_numbers(run: RunFolder) -> dict[str, float]:
    """{name: number} of NUMBERS that the results of a run have: seconds, mean class accuracy and mean average precision."""
    try:
        found = {number: read_json(run.path(f"{number}_results.json")) for number in ("01", "02", "03")
                 if run.path(f"{number}_results.json").exists()}
    except ValueError:
        return {}
    numbers = {"seconds": round(sum(results.get("notebook_seconds") or 0 for results in found.values()), 1)}
    for part in ("val", "test"):
        scores = found.get("01", {}).get(part) or {}
        numbers[f"{part} accuracy"] = scores.get("mean_class_accuracy")
        numbers[f"{part} mAP"] = scores.get("mean_average_precision")
    return {name: value for name, value in numbers.items() if value is not None}
