"""Plots of filters, attributions and their checks."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from inside.attribution.as_it_is import Guesses
from inside.attribution.cam import View
from inside.attribution.captions import format_rho
from inside.attribution.describe import control_mean, summarise_randomisation
from inside.attribution.guided import Place
from inside.attribution.randomisation import Randomisation, rank_correlation
from inside.evaluation.intervals import mean_interval
from inside.models.detectors import Objects
from inside.text import format_number, format_share

METHOD_COLORS = {"class activation map": "#D55E00", "guided backpropagation": "#0072B2", "gradient": "#7F7F7F"}


def _bare(ax: Axes) -> Axes:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax


def _short(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[:width - 1]}…"


def plot_first_layer(picture: np.ndarray, filters: np.ndarray, maps: np.ndarray, names: Sequence[str], *,
                     columns: int = 4) -> Figure:
    """A picture (H,W,3), filters (K,h,w,1 or 3) of the first layer, and below each the map (K,h,w) that it makes of it.

    Maps are red where positive, blue where negative, white at 0, each at its own largest absolute value.
    """
    columns = min(columns, len(maps))
    rows = -(-len(maps) // columns)
    figure = plt.figure(figsize=(2.2 + 1.95 * columns, 2.85 * rows), layout="constrained")
    first, grid = figure.subfigures(1, 2, width_ratios=[2.2, 1.95 * columns])
    _bare(first.subplots()).imshow(picture)
    first.axes[0].set_title("image", fontsize=9)
    axes = grid.subplots(2 * rows, columns, squeeze=False, height_ratios=[0.75, 1.95] * rows)
    for index, (above, below) in enumerate(zip(axes[::2].flat, axes[1::2].flat, strict=True)):
        _bare(above), _bare(below)
        if index < len(maps):
            above.imshow(filters[index], cmap="gray", vmin=0, vmax=1)
            above.set_ylabel(names[index], fontsize=9, rotation=0, ha="right", va="center")
            limit = np.abs(maps[index]).max() or 1
            below.imshow(maps[index], cmap="RdBu_r", vmin=-limit, vmax=limit)
    return figure


def plot_neurons(pictures: np.ndarray, gradients: Tensor, captions: Sequence[str], others: np.ndarray,
                 places: Sequence[Place | None]) -> Figure:
    """One row per neuron: pictures (n,H,W,3), guided gradients (n,C,H,W), and the next images (n,m,H,W,3).

    `places`: where the neuron stands in its image, boxed in the first two; None where it has no place.
    """
    n, m = others.shape[:2]
    size = (1.72 * (2 + m) + 1.1, 1.72 * n + 0.25)
    figure, axes = plt.subplots(n, 2 + m, figsize=size, layout="constrained", squeeze=False)
    figure.get_layout_engine().set(wspace=0.015, hspace=0.015)
    together = zip(axes, pictures, gradients, captions, others, places, strict=True)
    for row, picture, gradient, caption, rest, place in together:
        plot_guided_gradient(gradient, ax=row[1])
        for ax, image in zip((row[0], *row[2:]), (picture, *rest), strict=True):
            ax.imshow(image)
        for ax in row[:2] if place is not None else ():
            _mark_place(ax, place, *picture.shape[:2])
        for ax in row:
            _bare(ax).set(xlabel="", ylabel="")
        row[0].set_ylabel(caption, fontsize=9, rotation=0, ha="right", va="center", labelpad=8)
    titles = ("excites it most", "guided gradient", *(f"image of rank {rank + 2}" for rank in range(m)))
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=9)
    return figure


def _mark_place(ax: Axes, place: Place, height: int, width: int) -> None:
    """A box, white in black, around a place; at least 6% of the picture wide, so that it is seen."""
    y, x, *size = (value * scale for value, scale in zip(place, (height, width) * 2, strict=True))
    tall, wide = (max(side, 0.06 * scale) for side, scale in zip(size, (height, width), strict=True))
    for color, linewidth in (("black", 3.5), ("white", 1.5)):
        ax.add_patch(Rectangle((x - wide / 2 - 0.5, y - tall / 2 - 0.5), wide, tall, fill=False, edgecolor=color,
                               linewidth=linewidth))


def plot_guided_gradient(gradient: Tensor, *, ax: Axes | None = None) -> Axes:
    """A guided gradient (C,H,W) around mid-grey, its 99th percentile of absolute values at black or white."""
    ax = ax or plt.subplots(figsize=(3.2, 3.2), layout="constrained")[1]
    values = gradient.detach().float().cpu().permute(1, 2, 0).numpy()
    shown = (0.5 + 0.5 * values / (np.quantile(np.abs(values), 0.99) or 1)).clip(0, 1)
    ax.imshow(shown.squeeze(-1) if shown.shape[-1] == 1 else shown, cmap="gray", vmin=0, vmax=1)
    ax.set(xlabel="x in pixels", ylabel="y in pixels")
    return ax


def plot_class_activation(picture: np.ndarray, heat: np.ndarray, *, scale: float | None = None,
                          ax: Axes | None = None) -> Axes:
    """A picture (H,W,3), 0 … 1, in grey, and over it heat (H,W) >= 0, the more opaque the hotter; hottest at `scale`."""
    ax = ax or plt.subplots(figsize=(3.2, 3.2), layout="constrained")[1]
    shown = (heat / (scale or heat.max() or 1)).clip(0, 1)
    ax.imshow(picture.mean(2), cmap="gray", vmin=0, vmax=1)
    ax.imshow(shown, cmap="inferno", alpha=0.15 + 0.6 * shown, vmin=0, vmax=1)
    ax.set(xlabel="x in pixels", ylabel="y in pixels")
    return ax


def plot_class_activation_maps(rows: Sequence[Sequence[View]]) -> Figure:
    """One row per image: the image, its class activation maps, and their scale.

    Of one view the map at its own resolution and the overlay; of several views of one image the overlay of each. The views
    of a row have one scale.
    """
    figure, axes = plt.subplots(len(rows), 4, figsize=(5.8, 1.56 * len(rows)), squeeze=False, layout="constrained",
                                width_ratios=[1, 1, 1, 0.05])
    figure.get_layout_engine().set(wspace=0.01, hspace=0.01, w_pad=0.03, h_pad=0.02)
    for (image, first, second, bar), views in zip(axes, rows, strict=True):
        limit = max(view.scale for view in views) or 1
        image.imshow(views[0].picture)
        if len(views) == 1:
            first.imshow(views[0].map.clip(min=0), cmap="inferno", vmin=0, vmax=limit)
        for ax, view in zip((first, second)[-len(views):], views, strict=True):
            plot_class_activation(view.picture, view.heat, scale=limit, ax=ax)
            ax.set_title("\n".join(textwrap.wrap(view.title, 28)[:2]), fontsize=8, pad=3, parse_math=False)
        colors = ScalarMappable(Normalize(0, limit), "inferno")
        figure.colorbar(colors, cax=bar, ticks=[0, limit], format="%.3g").ax.tick_params(labelsize=8, length=2)
        for ax in (image, first, second):
            _bare(ax).set(xlabel="", ylabel="")
    return figure


def plot_guesses(guesses: Sequence[Guesses], *, columns: int = 3) -> Figure:
    """Images with the box of the first guess, and beside each bars of the probabilities of its guesses."""
    columns = min(columns, len(guesses))
    rows = -(-len(guesses) // columns)
    figure, axes = plt.subplots(rows, 2 * columns, figsize=(3.4 * columns, 1.5 * rows), squeeze=False, layout="constrained",
                                width_ratios=[1.3, 2.1] * columns)
    for ax in axes.flat:
        _bare(ax)
    for guess, image, bars in zip(guesses, axes[:, ::2].flat, axes[:, 1::2].flat, strict=False):
        image.imshow(guess.picture)
        image.set_title(_short(guess.label, 24), fontsize=9, pad=3, parse_math=False)
        if guess.box is not None:
            mark_box(image, guess.box)
        bars.barh(range(len(guess.names)), guess.probabilities, color=["#D55E00", *["#9FC5E0"] * (len(guess.names) - 1)])
        bars.set(xlim=(0, 1), ylim=(len(guess.names) - 0.5, -0.5))
        for place, (name, probability) in enumerate(zip(guess.names, guess.probabilities, strict=True)):
            told = f"{format_share(probability, 2)} {_short(name, 30)}"
            bars.text(0.02, place, told, fontsize=8, va="center", parse_math=False)
    return figure


def plot_objects(pictures: Sequence[np.ndarray], titles: Sequence[str], found: Sequence[Objects], *,
                 columns: int = 3) -> Figure:
    """Pictures (H,W,3) with a box around each object, its name and score; each kind of object has a colour."""
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    kinds = list(dict.fromkeys(name for each in found for name in each.names))
    figure, axes = plt.subplots(rows, columns, figsize=(3.4 * columns, 2.8 * rows), squeeze=False, layout="constrained")
    for ax in axes.flat:
        _bare(ax)
    for picture, title, each, ax in zip(pictures, titles, found, axes.flat, strict=False):
        ax.imshow(picture)
        ax.set_title(_short(title, 40), fontsize=9, pad=3, parse_math=False)
        for box, name, score in zip(each.boxes, each.names, each.scores, strict=True):
            color = f"C{kinds.index(name)}"
            mark_box(ax, box, color)
            ax.text(*box[:2], f"{name} {format_share(score, 2)}", fontsize=7, color="white", va="top", clip_on=True,
                    bbox={"facecolor": color, "edgecolor": "none", "pad": 1}, parse_math=False)
    return figure


def mark_box(ax: Axes, box: Sequence[float], color: str = "#D55E00") -> None:
    """A box (left, top, right, bottom) in pixels, in white and a colour."""
    left, top, right, bottom = box
    for line, linewidth in (("white", 3.5), (color, 1.8)):
        ax.add_patch(Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, edgecolor=line,
                               linewidth=linewidth))


def plot_randomisation(found: Randomisation) -> Figure:
    """Mean |ρ| by step with 95% intervals, one panel per method; grey: up to chance; line: threshold; dotted: another."""
    table = summarise_randomisation(found)
    methods = list(dict.fromkeys(table["method"]))
    figure, axes = plt.subplots(1, len(methods), figsize=(3.4 * len(methods), 3.7), layout="constrained", sharey=True,
                                squeeze=False)
    for ax, method in zip(axes[0], methods, strict=True):
        rows = table[table["method"] == method]
        color = next(color for name, color in METHOD_COLORS.items() if method.startswith(name))
        error = [(rows["|ρ|"] - rows["low"]).clip(lower=0), (rows["high"] - rows["|ρ|"]).clip(lower=0)]
        levels = {"threshold": rows["threshold"].iloc[0], "another\nimage": control_mean(found, method, "another image"),
                  "chance": rows["chance"].iloc[0]}
        ax.axhspan(0, levels["chance"], color="#D9D9D9", zorder=0)
        ax.axhline(levels["threshold"], color="black", linewidth=1)
        ax.axhline(levels["another\nimage"], color="black", linestyle=":", linewidth=1.2)
        ax.errorbar(range(len(rows)), rows["|ρ|"], yerr=error, marker="o", capsize=2, color=color)
        ax.set_xticks(range(len(rows)), rows["down_to"], rotation=40, ha="right")
        ax.set_title(method, fontsize=10, color=color)
        _label_levels(ax, levels)
    axes[0, 0].set(ylabel="mean |ρ| with the\ntrained network's map", ylim=(0, 1.03))
    figure.supxlabel("weights re-initialised, from the classifier down to", fontsize=10)
    return figure


def _label_levels(ax: Axes, levels: Mapping[str, float], *, line: float = 0.06) -> None:
    """The names of levels to the right of the panel, at their heights, moved apart where they would overlap."""
    top = -1.0  # of the label before
    for name, level in sorted(levels.items(), key=lambda item: item[1]):
        if np.isfinite(level):
            half = line / 2 * (1 + name.count("\n"))
            at = max(level, top + half)
            top = at + half
            ax.annotate(f"{name} {level:.2f}", (1.02, at), xycoords=("axes fraction", "data"), fontsize=8, va="center")


def plot_randomised(picture: np.ndarray, pictures: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """One row per method, one column per step: the maps of one picture (H,W,3) as more weights are re-initialised.

    Below each map its rank correlation ρ with that of the trained network, the first one.
    """
    methods = list(next(iter(pictures.values())))
    figure, axes = plt.subplots(len(methods), 1 + len(pictures), layout="constrained", squeeze=False,
                                figsize=(1.25 * (1 + len(pictures)) + 0.3, 1.5 * len(methods) + 0.3))
    axes[0, 0].imshow(picture)
    for method, row in zip(methods, axes, strict=True):
        row[1].set_ylabel(textwrap.fill(method, 16), fontsize=9)
        for ax, maps in zip(row[1:], pictures.values(), strict=True):
            values = maps[method].clip(min=0)
            ax.imshow(values, cmap="inferno", vmin=0, vmax=np.quantile(values, 0.995) or 1)
            if maps is not pictures["nothing"]:
                ax.set_xlabel(f"ρ {format_rho(rank_correlation(pictures['nothing'][method], maps[method]))}", fontsize=9)
    for ax in axes.flat:
        _bare(ax)
    for ax, title in zip(axes[0], ("image", *pictures), strict=True):
        ax.set_title(title if title != "nothing" else "trained", fontsize=9)
    return figure


def plot_occlusion(picture: np.ndarray, masks: Mapping[str, np.ndarray], titles: Sequence[str],
                   table: pd.DataFrame) -> Figure:
    """Left, a picture (H,W,3) whole and with each mask (H,W) hidden; right, paired differences, one dot per image.

    The differences: what hiding the first mask costs more than hiding each of the others, in points of confidence.
    """
    figure = plt.figure(figsize=(10.2, 3.9), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.45])
    whole = {"whole": np.zeros(picture.shape[:2], dtype=bool)}
    for ax, mask, title in zip(left.subplots(2, 2).flat, [*whole.values(), *masks.values()], titles, strict=True):
        _bare(ax).imshow(np.where(mask[..., None], 0.5, picture))
        ax.set_title(title, fontsize=8)
    ax, rng, measured = right.subplots(), np.random.default_rng(0), table.dropna()
    first, *others = masks
    for row, name in enumerate(others):
        differences = measured[first] - measured[name]
        at = row + rng.uniform(-0.25, 0.25, len(measured))
        ax.scatter(100 * differences, at, s=10, color="#0072B2", alpha=0.45, linewidths=0)
        mean, low, high = (100 * value for value in mean_interval(differences, bounds=(-2, 2)))
        ax.errorbar(mean, row, xerr=[[mean - low], [high - mean]], color="#D55E00", marker="D", capsize=4, linewidth=2)
        if np.isfinite(mean):
            ax.annotate(f"mean {format_number(mean, 1)}", (mean, row - 0.33), color="#A34700", ha="center", fontsize=9)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yticks(range(len(others)), [textwrap.fill(f"{first} − {name}", 18) for name in others])
    ax.set(xlabel="difference between the drops in confidence, points\n(dot: an image; diamond: mean with 95% interval)",
           ylim=(len(others) - 0.55, -0.55))
    return figure
