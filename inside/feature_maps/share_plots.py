"""Plots of the shares of non-positive values."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from inside.evaluation.plots import short_name
from inside.feature_maps.axes import label_lines, mark_layers, under
from inside.feature_maps.scenario_names import frozen_label, scenario_style
from inside.feature_maps.shares import over_draws


def plot_non_positive_shares(table: pd.DataFrame, *, frozen: Sequence[str] = (), ax: Axes | None = None) -> Axes:
    """Share of non-positive values by layer, a labelled line a scenario; columns scenario, layer, non_positive_share.

    Where a scenario has several rows a layer, those of several draws, their mean and as a band their range.
    `frozen`: layers to mark.
    """
    ax = ax or plt.subplots(figsize=(10, 4), layout="constrained")[1]
    mean, low, high = (over_draws(table, "non_positive_share", how) for how in ("mean", "min", "max"))
    ends = []
    for name in mean:
        style = scenario_style(str(name))
        if table[table["scenario"] == name].duplicated("layer").any():
            ax.fill_between(range(len(mean)), low[name], high[name], color=style["color"], alpha=0.25, linewidth=0)
            style["label"] += " (mean and range of the draws)"
        ax.plot(range(len(mean)), mean[name], **style, **under(str(name)))
        ends.append((mean[name].iloc[-1], style))
    ax.axhline(0.5, color="0.5", linewidth=0.6, zorder=1)
    values = np.array([low.min(axis=None), high.max(axis=None), 0.5])
    bottom, top = np.nanmin(values), np.nanmax(values)
    margin = max(0.05 * (top - bottom), 0.01)
    ax.set(ylabel="share of values ≤ 0", ylim=(max(bottom - margin, -0.02), min(top + margin, 1.02)))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0 if top - bottom > 0.3 else 1))
    mark_layers(ax, list(mean.index), frozen)
    label_lines(ax, ends)
    return ax


HATCHES = ("", "///", "...", "xxx", "---", "+++", "ooo")


def plot_channel_shares(table: pd.DataFrame, dead: pd.DataFrame | None = None, *, frozen: Sequence[str] = (),
                        ax: Axes | None = None) -> Axes:
    """Distribution over channels of the share of non-positive values; columns scenario, layer, channel, share.

    Boxes hold the middle half, whiskers the middle 90% of the channels. `dead`: one row per scenario and layer with the
    number of dead_channels, written above the boxes (– where channels cannot be called dead). `frozen`: layers to mark.
    """
    ax = ax or plt.subplots(figsize=(10, 4.4), layout="constrained")[1]
    scenarios, layers = list(table["scenario"].unique()), list(table["layer"].unique())
    table = table.dropna(subset="share")
    if not len(table):
        ax.text(0.5, 0.5, "no channel has a share", transform=ax.transAxes, ha="center")
        return ax
    styles = {name: scenario_style(name) for name in scenarios}
    sns.boxplot(table, x="layer", y="share", hue="scenario", order=layers, hue_order=scenarios, whis=(5, 95), linewidth=0.8,
                showfliers=False, medianprops={"linewidth": 2.2, "color": "black"},
                palette={name: style["color"] for name, style in styles.items()}, ax=ax)
    for boxes, handle, hatch in zip(ax.containers, ax.get_legend().legend_handles, HATCHES * len(scenarios), strict=False):
        for box in [*boxes.boxes, handle]:
            box.set(hatch=hatch, edgecolor="0.2", hatch_linewidth=0.5)
    if dead is not None:
        _write_dead(ax, dead.set_index(["scenario", "layer"])["dead_channels"], scenarios, layers)
    mark_layers(ax, layers, frozen)
    ax.set(ylabel="share of values ≤ 0 in a channel", ylim=(-0.02, 1.02))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.legend(ax.get_legend().legend_handles, [style["label"] for style in styles.values()], frameon=False, fontsize=8.5,
              loc="lower left", bbox_to_anchor=(0, 1.06), ncols=2)
    return ax


def _write_dead(ax: Axes, dead: pd.Series, scenarios: Sequence[str], layers: Sequence[str]) -> None:
    """The numbers of dead channels in a row above the boxes, which share 0.8 of the room of a layer."""
    for place, layer in enumerate(layers):
        for number, name in enumerate(scenarios):
            found = dead.get((name, layer))
            ax.text(place + 0.8 * ((number + 0.5) / len(scenarios) - 0.5), 1.015, "–" if pd.isna(found) else f"{found:,}",
                    transform=ax.get_xaxis_transform(), ha="center", fontsize=8)
    ax.text(-0.005, 1.015, "dead", transform=ax.transAxes, ha="right", fontsize=8)


def plot_class_heatmap(table: pd.DataFrame, *, frozen: Sequence[str] = (), ax: Axes | None = None) -> Axes:
    """Heat map of the share of non-positive values: layers down (index), classes across (columns); white is 50%.

    The numbers stand in it where there are at most 16 classes. `frozen`: layers to mark.
    """
    size = (min(2.6 + 1.0 * table.shape[1], 18), 1.3 + 0.45 * table.shape[0])
    ax = ax or plt.subplots(figsize=size, layout="constrained")[1]
    reach = max(0.05, np.nan_to_num(np.abs(table.to_numpy(float) - 0.5)).max(initial=0))
    colors = sns.blend_palette(["#56B4E9", "white", "#F0A63C"], as_cmap=True)  # light enough for dark numbers
    named = table.set_axis([short_name(str(name)) for name in table], axis=1)
    sns.heatmap(named, vmin=0.5 - reach, vmax=0.5 + reach, cmap=colors,
                annot=table.shape[1] <= 16, fmt=".1%", linewidths=0.5, annot_kws={"fontsize": 9, "color": "black"}, ax=ax,
                cbar_kws={"label": "share of values ≤ 0", "format": PercentFormatter(1, decimals=1)})
    ax.set_yticklabels([frozen_label(str(layer), frozen) for layer in table.index], rotation=0)
    ax.set(xlabel="class of the image", ylabel="")
    for label in ax.get_xticklabels():
        label.set_parse_math(False)
    return ax
