"""The search: its space, a study that survives kills and is shared, and what is told of it."""

import json
import math
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import optuna
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import settings as budget
from hypothesis import strategies as some
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

import experiments
import helpers
import model_search
import run as runner

BOOK = sorted(runner.NOTEBOOKS.glob("*.ipynb"))[0]
DEFAULTS = runner.notebook_parameters(BOOK)
TINY = {"ARCHITECTURE": "timm/test_resnet", "WEIGHTS": "random", "IMAGE_SIZE": 32, "EPOCHS": 2, "BATCH_SIZE": 16, "WORKERS": 0,
        "PRECISION": "float32", "FINAL_SEEDS": 2}


def settings(space=None, **changes):
    return DEFAULTS | TINY | {"SEARCH_TRIALS": 4, "SEARCH_SPACE": space or {"lr": [1e-4, 1e-2, "log"]}} | changes


# ---------------------------------------------------------------------------------------- the space

def test_ranges_and_choices():
    space = model_search.search_space(settings({
        "lr": [1e-5, 1e-2, "log"], "BATCH_SIZE": [8, 64], "dropout": [0.2, 0.5], "augment": ["none", "light"], "warmup": [0.0, 0.2, "choice"],
        "class_weights": [True, False], "image_size": [32, 48, 64], "weight_decay": [0.0, 0.01, 0.1]}))
    assert space == {
        "learning_rate": FloatDistribution(1e-5, 1e-2, log=True), "batch_size": IntDistribution(8, 64), "dropout": FloatDistribution(0.2, 0.5),
        "augmentation": CategoricalDistribution(["none", "light"]), "warmup": CategoricalDistribution([0.0, 0.2]),
        "class_weights": CategoricalDistribution([True, False]), "image_size": CategoricalDistribution([32, 48, 64]),
        "weight_decay": CategoricalDistribution([0.0, 0.01, 0.1])}


@pytest.mark.parametrize("space, message, changes", [
    ({}, "SEARCH_SPACE is empty", {}), ({"learning_rat": [1e-3, 1e-2]}, "did you mean 'learning_rate'", {}),
    ({"lr": []}, "lr = \\[\\] is empty", {}), ({"lr": [1e-2, 1e-3]}, "range lr = \\[0.01, 0.001\\] is empty", {}),
    ({"lr": [0.01, 0.01]}, "is empty", {}), ({"lr": [0, 0.01, "log"]}, "above 0 on a logarithmic scale", {}),
    ({"lr": [1e-3, 1e-2, "logs"]}, "legal there are 'log' and 'choice'", {}), ({"lr": 0.01}, "takes a range", {}),
    ({"lr": [1e-3, 1e-2], "learning_rate": [1e-3, 1e-2]}, "names an option twice", {}),
    ({"optimizer": ["sgd", "adamm"]}, "did you mean 'adam'", {}), ({"optimizer": ["sgd", "sgd"]}, "names a choice twice", {}),
    ({"lr": [1e-3, 100.0]}, "LEARNING_RATE = 100.0 is not legal", {}), ({"strategy": ["heads"]}, "did you mean 'head'", {}),
    ({"architecture": ["resnet5"]}, "did you mean 'resnet50'", {}), ({"filters": [8, 16]}, "no option of timm/test_resnet or of training", {}),
    ({"filters": [8, 16], "architecture": ["convnet5", "convnet_gap"], "kernel_size": [0, 3, 5]}, "kernel_size = 0 is not legal", {}),
    ({"dropout": [0.2, 1.5]}, "dropout = 1.5 is not legal", {}), ({"epochs": [2, 4]}, "SEARCH_EPOCHS fixes them", {"SEARCH_EPOCHS": 3}),
    ({"architecture": ["convnet5", "resnet18"], "filters": [8, 16]}, "which not every architecture has", {"SEARCH_SAMPLER": "grid"}),
    ({"SEED": [1, 2, 3]}, "no option", {}), ({"head": ["linear", "mlp"]}, "HEAD = 'mlp' is not legal", {}),
])
def test_spaces_that_are_not_legal(space, message, changes):
    with pytest.raises(ValueError, match=message) as error:
        model_search.check_search(settings() | {"SEARCH_SPACE": space} | changes)
    assert "\n" not in str(error.value)
    model_search.check_search(settings() | {"SEARCH_SPACE": space, "SEARCH_TRIALS": 0} | changes)  # not needed, not looked at


def test_an_option_is_drawn_for_those_that_have_it():
    chosen = settings({"architecture": ["convnet5", "timm/test_resnet"], "filters": [[4, 4, 4, 4, 4], 8], "strategy": ["head", "full"],
                       "dropout": [0.1, 0.4]}, SEARCH_SAMPLER="random")
    space = model_search.search_space(chosen)
    study = optuna.create_study(sampler=model_search.RepeatableSampler("random", 0))
    seen = set()
    for _ in range(30):
        drawn = model_search.suggest(study.ask(), space, chosen["ARCHITECTURE"])
        own = drawn["architecture"] == "convnet5"
        assert ("filters" in drawn) == own and ("strategy" in drawn) != own and "dropout" in drawn
        tried = model_search.changed(chosen, drawn)
        experiments.check_network(tried)
        seen.add(json.dumps(tried["ARCHITECTURE_OPTIONS"].get("filters")))
        assert tried["STRATEGY"] == ("full" if own else drawn["strategy"])
    assert seen == {"null", "8", "[4, 4, 4, 4, 4]"}


def test_grid_covers_all_combinations():
    space = model_search.search_space(settings({"lr": [1e-4, 1e-2, "log"], "augment": ["none", "light"], "batch_size": [4, 5]}))
    grid = model_search.grid_of(space)
    assert len(grid) == 3 * 2 * 2 == len({json.dumps(entry) for entry in grid})
    assert sorted({entry["learning_rate"] for entry in grid}) == pytest.approx([1e-4, 1e-3, 1e-2])
    for entry in grid:
        for name, value in entry.items():
            assert space[name]._contains(space[name].to_internal_repr(value))


@pytest.mark.parametrize("storage, message", [
    ("sqlite:///study.db", "SQLite breaks"), ("postgresql+psycopg://me:secret@host/db", "holds a password"),
    ("nonsense://host/db", "is no URL of a database"), ("mysql+mysqldb://host/db", "needs the package MySQLdb")])
def test_storages_that_are_not_legal(storage, message):
    with pytest.raises(ValueError, match=message) as error:
        model_search.check_search(settings(STUDY_STORAGE=storage))
    assert "secret" not in str(error.value)


