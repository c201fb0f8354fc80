"""Scenarios: a network and the images that it is run on."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from inside.data.loading import ImageDataset, make_loader
from inside.data.sources import ImageSet, open_dataset
from inside.data.split import Split
from inside.data.table import decode_images, require_unchanged
from inside.data.transforms import make_transform
from inside.feature_maps.scenario_names import STAND_INS, scenario_draw
from inside.feature_maps.statistics import STORED, LayerStatistics, collect_statistics
from inside.files import RunFolder, atomic_write, fingerprint, one_at_a_time
from inside.models.build import build_network
from inside.models.saved import SavedModel, load_network
from inside.processes import pass_over
from inside.settings import PARAMETERS


@dataclass(frozen=True)
class Scenario:
    """A network and the images that it is run on; `stamp` is the fingerprint of the network, see `network_stamp`.

    `network` may be a function that builds it; then each use of `model` builds it anew, and it takes no memory in between.
    """

    name: str
    network: nn.Module | Callable[[], nn.Module]
    preprocessing: dict
    images: ImageSet
    stamp: str = ""

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self.network if isinstance(self.network, nn.Module) else self.network()

    @property
    def reduced(self) -> int | None:
        """The side in pixels to which images are first reduced: 32 for the resolution control, else None."""
        return 32 if self.name.endswith("_32px") else None


FEWEST_IMAGES = 4  # halves of the images and debiased similarity are not defined of fewer


def pick_images(table: pd.DataFrame, n: int, *, seed: int) -> pd.DataFrame:
    """At most n rows in the order of their paths: all of them where there are no more, else a seeded draw."""
    chosen = table if len(table) <= n else table.sample(n, random_state=seed)
    return chosen.sort_values("path", kind="stable").reset_index(drop=True)


def own_images(run: RunFolder, dataset: str, n: int, *, demo_images: int = 900, seed: int = 0) -> ImageSet:
    """n own images: test images of the run's split, or, where notebook 01 has made none, of the data set."""
    saved = SavedModel.read(run)
    if saved and run.path("split.csv").exists():
        root = Path(saved.root)
        if not root.is_dir():
            raise ValueError(f"The images of the run {run.name!r} are no longer at {root}: put them back, or run notebook "
                             "01 again.")
        own = Split.read(run.path("split.csv"), root).parts["test"]
        test = pick_images(own, n, seed=seed)
        if len(test) < FEWEST_IMAGES:
            raise ValueError(f"The run {run.name!r} has {len(test)} test images; feature maps are measured on at least "
                             f"{FEWEST_IMAGES}: give test a larger share in SPLIT, or add images.")
        require_unchanged(own, root)
        drawn = saved.settings.get("DATASET") == "demo"
        return ImageSet(root.name, root, test, "test images of notebook 01", drawn)
    images = other_images(dataset, n, demo_images=demo_images, seed=seed)
    return dataclasses.replace(images, about=f"{images.about}; not split, since notebook 01 has not run here")


def other_images(dataset: str, n: int, *, demo_images: int = 900, seed: int = 0) -> ImageSet:
    """n images of a data set by name or by folder, flat or by class. ValueError where it is not to be had."""
    images = open_dataset(dataset, demo_images=demo_images, seed=seed, labels=False)
    chosen = dataclasses.replace(images, table=pick_images(images.table, n, seed=seed))
    found = decode_images(chosen, every_class=False)[0]
    if len(found.table) < FEWEST_IMAGES:
        raise ValueError(f"DATASET = {dataset!r} has {len(found.table)} images that can be decoded; feature maps are "
                         f"measured on at least {FEWEST_IMAGES}: add images.")
    return found


