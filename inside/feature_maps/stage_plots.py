"""The plot of what fine-tuning changed, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from inside.feature_maps.axes import under
from inside.feature_maps.scenario_names import scenario_style
from inside.feature_maps.stage_measures import NETWORKS, Stages

_SCENARIOS = dict(zip(NETWORKS, ("finetuned_own", "imagenet_own", "random_own"), strict=True))


def plot_stages(stages: Stages) -> Figure:
    """Six panels over the stages: probe, weights, CKA map; effective rank, share of values ≤ 0, intrinsic dimension."""
    figure, axes = plt.subplots(2, 3, figsize=(11, 6.3), layout="constrained")
    (probes, weights, similar), below = axes
    _lines(probes, stages, "probe", ("probe_low", "probe_high"))
    if stages.no_probe:
        probes.text(0.5, 0.5, "not measured", transform=probes.transAxes, ha="center", va="center")
    else:
        probes.axhline(stages.majority, color="black", linewidth=0.8, linestyle=(0, (1, 3)))
    probes.set(ylim=(0, 1.02), ylabel="accuracy of a linear probe")
    probes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    weights.bar(range(len(stages.names)), 100 * stages.of("fine-tuned")["weight_change"], width=0.7,
                color=_style("fine-tuned")["color"])
    weights.set_ylabel("change of the weights (%)")
    for ax, column, label, spread in zip(below, ("effective_rank", "non_positive_share", "intrinsic_dimension"), (
            "effective rank (directions)", "share of values ≤ 0", "intrinsic dimension (TwoNN)"), (
            (), (), ("dimension_low", "dimension_high")), strict=True):
        _lines(ax, stages, column, spread)
        ax.set(ylabel=label, ylim=(0, 1 if column == "non_positive_share" else None))
    if stages.no_dimension:
        below[2].text(0.5, 0.5, "not measured", transform=below[2].transAxes, ha="center", va="center")
    for ax in (probes, weights, *below):
        _mark(ax, stages, named=ax in below)
    _map(similar, stages)
    figure.legend(*below[0].get_legend_handles_labels(), loc="outside upper center", frameon=False, ncols=3)
    return figure


def _style(network: str) -> dict[str, Any]:
    return scenario_style(_SCENARIOS[network]) | {"label": network}


def _short(name: str, most: int = 18) -> str:
    """A long name without its first parts, which others have, too."""
    while len(name) > most and "." in name:
        name = name.partition(".")[2]
    return name


def _lines(ax: Axes, stages: Stages, column: str, spread: Sequence[str]) -> None:
    """A column by stage, a line a network; `spread`: the columns of the ends of its spread, drawn as bars."""
    for place, network in enumerate(NETWORKS):
        rows = stages.of(network)
        if column not in rows or rows[column].isna().all():
            continue
        x = np.arange(len(rows)) + 0.12 * (place - 1) * bool(spread)
        style = _style(network) | {"markersize": 4.5} | under(_SCENARIOS[network])
        ax.plot(x, rows[column], **style)
        if spread:
            ax.vlines(x, *(rows[end] for end in spread), color=style["color"], linewidth=1, alpha=0.6)


def _mark(ax: Axes, stages: Stages, *, named: bool) -> None:
    """Stages at 0, 1, … of the x axis, by number and, if `named`, by name; frozen ones are shaded."""
    frozen = [place for place, name in enumerate(stages.names) if name in stages.frozen]
    for place in frozen:
        ax.axvspan(place - 0.5, place + 0.5, color="0.92", zorder=0, linewidth=0)
    if frozen:
        ax.text(np.mean(frozen), 0.98 if named else 0.02, "frozen", transform=ax.get_xaxis_transform(), ha="center",
                va="top" if named else "bottom", fontsize=8)
    labels = [f"{place} {_short(name)}" if named else str(place) for place, name in enumerate(stages.names, 1)]
    turned = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"} if named else {}
    ax.set_xticks(range(len(labels)), labels, fontsize=8, **turned)
    ax.set(xlabel="stage, from input to output", xlim=(-0.6, len(labels) - 0.4))


def _map(ax: Axes, stages: Stages) -> None:
    """CKA of each fine-tuned stage (down) with each initial one (across), on numbered axes."""
    n = len(stages.names)
    image = ax.imshow(stages.cka, vmin=0, vmax=1, cmap="viridis", origin="lower")
    ticks = [place for place in range(n) if n < 10 or place % 3 == 0 or place == n - 1 and n % 3 != 2]
    labels = [str(place + 1) for place in ticks]
    ax.set_xticks(ticks, labels, fontsize=8)
    ax.set_yticks(ticks, labels, fontsize=8)
    ax.set(xlabel="number of the initial stage", ylabel="number of the fine-tuned stage")
    ax.figure.colorbar(image, ax=ax, shrink=0.7, label="linear CKA, debiased")
