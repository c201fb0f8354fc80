"""From settings to a trained network: one training, and several networks side by side.

Settings are the parameters of notebook 01, {NAME: value}. Everything is chosen on validation images; the test images are
touched by `compare` alone, which scores each network once when all are trained.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch
from torch import nn
from torch.utils.data import DataLoader

import helpers
import image_data

# ---------------------------------------------------------------------------------------- settings

SEARCHABLE = ("IMAGE_SIZE", "AUGMENTATION", "BATCH_SIZE", "ARCHITECTURE", "WEIGHTS", "HEAD", "STRATEGY", "HEAD_EPOCHS",
              "EPOCHS", "OPTIMIZER", "LEARNING_RATE", "BACKBONE_FACTOR", "WEIGHT_DECAY", "SCHEDULE", "WARMUP",
              "LABEL_SMOOTHING", "CLASS_WEIGHTS", "BATCH_NORM", "PATIENCE", "PRECISION")
COMPARABLE = (*SEARCHABLE, "ARCHITECTURE_OPTIONS", "SEED")
TRACKERS = ("tensorboard", "wandb")  # also the names of their packages


def check_settings(values: Mapping[str, object]) -> dict[str, object]:
    """The notebook parameters in `values`, each checked, and whether they fit together; ValueError for what does not.

    Complete settings of notebook 01 are needed for the second; other names are passed over.
    """
    settings = helpers.check_parameters(values)
    check_network(settings)
    for tracker in settings["TRACKERS"]:
        if tracker not in TRACKERS:
            raise ValueError(f"TRACKERS names {tracker!r}: {helpers.nearest(tracker, TRACKERS)}")
        if importlib.util.find_spec(tracker) is None:
            raise ValueError(f"TRACKERS names {tracker!r}, whose package is not installed: pip install {tracker}, "
                             "or take it out.")
    for row in settings["COMPARE"]:
        if not isinstance(row, dict):
            raise ValueError(f"COMPARE holds {row!r}: it takes dictionaries of changed parameters, such as "
                             '{"STRATEGY": "head"}.')
        for name in row:
            if name not in COMPARABLE:
                raise ValueError(f"COMPARE changes {name!r}, which it cannot: {helpers.nearest(name, COMPARABLE)}")
        check_network(helpers.check_parameters(suited(settings, row)))
    return settings


def check_network(settings: Mapping[str, object]) -> None:
    """Raise ValueError unless architecture, options, head and strategy fit together."""
    architecture = settings["ARCHITECTURE"]
    helpers.check_options(architecture, settings["ARCHITECTURE_OPTIONS"], settings["IMAGE_SIZE"])
    if helpers.from_scratch(architecture):
        for name, only in (("STRATEGY", "full"), ("HEAD", "linear")):
            if settings[name] != only:
                raise ValueError(f"{name} = {settings[name]!r} needs a network with ImageNet weights, which {architecture} "
                                 f"is not: set {name} = {only!r}.")


def suited(settings: Mapping[str, object], change: Mapping[str, object]) -> dict[str, object]:
    """Settings with a change; what another architecture has not (options, STRATEGY and HEAD) is dropped, unless the change
    itself names it."""
    new = {**settings, **change}
    fixed = {"STRATEGY": "full", "HEAD": "linear"} if helpers.from_scratch(new["ARCHITECTURE"]) else {}
    legal = helpers.legal_options(new["ARCHITECTURE"])
    options = {name: value for name, value in settings["ARCHITECTURE_OPTIONS"].items() if name in legal}
    return new | {name: value for name, value in (fixed | {"ARCHITECTURE_OPTIONS": options}).items() if name not in change}


def is_random(settings: Mapping[str, object]) -> bool:
    """Whether training starts from random weights: by WEIGHTS, or because the network has no others."""
    return settings["WEIGHTS"] == "random" or helpers.from_scratch(settings["ARCHITECTURE"])


# ---------------------------------------------------------------------------------------- one training

class Experiment:
    """What settings make of the parts of a split: network, transforms, data sets, loaders and recipe.

    `parts` {"train", "val", "test"}: tables with path, label and sha256; images are below `root`. `first_trainable` is the
    first module that learns ("" for all), `costs` counts parameters and multiply-accumulates.
    """

    def __init__(self, settings: Mapping[str, object], parts: Mapping[str, pd.DataFrame], root: Path,
                 classes: Sequence[str]):
        self.settings = dict(settings) | ({"WEIGHTS": "random"} if is_random(settings) else {})
        self.parts, self.root, self.classes = parts, root, list(classes)
        s = self.settings
        self.device = helpers.choose_device(s["DEVICE"])
        self.precision = helpers.choose_precision(s["PRECISION"], self.device)
        self.recipe = helpers.Recipe.of(s)
        self.model, self.preprocessing = helpers.build_network(
            s["ARCHITECTURE"], len(classes), weights=s["WEIGHTS"], seed=s["SEED"], image_size=s["IMAGE_SIZE"],
            options=s["ARCHITECTURE_OPTIONS"], head=s["HEAD"])
        self.first_trainable = helpers.freeze(self.model, s["STRATEGY"])
        self.costs = helpers.count_costs(self.model, s["IMAGE_SIZE"], self.preprocessing["channels"])
        self.model.to(self.device)
        self.transforms = {"train": image_data.make_transform(self.preprocessing, s["IMAGE_SIZE"], s["AUGMENTATION"]),
                           "eval": image_data.make_transform(self.preprocessing, s["IMAGE_SIZE"])}
        self.loaders = {split: self.loader(split) for split in parts}

    def loader(self, split: str, *, learning: bool = True, at_most: int = 0) -> DataLoader:
        """The loader of a part; that of "train" is shuffled and augmented unless learning is False.

        `at_most` images of it, a seeded `proportional_sample`; 0: all.
        """
        varied = split == "train" and learning
        table = proportional_sample(self.parts[split], at_most, seed=self.settings["SEED"])
        images = image_data.ImageDataset(table, self.root, self.classes, self.transforms["train" if varied else "eval"])
        return helpers.make_loader(images, batch_size=self.settings["BATCH_SIZE"], shuffle=varied,
                                   workers=self.settings["WORKERS"])

    @property
    def keeps_features(self) -> bool:
        """Whether the backbone is the same for an image each time, so that one pass over the images is enough."""
        s = self.settings
        return s["STRATEGY"] == "head" and s["AUGMENTATION"] == "none" and self.tail is not None

    @property
    def has_linear_head(self) -> bool:
        """Whether the head takes vectors (N, features), as kept features are."""
        return not isinstance(self.head, nn.Conv2d)

    @property
    def head(self) -> nn.Module:
        """What gives the logits."""
        return self.model.get_submodule(helpers.find_head(self.model))

    @functools.cached_property
    def tail(self) -> Tail | None:
        """What learns on kept features; None where features cannot be kept."""
        if not self.has_linear_head:
            return None
        return find_tail(self.model, self.settings["IMAGE_SIZE"], self.preprocessing["channels"])


def proportional_sample(table: pd.DataFrame, n: int, *, seed: int) -> pd.DataFrame:
    """n rows of a table (column label), drawn at random, in their order: as many of a class as its share, at least one.

    0, or as many as there are: all. The shares hold to within one image.
    """
    if not 0 < n < len(table):
        return table
    drawn = table.sample(frac=1, random_state=seed)
    by_label = drawn.groupby("label")["label"]
    place = by_label.cumcount() / by_label.transform("size")  # 0 for the first of each class
    return table.loc[sorted(place.sort_values(kind="stable").index[:max(n, by_label.ngroups)])].reset_index(drop=True)


@dataclasses.dataclass
class Trained:
    """The outcome of a training: best weights, history (see helpers.fit), and seconds of everything that led to them."""

    weights: dict[str, torch.Tensor]
    history: pd.DataFrame
    seconds: float


def train(experiment: Experiment, features: Path, *, checkpoint: Path | None = None, stamp: str = "", bar: bool = False,
          after_epoch: Callable[[dict], None] | None = None) -> Trained:
    """Train the network of an experiment.

    Where only the head learns, and from images that are not augmented, the backbone is run once over the images and what
    follows it (see `find_tail`) is trained on the features kept. Else, with HEAD_EPOCHS and ImageNet weights, the head is
    first trained alone, which spares the other layers the large first steps that an untrained head causes (linear
    probing, then fine-tuning: Kumar et al. 2022). `features` is the folder in which features are kept for later calls;
    the seconds count their pass over the images in any case. `checkpoint`, `stamp`: see helpers.fit.
    """
    options = {"classes": experiment.classes, "checkpoint": checkpoint, "stamp": stamp, "after_epoch": after_epoch}
    if experiment.keeps_features:
        parts, seconds = kept_features(experiment, features)
        layers = experiment.tail.layers
        best, history = helpers.fit(layers, *_head_loaders(experiment, parts), experiment.recipe, **options)
        layers.load_state_dict(best)
        return Trained(stored_weights(experiment.model), history, seconds + history["seconds"].sum())
    alone = experiment.settings["HEAD_EPOCHS"] and not is_random(experiment.settings)
    seconds = train_head_alone(experiment, features) if alone else 0.0
    weights, history = helpers.fit(experiment.model, experiment.loaders["train"], experiment.loaders["val"],
                                   experiment.recipe, precision=experiment.precision, bar=bar, **options)
    return Trained(weights, history, seconds + history["seconds"].sum())


def train_head_alone(experiment: Experiment, features: Path) -> float:
    """Train the head for HEAD_EPOCHS, leave the weights of its best epoch in the network, and give the seconds it took.

    On kept features; where they cannot be kept, in the network, on images as they are augmented.
    """
    recipe = experiment.recipe.changed({"epochs": experiment.settings["HEAD_EPOCHS"], "patience": 0})
    layers, precision, seconds = experiment.model, experiment.precision, 0.0
    loaders = [experiment.loaders[split] for split in ("train", "val")]
    if experiment.tail is not None:
        parts, seconds = kept_features(experiment, features)
        layers, precision, loaders = experiment.tail.layers, torch.float32, _head_loaders(experiment, parts)
    with only_head_learns(experiment.model):
        best, probe = helpers.fit(layers, *loaders, recipe, classes=experiment.classes, precision=precision)
    layers.load_state_dict(best)
    return seconds + probe["seconds"].sum()


def stored_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the weights and statistics of a network, on the processor."""
    return {name: weight.detach().cpu().clone() for name, weight in model.state_dict().items()}


