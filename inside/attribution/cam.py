"""Class activation maps, exact where a network allows it, and Grad-CAM."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from inside.attribution.inputs import Inspection, _as_map, _batch, _channels_last, _check_called, _choose_targets, _logits
from inside.feature_maps.hooks import all_modules, as_grid, check_layer, eval_mode, gives_channels_last
from inside.models.surgery import classifier_name
from inside.text import format_share


class NoActivationMap(ValueError):
    """A network none of whose maps has positions."""


@dataclass(frozen=True)
class ActivationMaps:
    """Class activation maps of N images: `maps` (N,h,w), signed, at the resolution of `layer`; by `method`.

    `targets` (N,): the class that each map is of; `logits` (N,classes); `bias` (N,) of these classes, for a "CAM".
    """

    maps: np.ndarray
    layer: str
    method: str
    targets: np.ndarray
    logits: np.ndarray
    bias: np.ndarray | None = None

    @property
    def residual(self) -> float:
        """Of a "CAM": the largest difference between the mean of a map plus the bias and the logit; NaN of others."""
        if self.bias is None:
            return math.nan
        return float(np.abs(self.maps.mean((1, 2)) + self.bias - self.logits[np.arange(len(self.maps)), self.targets]).max())

    @property
    def confidence(self) -> np.ndarray:
        """Softmax score (N,) of the class that each map is of."""
        scores = torch.from_numpy(self.logits).double().softmax(1).numpy()
        return scores[np.arange(len(scores)), self.targets]

    def enlarged(self, size: int | tuple[int, int]) -> np.ndarray:
        """The maps (N,H,W) at the size of the image, bilinear, signed."""
        return F.interpolate(torch.from_numpy(self.maps)[:, None], mode="bilinear",
                             size=(size, size) if isinstance(size, int) else tuple(size))[:, 0].numpy()

    def heat(self, size: int | tuple[int, int]) -> np.ndarray:
        """What is shown: `enlarged`, evidence against the class cut off, (N,H,W) >= 0."""
        return self.enlarged(size).clip(min=0)


def class_activation_maps(model: nn.Module, images: Tensor, targets: int | Sequence[int] | Tensor | None = None, *,
                          layer: str | None = None) -> ActivationMaps:
    """Where images (N,C,H,W), or one (C,H,W), hold evidence for class `targets` (None: the predicted ones).

    With layer None: where the network ends in global average pooling and one linear layer, the exact map
    Σ_c w_kc A_c (method "CAM"; Zhou et al., Learning deep features for discriminative localization, 2016), whose mean plus
    the bias is the logit: that is checked on these images, not taken from the name of the network. Elsewhere, and where
    `layer` is named, Grad-CAM, Σ_c α_c A_c with α_c the mean gradient of the logit over the positions of channel c
    (Selvaraju et al. 2017), before its ReLU; by default of what global average pooling reads, or of the last map with
    positions that the logits depend on. The map is taken as it left its module, also where something overwrites it later.
    NoActivationMap: the network has no map with positions. ValueError: unknown layer, one without positions, a target out
    of range.
    """
    if layer is not None:
        return grad_cam(model, images, targets, layer)
    with eval_mode(model), torch.inference_mode(False), torch.no_grad():
        ending = _PoolingTracer(model)
        logits = ending.run(_batch(model, images))
        chosen = _choose_targets(logits, targets)
        found = ending.exact(logits)
        if found is not None:
            (source, head), bias = found, torch.zeros(len(chosen))
            maps = torch.einsum("nchw,nc->nhw", source, head.weight[chosen])
            bias = bias if head.bias is None else head.bias[chosen].float().cpu()
            return _activation_maps(maps, ending.name, "CAM", chosen, logits, bias.numpy())
    return grad_cam(model, images, targets, None if ending.source is not None else _last_map(model, images))


def _activation_maps(maps: Tensor, layer: str, method: str, targets: Tensor, logits: Tensor,
                     bias: np.ndarray | None = None) -> ActivationMaps:
    arrays = [tensor.detach().float().cpu().numpy() for tensor in (maps, logits)]
    return ActivationMaps(arrays[0], layer, method, targets.cpu().numpy(), arrays[1], bias)


class _PoolingTracer(TorchFunctionMode):
    """How a network ends: the maps that ran last, the linear layers, and `source`, what global average pooling read.

    Whoever averages is met, a module or a function. `source` is None where nothing was averaged over all its positions, or
    where a convolution or normalisation with positions came after it (squeeze-and-excitation).
    """

    LAYOUTS = ((0, 1, 2, 3), (0, 3, 1, 2))  # (N,C,H,W) and (N,H,W,C)

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.source, self.order = model, None, self.LAYOUTS[0]
        self.maps: deque[Tensor] = deque(maxlen=16)  # the last tensors with positions
        self.left: deque[tuple[str, nn.Module, Tensor, int]] = deque(maxlen=32)  # the last modules, and what they gave
        self.linear: list[tuple[nn.Linear, Tensor, Tensor]] = []

    def run(self, x: Tensor) -> Tensor:
        """The logits of images."""
        self.names = {id(module): name for name, module in self.model.named_modules()}
        handles = [module.register_forward_hook(self._leave) for module in self.model.modules()]
        try:
            with self:
                return _logits(self.model, x)
        finally:
            for handle in handles:
                handle.remove()

    def _leave(self, module: nn.Module, inputs: tuple, output: object) -> None:
        if not isinstance(output, Tensor):
            return
        self.left.append((self.names[id(module)], module, output, output._version))
        if isinstance(module, nn.Linear) and output.ndim == 2 and inputs:
            self.linear.append((module, inputs[0], output))
        if isinstance(module, nn.Conv2d | nn.LayerNorm | nn.BatchNorm2d) and _has_positions(output):
            self.source = None

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for x in (*args, *(kwargs or {}).values(), result):
            if isinstance(x, Tensor) and _has_positions(x) and not any(x is known for known in self.maps):
                self.maps.append(x)
        x = args[0] if args else None
        if isinstance(x, Tensor) and isinstance(result, Tensor) and _has_positions(x) and result.ndim >= 2:
            order = self.averaged(x, result.flatten(1))
            if order is not None:
                self.source, self.order = x, order
        return result

    def averaged(self, x: Tensor, pooled: Tensor) -> tuple[int, int, int, int] | None:
        """The layout in which (N,C) `pooled` holds the means of x over its positions, None if it does not."""
        return next((order for order in self.LAYOUTS if pooled.shape == x.permute(order).shape[:2]
                     and _close(pooled, x.permute(order).mean((2, 3)))), None)

    def exact(self, logits: Tensor) -> tuple[Tensor, nn.Linear] | None:
        """The averaged map (N,C,h,w) and the linear layer that makes the logits of its averages, where that is so."""
        for head, read, gave in reversed(self.linear):
            if gave.shape == logits.shape and _close(gave, logits):
                for x in reversed(self.maps):
                    order = self.averaged(x, read)
                    if order is not None:
                        self.source, self.order = x, order
                        return x.permute(order), head
        return None

    @property
    def name(self) -> str:
        """The outermost module, containers apart, that gave the source, if nothing has overwritten it since."""
        plain = (nn.Sequential, nn.Identity, nn.Dropout)
        given = [(name, module) for name, module, output, version in self.left
                 if output is self.source and version == self.source._version]
        names = [name for name, module in given if type(module) not in plain] or [name for name, _ in given]
        return names[-1] if names else "the input of global average pooling"


def _has_positions(x: Tensor) -> bool:
    return x.ndim == 4 and x.is_floating_point() and x.shape[2] * x.shape[3] > 1 and x.numel() > x.shape[0] * x.shape[3]


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((a - b).abs().max() <= 1e-4 * b.abs().max() + 1e-12)


def grad_cam(model: nn.Module, images: Tensor, targets: int | Sequence[int] | Tensor | None = None,
             layer: str | None = None) -> ActivationMaps:
    """Grad-CAM at module `layer`, None: at what global average pooling reads; see class_activation_maps."""
    modules, kept = all_modules(model), []
    if layer is not None:
        check_layer(layer, modules)

    def keep(module: nn.Module, inputs: tuple, output: object) -> Tensor:
        if not isinstance(output, Tensor):
            raise ValueError(f"Module {layer!r} gives a {type(output).__name__}; expected a tensor: choose a module inside "
                             "or around it.")
        kept.append(output)
        return output.clone()  # what follows may overwrite the clone

    with eval_mode(model), torch.inference_mode(False), torch.enable_grad():
        x = _batch(model, images).requires_grad_()
        ending = _PoolingTracer(model)
        handles = [] if layer is None else [modules[layer].register_forward_hook(keep)]
        try:
            logits = ending.run(x) if layer is None else _logits(model, x)
        finally:
            for handle in handles:
                handle.remove()
        _check_called(str(layer), kept if layer is not None else [logits])
        if layer is None and ending.source is None:
            raise ValueError(f"{type(model).__name__} does not end in global average pooling: name a layer.")
        chosen = _choose_targets(logits, targets)
        score = logits.gather(1, chosen[:, None]).sum()
        source = ending.source if layer is None else kept[-1]
        gradient, = torch.autograd.grad(score, source, allow_unused=True)
        gradient = torch.zeros_like(source) if gradient is None else gradient
        last = layer is not None and source.ndim == 4 and _channels_last(model, x.detach(), layer)
        source, gradient = (tensor.permute(ending.order) if layer is None else
                            _as_map(layer, last, tensor) for tensor in (source, gradient))
        maps = (gradient.mean((2, 3), keepdim=True) * source).sum(1)
    return _activation_maps(maps, layer or ending.name, "Grad-CAM", chosen, logits)


def _last_map(model: nn.Module, images: Tensor) -> str:
    """The last convolution or normalisation with positions that the logits depend on; the default of Grad-CAM."""
    found: list[tuple[str, Tensor]] = []
    names = {id(module): name for name, module in model.named_modules()}

    def keep(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        grid = as_grid(output, gives_channels_last(module))
        if grid is not None and grid[0, 0].numel() > 1:
            found.append((names[id(module)], output))
            return output.clone()
        return output

    head = classifier_name(model)
    handles = [module.register_forward_hook(keep) for name, module in model.named_modules()
               if name != head and isinstance(module, nn.Conv2d | nn.LayerNorm) and "attn" not in name]
    try:
        with eval_mode(model), torch.inference_mode(False), torch.enable_grad():
            logits = _logits(model, _batch(model, images)[:1].requires_grad_())
    finally:
        for handle in handles:
            handle.remove()
    for name, output in reversed(found):
        gradient, = torch.autograd.grad(logits.sum(), output, retain_graph=True, allow_unused=True)
        last = gives_channels_last(model.get_submodule(name))
        if gradient is not None and _as_map(name, last, gradient).abs().max() > 0:
            return name
    raise NoActivationMap(f"{type(model).__name__} gives no map with positions: it has no class activation map.")


@dataclass(frozen=True)
class View:
    """One image with its class activation map, for plot_class_activation_maps.

    `picture` (H,W,3); `map` (h,w) signed; `heat` (H,W) >= 0; `title`; `scale`: the value that is shown hottest.
    """

    picture: np.ndarray
    map: np.ndarray
    heat: np.ndarray
    title: str
    scale: float


def view_examples(inspection: Inspection, examples: pd.DataFrame,
                  classes: Sequence[str]) -> tuple[list[View], ActivationMaps]:
    """A View of the predicted class of each example, right ones; of the predicted and then of the true class, wrong ones.

    The two views of a wrong prediction have one scale, so that they can be compared.
    """
    doubled = examples.loc[examples.index.repeat(1 + (examples["label"] != examples["predicted"]))].reset_index(drop=True)
    again = doubled.duplicated("path")
    shown = doubled["predicted"].where(~again, doubled["label"])
    images = inspection.load(doubled["path"])
    found = class_activation_maps(inspection.model, images, [list(classes).index(name) for name in shown])
    heats, pictures = found.heat(inspection.size), inspection.pictures(images)
    scales = pd.Series(heats.max(axis=(1, 2))).groupby(doubled["path"]).transform("max")
    right = doubled["label"] == doubled["predicted"]
    told = np.where(right, "right: ", np.where(again, "true class: ", "predicted: "))
    views = [View(picture, cam, heat, f"{word}{name}, {format_share(score)}", scale)
             for picture, cam, heat, word, name, score, scale
             in zip(pictures, found.maps, heats, told, shown, found.confidence, scales, strict=True)]
    return views, found