# ---------------------------------------------------------------------------------------- the study

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
    sampler = model_search.RepeatableSampler(kind, seed, **options)
    return model_search.open_study({"STUDY_STORAGE": str(file)}, file, "test", sampler)


def outcome(file, n=24):
    return model_search.trial_table(open_study(file), SPACE, n).drop(columns="seconds")


def work(file, n=24, pause=0.0, poll=0.05):
    model_search.run_trials(open_study(file), n, objective(pause), poll=poll)


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
    model_search.run_trials(other, 3, objective(0))
    assert model_search.trial_table(other, SPACE, 3)["x"].tolist() != table["x"].tolist()[:3]


def test_tpe_finds_more_than_chance(tmp_path):
    """Of trials 10 on, TPE's are nearer to the best than random ones, over five seeds."""
    means = {}
    for kind in ("tpe", "random"):
        scores = []
        for seed in range(5):
            study = open_study(tmp_path / f"{kind}{seed}", seed, kind)
            model_search.run_trials(study, 30, lambda trial: -abs(trial.suggest_float("x", -1, 1) - 0.3))
            scores += [trial.value for trial in study.trials[10:]]
        means[kind] = np.mean(scores)
    assert means["tpe"] > means["random"] + 0.1


@needs_fork
def test_kills_change_nothing(tmp_path):
    """SIGKILL at six random points of its way: each trial once, none stuck, the outcome of a search without kills."""
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


@pytest.fixture
def database():
    """The URL of a PostgreSQL server of its own, on a socket in a temporary folder; skipped where it is not installed."""
    pytest.importorskip("psycopg")
    if not shutil.which("initdb") or not shutil.which("pg_ctl"):
        pytest.skip("PostgreSQL (initdb, pg_ctl) is not installed")
    user = {"user": "postgres"} if os.getuid() == 0 else {}  # it refuses to run as root
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        if user:
            shutil.chown(folder, "postgres")
        def run(*command):
            subprocess.run([*command], check=True, capture_output=True, cwd=folder, **user)
        run("initdb", "-D", f"{folder}/data", "-A", "trust", "-U", "tester")
        run("pg_ctl", "-D", f"{folder}/data", "-w", "-l", f"{folder}/log", "-o", f"-k {folder} -c listen_addresses=''", "start")
        try:
            yield f"postgresql+psycopg://tester@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "stop")


@needs_fork
@pytest.mark.parametrize("storage", ["file", "database"])
def test_processes_share_a_study(tmp_path, storage, request):
    """Three processes, one of them killed half-way: each trial is done once, by at least two of them."""
    file = tmp_path / "shared" if storage == "file" else request.getfixturevalue("database")
    processes = [fork(file, 24, 0.02) for _ in range(3)]
    study = open_study(file)
    while sum(trial.state in model_search.FINISHED for trial in study.trials) < 6:
        time.sleep(0.01)
    os.kill(processes[0].pid, signal.SIGKILL)
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [-signal.SIGKILL, 0, 0]
    done = [trial for trial in study.trials if trial.number < 24]
    assert len(done) == 24 and all(trial.state in model_search.FINISHED for trial in done)
    assert len({tuple(trial.params.values()) for trial in done}) == 24  # no two draw the same
    assert len({trial.user_attrs["worker"][0] for trial in done}) >= 2


def test_an_interrupt_puts_the_trial_back(tmp_path):
    def stopped(trial):
        trial.suggest_float("x", -1, 1)
        raise KeyboardInterrupt
    study = open_study(tmp_path / "study")
    with pytest.raises(KeyboardInterrupt):
        model_search.run_trials(study, 3, stopped)
    assert [trial.state for trial in study.trials] == [TrialState.WAITING]
    model_search.run_trials(study, 3, objective(0))
    assert [trial.state in model_search.FINISHED for trial in study.trials] == [True] * 3


def test_an_unexpected_error_ends_its_trial_only(tmp_path):
    """Whatever a training raises is the reason of a failed trial; what the study itself raises stops the search."""
    raised = [ZeroDivisionError("division by zero"), RuntimeError("out of memory\nat line 3"), ValueError("not legal"), KeyError(), None]

    def uneven(trial):
        error = raised[trial.number]
        if error:
            raise error
        return 0.5
    study = open_study(tmp_path / "study")
    model_search.run_trials(study, 5, uneven)
    assert [trial.state.name for trial in study.trials] == ["FAIL"] * 4 + ["COMPLETE"]
    assert [trial.user_attrs.get("reason") for trial in study.trials] == [
        "ZeroDivisionError: division by zero", "RuntimeError: out of memory", "not legal", "KeyError", None]
    for number, error in ((5, optuna.exceptions.StorageInternalError("the database is gone")), (6, SystemExit(3)), (7, KeyboardInterrupt())):
        raised = {number: error, number - 1: None}
        with pytest.raises(type(error)):
            model_search.run_trials(study, number + 1, uneven)
        assert study.trials[number].state == TrialState.WAITING  # it will be tried again


def test_a_score_that_is_no_number_is_a_failure(tmp_path):
    study = open_study(tmp_path / "study")
    model_search.run_trials(study, 3, lambda trial: (math.nan, 0.5, -math.inf)[trial.number])
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
        assert all(trial.state in model_search.FINISHED for trial in open_study(tmp_path / "study").trials)


def test_who_is_taken_for_dead():
    def trial(worker, heard, started=0.0):
        from datetime import datetime, timedelta
        made = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={"worker": [worker, heard]} if worker else {})
        made.datetime_start = datetime.now() - timedelta(seconds=started)
        return model_search.abandoned(made)
    here, now = model_search.worker().rpartition(":")[0], time.time()
    gone = multiprocessing.get_context("fork").Process(target=time.sleep, args=(0,))
    gone.start()
    gone.join()
    assert trial(f"{here}:{gone.pid}", now) and trial(model_search.worker(), now)
    assert not trial(f"{here}:{os.getppid()}", now) and trial(f"{here}:{os.getppid()}", now - model_search.SILENCE - 1)
    assert not trial("elsewhere:1", now - 30) and trial("elsewhere:1", now - model_search.SILENCE - 1)
    assert not trial("", 0, started=1) and trial("", 0, started=11)


def test_the_first_trial_has_the_settings_as_they_are(tmp_path):
    first = {"x": 0.25, "y": 5.0, "z": "b"}  # y is outside of its range
    study = open_study(tmp_path / "study", first=first)
    model_search.run_trials(study, 2, objective(0))
    assert study.trials[0].params["x"] == 0.25 and study.trials[0].params["z"] == "b" and study.trials[0].params["y"] <= 1
    assert study.trials[1].params["x"] != 0.25


