"""What a network looks at: filters, guided backpropagation, class activation maps, and checks of these explanations.

An *explanation* is a map over an image that says where the evidence for a score, or for one unit of a layer, lies. Each
comes with two checks: does it change when the weights are drawn anew (`randomisation_check`), and does hiding what it
points at lower the score (`occlusion_check`)?
"""

from __future__ import annotations

import copy
import itertools
import math
import re
import textwrap
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.fft import dctn, idctn
from scipy.stats import rankdata, spearmanr
from scipy.stats import t as student_t
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import CheckpointError

import helpers
import image_data
from feature_maps import (
    Images,
    Scenario,
    all_modules,
    capture,
    channel_axes,
    check_layer,
    evaluating,
    first_parameter,
    gives_channels_last,
    only_tensor,
    rectifier_ceiling,
)


@dataclass(frozen=True)
class Inspection:
    """A network and the images that its explanations are of, at the size (pixels a side) at which it reads them."""

    model: nn.Module
    preprocessing: Mapping
    size: int
    root: Path

    @property
    def transform(self) -> Callable:
        """PIL image -> (C,size,size), as the network reads it."""
        return image_data.make_transform(self.preprocessing, self.size)

    @property
    def channels(self) -> int:
        """How many channels the network reads."""
        return self.preprocessing.get("channels", 3)

    def load(self, paths: Sequence[str]) -> Tensor:
        """The images (N,C,H,W) as the network reads them."""
        return torch.stack([self.transform(image_data.load_image(self.root / path)) for path in paths])

    def pictures(self, images: Tensor) -> np.ndarray:
        """Images (N,C,H,W) for display again: (N,H,W,3), 0 … 1."""
        mean, std = (torch.tensor(self.preprocessing[name]).view(-1, 1, 1) for name in ("mean", "std"))
        return (images * std + mean).clamp(0, 1).expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()


def open_inspection(run: helpers.Run, scenario: Scenario, own: Images,
                    map_size: int) -> tuple[Inspection, pd.DataFrame | None]:
    """The network of a scenario with the own images, and its predictions of all test images (see helpers.prediction_table).

    For the fine-tuned network the size is that at which notebook 01 has trained and tested it, and the predictions are
    notebook 01's, so that the confidences are the same. For another network: `map_size`, and no predictions.
    """
    if scenario.name != "finetuned_own":
        return Inspection(scenario.model, scenario.preprocessing, map_size, own.root), None
    description = helpers.read_json(run.path("model.json"))
    found = Inspection(scenario.model, scenario.preprocessing, description["image_size"], own.root)
    table = image_data.read_split(run.path("split.csv"))
    table, classes = table[table["split"] == "test"].reset_index(drop=True), description["classes"]
    loader = helpers.make_loader(image_data.ImageDataset(table, own.root, classes, found.transform), batch_size=32)
    return found, helpers.saved_predictions(run, "test", scenario.model, loader, table, classes)


def describe_sizes(inspection: Inspection, map_size: int) -> str:
    """At which size the images are explained, and at which other one, `map_size`, the feature maps are measured."""
    told = f"The explanations are of images at {inspection.size}×{inspection.size} pixels"
    if inspection.size == map_size:
        return f"{told}, the size at which the feature maps above are measured."
    return (f"{told}, the size at which this network was trained and tested; the feature maps above are measured at "
            f"{map_size}×{map_size}.")


# ---------------------------------------------------------------------------------------------- filters and maps

SHOWN_FILTERS = 64  # at most, of the first layer


def first_convolution(model: nn.Module) -> str | None:
    """The name of the first convolution, "" where the network is one, None where there is none."""
    return next((name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)), None)


def first_filters(model: nn.Module) -> np.ndarray:
    """The kernels of the first convolution for display: (K,h,w,3) or (K,h,w,1), each stretched to 0 … 1.

    ValueError: no convolution, or one that reads neither 1 nor 3 channels.
    """
    name = first_convolution(model)
    weight = None if name is None else model.get_submodule(name).weight
    if weight is None or weight.shape[1] not in (1, 3):
        read = "there is none" if weight is None else f"it reads {weight.shape[1]} channels"
        raise ValueError(f"The first convolution of {type(model).__name__} cannot be shown: {read}; legal are 1 and 3.")
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
        kept.append(_as_map(name, last, output, needed=True).detach().clone())

    with evaluating(model), torch.no_grad(), capture(model, [layer], keep):
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


