"""Tests of inside/selection/study.py."""

import math
import multiprocessing
import os
import random
import signal
import sys
import time

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from inside.files import NotWritten
from inside.preflight import check_settings
from inside.selection import study
from inside.selection.study import FINISHED, GRACE_PERIOD, RepeatableSampler, is_stale, run_trials, trial_table, worker
from shared.databases import database  # noqa: F401
from shared.searches import settings


@pytest.mark.parametrize("storage, message", [
    ("sqlite:///study.db", "SQLite breaks"), ("postgresql+psycopg://me:secret@host/db", "holds a password"),
    ("postgresql+psycopg://me@host/db?sslmode=require&password=secret", "holds a password"), ("mysql://me@host/db?passwd=secret", "holds a password"),
    ("nonsense://host/db", "is no URL of a database"), ("mysql+mysqldb://host/db", "needs the package MySQLdb")])
def test_storages_that_are_not_legal(storage, message):
    with pytest.raises(ValueError, match=message) as error:
        check_settings(settings(STUDY_STORAGE=storage))
    assert "secret" not in str(error.value)


SPACE = {"x": FloatDistribution(-1, 1), "y": FloatDistribution(1e-3, 1, log=True), "z": CategoricalDistribution(["a", "b"]),
         "w": FloatDistribution(0, 1)}


def objective(pause):
    """A made score in five steps, drawn by TPE; a trial can be pruned, and fails where w is very small."""
    def run(trial):
        x, y = trial.suggest_float("x", -1, 1), trial.suggest_float("y", 1e-3, 1, log=True)
        z = trial.suggest_categorical("z", ["a", "b"])
        w = trial.suggest_float("w", 0, 1)
        if w < 0.06:
            raise ValueError("w is too small")
        for step in range(1, 6):
            time.sleep(pause)
            trial.report((1 - x ** 2 + 0.1 * (z == "a") - y) * step, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return 1 - x ** 2 + 0.1 * (z == "a") - y + w
    return run


def open_study(file, seed=0, kind="tpe", **options):
    sampler = RepeatableSampler(kind, seed, **options)
    return study.open_study({"STUDY_STORAGE": str(file)}, file, "test", sampler)


def outcome(file, n=24):
    return trial_table(open_study(file), SPACE, n).drop(columns="seconds")


def work(file, n=24, pause=0.0, poll=0.05):
    run_trials(open_study(file), n, objective(pause), poll=poll)


needs_fork = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods() or sys.platform == "darwin",
                                reason="the processes that are killed are forked")


def fork(*arguments):
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    return process


def test_the_same_seed_gives_the_same_trials(tmp_path):
    for name in ("one", "two"):
        work(tmp_path / name)
    table = outcome(tmp_path / "one")
    pd.testing.assert_frame_equal(table, outcome(tmp_path / "two"))
    assert len(table) == 24 and table["number"].tolist() == list(range(24))
    assert {"COMPLETE", "PRUNED", "FAIL"} >= set(table["state"]) >= {"COMPLETE", "PRUNED"}
    other = open_study(tmp_path / "three", seed=1)
    run_trials(other, 3, objective(0))
    assert trial_table(other, SPACE, 3)["x"].tolist() != table["x"].tolist()[:3]


@pytest.mark.soak
def test_tpe_finds_more_than_chance(tmp_path):
    """Of trials 10 on, TPE's are nearer to the best than random ones, over five seeds."""
    means = {}
    for kind in ("tpe", "random"):
        scores = []
        for seed in range(5):
            study = open_study(tmp_path / f"{kind}{seed}", seed, kind)
            run_trials(study, 30, lambda trial: -abs(trial.suggest_float("x", -1, 1) - 0.3))
            scores += [trial.value for trial in study.trials[10:]]
        means[kind] = np.mean(scores)
    assert means["tpe"] > means["random"] + 0.1


@needs_fork
def test_kills_change_nothing(tmp_path, monkeypatch):
    """SIGKILL at six random points of its way: each trial once, none stuck, the outcome of a search without kills."""
    monkeypatch.setattr(study, "BRIEF", 4)  # never are two at work here
    work(tmp_path / "calm")
    killed, rng = tmp_path / "killed", random.Random(3)

    def lines(path):
        return len(path.read_bytes().splitlines()) if path.exists() else 0
    for _ in range(6):  # by lines written, not by time: a fast machine is killed as often as a slow one
        until = lines(killed) + rng.randrange(lines(tmp_path / "calm") // 7)
        process = fork(killed, 24, 0.02)
        while lines(killed) < until and process.is_alive():
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.04))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
    process = fork(killed, 24)
    process.join(60)
    assert process.exitcode == 0
    pd.testing.assert_frame_equal(outcome(tmp_path / "calm"), outcome(tmp_path / "killed"))
    assert len(open_study(tmp_path / "killed").trials) == 24


