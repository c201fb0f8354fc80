"""The words that are valid parameters, and the checks of those that are more than a word. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Sequence

from inside.text import brief, did_you_mean

SPLITS = ("train", "val", "test")
DATASETS = {"demo": 0, "digits": 1797, "photo_patches": 208, "intel": 17034, "cifar10": 60000, "mnist": 70000,
            "imagenette": 13394}  # their images; 0: as many as are asked for
AUGMENTATIONS = ("none", "light", "strong")
OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "cosine", "one_cycle")
STRATEGIES = ("head", "last_stage", "full")
MOST_IMAGES = 100_000_000
TRACKERS = ("tensorboard", "wandb")  # also the names of their packages


def check_run(run: str) -> None:
    """Raise ValueError unless `run` is a name of letters, digits and -_.+, or a path (with a slash)."""
    if not re.fullmatch(r"[\w.+-]+", run) and not re.search(r"[/\\]", run) or run in (".", ".."):
        raise ValueError(f"RUN = {brief(run)} is not valid: it takes letters, digits, '-', '_' and '.', or a path.")


def check_split(sizes: Sequence[float]) -> None:
    """Raise ValueError unless `sizes` is three fractions that sum to at most 1, or three counts of at least 1."""
    numbers = isinstance(sizes, (list, tuple)) and len(sizes) == 3 and all(
        isinstance(size, (int, float)) and not isinstance(size, bool) and 0 < size <= MOST_IMAGES for size in sizes)
    counts = numbers and all(isinstance(size, int) for size in sizes)
    if not numbers or not counts and not sum(sizes) <= 1 + 1e-9:
        raise ValueError(f"SPLIT = {brief(sizes)} is not valid: it takes three fractions, for train, validation and test, "
                         "that sum to at most 1, such as [0.7, 0.15, 0.15], or three counts of images.")


def check_strategy(strategy: str) -> None:
    """Raise ValueError unless `strategy` is one of STRATEGIES or from_layer:<name>."""
    if strategy not in STRATEGIES and not str(strategy).startswith("from_layer:"):
        legal = [*STRATEGIES, "from_layer:<name>"]
        raise ValueError(f"STRATEGY = {brief(strategy)} is not valid: {did_you_mean(strategy, legal)}")


def read_head(head: str) -> tuple[int, float]:
    """The width of the hidden layer of HEAD (0: none) and its dropout: "linear", "mlp:<width>", "mlp:<width>:<dropout>"."""
    if head == "linear":
        return 0, 0.0
    found = re.fullmatch(r"mlp:([1-9]\d{0,4})(?::(0(?:\.\d+)?))?", head) if isinstance(head, str) else None
    if not found:
        raise ValueError(f"HEAD = {brief(head)} is not valid: it takes \"linear\", or \"mlp:<width>:<dropout>\" such as "
                         "\"mlp:2048:0.3\", with a width from 1 to 99999 and a dropout below 1.")
    return int(found[1]), float(found[2] or 0)


def check_grid(grid: Sequence[int]) -> None:
    """Raise ValueError unless `grid` is two whole numbers from 1 to 20, the rows and columns of a grid of images."""
    numbers = isinstance(grid, (list, tuple)) and len(grid) == 2 and all(type(side) is int for side in grid)
    if not numbers or not all(1 <= side <= 20 for side in grid):
        raise ValueError(f"SAMPLE_GRID = {brief(grid)} is not valid: it takes rows and columns from 1 to 20, such as "
                         "[3, 10].")