def _as_map(name: str, last: bool, output: object, *, needed: bool = False) -> Tensor | None:
    """An output as (N,C,h,w): also (N,h,w,C) if `last`, tokens (N,T,C) on a square grid after at most 8 others, or None."""
    x = only_tensor(name, output)
    if x.ndim == 4:
        return x.permute(0, 3, 1, 2) if last else x
    side = math.isqrt(x.shape[1]) if x.ndim == 3 else 0
    if side > 1 and x.shape[1] - side**2 <= 8:
        return x[:, x.shape[1] - side**2:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    if needed:
        raise ValueError(f"Module {name!r} gives shape {tuple(x.shape)}; legal is one with positions: (N,C,H,W), or tokens "
                         "(N,T,C) on a square grid.")
    return None


def _check_called(layer: str, outputs: Sequence) -> None:
    if not outputs:
        raise ValueError(f"Module {layer!r} was never called; legal are modules with calls > 0 in the module table.")


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    """Logits (N,classes); the network gets a copy, since some work on their input in place."""
    return only_tensor("the network", model(images.clone()))


def _batch(model: nn.Module, images: Tensor) -> Tensor:
    """A copy of images (N,C,H,W), or of one (C,H,W), on the network's device and of its type."""
    if images.ndim not in (3, 4):
        raise ValueError(f"The images have shape {tuple(images.shape)}; legal are (N,C,H,W), and (C,H,W) for one.")
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
        raise ValueError(f"target is {wrong}; legal is 0 to {logits.shape[1] - 1}.")
    return chosen


def _for_each(name: str, values: int | Sequence[int] | Tensor, images: Tensor) -> Tensor:
    """One integer for each image (N,): those given, or the one given for all."""
    chosen = torch.as_tensor(values, device=images.device).long().flatten()
    if len(chosen) not in (1, len(images)):
        raise ValueError(f"{name} holds {len(chosen)} numbers for {len(images)} images; legal is one for all, or one each.")
    return chosen.expand(len(images))


# ---------------------------------------------------------------------------------------------- guided backpropagation

# Activations that are met when they run, as a module or as a function. Gates (sigmoid, softmax) are passed as they are.
ACTIVATIONS = set("relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish hardswish softplus threshold".split())


class NotGuidable(ValueError):
    """A network for which guided backpropagation is not defined."""


class _GuideActivations(TorchFunctionMode):
    """Every activation that runs, from a module or a function, in place or not, is guided; see torch.overrides.

    `written_out`: whether some x · gate(x) ran instead, such as x · sigmoid(x) or x · relu6(x + 3) / 6.
    """

    GATES = ("sigmoid", "hardsigmoid", "relu6", "hardtanh", "clamp", "tanh")

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.written_out = 0, False
        self.origins: dict[int, tuple[Tensor, Tensor, bool]] = {}  # tensor, what it was made from by numbers, gated?

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name, kwargs = getattr(func, "__name__", "").strip("_"), dict(kwargs or {})
        args = args or ((kwargs.pop("input"),) if "input" in kwargs else ())
        x, rectifier = args[0] if args else None, rectifier_ceiling(func, args, kwargs) is not None
        if not isinstance(x, Tensor) or not (rectifier or name in ACTIVATIONS):
            result = func(*args, **kwargs)
        else:
            self.seen += 1
            result = self.guide(func, name, rectifier, args, kwargs) if x.requires_grad else func(*args, **kwargs)
        self.follow(name, args, result)
        return result

    def guide(self, func: Callable, name: str, rectifier: bool, args: tuple, kwargs: dict) -> Tensor:
        """The activation of args[0] with its gradient guided."""
        x = args[0]
        in_place = func.__name__.endswith("_") or kwargs.get("inplace") or any(a is True for a in args[1:])
        exact = rectifier and name in ("relu", "relu6", "hardtanh")  # their slope is 0 wherever the input is not positive
        source = torch.where(x > 0, x, x.detach()) if not exact else x.clone() if in_place else x
        result = func(source, *args[1:], **kwargs)
        if result.requires_grad:
            result.register_hook(lambda gradient: gradient.clamp(min=0))
        return x.copy_(result) if in_place else result

    def follow(self, name: str, args: tuple, result: object) -> None:
        """Notice activations that are written out in arithmetic: products of a tensor and a gate made from it alone."""
        tensors = [a for a in args[:2] if isinstance(a, Tensor)]
        if not isinstance(result, Tensor) or not tensors or name not in (*self.GATES, "add", "sub", "mul", "div"):
            return
        made = [self.origins[id(a)] if id(a) in self.origins else (a, a, False) for a in tensors]
        if name == "mul" and len(made) == 2:
            (_, one, gated), (_, other, also) = made
            self.written_out |= one is other and gated != also
        elif len(made) == 1:
            self.origins[id(result)] = (result, made[0][1], made[0][2] or name in self.GATES)


def guided_backpropagation(model: nn.Module, images: Tensor, targets: int | Sequence[int] | Tensor | None = None, *,
                           layer: str | None = None, units: Sequence[int] | Tensor | None = None) -> Tensor:
    """Guided gradients at images (N,C,H,W), or at one (C,H,W); same shape.

    Of the score of class `targets` (one for all, one each, None: the predicted ones), or of one unit of the output of
    module `layer` for each image: `units` (N,), its index in the flattened output. At each activation only positive
    gradients pass, and only where its input is positive: Springenberg et al., Striving for simplicity: the all
    convolutional net (2015), section 3.4, for ReLU. Where an activation is smooth (SiLU, GELU, …) the gradient is
    further multiplied by its slope, which is our extension: the paper knows rectifiers only. ReLU6 also stops what lies
    above 6. The functions are caught while the network runs, so that modules, functional, reused and in-place ones are all
    met and nothing is put on the network. NotGuidable: no activation, one written out in arithmetic (x · sigmoid(x)), a
    module that looks like one but is not met, or checkpointing. ValueError: target or unit out of range.
    """
    guide, before, unmet, handles = _GuideActivations(), [], [], []

    def enter(module: nn.Module, inputs: tuple) -> None:
        before.append(guide.seen)

    def leave(module: nn.Module, inputs: tuple, output: object) -> None:
        if before.pop() == guide.seen:
            unmet.append(type(module).__name__)

    try:
        for module in model.modules():
            if not list(module.children()) and re.search("elu|silu|swish|mish", type(module).__name__, re.IGNORECASE):
                handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
        gradient = _gradient(model, images, targets, layer, units, guide)
    except CheckpointError:
        raise NotGuidable(f"{type(model).__name__} runs parts of itself again on the way back (checkpointing), where its "
                          "activations cannot be guided: switch it off.") from None
    finally:
        for handle in handles:
            handle.remove()
    if unmet or guide.written_out or not guide.seen:
        what = f"computes {sorted(set(unmet))[0]} in a way that cannot be guided" if unmet else \
            "computes an activation as a product of a tensor and a gate of it" if guide.written_out else \
            f"ran none of the activations that can be guided ({', '.join(sorted(ACTIVATIONS))})"
        raise NotGuidable(f"{type(model).__name__} {what}: guided backpropagation is not defined for it; "
                          "class_activation_maps and input_gradient are.")
    return gradient


def input_gradient(model: nn.Module, images: Tensor, targets: int | Sequence[int] | Tensor | None = None) -> Tensor:
    """The gradient itself of the scores of class `targets` at images (N,C,H,W), or at one (C,H,W); same shape.

    Source: Simonyan et al., Deep inside convolutional networks (2014).
    """
    return _gradient(model, images, targets, None, None, nullcontext())


def _gradient(model: nn.Module, images: Tensor, targets, layer: str | None, units, mode) -> Tensor:
    picked: list[Tensor] = []

    def pick(name: str, output: object) -> None:
        flat = only_tensor(name, output).flatten(1)
        rows = _for_each("units", units, flat)
        if not ((rows >= 0) & (rows < flat.shape[1])).all():
            raise ValueError(f"units are {rows.tolist()}; legal is 0 to {flat.shape[1] - 1} in layer {name!r}.")
        picked.append(flat.gather(1, rows[:, None]))

    if (layer is None) != (units is None):
        raise ValueError("layer and units must be given together: units are indices in the flattened output of the layer.")
    with evaluating(model), torch.inference_mode(False), torch.enable_grad():
        x = _batch(model, images).requires_grad_()
        with mode, capture(model, [layer] if layer else [], pick):
            logits = _logits(model, x)
            _check_called(str(layer), picked if layer else [logits])
            value = picked[-1] if layer else logits.gather(1, _choose_targets(logits, targets)[:, None])
        gradient, = torch.autograd.grad(value.sum(), x)
    return gradient if images.ndim == 4 else gradient[0]


# ---------------------------------------------------------------------------------------------- strongest units


def strongest_units(model: nn.Module, loader, layer: str | None = None) -> tuple[str, np.ndarray, np.ndarray]:
    """The layer (None: the last convolution), and for each image and channel its strongest value and where it stands.

    `loader` yields (images, labels) or images. Values (N,C) and indices (N,C) in the flattened output of an image, as
    `guided_backpropagation` takes them. ValueError: unknown layer, one without channels, no images.
    """
    modules = all_modules(model)
    layer = layer or last_convolution(model)
    check_layer(layer, modules)
    values, indices, latest, axes = [], [], [], []

    def strongest(name: str, output: object) -> None:
        x = only_tensor(name, output).detach()
        where = torch.arange(x[0].numel(), device=x.device).view(x.shape[1:])
        last = x.ndim < 4 or axes == [True]  # (N,C), (N,T,C) and (N,H,W,C): channels come last
        x, where = (x.movedim(-1, 1), where.movedim(-1, 0)) if last else (x, where)
        value, at = x.flatten(2).max(2) if x.ndim > 2 else (x, torch.zeros_like(x, dtype=torch.long))
        index = where.flatten(1).expand(len(x), -1, -1).gather(2, at[..., None])[..., 0] if x.ndim > 2 else \
            where.expand(len(x), -1)
        latest[:] = [(value.float().cpu(), index.cpu())]  # of several calls the last one counts

    with evaluating(model), torch.inference_mode(), capture(model, [layer], strongest):
        for batch in loader:
            images = _batch(model, batch[0] if isinstance(batch, tuple | list) else batch)
            axes = axes or [_channels_last(model, images, layer)]
            model(images)
            _check_called(layer, latest)
            values.append(latest[0][0])
            indices.append(latest[0][1])
    if not values:
        raise ValueError("There are 0 images; at least 1 is needed.")
    return layer, torch.cat(values).numpy(), torch.cat(indices).numpy()


def choose_neurons(values: np.ndarray, n: int = 10, channels: Sequence[int] = ()) -> pd.DataFrame:
    """n channels and for each the image that excites it most; `values` (N,C) of `strongest_units`.

    The channels given; or those whose strongest value stands out most among the images, in standard deviations from
    their mean, each with an image that none before it has, where there are as many. Columns channel, image, value,
    stands_out. ValueError: no such channel.
    """
    spread = values.std(0)
    stands_out = np.divide(values.max(0) - values.mean(0), spread, out=np.zeros_like(spread), where=spread > 0)
    wrong = next((channel for channel in channels if not 0 <= channel < values.shape[1]), None)
    if wrong is not None:
        raise ValueError(f"There is no channel {wrong}; legal is 0 to {values.shape[1] - 1}.")
    table = pd.DataFrame({"channel": np.arange(values.shape[1]), "image": values.argmax(0), "value": values.max(0),
                          "stands_out": stands_out})
    if len(channels):
        return table.iloc[list(channels)].reset_index(drop=True)
    table = table.sort_values("stands_out", ascending=False, kind="stable")
    again = table.duplicated("image")
    return pd.concat([table[~again], table[again]]).head(n).reset_index(drop=True)


def last_convolution(model: nn.Module) -> str:
    """The name of the last convolution, a head apart. ValueError: there is none."""
    head = helpers.find_head(model)
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d) and name and name != head]
    names = [name for name in names if not re.search(r"downsample|shortcut|aux", name.lower())] or names
    if not names:
        raise ValueError(f"{type(model).__name__} has no convolution: name a layer.")
    return names[-1]


