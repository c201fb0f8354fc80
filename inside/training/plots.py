"""Curves of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from inside.evaluation.metrics import MEAN_ROW
from inside.evaluation.plots import class_colors, short_name
from inside.training.describe import is_plain
from inside.training.loop import best_epoch

PART_NAMES = {"train": "train (during training)", "val": "validation", "test": "test"}


def plot_history(history: pd.DataFrame, *, unaugmented: Mapping | None = None, ax: plt.Axes | None = None) -> plt.Axes:
    """Cross-entropy of train and validation by epoch, with the chosen epoch; `unaugmented` as in `describe_training`.

    That one is a point at the chosen epoch: the training images as validation images are scored. A history without
    train_objective is an old one, whose training loss is the objective; its label says so.
    """
    ax = ax or plt.subplots(figsize=(9, 3.6), layout="constrained")[1]
    names = PART_NAMES if is_plain(history) else PART_NAMES | {"train": "train (during training; as optimised)"}
    for part, color, style in (("train", "#777777", "s--"), ("val", "#0072b2", "o-")):
        ax.plot(history["epoch"], history[f"{part}_loss"], style, color=color, label=names[part])
    best = best_epoch(history.to_dict("records"))
    ax.axvline(best, color="#d55e00", linestyle=":", label=f"chosen: epoch {best}")
    if unaugmented:
        ax.plot(best, unaugmented["loss"], "D", color="#777777", markeredgecolor="black", markersize=8,
                label=f"train, not augmented\n({unaugmented['images']:,} images)")
    ax.set(xlabel="epoch", ylabel="cross-entropy (nats)", ylim=(0, None))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def plot_accuracy_by_epoch(history: pd.DataFrame, classes: Sequence[str], part: str, *, named: int = 10,
                           ax: plt.Axes | None = None) -> plt.Axes:
    """Accuracy of each class by epoch, of part "train" or "val", and their mean as a thick black line.

    The classes have lines and markers of their own, beside each other within an epoch, so that equal ones are told apart. Of
    more than `named` classes, those with the lowest accuracy in the last epoch of validation are named; the rest is grey.
    """
    ax = ax or plt.subplots(figsize=(6, 3.6), layout="constrained")[1]
    colors, last = class_colors(classes), history.iloc[-1]
    by_accuracy = sorted(classes, key=lambda name: np.nan_to_num(last[f"val_accuracy_{name}"], nan=2))  # no images: last
    chosen = by_accuracy[:named] if len(classes) > named else classes
    for name in classes:
        if name not in chosen:
            ax.plot(history["epoch"], history[f"{part}_accuracy_{name}"], color="#cccccc", linewidth=0.8, zorder=1)
    for place, name in enumerate(chosen):
        beside = 0.5 * (place / max(1, len(chosen) - 1) - 0.5) * (len(chosen) > 1)
        values = history[f"{part}_accuracy_{name}"]
        ax.plot(history["epoch"] + beside, values, color=colors[name], label=short_name(name), **_style(place))
    ax.plot(history["epoch"], history[f"{part}_mean_class_accuracy"], "k-", linewidth=2.5, alpha=0.7, label=MEAN_ROW)
    ax.set(xlabel="epoch", ylabel="accuracy of the class", title=PART_NAMES[part])
    ax.xaxis.get_major_locator().set_params(integer=True)
    return ax


def _style(place: int) -> dict:
    """A line style and a marker by place, so that lines are told apart without colour."""
    style, marker = ("-", "--", "-.", ":")[place % 4], "osD^vPX<>*"[place % 10]
    return {"linestyle": style, "marker": marker, "markersize": 5, "linewidth": 1.3}


def add_legend(ax: plt.Axes, title: str = "") -> None:
    """A legend to the right of the axes, class names as they are."""
    legend = ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), title=title or None, handlelength=3.2)
    for text in legend.get_texts():
        text.set_parse_math(False)


def line_styles(names: Sequence[str]) -> dict[str, dict]:
    """{name: colour, line, marker and label} of the lines of several networks, each told apart without colour, too."""
    palette = sns.color_palette("colorblind" if len(names) <= 10 else "husl", len(names))
    return {name: {"color": color, "label": name, **_style(place)}
            for place, (name, color) in enumerate(zip(names, palette, strict=True))}


def plot_learning_curves(histories: Mapping[str, pd.DataFrame], *, styles: Mapping[str, dict] | None = None,
                         ax: plt.Axes | None = None) -> plt.Axes:
    """Mean class accuracy on validation by epoch, one line per network, the chosen epoch marked; `styles`: `line_styles`."""
    ax = ax or plt.subplots(figsize=(10.4, 4), layout="constrained")[1]
    styles = styles or line_styles(list(histories))
    for name, history in histories.items():
        best = best_epoch(history.to_dict("records"))
        ax.plot(history["epoch"], history["val_mean_class_accuracy"], **styles[name])
        ax.plot(best, history.set_index("epoch").loc[best, "val_mean_class_accuracy"], "*", markersize=15,
                color=styles[name]["color"], markeredgecolor="black")
    ax.set(xlabel="epoch", ylabel="mean class accuracy on validation")
    ax.xaxis.get_major_locator().set_params(integer=True)
    add_legend(ax, "★ chosen epoch")
    return ax