# ---------------------------------------------------------------------------------------- a search on images

SEARCHED = {"lr": [1e-3, 0.1, "log"], "augment": ["none", "light"], "strategy": ["head", "full"], "architecture": ["timm/test_resnet", "convnet5"],
            "dropout": [0.0, 0.4], "filters": [4, 8, 12]}


@pytest.fixture(scope="module")
def found(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    chosen = settings(SEARCHED, SEARCH_TRIALS=9, SEARCH_EPOCHS=2, SEARCH_IMAGES=36)
    return model_search.search(chosen, *images, folder=folder), folder, chosen


def test_a_search_on_images(found, images, capsys):
    search, folder, chosen = found
    trials = search.trials
    assert list(trials) == ["number", "state", "score", "seconds", "learning_rate", "augmentation", "strategy", "architecture", "dropout", "filters"]
    assert len(trials) == 9 and set(trials["state"]) <= {"COMPLETE", "PRUNED", "FAIL"}
    assert trials.loc[0, ["learning_rate", "augmentation", "strategy", "architecture"]].tolist() == [0.001, "light", "full", "timm/test_resnet"]
    assert search.ranked[0].value == trials.loc[trials["state"] == "COMPLETE", "score"].max()
    best = search.settings_of(search.ranked[0])
    assert best["EPOCHS"] == 2 and best["LEARNING_RATE"] == search.ranked[0].params["learning_rate"]
    experiments.check_network(best)
    again = model_search.search(chosen, *images, folder=folder)
    pd.testing.assert_frame_equal(again.trials, trials)
    assert "trial" not in capsys.readouterr().out  # nothing was run again


def test_another_split_is_another_study(found, images):
    search, folder, chosen = found
    parts, root, classes = images
    other = {**parts, "val": parts["val"].iloc[1:].reset_index(drop=True)}
    again = model_search.search(chosen | {"SEARCH_TRIALS": 1, "SEARCH_EPOCHS": 1}, other, root, classes, folder=folder)
    assert len(again.trials) == 1 and again.study.study_name != search.study.study_name


def test_a_score_is_that_of_the_same_training(found, images):
    """The best trial, trained again outside of the search, reaches the score that it has in the study."""
    search, folder, chosen = found
    parts, root, classes = images
    best = search.ranked[0]
    part = {"train": model_search.subset(parts["train"], 36, seed=chosen["SEED"]), "val": parts["val"]}
    trained = experiments.train(experiments.Experiment(search.settings_of(best) | {"EPOCHS": 2}, part, root, classes), folder / "own")
    assert trained.history["val_mean_class_accuracy"].max() == pytest.approx(best.value)


def test_noise_band(found, images):
    search, folder, chosen = found
    band = model_search.noise_band(search, *images, folder=folder)
    names = ["best", "runner-up", *([] if search.base in search.ranked[:2] else ["as they stand"])]
    assert band["setting"].tolist() == [name for name in names for _ in range(2)] and band["seed"].tolist() == [1, 2] * len(names)
    trials = [*search.ranked[:2], search.base][:len(names)]
    assert band.groupby("setting", sort=False)["trial_score"].first().tolist() == [trial.value for trial in trials]
    assert band["trial"].tolist() == [trial.number for trial in trials for _ in range(2)]
    assert search.ranked[0].params != search.ranked[1].params
    pd.testing.assert_frame_equal(band, model_search.noise_band(search, *images, folder=folder))
    assert "With 2 new seeds" in model_search.told_noise(band)


def test_the_seed_of_a_noise_band_is_that_of_its_training(found, images):
    """Each score of the band is what a training of its own with this seed gives; and the seeds do not all give the same."""
    search, folder, chosen = found
    parts, root, classes = images
    band = model_search.noise_band(search, *images, folder=folder)
    part = {"train": model_search.subset(parts["train"], 36, seed=chosen["SEED"]), "val": parts["val"]}
    own = []
    for row in band[band["seed"] == 2].to_dict("records"):
        tried = search.settings_of(search.candidates[row["setting"]]) | {"SEED": row["seed"], "EPOCHS": 2}
        own.append(experiments.train(experiments.Experiment(tried, part, root, classes), folder / "own").history["val_mean_class_accuracy"].max())
    assert band.loc[band["seed"] == 2, "score"].tolist() == pytest.approx(own)
    assert (band.groupby("setting")["score"].nunique() > 1).any()


# ---------------------------------------------------------------------------------------- the settings as they stand

@pytest.fixture
def quick(monkeypatch):
    """Trainings that take no time: the score follows from the settings. The settings of each are in the list that it gives."""
    trained = []

    def train(settings, folder, *, after_epoch):
        trained.append(settings)
        score = 0.5 + 0.1 * (settings["AUGMENTATION"] == "light") - 0.05 * abs(math.log10(settings["LEARNING_RATE"] / 0.02))
        after_epoch({"epoch": 1, "val_mean_class_accuracy": score + 0.001 * settings["SEED"]})
    monkeypatch.setattr(model_search, "Experiment", lambda settings, *arguments: settings)
    monkeypatch.setattr(model_search, "train", train)
    return trained


@pytest.mark.parametrize("space, changes, number", [
    ({"lr": [1e-4, 1e-2, "log"], "augment": ["none", "light"]}, {}, 0),
    ({"lr": [1e-4, 1e-2, "log"]}, {"LEARNING_RATE": 0.05}, None),  # outside of the range
    ({"augment": ["none", "strong"]}, {}, None),  # not among the choices
    ({"warmup": [0, 0.2, "choice"]}, {"WARMUP": 0.0}, 0),  # 0 is 0.0
    ({"class_weights": [False, True]}, {"CLASS_WEIGHTS": False}, 0),
    ({"batch_size": [8, 64]}, {"BATCH_SIZE": 16}, 0), ({"weight_decay": [0, 1]}, {"WEIGHT_DECAY": 0.3}, None),  # whole numbers only
    ({"lr": [1e-4, 1e-2, "log"], "augment": ["none", "light"]}, {"SEARCH_SAMPLER": "grid"}, 3),
    ({"lr": [1e-3, 1e-2, 2e-2], "augment": ["light", "none"]}, {"SEARCH_SAMPLER": "grid"}, 0),
    ({"lr": [2e-3, 1e-2, "log"]}, {"SEARCH_SAMPLER": "grid"}, None),
    ({"architecture": ["convnet5", "mlp"], "dropout": [0.0, 0.5]}, {}, None),
    ({"dropout": [0.0, 0.5]}, {}, 0), ({"dropout": [0.1, 0.5]}, {}, None), ({"dropout": [0.1, 0.5]}, {"ARCHITECTURE_OPTIONS": {"dropout": 0.2}}, 0),
])
def test_the_settings_as_they_stand_are_always_scored(space, changes, number, quick, images, tmp_path):
    """By the trial that has them, or once apart; either way with these settings and the budget of a trial."""
    chosen = settings(space, SEARCH_TRIALS=6, SEARCH_EPOCHS=1, SEARCH_IMAGES=12) | changes
    search = model_search.search(chosen, *images, folder=tmp_path)
    assert (search.base is search.apart) == (number is None) and search.base.number == (number or 0)
    own = [tried for tried in quick if model_search.same_settings(tried | {"EPOCHS": chosen["EPOCHS"]}, chosen)]
    assert own and own[0]["EPOCHS"] == 1 and len(quick) == len(search.trials) + (number is None)
    assert search.base.value == pytest.approx(
        0.5 + 0.1 * (chosen["AUGMENTATION"] == "light") - 0.05 * abs(math.log10(chosen["LEARNING_RATE"] / 0.02)))
    told = model_search.describe_base(search)
    assert ("trained apart" if number is None else f"trial {number})") in told and f"{search.base.value:.3f}" in told
    assert model_search.search(chosen, *images, folder=tmp_path).base.value == search.base.value
    assert len(quick) == len(search.trials) + (number is None)  # nothing was trained again


def test_a_study_that_goes_on_from_other_settings_knows_which_stand(quick, images, tmp_path):
    """The value of an option in the space does not name the study: trial 0 then has the value of an earlier call."""
    chosen = settings(SEARCH_TRIALS=3, SEARCH_IMAGES=12)
    first = model_search.search(chosen, *images, folder=tmp_path)
    again = model_search.search(chosen | {"LEARNING_RATE": 0.004}, *images, folder=tmp_path)
    assert again.trials.equals(first.trials) and first.base.number == 0 and first.apart is None
    assert again.base is again.apart and quick[-1]["LEARNING_RATE"] == 0.004


def test_settings_that_stand_and_fail_are_told(images, tmp_path, monkeypatch):
    trained = []

    def train(settings, folder, *, after_epoch):
        trained.append(settings)
        if settings["LEARNING_RATE"] == 0.05:
            raise ZeroDivisionError("division by zero")
        after_epoch({"epoch": 1, "val_mean_class_accuracy": 0.4})
    monkeypatch.setattr(model_search, "Experiment", lambda settings, *arguments: settings)
    monkeypatch.setattr(model_search, "train", train)
    search = model_search.search(settings(SEARCH_TRIALS=3, LEARNING_RATE=0.05, SEARCH_IMAGES=12), *images, folder=tmp_path)
    assert model_search.describe_base(search).endswith("failed: ZeroDivisionError: division by zero.")
    band = model_search.noise_band(search, *images, folder=tmp_path)
    assert band["score"].isna().tolist() == [False] * 4 + [True] * 2 and band["trial"].tolist() == [0, 0, 1, 1, None, None]
    helpers.write_json(tmp_path / "band.json", band.to_dict("records"))
    assert json.loads((tmp_path / "band.json").read_text())[-1] == {
        "setting": "as they stand", "trial": None, "seed": 2, "score": None, "trial_score": None}
    assert "every seed failed" in model_search.told_noise(band) and "nan" not in model_search.told_noise(band)
    assert "unknown, since no seed has a score of both" in model_search.describe_search(search, band)[0]
    trained.clear()  # where a trial has them, its failure is theirs: they are not tried again
    inside = model_search.search(search.settings | {"SEARCH_SPACE": {"lr": [0.01, 0.1]}}, *images, folder=tmp_path)
    assert inside.base.number == 0 and inside.base.state == TrialState.FAIL and len(trained) == 3
    assert model_search.describe_base(inside) == "The settings as they stand (trial 0) failed: ZeroDivisionError: division by zero."


@pytest.mark.parametrize("space, changes, wanted", [
    ({"lr": [3e-4, 1e-2, "log"], "augment": ["none", "light"]}, {"AUGMENTATION": "none"}, {"best", "runner-up", "as they stand"}),
    ({"lr": [3e-4, 1e-2, "log"]}, {"LEARNING_RATE": 0.01}, {"best", "runner-up"}),  # as they stand they are best
    ({"lr": [3e-4, 1e-2, "log"]}, {"LEARNING_RATE": 0.02}, {"best", "runner-up", "as they stand"}),  # better, but not in the space
    ({"augment": ["none", "light"]}, {"AUGMENTATION": "none"}, {"best", "runner-up"})])  # the runner-up
def test_the_noise_band_holds_the_settings_as_they_stand(space, changes, wanted, quick, images, tmp_path):
    chosen = settings(space, SEARCH_TRIALS=5, SEARCH_IMAGES=12, FINAL_SEEDS=3) | changes
    search = model_search.search(chosen, *images, folder=tmp_path)
    before = len(quick)
    band = model_search.noise_band(search, *images, folder=tmp_path)
    assert set(band["setting"]) == wanted and len(band) == 3 * len(wanted) == len(quick) - before
    assert [tried["SEED"] for tried in quick[before:]] == [1, 2, 3] * len(wanted)
    standing = [tried for tried in quick[before:] if model_search.same_settings(tried | {"SEED": 0}, chosen)]
    assert [tried["SEED"] for tried in standing] == [1, 2, 3]
    assert band["score"].tolist() == pytest.approx([row["trial_score"] + 0.001 * row["seed"] for row in band.to_dict("records")])


def test_of_equal_scores_the_first_trial_is_best():
    """Two trials of the same setting do not move it behind another one with the same score."""
    study = optuna.create_study(direction="maximize")
    for x in (0.1, 0.2, 0.1):
        study.add_trial(optuna.trial.create_trial(params={"x": x}, distributions={"x": FloatDistribution(0, 1)}, value=0.9))
    assert [trial.number for trial in model_search.Search(study, {}, {}, 3).ranked] == [0, 1]


def test_weights_that_cannot_be_had_stop_the_search_before_a_trial(images, tmp_path, monkeypatch):
    def unreachable(*arguments, **options):
        raise ValueError("the weights are not on this machine")
    monkeypatch.setattr(helpers, "require_reachable", unreachable)
    monkeypatch.setattr(helpers.torch.hub, "get_dir", lambda: str(tmp_path))
    chosen = settings({"architecture": ["convnet5", "resnet18"]}, WEIGHTS="imagenet")
    with pytest.raises(ValueError, match="not on this machine"):
        model_search.search(chosen, *images, folder=tmp_path)
    assert not (tmp_path / "study.log").exists()


def made_band(scores, trial_scores=None):
    """A noise band with these scores: {setting: [score of each seed]}."""
    rows = [{"setting": name, "trial": number, "seed": seed + 1, "score": score, "trial_score": (trial_scores or {}).get(name, 0.5)}
            for number, (name, values) in enumerate(scores.items()) for seed, score in enumerate(values)]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_equal_settings_are_seldom_told_apart(n):
    """Settings that differ in nothing but their seeds are called different in 5 of 100 cases, whether the seeds move both alike or not."""
    for shared in (0.0, 0.7):
        rng, told = np.random.default_rng(n), []
        for _ in range(600):
            alike, own = 0.02 * rng.normal(size=n), 0.02 * rng.normal(size=(2, n))
            one, other = 0.8 + math.sqrt(shared) * alike + math.sqrt(1 - shared) * own
            told.append(model_search.Difference.of(one, other).told)
        assert 0.025 < np.mean(told) < 0.08, shared


def test_real_differences_are_found_with_enough_seeds():
    rng, found = np.random.default_rng(0), {}
    for n in (2, 8):
        band = [model_search.Difference.of(0.83 + 0.02 * rng.normal(size=n), 0.8 + 0.02 * rng.normal(size=n)) for _ in range(200)]
        found[n] = np.mean([difference.told for difference in band])
        assert all(difference.gap > 0 for difference in band if difference.told) or n == 2
        assert np.mean([difference.low <= 0.03 <= difference.high for difference in band]) == pytest.approx(0.95, abs=0.04)
    assert found[8] > 0.7 > 0.4 > found[2]


def test_differences_that_cannot_be_told():
    nothing = model_search.Difference.of([0.8, math.nan], [math.nan, 0.6])
    assert nothing.n == 0 and math.isnan(nothing.gap) and not nothing.told  # no seed is scored by both
    one = model_search.Difference.of([0.8, 0.9, math.nan], [0.6, math.nan, 0.7])
    assert one.n == 1 and one.gap == pytest.approx(0.2) and math.isnan(one.low) and not one.told
    still = model_search.Difference.of([0.8, 0.7, 0.8], [0.6, 0.5, 0.6])
    assert still.n == 3 and still.gap == pytest.approx(0.2) and math.isnan(still.low) and not still.told
    told = model_search.Difference.of([0.80, 0.81, 0.79, math.nan], [0.60, 0.62, 0.59, 0.9])
    assert told.told and told.n == 3 and told.gap == pytest.approx(0.197) and told.low < told.gap < told.high


def test_what_is_told_of_seeds():
    told = model_search.told_noise
    clear = {"best": [0.80, 0.81, 0.79, 0.80], "runner-up": [0.60, 0.62, 0.59, 0.61], "as they stand": [0.91, 0.90, 0.92, 0.93]}
    text = told(made_band(clear))
    assert text.startswith("With 4 new seeds: the best setting (trial 0) 0.800 (0.790 to 0.810); the runner-up (trial 1) 0.605 (0.590 to 0.620); "
                           "the settings as they stand (trial 2) 0.915 (0.900 to 0.930).")
    assert "less the runner-up: a difference of +0.195 (95 % interval +0.186 to +0.204): it is better." in text
    assert "less the settings as they stand: a difference of -0.115" in text and text.endswith("it is worse.")
    open_ = told(made_band({"best": [0.8, 0.6, 0.7], "runner-up": [0.69, 0.71, 0.6]}))
    assert "these seeds do not tell them apart" in open_ and "optimistically biased" not in open_
    biased = told(made_band({"best": [0.4, 0.45], "runner-up": [0.4, 0.41]}))
    assert "In the search the best setting had 0.500, more than with any new seed" in biased and "optimistically biased" in biased
    assert "which cannot be told from chance from a single seed." in told(made_band({"best": [0.8], "runner-up": [0.6]}))
    assert told(made_band({"best": [0.8]})) == "With 1 new seed: the best setting (trial 0) 0.800. There is no other setting to compare it with."


def test_failed_seeds_are_not_counted_as_scores():
    nan = math.nan
    half = model_search.told_noise(made_band({"best": [0.8, nan, nan], "runner-up": [0.6, 0.61, 0.59]}))
    assert "the best setting (trial 0) 0.800 (2 of 3 seeds failed)" in half and \
        "a difference of +0.200 over the 1 with scores of both, which cannot be told from chance from a single seed." in half
    none = model_search.told_noise(made_band({"best": [nan, nan], "runner-up": [nan, nan]}))
    assert none == ("With 2 new seeds: the best setting (trial 0) no score (every seed failed); the runner-up (trial 1) no score (every seed "
                    "failed). The best setting less the runner-up: unknown, since no seed has a score of both.")


# ---------------------------------------------------------------------------------------- what is told of a search

TOLD_SPACE = {"learning_rate": FloatDistribution(1e-4, 1e-2, log=True), "augmentation": CategoricalDistribution(["none", "light"])}


def made_search(trials, apart=None):
    """A search with the trials [(learning rate, augmentation, state, score)]; apart: the score of the settings as they stand, or "FAIL"."""
    study = optuna.create_study(direction="maximize")
    for rate, augmentation, state, value in trials:
        study.add_trial(optuna.trial.create_trial(
            params={"learning_rate": rate, "augmentation": augmentation}, distributions=TOLD_SPACE, state=TrialState[state],
            value=None if state == "FAIL" else value, user_attrs={"reason": "The loss is not finite."} if state == "FAIL" else {}))
    own = None if apart is None else optuna.trial.create_trial(
        state=TrialState.FAIL if apart == "FAIL" else TrialState.COMPLETE, value=None if apart == "FAIL" else apart)
    return model_search.Search(study, TOLD_SPACE, settings(), len(trials), own)


STANDING = (0.001, "light")


def test_what_is_told_of_a_search_is_the_verdict_of_the_new_seeds():
    """The case that was seen: 0.880 to 0.898 in the search, 0.880 to 0.861 with new seeds."""
    search = made_search([(*STANDING, "COMPLETE", 0.880), (0.003, "none", "COMPLETE", 0.898), (0.004, "none", "COMPLETE", 0.89)])
    band = made_band({"best": [0.86, 0.862], "runner-up": [0.87, 0.85], "as they stand": [0.875, 0.885]})
    told, = model_search.describe_search(search, band)
    assert told.startswith("Did the search help? With 2 new seeds the setting that it chose has 0.861 (0.860 to 0.862), the settings as they stand "
                           "have 0.880 (0.875 to 0.885): a difference of -0.019 (95 % interval ")
    assert "these seeds do not tell whether the search helped" in told and "raised" not in told
    assert told.endswith("Its own score of that setting, 0.898, the highest of 3 noisy scores, is optimistically biased.")
    assert "the search helped" in model_search.describe_search(search, made_band(
        {"best": [0.9, 0.91, 0.9, 0.91], "runner-up": [0.87] * 4, "as they stand": [0.8, 0.82, 0.81, 0.82]}))[0]
    assert "the search chose a worse setting" in model_search.describe_search(search, made_band(
        {"best": [0.7, 0.71, 0.7, 0.71], "runner-up": [0.87] * 4, "as they stand": [0.8, 0.82, 0.81, 0.82]}))[0]
    assert model_search.describe_search(search, None) == [
        "The search's own score of its best setting, 0.898, the highest of 3 noisy scores, is optimistically biased; nothing was verified with new "
        "seeds (FINAL_SEEDS = 0)."]
    assert model_search.describe_search(None, None) == []


def test_a_search_that_finds_nothing_better_says_so():
    search = made_search([(*STANDING, "COMPLETE", 0.9), (0.003, "none", "COMPLETE", 0.9)])  # a tie is not better
    assert search.base_name == "best" and set(search.candidates) == {"best", "runner-up"}
    assert model_search.describe_search(search, None) == [
        "No trial of the search scored higher than the settings as they stand (trial 0, 0.900); nothing was verified with new seeds (FINAL_SEEDS = 0)."]
    told, = model_search.describe_search(search, made_band({"best": [0.86, 0.862], "runner-up": [0.87, 0.85]}))
    assert told.endswith("With 2 new seeds they have 0.861 (0.860 to 0.862).")
    outside = made_search([(0.003, "none", "COMPLETE", 0.9)], apart=0.95)
    assert set(outside.candidates) == {"best", "as they stand"}
    assert model_search.describe_search(outside, None)[0].endswith("The settings as they stand, which no trial has, scored higher (0.950).")


def test_what_is_told_of_trials():
    search = made_search([(*STANDING, "COMPLETE", 0.880), (0.003, "none", "COMPLETE", 0.898), (0.004, "none", "PRUNED", 0.95),
                          (0.005, "none", "FAIL", None), (0.006, "none", "FAIL", None)])
    assert model_search.describe_trials(search) == (
        "Best of 5 trials (2 complete, 2 fail, 1 pruned): trial 1 with 0.898 on validation (learning_rate 0.003, augmentation none). The settings "
        "as they stand (trial 0) have 0.880. Trial 3, 4 failed: The loss is not finite.")
    pruned = made_search([(*STANDING, "PRUNED", 0.7), (0.003, "none", "COMPLETE", 0.898)], apart=0.75)
    assert "(trained apart, since no finished trial has them) have 0.750" in model_search.describe_trials(pruned)


scores = some.sampled_from([0.0, 0.3, 0.5, 0.5004, 0.5006, 0.897, 1.0])
made_trials = some.lists(some.tuples(some.sampled_from([0.001, 0.003, 0.005]), some.sampled_from(["none", "light"]),
                                     some.sampled_from(["COMPLETE", "COMPLETE", "PRUNED", "FAIL"]), scores), min_size=1, max_size=6)


def check_verdicts(text):
    """Every "a difference of …" of a text says what its own interval says."""
    over = r"(?: over the \d+ with scores of both)?"
    pattern = rf"a difference of ([+-][\d.]+)(?: \(95 % interval ([+-][\d.]+) to ([+-][\d.]+)\){over}: ([a-z ]+)|{over}, which cannot be told)"
    found = re.findall(pattern, text)
    assert len(found) == text.count("a difference of")
    for gap, low, high, verdict in found:
        assert gap != "-0.000"
        if verdict:
            assert float(low) <= float(gap) <= float(high)
            better, worse = float(low) > 0, float(high) < 0
            assert better == (verdict in ("it is better", "the search helped")), text
            assert worse == (verdict in ("it is worse", "the search chose a worse setting")), text
            assert (not better and not worse) == ("do not tell" in verdict), text


@budget(max_examples=150, deadline=None)
@given(trials=made_trials, apart=some.one_of(scores, some.just("FAIL")), n_seeds=some.integers(0, 4), data=some.data())
def test_every_sentence_of_a_search_is_made_and_holds(trials, apart, n_seeds, data):
    """Failed and pruned trials, ties, one trial, one seed, seeds that fail, no seeds: no "nan", and nothing against the numbers."""
    search = made_search(trials, apart)
    done = [value for *_, state, value in trials if state == "COMPLETE"]
    if not done:
        with pytest.raises(ValueError, match="No trial of the search came to an end"):
            model_search.describe_search(search, None)
        return
    scored = some.one_of(scores, some.just(math.nan))
    band = made_band({name: data.draw(some.lists(scored, min_size=n_seeds, max_size=n_seeds)) for name in search.candidates},
                     {name: math.nan if trial.value is None else trial.value for name, trial in search.candidates.items()}) if n_seeds else None
    lines = [model_search.describe_trials(search), *model_search.describe_search(search, band)]
    lines += [] if band is None else [model_search.told_noise(band)]
    for line in lines:
        assert line.endswith(".") and not re.search(r"\bnan\b|\binf|None|\(\)|  ", line), line
        check_verdicts(line)
    best, base = max(done), search.base.value
    assert f"with {best:.3f} on validation" in lines[0]
    assert ("failed: " in lines[0]) == (base is None or any(state == "FAIL" for *_, state, _ in trials))
    assert ("No trial of the search scored higher" in lines[1]) == (search.base_name == "best")
    assert search.base_name != "best" or base == best
    assert ("scored higher (" not in lines[1]) or base > best
    assert ("nothing was verified" in lines[1]) == (band is None)
    if band is not None:
        for name, part in band.groupby("setting"):
            mean = part["score"].mean()
            words = "no score (every seed failed)" if math.isnan(mean) else f"{mean:.3f}"
            assert f"{model_search.CALLED[name]} (trial {part['trial'].iloc[0]}) {words}" in lines[2]
        more = round(band["trial_score"].iloc[0], 3) > round(band.loc[band["setting"] == "best", "score"].max(), 3)
        assert ("optimistically biased" in lines[2]) == more


def test_subset_keeps_class_shares(images):
    train = images[0]["train"]
    part = model_search.subset(train, 36, seed=0)
    assert set(part["label"].value_counts()) == {6} and set(part["path"]) <= set(train["path"]) and part["path"].is_unique
    assert model_search.subset(train, 0, seed=0) is train and model_search.subset(train, 9999, seed=0) is train
    assert len(model_search.subset(train, len(train) - 1, seed=0)) == len(train) - 1
    assert part.equals(model_search.subset(train, 36, seed=0)) and not part.equals(model_search.subset(train, 36, seed=1))


@budget(max_examples=60, deadline=None)
@example(sizes=[1, 1, 5], share=0.3, seed=0)  # two images of three classes
@example(sizes=[1, 1, 1, 1, 40], share=0.2, seed=0)  # rare classes take from the large one
@given(sizes=some.lists(some.integers(1, 40), min_size=1, max_size=12), share=some.floats(0, 1.2), seed=some.integers(0, 3))
def test_subset_at_extremes(sizes, share, seed):
    """One image a class, one class, more classes than images asked for: each class stays, as many as asked, shares to within one."""
    rows = [(f"class {label}", f"{label}/{number}") for label, size in enumerate(sizes) for number in range(size)]
    part = pd.DataFrame(rows, columns=["label", "path"]).sample(frac=1, random_state=seed).reset_index(drop=True)
    asked = round(share * len(part))
    chosen = model_search.subset(part, asked, seed=seed)
    if not 0 < asked < len(part):
        assert chosen is part
        return
    assert len(chosen) == max(asked, len(sizes)) and set(chosen["label"]) == set(part["label"]) and chosen["path"].is_unique
    assert chosen["path"].tolist() == [path for path in part["path"] if path in set(chosen["path"])]  # in the order of the part
    counts, whole = chosen["label"].value_counts(), part["label"].value_counts()
    exact = whole * asked / len(part)
    assert ((counts - exact) < 1 + 1e-9).all() and (exact.min() < 1 or ((exact - counts) < 1 + 1e-9).all())


def test_all_trials_fail_says_why(images, tmp_path, monkeypatch):
    def diverges(*arguments, **options):
        raise ValueError("The loss is nan in epoch 1")
    monkeypatch.setattr(model_search, "train", diverges)
    search = model_search.search(settings(SEARCH_TRIALS=2, SEARCH_IMAGES=12), *images, folder=tmp_path)
    assert search.trials["state"].tolist() == ["FAIL"] * 2
    with pytest.raises(ValueError, match="No trial of the search came to an end: The loss is nan"):
        _ = search.ranked
    for told in (lambda: model_search.describe_trials(search), lambda: model_search.describe_search(search, None),
                 lambda: model_search.noise_band(search, *images, folder=tmp_path)):
        with pytest.raises(ValueError, match="No trial of the search came to an end"):
            told()


def test_every_trial_that_fails_unexpectedly_stops_with_the_reason(images, tmp_path, monkeypatch):
    def divides(*arguments, **options):
        raise ZeroDivisionError("float division by zero")
    monkeypatch.setattr(model_search, "train", divides)
    search = model_search.search(settings(SEARCH_TRIALS=2, SEARCH_IMAGES=12), *images, folder=tmp_path)
    with pytest.raises(ValueError, match="came to an end: ZeroDivisionError: float division by zero"):
        _ = search.ranked


# ---------------------------------------------------------------------------------------- importance and plots

def made(n=40):
    """A search with a known answer: the score follows x, and a little the word; y is noise."""
    space = {"x": FloatDistribution(0, 1), "y": FloatDistribution(1e-3, 1, log=True), "word": CategoricalDistribution(["a", "b", "c"])}
    rng, study = np.random.default_rng(0), optuna.create_study(direction="maximize")
    for _ in range(n):
        params = {"x": float(rng.uniform()), "y": float(rng.uniform(0.01, 1)), "word": str(rng.choice(["a", "b", "c"]))}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=params["x"] + 0.1 * (params["word"] == "c")))
    return model_search.Search(study, space, {}, n)


