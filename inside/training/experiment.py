"""From settings to a trained network in a run folder.

Settings are the parameters of notebook 01, {NAME: value}. Everything is chosen on validation images.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader

from inside.data.loading import ImageDataset, make_loader
from inside.data.split import Split, proportional_sample
from inside.data.transforms import make_transform
from inside.device import choose_device, choose_precision
from inside.evaluation.features import kept_inputs
from inside.evaluation.neighbours import as_vectors, keep_features
from inside.evaluation.predictions import predict
from inside.files import RunFolder, fingerprint, read_csv, read_json, write_csv, write_json
from inside.models.build import build_network
from inside.models.saved import SavedModel, load_network, save_network
from inside.models.surgery import classifier_name, count_costs, freeze
from inside.processes import ask, count_processes, first, gather, launch
from inside.settings import parameters_where
from inside.training.cached import Tail, _head_loaders, cached_features, find_tail, only_head_learns
from inside.training.compatible import check_batch_norm, frozen_backbone, is_random
from inside.training.loop import fit, print_epoch
from inside.training.recipe import Recipe
from inside.training.tracking import tracking


class Experiment:
    """Everything that settings define for a split: network, transforms, loaders of its parts, and recipe.

    `first_trainable` is the first module that is trained ("" for all), `costs` counts parameters and multiply-accumulates.
    """

    def __init__(self, settings: Mapping[str, Any], split: Split):
        self.settings = dict(settings) | ({"WEIGHTS": "random"} if is_random(settings) else {})
        self.split = split
        s = self.settings
        self.device = choose_device(s["DEVICE"])
        self.precision = choose_precision(s["PRECISION"], self.device)
        self.recipe = Recipe.of(s)
        self.model, self.preprocessing = build_network(
            s["ARCHITECTURE"], len(split.classes), weights=s["WEIGHTS"], seed=s["SEED"], image_size=s["IMAGE_SIZE"],
            options=s["ARCHITECTURE_OPTIONS"], head=s["HEAD"])
        self.first_trainable = freeze(self.model, s["STRATEGY"])
        self.costs = count_costs(self.model, s["IMAGE_SIZE"], self.preprocessing["channels"])
        self.model.to(self.device)
        self.transforms = {"train": make_transform(self.preprocessing, s["IMAGE_SIZE"], s["AUGMENTATION"]),
                           "eval": make_transform(self.preprocessing, s["IMAGE_SIZE"])}
        self.loaders = {part: self.loader(part) for part in split.parts}
        first(self.loaders["val"].dataset.keep_resized)

    def loader(self, part: str, *, learning: bool = True, at_most: int = 0) -> DataLoader:
        """The loader of a part; that of "train" is shuffled and augmented unless learning is False.

        `at_most` images of it, a seeded `proportional_sample`; 0: all.
        """
        varied = part == "train" and learning
        table = proportional_sample(self.split.parts[part], at_most, seed=self.settings["SEED"])
        images = ImageDataset(table, self.split.root, self.split.classes, self.transforms["train" if varied else "eval"])
        return make_loader(images, batch_size=self.settings["BATCH_SIZE"], shuffle=varied,
                                   workers=self.settings["WORKERS"], device=self.device)

    @property
    def keeps_features(self) -> bool:
        """Whether the backbone gives the same for an image each time, so that one pass over the images is enough."""
        return frozen_backbone(self.settings) and self.tail is not None

    @property
    def has_linear_head(self) -> bool:
        """Whether the head takes vectors (N, features), such as cached features."""
        return not isinstance(self.head, nn.Conv2d)

    @property
    def head(self) -> nn.Module:
        """The module that gives the logits."""
        return self.model.get_submodule(classifier_name(self.model))

    @functools.cached_property
    def tail(self) -> Tail | None:
        """The layers trained on cached features; None if features cannot be cached."""
        if not self.has_linear_head:
            return None
        return find_tail(self.model, self.settings["IMAGE_SIZE"], self.preprocessing["channels"])


@dataclasses.dataclass
class TrainingResult:
    """The outcome of a training: best weights, history (see fit), and the seconds of everything that led to them."""

    weights: dict[str, torch.Tensor]
    history: pd.DataFrame
    seconds: float


def train(experiment: Experiment, features: Path, *, checkpoint: Path | None = None, stamp: str = "", bar: bool = False,
          after_epoch: Callable[[dict], object] | None = None) -> TrainingResult:
    """Train the network of an experiment.

    If only the head is trained, on images that are not augmented, the backbone is run once over the images and the layers
    after it (see `find_tail`) are trained on the cached features. Otherwise, with HEAD_EPOCHS and ImageNet weights, the head
    is trained alone first, which spares the other layers the large first steps that an untrained head causes (linear
    probing, then fine-tuning: Kumar et al. 2022). `features` is the folder in which features are cached for later calls;
    the seconds always include their pass over the images. `checkpoint`, `stamp`: see fit.

    PROCESSES of the settings train together, from here on in processes of their own. They do not change the result beyond
    rounding, but for what dropout draws. Layers that are trained on cached features are trained by one of them.
    """
    settings = experiment.settings
    n = count_processes(settings["PROCESSES"], experiment.device)
    check_batch_norm(settings, experiment.model, experiment.device)
    if n > 1:
        return launch(n, _train_share, settings, experiment.split, features, checkpoint, stamp, bar, answer=after_epoch)
    fit_all = functools.partial(fit, recipe=experiment.recipe, classes=experiment.split.classes, checkpoint=checkpoint,
                                stamp=stamp, after_epoch=after_epoch)
    if experiment.keeps_features and experiment.tail is not None:
        parts, seconds = cached_features(experiment, features)
        layers = experiment.tail.layers
        best, history = first(lambda: fit_all(layers, *_head_loaders(experiment, parts)))
        layers.load_state_dict(best)
        return TrainingResult(stored_weights(experiment.model), history, seconds + history["seconds"].sum())
    alone = settings["HEAD_EPOCHS"] and not is_random(experiment.settings)
    seconds = train_head_alone(experiment, features) if alone else 0.0
    weights, history = fit_all(experiment.model, experiment.loaders["train"], experiment.loaders["val"],
                               precision=experiment.precision, bar=bar)
    return TrainingResult(weights, history, seconds + history["seconds"].sum())


def _train_share(settings: Mapping[str, Any], split: Split, features: Path, checkpoint: Path | None, stamp: str,
                 bar: bool) -> TrainingResult:
    """What each of several processes does."""
    return train(Experiment(settings, split), features, checkpoint=checkpoint, stamp=stamp, bar=bar, after_epoch=ask)


def train_head_alone(experiment: Experiment, features: Path) -> float:
    """Train the head for HEAD_EPOCHS, leave the weights of its best epoch in the network, and return the seconds it took.

    On cached features; if they cannot be cached, within the network, on augmented images.
    """
    recipe = experiment.recipe.changed({"epochs": experiment.settings["HEAD_EPOCHS"], "patience": 0})
    fit_head = functools.partial(fit, recipe=recipe, classes=experiment.split.classes)
    if experiment.tail is None:
        layers, seconds, loaders = experiment.model, 0.0, (experiment.loaders["train"], experiment.loaders["val"])
        with only_head_learns(experiment.model):
            best, probe = fit_head(layers, *loaders, precision=experiment.precision)
    else:
        layers, (parts, seconds) = experiment.tail.layers, cached_features(experiment, features)
        with only_head_learns(experiment.model):
            best, probe = first(lambda: fit_head(layers, *_head_loaders(experiment, parts)))
    layers.load_state_dict(best)
    return seconds + probe["seconds"].sum()


def stored_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the weights and statistics of a network, on the CPU."""
    return {name: weight.detach().cpu().clone() for name, weight in model.state_dict().items()}


