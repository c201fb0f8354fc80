"""What notebook 02 shows of explanations (their checks: checks.py); where something is left out, the reason in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from inside.attribution import captions
from inside.attribution.cam import ActivationMaps, NoActivationMap, View, view_examples
from inside.attribution.guided import NotGuidable, guided_neurons
from inside.attribution.inputs import (
    SHOWN_FILTERS,
    Inspection,
    feature_maps_of,
    first_convolution,
    first_filters,
    pick_examples,
)
from inside.attribution.plots import plot_class_activation_maps, plot_first_layer, plot_neurons
from inside.attribution.randomisation import Randomisation
from inside.shown import Figure, Shown, Text
from inside.text import format_number, format_significant, literal

SHOWN_CLASSES = 6  # at most, of which a prediction is shown with its map


def left_out_text(reason: object) -> Text:
    """The sentence in the place of what is left out, with its reason."""
    return Text(f"Left out: {str(reason).removesuffix('.')}.")


def report_first_layer(inspection: Inspection, path: str) -> list[Shown]:
    """Filters of the first convolution with the maps that they make of the image at `path`: those whose maps vary most."""
    try:
        filters = first_filters(inspection.model)
    except ValueError as error:
        return [left_out_text(error)]
    convolution = first_convolution(inspection.model)
    assert convolution is not None, "first_filters has found one"
    image = inspection.load([path])
    maps = feature_maps_of(inspection.model, image[0], convolution)
    chosen = np.argsort(-maps.std((1, 2)), kind="stable")[:SHOWN_FILTERS]
    weights, maps = inspection.model.get_submodule(convolution).weight.detach().float().cpu().numpy(), maps[chosen]
    drawing = plot_first_layer(inspection.pictures(image)[0], filters[chosen], maps, [f"{index}" for index in chosen])
    what = f"{len(chosen)} of the {len(filters)} filters of the first layer, {weights.shape[2]}×{weights.shape[3]} pixels"
    size, told = f"{maps.shape[1]}×{maps.shape[2]} values", captions.describe_first_maps(maps)
    alt = f"One image, {what} each, and below each its map of the image, {size}. {told}"
    read = (f"Shown are {what}: those whose maps of this image vary most. Below each its map, {size} before any activation, "
            "at its own scale: red where the filter matches, blue where its opposite does.")
    return [Figure(drawing, "first_layer", alt, f"{told} {read}"), Text(captions.describe_filters(weights[chosen]))]


def report_neurons(inspection: Inspection, table: pd.DataFrame, layer: str | None = None, *, channels: Sequence[int] = (),
                   found: Randomisation | None = None) -> list[Shown]:
    """Neurons of a layer with the images of `table` that excite them, and their guided gradients: see `guided_neurons`.

    `found`: the check of random weights, whose verdict on guided backpropagation the caption names.
    """
    if first_convolution(inspection.model) is None:
        return [left_out_text("it takes a network with convolutions")]
    try:
        layer, neurons, gradients = guided_neurons(inspection, table, layer, channels=channels)
    except NotGuidable as error:
        return [left_out_text(error)]
    pictures = inspection.pictures(inspection.load(neurons["path"]))
    others = np.stack([inspection.pictures(inspection.load(paths)) for paths in neurons["next"]])
    told = [f"channel {row.channel}\n{format_number(row.value, 1)}\n{row.stands_out:.1f} σ" for row in neurons.itertuples()]
    claim = captions.describe_neurons(neurons, layer)
    alt = (f"{len(neurons)} channels of {layer}, one row each: the image that excites it most, the guided gradient of that "
           f"neuron, and the next images. {claim}")
    read = ("One row per channel, with its strongest value: the image that excites it most, the guided gradient, and the "
            "images of the next ranks. Box: the position of the neuron, whose receptive field is larger.")
    drawing = plot_neurons(pictures, gradients, told, others, list(neurons["place"]))
    return [Figure(drawing, "guided_backprop", alt, f"{claim} {read} {captions.describe_refutation(found)}"),
            Text(captions.describe_neuron_classes(neurons, table["label"].nunique()))]


@dataclass(frozen=True)
class ExampleMaps:
    """Predictions with their class activation maps: rows of a prediction table, right and wrong ones, and their views.

    `maps`: those of the right ones, or of the wrong ones where there are no others; None where there is nothing to show.
    """

    right: pd.DataFrame | None = None
    right_views: Sequence[View] = ()
    wrong: pd.DataFrame | None = None
    wrong_views: Sequence[View] = ()
    maps: ActivationMaps | None = None
    left_out: str = ""

    def report(self) -> list[Shown]:
        """How the maps were made, then the right and the wrong predictions, a figure each."""
        if self.left_out:
            return [left_out_text(self.left_out)]
        told = [] if self.maps is None else [Text(describe_maps(self.maps, self.right_views or self.wrong_views))]
        return [*told, *self._report_right(), *self._report_wrong()]

    def results(self) -> dict | None:
        """What JSON can hold: method and layer, and the means that the captions tell; None where there are no maps."""
        if self.maps is None:
            return None
        shares = pd.Series([captions.hottest_share(view.heat) for view in self.right_views], dtype=float).dropna()
        overlaps = captions.map_overlaps(self.wrong_views).dropna()
        return {"method": self.maps.method, "layer": self.maps.layer,
                "hottest_tenth": {"images": len(shares), "mean": float(shares.mean()) if len(shares) else None},
                "same_place": {"errors": len(overlaps), "count": int((overlaps >= captions.SAME_PLACE).sum())}}

    def _report_right(self) -> list[Shown]:
        if self.right is None or self.maps is None or not self.right_views:
            return [Text("There is no right prediction to show.")]
        claim, classes = captions.describe_concentration(self.right_views), list(self.right["label"])
        alt = (f"{self.maps.method} of {len(self.right_views)} images that the network classifies correctly: image, map, "
               f"overlay. Classes: {', '.join(map(literal, classes))}. {claim}")
        read = (f"{self.maps.method} of correct predictions, one row per class: image, map at its own resolution, overlay "
                "with the score, and the scale of the map; black is no evidence, or evidence against the class.")
        return [Figure(plot_class_activation_maps([[view] for view in self.right_views]), "class_activation_maps", alt,
                       f"{claim} {read}"),
                Text(captions.describe_extremes(self.right_views, classes))]

    def _report_wrong(self) -> list[Shown]:
        if self.wrong is None or self.maps is None or not self.wrong_views:
            return [Text("There is no wrong prediction to show.")]
        told = "; ".join(f"{literal(row.label)} taken for {literal(row.predicted)}" for row in self.wrong.itertuples())
        claim = captions.describe_overlap(self.wrong_views)
        alt = f"{self.maps.method} of {len(self.wrong)} wrong predictions, for predicted and true class: {told}. {claim}"
        read = ("The most confident error of each class: the image, the evidence for the predicted class and for the true "
                "one, and their common scale.")
        pairs = list(zip(self.wrong_views[::2], self.wrong_views[1::2], strict=True))
        return [Figure(plot_class_activation_maps(pairs), "class_activation_maps_wrong", alt, f"{claim} {read}"),
                Text(captions.describe_places(self.wrong, self.wrong_views))]


def map_examples(inspection: Inspection, *, seed: int = 0) -> ExampleMaps:
    """Of some classes a right prediction, drawn, and the most confident wrong one, with their class activation maps.

    AssertionError where the confidences are not those of this network, or where a CAM does not add up to the logit.
    """
    if inspection.missing or inspection.predictions is None:
        return ExampleMaps(left_out=f"it takes {inspection.missing}")
    right = pick_examples(inspection.predictions, inspection.classes, right=True, per_class=1, seed=seed).head(SHOWN_CLASSES)
    wrong = pick_examples(inspection.predictions, inspection.classes, right=False, per_class=1)
    wrong = wrong.loc[wrong["confidence"].nlargest(SHOWN_CLASSES).index].sort_index().reset_index(drop=True)
    try:
        (right_views, maps), (wrong_views, others) = (
            view_examples(inspection, rows, inspection.classes) if len(rows) else ([], None) for rows in (right, wrong))
    except NoActivationMap as error:
        return ExampleMaps(left_out=str(error))
    if maps is not None:
        assert np.allclose(maps.confidence, right["confidence"], atol=0.01), "not the predictions of this network"
        if maps.method == "CAM":
            assert maps.residual < 1e-3 * max(1, abs(maps.logits).max()), "the map does not add up to the logit"
    return ExampleMaps(right, right_views, wrong, wrong_views, others if maps is None else maps)


def describe_maps(maps: ActivationMaps, views: Sequence[View]) -> str:
    """By which method class activation maps were made, of which layer and how fine; of a CAM that it adds up."""
    (height, width), (rows, columns) = views[0].picture.shape[:2], maps.maps.shape[1:]
    told = f"{maps.method} of layer `{maps.layer}`, {rows}×{columns} positions of images of {height}×{width} pixels."
    return told if maps.method != "CAM" else \
        f"{told} The mean of a map plus the bias differs from the logit by at most {format_significant(maps.residual, 2)}."