# ---------------------------------------------------------------------------------------------- class activation maps


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
        size = (size, size) if isinstance(size, int) else tuple(size)
        return F.interpolate(torch.from_numpy(self.maps)[:, None], size=size, mode="bilinear")[:, 0].numpy()

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
    ValueError: unknown layer, one without positions, a target out of range.
    """
    if layer is not None:
        return grad_cam(model, images, targets, layer)
    with evaluating(model), torch.inference_mode(False), torch.no_grad():
        ending = _Ending(model)
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


class _Ending(TorchFunctionMode):
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

    def averaged(self, x: Tensor, pooled: Tensor) -> tuple[int, ...] | None:
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
            raise ValueError(f"Module {layer!r} gives a {type(output).__name__}; legal is a tensor: choose a module inside "
                             "or around it.")
        kept.append(output)
        return output.clone()  # what follows may overwrite the clone

    with evaluating(model), torch.inference_mode(False), torch.enable_grad():
        x = _batch(model, images).requires_grad_()
        ending = _Ending(model)
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
                            _as_map(layer, last, tensor, needed=True) for tensor in (source, gradient))
        maps = (gradient.mean((2, 3), keepdim=True) * source).sum(1)
    return _activation_maps(maps, layer or ending.name, "Grad-CAM", chosen, logits)


def _last_map(model: nn.Module, images: Tensor) -> str:
    """The last convolution or normalisation with positions that the logits depend on; the default of Grad-CAM."""
    found: list[tuple[str, Tensor]] = []
    names = {id(module): name for name, module in model.named_modules()}

    def keep(module: nn.Module, inputs: tuple, output: object) -> Tensor:
        grid = _as_map(names[id(module)], gives_channels_last(module), output)
        if grid is not None and grid[0, 0].numel() > 1:
            found.append((names[id(module)], output))
            return output.clone()
        return output

    head = helpers.find_head(model)
    handles = [module.register_forward_hook(keep) for name, module in model.named_modules()
               if name != head and isinstance(module, nn.Conv2d | nn.LayerNorm) and "attn" not in name]
    try:
        with evaluating(model), torch.inference_mode(False), torch.enable_grad():
            logits = _logits(model, _batch(model, images)[:1].requires_grad_())
    finally:
        for handle in handles:
            handle.remove()
    for name, output in reversed(found):
        gradient, = torch.autograd.grad(logits.sum(), output, retain_graph=True, allow_unused=True)
        last = gives_channels_last(model.get_submodule(name))
        if gradient is not None and _as_map(name, last, gradient).abs().max() > 0:
            return name
    raise ValueError(f"{type(model).__name__} gives no map with positions: it has no class activation map.")


# ---------------------------------------------------------------------------------------------- checks of explanations


def explainers(model: nn.Module, images: Tensor) -> dict[str, Callable[[nn.Module, Tensor, Tensor], np.ndarray]]:
    """The methods that a network allows: name -> f(network, images, targets) giving maps (N,h,w).

    The class activation map as class_activation_maps chooses it; guided backpropagation and the plain gradient as sums of
    absolute values over the channels of the image.
    """
    found: dict[str, Callable] = {}
    try:
        cam = class_activation_maps(model, images[:1])
        named = cam.method == "Grad-CAM" and cam.layer in all_modules(model)  # then the same layer for all networks
        layer = cam.layer if named else None
        found[f"class activation map ({cam.method})"] = lambda net, x, t: class_activation_maps(net, x, t, layer=layer).maps
    except ValueError as error:
        print(f"Left out: {error}")
    for name, method in (("guided backpropagation", guided_backpropagation), ("gradient", input_gradient)):
        try:
            method(model, images[:1])
        except NotGuidable as error:
            print(f"Left out: {error}")
            continue
        found[name] = lambda net, x, t, method=method: method(net, x, t).abs().sum(1).float().cpu().numpy()
    return found


def weight_units(model: nn.Module) -> list[str]:
    """The parts of a network that own weights, from the head down.

    Its children; of those that are containers, hold the head, or hold half of all weights or more, the parts inside.
    """
    head, total = helpers.find_head(model), sum(p.numel() for p in model.parameters())

    def parts(module: nn.Module, prefix: str, contained: bool = False) -> list[str]:
        found = []
        for name, child in module.named_children():
            weights, name = sum(p.numel() for p in child.parameters()), prefix + name
            if not weights or name.lower().rpartition(".")[2].startswith("aux"):
                continue
            container = isinstance(child, nn.Sequential | nn.ModuleList)
            opened = 2 * weights >= total or head.startswith(f"{name}.") or (container and not contained)
            inside = parts(child, f"{name}.", container) if opened and name != head else []
            found += inside or [name]
        return found

    return [head, *reversed([name for name in parts(model, "") if name != head])]


def randomise(model: nn.Module, fresh: nn.Module, units: Sequence[str], n_steps: int):
    """Cascade: yields (lowest unit drawn anew, network), first ("nothing", the network as it is), at last all weights.

    Each step takes weights and buffers of further `units`, from the head down, from `fresh`, a network of the same
    architecture as it is initialised before any training: at first the head alone, then groups, `n_steps` in all.
    """
    network = copy.deepcopy(model)
    yield "nothing", network
    below = min(n_steps, len(units)) - 1
    groups = np.array_split(np.array(units[1:], dtype=object), below) if below > 0 else []
    for number, group in enumerate([units[:1], *groups], start=1):
        for name in group:
            network.get_submodule(name).load_state_dict(fresh.get_submodule(name).state_dict())
        if number > len(groups):
            network.load_state_dict(fresh.state_dict())  # also weights outside of these units, such as a class token
        yield group[-1], network


UNRELATED = "unrelated map"  # of `Randomisation.controls`: what chance gives


@dataclass(frozen=True)
class Randomisation:
    """What `randomisation_check` found: `table`, `controls`, and `pictures` {down to: {method: map (h,w)}} of one image."""

    table: pd.DataFrame
    controls: pd.DataFrame
    pictures: dict[str, dict[str, np.ndarray]]


def randomisation_check(model: nn.Module, fresh: Sequence[nn.Module], images: Tensor, *, n_steps: int = 6,
                        batch_size: int = 16, seed: int = 0) -> Randomisation:
    """Does an explanation change when the weights are drawn anew, layer by layer from the top down?

    `fresh`: networks of the same architecture with random weights, each a draw, from seeds that the training did not use.
    The images (N,C,H,W) are dealt over the draws: image i goes to draw i modulo their number, so that each draw has images
    of its own and the cost does not depend on how many draws there are. Of each image, and of the class that the trained
    network predicts: Spearman's rank correlation between a method's map and the same method's on the network of each step
    of `randomise`. `table`: step, down_to, method, draw, image, correlation (NaN where a map is constant). `controls`:
    method, control, image, correlation on the trained network; the control "another image" is the map of the next image,
    "edges" the strength of the edges in the image itself, "unrelated map" see `chance_correlations`, drawn by `seed`.
    ValueError: no draw, or two that are the same. Source: Adebayo et al., Sanity checks for saliency maps (2018).
    """
    _check_draws(fresh)
    methods, units = explainers(model, images), weight_units(model)
    with evaluating(model), torch.no_grad():
        targets = torch.cat([_logits(model, _batch(model, part)).argmax(1) for part in images.split(batch_size)])
    trained = {method: _explain(explain, model, images, targets, batch_size) for method, explain in methods.items()}
    rows = [(0, "nothing", method, image % len(fresh), image, rank_correlation(own, own))
            for method, maps in trained.items() for image, own in enumerate(maps)]
    pictures = {"nothing": {method: maps[0] for method, maps in trained.items()}}
    for draw, weights in enumerate(fresh[:len(images)]):
        dealt = range(draw, len(images), len(fresh))
        for step, (down_to, network) in enumerate(randomise(model, weights, units, n_steps)):
            for method, explain in methods.items() if step else ():
                maps = _explain(explain, network, images[dealt], targets[dealt], batch_size)
                pictures.setdefault(down_to, {}).setdefault(method, maps[0])
                rows += [(step, down_to, method, draw, image, rank_correlation(trained[method][image], found))
                         for image, found in zip(dealt, maps, strict=True)]
    table = pd.DataFrame(rows, columns=["step", "down_to", "method", "draw", "image", "correlation"])
    return Randomisation(table, _controls(trained, images, seed), pictures)


def _check_draws(fresh: Sequence[nn.Module]) -> None:
    if not len(fresh):
        raise ValueError("fresh holds 0 networks; legal is 1 or more, each a draw of random weights.")
    for a, b in itertools.combinations(range(len(fresh)), 2):
        if all(torch.equal(one, other) for one, other in zip(fresh[a].parameters(), fresh[b].parameters(), strict=True)):
            raise ValueError(f"The draws {a} and {b} of fresh hold the same weights; legal are different ones, each from a "
                             "seed of its own.")


def _explain(explain: Callable, network: nn.Module, images: Tensor, targets: Tensor, batch_size: int) -> np.ndarray:
    """The maps (N,h,w) that a method of `explainers` gives, batch by batch."""
    return np.concatenate([explain(network, part, target) for part, target in
                           zip(images.split(batch_size), targets.split(batch_size), strict=True)])


def _controls(trained: Mapping[str, np.ndarray], images: Tensor, seed: int) -> pd.DataFrame:
    """The table `controls` of `randomisation_check` from the trained network's maps {method: (N,h,w)} of the images."""
    rows, edges = [], torch.from_numpy(edge_strength(images))[:, None]
    for method, maps in trained.items():
        small = F.interpolate(edges, size=maps.shape[1:], mode="area")[:, 0].numpy()
        rows += [(method, "another image", image, math.nan if other is None else rank_correlation(maps[image], maps[other]))
                 for image, other in enumerate(images_before(maps))]
        rows += [(method, "edges", image, rank_correlation(values, small[image])) for image, values in enumerate(maps)]
        rows += [(method, UNRELATED, image, value) for image, value in chance_correlations(maps, seed=seed)]
    return pd.DataFrame(rows, columns=["method", "control", "image", "correlation"])