def test_importance_and_correlation_at_a_known_answer():
    table = model_search.importances(made()).set_index("option")
    assert table.index[0] == "x" and table.loc["x", "importance"] > 0.7 and table["importance"].sum() == pytest.approx(1)
    assert table.loc["x", "correlation"] > 0.9 and abs(table.loc["y", "correlation"]) < 0.4
    assert table.loc["word", "measure"] == "ratio η" and 0 <= table.loc["word", "correlation"] < 0.6


def test_correlation():
    scores = pd.Series([1.0, 2.0, 3.0, 4.0])
    assert model_search.correlation(pd.Series([1, 10, 100, 1000]), scores) == (pytest.approx(1), "Spearman ρ")
    assert model_search.correlation(pd.Series(["a", "a", "b", "b"]), scores)[0] == pytest.approx(math.sqrt(4 / 5))
    assert model_search.correlation(pd.Series([True, True, False, False]), scores)[1] == "ratio η"
    assert math.isnan(model_search.correlation(pd.Series([1, 1, 1, 1]), scores)[0])
    rng = np.random.default_rng(0)
    for _ in range(20):  # with ties and gaps, as pandas has it
        values, scores = pd.Series(rng.integers(0, 5, 12)).astype(object), pd.Series(rng.integers(0, 6, 12) / 6)
        values[rng.integers(0, 12, 3)] = None
        wanted = values.dropna().astype(float).corr(scores[values.notna()], method="spearman")
        assert model_search.correlation(values, scores)[0] == pytest.approx(wanted)


