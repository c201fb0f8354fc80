"""What a network with ImageNet weights says of images before anything is trained: its own 1,000 classes, and boxes."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import ndimage
from timm.data import ImageNetInfo

from inside.attribution.cam import NoActivationMap, class_activation_maps
from inside.attribution.inputs import Inspection
from inside.data.loading import ImageDataset, make_loader
from inside.data.sources import ImageSet
from inside.evaluation.intervals import wilson_interval
from inside.evaluation.predictions import predict
from inside.feature_maps.scenarios import Scenario, is_pretrained
from inside.files import RunFolder
from inside.models.build import build_imagenet_network
from inside.models.saved import SavedModel
from inside.text import natural_sort

TOP = 5  # guesses of an image
THRESHOLD = 0.2  # of the highest value of a map: what lies above it is boxed (Zhou et al. 2016)
SHOWN_CLASSES = 6  # at most, of which an image is shown


@dataclass(frozen=True)
class Guesses:
    """What the network takes one image for: five names with their probabilities, the most probable first.

    `picture` (H,W,3), 0 … 1, as the network reads it; `label`: its own class; `box`: see `box_around`, of the first name.
    """

    label: str
    picture: np.ndarray
    names: Sequence[str]
    probabilities: Sequence[float]
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class AsItIs:
    """What a network says of images as ImageNet has trained it, or why that is not known, `left_out`.

    `table`: see `most_frequent`; `guesses`: of an image of each class, some at most; `no_box`: why they have no boxes;
    `accuracy`: see `score_imagenet`, None where there is nothing to be scored, for the reason `not_scored`.
    """

    architecture: str = ""
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    guesses: Sequence[Guesses] = ()
    no_box: str = ""
    accuracy: Mapping[str, Any] | None = None
    not_scored: str = ""
    left_out: str = ""


def look_as_it_is(run: RunFolder, scenarios: Mapping[str, Scenario], missing: Mapping[str, str], architecture: str, *,
                  device: torch.device, batch_size: int = 32, workers: int | str = "auto", seed: int = 0) -> AsItIs:
    """The network of the run with its ImageNet head: what it says of own images, how accurate it is on ImageNet's.

    `scenarios` and `missing`: see `open_scenarios`; `architecture` counts where notebook 01 has not run.
    """
    if "imagenet_own" not in scenarios:
        return AsItIs(left_out=missing["imagenet_own"])
    if not is_pretrained(run):
        return AsItIs(left_out='the network of this run did not begin with ImageNet weights (WEIGHTS = "random")')
    saved = SavedModel.read(run) if run.path("model.safetensors").exists() else None
    architecture = saved.architecture if saved else architecture
    try:
        model, preprocessing = build_imagenet_network(architecture)
    except ValueError as error:
        return AsItIs(left_out=str(error))
    own, theirs = scenarios["imagenet_own"].images, scenarios.get("imagenet_imagenet")
    inspection = Inspection(model.eval().to(device), preprocessing, preprocessing["size"], own.root)
    scores = _scores(inspection, own, batch_size, workers)
    guesses, no_box = guess_examples(inspection, own.table, scores, seed=seed)
    known = None if theirs is None else with_wordnet_ids(theirs.images)
    accuracy = score_imagenet(_scores(inspection, known, batch_size, workers), known.table["path"]) if known else None
    not_scored = "" if accuracy else "IMAGENET_VAL names no images whose file or folder names begin with WordNet ids"
    table = most_frequent(own.table["label"], scores)
    return AsItIs(architecture, preprocessing, table, guesses, no_box, accuracy, not_scored)


def _scores(inspection: Inspection, images: ImageSet, batch_size: int, workers: int | str) -> np.ndarray:
    """Softmax scores (N,1000) of images, in the order of their table."""
    dataset = ImageDataset(images.table, images.root, images.classes, inspection.transform)
    device = next(inspection.model.parameters()).device
    return predict(inspection.model, make_loader(dataset, batch_size=batch_size, workers=workers, device=device))[0]


@cache
def imagenet_classes() -> dict[str, str]:
    """{WordNet id: name} of the 1,000 classes, in the order of the outputs; the id is added to a name that two share."""
    info = ImageNetInfo()
    names = {word: info.index_to_description(place).split(",")[0] for place, word in enumerate(info.label_names())}
    often = Counter(names.values())
    return {word: name if often[name] == 1 else f"{name} ({word})" for word, name in names.items()}


def top_classes(scores: np.ndarray) -> np.ndarray:
    """The TOP most probable classes of each image, most probable first: (N,classes) -> (N,TOP)."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :TOP]


