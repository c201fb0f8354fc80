"""A network with the images that it is asked about; filters and maps for display."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from inside.data.sources import ImageSet
from inside.data.split import Split
from inside.data.table import load_image
from inside.data.transforms import Transform, make_transform
from inside.evaluation.predictions import saved_predictions
from inside.feature_maps.hooks import (
    all_modules,
    as_grid,
    capture,
    check_layer,
    eval_mode,
    gives_channels_last,
    only_tensor,
)
from inside.feature_maps.scenarios import Scenario
from inside.feature_maps.tracing import channel_axes
from inside.files import RunFolder
from inside.models.saved import SavedModel
from inside.models.surgery import classifier_name, first_parameter


@dataclass(frozen=True)
class Inspection:
    """A network and the images that its explanations are of, at the size (pixels a side) at which it reads them.

    `predictions`: its predictions of all test images (see prediction_table), None where it was not fine-tuned; `classes`.
    """

    model: nn.Module
    preprocessing: Mapping
    size: int
    root: Path
    predictions: pd.DataFrame | None = None
    classes: Sequence[str] = ()

    @property
    def missing(self) -> str:
        """What is missing that explanations of predictions take, in words for the reader; "" where all is there."""
        told = "the fine-tuned network of notebook 01" if self.predictions is None else ""
        if first_convolution(self.model) is not None:
            return told
        return f"{told}, and one with convolutions" if told else "a network with convolutions"

    @property
    def transform(self) -> Transform:
        """PIL image -> (C,size,size), as the network reads it."""
        return make_transform(self.preprocessing, self.size)

    @property
    def channels(self) -> int:
        """How many channels the network reads."""
        return self.preprocessing.get("channels", 3)

    def load(self, paths: Sequence[str]) -> Tensor:
        """The images (N,C,H,W) as the network reads them."""
        return torch.stack([self.transform(load_image(self.root / path)) for path in paths])

    def pictures(self, images: Tensor) -> np.ndarray:
        """Images (N,C,H,W) for display again: (N,H,W,3), 0 … 1."""
        mean, std = (torch.tensor(self.preprocessing[name]).view(-1, 1, 1) for name in ("mean", "std"))
        return (images * std + mean).clamp(0, 1).expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()


def open_inspection(run: RunFolder, scenario: Scenario, own: ImageSet, map_size: int) -> Inspection:
    """The network of a scenario with the own images, and its predictions of all test images.

    For the fine-tuned network the size is that at which notebook 01 has trained and tested it, and the predictions are
    notebook 01's, so that the confidences are the same. For another network: `map_size`, and no predictions.
    """
    if scenario.name != "finetuned_own":
        return Inspection(scenario.model, scenario.preprocessing, map_size, own.root)
    saved, split = SavedModel.of(run), Split.read(run.path("split.csv"), own.root)
    return Inspection(scenario.model, scenario.preprocessing, saved.image_size, own.root, classes=saved.classes,
                      predictions=saved_predictions(run, "test", scenario.model, split))


def describe_sizes(inspection: Inspection, map_size: int) -> str:
    """At which size the images are explained, and at which other one, `map_size`, the feature maps are measured."""
    told = f"The explanations are of images at {inspection.size}×{inspection.size} pixels"
    if inspection.size == map_size:
        return f"{told}, the size at which the feature maps above are measured."
    return (f"{told}, the size at which this network was trained and tested; the feature maps above are measured at "
            f"{map_size}×{map_size}.")


SHOWN_FILTERS = 8  # at most, of the first layer


def first_convolution(model: nn.Module) -> str | None:
    """The name of the first convolution, "" where the network is one, None where there is none."""
    return next((name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)), None)


def first_filters(model: nn.Module) -> np.ndarray:
    """The kernels of the first convolution for display: (K,h,w,3) or (K,h,w,1), each stretched to 0 … 1.

    ValueError: no convolution, or one that reads neither 1 nor 3 channels.
    """
    name = first_convolution(model)
    if name is None:
        raise ValueError(f"{type(model).__name__} has no convolution, and so no filters that could be shown.")
    weight = model.get_submodule(name).weight
    if weight.shape[1] not in (1, 3):
        raise ValueError(f"The filters of the first convolution of {type(model).__name__} cannot be shown as pictures: they "
                         f"read {weight.shape[1]} channels; expected 1 or 3.")
    kernels = weight.detach().float().cpu().permute(0, 2, 3, 1).numpy()
    low, high = kernels.min(axis=(1, 2, 3), keepdims=True), kernels.max(axis=(1, 2, 3), keepdims=True)
    return (kernels - low) / np.maximum(high - low, np.finfo(np.float32).tiny)


def feature_maps_of(model: nn.Module, image: Tensor, layer: str) -> np.ndarray:
    """The feature maps (K,h,w) that module `layer` gives for `image` (C,H,W), of its last call; tokens laid out as a grid.

    ValueError: unknown layer, or one whose output has no positions.
    """
    kept, images = [], _batch(model, image)
    last = _channels_last(model, images, layer)

    def keep(name: str, output: object) -> None:
        kept.append(_as_map(name, last, output).detach().clone())

    with eval_mode(model), torch.no_grad(), capture(model, [layer], keep):
        model(images)
    _check_called(layer, kept)
    return kept[-1][0].float().cpu().numpy()


def _channels_last(model: nn.Module, images: Tensor, layer: str) -> bool:
    """Whether the four axes of a layer's output are (N,h,w,C): from its type, or where that does not tell from one pass."""
    check_layer(layer, all_modules(model))
    module = all_modules(model)[layer]
    if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
        return isinstance(module, nn.Linear)
    axis = channel_axes(model, images[:1], [layer])[layer]
    return gives_channels_last(module) if axis is None else axis == -1


