"""The outline of a network: names and shapes without weights, on torch's meta device, in a tenth of a second."""

from __future__ import annotations

import functools
import json
from typing import Any

import torch
from torch import Tensor, nn

from inside.models.build import build_network

USUAL_SIZES = (224, 256, 384, 240, 299, 192, 336, 448, 518, 64)  # of images, in pixels: what networks of one size take


class Outline:
    """A network that has names and shapes, but neither weights nor outputs; the arguments are those of `build_network`."""

    def __init__(self, **kind: Any):
        with torch.device("meta"):
            self.model, self.preprocessing = build_network(**kind, weights="random")
        self.model.eval()

    @property
    def weights(self) -> int:
        """The number of weights."""
        return sum(weight.numel() for weight in self.model.parameters())

    @functools.cache  # noqa: B019  outlines are few, and kept for as long as the process checks
    def shapes(self, image_size: int) -> dict[str, tuple[int, ...]]:
        """{module that is called: the shape of its output, without the batch axis}; () where that is no single tensor."""
        found: dict[str, tuple[int, ...]] = {}

        def note(name: str, module: nn.Module, inputs: object, output: object) -> None:
            found[name] = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
        handles = [module.register_forward_hook(functools.partial(note, name))
                   for name, module in self.model.named_modules(remove_duplicate=False)]
        try:
            with torch.no_grad():
                self.model(torch.zeros(2, self.preprocessing["channels"], image_size, image_size, device="meta"))
        finally:
            for handle in handles:
                handle.remove()
        return found

    def takes(self, image_size: int) -> bool:
        """Whether the network can work on images of this size, in pixels per side."""
        try:
            return bool(self.shapes(image_size))
        except Exception:  # each network has its own kind
            return False

    def check_size(self, name: str, image_size: int) -> None:
        """ValueError unless the network takes images of this size, the value of the parameter `name`.

        Where it takes no usual size either, the meta device is at fault, and nothing is said.
        """
        if not self.takes(image_size) and (legal := next(filter(self.takes, USUAL_SIZES), None)):
            raise ValueError(f"{name} = {image_size}: {type(self.model).__name__} cannot work on images of {image_size}×"
                             f"{image_size} pixels; {name} = {legal} is possible.")


@functools.lru_cache(maxsize=64)
def _outline(kind: str) -> Outline | None:
    try:
        return Outline(**json.loads(kind))
    except ValueError:
        raise
    except Exception:  # something in it cannot be made on the meta device
        return None


def outline(architecture: str, n_classes: int = 2, **kind: Any) -> Outline | None:
    """The `Outline` of a network, made once for equal arguments; None where the meta device cannot make it.

    Raises ValueError as `build_network` does.
    """
    return _outline(json.dumps({"architecture": architecture, "n_classes": n_classes, **kind}, sort_keys=True))
