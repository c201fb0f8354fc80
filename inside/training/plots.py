"""Curves of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

from inside.evaluation.metrics import MEAN_ROW
from inside.evaluation.plots import class_colors
from inside.training.describe import is_plain
from inside.training.loop import best_epoch

PART_NAMES = {"train": "train (while it learns)", "val": "validation", "test": "test"}


def plot_history(history: pd.DataFrame, *, unaugmented: Mapping | None = None, ax: plt.Axes | None = None) -> plt.Axes:
    """Cross-entropy of train and validation by epoch, with the chosen epoch; `unaugmented` as in `describe_training`.

    That one is a point at the chosen epoch: the training images as validation images are scored. A history without
    train_objective is an old one, whose training loss is the objective; its label says so.
    """
    ax = ax or plt.subplots(figsize=(6, 3.6), layout="constrained")[1]
    names = PART_NAMES if is_plain(history) else PART_NAMES | {"train": "train (while it learns; as optimised)"}
    for part, color in (("train", "#777777"), ("val", "#0072b2")):
        ax.plot(history["epoch"], history[f"{part}_loss"], "o-", color=color, label=names[part])
    best = best_epoch(history.to_dict("records"))
    ax.axvline(best, color="#d55e00", linestyle=":", label=f"chosen: epoch {best}")
    if unaugmented:
        ax.plot(best, unaugmented["loss"], "D", color="#777777", markeredgecolor="black", markersize=8,
                label=f"train, not augmented\n({unaugmented['images']:,} images)")
    ax.set(xlabel="epoch", ylabel="cross-entropy (nats)", ylim=(0, None))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False)
    return ax


def plot_accuracy_by_epoch(history: pd.DataFrame, classes: Sequence[str], part: str, *,
                           ax: plt.Axes | None = None) -> plt.Axes:
    """Accuracy of each class by epoch, of part "train" or "val", and their mean as a black line."""
    ax = ax or plt.subplots(figsize=(6, 3.6), layout="constrained")[1]
    colors = class_colors(classes)
    for name in classes:
        values = history[f"{part}_accuracy_{name}"]
        ax.plot(history["epoch"], values, "o-", markersize=3, color=colors[name], label=name)
    ax.plot(history["epoch"], history[f"{part}_mean_class_accuracy"], "k--", linewidth=2, label=MEAN_ROW)
    ax.set(xlabel="epoch", ylabel="accuracy (share of the class's images)", title=PART_NAMES[part])
    ax.xaxis.get_major_locator().set_params(integer=True)
    return ax


def plot_learning_curves(histories: Mapping[str, pd.DataFrame], *, ax: plt.Axes | None = None) -> plt.Axes:
    """Mean class accuracy on validation by epoch, a line a network, the chosen epoch marked."""
    ax = ax or plt.subplots(figsize=(9, 4), layout="constrained")[1]
    palette = sns.color_palette("colorblind" if len(histories) <= 10 else "husl", len(histories))
    for (name, history), color in zip(histories.items(), palette, strict=True):
        best = best_epoch(history.to_dict("records"))
        ax.plot(history["epoch"], history["val_mean_class_accuracy"], "o-", markersize=3, color=color, label=name)
        ax.plot(best, history.set_index("epoch").loc[best, "val_mean_class_accuracy"], "*", markersize=14, color=color)
    ax.set(xlabel="epoch", ylabel="mean class accuracy on validation")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), title="★ chosen epoch")
    return ax