def _as_map(name: str, last: bool, output: object) -> Tensor:
    """The `as_grid` of an output; ValueError where it has none."""
    x = only_tensor(name, output)
    if (grid := as_grid(x, last)) is None:
        raise ValueError(f"Module {name!r} gives shape {tuple(x.shape)}; expected one with positions: (N,C,H,W), or tokens "
                         "(N,T,C) on a square grid.")
    return grid


def _check_called(layer: str, outputs: Sequence) -> None:
    if not outputs:
        raise ValueError(f"Module {layer!r} was never called; expected modules with calls > 0 in the module table.")


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    """Logits (N,classes); the network gets a copy, since some work on their input in place. ValueError: other shapes."""
    logits = only_tensor("the network", model(images.clone()))
    if logits.ndim != 2:
        raise ValueError(f"The network gives values of shape {tuple(logits.shape)}; expected logits (N, classes).")
    return logits


def _batch(model: nn.Module, images: Tensor) -> Tensor:
    """A copy of images (N,C,H,W), or of one (C,H,W), on the network's device and of its type."""
    if images.ndim not in (3, 4):
        raise ValueError(f"The images have shape {tuple(images.shape)}; expected (N,C,H,W), and (C,H,W) for one.")
    like = first_parameter(model)
    images = images.detach() if images.ndim == 4 else images.detach()[None]
    return images.to(like.device, like.dtype, copy=True, memory_format=torch.channels_last)  # much faster on processors


def _choose_targets(logits: Tensor, targets: int | Sequence[int] | Tensor | None) -> Tensor:
    """The class of each image (N,): those given (one for all, or one each), or the predicted ones."""
    if targets is None:
        return logits.argmax(1)
    chosen = _for_each("targets", targets, logits)
    wrong = next((int(target) for target in chosen if not 0 <= target < logits.shape[1]), None)
    if wrong is not None:
        raise ValueError(f"target is {wrong}; expected 0 to {logits.shape[1] - 1}.")
    return chosen


def _for_each(name: str, values: int | Sequence[int] | Tensor, images: Tensor) -> Tensor:
    """One integer for each image (N,): those given, or the one given for all."""
    chosen = torch.as_tensor(values, device=images.device).long().flatten()
    if len(chosen) not in (1, len(images)):
        raise ValueError(f"{name} holds {len(chosen)} numbers for {len(images)} images; expected one for all, or one each.")
    return chosen.expand(len(images))


def last_convolution(model: nn.Module) -> str:
    """The name of the last convolution, a head apart. ValueError: there is none."""
    head = classifier_name(model)
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d) and name and name != head]
    names = [name for name in names if not re.search(r"downsample|shortcut|aux", name.lower())] or names
    if not names:
        raise ValueError(f"{type(model).__name__} has no convolution: name a layer.")
    return names[-1]


def pick_examples(predictions: pd.DataFrame, classes: Sequence[str], *, right: bool, per_class: int = 2,
                  seed: int = 0) -> pd.DataFrame:
    """Rows of a prediction table, at most `per_class` of each class: right ones drawn, wrong ones the most confident."""
    hit = predictions["label"] == predictions["predicted"]
    rows = predictions[hit].sample(frac=1, random_state=seed) if right else \
        predictions[~hit].sort_values("confidence", ascending=False, kind="stable")
    order = {name: index for index, name in enumerate(classes)}
    return rows.groupby("label").head(per_class).sort_values("label", key=lambda label: label.map(order),
                                                             kind="stable").reset_index(drop=True)
