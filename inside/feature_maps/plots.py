"""Plots of spectra, effective ranks and directions."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from inside.feature_maps.axes import label_lines, mark_layers, under
from inside.feature_maps.certainty import BootstrapSpectrum
from inside.feature_maps.scenario_names import frozen_label, pair_words, scenario_style
from inside.feature_maps.spectra import Spectrum


def plot_eigenvalues(spectra: Mapping[str, Spectrum], *, log: bool = False, noise: bool = True, relative: bool = False,
                     errors: Mapping[str, BootstrapSpectrum] | None = None, ax: Axes | None = None) -> Axes:
    """Eigenvalues by rank, one line per scenario, on linear or double logarithmic axes.

    `noise` adds the Marchenko-Pastur line of each scenario, dotted in its colour (one grey line if `relative`, which
    divides by the trace). `errors`: scenario -> bootstrap, the 95% spread at this N as bars.
    """
    ax = ax or plt.subplots(figsize=(5, 4), layout="constrained")[1]
    for scenario, s in spectra.items():
        style, scale = scenario_style(scenario), s.trace if relative and s.trace > 0 else 1.0
        values = s.eigenvalues / scale
        floor = 1e-12 * s.trace / scale if log else -1  # zeros have no place on a logarithmic axis
        shown = values > floor
        ranks = np.arange(1, len(values) + 1)
        ax.plot(ranks[shown], values[shown], **style, **_dense(scenario, shown.sum()))
        if noise and s.trace > 0:
            line = {"color": "black" if relative else style["color"], "linestyle": (0, (1, 3)), "linewidth": 1}
            ax.plot(np.arange(1, s.rank_bound + 1)[:s.top_k], s.noise()[:s.top_k] / scale, label="_noise", **line)
        if errors and scenario in errors:
            low, high = errors[scenario].eigenvalue_spread()
            at = np.flatnonzero([value > floor and end > floor for value, end in zip(values, low / scale, strict=False)])
            ax.vlines(at + 1, low[at] / scale, high[at] / scale, color=style["color"], linewidth=2.5, alpha=0.4)
    if noise:
        ax.plot([], [], color="black", linestyle=(0, (1, 3)), linewidth=1, label="pure noise (Marchenko–Pastur)")
    if log and _has_variance(spectra, ax):
        ax.set(xscale="log", yscale="log")
        ax.set_ylim(bottom=max(ax.get_ylim()[0], 3e-9) if relative else None)
    ax.set(xlabel="rank k", ylabel="share of variance λₖ/Σλ" if relative else "eigenvalue λₖ (variance)")
    return ax


def _dense(scenario: str, number: int) -> dict:
    """Line and markers of a curve of many points: markers at 1, 2, 3, 5, 10, 20, 30, 50, … only."""
    places = [base * 10**power - 1 for power in range(5) for base in (1, 2, 3, 5)]
    return {"markersize": 4.5, "markevery": [place for place in places if place < number], **under(scenario)}


def _has_variance(spectra: Mapping[str, Spectrum], ax: Axes) -> bool:
    """Whether there is anything to draw on a logarithmic axis; where there is not, the panel says so."""
    if any(s.trace > 0 for s in spectra.values()):
        return True
    ax.text(0.5, 0.5, "no variance", transform=ax.transAxes, ha="center")
    return False


def plot_cumulative_variance(spectra: Mapping[str, Spectrum], *, ax: Axes | None = None) -> Axes:
    """Share of the variance in the first k directions, one line per scenario, with the levels of 95 and 99%."""
    ax = ax or plt.subplots(figsize=(5, 4), layout="constrained")[1]
    for scenario, s in spectra.items():
        share = s.cumulative_share
        ax.plot(np.arange(1, len(share) + 1), share, **scenario_style(scenario), **_dense(scenario, len(share)))
    for level in (0.95, 0.99):
        ax.axhline(level, color="black", linewidth=0.6, linestyle=":")
    ax.set(xscale="log" if _has_variance(spectra, ax) else "linear", ylim=(0, 1.02), xlabel="number of directions k",
           ylabel="cumulative share of variance")
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return ax


def plot_by_layer(spectra: Mapping[str, Mapping[str, Spectrum]], panel: Callable = plot_eigenvalues, *,
                  frozen: Sequence[str] = (), layout: str | None = "constrained",
                  beside: Callable[[Axes], object] | None = None, **options: Any) -> Figure:
    """A grid with one panel per layer, all scenarios in each, from scenario -> layer -> Spectrum, and one legend.

    `panel`: plot_eigenvalues or plot_cumulative_variance; `options`: its options (`errors` by scenario and layer, too).
    `frozen`: layers to mark. `layout`: matplotlib's; None is quicker, and leaves the margins to the caller. `beside` draws
    a last panel into its axes; the legend, else there, is then below.
    """
    layers = list(dict.fromkeys(layer for by_layer in spectra.values() for layer in by_layer))
    errors = options.pop("errors", None)
    columns = min(3, len(layers) + 1)
    rows = -(-(len(layers) + 1) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.5 * columns, 2.9 * rows), layout=layout, squeeze=False)
    for layer, ax in zip(layers, axes.flat, strict=False):
        if errors:
            options["errors"] = {s: by_layer[layer] for s, by_layer in errors.items() if layer in by_layer}
        panel({s: by_layer[layer] for s, by_layer in spectra.items() if layer in by_layer}, ax=ax, **options)
        first = next(by_layer[layer] for by_layer in spectra.values() if layer in by_layer)
        ax.set_title(f"{frozen_label(layer, frozen)}\n{first.channels} channels, {first.images} images", fontsize=9)
    for ax in axes.flat:
        ax.yaxis.label.set_visible(ax.get_subplotspec().is_first_col())
    handles = {label: h for ax in axes.flat for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    for ax in axes.flat[len(layers):]:
        ax.axis("off")
    if beside:
        axes.flat[len(layers)].axis("on")
        beside(axes.flat[len(layers)])
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", frameon=False, fontsize=8.5, ncols=2)
        return figure
    labels = [textwrap.fill(label, 40) for label in handles]
    axes.flat[len(layers)].legend(handles.values(), labels, loc="center", frameon=False, fontsize=8.5)
    return figure


def plot_reduced(ranks: pd.DataFrame, *, frozen: Sequence[str] = (), ax: Axes | None = None) -> Axes:
    """Dumbbells: the effective rank of images as they are (filled) and reduced to 32×32 pixels (hollow), by layer.

    `ranks`: layers down, scenarios across, see `ranks_by_layer`; scenarios without a reduced one are left out.
    """
    ax = ax or plt.subplots(figsize=(5, 3.4), layout="constrained")[1]
    names = [name for name in ranks if f"{name}_32px" in ranks]
    for place, name in zip(np.linspace(-0.2, 0.2, len(names)) if len(names) > 1 else [0.0], names, strict=False):
        y = np.arange(len(ranks)) + place
        style = scenario_style(name)
        ax.hlines(y, ranks[name], ranks[f"{name}_32px"], color=style["color"], linewidth=1.6)
        for end in (name, f"{name}_32px"):
            ax.plot(ranks[end], y, **scenario_style(end) | {"linestyle": "none", "markersize": 5.5})
    ax.set_yticks(range(len(ranks)), [frozen_label(layer, frozen) for layer in ranks.index], fontsize=8)
    ax.invert_yaxis()
    ax.set(xlabel="effective rank", xlim=(0, None))
    ax.set_title("resolution control: effective rank;\nhollow: images reduced to 32×32 pixels", fontsize=9)
    return ax


def plot_effective_ranks(table: pd.DataFrame, *, draws: pd.DataFrame | None = None, frozen: Sequence[str] = (),
                         ax: Axes | None = None) -> Axes:
    """Effective rank by layer, one line per scenario; bars: the spread at this N, or the range of several draws of weights.

    `table`: columns scenario, layer, effective rank, spread low, spread high. `draws`: scenario, draw, layer, effective
    rank; a scenario with several draws is shown by their mean and range. `frozen`: layers to mark.
    """
    ax = ax or plt.subplots(figsize=(10, 4), layout="constrained")[1]
    layers = list(dict.fromkeys(table["layer"]))
    scenarios, ends = list(dict.fromkeys(table["scenario"])), []
    for offset, scenario in zip(np.linspace(-0.12, 0.12, len(scenarios)), scenarios, strict=True):
        rows = table[table["scenario"] == scenario].set_index("layer").reindex(layers)
        middle, low, high = (rows[name] for name in ("effective rank", "spread low", "spread high"))
        style = scenario_style(scenario)
        drawn = draws[draws["scenario"] == scenario] if draws is not None else table.iloc[:0]
        if len(drawn) and drawn["draw"].nunique() > 1:
            by_layer = drawn.groupby("layer")["effective rank"]
            middle, low, high = (values.reindex(layers) for values in (by_layer.mean(), by_layer.min(), by_layer.max()))
            style["label"] += f": mean and range of {drawn['draw'].nunique()} draws"
        bars = [(middle - low).clip(lower=0), (high - middle).clip(lower=0)]
        ax.errorbar(np.arange(len(layers)) + offset, middle, yerr=bars, capsize=2, elinewidth=1.2, **style,
                    **under(scenario))
        ends.append((middle.iloc[-1], style))
    mark_layers(ax, layers, frozen)
    ax.set(ylabel="effective rank (directions)", ylim=(0, None))
    label_lines(ax, ends)
    return ax


def plot_similarity(table: pd.DataFrame, *, frozen: Sequence[str] = ()) -> Figure:
    """Overlap of eigenspaces and debiased linear CKA by layer, one line per pair of networks; thin and dotted: by chance."""
    figure, axes = plt.subplots(1, 2, figsize=(10.4, 3.9), layout="constrained", sharey=True)
    layers = list(dict.fromkeys(table["layer"]))
    columns = (("overlap", "overlap by chance", "overlap of the leading directions"),
               ("CKA", "CKA of shuffled images", "linear CKA, debiased"))
    for ax, (value, chance, title) in zip(axes, columns, strict=True):
        for networks, rows in table.groupby("networks", sort=False):
            style, rows = scenario_style(str(networks).split(" and ")[0]), rows.set_index("layer").reindex(layers)
            ax.plot(range(len(layers)), rows[value], **style | {"label": pair_words(str(networks))})
            ax.plot(range(len(layers)), rows[chance], linestyle=(0, (1, 3)), linewidth=1, color=style["color"])
        mark_layers(ax, layers, frozen)
        ax.set_ylabel(title)
    lowest = min(0.0, float(np.nanmin([0.0, *table[["CKA", "CKA of shuffled images"]].to_numpy().ravel()])))
    axes[0].set_ylim(lowest - 0.03, 1.03)  # debiased values can be below 0
    axes[0].plot([], [], linestyle=(0, (1, 3)), color="black", label="by chance")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", frameon=False, fontsize=8.5, ncols=3)
    return figure
