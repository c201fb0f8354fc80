"""Plots of shares and spectra."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from inside.feature_maps.certainty import BootstrapSpectrum
from inside.feature_maps.scenario_names import frozen_label, scenario_style
from inside.feature_maps.shares import over_draws
from inside.feature_maps.spectra import Spectrum


def plot_eigenvalues(spectra: Mapping[str, Spectrum], *, log: bool = False, noise: bool = True, relative: bool = False,
                     errors: Mapping[str, BootstrapSpectrum] | None = None, ax: Axes | None = None) -> Axes:
    """Eigenvalues by rank, a line a scenario, on linear or double logarithmic axes.

    `noise` adds the Marchenko-Pastur line of each scenario, dotted in its colour (one grey line if `relative`, which
    divides by the trace). `errors`: scenario -> bootstrap, the 95 % spread at this N as bars.
    """
    ax = ax or plt.subplots(figsize=(5, 4), layout="constrained")[1]
    for scenario, s in spectra.items():
        style, scale = scenario_style(scenario), s.trace if relative and s.trace > 0 else 1.0
        values = s.eigenvalues / scale
        shown = values > (1e-12 * s.trace / scale if log else -1)  # zeros have no place on a logarithmic axis
        ranks = np.arange(1, len(values) + 1)
        front = 3 if scenario.startswith("finetuned") else 2  # where it hardly differs from the initial network, on top
        ax.plot(ranks[shown], values[shown], marker=".", markersize=3, linewidth=1.3, zorder=front, **style)
        if noise and s.trace > 0:
            line = {"color": "black" if relative else style["color"], "linestyle": ":", "linewidth": 1}
            ax.plot(np.arange(1, s.rank_bound + 1)[:s.top_k], s.noise()[:s.top_k] / scale, label="_noise", **line)
        if errors and scenario in errors:
            low, high = errors[scenario].eigenvalue_spread()
            at = np.arange(1, len(low) + 1)
            ax.vlines(at, low / scale, high / scale, color=style["color"], linewidth=2, alpha=0.4)
    if noise:
        ax.plot([], [], color="black", linestyle=":", linewidth=1, label="pure noise (Marchenko–Pastur)")
    if log and _has_variance(spectra, ax):
        ax.set(xscale="log", yscale="log")
    ax.set(xlabel="rank k", ylabel="share of variance λₖ/Σλ" if relative else "eigenvalue λₖ (variance)")
    return ax


def _has_variance(spectra: Mapping[str, Spectrum], ax: Axes) -> bool:
    """Whether there is anything to draw on a logarithmic axis; where there is not, the panel says so."""
    if any(s.trace > 0 for s in spectra.values()):
        return True
    ax.text(0.5, 0.5, "no variance", transform=ax.transAxes, ha="center")
    return False


def _mark_layers(ax: Axes, layers: Sequence[str], frozen: Sequence[str] = ()) -> None:
    """Layers at 0, 1, … of the x axis, the frozen ones marked."""
    ax.set_xticks(range(len(layers)), [frozen_label(layer, frozen) for layer in layers], rotation=20, ha="right")
    ax.set_xlabel("layer, from input to output")


def plot_cumulative_variance(spectra: Mapping[str, Spectrum], *, ax: Axes | None = None) -> Axes:
    """Share of the variance in the first k directions, a line a scenario, with the levels of 95 and 99 %."""
    ax = ax or plt.subplots(figsize=(5, 4), layout="constrained")[1]
    for scenario, s in spectra.items():
        share = s.cumulative_share
        front = 3 if scenario.startswith("finetuned") else 2
        ax.plot(np.arange(1, len(share) + 1), share, linewidth=1.5, zorder=front, **scenario_style(scenario))
    for level in (0.95, 0.99):
        ax.axhline(level, color="black", linewidth=0.6, linestyle=":")
    ax.set(xscale="log" if _has_variance(spectra, ax) else "linear", ylim=(0, 1.02), xlabel="number of directions k",
           ylabel="cumulative share of variance")
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return ax


def plot_by_layer(spectra: Mapping[str, Mapping[str, Spectrum]], panel: Callable = plot_eigenvalues, *,
                  frozen: Sequence[str] = (), layout: str | None = "constrained", **options) -> Figure:
    """A grid with a panel a layer, all scenarios in each, from scenario -> layer -> Spectrum, and one legend.

    `panel`: plot_eigenvalues or plot_cumulative_variance; `options`: its options (`errors` by scenario and layer, too).
    `frozen`: layers to mark. `layout`: matplotlib's; None is quicker, and leaves the margins to the caller.
    """
    layers = list(dict.fromkeys(layer for by_layer in spectra.values() for layer in by_layer))
    errors = options.pop("errors", None)
    columns = min(3, len(layers) + 1)
    rows = -(-(len(layers) + 1) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4.3 * columns, 3.4 * rows), layout=layout, squeeze=False)
    for layer, ax in zip(layers, axes.flat, strict=False):
        if errors:
            options["errors"] = {s: by_layer[layer] for s, by_layer in errors.items() if layer in by_layer}
        panel({s: by_layer[layer] for s, by_layer in spectra.items() if layer in by_layer}, ax=ax, **options)
        first = next(by_layer[layer] for by_layer in spectra.values() if layer in by_layer)
        ax.set_title(f"{frozen_label(layer, frozen)}\n{first.channels} channels, {first.images} images", fontsize=10)
    for ax in axes.flat[len(layers):]:
        ax.axis("off")
    handles = {label: h for ax in axes.flat for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    axes.flat[len(layers)].legend(handles.values(), handles.keys(), loc="center", frameon=False, fontsize=9)
    return figure


def plot_effective_ranks(table: pd.DataFrame, *, draws: pd.DataFrame | None = None, frozen: Sequence[str] = (),
                         ax: Axes | None = None) -> Axes:
    """Effective rank by layer, a line a scenario; bars: the spread at this N, or the range of several draws of weights.

    `table`: columns scenario, layer, effective rank, spread low, spread high. `draws`: scenario, draw, layer, effective
    rank; a scenario with several draws is shown by their mean and range. `frozen`: layers to mark.
    """
    ax = ax or plt.subplots(figsize=(8, 4.2), layout="constrained")[1]
    layers = list(dict.fromkeys(table["layer"]))
    scenarios = list(dict.fromkeys(table["scenario"]))
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
        ax.errorbar(np.arange(len(layers)) + offset, middle, yerr=bars, marker="o", capsize=2, **style)
    _mark_layers(ax, layers, frozen)
    ax.set(ylabel="effective rank (directions)", ylim=(0, None))
    ax.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax


def plot_similarity(table: pd.DataFrame, *, frozen: Sequence[str] = ()) -> Figure:
    """Overlap of eigenspaces and debiased linear CKA by layer, a line a pair of networks; dotted: by chance."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.9), layout="constrained", sharey=True)
    layers = list(dict.fromkeys(table["layer"]))
    columns = (("overlap", "overlap by chance", "overlap of the leading directions"),
               ("CKA", "CKA of shuffled images", "linear CKA, debiased"))
    for ax, (value, chance, title) in zip(axes, columns, strict=True):
        for networks, rows in table.groupby("networks", sort=False):
            style, rows = scenario_style(str(networks).split(" and ")[0]), rows.set_index("layer").reindex(layers)
            ax.plot(range(len(layers)), rows[value], marker="o", color=style["color"], label=networks)
            ax.plot(range(len(layers)), rows[chance], linestyle=":", color=style["color"])
        _mark_layers(ax, layers, frozen)
        ax.set_ylabel(title)
    lowest = min(0.0, float(np.nanmin([0.0, *table[["CKA", "CKA of shuffled images"]].to_numpy().ravel()])))
    axes[0].set_ylim(lowest - 0.03, 1.03)  # debiased values can be below 0
    axes[0].plot([], [], linestyle=":", color="black", label="by chance")
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def plot_non_positive_shares(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Share of non-positive values by layer, a line a scenario; columns scenario, layer, non_positive_share.

    Where a scenario has several rows a layer, those of several draws, their mean and as a band their range.
    """
    ax = ax or plt.subplots(figsize=(8, 4.2), layout="constrained")[1]
    mean, low, high = (over_draws(table, "non_positive_share", how) for how in ("mean", "min", "max"))
    for name in mean:
        style = scenario_style(str(name))
        ax.plot(range(len(mean)), mean[name], marker="o", **style)
        if table[table["scenario"] == name].duplicated("layer").any():
            ax.fill_between(range(len(mean)), low[name], high[name], color=style["color"], alpha=0.25, linewidth=0)
            ax.lines[-1].set_label(f"{style['label']} (mean and range of the draws)")
    ax.axhline(0.5, color="black", linewidth=0.6, linestyle=":")
    ax.set_xticks(range(len(mean)), mean.index, rotation=20, ha="right")
    ax.set(xlabel="layer, from input to output", ylabel="share of values ≤ 0", ylim=(0, 1))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax


def plot_channel_shares(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Distribution over channels of the share of non-positive values; columns scenario, layer, channel, share.

    Boxes hold the middle half, whiskers the middle 90 % of the channels, dots the others.
    """
    ax = ax or plt.subplots(figsize=(9, 4.2), layout="constrained")[1]
    palette = {s: scenario_style(s)["color"] for s in table["scenario"].unique()}
    table = table.dropna(subset="share")
    if not len(table):
        ax.text(0.5, 0.5, "no channel has a share", transform=ax.transAxes, ha="center")
        return ax
    sns.boxplot(table, x="layer", y="share", hue="scenario", palette=palette, whis=(5, 95), fliersize=1.5,
                linewidth=0.8, ax=ax)
    ax.set(xlabel="layer, from input to output", ylabel="share of values ≤ 0 in a channel", ylim=(-0.02, 1.02))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.tick_params(axis="x", rotation=20)
    handles, names = ax.get_legend_handles_labels()
    ax.legend(handles, [scenario_style(name)["label"] for name in names], frameon=False, fontsize=8,
              loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax


def plot_class_heatmap(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Heat map of the share of non-positive values: layers down (index), classes across (columns)."""
    size = (2.5 + 1.0 * table.shape[1], 1.5 + 0.5 * table.shape[0])
    ax = ax or plt.subplots(figsize=size, layout="constrained")[1]
    limits = {"vmin": 0, "vmax": 1} if table.isna().all(axis=None) else {}
    sns.heatmap(table, **limits, annot=True, fmt=".1%", cmap="cividis", linewidths=0.5, annot_kws={"fontsize": 8}, ax=ax,
                cbar_kws={"label": "share of values ≤ 0", "format": PercentFormatter(1, decimals=0)})
    ax.set(xlabel="class of the image", ylabel="layer")
    ax.tick_params(axis="y", rotation=0)
    return ax
