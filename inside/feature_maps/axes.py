"""What the plots of shares and spectra have in common: layers along an axis, frozen ones shaded, lines labelled directly."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from inside.feature_maps.scenario_names import frozen_label


def mark_layers(ax: Axes, layers: Sequence[str], frozen: Sequence[str] = ()) -> None:
    """Layers at 0, 1, … of the x axis; the frozen ones are marked in their labels and shaded."""
    for place in (place for place, layer in enumerate(layers) if layer in frozen):
        ax.axvspan(place - 0.5, place + 0.5, color="0.92", zorder=0, linewidth=0)
    labels = [frozen_label(layer, frozen).replace(" (", "\n(") for layer in layers]
    ax.set_xticks(range(len(layers)), labels, rotation=20 if len(layers) < 9 else 60, ha="right", rotation_mode="anchor",
                  fontsize=9)
    ax.set(xlabel="layer, from input to output", xlim=(-0.5, len(layers) - 0.5))


def under(scenario: str) -> dict:
    """Width and place: the fine-tuned network is a broad line under the broken one of the initial one; both can be seen."""
    return {"linewidth": 2.6, "zorder": 2} if scenario.startswith("finetuned") else {"linewidth": 1.4, "zorder": 3}


def label_lines(ax: Axes, ends: Sequence[tuple[float, dict]]) -> None:
    """Label lines to the right of the axes, each at the height of its end or as near as the others leave room.

    `ends`: y (NaN where a line does not reach the right side) and style of each, see `scenario_style`; set the limits first.
    """
    low, high = ax.get_ylim()
    order = sorted(range(len(ends)), key=lambda number: np.nan_to_num(ends[number][0], nan=low))
    texts = [textwrap.fill(ends[number][1]["label"], 38) for number in order]
    points = 0.75 * ax.figure.get_size_inches()[1] * 72
    heights = np.array([(np.nan_to_num(ends[number][0], nan=low) - low) / (high - low) for number in order])
    places = _spread(heights, np.array([12 * (text.count("\n") + 1) / points for text in texts]))
    for number, text, height, place in zip(order, texts, heights, places, strict=True):
        style = ends[number][1] | {"label": f"_{text}", "transform": ax.transAxes, "clip_on": False}
        if np.isfinite(ends[number][0]):
            ax.plot([1, 1.03], [height, place], color=style["color"], linewidth=0.8, transform=ax.transAxes, clip_on=False)
        ax.plot([1.03, 1.065, 1.1], [place] * 3, markevery=[1], **style)
        ax.text(1.115, place, text, transform=ax.transAxes, va="center", fontsize=8.5)


def _spread(heights: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Places near increasing `heights` (0 to 1) at which labels of these sizes do not overlap."""
    places = heights.astype(float).copy()
    for _ in range(200):
        gaps = np.diff(places) - (sizes[1:] + sizes[:-1]) / 2
        if not (gaps < -1e-6).any():
            break
        push = np.where(gaps < 0, -gaps / 2, 0)
        places[:-1] -= push
        places[1:] += push
    return places