def most_frequent(labels: pd.Series, scores: np.ndarray) -> pd.DataFrame:
    """By own class, from the scores (N,1000) of its images: which class of ImageNet is most often the most probable one.

    Columns class, images; ImageNet class, of two equally frequent ones the one with the higher mean confidence; share of
    images; mean confidence, the mean probability of that class in these images.
    """
    names = np.array(list(imagenet_classes().values()))
    first = pd.DataFrame({"class": labels.to_numpy(), "ImageNet class": names[scores.argmax(1)], "p": scores.max(1)})
    rows = []
    for name in natural_sort(labels.unique()):
        own = first[first["class"] == name]
        found = own.groupby("ImageNet class")["p"].agg(["size", "mean"]).sort_values(["size", "mean"], ascending=False)
        rows.append((name, len(own), found.index[0], found["size"].iloc[0] / len(own), found["mean"].iloc[0]))
    return pd.DataFrame(rows, columns=["class", "images", "ImageNet class", "share of images", "mean confidence"])


def wordnet_id(path: str) -> str:
    """The id of one of the 1,000 classes with which the name of an image's file, or else its folder, begins; "" if none."""
    found = (re.match(r"n\d{8}(?!\d)", part) for part in reversed(PurePosixPath(path).parts))
    return next((match[0] for match in found if match and match[0] in imagenet_classes()), "")


def with_wordnet_ids(images: ImageSet) -> ImageSet | None:
    """The images whose paths tell their class of ImageNet; None where none does."""
    table = images.table[images.table["path"].map(wordnet_id) != ""]
    return dataclasses.replace(images, table=table) if len(table) else None


def score_imagenet(scores: np.ndarray, paths: Sequence[str]) -> dict[str, Any]:
    """From scores (N,1000): how often the class of the path's WordNet id is the most probable one, and among the first TOP.

    {images, top1, top1_interval, top5, top5_interval}; the intervals are Wilson's, at 95%.
    """
    ids = list(imagenet_classes())
    hits = top_classes(scores) == np.array([[ids.index(wordnet_id(path))] for path in paths])
    found: dict[str, Any] = {"images": len(hits)}
    for name, hit in (("top1", hits[:, 0]), ("top5", hits.any(1))):
        found |= {name: float(hit.mean()), f"{name}_interval": wilson_interval(hit.mean(), len(hit))}
    return found


def box_around(heat: np.ndarray, threshold: float = THRESHOLD) -> tuple[int, int, int, int] | None:
    """(left, top, right, bottom) in pixels, the last two excluded, of the largest connected part of heat (H,W) >= 0.

    Of what lies above `threshold` of the maximum; pixels are connected by their sides. None where there is no heat.
    Source: Zhou et al., Learning deep features for discriminative localization (2016), section 3.2.
    """
    parts, n = ndimage.label(heat > threshold * heat.max())
    if not n:
        return None
    rows, columns = ndimage.find_objects(parts)[np.bincount(parts.flat)[1:].argmax()]
    return columns.start, rows.start, columns.stop, rows.stop


def draw_examples(table: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """A row of an image table for each class, in natural order, SHOWN_CLASSES at most; the index tells their places."""
    drawn = table.reset_index(drop=True).groupby("label").sample(1, random_state=seed)
    return drawn.iloc[[list(drawn["label"]).index(label) for label in natural_sort(drawn["label"])[:SHOWN_CLASSES]]]


def guess_examples(inspection: Inspection, table: pd.DataFrame, scores: np.ndarray, *,
                   seed: int = 0) -> tuple[list[Guesses], str]:
    """The guesses for an image of each class, drawn, of SHOWN_CLASSES at most; why they have no boxes, "" if they have."""
    names = list(imagenet_classes().values())
    rows = draw_examples(table, seed=seed)
    images, top = inspection.load(rows["path"]), top_classes(scores)[rows.index]
    try:
        heat, no_box = class_activation_maps(inspection.model, images, top[:, 0].tolist()).heat(inspection.size), ""
        boxes = [box_around(one) for one in heat]
    except NoActivationMap as error:
        boxes, no_box = [None] * len(rows), f"Without boxes: {error}"
    together = zip(rows.index, rows["label"], inspection.pictures(images), top, boxes, strict=True)
    return [Guesses(label, picture, [names[place] for place in places], scores[row, places].tolist(), box)
            for row, label, picture, places, box in together], no_box