@contextlib.contextmanager
def only_head_learns(model: nn.Module) -> Iterator[None]:
    """Freeze all but the head while the block runs; afterwards, what learns is what learnt before."""
    learning, training = [weight.requires_grad for weight in model.parameters()], model.training
    helpers.freeze(model, "head")
    try:
        yield
    finally:
        for weight, learns in zip(model.parameters(), learning, strict=True):
            weight.requires_grad_(learns)
        model.train(training)


class Tail(NamedTuple):
    """The module whose input is kept as the features, and the layers that learn on them."""

    start: str
    layers: nn.Sequential


@torch.no_grad()
def find_tail(model: nn.Module, image_size: int, channels: int = 3) -> Tail | None:
    """The layers from the first dropout that acts while the head learns to the head, or None where they are no chain.

    What comes before is frozen and gives the same for an image in every pass. That nothing else varies, and that the
    chain is what the network computes, is tried out: for two random images and the same seed the same must arrive at the
    head, and the same logits leave it, as in the network in training.
    """
    device, statistics = next(model.parameters()).device, [buffer.clone() for buffer in model.buffers()]
    images = torch.randn(2, channels, image_size, image_size, generator=torch.Generator().manual_seed(0)).to(device)
    head = model.get_submodule(helpers.find_head(model))
    with only_head_learns(model), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        helpers.set_train_mode(model)
        torch.manual_seed(0)
        with recorded_calls(model) as calls, kept_inputs(head) as wanted:
            wanted.append(model(images))
        for buffer, before in zip(model.buffers(), statistics, strict=True):
            buffer.copy_(before)  # batch norm without weights is not frozen, and has moved
        tail = _chain(model, calls)
        if tail is None:
            return None
        model.eval()
        with kept_inputs(model.get_submodule(tail.start)) as kept:
            model(images)
        helpers.set_train_mode(tail.layers)
        torch.manual_seed(0)
        try:
            with kept_inputs(head) as given:
                given.append(tail.layers(kept[0].to(device)))
        except RuntimeError:  # shapes that do not fit: something stands between the layers
            return None
    return tail if all(map(_same, given, wanted)) else None


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors differ by no more than rounding, compared with their own size."""
    return one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=1e-3 * float(other.abs().max()))


class Call(NamedTuple):
    """A call of a module: its name and the numbers of axes of input and output."""

    name: str
    axes_in: int
    axes_out: int


@contextlib.contextmanager
def recorded_calls(model: nn.Module) -> Iterator[list[Call]]:
    """The calls of a network's innermost modules, the head as a whole, in their order, while the block runs."""
    head, calls = helpers.find_head(model), []
    def note(name: str) -> Callable:
        return lambda module, inputs, output: calls.append(
            Call(name, getattr(inputs[0], "ndim", 0) if inputs else 0, getattr(output, "ndim", 0)))
    handles = [module.register_forward_hook(note(name)) for name, module in model.named_modules()
               if name == head or not (list(module.children()) or name.startswith(f"{head}."))]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _chain(model: nn.Module, calls: Sequence[Call]) -> Tail | None:
    """The modules called from the first acting dropout to the head, flattened between where axes are lost."""
    head, names = helpers.find_head(model), [call.name for call in calls]
    if names.count(head) != 1:
        return None
    calls = calls[:names.index(head) + 1]
    dropouts = [place for place, call in enumerate(calls) if _drops(model.get_submodule(call.name))]
    start = min([*dropouts, len(calls) - 1])
    if names.count(names[start]) != 1:
        return None
    layers = []
    for before, call in zip([None, *calls[start:]], calls[start:], strict=False):
        layers += [nn.Flatten(1)] if before and before.axes_out > call.axes_in else []
        layers.append(model.get_submodule(call.name))
    return Tail(names[start], nn.Sequential(*layers))