@needs_fork
@pytest.mark.parametrize("storage", ["file", pytest.param("database", marks=pytest.mark.soak)])
def test_processes_share_a_study(tmp_path, storage, request):
    """Four processes, two of them killed half-way: each trial is done once, by at least two of them."""
    file = tmp_path / "shared" if storage == "file" else request.getfixturevalue("database")
    processes = [fork(file, 24, 0.02) for _ in range(4)]
    study = open_study(file)
    while sum(trial.state in FINISHED for trial in study.trials) < 6:
        time.sleep(0.01)
    for process in processes[:2]:
        os.kill(process.pid, signal.SIGKILL)
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [-signal.SIGKILL] * 2 + [0, 0]
    done = [trial for trial in study.trials if trial.number < 24]
    assert len(done) == 24 and all(trial.state in FINISHED for trial in done)
    assert len({tuple(trial.params.values()) for trial in done}) == 24  # no two draw the same
    assert len({trial.user_attrs["worker"][0] for trial in done}) >= 2


def test_an_interrupt_puts_the_trial_back(tmp_path):
    def stopped(trial):
        trial.suggest_float("x", -1, 1)
        raise KeyboardInterrupt
    study = open_study(tmp_path / "study")
    with pytest.raises(KeyboardInterrupt):
        run_trials(study, 3, stopped)
    assert [trial.state for trial in study.trials] == [TrialState.WAITING]
    run_trials(study, 3, objective(0))
    assert [trial.state in FINISHED for trial in study.trials] == [True] * 3


def test_an_unexpected_error_ends_its_trial_only(tmp_path):
    """Whatever a training raises is the reason of a failed trial; what the study itself raises, or a full disk, stops the search."""
    raised = [ZeroDivisionError("division by zero"), RuntimeError("out of memory\nat line 3"), ValueError("not legal"), KeyError(), None]

    def uneven(trial):
        error = raised[trial.number]
        if error:
            raise error
        return 0.5
    study = open_study(tmp_path / "study")
    run_trials(study, 5, uneven)
    assert [trial.state.name for trial in study.trials] == ["FAIL"] * 4 + ["COMPLETE"]
    assert [trial.user_attrs.get("reason") for trial in study.trials] == [
        "ZeroDivisionError: division by zero", "RuntimeError: out of memory", "not legal", "KeyError", None]
    for number, error in ((5, optuna.exceptions.StorageInternalError("the database is gone")), (6, SystemExit(3)), (7, KeyboardInterrupt()), (8, NotWritten("the disk is full"))):
        raised = {number: error, number - 1: None}
        with pytest.raises(type(error)):
            run_trials(study, number + 1, uneven)
        assert study.trials[number].state == TrialState.WAITING  # it will be tried again


def test_a_score_that_is_no_number_is_a_failure(tmp_path):
    study = open_study(tmp_path / "study")
    run_trials(study, 3, lambda trial: (math.nan, 0.5, -math.inf)[trial.number])
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE", "FAIL"]
    assert study.trials[0].user_attrs["reason"] == "The score is nan."


def test_more_trials_go_on_where_the_study_was(tmp_path):
    work(tmp_path / "study", 5)
    before = outcome(tmp_path / "study", 5)
    work(tmp_path / "study", 12)
    work(tmp_path / "whole", 12)
    pd.testing.assert_frame_equal(outcome(tmp_path / "study", 12), outcome(tmp_path / "whole", 12))
    pd.testing.assert_frame_equal(outcome(tmp_path / "study", 5), before)
    work(tmp_path / "study", 3)  # fewer: nothing is lost
    assert len(open_study(tmp_path / "study").trials) == 12 and len(outcome(tmp_path / "study", 3)) == 3


def test_a_line_that_was_cut_off_is_removed(tmp_path):
    work(tmp_path / "study", 6)
    whole, before = (tmp_path / "study").read_bytes(), outcome(tmp_path / "study", 6)
    for cut in (1, 9, len(whole.splitlines()[-1]) + 1):
        (tmp_path / "study").write_bytes(whole[:-cut])
        work(tmp_path / "study", 6)
        pd.testing.assert_frame_equal(outcome(tmp_path / "study", 6), before)
        assert (tmp_path / "study").read_bytes().endswith(b"\n") and len(open_study(tmp_path / "study").trials) == 6
        assert all(trial.state in FINISHED for trial in open_study(tmp_path / "study").trials)


def test_who_is_taken_for_dead():
    def trial(worker, heard, started=0.0):
        from datetime import datetime, timedelta
        made = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={"worker": [worker, heard]} if worker else {})
        made.datetime_start = datetime.now() - timedelta(seconds=started)
        return is_stale(made)
    here, now = worker().rpartition(":")[0], time.time()
    gone = multiprocessing.get_context("fork").Process(target=time.sleep, args=(0,))
    gone.start()
    gone.join()
    assert trial(f"{here}:{gone.pid}", now) and trial(worker(), now)
    assert not trial(f"{here}:{os.getppid()}", now) and trial(f"{here}:{os.getppid()}", now - GRACE_PERIOD - 1)
    assert not trial("elsewhere:1", now - 30) and trial("elsewhere:1", now - GRACE_PERIOD - 1)
    assert not trial("", 0, started=1) and trial("", 0, started=11)


def test_the_first_trial_has_the_settings_as_they_are(tmp_path):
    first = {"x": 0.25, "y": 5.0, "z": "b"}  # y is outside of its range
    study = open_study(tmp_path / "study", first=first)
    run_trials(study, 2, objective(0))
    assert study.trials[0].params["x"] == 0.25 and study.trials[0].params["z"] == "b" and study.trials[0].params["y"] <= 1
    assert study.trials[1].params["x"] != 0.25

