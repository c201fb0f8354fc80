"""Which settings fit together: architecture, options, head, strategy, weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from inside.models.build import check_options, from_scratch, legal_options
from inside.models.surgery import updates_batch_norm
from inside.training.recipe import Recipe


def check_network(settings: Mapping[str, Any]) -> None:
    """Raise ValueError unless architecture, options, head and strategy fit together."""
    architecture = settings["ARCHITECTURE"]
    check_options(architecture, settings["ARCHITECTURE_OPTIONS"], settings["IMAGE_SIZE"])
    if from_scratch(architecture):
        for name, only in (("STRATEGY", "full"), ("HEAD", "linear")):
            if settings[name] != only:
                raise ValueError(f"{name} = {settings[name]!r} needs a network with ImageNet weights, which {architecture} "
                                 f"does not have: set {name} = {only!r}.")


def check_batch_norm(settings: Mapping[str, Any], model: nn.Module, device: torch.device) -> None:
    """Raise ValueError where several processes on processors would each update batch norm from their own images alone."""
    together = device.type == "cpu" and settings["PROCESSES"] not in (1, "auto")
    if together and updates_batch_norm(model, Recipe.of(settings).batch_norm):
        raise ValueError(f"PROCESSES = {settings['PROCESSES']} cannot update batch norm on processors (BATCH_NORM = "
                         f"{settings['BATCH_NORM']!r}): set PROCESSES = 1, or BATCH_NORM = \"frozen\".")


def with_overrides(settings: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with a change; what the new architecture does not have (options, STRATEGY and HEAD) is dropped, unless the
    change itself names it."""
    new = {**settings, **change}
    fixed = {"STRATEGY": "full", "HEAD": "linear"} if from_scratch(new["ARCHITECTURE"]) else {}
    legal = legal_options(new["ARCHITECTURE"])
    options = {name: value for name, value in settings["ARCHITECTURE_OPTIONS"].items() if name in legal}
    return new | {name: value for name, value in (fixed | {"ARCHITECTURE_OPTIONS": options}).items() if name not in change}


def is_random(settings: Mapping[str, Any]) -> bool:
    """Whether training starts from random weights: because of WEIGHTS, or because the network has no others."""
    return settings["WEIGHTS"] == "random" or from_scratch(settings["ARCHITECTURE"])


def frozen_backbone(settings: Mapping[str, Any]) -> bool:
    """Whether only the head is trained, on images that are not augmented: then one pass over the images gives its inputs."""
    return settings["STRATEGY"] == "head" and settings["AUGMENTATION"] == "none"
