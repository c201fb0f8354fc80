"""What notebook 02 shows of explanations and their checks; where something is left out, the reason in its place."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from inside.attribution.cam import ActivationMaps, View, view_examples
from inside.attribution.describe import (
    describe_occlusion,
    describe_occlusion_figure,
    describe_randomisation,
    describe_randomisation_figure,
    describe_verdicts,
    randomisation_baselines,
    summarise_randomisation,
)
from inside.attribution.guided import NotGuidable, guided_neurons
from inside.attribution.inputs import (
    SHOWN_FILTERS,
    Inspection,
    feature_maps_of,
    first_convolution,
    first_filters,
    pick_examples,
)
from inside.attribution.occlusion import middle_image, occlusion_check
from inside.attribution.plots import (
    plot_class_activation_maps,
    plot_error_maps,
    plot_first_layer,
    plot_neurons,
    plot_occlusion,
    plot_randomisation,
    plot_randomised,
)
from inside.attribution.randomisation import Randomisation, parameter_randomisation_test
from inside.feature_maps.scenarios import Scenario
from inside.files import RunFolder, write_csv
from inside.shown import Figure, Fold, Shown, Table, Text
from inside.text import format_duration

SHOWN_CLASSES = 6  # at most, of which predictions are shown with their maps


def _left_out(reason: object) -> Text:
    return Text(f"Left out: {str(reason).removesuffix('.')}.")


def report_first_layer(inspection: Inspection, path: str) -> list[Shown]:
    """The filters of the first convolution, and beside them the maps that they make of the image at `path`."""
    try:
        filters = first_filters(inspection.model)[:SHOWN_FILTERS]
    except ValueError as error:
        return [_left_out(error)]
    convolution = first_convolution(inspection.model)
    assert convolution is not None, "first_filters has found one"
    image = inspection.load([path])
    maps = feature_maps_of(inspection.model, image[0], convolution)[:SHOWN_FILTERS]
    kernels = inspection.model.get_submodule(convolution).weight.shape
    told = (f"One image, {len(maps)} of the {kernels[0]} filters of the first convolution, {kernels[2]}×{kernels[3]} "
            f"pixels each, and, in the same places, the maps that they make of it, {maps.shape[1]}×{maps.shape[2]} values "
            "each, before any activation.")
    drawing = plot_first_layer(inspection.pictures(image)[0], filters[:len(maps)], maps)
    return [Figure(drawing, "first_layer", told, f"{told} Each filter is stretched to its own range of values; in the maps, "
                   "red: the filter fits, blue: its opposite does.")]


def report_neurons(inspection: Inspection, table: pd.DataFrame, layer: str | None = None, *,
                   channels: Sequence[int] = ()) -> list[Shown]:
    """Neurons of a layer with the images of `table` that excite them, and their guided gradients: see `guided_neurons`."""
    if first_convolution(inspection.model) is None:
        return [_left_out("it takes a network with convolutions")]
    try:
        layer, neurons, gradients = guided_neurons(inspection, table, layer, channels=channels)
    except NotGuidable as error:
        return [_left_out(error)]
    pictures = inspection.pictures(inspection.load(neurons["path"]))
    others = np.stack([inspection.pictures(inspection.load(paths)) for paths in neurons["next"]])
    told = [f"channel {row.channel}\n{row.value:.1f}\n{row.stands_out:.1f} σ" for row in neurons.itertuples()]
    alt = (f"{len(neurons)} channels of {layer}, a row each: the image that excites it most, the guided gradient of that "
           "neuron, and the next three images.")
    most = neurons.loc[neurons["stands_out"].idxmax()]
    claim = (f"Channel {most['channel']} of `{layer}` stands out most: its strongest value lies {most['stands_out']:.1f} σ "
             "above its mean over the images. A row per channel: the image that excites it most, its guided gradient, the "
             "images of rank 2 to 4. This shows what excites a neuron, not why the network chose a class: see [the "
             "test](#figure-randomisation).")
    return [Figure(plot_neurons(pictures, gradients, told, others), "guided_backprop", alt, claim)]


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
            return [_left_out(self.left_out)]
        told = [] if self.maps is None else [Text(describe_maps(self.maps, self.right_views or self.wrong_views))]
        return [*told, self._report_right(), self._report_wrong()]

    def _report_right(self) -> Shown:
        if self.right is None or self.maps is None or not self.right_views:
            return Text("There is no right prediction to show.")
        alt = (f"{self.maps.method} of {len(self.right_views)} images that the network classifies correctly: image, map, "
               f"overlay. Classes: {', '.join(self.right['label'].unique())}.")
        claim = (f"{self.maps.method} of {len(self.right_views)} correctly classified images, with a mean confidence of "
                 f"{self.right['confidence'].mean():.2f}. Image, map at its own resolution, overlay; each map is scaled to "
                 "its own maximum, and black is no evidence, or evidence against.")
        return Figure(plot_class_activation_maps(self.right_views), "class_activation_maps", alt, claim)

    def _report_wrong(self) -> Shown:
        if self.wrong is None or self.maps is None or not self.wrong_views:
            return Text("There is no wrong prediction to show.")
        told = "; ".join(f"{row.label} taken for {row.predicted}" for row in self.wrong.itertuples())
        alt = f"{self.maps.method} of {len(self.wrong)} wrong predictions, for the predicted and the true class: {told}."
        worst = self.wrong.loc[self.wrong["confidence"].idxmax()]
        claim = (f"The most confident error takes {worst['label']} for {worst['predicted']}, with "
                 f"{worst['confidence']:.2f}. The most confident error of each class: the image, the evidence for the "
                 "predicted class, and for the true one, on the same scale.")
        return Figure(plot_error_maps(self.wrong_views), "class_activation_maps_wrong", alt, claim)


def map_examples(inspection: Inspection, *, seed: int = 0) -> ExampleMaps:
    """Some right predictions, one a class, drawn, and of each class the most confident wrong one, with their maps.

    AssertionError where the confidences are not those of this network, or where a CAM does not add up to the logit.
    """
    if inspection.missing or inspection.predictions is None:
        return ExampleMaps(left_out=f"it takes {inspection.missing}")
    shown = inspection.predictions[inspection.predictions["label"].isin(inspection.classes[:SHOWN_CLASSES])]
    right = pick_examples(shown, inspection.classes, right=True, per_class=1, seed=seed)
    wrong = pick_examples(shown, inspection.classes, right=False, per_class=1)
    (right_views, maps), (wrong_views, others) = (
        view_examples(inspection, rows, inspection.classes) if len(rows) else ([], None) for rows in (right, wrong))
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
        f"{told} The mean of a map plus the bias differs from the logit by at most {maps.residual:.1e}."


@dataclass(frozen=True)
class RandomisationCheck:
    """`parameter_randomisation_test` on some images: what was `found`, the `picture` of one, how many; or why not."""

    found: Randomisation | None = None
    picture: np.ndarray | None = None
    about: str = ""
    left_out: str = ""

    def report(self) -> list[Shown]:
        """The maps of one image step by step, the mean |ρ| of all images as figure and table, the baselines, verdicts."""
        if self.found is None or self.picture is None:
            return [_left_out(self.left_out)]
        told = ("One image and its explanations, one row per method: by the trained network, and as more and more weights "
                f"are re-initialised, down to {', '.join(list(self.found.pictures)[1:])}.")
        claim = (f"{describe_verdicts(self.found)} Mean |ρ| with the trained network's map, with 95 % intervals over the "
                 "draws, by how far down the weights are re-initialised. Below its bar a method changes.")
        tables = (Table(summarise_randomisation(self.found), "randomisation_means", "Mean |ρ| by method and step."),
                  Table(randomisation_baselines(self.found), "randomisation_baselines",
                        "Mean |ρ| of the trained network's maps with each baseline."))
        return [Text(self.about), Figure(plot_randomised(self.picture, self.found.pictures), "randomised_maps", told, told),
                Figure(plot_randomisation(self.found), "randomisation", describe_randomisation_figure(self.found), claim),
                Text.bullets(describe_randomisation(self.found)),
                Fold("The numbers of the test, and its baselines", tables)]

    def describe(self) -> list[str]:
        """The verdict on each method, a sentence or two each."""
        if self.found is None:
            return [f"Random weights were not tried: {self.left_out}."]
        return describe_randomisation(self.found)


def check_randomisation(run: RunFolder, inspection: Inspection, table: pd.DataFrame, draws: Sequence[Scenario], *,
                        n_images: int, seed: int = 0) -> RandomisationCheck:
    """Do explanations change when weights are re-initialised? On at most `n_images` images of `table`, drawn by `seed`.

    `draws`: the scenarios of random weights, see `random_draws`; their networks are built one after the other. Writes
    tables/randomisation.csv.
    """
    reason = f"it takes {inspection.missing}" if inspection.missing else \
        "RANDOMISED_IMAGES is 0" if not n_images else "there is no network with random weights" if not draws else ""
    if reason:
        return RandomisationCheck(left_out=reason)
    began, images = time.perf_counter(), inspection.load(_some(table, n_images, seed))
    found = parameter_randomisation_test(inspection.model, [draw.network for draw in draws], images, seed=seed)
    write_csv(run.path("tables", "randomisation.csv"), found.table)
    about = f"{len(images)} images, {len(draws)} draws: {format_duration(time.perf_counter() - began)}."
    return RandomisationCheck(found, inspection.pictures(images[:1])[0], about)


def _some(table: pd.DataFrame, n_images: int, seed: int) -> pd.Series:
    """The paths of at most `n_images` images, drawn."""
    return table.sample(min(n_images, len(table)), random_state=seed)["path"]


@dataclass(frozen=True)
class OcclusionCheck:
    """`occlusion_check` on some images: its `table`, `about` how many; or why not.

    `middle`: of the image in the middle by its drop its row, its `picture` (H,W,3), both None where no image has all
    drops, and the `hidden` masks (H,W).
    """

    table: pd.DataFrame | None = None
    middle: int | None = None
    picture: np.ndarray | None = None
    hidden: Mapping[str, np.ndarray] = field(default_factory=dict)
    about: str = ""
    left_out: str = ""

    def report(self) -> list[Shown]:
        """The image in the middle with its parts hidden beside the drops of all images, and what they show."""
        if self.table is None:
            return [_left_out(self.left_out)]
        figures = [] if self.picture is None else [
            Figure(plot_occlusion(self.picture, self.hidden, self._titles(self.table), self.table), "occlusion",
                   describe_occlusion_figure(self.table), f"{describe_occlusion(self.table)[0]} Left, one image whole and "
                   "with a tenth hidden in three ways; right, the drops in confidence with mean and 95 % interval.")]
        told = describe_occlusion(self.table)
        return [Text(self.about), *figures, Text.bullets(told[1:] if figures and len(told) > 1 else told)]

    def _titles(self, table: pd.DataFrame) -> list[str]:
        row = table.iloc[self.middle]
        return [f"whole: {row['confidence']:.2f}", *(f"{name}: {row['confidence'] - row[name]:.2f}" for name in self.hidden)]

    def describe(self) -> list[str]:
        """What hiding costs, and whether more than hiding as much elsewhere, in at most two sentences."""
        return [f"Nothing was hidden: {self.left_out}."] if self.table is None else describe_occlusion(self.table)[:2]


def check_occlusion(run: RunFolder, inspection: Inspection, table: pd.DataFrame, *, n_images: int,
                    seed: int = 0) -> OcclusionCheck:
    """Does hiding what the class activation map points at cost confidence? On at most `n_images` images of `table`, drawn.

    Writes tables/occlusion.csv.
    """
    if inspection.missing or not n_images:
        return OcclusionCheck(left_out=f"it takes {inspection.missing}" if inspection.missing else "OCCLUDED_IMAGES is 0")
    began, paths = time.perf_counter(), _some(table, n_images, seed)
    images = inspection.load(paths)
    found, masks = occlusion_check(inspection.model, images, seed=seed)
    write_csv(run.path("tables", "occlusion.csv"), found.assign(path=paths.to_numpy()))
    about = f"{len(images)} images: {format_duration(time.perf_counter() - began)}."
    middle = middle_image(found)
    if middle is None:
        return OcclusionCheck(found, about=about)
    hidden = {name: mask[middle] for name, mask in masks.items()}
    return OcclusionCheck(found, middle, inspection.pictures(images[middle:middle + 1])[0], hidden, about)