def train_into(run: RunFolder, settings: Mapping[str, Any], split: Split, *, features: Path, bar: bool = False,
               report: Callable[[dict], object] = print_epoch) -> bool:
    """Train a network and write it into a run folder: history.csv, model.safetensors, model.json.

    If the folder holds the result of the same settings and images, it is used again (returns True); an
    interrupted training resumes after its last complete epoch. `features` as in `train`; `report` is called with each row of
    the history. While it trains, training.json tells the settings to `inside.training.worker`. Where all training images are
    scored in the end, their features are kept, too: see `training_features`.
    """
    stamp = training_fingerprint(settings, split)
    if first(lambda: run.is_current(stamp, "model.safetensors", "model.json", "history.csv")):
        print("the network is used again: neither its settings nor its images have changed")
        first(lambda: _note_root(run, split))
        return True
    experiment = Experiment(settings, split)
    start = stored_weights(experiment.model)
    order = {"settings": dict(settings), "root": str(Path(split.root).resolve()), "features": str(features.resolve())}
    first(lambda: write_json(run.path("training.json"), order))
    with tracking(settings, run.folder) as track:
        trained = train(experiment, features, checkpoint=run.path("checkpoint.pt"), stamp=stamp, bar=bar,
                        after_epoch=lambda row: (report(row), track(row)))
    with kept_inputs(experiment.head) as kept:
        saved = saved_model(experiment, trained, start)
    first(lambda: finish_training(run, trained, saved, stamp))
    scored = saved.train_unaugmented
    if scored and scored["images"] == scored["of"]:
        found = [part for share in gather(kept, to_all=False) for part in share]
        first(lambda: keep_features(run, split.parts["train"], as_vectors(torch.cat(found))))
    return False


