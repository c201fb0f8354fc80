"""The plot of what fine-tuning changed, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from inside.feature_maps.axes import mark_layers, under
from inside.feature_maps.scenario_names import scenario_style
from inside.feature_maps.stage_measures import NETWORKS, Stages

_SCENARIOS = dict(zip(NETWORKS, ("finetuned_own", "imagenet_own", "random_own"), strict=True))


def plot_stages(stages: Stages) -> Figure:
    """Six panels over the stages: probe, weights, CKA map; effective rank, share of values ≤ 0, intrinsic dimension."""
    figure, axes = plt.subplots(2, 3, figsize=(11, 7.4), layout="constrained")
    (probes, weights, similar), below = axes
    _lines(probes, stages, "probe", ("probe_low", "probe_high"))
    if stages.no_probe:
        probes.text(0.5, 0.5, "not measured", transform=probes.transAxes, ha="center", va="center")
    else:
        probes.axhline(stages.majority, color="black", linewidth=0.8, linestyle=(0, (1, 3)))
    probes.set(ylim=(0, 1.02), ylabel="accuracy of a linear probe on validation")
    probes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    weights.bar(range(len(stages.names)), 100 * stages.of("fine-tuned")["weight_change"], width=0.7,
                color=_style("fine-tuned")["color"])
    weights.set_ylabel("relative change of the weights (%)")
    for ax, column, label, spread in zip(below, ("effective_rank", "non_positive_share", "intrinsic_dimension"), (
            "effective rank (directions)", "share of values ≤ 0", "intrinsic dimension (TwoNN)"), (
            (), (), ("dimension_low", "dimension_high")), strict=True):
        _lines(ax, stages, column, spread)
        ax.set(ylabel=label, ylim=(0, 1 if column == "non_positive_share" else None))
    if stages.no_dimension:
        below[2].text(0.5, 0.5, "not measured", transform=below[2].transAxes, ha="center", va="center")
    numbered = {name: f"{place} {_short(name)}" for place, name in enumerate(stages.names, 1)}
    names, frozen = ([numbered[name] for name in each] for each in (stages.names, stages.frozen))
    for ax in (probes, weights, *below):
        mark_layers(ax, names, frozen)
        ax.set_xlabel("stage, from input to output")
    for ax in (probes, weights):
        _number(ax, stages.names)
    _map(similar, stages)
    figure.legend(*below[0].get_legend_handles_labels(), loc="outside upper center", frameon=False, ncols=3)
    return figure


def _style(network: str) -> dict[str, Any]:
    return scenario_style(_SCENARIOS[network]) | {"label": network}


def _short(name: str, most: int = 22) -> str:
    """The end of a long name: what it has of its own stands there."""
    return name if len(name) <= most else f"…{name[1 - most:]}"


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


def _number(ax: Axes, names: Sequence[str]) -> None:
    ax.set_xticks(range(len(names)), [str(place + 1) for place in range(len(names))], rotation=0, ha="center", fontsize=8)
    ax.set_xlabel("number of the stage")


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
