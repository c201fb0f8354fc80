"""Tests of inside/training/plots.py."""

import math

import pandas as pd
import torch
from torch import nn

from inside.data.loading import TensorImages, make_loader
from inside.training.describe import describe_training
from inside.training.loop import fit
from inside.training.plots import plot_history

CLASSES = ["a", "b", "c"]


def features(n=60, seed=0, spread=3.0):
    """Points of three classes in 8 dimensions: a data set that a linear layer learns."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(n) % 3
    centres = torch.randn(3, 8, generator=torch.Generator().manual_seed(9)) * spread
    return TensorImages(centres[targets] + torch.randn(n, 8, generator=generator), targets.tolist())


def small_network(seed=0):
    """Two layers with dropout between: chance enters each step."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))


def train(recipe, model=None, **options):
    model = model or small_network()
    loaders = [make_loader(features(seed=seed), batch_size=16, shuffle=seed == 0) for seed in (0, 1)]
    return fit(model, *loaders, recipe, classes=CLASSES, **options)


def history_of(train, val, chosen=1, epochs=3, **columns):
    """A history whose chosen epoch has the given losses."""
    rows = [{"epoch": epoch, "train_loss": train + epoch - chosen, "val_loss": val + abs(epoch - chosen), "train_objective": 1.0,
             "val_mean_class_accuracy": 0.8 - 0.1 * abs(epoch - chosen), "train_mean_class_accuracy": 0.7} for epoch in range(1, epochs + 1)]
    return pd.DataFrame(rows).assign(**columns)


def unaugmented_of(loss, images=30, of=30):
    return {"images": images, "of": of, "loss": loss, "mean_class_accuracy": 0.9}


def test_the_point_of_the_training_images_not_augmented_is_drawn_at_the_chosen_epoch():
    history = history_of(0.8, 0.5, chosen=2)
    ax = plot_history(history, unaugmented=unaugmented_of(0.4, images=1000, of=3000))
    line = ax.lines[-1]
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([2], [0.4])
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert any("not augmented" in text and "1,000" in text for text in texts) and "chosen: epoch 2" in texts


def test_an_old_history_is_not_set_beside_validation():
    """Its training loss is the objective, with smoothing and weights: no difference is told, and the plot says what it is."""
    old = history_of(0.8, 0.5).drop(columns="train_objective")
    for history in (old, history_of(0.8, 0.5, train_objective=[math.nan, 1.0, 1.0])):  # the second: an old checkpoint, gone on from
        lines = describe_training(history, None, augmentation="light")
        assert "cannot be set beside" in lines[-1] and not any("below" in line or "above" in line for line in lines)
        assert "as optimised" in plot_history(history).get_legend().get_texts()[0].get_text()
    assert "optimised" not in plot_history(history_of(0.8, 0.5)).get_legend().get_texts()[0].get_text()