def test_the_chance_level_is_what_unrelated_scores_stay_below():
    """Of unrelated values, 5 % exceed their chance level; related ones do; it is the same in each call."""
    rng = np.random.default_rng(0)
    for values in (pd.Series(rng.uniform(size=10)), pd.Series(list("aabbbccddd"))):
        beyond = []
        for _ in range(250):
            scores = pd.Series(rng.normal(size=10))
            beyond.append(abs(model_search.correlation(values, scores)[0]) > model_search.chance_level(values, scores))
        assert 0.02 < np.mean(beyond) < 0.09
        assert model_search.chance_level(values, scores) == model_search.chance_level(values, scores)
    words = pd.Series(list("aabbbccddd"))
    means = [model_search.correlation(words, pd.Series(rng.normal(size=10)))[0] for _ in range(200)]
    assert model_search.chance_level(words, scores) > np.mean(means) > 0.4  # what stands there by chance alone
    strong = pd.Series(range(10))
    assert model_search.chance_level(strong, strong.astype(float)) < 0.8
    assert math.isnan(model_search.chance_level(pd.Series([1, 1, 1, 1]), pd.Series([1.0, 2, 3, 4])))
    assert math.isnan(model_search.chance_level(pd.Series([1, 2, 3]), pd.Series([1.0, 1, 1])))


