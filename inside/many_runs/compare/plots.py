"""Plots of several runs: each has the same line and marker in all of them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import PercentFormatter

from inside.data.grids import WIDTH, plot_images, short_paths
from inside.data.table import load_image
from inside.evaluation.plots import short_name
from inside.feature_maps.axes import mark_layers
from inside.many_runs.compare.finished import MOST_NAMED, FinishedRun, run_labels
from inside.text import format_share, visible
from inside.training.plots import line_styles

LAYERS_SHOWN = 11  # panels of spectra, at most


def run_styles(runs: Sequence[FinishedRun]) -> dict[str, dict]:
    """The line of each run by its name, with its label in lines of 40 signs; runs of a setting share a colour."""
    labels, settings = run_labels(runs), list(dict.fromkeys(run.setting for run in runs))
    styles, colors = line_styles(list(labels)), [style["color"] for style in line_styles(settings).values()]
    return {run.name: styles[run.name] | {"label": textwrap.fill(visible(labels[run.name]), 40),
                                          "color": colors[settings.index(run.setting)]} for run in runs}


def wide_axes(styles: Mapping[str, dict]) -> plt.Axes:
    """Axes as wide as the page, high enough for a legend of all runs."""
    return plt.subplots(figsize=(WIDTH, max(4, _legend_height(styles))), layout="constrained")[1]


def _legend_height(styles: Mapping[str, dict]) -> float:
    """The height in inches of a legend of all runs, which has two columns where they have numbers."""
    return 0.8 + 0.22 * sum(style["label"].count("\n") + 1 for style in styles.values()) / _columns(styles)


def _columns(styles: Mapping[str, dict]) -> int:
    return 2 if len(styles) > MOST_NAMED else 1


def put_legend(ax: plt.Axes, styles: Mapping[str, dict], title: str = "") -> None:
    """A legend to the right of the axes, names as they are; `title` above it."""
    numbers = "run, by its number in Table 1" if len(styles) > MOST_NAMED else ""
    handles, labels = ax.get_legend_handles_labels()
    legend = ax.legend(handles, labels, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), handlelength=3.2,
                       ncols=_columns(styles), title="\n".join(filter(None, [title, numbers])) or None)
    for text in legend.get_texts():
        text.set_parse_math(False)


def plot_by_run(table: pd.DataFrame, styles: Mapping[str, dict], ylabel: str, *, share: bool = False) -> plt.Figure:
    """A number by layer (index, from input to output), a line a run (columns); `share`: in percent."""
    ax = wide_axes(styles)
    for name in table:
        ax.plot(range(len(table)), table[name], **styles[str(name)])
    mark_layers(ax, list(table.index))
    ax.set(ylabel=ylabel)
    if share:
        ax.yaxis.set_major_formatter(PercentFormatter(1))
    else:
        ax.set_ylim(bottom=0)
    put_legend(ax, styles)
    return ax.figure


def plot_spectra(spectra: Mapping[str, Mapping[str, np.ndarray]], styles: Mapping[str, dict]) -> plt.Figure:
    """Eigenvalues as shares of the variance by rank, a panel a layer, a line a run; run -> layer -> eigenvalues (k,)."""
    layers = list(next(iter(spectra.values())))[:LAYERS_SHOWN]
    columns = min(3, len(layers))
    rows = -(-len(layers) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, 2.9 * rows + 0.4), layout="constrained", squeeze=False)
    for layer, ax in zip(layers, axes.flat, strict=False):
        for name, by_layer in spectra.items():
            values = by_layer[layer][by_layer[layer] > 3e-9]
            ax.plot(np.arange(1, len(values) + 1), values, **styles[name] | {
                "marker": "", "linewidth": 1.6} if len(values) > 1 else styles[name])
        ax.set(xscale="log", yscale="log", xlabel="rank k")
        ax.set_title(visible(layer), fontsize=9, parse_math=False)
    for ax in axes[:, 0]:
        ax.set_ylabel("share of variance λₖ/Σλ")
    for ax in axes.flat[len(layers):]:
        ax.axis("off")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside lower center", frameon=False, fontsize=8.5,
                           ncols=2 if len(styles) <= MOST_NAMED else 10, handlelength=3.2)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def plot_classes(table: pd.DataFrame, styles: Mapping[str, dict]) -> plt.Figure:
    """Accuracy and average precision of each class, a marker a run; columns class, run, accuracy, average_precision."""
    classes, runs = list(dict.fromkeys(table["class"])), list(dict.fromkeys(table["run"]))
    height = max(1.6 + len(classes) * (0.2 + 0.03 * min(len(runs), 10)), _legend_height(styles))
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, height), sharey=True, layout="constrained")
    places = np.linspace(-0.3, 0.3, len(runs)) if len(runs) > 1 else [0.0]
    for ax, column, title in zip(axes, ("accuracy", "average_precision"), ("accuracy", "average precision"), strict=True):
        for place, name in zip(places, runs, strict=True):
            own = table[table["run"] == name].set_index("class").reindex(classes)
            ax.plot(own[column], np.arange(len(classes)) + place, **styles[name] | {"linestyle": ""})
        ax.set(xlabel=title)
        for edge in np.arange(len(classes) - 1) + 0.5:
            ax.axhline(edge, color="0.85", linewidth=0.6)
    axes[0].set_yticks(range(len(classes)), [short_name(name) for name in classes], parse_math=False)
    axes[0].set_ylim(len(classes) - 0.5, -0.5)
    put_legend(axes[1], styles)
    return figure


def plot_one_sided(images: pd.DataFrame, root: Path) -> plt.Figure:
    """Images that one network classifies correctly (✓) and another does not (✗); columns as `one_sided_images` has them."""
    names = short_paths(images["path"], 20)
    texts = [f"{name}\n✓ {_said(row['label'], row['confidence'])}\n✗ {_said(row['predicted'], row['wrong confidence'])}"
             for name, row in zip(names, images.to_dict("records"), strict=True)]
    return plot_images([load_image(root / path) for path in images["path"]], texts, columns=6, size=WIDTH / 6)


def _said(name: str, confidence: float) -> str:
    return f"{short_name(name, 16)} {format_share(confidence, 2)}"
