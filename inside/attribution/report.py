"""What notebook 02 shows of explanations and their checks; where something is left out, the reason in its place."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from inside.attribution import captions
from inside.attribution.cam import ActivationMaps, NoActivationMap, View, view_examples
from inside.attribution.describe import (
    FEWEST,
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
from inside.attribution.occlusion import occlusion_check, typical_image
from inside.attribution.plots import (
    plot_class_activation_maps,
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

SHOWN_CLASSES = 6  # at most, of which a prediction is shown with its map


def _left_out(reason: object) -> Text:
    return Text(f"Left out: {str(reason).removesuffix('.')}.")


def report_first_layer(inspection: Inspection, path: str) -> list[Shown]:
    """Filters of the first convolution with the maps that they make of the image at `path`: those whose maps vary most."""
    try:
        filters = first_filters(inspection.model)
    except ValueError as error:
        return [_left_out(error)]
    convolution = first_convolution(inspection.model)
    assert convolution is not None, "first_filters has found one"
    image = inspection.load([path])
    maps = feature_maps_of(inspection.model, image[0], convolution)
    chosen = np.argsort(-maps.std((1, 2)), kind="stable")[:SHOWN_FILTERS]
    weights, maps = inspection.model.get_submodule(convolution).weight.detach().float().cpu().numpy(), maps[chosen]
    drawing = plot_first_layer(inspection.pictures(image)[0], filters[chosen], maps, [f"{index}" for index in chosen])
    what = f"{len(chosen)} of the {len(filters)} filters of the first layer, {weights.shape[2]}×{weights.shape[3]} pixels each"
    size = f"{maps.shape[1]}×{maps.shape[2]} values each, before any activation"
    told = captions.describe_first_maps(maps)
    return [Figure(drawing, "first_layer", f"One image, {what}, and below each the map that it makes of the image, {size}. {told}",
                   f"{told} {what[0].upper()}{what[1:]}: those whose maps of this image vary most, with their numbers. Below "
                   f"each its map, {size}, at its own scale: red where the filter matches, blue where its opposite does."),
            Text(captions.describe_filters(weights[chosen]))]


def report_neurons(inspection: Inspection, table: pd.DataFrame, layer: str | None = None, *, channels: Sequence[int] = (),
                   found: Randomisation | None = None) -> list[Shown]:
    """Neurons of a layer with the images of `table` that excite them, and their guided gradients: see `guided_neurons`.

    `found`: the check of random weights, whose verdict on guided backpropagation the caption names.
    """
    if first_convolution(inspection.model) is None:
        return [_left_out("it takes a network with convolutions")]
    try:
        layer, neurons, gradients = guided_neurons(inspection, table, layer, channels=channels)
    except NotGuidable as error:
        return [_left_out(error)]
    pictures = inspection.pictures(inspection.load(neurons["path"]))
    others = np.stack([inspection.pictures(inspection.load(paths)) for paths in neurons["next"]])
    told = [f"channel {row.channel}\n{row.value:.1f}\n{row.stands_out:.1f} σ" for row in neurons.itertuples()]
    claim = captions.describe_neurons(neurons, layer)
    alt = (f"{len(neurons)} channels of {layer}, a row each: the image that excites it most, the guided gradient of that "
           f"neuron, and the next images. {claim}")
    read = ("A row a channel, with its strongest value: the image that excites it most, the guided gradient, and the images of "
            "the next ranks. Box: the position of the neuron; what it sees is larger.")
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
            return [_left_out(self.left_out)]
        told = [] if self.maps is None else [Text(describe_maps(self.maps, self.right_views or self.wrong_views))]
        return [*told, *self._report_right(), *self._report_wrong()]

    def _report_right(self) -> list[Shown]:
        if self.right is None or self.maps is None or not self.right_views:
            return [Text("There is no right prediction to show.")]
        claim, classes = captions.describe_concentration(self.right_views), list(self.right["label"])
        alt = (f"{self.maps.method} of {len(self.right_views)} images that the network classifies correctly: image, map, "
               f"overlay. Classes: {', '.join(classes)}. {claim}")
        read = (f"{self.maps.method} of correct predictions, a row a class: the image, the map at its own resolution, the overlay "
                "with the score, and the scale of the map; black is no evidence, or evidence against the class.")
        return [Figure(plot_class_activation_maps([[view] for view in self.right_views]), "class_activation_maps", alt,
                       f"{claim} {read}"),
                Text(captions.describe_extremes(self.right_views, classes))]

    def _report_wrong(self) -> list[Shown]:
        if self.wrong is None or self.maps is None or not self.wrong_views:
            return [Text("There is no wrong prediction to show.")]
        told = "; ".join(f"{row.label} taken for {row.predicted}" for row in self.wrong.itertuples())
        claim = captions.describe_overlap(self.wrong_views)
        alt = f"{self.maps.method} of {len(self.wrong)} wrong predictions, for the predicted and the true class: {told}. {claim}"
        read = ("The most confident error of each class, a row each: the image, the evidence for the predicted class, then for "
                "the true one, on one scale, that to the right.")
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
        f"{told} The mean of a map plus the bias differs from the logit by at most {maps.residual:.1e}."


@dataclass(frozen=True)
class RandomisationCheck:
    """`parameter_randomisation_test` on some images: what was `found`, the `picture` of one, how many; or why not."""

    found: Randomisation | None = None
    picture: np.ndarray | None = None
    about: str = ""
    left_out: str = ""

    def report(self) -> list[Shown]:
        """The maps of one image step by step, the mean |ρ| of all images, and the tables of both, folded."""
        if self.found is None or self.picture is None:
            return [_left_out(self.left_out)]
        told = captions.describe_randomised(self.found.pictures)
        alt = ("One image and its explanations, a row a method: by the trained network, and as more and more weights are "
               f"re-initialised, down to {', '.join(list(self.found.pictures)[1:])}. {told}")
        read = ("A row a method, a column a step: from the classifier down more and more weights are re-initialised. Below each "
                "map its ρ with that of the trained network (– where a map is constant).")
        claim = (f"{describe_verdicts(self.found)} Mean |ρ| with the trained network's map, with 95 % intervals over the "
                 "draws, by how far down the weights are re-initialised. A method changes where its interval lies below the "
                 "bar; grey: up to chance; dotted: the map of another image.")
        return [Text(self.about),
                Figure(plot_randomised(self.picture, self.found.pictures), "randomised_maps", alt, f"{told} {read}"),
                Text(captions.describe_least_changed(self.found.pictures)),
                Figure(plot_randomisation(self.found), "randomisation", describe_randomisation_figure(self.found), claim),
                Text(captions.describe_baselines(self.found)), self._fold_tables(self.found)]

    def _fold_tables(self, found: Randomisation) -> Fold:
        means = (f"{captions.describe_steps(found)} Mean |ρ| with the trained network's map and its 95 % interval, by method "
                 "and by how far down the weights are re-initialised; bar: halfway from chance to 1.")
        baselines = (f"{captions.describe_largest_baseline(found)} Mean |ρ| of the trained network's maps with the map of "
                     "another image, with the edges of the image, and with unrelated maps (chance).")
        return Fold("The numbers of the test, and its baselines",
                    (Table(summarise_randomisation(found), "randomisation_means", means),
                     Table(randomisation_baselines(found), "randomisation_baselines", baselines)))

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

    `example`: of the image that agrees best with the means (`typical_image`) its row, its `picture` (H,W,3), both None where
    no image has all drops, and the `hidden` masks (H,W).
    """

    table: pd.DataFrame | None = None
    example: int | None = None
    picture: np.ndarray | None = None
    hidden: Mapping[str, np.ndarray] = field(default_factory=dict)
    about: str = ""
    left_out: str = ""

    def report(self) -> list[Shown]:
        """An image with its parts hidden beside the paired differences of all images, and what they show."""
        if self.table is None:
            return [_left_out(self.left_out)]
        told = describe_occlusion(self.table)
        if self.picture is None:
            return [Text(self.about), Text.bullets(told)]
        rest = told if len(self.table.dropna()) < FEWEST else [told[0], *told[3:]]  # the caption says the others
        read = ("Left: the image that agrees best with the means, whole and with a tenth hidden in three ways, with its "
                "confidence. Right: the paired differences of all images; to the right of 0 the hottest tenth costs more.")
        return [Text(self.about),
                Figure(plot_occlusion(self.picture, self.hidden, self._titles(self.table), self.table), "occlusion",
                       describe_occlusion_figure(self.table), f"{captions.describe_differences(self.table)} {read}"),
                Text(" ".join(rest))]

    def _titles(self, table: pd.DataFrame) -> list[str]:
        row = table.iloc[self.example]
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
    try:
        found, masks = occlusion_check(inspection.model, images, seed=seed)
    except NoActivationMap as error:
        return OcclusionCheck(left_out=str(error).removesuffix("."))
    write_csv(run.path("tables", "occlusion.csv"), found.assign(path=paths.to_numpy()))
    about = f"{len(images)} images: {format_duration(time.perf_counter() - began)}."
    example = typical_image(found)
    if example is None:
        return OcclusionCheck(found, about=about)
    hidden = {name: mask[example] for name, mask in masks.items()}
    return OcclusionCheck(found, example, inspection.pictures(images[example:example + 1])[0], hidden, about)
