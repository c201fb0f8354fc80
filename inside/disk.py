"""How much room a run needs on the disk, estimated from its settings, and whether it is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torchvision.models import get_model_weights

from inside import files
from inside.data.sources import DOWNLOADS
from inside.feature_maps.hooks import choose_layers
from inside.files import RunFolder, nearest_folder
from inside.models.build import weights_file
from inside.models.outline import outline
from inside.models.surgery import classifier_name
from inside.names import DATASETS
from inside.selection.trainings import channels_of, kind_of, map_size, measured_networks, trainings
from inside.text import errors_of, format_bytes
from inside.training.compatible import is_random

Settings = Mapping[str, Any]


class Need(NamedTuple):
    """Bytes that will be written below a folder, and what they are."""

    folder: Path
    what: str
    size: float


def check_room(needs: Sequence[Need], who: str = "The run", place: str = "RUN") -> None:
    """Raise ValueError, with the sizes, for the first disk on which there is less room than all needs on it together.

    What is the same for several runs, such as images that they share, counts once.
    """
    disks: dict[int, list[Need]] = {}
    for need in dict.fromkeys(needs):
        disks.setdefault(os.stat(nearest_folder(need.folder)).st_dev, []).append(need)
    for on_disk in disks.values():
        sizes = {need.what: sum(other.size for other in on_disk if other.what == need.what) for need in on_disk}
        total, free = sum(sizes.values()), shutil.disk_usage(nearest_folder(on_disk[0].folder)).free
        if total > free:
            parts = ", ".join(f"{what} {format_bytes(size)}" for what, size in sizes.items() if size >= 1e6)
            raise ValueError(f"{who} needs about {format_bytes(total)} ({parts}), but only {format_bytes(free)} are free on "
                             f"the disk of {on_disk[0].folder}: make room, or choose another {place}.")


def needs(settings: Settings, numbers: Sequence[str], run: RunFolder) -> list[Need]:
    """What the notebooks write, estimated: drawn and fetched images, weights, kept features, statistics, figures."""
    dataset, found = settings["DATASET"], [Need(run.folder, "figures, notebooks and report", 25e6 * len(numbers))]
    images = DATASETS.get(dataset) or settings["DEMO_IMAGES"]
    if dataset == "demo":
        found.append(Need(files.DATA, "drawn images", 12e3 * images))
    elif dataset in DATASETS and not (files.DATA / dataset).is_dir():
        size = 1e9 * DOWNLOADS[dataset].gigabytes if dataset in DOWNLOADS else 4e3 * images
        found.append(Need(files.DATA, "images", size))
    if "01" in numbers and settings["TRAIN"]:
        found += _needs_of_training(settings, run, images)
    if set(numbers) & {"02", "03"}:
        found += _needs_of_maps(settings, numbers, run)
    if "02" in numbers and settings["DETECTOR"] and not weights_file(settings["DETECTOR"]):
        size = get_model_weights(settings["DETECTOR"]).DEFAULT.meta["_file_size"]
        found.append(Need(Path(torch.hub.get_dir()), "fetched detector", 1e6 * size))
    return found


def _needs_of_training(settings: Settings, run: RunFolder, images: int) -> list[Need]:
    """Weights, one checkpoint of the largest network (its weights twice, and two moments), and the input of the heads."""
    own, fetched, features = list[float](), list[float](), 0.0
    for part, row in trainings(settings):
        network = outline(**kind_of(row))
        if network and not part.startswith("SEARCH"):
            own.append(4 * network.weights)
            features += 0 if is_random(row) else 4 * images * getattr(
                network.model.get_submodule(classifier_name(network.model)), "in_features", 2048)
            fetched.append(0 if is_random(row) or weights_file(row["ARCHITECTURE"]) else own[-1])
    return [Need(run.folder, "weights and checkpoint", sum(own) + 4 * max(own, default=0)),
            Need(run.folder, "kept features", features), Need(Path(torch.hub.get_dir()), "fetched weights", sum(fetched))]


def _needs_of_maps(settings: Settings, numbers: Sequence[str], run: RunFolder) -> list[Need]:
    """Pooled features of all scenarios, and those of seven once more, as float32."""
    most = 0.0
    for kind in measured_networks(settings, numbers, run):
        network = outline(**kind)
        if network:
            size, names = map_size(network, settings), errors_of(choose_layers, network.model, settings["LAYERS"] or None)
            layers = [] if names else choose_layers(network.model, settings["LAYERS"] or None)
            most = max(most, float(sum(channels_of(network, name, size) for name in layers)))
    statistics = (7 + settings["RANDOM_DRAWS"]) * 4 * settings["N_IMAGES"] * most
    spectra = 7 * 4 * settings["N_IMAGES"] * most if "03" in numbers else 0
    return [Need(run.folder, "statistics", statistics), Need(run.folder, "spectra", spectra)]
