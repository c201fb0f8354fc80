"""The checks of explanations that notebook 02 shows; where something is left out, the reason in its place."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from inside.attribution import captions
from inside.attribution.cam import NoActivationMap
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
from inside.attribution.inputs import Inspection
from inside.attribution.occlusion import occlusion_check, typical_image
from inside.attribution.plots import plot_occlusion, plot_randomisation, plot_randomised
from inside.attribution.randomisation import Randomisation, parameter_randomisation_test
from inside.attribution.report import left_out_text
from inside.feature_maps.scenarios import Scenario
from inside.files import RunFolder, write_csv
from inside.shown import Figure, Fold, Shown, Table, Text
from inside.text import format_duration, format_share


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
            return [left_out_text(self.left_out)]
        told = captions.describe_randomised(self.found.pictures)
        alt = ("One image and its explanations, one row per method: by the trained network, and with more and more weights "
               f"re-initialised: down to {', '.join(list(self.found.pictures)[1:])}. {told}")
        read = ("One row per method, one column per step: the weights are re-initialised from the classifier down to the "
                "part named. Below each map its ρ with that of the trained network (– if a map is constant).")
        claim = (f"{describe_verdicts(self.found)} Mean |ρ| with the trained network's map, with 95% intervals over the "
                 "draws, by how far down the weights are re-initialised. A method changes where its interval lies below the "
                 "threshold; grey: up to chance; dotted: the map of another image.")
        return [Text(self.about),
                Figure(plot_randomised(self.picture, self.found.pictures), "randomised_maps", alt, f"{told} {read}"),
                Text(captions.describe_least_changed(self.found.pictures)),
                Figure(plot_randomisation(self.found), "randomisation", describe_randomisation_figure(self.found), claim),
                Text(captions.describe_baselines(self.found)), self._fold_tables(self.found)]

    def _fold_tables(self, found: Randomisation) -> Fold:
        means = (f"{captions.describe_steps(found)} Mean |ρ| with the trained network's map and its 95% interval, by "
                 "method and by how far down the weights are re-initialised; threshold: halfway from chance to 1.")
        baselines = (f"{captions.describe_largest_baseline(found)} Mean |ρ| of the trained network's maps with the map of "
                     "another image, with the edges of the image, and with unrelated maps (chance).")
        shown = summarise_randomisation(found)
        shown["verdict"] = shown["verdict"].where(shown["step"] > 0, "")  # nothing re-initialised: nothing to judge
        return Fold("The numbers of the test, and its baselines",
                    (Table(shown, "randomisation_means", means),
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
    about = (f"{len(images)} images and {len(draws)} draws of random weights; this took "
             f"{format_duration(time.perf_counter() - began)}.")
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
            return [left_out_text(self.left_out)]
        told = describe_occlusion(self.table)
        if self.picture is None:
            return [Text(self.about), Text.bullets(told)]
        rest = told if len(self.table.dropna()) < FEWEST else [told[0], *told[2:]]  # the caption says the other
        read = ("Left: the image that agrees best with the means, whole and with a tenth hidden in three ways, with its "
                "confidence. Right: the paired differences of all images; to the right of 0 the hottest tenth costs more.")
        return [Text(self.about),
                Figure(plot_occlusion(self.picture, self.hidden, self._titles(self.table), self.table), "occlusion",
                       describe_occlusion_figure(self.table), f"{captions.describe_differences(self.table)} {read}"),
                Text(" ".join(rest))]

    def _titles(self, table: pd.DataFrame) -> list[str]:
        row = table.iloc[self.example]
        confidences = {"whole": row["confidence"]} | {name: row["confidence"] - row[name] for name in self.hidden}
        return [f"{name}: {format_share(value, 2)}" for name, value in confidences.items()]

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
    about = f"{len(images)} images; this took {format_duration(time.perf_counter() - began)}."
    example = typical_image(found)
    if example is None:
        return OcclusionCheck(found, about=about)
    hidden = {name: mask[example] for name, mask in masks.items()}
    return OcclusionCheck(found, example, inspection.pictures(images[example:example + 1])[0], hidden, about)
