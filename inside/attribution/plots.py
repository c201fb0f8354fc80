"""Plots of filters, attributions and their checks."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from inside.attribution.cam import View
from inside.attribution.describe import control_mean, summarise_randomisation
from inside.attribution.randomisation import Randomisation
from inside.evaluation.intervals import mean_interval

METHOD_COLORS = {"class activation map": "#D55E00", "guided backpropagation": "#0072B2", "gradient": "#7F7F7F"}


def _bare(ax: Axes) -> Axes:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax


def plot_filters(filters: np.ndarray, *, columns: int = 8, figure: Figure | None = None) -> Figure:
    """The kernels of first_filters (K,h,w,1 or 3), or maps (K,h,w), as a grid of small pictures, numbered.

    Maps are blue where negative, red where positive, white at 0, each at its own largest absolute value.
    """
    columns, signed = min(columns, len(filters)), filters.ndim == 3
    rows = -(-len(filters) // columns)
    figure = figure or plt.figure(figsize=(0.8 * columns, 0.8 * rows))
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"wspace": 0.08, "hspace": 0.08})
    for index, ax in enumerate(axes.flat):
        _bare(ax)
        if index < len(filters):
            limit = np.abs(filters[index]).max() or 1
            style = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit} if signed else {"cmap": "gray", "vmin": 0, "vmax": 1}
            ax.imshow(filters[index], **style)
    return figure


def plot_first_layer(picture: np.ndarray, filters: np.ndarray, maps: np.ndarray, *, columns: int = 4) -> Figure:
    """A picture (H,W,3), the filters of the first layer, and the maps (K,h,w) that they make of it, in the same places."""
    columns = min(columns, len(maps))
    rows, cell, top = -(-len(maps) // columns), 1.05, 0.3
    height, side = rows * cell, columns * cell
    first = min(2.1, max(height, 1.5))
    figure = plt.figure(figsize=(first + 2 * side + 0.5, max(height, first) + top))
    parts = figure.subfigures(1, 3, width_ratios=[first, side, side], wspace=0.03)
    _bare(parts[0].subplots()).imshow(picture)
    for part, values in zip(parts[1:], (filters, maps), strict=True):
        plot_filters(values, columns=columns, figure=part)
    share = height / figure.get_figheight()
    for part, name in zip(parts, ("image", "filters", "maps: red > 0, blue < 0"), strict=True):
        above = 1 - top / figure.get_figheight()
        part.subplots_adjust(0.01, above - (share if part is not parts[0] else above), 0.99, above)
        part.suptitle(name, fontsize=10, x=0.02, ha="left", y=0.995)
    return figure


def plot_neurons(pictures: np.ndarray, gradients: Tensor, captions: Sequence[str], others: np.ndarray) -> Figure:
    """A row a neuron: pictures (n,H,W,3), guided gradients (n,C,H,W), and the next images (n,m,H,W,3)."""
    n, m = others.shape[:2]
    size = (1.62 * (2 + m) + 0.9, 1.62 * n + 0.2)
    figure, axes = plt.subplots(n, 2 + m, figsize=size, layout="constrained", squeeze=False)
    figure.get_layout_engine().set(wspace=0.015, hspace=0.015)
    for row, picture, gradient, caption, rest in zip(axes, pictures, gradients, captions, others, strict=True):
        plot_guided_gradient(gradient, ax=row[1])
        for ax, image in zip((row[0], *row[2:]), (picture, *rest), strict=True):
            ax.imshow(image)
        for ax in row:
            _bare(ax).set(xlabel="", ylabel="")
        row[0].set_ylabel(caption, fontsize=9, rotation=0, ha="right", va="center", labelpad=8)
    titles = ("excites it most", "guided gradient", *(f"image of rank {rank + 2}" for rank in range(m)))
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=9)
    return figure


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


def plot_class_activation_maps(views: Sequence[View], *, columns: int = 2) -> Figure:
    """`columns` views a row, each as image, map at its own resolution, and overlay, with its title above."""
    rows = -(-len(views) // columns)
    figure = plt.figure(figsize=(5.2 * columns, 1.95 * rows))
    parts = np.ravel(figure.subfigures(rows, columns, squeeze=False))
    for view, part in zip(views, parts, strict=False):
        axes = part.subplots(1, 3, gridspec_kw={"wspace": 0.03})
        axes[0].imshow(view.picture)
        axes[1].imshow(view.map.clip(min=0), cmap="inferno", vmin=0, vmax=view.scale or 1)
        plot_class_activation(view.picture, view.heat, scale=view.scale, ax=axes[2])
        for ax in axes:
            _bare(ax).set(xlabel="", ylabel="")
        part.subplots_adjust(0.01, 0.02, 0.99, 0.86)
        axes[0].set_title(view.title, fontsize=9, loc="left", pad=3)
    return figure


def plot_error_maps(views: Sequence[View]) -> Figure:
    """A row an error: the image, and the overlays of the predicted and of the true class on one scale, with its bar.

    `views`: of each error that of the predicted class, then that of the true one, as `view_examples` gives them.
    """
    pairs = list(zip(views[::2], views[1::2], strict=True))
    figure, axes = plt.subplots(len(pairs), 3, figsize=(7.4, 2.35 * len(pairs)), layout="constrained", squeeze=False)
    for row, (predicted, true) in zip(axes, pairs, strict=True):
        _bare(row[0]).imshow(predicted.picture)
        for ax, view in zip(row[1:], (predicted, true), strict=True):
            _bare(plot_class_activation(view.picture, view.heat, scale=view.scale, ax=ax)).set(xlabel="", ylabel="")
            ax.set_title(view.title, fontsize=9, loc="left", pad=3)
        hot = plt.cm.ScalarMappable(plt.Normalize(0, predicted.scale or 1), "inferno")
        bar = figure.colorbar(hot, ax=row[2], ticks=[0, predicted.scale or 1], format="%.2g", shrink=0.85)
        bar.set_label("evidence for the class", fontsize=8)
    return figure


def plot_randomisation(found: Randomisation) -> Figure:
    """Mean |ρ| by step with 95 % intervals, a panel a method; grey: up to chance; line: the bar; dotted: another image."""
    table = summarise_randomisation(found)
    methods = list(dict.fromkeys(table["method"]))
    figure, axes = plt.subplots(1, len(methods), figsize=(3.4 * len(methods), 3.9), layout="constrained", sharey=True,
                                squeeze=False)
    for ax, method in zip(axes[0], methods, strict=True):
        rows = table[table["method"] == method]
        color = next(color for name, color in METHOD_COLORS.items() if method.startswith(name))
        error = [(rows["|ρ|"] - rows["low"]).clip(lower=0), (rows["high"] - rows["|ρ|"]).clip(lower=0)]
        ax.axhspan(0, rows["chance"].iloc[0], color="#D9D9D9", zorder=0, label="unrelated maps (chance)")
        ax.axhline(rows["bar"].iloc[0], color="black", linewidth=1, label="bar, halfway from chance to 1")
        ax.axhline(control_mean(found, method, "another image"), color="black", linestyle=":", linewidth=1.2,
                   label="map of another image")
        ax.errorbar(range(len(rows)), rows["|ρ|"], yerr=error, marker="o", capsize=2, color=color)
        ax.set_xticks(range(len(rows)), rows["down_to"], rotation=40, ha="right")
        ax.set_title(method, fontsize=10)
    axes[0, 0].set(ylabel="mean |ρ| with the\ntrained network's map", ylim=(0, 1.03))
    figure.supxlabel("weights re-initialised, from the classifier down to", fontsize=10)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return figure


def plot_randomised(picture: np.ndarray, pictures: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """A row a method, a column a step: the maps of one picture (H,W,3) as more weights are re-initialised."""
    methods = list(next(iter(pictures.values())))
    figure, axes = plt.subplots(len(methods), 1 + len(pictures), layout="constrained", squeeze=False,
                                figsize=(1.32 * (1 + len(pictures)) + 0.3, 1.5 * len(methods) + 0.3))
    for method, row in zip(methods, axes, strict=True):
        row[0].imshow(picture)
        row[0].set_ylabel(textwrap.fill(method, 16), fontsize=9)
        for ax, maps in zip(row[1:], pictures.values(), strict=True):
            values = maps[method].clip(min=0)
            ax.imshow(values, cmap="inferno", vmin=0, vmax=np.quantile(values, 0.995) or 1)
    for ax in axes.flat:
        _bare(ax)
    for ax, title in zip(axes[0], ("image", *pictures), strict=True):
        ax.set_title(title if title != "nothing" else "trained", fontsize=9)
    return figure


def plot_occlusion(picture: np.ndarray, masks: Mapping[str, np.ndarray], titles: Sequence[str],
                   table: pd.DataFrame) -> Figure:
    """Left, a picture (H,W,3) whole and with each mask (H,W) hidden; right, the drops of all images, a dot an image."""
    figure = plt.figure(figsize=(10.2, 4.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.45])
    whole = {"whole": np.zeros(picture.shape[:2], dtype=bool)}
    for ax, mask, title in zip(left.subplots(2, 2).flat, [*whole.values(), *masks.values()], titles, strict=True):
        _bare(ax).imshow(np.where(mask[..., None], 0.5, picture))
        ax.set_title(title, fontsize=8)
    ax, rng, measured = right.subplots(), np.random.default_rng(0), table.dropna()
    for row, name in enumerate(masks):
        at = row + rng.uniform(-0.22, 0.22, len(measured))
        ax.scatter(100 * measured[name], at, s=9, color="#0072B2", alpha=0.45, linewidths=0)
        mean, low, high = (100 * value for value in mean_interval(measured[name], bounds=(-1, 1)))
        ax.errorbar(mean, row, xerr=[[mean - low], [high - mean]], color="#D55E00", marker="D", capsize=4, linewidth=2)
    ax.errorbar([], [], xerr=[], color="#D55E00", marker="D", capsize=4, label="mean with its 95 % interval")
    ax.axvline(0, color="black", linewidth=0.6)
    ax.set_yticks(range(len(masks)), [textwrap.fill(name, 16) for name in masks])
    ax.set(xlabel="drop in confidence, points (one dot an image)", ylim=(len(masks) - 0.45, -0.75))
    ax.legend(frameon=False, fontsize=8, loc="upper right")
    return figure
