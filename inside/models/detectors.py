"""Detectors of torchvision by name: networks that draw boxes around objects and name them, most of them COCO's 80 kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torchvision
from PIL import Image as PILImage
from torch import nn
from torchvision.transforms import v2

from inside.models.build import load_torchvision, require_torchvision_weights
from inside.text import brief, did_you_mean

_INSTEAD = 'set DETECTOR = "".'


@dataclass(frozen=True)
class Objects:
    """What a detector finds in an image, the highest scores first.

    `boxes` (n,4): left, top, right, bottom in pixels; `names`; `scores` from 0 to 1.
    """

    boxes: Sequence[Sequence[float]]
    names: Sequence[str]
    scores: Sequence[float]


def check_detector(name: str) -> None:
    """Raise ValueError, with the nearest names, unless torchvision has a detector of this name."""
    known = torchvision.models.list_models(module=torchvision.models.detection)
    if name not in known:
        raise ValueError(f"DETECTOR = {brief(name)} is no detector of torchvision: {did_you_mean(name, known, cutoff=0.3)}")


def require_detector(name: str) -> None:
    """Raise ValueError unless it is a detector whose weights are on this machine or, asked once, can be fetched."""
    check_detector(name)
    require_torchvision_weights(name, f"weights of the detector {name}", _INSTEAD)


def build_detector(name: str, *, weights: str = "coco") -> tuple[nn.Module, list[str]]:
    """A detector of torchvision, with its own weights or "random" ones, and the names of its outputs.

    Raises ValueError for an unknown name, and where the weights cannot be had.
    """
    check_detector(name)
    names = torchvision.models.get_model_weights(name).DEFAULT.meta["categories"]
    if weights == "random":
        return torchvision.models.get_model(name, weights=None, weights_backbone=None).eval(), names
    return load_torchvision(name, f"weights of the detector {name}", _INSTEAD).eval(), names


@torch.inference_mode()
def find_objects(detector: nn.Module, names: Sequence[str], image: PILImage.Image, *, least: float = 0.5) -> Objects:
    """The objects in an image whose score is at least `least`."""
    pixels = v2.functional.to_dtype(v2.functional.pil_to_tensor(image), torch.float32, scale=True)
    found = detector([pixels.to(next(detector.parameters()).device)])[0]
    order = found["scores"].argsort(descending=True, stable=True)
    order = order[found["scores"][order] >= least]
    boxes, labels, scores = (found[key][order].tolist() for key in ("boxes", "labels", "scores"))
    return Objects(boxes, [names[label] for label in labels], scores)
