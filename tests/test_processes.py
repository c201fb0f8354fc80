"""Tests of inside/processes.py, and of what several processes compute together. Starting some takes seconds: they are shared."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import torch

from inside.evaluation.predictions import saved_predictions
from inside.files import ROOT, RunFolder
from inside.models.build import build_network
from inside.models.outline import outline
from inside.models.surgery import freeze
from inside.processes import count_processes, launch, pass_over
from inside.selection.trainings import kind_of
from inside.training.compatible import check_batch_norm
from inside.training.experiment import Experiment, train, train_into
from inside.training.loop import best_epoch
from shared.settings import settings
from shared.together import KEPT, SIZES, chatty, endless, everything


@pytest.fixture(scope="module", autouse=True)
def importable():
    """The server that new processes are forked from finds tests/shared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="module")
def alone(split, folder):
    return everything(split, folder)


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.soak)])
def together(split, folder, request):
    return launch(request.param, everything, split, str(folder))


def workers():
    """The processes that compute: those that the server has forked."""
    return [child for server in psutil.Process().children() for child in server.children()]


def check_same_training(one, other):
    """Weights and history to 1e-5, and the same choice."""
    (weights, history), (others, second) = one, other
    assert all(torch.allclose(weights[name].double(), others[name].double(), rtol=0, atol=1e-5) for name in weights)
    assert list(history) == list(second) and np.allclose(history.to_numpy(), second.to_numpy(), rtol=0, atol=1e-5, equal_nan=True)
    assert best_epoch(history.to_dict("records")) == best_epoch(second.to_dict("records"))


@pytest.mark.parametrize("size", SIZES)
def test_several_processes_train_as_one(alone, together, size):
    """Whatever is left for the last batch: an odd number, fewer images than processes."""
    check_same_training(alone["trained"][size], together["trained"][size])


@pytest.mark.parametrize("name", ["images", "head", "head first"])
def test_networks_that_train_on_images_or_on_their_features(alone, together, name):
    parts = [(found[name].weights, found[name].history.drop(columns="seconds")) for found in (alone, together)]
    check_same_training(*parts)


def test_passes_over_images_drop_none_and_repeat_none(alone, together):
    """Scores and features are those of one process, in its order; counts are exact, covariances to 1e-10."""
    one, other = alone["passes"], together["passes"]
    assert all(np.allclose(*pair, rtol=0, atol=1e-6) for pair in zip(one["scores"], other["scores"], strict=True))
    assert torch.allclose(one["inputs"].tensors[0], other["inputs"].tensors[0], atol=1e-6) and one["inputs"].targets == other["inputs"].targets
    for layer, state in one["statistics"].items():
        merged = other["statistics"][layer]
        assert state.counts.table.keys() == merged.counts.table.keys() and state.counts.images == merged.counts.images
        assert all(np.array_equal(state.counts.table[label], merged.counts.table[label]) for label in state.counts.table)
        assert np.allclose(state.features, merged.features, rtol=0, atol=1e-6) and len(merged.features) == 21
        assert np.allclose(state.covariance.covariance(), merged.covariance.covariance(), rtol=0, atol=1e-10)
        assert np.array_equal(state.after.fires, merged.after.fires)


def test_ranks_and_errors(together):
    n = together["world"]
    everywhere, at_first, once, sizes = together["order"]
    assert everywhere == at_first == list(range(n)) and once == 0
    assert sizes == {2: [3, 1], 3: [2, 1]}[n]  # rank 0 of batches of 5 and 2
    assert len(set(together["error"])) == 1 and len(together["error"]) == n and "no number" in together["error"][0]


def test_what_processes_print_and_ask_reaches_the_one_that_started_them(capsys):
    seen = []
    with pytest.raises(ValueError, match="^an error of the function$"):
        launch(1, chatty, "the function", answer=seen.append)
    assert [row["epoch"] for row in seen] == [0, 1, 2] and capsys.readouterr().out == "from process 0\n"


class Unwanted(Exception):
    """As a search raises it to end a trial."""


def test_processes_end_where_the_answer_raises():
    def refuse(row):
        raise Unwanted(row["epoch"])
    with pytest.raises(Unwanted, match="0"):
        launch(1, chatty, "", answer=refuse)


def test_an_interrupt_ends_the_processes():
    """Ctrl-C in the notebook: nothing that was started goes on, and signals are handled as before."""
    before, pids = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}, []
    def interrupt(pid):
        pids.append(pid)
        os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        launch(2, endless, answer=interrupt)
    assert len(pids) == 1 and not psutil.pid_exists(pids[0])
    assert not workers()
    assert before == {number: signal.getsignal(number) for number in before}


