"""What a network makes of images before its head: the features that the last layer classifies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from torch.utils.data import DataLoader

from inside.data.loading import TensorImages, to_device
from inside.device import InParts
from inside.models.surgery import classifier_name, kept_modes
from inside.processes import gather


@contextlib.contextmanager
def kept_inputs(module: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Copies of the input of a module, float32 on the CPU, one per call, while the block runs."""
    kept: list[torch.Tensor] = []
    handle = module.register_forward_pre_hook(
        lambda module, inputs: kept.append(inputs[0].detach().to("cpu", torch.float32, copy=True)))
    try:
        yield kept
    finally:
        handle.remove()


@torch.no_grad()
def penultimate_features(model: nn.Module, loader: DataLoader, *, start: str = "",
                precision: torch.dtype = torch.float32) -> TensorImages:
    """The input of the module `start` ("": the head), (N, C) float32, with the targets, for all images in one pass.

    Where several processes compute, each takes its share (see `make_loader`), and rank 0 has those of all.
    """
    device, targets, in_parts = next(model.parameters()).device, [], InParts()
    with kept_inputs(model.get_submodule(start or classifier_name(model))) as kept, kept_modes(model), \
            torch.autocast(device.type, precision, enabled=precision != torch.float32):
        model.eval()
        for images, wanted in loader:
            in_parts(lambda part: model(to_device(part, device)), images)
            targets += wanted.tolist()
    found = [part for part in gather((torch.cat(kept), targets) if kept else (), to_all=False) if part]
    features = torch.cat([part[0] for part in found]) if found else torch.empty(0)
    return TensorImages(features, [target for part in found for target in part[1]])
