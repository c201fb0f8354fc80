"""Tests of inside/training/loop.py."""

import copy
import math
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from inside.data.loading import TensorImages, make_loader
from inside.evaluation.predictions import predict
from inside.models.build import build_network
from inside.models.surgery import freeze
from inside.training.loop import Trainer, _accuracies, _read_checkpoint, best_epoch, convert_sync_batchnorm, fit
from inside.training.recipe import Recipe
from shared.processes import fork, needs_fork
from shared.training import CLASSES, features, small_network, train


def test_frozen_batch_norm_stays_still_in_weights_and_statistics():
    model, _ = build_network("resnet18", 3, weights="random")
    freeze(model, "last_stage")
    before = copy.deepcopy(model.state_dict())
    dataset = TensorImages(torch.randn(8, 3, 32, 32), [0, 1, 2, 0, 1, 2, 0, 1])
    loader = make_loader(dataset, batch_size=4)
    Trainer(model, loader, Recipe(epochs=1), 3, torch.float32).train_epoch(loader, bar=False)
    after = model.state_dict()
    moved = {name.split(".")[0] for name in after if not torch.equal(before[name], after[name])}
    assert moved == {"layer4", "fc"}
    assert not torch.equal(before["layer4.0.bn1.running_mean"], after["layer4.0.bn1.running_mean"])


def test_loss_of_a_step_is_that_of_torch():
    images, targets = features(12).tensors
    recipe = Recipe(epochs=1, label_smoothing=0.1, class_weights=True, optimizer="sgd", learning_rate=0.0001)
    unequal = TensorImages(images, [0] * 8 + [1] * 3 + [2])
    model = small_network().eval()
    trainer = Trainer(model, make_loader(unequal, batch_size=12), recipe, 3, torch.float32)
    weights = torch.tensor([12 / (3 * 8), 12 / (3 * 3), 12 / (3 * 1)])
    wanted = nn.functional.cross_entropy(model(images), unequal.tensors[1], weight=weights, label_smoothing=0.1)
    _, loss = trainer.loss_and_gradients(images, unequal.tensors[1])
    assert math.isclose(loss, wanted.item(), rel_tol=1e-5)


@pytest.mark.parametrize("batch_size", [7, 20, 60])
def test_losses_of_an_epoch_are_those_of_all_its_images(batch_size):
    """Plain cross-entropy as a mean over images; the objective over their weights, however the images fall into batches."""
    targets = [0] * 40 + [1] * 14 + [2] * 6
    dataset = TensorImages(torch.randn(60, 8, generator=torch.Generator().manual_seed(1)), targets)
    recipe = Recipe(epochs=1, label_smoothing=0.2, class_weights=True, optimizer="sgd", learning_rate=1e-8, weight_decay=0.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 3))
    with torch.no_grad():
        model[0].weight *= 8  # far from knowing nothing: the losses of the classes differ
        logits, wanted = model(dataset.tensors[0]), dataset.tensors[1]
    loader = make_loader(dataset, batch_size=batch_size, shuffle=True)
    _, history = fit(model, loader, make_loader(dataset, batch_size=60), recipe, classes=CLASSES)
    row, weights = history.iloc[0], torch.tensor([60 / (3 * 40), 60 / (3 * 14), 60 / (3 * 6)])
    assert row["train_loss"] == pytest.approx(nn.functional.cross_entropy(logits, wanted).item(), rel=1e-4)
    assert row["train_loss"] == pytest.approx(row["val_loss"], rel=1e-4)  # the same images, the same weights: the same kind of number
    assert row["train_objective"] == pytest.approx(
        nn.functional.cross_entropy(logits, wanted, weight=weights, label_smoothing=0.2).item(), rel=1e-4)
    assert abs(row["train_objective"] - row["train_loss"]) > 0.1


def test_micro_batches_give_the_same_gradient():
    images, targets = features(12).tensors
    gradients = []
    for size in (12, 5, 1):
        model = small_network().eval()
        trainer = Trainer(model, make_loader(features(12), batch_size=12), Recipe(), 3, torch.float32)
        trainer.micro_batch = size
        trainer.loss_and_gradients(images, targets)
        gradients.append(torch.cat([weight.grad.flatten() for weight in model.parameters()]))
    assert torch.allclose(gradients[0], gradients[1], atol=1e-6) and torch.allclose(gradients[0], gradients[2], atol=1e-6)