def test_importances_stand_beside_their_chance_level():
    table = model_search.importances(made())
    assert list(table) == ["option", "importance", "correlation", "chance", "measure"]
    assert table.set_index("option")["chance"].between(0.2, 0.5).all()
    told = model_search.describe_importances(table)
    assert told.startswith(f"Above their chance level: x (Spearman ρ {table['correlation'][0]:.2f}, chance {table['chance'][0]:.2f})")
    below = told.split("Not above their chance level: ")[1].split(". ")[0]
    assert "y (" in below and "Of 3 options without any effect, one in twenty would be above by chance" in told
    ax = model_search.plot_importances(table).axes[1]
    for chance, measure, bar in zip(table["chance"], table["measure"], ax.containers[1], strict=True):
        ends = (bar.get_x(), bar.get_x() + bar.get_width())
        assert ends == pytest.approx((-chance if measure == "Spearman ρ" else 0, chance))
    assert "permutations" in ax.containers[1].get_label()


@budget(max_examples=40, deadline=None)
@given(data=some.data(), n=some.integers(0, 7))
def test_what_is_told_of_importances_at_extremes(data, n):
    """No scores, ties, one choice, gaps: each option is in one group, and its numbers say so."""
    words, numbers = some.sampled_from(["a", "b", None]), some.sampled_from([1e-3, 1e-2, None])
    rows = [{"word": data.draw(words), "number": data.draw(numbers), "score": data.draw(some.sampled_from([0, 0.5, 0.5, 1]))} for _ in range(n)]
    table = pd.DataFrame(rows, columns=["word", "number", "score"]).astype({"score": float})
    found = []
    for name in ("word", "number"):
        value, measure = model_search.correlation(table[name], table["score"])
        found.append({"option": name, "importance": math.nan, "correlation": value, "chance": model_search.chance_level(table[name], table["score"]), "measure": measure})
    found = pd.DataFrame(found)
    told = model_search.describe_importances(found)
    assert "nan" not in told and all(told.count(name) == 1 for name in ("word", "number"))
    for start, value, level in re.findall(r"(\w+) \([^()]* (-?[\d.]+), chance ([\d.]+)\)", told):
        above = told.index(start) < (told.index("Not above") if "Not above" in told else len(told))
        assert (abs(float(value)) > float(level)) == (above and told.startswith("Above"))


