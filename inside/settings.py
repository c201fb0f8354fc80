"""Every notebook parameter: what it may be, and what depends on it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

import yaml

from inside.files import ROOT
from inside.names import AUGMENTATIONS, OPTIMIZERS, SCHEDULES, check_grid, check_split, check_strategy, read_head
from inside.text import did_you_mean

# What each parameter of the notebooks may be: a tuple of words, or (type, smallest, largest).
RULES = {
    "DEMO_IMAGES": (int, 60, 17034),
    "BAD_IMAGES": ("skip", "stop"),
    "SEED": (int, 0, 2**31 - 1),
    "IMAGE_SIZE": (int, 8, 1024),
    "AUGMENTATION": AUGMENTATIONS,
    "BATCH_SIZE": (int, 2, 4096),
    "WORKERS": (int, 0, 64),
    "WEIGHTS": ("imagenet", "random"),
    "EPOCHS": (int, 1, 10_000),
    "OPTIMIZER": OPTIMIZERS,
    "LEARNING_RATE": (float, 1e-8, 10),
    "BACKBONE_FACTOR": (float, 0, 1),
    "WEIGHT_DECAY": (float, 0, 10),
    "SCHEDULE": SCHEDULES,
    "WARMUP": (float, 0, 0.9),
    "LABEL_SMOOTHING": (float, 0, 0.9),
    "CLASS_WEIGHTS": (bool, False, True),
    "BATCH_NORM": ("auto", "frozen", "update"),
    "PATIENCE": (int, 0, 10_000),
    "PRECISION": ("auto", "float32", "bfloat16"),
    "DEVICE": ("auto", "cpu", "cuda", "mps"),
    "HEAD_EPOCHS": (int, 0, 10_000),
    "SEARCH_TRIALS": (int, 0, 10_000),
    "SEARCH_SAMPLER": ("tpe", "random", "grid"),
    "SEARCH_EPOCHS": (int, 0, 10_000),
    "SEARCH_IMAGES": (int, 0, 100_000_000),
    "FINAL_SEEDS": (int, 0, 100),
    "N_IMAGES": (int, 4, 100_000),
    "MAP_SIZE": (int, 32, 1024),
    "RANDOM_DRAWS": (int, 1, 100),
    "RANDOMISED_IMAGES": (int, 0, 10_000),
    "OCCLUDED_IMAGES": (int, 0, 10_000),
    "TOP_K": (int, 1, 100_000),
    "RESAMPLES": (int, 10, 10_000),
    "OVERLAP_DIRECTIONS": (int, 1, 1000),
    "RESOLUTION_CONTROL": (bool, False, True),
    "TRAIN": (bool, False, True),
    "INTERACTIVE": (bool, False, True),
}


def check_parameters(values: Mapping[str, object]) -> dict[str, object]:
    """The notebook parameters in `values` (UPPER_CASE names), each checked against its legal range.

    Names that are no parameter are passed over, so that `globals()` can be given. Raises ValueError for the first
    value that is not legal. Returns {name: value}, JSON-able.
    """
    checked = {}
    for name, rule in RULES.items():
        if name not in values:
            continue
        value = values[name]
        if isinstance(rule[0], str):
            if value not in rule:
                raise ValueError(f"{name} = {value!r} is not legal: {did_you_mean(value, rule)}")
        else:
            kind, low, high = rule
            kinds = (int, float) if kind is float else kind
            fits = isinstance(value, kinds) and isinstance(value, bool) == (kind is bool)
            if not fits or not low <= value <= high:
                legal = "True or False" if kind is bool else f"{kind.__name__} from {low:g} to {high:g}"
                raise ValueError(f"{name} = {value!r} is not legal: it takes {legal}.")
        checked[name] = value
    for name, check in (("SPLIT", check_split), ("STRATEGY", check_strategy), 
                        ("HEAD", read_head), ("SAMPLE_GRID", check_grid)):
        if name in values:
            check(values[name])
            checked[name] = values[name]
    for name, kind in KINDS.items():
        if name in values:
            if not isinstance(values[name], kind):
                raise ValueError(f"{name} = {values[name]!r} is not legal: it takes a {kind.__name__}.")
            checked[name] = values[name]
    return checked


KINDS = {"RUN": str, "DATASET": str, "ARCHITECTURE": str, "RANKED_CLASSES": list, "LAYERS": list, "NEURON_LAYER": str,
         "NEURONS": list, "IMAGENET_VAL": str, "CIFAR10": str,
         "ARCHITECTURE_OPTIONS": dict, "SEARCH_SPACE": dict, "STUDY_STORAGE": str, "COMPARE": list, "TRACKERS": list}
NOT_OF_TRAINING = ("RUN", "DATASET", "DEMO_IMAGES", "BAD_IMAGES", "RANKED_CLASSES", "SAMPLE_GRID", "TRAIN", "INTERACTIVE",
                   "SEARCH_TRIALS", "SEARCH_SPACE", "SEARCH_SAMPLER", "SEARCH_EPOCHS", "SEARCH_IMAGES", "STUDY_STORAGE",
                   "FINAL_SEEDS", "COMPARE", "TRACKERS")
SEARCHABLE = ("IMAGE_SIZE", "AUGMENTATION", "BATCH_SIZE", "ARCHITECTURE", "WEIGHTS", "HEAD", "STRATEGY", "HEAD_EPOCHS",
              "EPOCHS", "OPTIMIZER", "LEARNING_RATE", "BACKBONE_FACTOR", "WEIGHT_DECAY", "SCHEDULE", "WARMUP",
              "LABEL_SMOOTHING", "CLASS_WEIGHTS", "BATCH_NORM", "PATIENCE", "PRECISION")
COMPARABLE = (*SEARCHABLE, "ARCHITECTURE_OPTIONS", "SEED")
TRACKERS = ("tensorboard", "wandb")  # also the names of their packages
PROFILES = ROOT / "profiles"


def read_profile(name: str) -> dict[str, object]:
    """The parameters of a profile: the name of a file in profiles/, or a path. Raises ValueError."""
    path = next((path for path in (Path(name), PROFILES / f"{name}.yaml") if path.is_file()), None)
    if path is None:
        legal = sorted(file.stem for file in PROFILES.glob("*.yaml"))
        raise ValueError(f"There is no profile {name!r}: {did_you_mean(name, legal)}")
    profile = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if not isinstance(profile, dict):
        raise ValueError(f"The profile {path} holds no parameters: it takes lines like 'EPOCHS: 4'.")
    return {"RUN": path.stem} | profile


def parse_value(text: str, default: object) -> object:
    """The value of `-p NAME text`, as the type of the default where that is text, else as a Python or YAML literal."""
    if isinstance(default, str):
        return text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.lower(), text)


def check_types(given: Mapping[str, object], defaults: Mapping[str, object]) -> None:
    """Raise ValueError for a parameter that no notebook declares, or whose type is not that of its default."""
    for name, value in given.items():
        if name not in defaults:
            raise ValueError(f"No notebook has a parameter {name!r}: {did_you_mean(name.upper(), defaults)}")
        wanted = type(defaults[name])
        kinds = (int, float) if wanted is float else wanted
        fits = isinstance(value, kinds) and isinstance(value, bool) == (wanted is bool)
        if not fits:
            raise ValueError(f"{name} = {value!r} is of type {type(value).__name__}: it takes {wanted.__name__}, "
                             f"such as {defaults[name]!r}.")
    check_parameters(given)