def images_before(maps: np.ndarray) -> list[int | None]:
    """For each of the maps (N,h,w) that can be ranked, the one before it that can be, the last for the first; else None."""
    usable = [index for index, values in enumerate(maps) if can_be_ranked(values)]
    before = dict(zip(usable, usable[-1:] + usable[:-1], strict=True)) if len(usable) > 1 else {}
    return [before.get(index) for index in range(len(maps))]


def unrelated_maps(maps: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Maps (N,h,w) as smooth as the given ones, whose arrangement is left to chance.

    The ranks of each map in the cosine basis, every coefficient with a random sign: surrogates with the same spectrum, as
    in Theiler et al., Testing for nonlinearity in time series: the method of surrogate data (1992). Not in the Fourier
    basis, as there: it takes a map to wrap round, and small smooth maps then come out too rough.
    """
    ranks = rankdata(maps.reshape(len(maps), -1), axis=1).reshape(maps.shape)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], maps.shape)
    return idctn(signs * dctn(ranks, axes=(1, 2), norm="ortho"), axes=(1, 2), norm="ortho")


def chance_correlations(maps: np.ndarray, *, n: int | None = None, seed: int = 0) -> list[tuple[int, float]]:
    """Rank correlations of maps (N,h,w) with maps that have nothing to do with them, of the same size and smoothness.

    Each map with `n` surrogates of *other* maps (one of its own has its very spectrum, and is too alike); None: 20 of small
    maps and 2 of those with more than 1,000 values, whose correlations vary less. Pairs (image, correlation); none of maps
    that cannot be ranked, and none where there are fewer than two others.
    """
    usable = np.flatnonzero([can_be_ranked(map_) for map_ in maps])
    n = n or (20 if maps[0].size <= 1000 else 2)
    found = []
    for number in range(n if len(usable) > 1 else 0):
        others = unrelated_maps(np.roll(maps[usable], 1 + number % (len(usable) - 1), axis=0), seed=seed + number)
        found += [(int(image), rank_correlation(maps[image], other)) for image, other in zip(usable, others, strict=True)]
    return found


def can_be_ranked(values: np.ndarray) -> bool:
    """Whether a map is finite and not constant, beyond the rounding of float32."""
    return bool(np.isfinite(values).all() and np.ptp(values) > 1e-6 * np.abs(values).max())


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of two maps of the same shape; NaN where one is constant."""
    if not (can_be_ranked(a) and can_be_ranked(b)):
        return math.nan
    return float(spearmanr(a, b, axis=None).statistic)


def edge_strength(images: Tensor) -> np.ndarray:
    """How steeply the brightness of images (N,C,H,W) changes at each pixel, (N,H,W): no network is asked."""
    gray = images.float().mean(1).cpu().numpy()
    return np.hypot(*np.gradient(gray, axis=(1, 2)))


def hottest(maps: np.ndarray, share: float = 0.1) -> np.ndarray:
    """Masks (N,H,W) of the `share` of pixels where maps (N,H,W) are highest: round(share·H·W) of them in each."""
    flat = maps.reshape(len(maps), -1)
    order = np.argsort(-flat, axis=1, kind="stable")[:, :round(share * flat.shape[1])]
    masks = np.zeros(flat.shape, dtype=bool)
    np.put_along_axis(masks, order, True, axis=1)
    return masks.reshape(maps.shape)


HIDINGS = ("hottest tenth", "random tenth", "hottest tenth of another image")


def hidings(maps: np.ndarray, *, share: float = 0.1, seed: int = 0) -> dict[str, np.ndarray]:
    """Masks (N,H,W) to hide, each of the same area: see `occlusion_check`. Another map is one that points somewhere."""
    masks, rng = hottest(maps, share), np.random.default_rng(seed)
    shifts = zip(masks, rng.integers(0, masks.shape[1:], (len(masks), 2)), strict=True)
    moved = np.stack([np.roll(mask, shift, axis=(0, 1)) for mask, shift in shifts])
    others = np.stack([masks[image if other is None else other] for image, other in enumerate(images_before(maps))])
    return dict(zip(HIDINGS, (masks, moved, others), strict=True))


def occlusion_check(model: nn.Module, images: Tensor, *, share: float = 0.1, seed: int = 0,
                    batch_size: int = 32) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Does hiding what the class activation map points at lower the confidence more than hiding something else?

    For images (N,C,H,W) and the predicted class: the confidence, and the drop (points of probability, negative where it
    rises) when a part is set to 0, the mean colour of the preprocessing: the pixels of the hottest `share` of the map; the
    same shape moved to a random place, around the edges; and the hottest part of the map of the previous image that has one,
    which knows where things usually are, but not this image. Columns image, confidence, then one of HIDINGS each (NaN where
    the map is constant, or is the only one that is not); and the masks.
    Source of the idea: Petsiuk et al., RISE (2018), deletion; here one share, and against moved shapes.
    """
    found = [class_activation_maps(model, part) for part in images.split(batch_size)]
    maps = np.concatenate([part.enlarged(images.shape[-2:]) for part in found])
    targets = torch.from_numpy(np.concatenate([part.targets for part in found]))
    table = pd.DataFrame({"image": range(len(images)), "confidence": np.concatenate([part.confidence for part in found])})
    masks = hidings(maps, share=share, seed=seed)
    for name, hidden in masks.items():
        left = images * torch.from_numpy(~hidden)[:, None]
        table[name] = table["confidence"] - confidences(model, left, targets, batch_size=batch_size)
    table.loc[[not can_be_ranked(values) for values in maps], list(HIDINGS)] = math.nan
    table.loc[[other is None for other in images_before(maps)], HIDINGS[2]] = math.nan
    return table, masks


@torch.no_grad()
def confidences(model: nn.Module, images: Tensor, targets: Tensor, *, batch_size: int = 32) -> np.ndarray:
    """Softmax score (N,) of class `targets` (N,) for images (N,C,H,W)."""
    with evaluating(model):
        logits = torch.cat([_logits(model, _batch(model, part)).double().cpu() for part in images.split(batch_size)])
    return logits.softmax(1).gather(1, targets.cpu()[:, None])[:, 0].numpy()


def mean_interval(values: Sequence[float], *, level: float = 0.95,
                  bounds: tuple[float, float] = (-math.inf, math.inf)) -> tuple[float, float, float]:
    """Mean of the values that are numbers and the ends of Student's t interval, within `bounds`; NaN where there are none.

    A single value has no ends. Of skewed values it takes many (ENOUGH) before it covers what it says, but of few it covers
    more than the percentile and BCa bootstraps, and the studentised bootstrap is better for some and worse for others.
    """
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    if len(known) < 2:
        return (float(known.mean()) if len(known) else math.nan, math.nan, math.nan)
    half = student_t.ppf((1 + level) / 2, len(known) - 1) * known.std(ddof=1) / math.sqrt(len(known))
    return (float(known.mean()), *np.clip([known.mean() - half, known.mean() + half], *bounds).tolist())


FEWEST = 10  # images that a verdict takes
ENOUGH = 60  # images of which an interval of drops covers 93 % and more: see benchmarks/coverage.py


def interval_over_draws(values: Sequence[float], draws: Sequence[int]) -> tuple[float, float, float, int]:
    """The mean of `values`, the ends of its 95 % interval, and how many draws it is of; values that are NaN are left out.

    `draws`: the draw of each value; the values of a draw are of images that no other draw has. The interval is Student's t
    of the means of the draws (draws - 1 degrees of freedom), so that it holds the variance between draws and that between
    images. Of a single draw it is `mean_interval` over the images, which leaves the variance between draws out.
    """
    known = pd.DataFrame({"value": np.asarray(values, dtype=float), "draw": np.asarray(draws)}).dropna()
    means = known.groupby("draw")["value"].mean()
    if len(means) < 2:
        return (*mean_interval(known["value"]), len(means))
    return (*mean_interval(means), len(means))


def summarise_randomisation(found: Randomisation) -> pd.DataFrame:
    """The one statistic of the check, the mean absolute rank correlation |ρ|, a row a method and step.

    Columns method, step, down_to; images and draws that it is of; |ρ| with its 95 % interval (`interval_over_draws`) low,
    high; `chance`, the mean |ρ| of unrelated maps of that size and smoothness (`chance_correlations`); `bar`, halfway from
    chance to 1; `verdict`: "changed" where the whole interval lies below the bar, "not changed" where it lies above, else
    "undecided"; "no verdict" of fewer than FEWEST images. Numbers are rounded first (|ρ| to 3 digits, chance and bar to 2),
    so that a verdict is that of the numbers shown. A map with its sign turned has not changed, hence the absolute value.
    """
    rows = []
    for (method, step, down_to), group in found.table.groupby(["method", "step", "down_to"], sort=False):
        mean, low, high, draws = interval_over_draws(group["correlation"].abs(), group["draw"])
        low, mean, high = (round(min(max(value, 0.0), 1.0), 3) for value in (low, mean, high))
        chance = round(control_mean(found, str(method), UNRELATED), 2)
        bar, images = round((1 + chance) / 2, 2), int(group["correlation"].notna().sum())
        verdict = "no verdict" if images < FEWEST or math.isnan(bar) else "changed" if high < bar else \
            "not changed" if low > bar else "undecided"
        rows.append((method, step, down_to, images, draws, mean, low, high, chance, bar, verdict))
    return pd.DataFrame(rows, columns=["method", "step", "down_to", "images", "draws", "|ρ|", "low", "high", "chance", "bar",
                                       "verdict"])


def control_mean(found: Randomisation, method: str, control: str) -> float:
    """Mean |ρ| of a method's maps with a control of `randomisation_check`; NaN where there is none."""
    rows = found.controls[(found.controls["method"] == method) & (found.controls["control"] == control)]
    return float(rows["correlation"].abs().mean())


def randomisation_baselines(found: Randomisation) -> pd.DataFrame:
    """Mean |ρ| of the trained network's maps with each control, a row a method; NaN where no map can be ranked."""
    controls = list(dict.fromkeys(found.controls["control"]))
    return pd.DataFrame([{"method": method} | {control: control_mean(found, method, control) for control in controls}
                         for method in dict.fromkeys(found.table["method"])])


def told_randomisation(found: Randomisation) -> list[str]:
    """A sentence or two a method: whether, and from which step on, its maps change as weights are drawn anew."""
    return [_told_method(found, method, rows) for method, rows in
            summarise_randomisation(found).query("step > 0").groupby("method", sort=False)]


def _told_method(found: Randomisation, method: str, steps: pd.DataFrame) -> str:
    """The verdict on a method, from its rows of `summarise_randomisation`, that of "nothing" left out."""
    reason = no_verdict(found, method, steps)
    if reason:
        return f"**{method}**: no verdict, since {reason}."
    head = steps.iloc[0]
    numbers = f"{_told_rho(head)}, {_AGAINST[head['verdict']]} the bar of {head['bar']:.2f}; chance {head['chance']:.2f}"
    told = {"changed": f"**{method}** changes as soon as the classifier is drawn anew ({numbers}): it depends on the "
                       "weights of the classifier, as what explains a class must.",
            "not changed": f"**{method} does not change** when the classifier is drawn anew ({numbers}): it does not say "
                           "why the network chose this class.",
            "undecided": f"Whether **{method}** changes when the classifier is drawn anew cannot be told ({numbers})."}
    note = [] if steps["draws"].min() > 1 else ["The weights were drawn once: the intervals leave out how draws differ."]
    return " ".join([told[head["verdict"]], *_told_further(found, method, steps), *note])


_AGAINST = {"changed": "below", "not changed": "above", "undecided": "around"}


def no_verdict(found: Randomisation, method: str, steps: pd.DataFrame) -> str | None:
    """Why there is no verdict on a method, from its rows of `summarise_randomisation`; None where there is one."""
    if not (steps["verdict"] == "no verdict").any():
        return None
    return (f"only {steps['images'].min()} of {found.table.query('method == @method')['image'].nunique()} images have maps "
            f"that can be ranked at every step; it takes {FEWEST}")


def _told_rho(row: pd.Series) -> str:
    return f"|ρ| {row['|ρ|']:.3f}, {row['low']:.3f} to {row['high']:.3f}"


def _told_further(found: Randomisation, method: str, steps: pd.DataFrame) -> list[str]:
    """What the steps after the classifier add: from where on the maps change for good, or what all weights give."""
    verdicts, whole = steps["verdict"].tolist(), steps.iloc[-1]
    if len(steps) < 2:
        return []
    numbers = f"{_told_rho(whole)}, {_AGAINST[whole['verdict']]} the bar"
    if whole["verdict"] == "undecided":
        return [f"With all weights drawn anew it cannot be told{', either' * (verdicts[0] == 'undecided')} ({numbers})."]
    if whole["verdict"] == "not changed":
        another = round(control_mean(found, method, "another image"), 3)
        shows = "maps of different images are as alike: it shows where things usually are" if another >= whole["low"] else \
            "more than maps of different images are alike: it shows the image, not what the network has learnt"
        return [f"With all weights drawn anew it does not change{' either' * (verdicts[0] == 'not changed')} ({numbers}; "
                f"the map of another image: {another:.3f}), {shows}."]
    first = max((index for index, verdict in enumerate(verdicts) if verdict != "changed"), default=-1) + 1
    if first == 0:
        return [f"So it does at every further step (all weights: {numbers})."]
    return [f"From the step on where the weights down to {steps['down_to'].iloc[first]} are drawn anew it changes at every "
            f"step (all weights: {numbers})."]


def describe_randomisation(found: Randomisation) -> str:
    """The figure of `plot_randomisation` in words: every mean |ρ| with its chance and its bar."""
    told = "; ".join(f"{method} {', '.join(f'{value:.2f}' for value in rows['|ρ|'])} (chance {rows['chance'].iloc[0]:.2f}, "
                     f"bar {rows['bar'].iloc[0]:.2f})"
                     for method, rows in summarise_randomisation(found).groupby("method", sort=False))
    return f"Mean |ρ| with the trained network's map by how far down weights are drawn anew, from nothing to all: {told}."


def told_occlusion(table: pd.DataFrame) -> list[str]:
    """The mean drops of an occlusion check with intervals, in points, and what the paired differences show.

    Numbers are rounded first, so that a verdict is that of the numbers shown.
    """
    measured = table.dropna()
    if len(measured) < FEWEST:
        return [f"No verdict: only {len(measured)} of {len(table)} images have a map that points somewhere, and another "
                f"image to compare with; it takes {FEWEST}."]
    drops = {name: _points(measured[name]) for name in HIDINGS}
    words = {name: "{:.1f} points ({:.1f} to {:.1f})".format(*drop) for name, drop in drops.items()}
    lines = [f"Hiding the **{HIDINGS[0]}** costs {words[HIDINGS[0]]} of confidence, a {HIDINGS[1]} of the same shape "
             f"{words[HIDINGS[1]]}, the {HIDINGS[2]} {words[HIDINGS[2]]}: means over {len(measured)} images."]
    for name in HIDINGS[1:]:
        mean, low, high = _points(measured[HIDINGS[0]] - measured[name])
        verdict = "no difference is shown that speaks for or against the map"
        if low > 0:
            verdict = "the map points at what the score depends on" if drops[HIDINGS[0]][1] > 0 else \
                "more than there, but that hiding it costs any confidence is not shown"
        elif high < 0:
            verdict = "the map points away from what the score depends on"
        lines.append(f"Against the {name} the difference, image by image, is {mean:.1f} points ({low:.1f} to {high:.1f}): "
                     f"{verdict}.")
    if len(measured) < ENOUGH:
        lines.append(f"Of fewer than {ENOUGH} images these 95 % intervals are too narrow where few images drop much and "
                     f"most little: of 20 images they hold the mean in about 90 of 100 samples, of {FEWEST} in about 80.")
    return lines


def _points(values: pd.Series) -> tuple[float, float, float]:
    """Mean of drops of confidence and the ends of its interval, in points, to one digit; no -0.0."""
    mean, low, high = (round(100 * value, 1) + 0.0 for value in mean_interval(values, bounds=(-1, 1)))
    return mean, low, high


def describe_occlusion(table: pd.DataFrame) -> str:
    """The figure of `plot_occlusion` in words."""
    return ("Left, one image whole and with a tenth hidden in three ways, with its confidence; right, the drops in "
            f"confidence of {len(table.dropna())} images. {helpers.plain_text(told_occlusion(table)[0])}")


def middle_image(table: pd.DataFrame) -> int | None:
    """The row of an occlusion check in the middle by the drop of its hottest tenth; None where no image has all drops."""
    drop = table.dropna()[HIDINGS[0]]
    return None if drop.empty else int(table.index.get_loc((drop - drop.median()).abs().idxmin()))


def results(cam: ActivationMaps | None, checked: Randomisation | None, occluded: pd.DataFrame | None) -> dict:
    """What JSON can hold of the explanations; None where something was left out."""
    found: dict[str, object] = {"class_activation_map": cam and {"method": cam.method, "layer": cam.layer},
                                "randomisation": None, "occlusion": None}
    if checked is not None:
        baselines = randomisation_baselines(checked).set_index("method").T.to_dict()
        found["randomisation"] = {method: _method_results(checked, method, rows) | {"baselines": baselines[method]}
                                  for method, rows in summarise_randomisation(checked).groupby("method", sort=False)}
    if occluded is not None:
        measured = occluded.dropna()
        drops = {name: dict(zip(("mean", "low", "high"), mean_interval(measured[name], bounds=(-1, 1)), strict=True))
                 for name in HIDINGS}
        found["occlusion"] = {"images": len(measured), "drop": drops,
                              "no_verdict": told_occlusion(occluded)[0] if len(measured) < FEWEST else None}
    return found


def _method_results(found: Randomisation, method: str, rows: pd.DataFrame) -> dict:
    """What JSON can hold of one method: {step: mean |ρ|}, {step: its interval}, …, from `summarise_randomisation`."""
    by_step = rows.set_index("down_to")
    return {"images": int(found.table.query("method == @method")["image"].nunique()), "draws": int(rows["draws"].max()),
            "chance": rows["chance"].iloc[0], "bar": rows["bar"].iloc[0], "down_to": by_step["|ρ|"].to_dict(),
            "interval": {name: [row["low"], row["high"]] for name, row in by_step.iterrows()},
            "verdict": by_step["verdict"].to_dict(), "no_verdict": no_verdict(found, method, rows)}


# ---------------------------------------------------------------------------------------------- what is shown


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


def pick_examples(predictions: pd.DataFrame, classes: Sequence[str], *, right: bool, per_class: int = 2,
                  seed: int = 0) -> pd.DataFrame:
    """Rows of a prediction table, at most `per_class` of each class: right ones drawn, wrong ones the most confident."""
    hit = predictions["label"] == predictions["predicted"]
    rows = predictions[hit].sample(frac=1, random_state=seed) if right else \
        predictions[~hit].sort_values("confidence", ascending=False, kind="stable")
    order = {name: index for index, name in enumerate(classes)}
    return rows.groupby("label").head(per_class).sort_values("label", key=lambda label: label.map(order),
                                                             kind="stable").reset_index(drop=True)


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
    views = [View(picture, cam, heat, f"{word}{name}, {score:.3f}", scale) for picture, cam, heat, word, name, score, scale
             in zip(pictures, found.maps, heats, told, shown, found.confidence, scales, strict=True)]
    return views, found


def guided_neurons(inspection: Inspection, table: pd.DataFrame, layer: str | None = None, *, n: int = 10,
                   channels: Sequence[int] = (), batch_size: int = 32) -> tuple[str, pd.DataFrame, Tensor]:
    """The neurons of a layer (None: the last convolution), the images of `table` that excite them most, guided gradients.

    Returns the layer; a row a neuron: channel, path, label, value, stands_out (see `choose_neurons`), next (paths of the
    three images that come after); and the guided gradient (n,C,H,W) of each neuron at its image.
    """
    images = image_data.ImageDataset(table.assign(label=""), inspection.root, [""], inspection.transform)
    layer, values, units = strongest_units(inspection.model, helpers.make_loader(images, batch_size=batch_size), layer)
    chosen = choose_neurons(values, n, channels)
    rows, columns = chosen["image"].to_numpy(), chosen["channel"].to_numpy()
    paths = table["path"].to_numpy()
    after = [paths[np.argsort(-values[:, column], kind="stable")[1:4]].tolist() for column in columns]
    chosen = chosen.assign(path=paths[rows], label=table["label"].to_numpy()[rows], next=after).drop(columns="image")
    gradients = guided_backpropagation(inspection.model, inspection.load(chosen["path"]), layer=layer,
                                       units=units[rows, columns])
    return layer, chosen, gradients


# ---------------------------------------------------------------------------------------------- plots

METHOD_COLORS = {"class activation map": "#D55E00", "guided backpropagation": "#0072B2", "gradient": "#7F7F7F"}


def _bare(ax: Axes) -> Axes:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax


def plot_filters(filters: np.ndarray, *, columns: int = 8, figure: Figure | None = None) -> Figure:
    """The kernels of first_filters (K,h,w,1 or 3), or maps (K,h,w), as a grid of small pictures, numbered.

    Maps are blue where negative, red where positive, white at 0, each at its own largest absolute value.
    """
    columns, signed = min(columns, len(filters)), filters.ndim == 3
    rows = -(-len(filters) // columns)
    figure = figure or plt.figure(figsize=(0.8 * columns, 0.8 * rows))
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"wspace": 0.08, "hspace": 0.08})
    for index, ax in enumerate(axes.flat):
        _bare(ax)
        if index < len(filters):
            limit = np.abs(filters[index]).max() or 1
            style = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit} if signed else {"cmap": "gray", "vmin": 0, "vmax": 1}
            ax.imshow(filters[index], **style)
    return figure