def _note_root(run: RunFolder, split: Split) -> None:
    """Note in model.json where the images of a split lie now, for notebooks 02 and 03."""
    if read_json(run.path("model.json")).get("root") != str(split.root):
        run.amend("model.json", {"root": str(split.root)})


def saved_model(experiment: Experiment, trained: TrainingResult, start: Mapping[str, torch.Tensor]) -> SavedModel:
    """The model.json of a trained network; `start`: its weights before the training.

    `frozen` comes from `unchanged_modules`, `train_unaugmented` from `score_unaugmented`.
    """
    s, split = experiment.settings, experiment.split
    return SavedModel(
        architecture=s["ARCHITECTURE"], options=s["ARCHITECTURE_OPTIONS"], head=s["HEAD"], classes=split.classes,
        image_size=s["IMAGE_SIZE"], preprocessing=experiment.preprocessing, split=split.fingerprint, settings=s,
        recipe=dataclasses.asdict(experiment.recipe), costs=experiment.costs, seconds=trained.seconds, root=str(split.root),
        device=str(experiment.device), precision=str(experiment.precision).removeprefix("torch."),
        first_trainable=experiment.first_trainable, frozen=unchanged_modules(experiment.model, start, trained.weights),
        train_unaugmented=score_unaugmented(experiment, trained.weights))


def unchanged_modules(model: nn.Module, before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> list[str]:
    """The outermost modules whose weights and statistics are all the same before and after a training."""
    same, found = {name for name in before if torch.equal(before[name], after[name])}, list[str]()
    for name, module in model.named_modules():
        if name and any(True for _ in module.parameters()) and not any(name.startswith(f"{outer}.") for outer in found) \
                and all(f"{name}.{own}" in same for own in module.state_dict()):
            found.append(name)
    return found


def score_unaugmented(experiment: Experiment, weights: Mapping[str, torch.Tensor], *, at_most: int = 1000) -> dict:
    """The training images, not augmented, scored by the given weights in float32: images, of, loss, mean_class_accuracy.

    At most this many of them, a seeded `proportional_sample`. The loss is plain cross-entropy, a mean over images.
    """
    loader = experiment.loader("train", learning=False, at_most=at_most)
    experiment.model.load_state_dict(weights)
    scores, losses = predict(experiment.model, loader)
    hits = pd.Series(scores.argmax(1) == loader.dataset.targets)
    return {"images": len(losses), "of": len(experiment.split.parts["train"]), "loss": float(losses.mean()),
            "mean_class_accuracy": float(hits.groupby(loader.dataset.targets).mean().mean())}


TRAINING_VERSION = 6  # increased whenever the same settings give other weights, or the history changes its meaning


def training_fingerprint(settings: Mapping, split: Split) -> str:
    """The fingerprint of everything that training depends on: its settings, the split, the images' pixels and labels."""
    of_training = {name: settings[name] for name in parameters_where(trains=True) if name in settings}
    return fingerprint(TRAINING_VERSION, of_training, split.table[["path", "label", "split", "sha256"]])


def finish_training(run: RunFolder, trained: TrainingResult, saved: SavedModel, stamp: str) -> None:
    """Write the result of a training (history.csv, model.safetensors, model.json), stamp it, remove what it needed."""
    write_csv(run.path("history.csv"), trained.history)
    save_network(run, trained.weights, saved)
    run.mark(stamp, "history.csv", "model.safetensors", "model.json")
    for name in ("checkpoint.pt", "training.json"):
        run.path(name).unlink(missing_ok=True)


def load_trained(run: RunFolder, *, split: Split) -> tuple[nn.Module, SavedModel, pd.DataFrame]:
    """The trained network of a run, its description and its history; ValueError unless it was trained on this very split.

    Scored on another split, a network would be tested on images that it was trained on.
    """
    model, saved = load_network(run)
    if saved.classes != split.classes or saved.split != split.fingerprint:
        raise ValueError(f"The network of the run {run.name!r} was trained on a different split or different classes: "
                         "set TRAIN = True, or undo the changes to DATASET, SPLIT, SEED and SPLIT_SEED.")
    try:
        history = read_csv(run.path("history.csv"))
        missing = [name for name in ("epoch", "val_mean_class_accuracy", "val_loss", "seconds") if name not in history]
    except (ValueError, OSError) as error:
        missing = [str(error).splitlines()[0]]
    if missing or history.empty:
        raise ValueError(f"{run.path('history.csv')} is not as notebook 01 writes it (missing: {', '.join(missing)}): set "
                         "TRAIN = True and run notebook 01 again.")
    return model, saved, history
