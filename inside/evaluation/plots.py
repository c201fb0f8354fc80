"""Plots of metrics and confusions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from sklearn.metrics import confusion_matrix

from inside.text import natural_sort


def class_colors(classes: Sequence[str]) -> dict[str, tuple]:
    """One colour a class, the same in all notebooks; told apart by colour-blind readers up to ten classes."""
    colors = sns.color_palette("colorblind" if len(classes) <= 10 else "husl", len(classes))
    return dict(zip(natural_sort(classes), colors, strict=True))


def plot_class_metrics(metrics: pd.DataFrame, measure: str, *, baseline: float | None = None,
                       ax: plt.Axes | None = None) -> plt.Axes:
    """A point a class with its 95 % interval, the last row their mean; measure "accuracy" or "average_precision".

    `baseline` is the mean over classes that a baseline reaches: it stands in the row of the mean.
    """
    ax = ax or plt.subplots(figsize=(6, 0.45 * len(metrics) + 1), layout="constrained")[1]
    names, last = list(metrics["class"]), len(metrics) - 1
    colors = [class_colors(names[:-1])[name] for name in names[:-1]] + ["black"]
    for position, row in enumerate(metrics.to_dict("records")):
        if math.isfinite(row[measure]):
            color, value = colors[position], row[measure]
            ax.plot([row[f"{measure}_low"], row[f"{measure}_high"]], [position] * 2, color=color, lw=3, alpha=0.45)
            ax.plot(value, position, "D" if position == last else "o", color=color)
            ax.annotate(f"{value:.3f}", (value, position), (0, 6), textcoords="offset points", ha="center", fontsize=8)
    ax.set_yticks(range(len(metrics)), [f"{row['class']} ({row['support']:,})" for row in metrics.to_dict("records")])
    ax.set(xlabel=measure.replace("_", " "), ylim=(last + 0.6, -0.8))
    if baseline is not None:
        ax.plot([baseline] * 2, [last - 0.4, last + 0.4], color="gray", linestyle=":",
                label=f"baseline, {names[-1]}: {baseline:.3f}")
        ax.legend(frameon=False, loc="lower left")
    return ax


def plot_confusion(predictions: pd.DataFrame, classes: Sequence[str], *, ax: plt.Axes | None = None) -> plt.Axes:
    """Images by true (row) and predicted (column) class; the shade is the share of the row."""
    side = max(4.5, 0.62 * len(classes) + 1.5)
    ax = ax or plt.subplots(figsize=(side + 0.8, side), layout="constrained")[1]
    counts = confusion_matrix(predictions["label"], predictions["predicted"], labels=list(classes))
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    sns.heatmap(share, annot=counts if len(classes) <= 20 else None, fmt="d", cmap="Blues", vmin=0, vmax=1,
                square=True, xticklabels=list(classes), yticklabels=list(classes),
                cbar_kws={"label": "share of the true class"}, ax=ax)
    ax.tick_params(axis="y", rotation=0)
    ax.set(xlabel="predicted", ylabel="true")
    return ax