def plot_first_layer(picture: np.ndarray, filters: np.ndarray, maps: np.ndarray, *, columns: int = 8) -> Figure:
    """A picture (H,W,3), the filters of the first layer, and the maps (K,h,w) that they make of it, in the same places."""
    columns = min(columns, len(maps))
    rows, cell, top = -(-len(maps) // columns), 0.47, 0.3
    height, side = rows * cell, columns * cell
    first = min(2.2, max(height, 1.5))
    figure = plt.figure(figsize=(first + 2 * side + 0.5, max(height, first) + top))
    parts = figure.subfigures(1, 3, width_ratios=[first, side, side], wspace=0.03)
    _bare(parts[0].subplots()).imshow(picture)
    for part, values in zip(parts[1:], (filters, maps), strict=True):
        plot_filters(values, columns=columns, figure=part)
    share = height / figure.get_figheight()
    for part, name in zip(parts, ("image", "filters", "maps: red > 0, blue < 0"), strict=True):
        above = 1 - top / figure.get_figheight()
        part.subplots_adjust(0.01, above - (share if part is not parts[0] else above), 0.99, above)
        part.suptitle(name, fontsize=10, x=0.02, ha="left", y=0.995)
    return figure


def plot_neurons(pictures: np.ndarray, gradients: Tensor, captions: Sequence[str], others: np.ndarray) -> Figure:
    """A row a neuron: pictures (n,H,W,3), guided gradients (n,C,H,W), and the next images (n,m,H,W,3)."""
    n, m = others.shape[:2]
    size = (1.62 * (2 + m) + 0.9, 1.62 * n + 0.2)
    figure, axes = plt.subplots(n, 2 + m, figsize=size, layout="constrained", squeeze=False)
    figure.get_layout_engine().set(wspace=0.015, hspace=0.015)
    for row, picture, gradient, caption, rest in zip(axes, pictures, gradients, captions, others, strict=True):
        plot_guided_gradient(gradient, ax=row[1])
        for ax, image in zip((row[0], *row[2:]), (picture, *rest), strict=True):
            ax.imshow(image)
        for ax in row:
            _bare(ax).set(xlabel="", ylabel="")
        row[0].set_ylabel(caption, fontsize=9, rotation=0, ha="right", va="center", labelpad=8)
    titles = ("excites it most", "guided gradient", *(f"image of rank {rank + 2}" for rank in range(m)))
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=9)
    return figure