def test_the_best_so_far_goes_on_behind_pruned_trials():
    trials = pd.DataFrame({"number": range(5), "state": ["FAIL", "COMPLETE", "PRUNED", "COMPLETE", "PRUNED"], "score": [math.nan, 0.5, 0.9, 0.4, 0.2]})
    line = model_search.plot_trials(trials).lines[-1]
    assert np.isnan(line.get_ydata()[0]) and line.get_ydata()[1:].tolist() == [0.5] * 4


def test_the_settings_as_they_stand_are_a_line_across():
    trials = pd.DataFrame({"number": range(2), "state": "COMPLETE", "score": [0.5, 0.6]})
    lines = {line.get_label(): line.get_ydata() for line in model_search.plot_trials(trials, base=0.55).lines}
    assert set(lines["settings as they stand"]) == {0.55}
    for nothing in (None, math.nan):
        assert "settings as they stand" not in [line.get_label() for line in model_search.plot_trials(trials, base=nothing).lines]


def test_plot_of_a_noise_band():
    """A row a setting, a mean where there is one; settings that no trial has are named without a number."""
    nan = math.nan
    band = made_band({"best": [0.8, 0.82], "runner-up": [0.7, nan], "as they stand": [nan, nan]}, {"as they stand": nan})
    band["trial"] = pd.Series([3, 3, 0, 0, None, None], dtype=object)
    ax = model_search.plot_noise_band(band)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["best (trial 3)", "runner-up (trial 0)", "as they stand"]
    means = [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 2 and line.get_xdata()[0] == line.get_xdata()[1]]
    assert means == pytest.approx([0.81, 0.7])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["one new seed", "mean", "score in the search"]


