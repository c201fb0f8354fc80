"""Which layers are the same in the fine-tuned and the initial network by construction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import nn

from inside.feature_maps.hooks import capture, eval_mode
from inside.feature_maps.scenarios import Scenario
from inside.models.surgery import empty_image


def frozen_layers(scenarios: Mapping[str, Scenario], layers: Sequence[str]) -> list[str]:
    """Those of `layers` that are the same in the fine-tuned and in the initial network by construction.

    In one pass of an empty image: everything that had begun to run when the layer was ready has the same weights and buffers
    (the statistics of batch norm) in both. None where either network is missing.
    """
    if not {"finetuned_own", "imagenet_own"} <= set(scenarios):
        return []
    tuned, initial = (scenarios[name].model for name in ("finetuned_own", "imagenet_own"))
    before, begun = begun_before(tuned, layers, scenarios["finetuned_own"].preprocessing.get("channels", 3))
    changed = _changed_modules(tuned, initial, begun)
    return [layer for layer in layers if layer in before and not before[layer] & changed]


def begun_before(model: nn.Module, layers: Sequence[str], channels: int = 3) -> tuple[dict[str, set[str]], set[str]]:
    """The modules that have begun to run when each layer is ready, in one pass of an empty image; and all of that pass."""
    begun: list[str] = []
    before: dict[str, set[str]] = {}
    handles = [module.register_forward_pre_hook(lambda module, inputs, name=name: begun.append(name))
               for name, module in model.named_modules()]
    side = _usual_side(model)
    try:
        with eval_mode(model), torch.no_grad(), capture(model, layers, lambda name, _: before.update({name: set(begun)})):
            model(empty_image(model, (side, side), channels))
    finally:
        for handle in handles:
            handle.remove()
    return before, set(begun)


def _usual_side(model: nn.Module) -> int:
    """A side in pixels that a network takes: its own where there is but one."""
    side = getattr(model, "image_size", None) or (getattr(model, "pretrained_cfg", None) or {}).get("input_size", [224])[-1]
    return side if isinstance(side, int) else 224


def _changed_modules(a: nn.Module, b: nn.Module, called: set[str]) -> set[str]:
    """The modules, of those `called`, that own weights or buffers that differ; those of others go to the nearest above."""
    others, changed = b.state_dict(), set()
    for name, tensor in a.state_dict().items():
        if name not in others or not torch.equal(tensor, others[name]):
            changed.add(owner(name, called))
    return changed


def owner(name: str, called: Collection[str]) -> str:
    """The module, of those `called`, that owns a weight or buffer, or else the nearest above the one that does."""
    found = name.rpartition(".")[0]
    while found and found not in called:
        found = found.rpartition(".")[0]
    return found
