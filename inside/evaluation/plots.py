"""Plots of metrics, confusions and calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from sklearn.metrics import confusion_matrix

from inside.text import format_share, natural_sort, visible


def class_colors(classes: Sequence[str]) -> dict[str, tuple]:
    """One colour a class, the same in all notebooks; told apart by colour-blind readers up to ten classes."""
    colors = sns.color_palette("colorblind" if len(classes) <= 10 else "husl", len(classes))
    return dict(zip(natural_sort(classes), colors, strict=True))


def short_name(name: str, width: int = 24) -> str:
    """A class name for a figure: signs that cannot be seen are escapes, and what is longer than `width` loses its middle."""
    name = visible(name)
    return name if len(name) <= width else f"{name[:width - 9]}…{name[-8:]}"


MEASURES = {"accuracy": ("accuracy", "o", -0.14), "average_precision": ("average precision", "D", 0.14)}  # marker, place


def plot_class_metrics(metrics: pd.DataFrame, *, baseline: float | None = None, ax: plt.Axes | None = None) -> plt.Axes:
    """Accuracy and average precision of each class with their 95% intervals on one axis; the last row is their mean.

    The numbers stand at the right. `baseline` is the mean over classes that a baseline reaches, the same for both measures:
    it stands in the row of the mean.
    """
    last, color = len(metrics) - 1, "#0072b2"
    ax = ax or plt.subplots(figsize=(6, 0.4 * len(metrics) + 1.1), layout="constrained")[1]
    for column, (name, (title, marker, shift)) in enumerate(MEASURES.items()):
        at = {"textcoords": "offset points", "ha": "center", "fontsize": 9}
        ax.annotate(title.replace(" ", "\n"), (1, 1), (25 + 48 * column, 3), xycoords="axes fraction", va="bottom", **at)
        for place, row in enumerate(metrics.to_dict("records")):
            known = math.isfinite(row[name])
            ax.annotate(format_share(row[name]), (1, place), (25 + 48 * column, 0), va="center",
                        xycoords=("axes fraction", "data"), fontweight="bold" if place == last else None, **at)
            if known:
                ax.plot([row[f"{name}_low"], row[f"{name}_high"]], [place + shift] * 2, color=color, lw=2.5, alpha=0.4)
                ax.plot(row[name], place + shift, marker, color=color, markerfacecolor=color if marker == "o" else "white",
                        label=None if place < last else title, markersize=7)
    ax.axhline(last - 0.5, color="black", linewidth=0.8)
    names = [f"{short_name(row['class'])} ({row['support']:,})" for row in metrics.to_dict("records")]
    ax.set_yticks(range(last + 1), names, parse_math=False)
    ax.set(xlabel="accuracy (●), average precision (◇), 95% intervals", ylim=(last + 0.5, -0.5))
    ax.grid(axis="x", color="#dddddd", linewidth=0.6)
    if baseline is not None:
        line, = ax.plot([baseline] * 2, [last - 0.4, last + 0.4], color="gray", linestyle=":")
        ax.legend([line], [f"baseline, {metrics['class'].iloc[-1]}: {format_share(baseline)}"], frameon=False,
                  loc="lower left")
    return ax


def plot_confusion(predictions: pd.DataFrame, classes: Sequence[str], *, ax: plt.Axes | None = None) -> plt.Axes:
    """Images by true (row) and predicted (column) class, none where blank; the shade is the share of the row."""
    side = max(4.2, 0.62 * len(classes) + 1.3)
    ax = ax or plt.subplots(figsize=(side + 0.3, side), layout="constrained")[1]
    counts = confusion_matrix(predictions["label"], predictions["predicted"], labels=list(classes))
    names = [short_name(name) for name in classes]
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    numbers = np.where(counts > 0, counts.astype(str), "")
    sns.heatmap(share, annot=numbers if len(classes) <= 20 else None, fmt="", cmap="Blues", vmin=0, vmax=1, cbar=False,
                square=True, linewidths=0.5, linecolor="#dddddd", xticklabels=names, yticklabels=names, ax=ax)
    for label in (*ax.get_xticklabels(), *ax.get_yticklabels()):
        label.set_parse_math(False)
    ax.tick_params(axis="y", rotation=0)
    ax.set(xlabel="predicted class", ylabel="true class")
    return ax


KINDS = (("#0072b2", "o", "#0072b2"), ("#d55e00", "D", "none"))  # of scores: colour, marker, its face


def plot_reliability(reliability: pd.DataFrame, *, ax: plt.Axes | None = None) -> plt.Axes:
    """Accuracy by confidence, a point per bin of `Calibration.reliability`; intervals for the first kind of scores."""
    ax = ax or plt.subplots(figsize=(4.8, 4.8), layout="constrained")[1]
    low = min(reliability[["confidence", "accuracy_low"]].min()) - 0.03
    ax.plot([0, 1], [0, 1], color="gray", linestyle=":", label="perfectly calibrated")
    for place, ((name, bins), (color, marker, face)) in enumerate(zip(reliability.groupby("scores", sort=False), KINDS,
                                                                      strict=False)):
        ax.plot(bins["confidence"], bins["accuracy"], marker, color=color, markerfacecolor=face, label=name, zorder=3)
        if not place:
            ax.vlines(bins["confidence"], bins["accuracy_low"], bins["accuracy_high"], color=color, alpha=0.4, lw=2.5)
    ax.set(xlabel="mean confidence of the bin", ylabel="accuracy of the bin", xlim=(low, 1.02), ylim=(low, 1.02),
           aspect="equal")
    ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return ax


def plot_coverage(coverage: pd.DataFrame, *, ax: plt.Axes | None = None) -> plt.Axes:
    """Accuracy of the images that a network decides, with its 95% interval, by their share; from `coverage_table`."""
    ax = ax or plt.subplots(figsize=(5.4, 4.8), layout="constrained")[1]
    share, whole, (color, *_) = coverage["coverage"], coverage["coverage"].idxmax(), KINDS[0]
    ax.fill_between(share, coverage["accuracy_low"], coverage["accuracy_high"], color=color, alpha=0.15, linewidth=0)
    ax.plot(share, coverage["accuracy"], "o-", color=color, markersize=4, label="the least confident left out")
    ax.axhline(coverage.loc[whole, "accuracy"], color="gray", linestyle=":", label="as many left out at random")
    ax.set(xlabel="coverage: share of the test images that are decided", ylabel="accuracy of these images", xlim=(0, 1.02))
    ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return ax