def plot_guided_gradient(gradient: Tensor, *, ax: Axes | None = None) -> Axes:
    """A guided gradient (C,H,W) around mid-grey, its 99th percentile of absolute values at black or white."""
    ax = ax or plt.subplots(figsize=(3.2, 3.2), layout="constrained")[1]
    values = gradient.detach().float().cpu().permute(1, 2, 0).numpy()
    shown = (0.5 + 0.5 * values / (np.quantile(np.abs(values), 0.99) or 1)).clip(0, 1)
    ax.imshow(shown.squeeze(-1) if shown.shape[-1] == 1 else shown, cmap="gray", vmin=0, vmax=1)
    ax.set(xlabel="x in pixels", ylabel="y in pixels")
    return ax


def plot_class_activation(picture: np.ndarray, heat: np.ndarray, *, scale: float | None = None,
                          ax: Axes | None = None) -> Axes:
    """A picture (H,W,3), 0 … 1, in grey, and over it heat (H,W) >= 0, the more opaque the hotter; hottest at `scale`."""
    ax = ax or plt.subplots(figsize=(3.2, 3.2), layout="constrained")[1]
    shown = (heat / (scale or heat.max() or 1)).clip(0, 1)
    ax.imshow(picture.mean(2), cmap="gray", vmin=0, vmax=1)
    ax.imshow(shown, cmap="inferno", alpha=0.15 + 0.6 * shown, vmin=0, vmax=1)
    ax.set(xlabel="x in pixels", ylabel="y in pixels")
    return ax