@pytest.mark.soak
def test_nothing_outlives_the_process_that_started_it():
    """SIGKILL for it, as run.py ends a kernel: what it has started ends, too."""
    code = "import time; from inside.processes import launch; launch(1, time.sleep, 600)"
    parent = subprocess.Popen([sys.executable, "-c", code])
    try:
        wait_until(lambda: len(psutil.Process(parent.pid).children(recursive=True)) == 3)  # resource tracker, server, the one that sleeps
        time.sleep(1)
        family = psutil.Process(parent.pid).children(recursive=True)
    finally:
        parent.kill()
        parent.wait()
    assert psutil.wait_procs(family, timeout=20)[1] == []


def wait_until(holds, seconds=60):
    end = time.time() + seconds
    while not holds():
        assert time.time() < end
        time.sleep(0.1)


@pytest.mark.soak
def test_a_process_that_is_killed(split, tmp_path, capsys):
    """SIGKILL after an epoch, for either: all start again, go on from its checkpoint, and end where they would have ended."""
    chosen, rows = settings(**KEPT, EPOCHS=3), []
    def kill(row):
        rows.append(row["epoch"])
        if row["epoch"] <= 2:  # each of them once
            workers()[row["epoch"] % 2].kill()
    whole = train(Experiment(chosen, split), tmp_path)
    broken = train(Experiment(chosen | {"PROCESSES": 2}, split), tmp_path, checkpoint=tmp_path / "c.pt", stamp="s", after_epoch=kill)
    check_same_training((whole.weights, whole.history.drop(columns="seconds")), (broken.weights, broken.history.drop(columns="seconds")))
    told = capsys.readouterr().out
    assert rows == [1, 2, 3] and all(f"resuming after epoch {epoch} of 3" in told for epoch in (1, 2))


def test_a_pass_takes_no_more_processes_than_batches(split, tmp_path, monkeypatch):
    """The predictions of a run are the same, whoever scores them."""
    started = []
    monkeypatch.setattr("inside.processes.launch", lambda n, function, *arguments: started.append(n) or function(*arguments))
    run, chosen = RunFolder(str(tmp_path / "run")), settings(EPOCHS=1)
    train_into(run, chosen, split, features=tmp_path)
    model, found = build_network(chosen["ARCHITECTURE"], 6, weights="random")[0], []
    for processes in (1, "auto", 2, 64):
        run.path("stamps.json").unlink()
        found.append(saved_predictions(run, "test", model, split, processes=processes))
    assert started == [2, 2] and all(table.equals(found[0]) for table in found)  # 24 images in batches of 16


def test_how_many_processes(monkeypatch):
    cpu, cuda, mps = map(torch.device, ("cpu", "cuda", "mps"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [count_processes(setting, cpu) for setting in ("auto", 1, 3)] == [1, 1, 3]
    assert [count_processes(setting, cuda) for setting in ("auto", 1, 4)] == [4, 1, 4] and count_processes("auto", mps) == 1
    with pytest.raises(ValueError, match=r'^PROCESSES = 5 is more than the CUDA GPUs of this machine, 4: set PROCESSES = "auto"\.$'):
        count_processes(5, cuda)
    with pytest.raises(ValueError, match="^PROCESSES = 2 needs processors or CUDA GPUs, and this run computes on mps: set PROCESSES = 1.$"):
        count_processes(2, mps)
    assert pass_over(lambda model: "here", torch.nn.Linear(1, 1), 1, batches=9) == "here"


@pytest.mark.parametrize("changes, refused", [
    ({}, True), ({"BATCH_NORM": "frozen"}, False), ({"PROCESSES": 1}, False), ({"PROCESSES": "auto"}, False), ({"STRATEGY": "head"}, False),
    ({"ARCHITECTURE": "mlp"}, False), ({"BATCH_NORM": "update", "WEIGHTS": "imagenet", "ARCHITECTURE": "resnet18"}, True),
    ({"WEIGHTS": "imagenet", "ARCHITECTURE": "resnet18"}, False)], ids=str)
def test_batch_norm_that_each_process_would_update_alone_is_refused(changes, refused):
    chosen = settings(**{"PROCESSES": 2} | changes)
    network = outline(**kind_of(chosen))
    freeze(network.model, chosen["STRATEGY"])
    if not refused:
        check_batch_norm(chosen, network.model, torch.device("cpu"))
        return
    check_batch_norm(chosen, network.model, torch.device("cuda"))
    with pytest.raises(ValueError, match=r'^PROCESSES = 2 cannot update batch norm on processors \(BATCH_NORM = \'\w+\'\): set PROCESSES = 1'):
        check_batch_norm(chosen, network.model, torch.device("cpu"))
