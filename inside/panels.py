"""The interactive panel of each notebook, for JupyterLab: pictures that are drawn again when a control changes.

A panel is made of ipywidgets; its first picture is drawn when it is displayed. Headless runs skip it (INTERACTIVE = False).
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import gc
import html
import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import HTML, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn
from torchvision.utils import make_grid

from inside.attribution.cam import NoActivationMap, class_activation_maps
from inside.attribution.guided import NotGuidable, guided_backpropagation, strongest_neurons
from inside.attribution.inputs import Inspection, feature_maps_of
from inside.attribution.plots import plot_class_activation, plot_guided_gradient
from inside.data.grids import plot_predictions
from inside.feature_maps.hooks import module_table
from inside.feature_maps.plots import plot_by_layer, plot_cumulative_variance, plot_eigenvalues
from inside.feature_maps.spectra import Spectrum
from inside.fonts import save_figure
from inside.text import format_share, literal, visible

WIDE = {"description_width": "initial"}


def make_panel(draw: Callable[..., tuple[Figure | None, str]], controls: Mapping[str, widgets.Widget]) -> widgets.VBox:
    """Controls, and below them the picture that `draw(**values)` makes of their values: a Figure and its alternative text.

    With None for the figure the text is printed instead. Says how long the picture took.
    """
    def show(**values):
        collecting = gc.isenabled()
        gc.disable()  # a full collection beside a large network takes half a second: after the answer, not before it
        try:
            answer(values, time.perf_counter())
        finally:
            gc.enable() if collecting else None

    def answer(values, started):
        figure, text = draw(**values)
        if figure is None:
            print(text)
            return
        png = io.BytesIO()
        save_figure(figure, png, dpi=96, pil_kwargs={"compress_level": 1})  # quick
        plt.close(figure)
        data = base64.b64encode(png.getvalue()).decode()
        display(HTML(f'<img alt="{html.escape(text)}" src="data:image/png;base64,{data}">'))  # an Image loses its text here
        print(f"{text}\ndrawn in {time.perf_counter() - started:.2f} s")

    row = widgets.HBox(list(controls.values()), layout=widgets.Layout(flex_flow="row wrap"))
    return widgets.VBox([row, widgets.interactive_output(show, dict(controls))])


PREDICTED = "the predicted class"
ORDERS = ("highest score first", "lowest score first")


def choose_predictions(predictions: pd.DataFrame, label: str, outcome: str, score_of: str, order: str) -> pd.DataFrame:
    """Rows of a prediction table: of true class `label` ("": any), "all", "right" or "wrong", ranked by score.

    That is the score of the class `score_of`, "": of the predicted one. No class has an empty name.
    """
    hit = predictions["label"] == predictions["predicted"]
    keep = {"all": hit | ~hit, "right": hit, "wrong": ~hit}[outcome]
    keep &= (predictions["label"] == label) | (not label)
    score = f"prob_{score_of}" if score_of else "confidence"
    return predictions[keep].sort_values(score, ascending=order == ORDERS[1], kind="stable")


def browse_predictions(predictions: pd.DataFrame, root: Path, classes: Sequence[str], *, n: int = 10) -> widgets.VBox:
    """Browse predictions by true class, right or wrong, and the score of a class, n images at a time."""
    def draw(label, outcome, score_of, order, page):
        rows = choose_predictions(predictions, label, outcome, score_of, order)
        pages = max(1, -(-len(rows) // n))
        page = min(page, pages)
        shown = rows.iloc[(page - 1) * n:page * n]
        whose = literal(score_of) if score_of else PREDICTED
        text = f"{len(rows):,} of {len(predictions):,} images, {order} ({whose}), page {page} of {pages}"
        if not len(rows):
            return None, f"There is no image of {literal(label) if label else 'any class'} that was predicted {outcome}."
        return plot_predictions(shown, root, columns=5, size=1.9, score_of=score_of or None), text

    named = [(visible(name), name) for name in classes]
    controls = {
        "label": widgets.Dropdown(options=[("all classes", ""), *named], description="true class", style=WIDE),
        "outcome": widgets.ToggleButtons(options=["all", "right", "wrong"], style={"button_width": "70px"}),
        "score_of": widgets.Dropdown(options=[(PREDICTED, ""), *named], description="score of", style=WIDE),
        "order": widgets.Dropdown(options=ORDERS, description="order", style=WIDE),
        "page": widgets.BoundedIntText(value=1, min=1, max=max(1, -(-len(predictions) // n)), description="page", style=WIDE,
                                       layout=widgets.Layout(width="120px")),
    }
    return make_panel(draw, controls)


def draw_views(inspection: Inspection, path: str, target: int | None, layer: str) -> tuple[Figure | None, str]:
    """One image as the network sees it: class activation map, Grad-CAM of a layer, guided gradients, 16 of its maps."""
    model, image = inspection.model, inspection.load([path])
    try:
        found = class_activation_maps(model, image, target)
    except NoActivationMap as error:
        return None, str(error)
    at_layer = class_activation_maps(model, image, target, layer=layer)
    picture, name = inspection.pictures(image)[0], inspection.classes[found.targets[0]]
    figure = plt.figure(figsize=(10.4, 4.9))
    axes = figure.subplot_mosaic([["image", "cam", "layer", "maps"], ["class", "unit", ".", "maps"]],
                                 width_ratios=[1, 1, 1, 2.05], gridspec_kw={"wspace": 0.05, "hspace": 0.16})
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.94)
    axes["image"].imshow(picture)
    axes["image"].set_title(f"score of {name}: {format_share(found.confidence[0])}", fontsize=8, parse_math=False)
    for ax, cam, where in ((axes["cam"], found, found.layer), (axes["layer"], at_layer, layer)):
        plot_class_activation(picture, cam.heat(inspection.size)[0], ax=ax)
        ax.set_title(f"{cam.method}, {where}", fontsize=8, parse_math=False)
    unit = {"layer": layer, "units": _strongest_neuron(model, image, layer)}
    for ax, title, options in ((axes["class"], f"guided gradient: {name}", {"targets": found.targets.tolist()}),
                               (axes["unit"], "… strongest unit of the layer", unit)):
        try:
            plot_guided_gradient(guided_backpropagation(model, image, **options)[0], ax=ax)
            ax.set_title(title, fontsize=8, parse_math=False)
        except NotGuidable as error:
            ax.text(0.5, 0.5, str(error).split(":")[0], ha="center", va="center", wrap=True, fontsize=8, parse_math=False)
    _show_maps(feature_maps_of(model, image[0], layer), layer, axes["maps"])
    for ax in axes.values():
        ax.set(xticks=[], yticks=[], xlabel="", ylabel="")
        ax.spines[:].set_visible(False)
    return figure, (f"{literal(path)}: {found.method} and guided gradient of {literal(name)}, "
                    f"score {format_share(found.confidence[0])}; maps of {layer}")


def _show_maps(maps: np.ndarray, layer: str, ax: Axes) -> None:
    """The 16 strongest of the maps (K,h,w) of a layer in a square, each at its own scale: red > 0, blue < 0."""
    strongest = np.argsort(-np.abs(maps).mean((1, 2)), kind="stable")[:16]
    chosen = torch.from_numpy(maps[strongest])[:, None]
    scaled = chosen / chosen.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    ax.imshow(make_grid(scaled, nrow=4, padding=max(1, maps.shape[-1] // 28))[0], cmap="RdBu_r", vmin=-1, vmax=1)
    ax.set_title(f"{layer}: the {len(strongest)} strongest of {len(maps)} maps", fontsize=8, parse_math=False)


def _strongest_neuron(model: nn.Module, image: torch.Tensor, layer: str) -> list[int]:
    _, values, units = strongest_neurons(model, [image], layer)
    return [int(units[0, values[0].argmax()])]


def browse_views(inspection: Inspection, layers: Sequence[str]) -> widgets.VBox:
    """Pick one of the predicted images, a class and a layer; see its maps, the class map, guided gradients."""
    def draw(path, target, layer):
        return draw_views(inspection, path, None if target < 0 else target, layer)

    assert inspection.predictions is not None, "the panel is of predicted images"
    targets = [("as predicted", -1), *((visible(name), index) for index, name in enumerate(inspection.classes))]
    ends = {True: "", False: ", wrong"}
    options = [(visible(f"{row.path}: {row.predicted} {format_share(row.confidence, 2)}{ends[row.label == row.predicted]}"),
                row.path)
               for row in inspection.predictions[["path", "label", "predicted", "confidence"]].itertuples()]
    shapes = module_table(inspection.model, inspection.size, in_channels=inspection.channels)
    shapes = shapes[[shape is not None and len(shape) == 3 for shape in shapes["output_shape"]]]  # those that give maps
    names = [name for name, kind in zip(shapes["name"], shapes["type"], strict=True) if kind == "Conv2d" or name in layers]
    start = [name for name in layers if name in names][-1:] or names[-1:]
    return make_panel(draw, {
        "path": widgets.Dropdown(options=options, description="image", style=WIDE, layout=widgets.Layout(width="420px")),
        "target": widgets.Dropdown(options=targets, description="class", style=WIDE),
        "layer": widgets.Dropdown(options=names, value=start[0], description="layer", style=WIDE),
    })


SCALES = ("linear", "log-log", "share of variance, log-log", "cumulative share")


def draw_spectra(spectra: Mapping[str, Mapping[str, Spectrum]], layers: Sequence[str],
                 scenarios: Sequence[str], scale: str, k: int) -> tuple[Figure | None, str]:
    """The leading k eigenvalues of the chosen layers and scenarios on the chosen scale (one of SCALES)."""
    if not layers or not scenarios:
        return None, "Choose at least one layer and one scenario."
    chosen = {name: {layer: dataclasses.replace(spectra[name][layer], top_k=min(k, spectra[name][layer].top_k))
                     for layer in layers if layer in spectra[name]} for name in scenarios}
    text = f"{scale}, k up to {k}: {', '.join(scenarios)} in {', '.join(layers)}"
    cumulative = scale == SCALES[3]
    panel = plot_cumulative_variance if cumulative else \
        functools.partial(plot_eigenvalues, log="log" in scale, relative="share" in scale)
    figure = plot_by_layer(chosen, panel, layout=None)  # the constrained layout takes too long here
    for ax in figure.axes[:len(layers)] if cumulative else ():
        ax.set_xlim(0.9, k * 1.05)
    for ax in figure.axes:
        ax.yaxis.label.set_visible(ax.get_subplotspec().is_first_col())
    legend = figure.axes[len(layers)].get_legend()
    figure.axes[len(layers)].legend(legend.legend_handles, [text.get_text() for text in legend.get_texts()], fontsize=8,
                                    loc="center left", bbox_to_anchor=(-0.15, 0.5), frameon=False)
    width, height = figure.get_size_inches()
    figure.subplots_adjust(0.85 / width, 0.5 / height, 1 - 0.1 / width, 1 - 0.45 / height, wspace=0.25, hspace=0.42)
    return figure, text


def browse_spectra(spectra: Mapping[str, Mapping[str, Spectrum]]) -> widgets.VBox:
    """Pick layers, scenarios, scale and k, and see the eigenvalues."""
    layers, scenarios = list(next(iter(spectra.values()))), list(spectra)
    most = max(found.rank_bound for by_layer in spectra.values() for found in by_layer.values())
    tall = widgets.Layout(width="230px", height="115px")
    return make_panel(lambda layers, scenarios, scale, k: draw_spectra(spectra, layers, scenarios, scale, k), {
        "layers": widgets.SelectMultiple(options=layers, value=layers[-2:], description="layers", layout=tall),
        "scenarios": widgets.SelectMultiple(options=scenarios, value=scenarios, description="scenarios",
                                            layout=widgets.Layout(width="300px", height="115px")),
        "scale": widgets.RadioButtons(options=SCALES, value=SCALES[1], layout=widgets.Layout(width="220px")),
        "k": widgets.IntSlider(value=most, min=2, max=max(3, most), description="k", continuous_update=False),
    })