def _drops(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.dropout._DropoutNd) and module.training and module.p > 0


@contextlib.contextmanager
def kept_inputs(module: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Copies of what arrives at a module, float32 on the processor, a call each, while the block runs."""
    kept: list[torch.Tensor] = []
    handle = module.register_forward_pre_hook(
        lambda module, inputs: kept.append(inputs[0].detach().to("cpu", torch.float32, copy=True)))
    try:
        yield kept
    finally:
        handle.remove()


def _head_loaders(experiment: Experiment, parts: Mapping[str, helpers.TensorImages]) -> list[DataLoader]:
    size = experiment.settings["BATCH_SIZE"]
    return [helpers.make_loader(parts[split], batch_size=size, shuffle=split == "train") for split in ("train", "val")]


@torch.no_grad()
def head_inputs(model: nn.Module, loader: DataLoader, *, start: str = "",
                precision: torch.dtype = torch.float32) -> helpers.TensorImages:
    """What arrives at the module `start` ("": the head), (N, C) float32, with the targets, for all images in one pass."""
    device, training, targets = next(model.parameters()).device, model.training, []
    with kept_inputs(model.get_submodule(start or helpers.find_head(model))) as kept:
        model.eval()
        try:
            for images, wanted in loader:
                with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                    model(helpers.to_device(images, device))
                targets += wanted.tolist()
        finally:
            model.train(training)
    return helpers.TensorImages(torch.cat(kept), targets)


def kept_features(experiment: Experiment, folder: Path) -> tuple[dict[str, helpers.TensorImages], float]:
    """What arrives at the `tail` for the images of train and val, not augmented, and the seconds of the pass over them.

    Training features are computed at the precision of training, those of validation in float32. They are kept in
    `folder`; where they are there already for the same network and images (by their pixels), they and their seconds are
    read.
    """
    s, parts, seconds = experiment.settings, {}, 0.0
    network = [s["ARCHITECTURE"], s["ARCHITECTURE_OPTIONS"], s["WEIGHTS"], s["SEED"] if is_random(s) else None,
               s["IMAGE_SIZE"], experiment.preprocessing, experiment.tail.start]
    for split in ("train", "val"):
        precision = experiment.precision if split == "train" else torch.float32
        loader = experiment.loader(split, learning=False)
        pixels = experiment.parts[split]["sha256"].tolist()
        file = folder / f"{helpers.fingerprint(network, str(precision), pixels, loader.dataset.targets)}.pt"
        kept = read_kept(file)
        if not kept:
            start = time.perf_counter()
            images = head_inputs(experiment.model, loader, start=experiment.tail.start, precision=precision)
            kept = {"features": images.tensors[0], "targets": images.targets, "seconds": time.perf_counter() - start}
            folder.mkdir(parents=True, exist_ok=True)
            with helpers.replacing(file) as temporary:
                torch.save(kept, temporary)
        parts[split] = helpers.TensorImages(kept["features"], kept["targets"])
        seconds += kept["seconds"]
    return parts, seconds


def read_kept(file: Path) -> dict:
    """The features in a file, or {} where there is none, or none that can be read."""
    try:
        return torch.load(file, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError):
        return {}


def train_into(run: helpers.Run, settings: Mapping[str, object], parts: Mapping[str, pd.DataFrame], root: Path,
               classes: Sequence[str], *, table: pd.DataFrame, features: Path, bar: bool = False,
               report: Callable[[dict], None] = helpers.print_epoch) -> bool:
    """Train a network and write it into a run folder: history.csv, model.safetensors, model.json.

    model.json tells what did not learn (`first_trainable`, "" where all layers learn; `frozen`, see `unchanged_modules`)
    and how the chosen network scores the training images (`train_unaugmented`, see `score_unaugmented`).
    Where the folder holds the outcome of the same settings and images, that is used again (returns True); an
    interrupted training goes on after its last whole epoch. `table` is the whole split, `features` as in `train`;
    `report` is called with each row of the history.
    """
    stamp = helpers.training_stamp(settings, table)
    if run.is_current(stamp, "model.safetensors", "model.json", "history.csv"):
        return True
    experiment = Experiment(settings, parts, root, classes)
    start = stored_weights(experiment.model)
    with tracking(settings, run.folder) as track:
        trained = train(experiment, features, checkpoint=run.path("checkpoint.pt"), stamp=stamp, bar=bar,
                        after_epoch=lambda row: (report(row), track(row)))
    s = experiment.settings
    helpers.finish_training(run, trained.weights, trained.history, stamp, architecture=s["ARCHITECTURE"],
                            options=s["ARCHITECTURE_OPTIONS"], head=s["HEAD"], classes=list(classes),
                            image_size=s["IMAGE_SIZE"], preprocessing=experiment.preprocessing,
                            split=image_data.split_stamp(table), settings=s, recipe=experiment.recipe,
                            costs=experiment.costs, seconds=trained.seconds, root=str(root), device=str(experiment.device),
                            precision=str(experiment.precision).removeprefix("torch."),
                            first_trainable=experiment.first_trainable,
                            frozen=unchanged_modules(experiment.model, start, trained.weights),
                            train_unaugmented=score_unaugmented(experiment, trained.weights))
    return False


def unchanged_modules(model: nn.Module, before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> list[str]:
    """The outermost modules with weights whose weights and statistics are all the same before and after a training."""
    same, found = {name for name in before if torch.equal(before[name], after[name])}, []
    for name, module in model.named_modules():
        if name and any(True for _ in module.parameters()) and not any(name.startswith(f"{outer}.") for outer in found) \
                and all(f"{name}.{own}" in same for own in module.state_dict()):
            found.append(name)
    return found


def score_unaugmented(experiment: Experiment, weights: Mapping[str, torch.Tensor], *, at_most: int = 1000) -> dict:
    """The training images, not augmented, scored by the given weights in float32: images, of, loss, mean_class_accuracy.

    At most so many of them, a seeded `proportional_sample`. The loss is the plain cross-entropy, a mean over images.
    """
    loader = experiment.loader("train", learning=False, at_most=at_most)
    experiment.model.load_state_dict(weights)
    scores, losses = helpers.predict(experiment.model, loader)
    hits = pd.Series(scores.argmax(1) == loader.dataset.targets)
    return {"images": len(losses), "of": len(experiment.parts["train"]), "loss": float(losses.mean()),
            "mean_class_accuracy": float(hits.groupby(loader.dataset.targets).mean().mean())}


@contextlib.contextmanager
def tracking(settings: Mapping[str, object], folder: Path, name: str = "") -> Iterator[Callable[[dict], None]]:
    """A function that hands each row of a history to the TRACKERS of the settings; they close when the block ends.

    TensorBoard writes to <folder>/tensorboard/; Weights & Biases to <folder>/wandb/, offline unless the environment says
    WANDB_MODE=online (`wandb sync` uploads later).
    """
    name = name or folder.name
    plain = {key: value if isinstance(value, (int, float, str, bool)) else json.dumps(value)
             for key, value in settings.items()}
    with contextlib.ExitStack() as stack:
        logs = []
        if "tensorboard" in settings["TRACKERS"]:
            from torch.utils.tensorboard import SummaryWriter
            writer = stack.enter_context(SummaryWriter(folder / "tensorboard" / name))
            writer.add_text("settings", "\n".join(f"    {key} = {value!r}" for key, value in plain.items()))
            logs.append(lambda row: [writer.add_scalar(key, value, row["epoch"]) for key, value in row.items()])
        if "wandb" in settings["TRACKERS"]:
            import wandb
            mode = os.environ.get("WANDB_MODE", "offline")
            tracked = stack.enter_context(wandb.init(
                project="inside-an-image-classifier", name=name, dir=folder, config=plain, mode=mode,
                reinit="create_new", settings=wandb.Settings(console="off", silent=True)))
            logs.append(lambda row: tracked.log(row, step=row["epoch"]))
        yield lambda row: [log(row) for log in logs]


# ---------------------------------------------------------------------------------------- the comparison

def compare(run: helpers.Run, settings: Mapping[str, object], parts: Mapping[str, pd.DataFrame], root: Path,
            classes: Sequence[str], *, table: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Train the rows of COMPARE on the same split, then score each once on test: (table, {name: history}).

    Columns: name, from_scratch (whether training starts from random weights), trainable, epochs, seconds, val, test (mean
    class accuracy), test_low, test_high (95 % intervals), test_accuracy (overall). Each row is in comparison/<number>/ of
    the run folder, and used again where nothing has changed; a row with the settings of the run itself is the run.
    """
    rows = []
    for number, change in enumerate(settings["COMPARE"], 1):
        own = suited(settings, change)
        name = row_name(settings, change)
        same = helpers.training_stamp(own, table) == helpers.training_stamp(settings, table)
        part = run if same else helpers.Run(str(run.path("comparison", str(number))))
        print(f"{name}:")
        if train_into(part, own, parts, root, classes, table=table, features=run.path("features")):
            print("used again: nothing has changed")
        rows.append((name, part, own))
    found, histories = [], {}
    for name, part, own in rows:  # all are trained: now the test images, once
        model, description, history = helpers.load_trained(part, classes=classes, split=image_data.split_stamp(table))
        model.to(helpers.choose_device(own["DEVICE"]))
        scores = {}
        for split in ("val", "test"):
            transform = image_data.make_transform(description["preprocessing"], description["image_size"])
            loader = helpers.make_loader(image_data.ImageDataset(parts[split], root, classes, transform),
                                         batch_size=own["BATCH_SIZE"], workers=own["WORKERS"])
            predictions = helpers.saved_predictions(part, split, model, loader, parts[split], classes)
            scores[split] = helpers.class_metrics(predictions, classes, groups=parts[split].get("group")).iloc[-1]
            overall = float((predictions["label"] == predictions["predicted"]).mean())
        histories[name] = history
        found.append({"name": name, "from_scratch": is_random(own), "trainable": description["costs"]["trainable"],
                      "epochs": len(history), "seconds": description["seconds"], "val": scores["val"]["accuracy"],
                      "test": scores["test"]["accuracy"], "test_low": scores["test"]["accuracy_low"],
                      "test_high": scores["test"]["accuracy_high"], "test_accuracy": overall})
    return pd.DataFrame(found), histories


def row_name(settings: Mapping[str, object], change: Mapping[str, object]) -> str:
    """What a reader calls a row of the comparison; with all its changes where two rows would have the same name."""
    def short(row):
        own = suited(settings, row)
        kind = "from scratch" if is_random(own) else f"{own['STRATEGY']}, pretrained"
        return f"{own['ARCHITECTURE']}, {kind}"
    twice = [short(row) for row in settings["COMPARE"]].count(short(change)) > 1
    told = f" ({', '.join(f'{key.lower()} {readable(value)}' for key, value in change.items())})" if twice else ""
    return short(change) + told


def readable_comparison(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `compare` for a page."""
    shown = pd.DataFrame({"network": table["name"], "trainable weights": table["trainable"], "epochs": table["epochs"],
                          "seconds": table["seconds"].round().astype(int), "validation": table["val"],
                          "test": table["test"]})
    ends = table[["test_low", "test_high"]].to_numpy()
    shown["test: 95 % interval"] = [f"{low:.3f} to {high:.3f}" for low, high in ends]
    return shown.rename(columns={"validation": "validation: mean class accuracy", "test": "test: mean class accuracy"})


def told_comparison(table: pd.DataFrame, histories: Mapping[str, pd.DataFrame]) -> list[str]:
    """Sentences on the comparison, from its numbers: the best on validation, the quickest, and those from scratch.

    A network without a score is passed over; differences that are shown as 0.000 are called none.
    """
    ranked = table[table["val"].notna()].sort_values("val", ascending=False, kind="stable")
    if ranked.empty:
        return []
    best, quick = ranked.iloc[0], ranked.loc[ranked["seconds"].idxmin()]
    interval = f", 95 % interval {best['test_low']:.3f} to {best['test_high']:.3f}" if pd.notna(best["test_low"]) else ""
    level = ranked.index[(best["val"] - ranked["val"]) < 0.0005].drop(best.name)
    equals = f" Level with it: {', '.join(ranked.loc[level, 'name'])}." if len(level) else ""
    lines = [f"Best on validation: **{best['name']}** ({best['val']:.3f}; test {best['test']:.3f}{interval}).{equals}"]
    if quick["seconds"] < best["seconds"]:
        lines.append(f"Quickest: **{quick['name']}**, in {helpers.duration(quick['seconds'])}: "
                     f"{quick['seconds'] / best['seconds']:.0%} of the best one's time, and "
                     f"{_below(best, quick, 'it')} on validation.")
    for row in ranked[ranked["from_scratch"]].drop(best.name, errors="ignore").to_dict("records"):
        history = histories[row["name"]]
        by_then = history.loc[history["seconds"].cumsum() <= quick["seconds"], "val_mean_class_accuracy"].max()
        lines.append(f"**{row['name']}** stays {_below(best, row, 'the best')} on validation, with "
                     f"{row['trainable']:,} weights that learn, in {helpers.duration(row['seconds'])}."
                     + (f" When the quickest was done, with {quick['val']:.3f}, it had reached {by_then:.3f}."
                        if by_then == by_then and quick["name"] != row["name"] else ""))
    return lines


def _below(best: Mapping, row: Mapping, what: str) -> str:
    """How far a row of the comparison is below the best on validation, in words."""
    gap = best["val"] - row["val"]
    return f"{gap:.3f} below {what}" if gap >= 0.0005 else f"level with {what}"


def readable(value: object) -> str:
    """A value of an option as a reader writes it: 0.00031 with two digits, lists without spaces behind their commas."""
    if isinstance(value, float):
        return f"{value:.2g}"
    return str(value).replace(", ", ",")


def plot_comparison(histories: Mapping[str, pd.DataFrame], *, ax: plt.Axes | None = None) -> plt.Axes:
    """Mean class accuracy on validation by epoch, a line a network, the chosen epoch marked."""
    ax = ax or plt.subplots(figsize=(9, 4), layout="constrained")[1]
    palette = sns.color_palette("colorblind" if len(histories) <= 10 else "husl", len(histories))
    for (name, history), color in zip(histories.items(), palette, strict=True):
        best = helpers.best_epoch(history.to_dict("records"))
        ax.plot(history["epoch"], history["val_mean_class_accuracy"], "o-", markersize=3, color=color, label=name)
        ax.plot(best, history.set_index("epoch").loc[best, "val_mean_class_accuracy"], "*", markersize=14, color=color)
    ax.set(xlabel="epoch", ylabel="mean class accuracy on validation")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), title="★ chosen epoch")
    return ax
