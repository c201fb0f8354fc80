"""What fine-tuning changed, stage by stage: probes, similarity, weights, and the shape of the features."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from inside.data.loading import ImageDataset, make_loader
from inside.data.split import Split
from inside.data.transforms import make_transform
from inside.evaluation.intervals import wilson_interval
from inside.feature_maps.frozen import frozen_layers
from inside.feature_maps.intrinsic_dimension import FEWEST, two_nn
from inside.feature_maps.probes import paired_p_value, probe
from inside.feature_maps.scenarios import FEWEST_IMAGES, Scenario, network_stamp, pick_images
from inside.feature_maps.similarity import cka_map
from inside.feature_maps.spectra import spectrum
from inside.feature_maps.stages import find_stages, weight_changes
from inside.feature_maps.statistics import LayerStatistics, collect_statistics
from inside.files import RunFolder, fingerprint, one_at_a_time, read_json, write_json
from inside.models.build import build_network
from inside.models.saved import SavedModel
from inside.processes import pass_over

TRAIN_IMAGES, PER_CLASS, VAL_IMAGES = 500, 30, 1000  # at most; of validation enough for ±3 points of an accuracy
FEWEST_PER_CLASS = 5  # training images, on average, below which there is no probe
NETWORKS = ("fine-tuned", "initial", "random")


@dataclasses.dataclass(frozen=True)
class Stages:
    """The stages of the fine-tuned, the initial and a random network of the same kind, on the same validation images.

    `table`: one row a network and stage, columns network, stage, frozen, probe, probe_low, probe_high, p_value (of the same
    probe on the initial network being as often right, exact McNemar test; fine-tuned rows only), cka and weight_change
    (against the initial network), effective_rank, non_positive_share, intrinsic_dimension, dimension_low, dimension_high.
    `cka`: fine-tuned stages down, initial ones across. `majority`: accuracy of the most frequent class. `start`: the initial
    weights, "imagenet" or "random". `reason`: why there is none of this; `no_probe`, `no_dimension`: why these are missing.
    """

    table: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    cka: np.ndarray = dataclasses.field(default_factory=partial(np.zeros, (0, 0)))
    train: int = 0
    val: int = 0
    distinct: int = 0
    image_size: int = 0
    majority: float = float("nan")
    start: str = "imagenet"
    reason: str = ""
    no_probe: str = ""
    no_dimension: str = ""

    @property
    def names(self) -> list[str]:
        """The stages, from input to output."""
        return list(dict.fromkeys(self.table["stage"])) if len(self.table) else []

    @property
    def frozen(self) -> list[str]:
        """The stages that are the same in the fine-tuned and the initial network by construction."""
        return list(dict.fromkeys(self.table.loc[self.table["frozen"], "stage"])) if len(self.table) else []

    def of(self, network: str) -> pd.DataFrame:
        """The rows of a network, by stage."""
        return self.table[self.table["network"] == network].set_index("stage")

    def write(self, path: Path) -> None:
        """Write everything to a JSON file."""
        write_json(path, {field.name: getattr(self, field.name) for field in dataclasses.fields(self)} | {
            "table": self.table.to_dict("list")})

    @classmethod
    def read(cls, path: Path) -> Stages:
        """What `write` wrote."""
        told = read_json(path)
        table = pd.DataFrame(told["table"])
        numbers = [name for name in table if name not in ("network", "stage", "frozen")]
        return cls(**told | {"table": table.astype(dict.fromkeys(numbers, float)), "cka": np.array(told["cka"], dtype=float),
                             "majority": float("nan") if told["majority"] is None else told["majority"]})


def measure_stages(run: RunFolder, scenarios: Mapping[str, Scenario], *, batch_size: int = 32, workers: int | str = "auto",
                   processes: int | str = 1, seed: int = 0) -> Stages:
    """Measure the stages of the networks of a run: one pass each over training and validation images, then on features.

    At most TRAIN_IMAGES and VAL_IMAGES of them (fewer of training where PER_CLASS suffices), at the size at which the
    network was trained. Kept in the run folder, and measured again only if networks, images or stages have changed.
    """
    if "finetuned_own" not in scenarios or not run.path("split.csv").exists():
        return Stages(reason="this needs the fine-tuned network of notebook 01 and its split")
    saved, tuned = SavedModel.of(run), scenarios["finetuned_own"]
    try:
        networks = {"fine-tuned": tuned.model, "initial": _initial(saved, scenarios),
                    "random": scenarios["random_own"].model}
    except KeyError as name:
        return Stages(reason=f"the scenario {name.args[0]} is missing, the reason is told in section 1")
    parts = Split.read(run.path("split.csv"), Path(saved.root)).parts
    most = {"train": min(TRAIN_IMAGES, PER_CLASS * len(saved.classes)), "val": VAL_IMAGES}
    images = {part: pick_images(parts[part], n, seed=seed) for part, n in most.items()}
    if len(images["val"]) < FEWEST_IMAGES:
        return Stages(reason=f"there are {len(images['val'])} validation images, and at least {FEWEST_IMAGES} are needed")
    channels = saved.preprocessing.get("channels", 3)
    stages = find_stages(tuned.model, saved.image_size, channels=channels)
    if not stages:
        return Stages(reason="nothing of this network but its classifier has an output that everything goes through")
    stamp = fingerprint(*map(network_stamp, networks.values()), saved.preprocessing, saved.image_size, stages, 1,
                        *(table[["path", "label", "sha256"]] for table in images.values()))
    file = run.path("statistics/stages.json")
    with one_at_a_time(file, run.path(".locks", "stages.lock")):
        if not run.is_current(stamp, "statistics/stages.json"):
            measure = partial(_statistics, saved, stages=stages, batch_size=batch_size, workers=workers, processes=processes)
            found = {name: {part: measure(model, table) for part, table in images.items()}
                     for name, model in networks.items()}
            fixed = frozen_layers({"finetuned_own": tuned, "imagenet_own": dataclasses.replace(
                tuned, name="imagenet_own", network=networks["initial"])}, stages)
            changes = weight_changes(networks["fine-tuned"], networks["initial"], stages, channels=channels)
            compare_stages(found, images, changes, fixed, image_size=saved.image_size, start=_start(saved)).write(file)
            run.mark(stamp, "statistics/stages.json")
        return Stages.read(file)


def _initial(saved: SavedModel, scenarios: Mapping[str, Scenario]) -> nn.Module:
    """The network that the training began with, but for a head drawn anew."""
    if _start(saved) == "imagenet":
        return scenarios["imagenet_own"].model
    device = next(scenarios["finetuned_own"].model.parameters()).device
    return build_network(**saved.kind, weights="random", seed=saved.settings.get("SEED", 0))[0].eval().to(device)


def _start(saved: SavedModel) -> str:
    return str(saved.settings.get("WEIGHTS", "imagenet"))


def _statistics(saved: SavedModel, model: nn.Module, table: pd.DataFrame, *, stages: Sequence[str], batch_size: int,
                workers: int | str, processes: int | str) -> dict[str, LayerStatistics]:
    images = ImageDataset(table, Path(saved.root), saved.classes, make_transform(saved.preprocessing, saved.image_size))
    return pass_over(partial(_share, images, batch_size, workers, stages), model, processes,
                     batches=-(-len(images) // batch_size))


def _share(images: ImageDataset, batch_size: int, workers: int | str, stages: Sequence[str],
           model: nn.Module) -> dict[str, LayerStatistics]:
    loader = make_loader(images, batch_size=batch_size, workers=workers, device=next(model.parameters()).device)
    return collect_statistics(model, loader, stages)


Found = Mapping[str, Mapping[str, Mapping[str, LayerStatistics]]]  # {network: {part: {stage: statistics}}}


def compare_stages(found: Found, images: Mapping[str, pd.DataFrame], changes: Sequence[float], frozen: Sequence[str],
                   **told: Any) -> Stages:
    """All measures of these statistics; `images`: the tables of "train" and "val", `changes`: see `weight_changes`."""
    if bad := [f"{stage} of the {name} network" for name in NETWORKS for part in images
               for stage, state in found[name][part].items() if state.skipped]:
        return Stages(reason=f"{bad[0]} gives values that are NaN or infinite; train again, with a lower LEARNING_RATE")
    val, stages = images["val"], list(found["initial"]["val"])
    distinct = ~(val["sha256"].duplicated() | val["group"].notna() & val["group"].duplicated()).to_numpy()
    labels = {"train": images["train"]["label"].to_numpy(), "val": val["label"].to_numpy()[distinct]}
    classes, n = len(set(labels["train"])), len(labels["train"])
    few = f"{n} training images of {classes} classes are too few for a probe" if n < FEWEST_PER_CLASS * classes else \
        "a probe needs two classes" if classes < 2 else ""
    features = {name: [found[name]["val"][stage].features.astype(np.float64) for stage in stages] for name in NETWORKS}
    similar = {name: cka_map(features[name], features["initial"]) for name in NETWORKS}
    rows = [{"network": name, "stage": stage, "frozen": stage in frozen, "cka": similar[name][place, place],
             "weight_change": changes[place] if name == "fine-tuned" else float("nan"),
             "non_positive_share": found[name]["val"][stage].counts.share} | _shape(features[name][place], distinct)
            for name in NETWORKS for place, stage in enumerate(stages)]
    table = pd.DataFrame(rows)
    if not few:
        table = table.merge(_probes(found, features, distinct, labels), on=["network", "stage"])
    alone = f"{distinct.sum()} different validation images are too few for their intrinsic dimension"
    return Stages(table, similar["fine-tuned"], n, len(val), int(distinct.sum()), majority=_majority(labels), no_probe=few,
                  no_dimension=alone if distinct.sum() < FEWEST else "", **told)


def _majority(labels: Mapping[str, np.ndarray]) -> float:
    """Accuracy on validation of always saying the most frequent class of training."""
    names, counts = np.unique(labels["train"], return_counts=True)
    return float((labels["val"] == names[counts.argmax()]).mean())


def _shape(features: np.ndarray, distinct: np.ndarray) -> dict[str, float]:
    """Effective rank of features (N,C), and the intrinsic dimension of those of `distinct` images (N,) with its spread."""
    value, low, high = two_nn(features[distinct])
    return {"effective_rank": spectrum(features).effective_rank, "intrinsic_dimension": value, "dimension_low": low,
            "dimension_high": high}


def _probes(found: Found, features: Mapping[str, Sequence[np.ndarray]], distinct: np.ndarray,
            labels: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Accuracy of a probe with its interval, by network and stage; for the fine-tuned network p against the initial one.

    `labels` of "train" and of the `distinct` images (N,) of "val": copies count once, since they hit or miss together.
    """
    rows, initial = list[dict[str, Any]](), dict[str, np.ndarray]()
    for name in ("initial", "fine-tuned", "random"):
        for place, (stage, state) in enumerate(found[name]["train"].items()):
            learnt = state.features.astype(np.float64), labels["train"]
            right = probe(*learnt, features[name][place][distinct]) == labels["val"]
            low, high = wilson_interval(right.mean(), len(right))
            initial.setdefault(stage, right)
            rows.append({"network": name, "stage": stage, "probe": right.mean(), "probe_low": low, "probe_high": high,
                         "p_value": paired_p_value(right, initial[stage]) if name == "fine-tuned" else float("nan")})
    return pd.DataFrame(rows)
