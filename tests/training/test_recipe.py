"""Tests of inside/training/recipe.py."""

import copy
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import nn

from inside.data.loading import TensorImages, make_loader
from inside.models.build import build_network
from inside.names import OPTIMIZERS, SCHEDULES
from inside.training.loop import Trainer
from inside.training.recipe import Recipe, make_optimizer, make_scheduler
from shared.training import small_network, train

TINY = "timm/test_resnet"
def test_batch_norm_keeps_its_statistics_while_it_learns():
    model, _ = build_network(TINY, 3, weights="random")
    before = copy.deepcopy(model.state_dict())
    loader = make_loader(TensorImages(torch.randn(8, 3, 32, 32), [0, 1, 2, 0, 1, 2, 0, 1]), batch_size=4)
    recipe = Recipe(epochs=1, batch_norm="frozen")
    Trainer(model, loader, recipe, 3, torch.float32).train_epoch(loader, bar=False)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in after if "running" in name)
    assert not torch.equal(before["bn1.weight"], after["bn1.weight"])
    settings = {name.upper(): value for name, value in vars(Recipe(batch_norm="auto")).items()}
    settings |= {"ARCHITECTURE": "resnet18"}
    assert Recipe.of(settings | {"WEIGHTS": "imagenet"}).batch_norm == "frozen"
    assert Recipe.of(settings | {"WEIGHTS": "random"}).batch_norm == "update"
    assert Recipe.of(settings | {"WEIGHTS": "imagenet", "ARCHITECTURE": "convnet5"}).batch_norm == "update"


def test_smoothed_labels_do_not_hold_the_training_loss_up():
    """With smoothing s and K classes the objective cannot fall below a bound; the plain cross-entropy can."""
    smoothing, off = 0.3, 0.3 / 3
    bound = -(1 - 2 * off) * math.log(1 - 2 * off) - 2 * off * math.log(off)
    _, history = train(Recipe(epochs=12, learning_rate=0.02, backbone_factor=1.0, label_smoothing=smoothing), torch.nn.Sequential(nn.Linear(8, 3)))
    assert history["train_objective"].min() >= bound - 1e-6 and history["train_loss"].min() < bound - 0.1


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_each_optimizer_and_schedule_learns(optimizer, schedule):
    rate = 0.05 if optimizer == "sgd" else 0.01
    _, history = train(Recipe(epochs=6, optimizer=optimizer, schedule=schedule, learning_rate=rate, backbone_factor=1.0))
    assert history["val_mean_class_accuracy"].max() > 0.9 and history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]


def rates(recipe, steps=20):
    optimizer = make_optimizer(small_network(), recipe)
    scheduler = make_scheduler(optimizer, recipe, steps)
    seen = []
    for _ in range(steps):
        seen.append(max(group["lr"] for group in optimizer.param_groups))
        optimizer.step()
        scheduler.step()
    return np.array(seen)


def test_schedules():
    constant = rates(Recipe(schedule="constant", warmup=0.2, learning_rate=1.0))
    assert np.allclose(constant, [0.2, 0.4, 0.6, 0.8, *[1.0] * 16])
    cosine = rates(Recipe(schedule="cosine", warmup=0.0, learning_rate=1.0))
    assert np.allclose(cosine, 0.5 + 0.5 * np.cos(np.pi * np.arange(20) / 20))
    cycle = rates(Recipe(schedule="one_cycle", warmup=0.3, learning_rate=1.0))
    assert 4 <= cycle.argmax() <= 6 and cycle[0] < 0.05 and cycle[-1] < 0.05 and cycle.max() > 0.98


@hypothesis_settings(max_examples=60, deadline=None)
@given(schedule=st.sampled_from(SCHEDULES), steps=st.integers(1, 120), warmup=st.floats(0, 0.9))
@example("one_cycle", 1, 0.0)
@example("one_cycle", 1, 0.9)
@example("one_cycle", 2, 0.9)
@example("one_cycle", 4, 0.9)
@example("one_cycle", 10, 0.1)
@example("one_cycle", 20, 0.0)
@example("one_cycle", 20, 0.05)
@example("one_cycle", 20, 0.9)
def test_schedules_of_any_length(schedule, steps, warmup):
    """No number of steps and no warm-up ends in an error; the full rate is reached, never passed, after the warm-up."""
    seen = rates(Recipe(schedule=schedule, warmup=warmup, learning_rate=0.5), steps)
    warm, peak = min(round(warmup * steps), steps - 1), int(seen.argmax())
    assert len(seen) == steps and (seen > 0).all() and seen.max() == pytest.approx(0.5)
    assert warm - 1 <= peak <= warm and (np.diff(seen[:peak + 1]) > 0).all()
    after = np.diff(seen[peak:])
    assert (np.abs(after) < 1e-9).all() if schedule == "constant" else (after <= 1e-9).all() and seen[-1] <= seen[peak]
    if schedule == "one_cycle" and steps - peak > 8:
        assert seen[-1] < 0.05 * seen[peak]


def test_rates_and_decay_by_group():
    recipe = Recipe(learning_rate=1e-2, backbone_factor=0.1, weight_decay=0.5)
    model = small_network()
    found = {id(weight): (group["lr"], group["weight_decay"]) for group in make_optimizer(model, recipe).param_groups
             for weight in group["params"]}
    named = {name: found[id(weight)] for name, weight in model.named_parameters()}
    assert named == {"0.weight": (1e-3, 0.5), "0.bias": (1e-3, 0.0), "3.weight": (1e-2, 0.5), "3.bias": (1e-2, 0.0)}


def test_training_goes_on_to_the_same_numbers(tmp_path):
    recipe = Recipe(epochs=5, learning_rate=0.01, seed=4)
    whole, history = train(recipe)
    class Stop(Exception):
        pass
    def stop(row):
        if row["epoch"] == 2:
            raise Stop
    with pytest.raises(Stop):
        train(recipe, checkpoint=tmp_path / "c.pt", stamp="s", after_epoch=stop)
    resumed, history_resumed = train(recipe, small_network(seed=77), checkpoint=tmp_path / "c.pt", stamp="s")
    columns = [name for name in history if name != "seconds"]
    pd.testing.assert_frame_equal(history[columns], history_resumed[columns], check_exact=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_checkpoint_of_other_settings_or_a_broken_one_is_not_used(tmp_path, capsys):
    recipe = Recipe(epochs=2)
    train(recipe, checkpoint=tmp_path / "c.pt", stamp="one")
    _, history = train(recipe, checkpoint=tmp_path / "c.pt", stamp="two")
    assert "going on" not in capsys.readouterr().out and len(history) == 2
    (tmp_path / "c.pt").write_bytes((tmp_path / "c.pt").read_bytes()[:500])
    train(recipe, checkpoint=tmp_path / "c.pt", stamp="two")
    assert "cannot be read" in capsys.readouterr().out


def test_a_diverging_loss_says_so():
    with pytest.raises(ValueError, match="lower LEARNING_RATE"):
        train(Recipe(epochs=30, learning_rate=1e8, optimizer="sgd", schedule="constant"))