def test_out_of_memory_halves_the_micro_batch_and_says_so(capsys):
    class Hungry(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.sizes = small_network().eval(), []

        def forward(self, images):
            self.sizes.append(len(images))
            if len(images) > 4:
                raise torch.OutOfMemoryError("too much")
            return self.inner(images)
    model, plain = Hungry(), small_network().eval()
    images, targets = features(16).tensors
    for network in (model, plain):
        loader = make_loader(features(16), batch_size=16)
        Trainer(network, loader, Recipe(optimizer="sgd"), 3, torch.float32).step(images, targets)
    assert model.sizes == [16, 8, 4, 4, 4, 4] and "micro-batches of 4" in capsys.readouterr().out
    assert all(map(lambda a, b: torch.allclose(a, b, atol=1e-7), model.inner.parameters(), plain.parameters()))


def test_batch_norm_shared_by_gpus_keeps_the_activations_that_are_part_of_it():
    model, images = build_network("efficientnet_lite0", 3, weights="random")[0].eval(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before = model(images)
        shared = convert_sync_batchnorm(model).eval()
        assert torch.equal(shared(images), before) and before.abs().max() > 0
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in shared.modules()) == 49


def test_out_of_memory_with_one_image_is_raised():
    class Starving(nn.Linear):
        def forward(self, images):
            raise torch.OutOfMemoryError("too much")
    loader = make_loader(features(4), batch_size=4)
    with pytest.raises(torch.OutOfMemoryError):
        Trainer(Starving(8, 3), loader, Recipe(), 3, torch.float32).step(*features(4).tensors)


LONG = Recipe(epochs=400, learning_rate=0.01, seed=4)


@needs_fork
def test_a_kill_at_any_moment_leaves_a_good_checkpoint(tmp_path):
    """A process that writes a checkpoint every few milliseconds is killed at odd moments; each time the file is whole."""
    file, seen = tmp_path / "c.pt", 0
    def work(ended):
        train(LONG, checkpoint=file, stamp="s", after_epoch=lambda row: ended.send(row["epoch"]))
    for epochs in (3, 10, 7):
        told, ended = multiprocessing.Pipe(duplex=False)
        process = fork(work, ended)
        for _ in range(epochs):
            told.recv()
        process.kill()
        process.join()
        history = _read_checkpoint(file)["history"]
        assert len(history) > seen  # it is readable, and went on from the one before
        seen = len(history)
        assert [row["epoch"] for row in history] == list(range(1, seen + 1))
    def stop(row):
        if row["epoch"] == seen:
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        train(LONG, checkpoint=tmp_path / "uninterrupted.pt", stamp="s", after_epoch=stop)
    whole = _read_checkpoint(tmp_path / "uninterrupted.pt")
    assert [row["val_loss"] for row in whole["history"]] == [row["val_loss"] for row in history]


@needs_fork
def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(tmp_path):
    save = torch.save

    def save_half(state, file):
        save(state, file)
        if len(state["history"]) == 4:
            os.truncate(file, 1000)
            os.kill(os.getpid(), signal.SIGKILL)

    def work():
        torch.save = save_half
        train(LONG, checkpoint=tmp_path / "c.pt", stamp="s")
    process = fork(work)
    process.join()
    assert process.exitcode == -signal.SIGKILL and len(_read_checkpoint(tmp_path / "c.pt")["history"]) == 3


def test_the_best_epoch_is_kept_not_the_last():
    rows = [{"epoch": 1, "val_mean_class_accuracy": 0.5, "val_loss": 1}, {"epoch": 2, "val_mean_class_accuracy": 0.9, "val_loss": 2},
            {"epoch": 3, "val_mean_class_accuracy": 0.9, "val_loss": 1}, {"epoch": 4, "val_mean_class_accuracy": 0.8, "val_loss": 0}]
    assert best_epoch(rows) == 3
    weights, history = train(Recipe(epochs=8, learning_rate=0.3, schedule="constant", optimizer="sgd", seed=1))
    model = small_network()
    model.load_state_dict(weights)
    scores, _ = predict(model, make_loader(features(seed=1), batch_size=16))
    best = history["val_mean_class_accuracy"].max()
    targets = np.array(features(seed=1).targets)
    assert math.isclose(np.mean([(scores.argmax(1) == targets)[targets == index].mean() for index in range(3)]), best)


def test_patience_stops_early():
    _, history = train(Recipe(epochs=50, patience=3, learning_rate=0.01))
    assert len(history) < 50
    assert len(history) - best_epoch(history.to_dict("records")) == 3


class Overflows(nn.Module):
    """Adds NaN from the given call on, counted apart while learning and while scoring."""

    def __init__(self, learning=10**9, scoring=10**9):
        super().__init__()
        self.left = {True: learning, False: scoring}

    def forward(self, x):
        self.left[self.training] -= 1
        return x if self.left[self.training] >= 0 else x * math.nan


@pytest.mark.parametrize("breaks, told", [  # 60 images in batches of 16: 4 batches an epoch, in training and in scoring
    ({"learning": 0}, "The loss of the very first batch is nan: the initial weights are at fault, so choose another ARCHITECTURE or other WEIGHTS."),
    ({"learning": 2}, "The loss is nan in epoch 1: lower LEARNING_RATE (now 0.01)."),
    ({"learning": 10}, "The loss is nan in epoch 3: lower LEARNING_RATE (now 0.01). c.pt keeps the best weights so far, those of epoch {best}."),
    ({"scoring": 0}, "The loss on validation is nan in epoch 1: lower LEARNING_RATE (now 0.01)."),
    ({"scoring": 9}, "The loss on validation is nan in epoch 3: lower LEARNING_RATE (now 0.01). c.pt keeps the best weights so far, those of epoch {best}.")])
def test_a_loss_that_is_no_number_stops_and_keeps_what_was_good(tmp_path, breaks, told):
    """Where the first epoch has failed there is no checkpoint; later ones leave it as it was, so that a sound network goes on from there."""
    recipe, file = Recipe(epochs=4, learning_rate=0.01, seed=1), tmp_path / "c.pt"
    model = nn.Sequential(*small_network(), Overflows(**breaks))
    with pytest.raises(ValueError) as error:
        train(recipe, model, checkpoint=file, stamp="s")
    assert all(weight.isfinite().all() for weight in model.parameters())
    if "keeps" not in told:
        assert str(error.value) == told and not file.exists()
        return
    state = _read_checkpoint(file)
    assert len(state["history"]) == 2 and str(error.value) == told.format(best=best_epoch(state["history"]))
    assert all(weight.isfinite().all() for part in ("model", "best") for weight in state[part].values())
    resumed, calm = (train(recipe, nn.Sequential(*small_network(), Overflows()), checkpoint=path, stamp="s") for path in (file, None))
    assert resumed[1].drop(columns="seconds").equals(calm[1].drop(columns="seconds"))
    assert all(torch.equal(resumed[0][name], calm[0][name]) for name in calm[0])


def test_a_learning_rate_that_explodes_without_a_checkpoint():
    with pytest.raises(ValueError, match=r"^The loss (on validation )?is (nan|inf) in epoch 1: lower LEARNING_RATE \(now 1e\+20\)\.$"):
        train(Recipe(epochs=3, learning_rate=1e20, optimizer="sgd", schedule="constant", warmup=0))


def test_accuracies_of_an_epoch_leave_a_class_without_images_out_of_the_mean():
    pairs = np.array([[0, 0], [0, 2], [0, 0], [0, 1], [2, 2]])  # true, predicted; nothing of class b
    row = _accuracies("val", pairs, CLASSES)
    assert list(row) == ["val_accuracy", "val_mean_class_accuracy", "val_accuracy_a", "val_accuracy_b", "val_accuracy_c"]
    assert math.isnan(row["val_accuracy_b"]) and (row["val_accuracy_a"], row["val_accuracy_c"]) == (0.5, 1)
    assert row["val_accuracy"] == 0.6 and row["val_mean_class_accuracy"] == 0.75 and type(row["val_accuracy_a"]) is float


def in_use():
    """Bytes of memory in use by this process, and how many files it has open."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory and open files are read from /proc")
def test_many_epochs_take_no_more_memory_and_leave_no_file_open(tmp_path):
    """The short form of tests/soak/test_long.py."""
    train(Recipe(epochs=20), checkpoint=tmp_path / "first.pt")
    memory, files = in_use()
    train(Recipe(epochs=120), checkpoint=tmp_path / "second.pt")
    assert in_use()[1] == files and in_use()[0] - memory < 10e6