def plot_class_activation_maps(views: Sequence[View], *, columns: int = 2) -> Figure:
    """`columns` views a row, each as image, map at its own resolution, and overlay, with its title above."""
    rows = -(-len(views) // columns)
    figure = plt.figure(figsize=(5.2 * columns, 1.95 * rows))
    parts = np.ravel(figure.subfigures(rows, columns, squeeze=False))
    for view, part in zip(views, parts, strict=False):
        axes = part.subplots(1, 3, gridspec_kw={"wspace": 0.03})
        axes[0].imshow(view.picture)
        axes[1].imshow(view.map.clip(min=0), cmap="inferno", vmin=0, vmax=view.scale or 1)
        plot_class_activation(view.picture, view.heat, scale=view.scale, ax=axes[2])
        for ax in axes:
            _bare(ax).set(xlabel="", ylabel="")
        part.subplots_adjust(0.01, 0.02, 0.99, 0.86)
        axes[0].set_title(view.title, fontsize=9, loc="left", pad=3)
    return figure


def plot_randomisation(found: Randomisation) -> Figure:
    """Mean |ρ| by step with 95 % intervals, a panel a method; grey: up to chance; line: the bar; dotted: another image."""
    table = summarise_randomisation(found)
    methods = list(dict.fromkeys(table["method"]))
    figure, axes = plt.subplots(1, len(methods), figsize=(3.4 * len(methods), 3.9), layout="constrained", sharey=True,
                                squeeze=False)
    for ax, method in zip(axes[0], methods, strict=True):
        rows = table[table["method"] == method]
        color = next(color for name, color in METHOD_COLORS.items() if method.startswith(name))
        error = [(rows["|ρ|"] - rows["low"]).clip(lower=0), (rows["high"] - rows["|ρ|"]).clip(lower=0)]
        ax.axhspan(0, rows["chance"].iloc[0], color="#D9D9D9", zorder=0, label="unrelated maps (chance)")
        ax.axhline(rows["bar"].iloc[0], color="black", linewidth=1, label="bar, halfway from chance to 1")
        ax.axhline(control_mean(found, method, "another image"), color="black", linestyle=":", linewidth=1.2,
                   label="map of another image")
        ax.errorbar(range(len(rows)), rows["|ρ|"], yerr=error, marker="o", capsize=2, color=color)
        ax.set_xticks(range(len(rows)), rows["down_to"], rotation=40, ha="right")
        ax.set_title(method, fontsize=10)
    axes[0, 0].set(ylabel="mean |ρ| with the\ntrained network's map", ylim=(0, 1.03))
    figure.supxlabel("weights drawn anew, from the classifier down to", fontsize=10)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return figure


def plot_randomised(picture: np.ndarray, pictures: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """A row a method, a column a step: the maps of one picture (H,W,3) as more weights are drawn anew."""
    methods = list(next(iter(pictures.values())))
    figure, axes = plt.subplots(len(methods), 1 + len(pictures), layout="constrained", squeeze=False,
                                figsize=(1.32 * (1 + len(pictures)) + 0.3, 1.5 * len(methods) + 0.3))
    for method, row in zip(methods, axes, strict=True):
        row[0].imshow(picture)
        row[0].set_ylabel(textwrap.fill(method, 16), fontsize=9)
        for ax, maps in zip(row[1:], pictures.values(), strict=True):
            values = maps[method].clip(min=0)
            ax.imshow(values, cmap="inferno", vmin=0, vmax=np.quantile(values, 0.995) or 1)
    for ax in axes.flat:
        _bare(ax)
    for ax, title in zip(axes[0], ("image", *pictures), strict=True):
        ax.set_title(title if title != "nothing" else "trained", fontsize=9)
    return figure


def plot_occlusion(picture: np.ndarray, masks: Mapping[str, np.ndarray], titles: Sequence[str],
                   table: pd.DataFrame) -> Figure:
    """Left, a picture (H,W,3) whole and with each mask (H,W) hidden; right, the drops of all images, a dot an image."""
    figure = plt.figure(figsize=(10.2, 4.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.45])
    whole = {"whole": np.zeros(picture.shape[:2], dtype=bool)}
    for ax, mask, title in zip(left.subplots(2, 2).flat, [*whole.values(), *masks.values()], titles, strict=True):
        _bare(ax).imshow(np.where(mask[..., None], 0.5, picture))
        ax.set_title(title, fontsize=8)
    ax, rng, measured = right.subplots(), np.random.default_rng(0), table.dropna()
    for row, name in enumerate(masks):
        at = row + rng.uniform(-0.22, 0.22, len(measured))
        ax.scatter(100 * measured[name], at, s=9, color="#0072B2", alpha=0.45, linewidths=0)
        mean, low, high = (100 * value for value in mean_interval(measured[name], bounds=(-1, 1)))
        ax.errorbar(mean, row, xerr=[[mean - low], [high - mean]], color="#D55E00", marker="D", capsize=4, linewidth=2)
    ax.errorbar([], [], xerr=[], color="#D55E00", marker="D", capsize=4, label="mean with its 95 % interval")
    ax.axvline(0, color="black", linewidth=0.6)
    ax.set_yticks(range(len(masks)), [textwrap.fill(name, 16) for name in masks])
    ax.set(xlabel="drop in confidence, points (one dot an image)", ylim=(len(masks) - 0.45, -0.75))
    ax.legend(frameon=False, fontsize=8, loc="upper right")
    return figure
