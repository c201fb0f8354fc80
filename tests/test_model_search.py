"""The search: its space, a study that survives kills and is shared, and what is told of it."""

import json
import math
import multiprocessing
import os
import random
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
    assert band["setting"].tolist() == ["best"] * 2 + ["runner-up"] * 2 and band["seed"].tolist() == [1, 2, 1, 2]
    assert band.groupby("setting")["trial_score"].first().tolist() == [search.ranked[0].value, search.ranked[1].value]
    assert search.ranked[0].params != search.ranked[1].params
    pd.testing.assert_frame_equal(band, model_search.noise_band(search, *images, folder=folder))
    assert "Over 2 new seeds" in model_search.told_noise(band)


def test_weights_that_cannot_be_had_stop_the_search_before_a_trial(images, tmp_path, monkeypatch):
    def unreachable(*arguments, **options):
        raise ValueError("the weights are not on this machine")
    monkeypatch.setattr(helpers, "require_reachable", unreachable)
    monkeypatch.setattr(helpers.torch.hub, "get_dir", lambda: str(tmp_path))
    chosen = settings({"architecture": ["convnet5", "resnet18"]}, WEIGHTS="imagenet")
    with pytest.raises(ValueError, match="not on this machine"):
        model_search.search(chosen, *images, folder=tmp_path)
    assert not (tmp_path / "study.log").exists()


def test_what_is_told_of_seeds():
    def band(best, other, score=0.5):
        rows = [("best", 1, number, value, score) for number, value in enumerate(best)] + [("runner-up", 2, number, value, 0.4) for number, value in enumerate(other)]
        return model_search.told_noise(pd.DataFrame(rows, columns=["setting", "trial", "seed", "score", "trial_score"]))
    assert ", more than twice" in band([0.8, 0.81, 0.79], [0.6, 0.61, 0.59]) and "flattered" not in band([0.8, 0.81, 0.79], [0.6, 0.61, 0.59])
    assert "not more than twice" in band([0.8, 0.6, 0.7], [0.69, 0.71, 0.6]) and "flattered" in band([0.4, 0.45], [0.4, 0.41])
    assert "Too few" in band([0.8], [0.6])


def test_subset_keeps_class_shares(images):
    train = images[0]["train"]
    part = model_search.subset(train, 36, seed=0)
    assert set(part["label"].value_counts()) == {6} and set(part["path"]) <= set(train["path"]) and part["path"].is_unique
    assert model_search.subset(train, 0, seed=0) is train and model_search.subset(train, 9999, seed=0) is train
    assert len(model_search.subset(train, len(train) - 1, seed=0)) == len(train) - 1


def test_all_trials_fail_says_why(images, tmp_path, monkeypatch):
    def diverges(*arguments, **options):
        raise ValueError("The loss is nan in epoch 1")
    monkeypatch.setattr(model_search, "train", diverges)
    search = model_search.search(settings(SEARCH_TRIALS=2, SEARCH_IMAGES=12), *images, folder=tmp_path)
    assert search.trials["state"].tolist() == ["FAIL"] * 2
    with pytest.raises(ValueError, match="No trial of the search came to an end: The loss is nan"):
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


def test_the_best_so_far_goes_on_behind_pruned_trials():
    trials = pd.DataFrame({"number": range(5), "state": ["FAIL", "COMPLETE", "PRUNED", "COMPLETE", "PRUNED"], "score": [math.nan, 0.5, 0.9, 0.4, 0.2]})
    line = model_search.plot_trials(trials).lines[-1]
    assert np.isnan(line.get_ydata()[0]) and line.get_ydata()[1:].tolist() == [0.5] * 4


def test_too_few_trials_have_no_importance():
    table = model_search.importances(made(2))
    assert table["importance"].isna().all() and len(table) == 3
    assert len(model_search.plot_importances(table).axes) == 2


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