def test_the_thick_line_is_the_best_trial():
    search = made_search([(0.001, "light", "COMPLETE", 0.9), (0.003, "none", "COMPLETE", 0.9), (0.005, "none", "COMPLETE", 0.2)])
    lines = [line for line in model_search.plot_parallel_coordinates(search).axes[0].lines if len(line.get_xdata()) == 3]
    thick, = [line for line in lines if line.get_linewidth() == 3]
    height = (math.log(0.001) - math.log(1e-4)) / (math.log(1e-2) - math.log(1e-4))
    assert search.ranked[0].number == 0 and thick.get_ydata()[0] == pytest.approx(height)


def test_too_few_trials_have_no_importance():
    table = model_search.importances(made(2))
    assert table["importance"].isna().all() and len(table) == 3 and table["chance"].isna().all()
    texts = [[text.get_text() for text in ax.texts] for ax in model_search.plot_importances(table).axes]
    assert texts == [["unknown"] * 3] * 2
    assert model_search.describe_importances(table) == "Unknown, from too few trials or values that do not vary: x, y, word."


@pytest.mark.parametrize("name", ["made", "found"])
def test_plots_show_every_option_inside_the_figure(name, found):
    search = made() if name == "made" else found[0]
    figures = [model_search.plot_trials(search.trials).figure, model_search.plot_parallel_coordinates(search),
               model_search.plot_slices(search), model_search.plot_importances(model_search.importances(search))]
    for fig in figures:
        fig.canvas.draw()
        box = fig.bbox.padded(2)
        for ax in fig.axes:
            ticks = [text for axis, (low, high) in ((ax.xaxis, sorted(ax.get_xlim())), (ax.yaxis, sorted(ax.get_ylim())))
                     for place, text in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=False) if low <= place <= high]
            for text in (*ax.texts, *ticks, ax.xaxis.label, ax.yaxis.label) if ax.get_visible() else ():
                if text.get_visible() and text.get_text():
                    extent = text.get_window_extent()
                    assert box.x0 <= extent.x0 and extent.x1 <= box.x1 and box.y0 <= extent.y0 and extent.y1 <= box.y1, text.get_text()
    slices = [ax.get_xlabel().removesuffix(" (log)") for ax in figures[2].axes if ax.get_visible()]
    assert slices == list(search.space)
    labels = [text.get_text().replace("\n", "_") for text in figures[1].axes[0].get_xticklabels()]
    assert labels == [*search.space, "score"]
    lines = [line for line in figures[1].axes[0].lines if len(line.get_xdata()) == len(search.space) + 1]
    assert len(lines) == (search.trials["state"] == "COMPLETE").sum()