def open_scenarios(run: RunFolder, own: ImageSet, *, architecture: str, n_images: int, imagenet_val: str, cifar10: str,
                   device: torch.device, seed: int = 0, control: bool = False, map_size: int = 224,
                   draws: int = 1, image_seed: int | None = None) -> tuple[dict[str, Scenario], dict[str, str]]:
    """The scenarios of the design that can be had, and for the others the reason and the remedy, by name.

    `imagenet_val` and `cifar10` are data sets by name or folder; the embedded ones are stand-ins, and the scenario is
    then named after them. All scenarios have the same number of images, that of the smallest set; `image_seed` draws them
    (None: `seed`). `control` adds own and ImageNet images reduced to 32×32 pixels, names ending in _32px. `map_size`: see
    `input_size`. `draws`: how often random weights are drawn, see `random_seeds`: random_own, random_own_draw2, …
    """
    asked = {"n_classes": max(2, len(own.classes)), "device": device, "seed": seed, "image_size": map_size}
    networks, missing = open_networks(run, architecture, **asked)
    images, image_seed = {"own": own}, seed if image_seed is None else image_seed
    for name, dataset, parameter in (("imagenet", imagenet_val, "IMAGENET_VAL"), ("cifar10", cifar10, "CIFAR10")):
        key = dataset if dataset in STAND_INS else name
        if key != name:
            missing[f"imagenet_{name}"] = f"a stand-in takes its place until {parameter} names a folder of these images"
        try:
            images[key] = other_images(dataset, n_images, seed=image_seed)
        except ValueError as error:
            missing[f"imagenet_{key}"] = str(error).replace("DATASET", parameter)
    same = min(len(found.table) for found in images.values())  # the effective rank grows with the number of images
    images = {key: dataclasses.replace(found, table=pick_images(found.table, same, seed=image_seed))
              for key, found in images.items()}
    pairs = [("finetuned", "own"), *(("imagenet", key) for key in images), ("random", "own")]
    small = cifar10 if cifar10 in STAND_INS else "cifar10"
    pairs += [("imagenet", f"{key}_32px") for key in images if control and key != small]
    scenarios = {}
    for network, key in pairs:
        if network in networks:
            model, preprocessing, stamp = networks[network]
            name = f"{network}_{key}"
            scenarios[name] = Scenario(name, model, preprocessing, images[key.removesuffix("_32px")], stamp)
            again = range(2, draws + 1) if network == "random" else ()
            scenarios |= {f"{name}_draw{draw}": dataclasses.replace(
                scenarios[name], name=f"{name}_draw{draw}", stamp="",
                network=partial(open_random_network, run, architecture, draw, **asked)) for draw in again}
        else:
            missing[f"{network}_{key}"] = missing[network]
    return scenarios, {name: reason for name, reason in missing.items() if "_" in name}


def input_size(model: nn.Module, map_size: int) -> int:
    """The side of the images that a network is measured on: `map_size`, or the one that it takes, where it takes but one."""
    fixed = getattr(model, "image_size", None)
    if isinstance(fixed, int) and fixed != map_size:
        print(f"{type(model).__name__} takes images of {fixed}×{fixed} pixels only: they are resized to that, not to "
              f"MAP_SIZE = {map_size}")
        return fixed
    return map_size


def open_networks(run: RunFolder, architecture: str, n_classes: int, *, device: torch.device, seed: int = 0,
                  image_size: int = 224) -> tuple[dict[str, tuple[nn.Module, dict, str]], dict[str, str]]:
    """{finetuned, imagenet, random: (network, preprocessing, stamp)}, and the reasons for those that cannot be had.

    Where the run holds a fine-tuned network, the others are of its architecture. `image_size` is for networks whose input
    has one size, where the run does not tell it. The random one is the first draw of `open_random_network`.
    """
    networks, missing = {}, {}
    try:
        model, saved = load_network(run)
        networks["finetuned"] = model.to(device), saved.preprocessing, network_stamp(model)
    except ValueError as error:
        missing["finetuned"] = str(error)
    built = _building(run, architecture, n_classes, image_size)
    for weights, drawn in (("imagenet", seed), ("random", random_seeds(seed, 1)[0])):
        try:
            model, preprocessing = build_network(**built, weights=weights, seed=drawn)
            networks[weights] = model.eval().to(device), preprocessing, network_stamp(model)
        except ValueError as error:
            missing[weights] = str(error)
    return networks, missing


