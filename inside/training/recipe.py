"""How to train: optimiser, schedule, class weights."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from inside.models.build import from_scratch
from inside.models.surgery import classifier_name


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to train: what `fit` needs to know besides network and images.

    learning_rate is that of the head; the other layers are trained at backbone_factor times that. warmup is the fraction
    of all steps over which the rate rises. batch_norm "frozen" keeps the initial running statistics, "update"
    updates them. patience is the number of epochs without improvement before stopping, 0: never.
    """

    epochs: int = 4
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    backbone_factor: float = 0.1
    weight_decay: float = 0.01
    schedule: str = "cosine"
    warmup: float = 0.1
    label_smoothing: float = 0.1
    class_weights: bool = False
    batch_norm: str = "update"
    patience: int = 0
    seed: int = 0

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Recipe:
        """The recipe in notebook parameters: EPOCHS is epochs, and so on.

        BATCH_NORM = "auto" is "frozen" for ImageNet weights and "update" for random ones, which have no statistics yet.
        Random weights are all trained at the full rate, whatever BACKBONE_FACTOR is.
        """
        recipe = cls(**{field.name: settings[field.name.upper()] for field in dataclasses.fields(cls)})
        random = settings["WEIGHTS"] == "random" or from_scratch(settings["ARCHITECTURE"])
        automatic = {"batch_norm": "update" if random else "frozen"} if recipe.batch_norm == "auto" else {}
        return recipe.changed(automatic | ({"backbone_factor": 1.0} if random else {}))

    def changed(self, settings: Mapping[str, Any]) -> Recipe:
        """The same recipe with other values for some fields."""
        return dataclasses.replace(self, **settings)


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimiser of the trainable weights: the head at the full rate, the rest at backbone_factor times that.

    Weight decay excludes biases and norms (one-dimensional weights).
    """
    head = classifier_name(model)
    groups: dict[tuple, list] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            rate = recipe.learning_rate * (1 if not head or name.startswith(f"{head}.") else recipe.backbone_factor)
            groups.setdefault((rate, recipe.weight_decay if weight.ndim > 1 else 0.0), []).append(weight)
    groups_of = [{"params": weights, "lr": rate, "weight_decay": decay} for (rate, decay), weights in sorted(
        groups.items(), key=lambda item: item[0])]
    fused = next(model.parameters()).device.type == "cuda"
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups_of, momentum=0.9, nesterov=True, fused=fused)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer](groups_of, fused=fused)


def make_scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate per step: warm-up, then constant, half a cosine to zero, or one cycle (Smith 2018).

    At least one step has the full rate. One cycle needs two steps of warm-up; with fewer it decays like "cosine".
    """
    warm = min(round(recipe.warmup * steps), steps - 1)
    if recipe.schedule == "one_cycle" and warm > 1:
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, [group["lr"] for group in optimizer.param_groups], steps,
                                                   pct_start=warm / steps, cycle_momentum=False)
    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / (warm + 1)
        if recipe.schedule == "constant":
            return 1.0
        return 0.5 + 0.5 * math.cos(math.pi * (step - warm) / max(1, steps - warm))
    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def balanced_weights(targets: Sequence[int], n_classes: int) -> torch.Tensor:
    """Class weights inversely proportional to the class sizes, with mean 1 over the images; (n_classes,) float32."""
    counts = np.bincount(targets, minlength=n_classes)
    return torch.tensor(counts.sum() / (n_classes * np.maximum(counts, 1)), dtype=torch.float32)
