"""Tests of inside/evaluation/plots.py."""

import numpy as np
import pandas as pd
import torch
from torch import nn

from inside.data.loading import TensorImages, make_loader
from inside.evaluation.plots import class_colors, plot_confusion, short_name
from inside.evaluation.predictions import prediction_table
from inside.training.loop import fit
from inside.training.plots import plot_history
from inside.training.recipe import Recipe

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


def predictions_of(labels, scores, classes):
    table = pd.DataFrame({"path": [f"{index}.png" for index in range(len(labels))], "label": labels})
    scores = np.asarray(scores, dtype=float)
    return prediction_table(table, scores, -np.log(scores.max(1)), classes)


def test_plots_draw_what_they_are_given():
    _, history = train(Recipe(epochs=3))
    ax = plot_history(history)
    assert [line.get_ydata().tolist() for line in ax.lines[:2]] == [history["train_loss"].tolist(), history["val_loss"].tolist()]
    assert len(ax.lines) == 3  # the third is the chosen epoch
    predictions = predictions_of(["a", "a", "b"], [[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]], ["a", "b"])
    texts = [text.get_text() for text in plot_confusion(predictions, ["a", "b"]).texts]
    assert texts == ["1", "1", "1", ""]  # none is blank
    assert len(plot_confusion(predictions, ["a", "b"]).figure.axes) == 1  # no colour bar
    assert class_colors(["b", "a"]) == class_colors(["a", "b"])


def test_long_names_keep_their_ends():
    names = [f"a class with a very long name, number {number}" for number in range(12)] + ["short"]
    shown = [short_name(name) for name in names]
    assert len(set(shown)) == 13 and shown[-1] == "short" and all(len(name) <= 24 for name in shown)
    predictions = predictions_of([names[0], names[1]], [[0.9, 0.1], [0.2, 0.8]], names[:2])
    assert [text.get_text() for text in plot_confusion(predictions, names[:2]).get_xticklabels()] == shown[:2]