def _building(run: RunFolder, architecture: str, n_classes: int, image_size: int) -> dict[str, Any]:
    """How the networks of a run are built: as its fine-tuned one, where it holds one, else as asked for."""
    saved = SavedModel.read(run) if run.path("model.safetensors").exists() else None
    return saved.kind if saved else {"architecture": architecture, "n_classes": n_classes, "image_size": image_size}


def is_pretrained(run: RunFolder) -> bool:
    """Whether the network of a run was trained from ImageNet weights, as far as model.json tells; True without one."""
    saved = SavedModel.read(run)
    return saved is None or saved.settings.get("WEIGHTS", "imagenet") == "imagenet"


def network_stamp(model: nn.Module) -> str:
    """The fingerprint of a network: all its weights and buffers, and its modules with their options."""
    digest = hashlib.sha256(repr(model).encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def random_seeds(seed: int, n: int) -> list[int]:
    """n seeds for random weights, none of them one that a run with SEED = `seed` uses itself; the first do not depend on n.

    A run uses SEED for its own start, and SEED + 1, SEED + 2, … for new trainings (FINAL_SEEDS).
    """
    seeds: list[int] = []
    numbers = itertools.count()
    while len(seeds) < n:
        drawn = int(fingerprint("random weights", seed, next(numbers)), 16) % 2**31
        if drawn not in seeds and not seed <= drawn <= seed + PARAMETERS["FINAL_SEEDS"].kinds[0].high:
            seeds.append(drawn)
    return seeds


def open_random_network(run: RunFolder, architecture: str, draw: int, *, n_classes: int, device: torch.device,
                        seed: int = 0, image_size: int = 224) -> nn.Module:
    """The network of `open_networks` with random weights, those of a draw (1, 2, …): see `random_seeds`."""
    built = _building(run, architecture, n_classes, image_size)
    model, _ = build_network(**built, weights="random", seed=random_seeds(seed, draw)[-1])
    return model.eval().to(device)


def scenario_statistics(run: RunFolder, scenario: Scenario, layers: Sequence[str], *, map_size: int,
                        batch_size: int, workers: int | str = "auto",
                        processes: int | str = 1) -> dict[str, LayerStatistics]:
    """The statistics of one scenario, in float32, in one pass; kept in statistics/, so that 02 and 03 share the pass.

    `workers`: see `make_loader`, `processes`: see `pass_over`.
    """
    name, model = f"statistics/{scenario.name}.npz", scenario.model
    stamp = fingerprint(scenario.stamp or network_stamp(model), scenario.preprocessing,
                                scenario.images.table[["label", "sha256"]], list(layers), map_size, scenario.reduced, 2)
    with one_at_a_time(run.path(name), run.path(".locks", f"{scenario.name}.lock")):  # 02 and 03 may run at the same time
        if not run.is_current(stamp, name):
            transform = make_transform(scenario.preprocessing, map_size, reduced=scenario.reduced)
            images = ImageDataset(scenario.images.table, scenario.images.root, scenario.images.classes, transform)
            found = pass_over(partial(_measure_share, images, batch_size, workers, layers), model, processes,
                              batches=-(-len(images) // batch_size))
            arrays: dict[str, Any] = {f"{layer}/{key}": value for layer, state in found.items()
                                      for key, value in state.arrays().items()}
            with atomic_write(run.path(name)) as temporary, open(temporary, "wb") as file:
                np.savez(file, **arrays)
            run.mark(stamp, name)
        with np.load(run.path(name)) as stored:  # before the other notebook replaces it by that of other layers
            return {layer: LayerStatistics.of_arrays(layer, {key: stored[f"{layer}/{key}"] for key in STORED}, batch_size)
                    for layer in layers}


def _measure_share(images: ImageDataset, batch_size: int, workers: int | str, layers: Sequence[str],
                   model: nn.Module) -> dict[str, LayerStatistics]:
    loader = make_loader(images, batch_size=batch_size, workers=workers, device=next(model.parameters()).device)
    return collect_statistics(model, loader, layers)


def random_draws(scenarios: Mapping[str, Scenario]) -> list[Scenario]:
    """The scenarios of random weights on own images, one a draw."""
    return [scenario for name, scenario in scenarios.items() if scenario_draw(name)[0] == "random_own"]
