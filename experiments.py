"""From settings to a trained network: one training, and several networks side by side.

Settings are the parameters of notebook 01, {NAME: value}. Everything is chosen on validation images; the test images are
touched by `compare` alone, which scores each network once when all are trained.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

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

    def loader(self, split: str, *, learning: bool = True) -> DataLoader:
        """The loader of a part; that of "train" is shuffled and augmented unless learning is False."""
        varied = split == "train" and learning
        images = image_data.ImageDataset(self.parts[split], self.root, self.classes,
                                         self.transforms["train" if varied else "eval"])
        return helpers.make_loader(images, batch_size=self.settings["BATCH_SIZE"], shuffle=varied,
                                   workers=self.settings["WORKERS"])

    @property
    def keeps_features(self) -> bool:
        """Whether the backbone is the same for an image each time, so that one pass over the images is enough."""
        s = self.settings
        return s["STRATEGY"] == "head" and s["AUGMENTATION"] == "none" and self.has_linear_head

    @property
    def has_linear_head(self) -> bool:
        """Whether the head takes vectors (N, features), as kept features are."""
        return not isinstance(self.head, nn.Conv2d)

    @property
    def head(self) -> nn.Module:
        """What gives the logits."""
        return self.model.get_submodule(helpers.find_head(self.model))


@dataclasses.dataclass
class Trained:
    """The outcome of a training: best weights, history (see helpers.fit), and seconds of everything that led to them."""

    weights: dict[str, torch.Tensor]
    history: pd.DataFrame
    seconds: float


def train(experiment: Experiment, features: Path, *, checkpoint: Path | None = None, stamp: str = "", bar: bool = False,
          after_epoch: Callable[[dict], None] | None = None) -> Trained:
    """Train the network of an experiment.

    Where only the head learns, and from images that are not augmented, the backbone is run once over the images and the
    head is trained on the features kept. Else, with HEAD_EPOCHS and ImageNet weights, the head is first trained alone on
    kept features, which spares the other layers the large first steps that an untrained head causes (linear probing,
    then fine-tuning: Kumar et al. 2022). `features` is the folder in which features are kept for later calls; the
    seconds count their pass over the images in any case. `checkpoint`, `stamp`: see helpers.fit.
    """
    options = {"classes": experiment.classes, "checkpoint": checkpoint, "stamp": stamp, "after_epoch": after_epoch}
    recipe, head = experiment.recipe, helpers.find_head(experiment.model)
    if experiment.keeps_features:
        parts, seconds = kept_features(experiment, features)
        best, history = helpers.fit(experiment.head, *_head_loaders(experiment, parts), recipe, **options)
        whole = {name: weight.detach().cpu() for name, weight in experiment.model.state_dict().items()}
        weights = whole | {f"{head}.{name}": weight for name, weight in best.items()}
        return Trained(weights, history, seconds + history["seconds"].sum())
    seconds = 0.0
    if experiment.settings["HEAD_EPOCHS"] and not is_random(experiment.settings) and experiment.has_linear_head:
        parts, seconds = kept_features(experiment, features)
        alone = recipe.changed({"epochs": experiment.settings["HEAD_EPOCHS"], "patience": 0})
        best, probe = helpers.fit(experiment.head, *_head_loaders(experiment, parts), alone, classes=experiment.classes)
        experiment.head.load_state_dict(best)
        seconds += probe["seconds"].sum()
    weights, history = helpers.fit(experiment.model, experiment.loaders["train"], experiment.loaders["val"], recipe,
                                   precision=experiment.precision, bar=bar, **options)
    return Trained(weights, history, seconds + history["seconds"].sum())


def _head_loaders(experiment: Experiment, parts: Mapping[str, helpers.TensorImages]) -> list[DataLoader]:
    size = experiment.settings["BATCH_SIZE"]
    return [helpers.make_loader(parts[split], batch_size=size, shuffle=split == "train") for split in ("train", "val")]


@torch.no_grad()
def head_inputs(model: nn.Module, loader: DataLoader, *, precision: torch.dtype = torch.float32) -> helpers.TensorImages:
    """What arrives at the head, (N, C) float32, with the targets, for all images of a loader in one pass."""
    device, training, kept, targets = next(model.parameters()).device, model.training, [], []
    handle = model.get_submodule(helpers.find_head(model)).register_forward_pre_hook(
        lambda module, inputs: kept.append(inputs[0].float().cpu()))
    try:
        model.eval()
        for images, wanted in loader:
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                model(helpers.to_device(images, device))
            targets += wanted.tolist()
    finally:
        handle.remove()
        model.train(training)
    return helpers.TensorImages(torch.cat(kept), targets)


def kept_features(experiment: Experiment, folder: Path) -> tuple[dict[str, helpers.TensorImages], float]:
    """What arrives at the head for the images of train and val, not augmented, and the seconds of the pass over them.

    Training features are computed at the precision of training, those of validation in float32. They are kept in
    `folder`; where they are there already for the same network and images, they and their seconds are read.
    """
    s, parts, seconds = experiment.settings, {}, 0.0
    network = [s["ARCHITECTURE"], s["ARCHITECTURE_OPTIONS"], s["WEIGHTS"], s["SEED"] if is_random(s) else None,
               s["IMAGE_SIZE"], experiment.preprocessing]
    for split in ("train", "val"):
        precision = experiment.precision if split == "train" else torch.float32
        loader = experiment.loader(split, learning=False)
        file = folder / f"{helpers.fingerprint(network, str(precision), loader.dataset.paths, loader.dataset.targets)}.pt"
        kept = read_kept(file)
        if not kept:
            start = time.perf_counter()
            images = head_inputs(experiment.model, loader, precision=precision)
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

    Where the folder holds the outcome of the same settings and images, that is used again (returns True); an
    interrupted training goes on after its last whole epoch. `table` is the whole split, `features` as in `train`;
    `report` is called with each row of the history.
    """
    stamp = helpers.training_stamp(settings, table)
    if run.is_current(stamp, "model.safetensors", "model.json", "history.csv"):
        return True
    experiment = Experiment(settings, parts, root, classes)
    with tracking(settings, run.folder) as track:
        trained = train(experiment, features, checkpoint=run.path("checkpoint.pt"), stamp=stamp, bar=bar,
                        after_epoch=lambda row: (report(row), track(row)))
    s = experiment.settings
    helpers.finish_training(run, trained.weights, trained.history, stamp, architecture=s["ARCHITECTURE"],
                            options=s["ARCHITECTURE_OPTIONS"], head=s["HEAD"], classes=list(classes),
                            image_size=s["IMAGE_SIZE"], preprocessing=experiment.preprocessing,
                            split=image_data.split_stamp(table), settings=s, recipe=experiment.recipe,
                            costs=experiment.costs, seconds=trained.seconds, root=str(root))
    return False


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

    Columns: name, trainable, epochs, seconds, val, test (mean class accuracy), test_low, test_high (95 % intervals),
    test_accuracy (overall). Each row is in comparison/<number>/ of the run folder, and used again where nothing has
    changed; a row with the settings of the run itself is the run.
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
        found.append({"name": name, "trainable": description["costs"]["trainable"], "epochs": len(history),
                      "seconds": description["seconds"], "val": scores["val"]["accuracy"],
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
    """Sentences on the comparison, from its numbers: the best on validation, the quickest, and those from scratch."""
    ranked = table.sort_values("val", ascending=False)
    best, quick = ranked.iloc[0], table.loc[table["seconds"].idxmin()]
    lines = [f"Best on validation: **{best['name']}** ({best['val']:.3f}; test {best['test']:.3f}, 95 % interval "
             f"{best['test_low']:.3f} to {best['test_high']:.3f})."]
    if quick["name"] != best["name"]:
        lines.append(f"Quickest: **{quick['name']}**, in {helpers.duration(quick['seconds'])}: "
                     f"{quick['seconds'] / best['seconds']:.0%} of the best one's time, and "
                     f"{best['val'] - quick['val']:.3f} below it on validation.")
    for row in ranked[ranked["name"].str.endswith("from scratch")].to_dict("records"):
        if row["name"] != best["name"]:
            history = histories[row["name"]]
            by_then = history.loc[history["seconds"].cumsum() <= quick["seconds"], "val_mean_class_accuracy"].max()
            lines.append(f"**{row['name']}** stays {best['val'] - row['val']:.3f} below the best on validation, with "
                         f"{row['trainable']:,} weights that learn, in {helpers.duration(row['seconds'])}."
                         + (f" When the quickest was done, with {quick['val']:.3f}, it had reached {by_then:.3f}."
                            if by_then == by_then and quick["name"] != row["name"] else ""))
    return lines


def readable(value: object) -> str:
    """A value of an option as a reader writes it: 0.00031 with two digits, lists without spaces."""
    if isinstance(value, float):
        return f"{value:.2g}"
    return str(value).replace(" ", "")


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
