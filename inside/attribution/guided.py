"""Gradients at the pixels: guided backpropagation, saliency, the neurons that stand out.

Own code: captum guides nn.ReLU alone, no F.relu, ReLU6, SiLU or GELU, which newer networks have.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import CheckpointError

from inside.attribution.inputs import (
    Inspection,
    _batch,
    _channels_last,
    _check_called,
    _choose_targets,
    _for_each,
    _logits,
    feature_maps_of,
    last_convolution,
)
from inside.data.loading import ImageDataset, make_loader
from inside.feature_maps.hooks import all_modules, capture, check_layer, eval_mode, only_tensor
from inside.feature_maps.tracing import rectifier_ceiling
from inside.models.surgery import without_gradients

# Activations that are met when they run, as a module or as a function. Gates (sigmoid, softmax) are passed as they are.
ACTIVATIONS = set("relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish hardswish softplus threshold".split())


class NotGuidable(ValueError):
    """A network for which guided backpropagation is not defined."""


class _GuideActivations(TorchFunctionMode):
    """Every activation that runs, from a module or a function, in place or not, is guided; see torch.overrides.

    `written_out`: whether an activation ran in arithmetic instead: x · sigmoid(x), x · (x > 0), x + |x|, max(x, 0).
    """

    GATES = "sigmoid hardsigmoid relu6 hardtanh clamp tanh softplus erf exp gt ge lt le sign".split()
    CASTS = "to type type_as float double half bfloat16 int long bool detach clone".split()
    # with numbers alone, or with tensors that were made from the same one, they keep what a tensor was made from
    ARITHMETIC = "add sub rsub mul div neg pow square where".split()

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.written_out = 0, False
        self.origins: dict[int, tuple[Tensor, Tensor, str]] = {}  # tensor, what it alone was made from, "gate" or "abs"

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
        """Notice activations that are written out: what joins a tensor with a gate, or the absolute value, of it alone.

        Of what depends on the images: weights have no gradients meanwhile, and masks and constants have none.
        """
        tensors = [a for a in args[:3] if isinstance(a, Tensor)]
        made = [self.origins[id(a)][1:] if id(a) in self.origins else (a, "")
                for a in tensors[:1 if name in self.CASTS else 3] if a.requires_grad or id(a) in self.origins]
        kinds = {kind for _, kind in made}
        same = len({id(origin) for origin, _ in made}) == 1
        if name in ("mul", "imul", "div"):
            self.written_out |= same and kinds == {"", "gate"}
        elif name in ("add", "iadd", "sub"):
            self.written_out |= same and kinds == {"", "abs"}
        elif name in ("where", "masked_fill", "setitem"):
            self.written_out |= any(origin is other for origin, gate in made if gate for other, kind in made if not kind)
        elif name in ("maximum", "max", "fmax", "minimum", "min", "fmin") and len(tensors) == 2 and len(made) == 1:
            limit = tensors[tensors[0].requires_grad]  # 0, or one a channel
            self.written_out |= limit.numel() > 1 or not limit.any()
        known = name in (*self.GATES, *self.CASTS, *self.ARITHMETIC, "abs")
        if known and same and len(kinds) == 1 and isinstance(result, Tensor):
            kind = "gate" if name in self.GATES else "abs" if name == "abs" else made[0][1]
            self.origins[id(result)] = (result, made[0][0], kind)


def guided_backpropagation(model: nn.Module, images: Tensor, targets: int | Sequence[int] | Tensor | None = None, *,
                           layer: str | None = None, units: Sequence[int] | Tensor | None = None) -> Tensor:
    """Guided gradients at images (N,C,H,W), or at one (C,H,W); same shape.

    Of the score of class `targets` (one for all, one each, None: the predicted ones), or of one unit of the output of
    module `layer` for each image: `units` (N,), its index in the flattened output. At each activation only positive
    gradients pass, and only where its input is positive: Springenberg et al., Striving for simplicity: the all
    convolutional net (2015), section 3.4, for ReLU. Where an activation is smooth (SiLU, GELU) the gradient is further
    multiplied by its slope: our extension. ReLU6 also stops what lies above 6. Functions are caught while the network runs:
    modules, functional, reused and in-place ones, but none in a torch.autograd.Function. NotGuidable: no activation, one in
    arithmetic (x · (x > 0), max(x, 0)), one that is not met, or checkpointing. ValueError: target or unit out of range.
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
        with without_gradients(model):
            gradient = _gradient(model, images, targets, layer, units, guide)
    except CheckpointError:
        raise NotGuidable(f"{type(model).__name__} runs parts of itself again on the way back (checkpointing), where its "
                          "activations cannot be guided: switch it off.") from None
    finally:
        for handle in handles:
            handle.remove()
    if unmet or guide.written_out or not guide.seen:
        what = f"computes {sorted(set(unmet))[0]} in a way that cannot be guided" if unmet else \
            "computes an activation in arithmetic, such as x * (x > 0)" if guide.written_out else \
            f"ran none of the activations that can be guided ({', '.join(sorted(ACTIVATIONS))})"
        raise NotGuidable(f"{type(model).__name__} {what}: guided backpropagation is not defined for it; "
                          "class_activation_maps and saliency are.")
    return gradient


def saliency(model: nn.Module, images: Tensor, targets: int | Sequence[int] | Tensor | None = None) -> Tensor:
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
            raise ValueError(f"units are {rows.tolist()}; expected 0 to {flat.shape[1] - 1} in layer {name!r}.")
        picked.append(flat.gather(1, rows[:, None]))

    if (layer is None) != (units is None):
        raise ValueError("layer and units must be given together: units are indices in the flattened output of the layer.")
    with eval_mode(model), torch.inference_mode(False), torch.enable_grad():
        x = _batch(model, images).requires_grad_()
        with mode, capture(model, [layer] if layer else [], pick):
            logits = _logits(model, x)
            _check_called(str(layer), picked if layer else [logits])
            value = picked[-1] if layer else logits.gather(1, _choose_targets(logits, targets)[:, None])
        gradient, = torch.autograd.grad(value.sum(), x)
    return gradient if images.ndim == 4 else gradient[0]


def strongest_neurons(model: nn.Module, loader: Iterable, layer: str | None = None) -> tuple[str, np.ndarray, np.ndarray]:
    """The layer (None: the last convolution), and for each image and channel its strongest value and where it stands.

    `loader` yields (images, labels) or images. Values (N,C) and indices (N,C) in the flattened output of an image, as
    `guided_backpropagation` takes them. ValueError: unknown layer, one without channels, no images.
    """
    modules = all_modules(model)
    layer = layer or last_convolution(model)
    check_layer(layer, modules)
    values, indices, latest, axes = [], [], list[tuple[Tensor, Tensor]](), list[bool]()

    def strongest(name: str, output: object) -> None:
        x = only_tensor(name, output).detach()
        where = torch.arange(x[0].numel(), device=x.device).view(x.shape[1:])
        last = x.ndim < 4 or axes == [True]  # (N,C), (N,T,C) and (N,H,W,C): channels come last
        x, where = (x.movedim(-1, 1), where.movedim(-1, 0)) if last else (x, where)
        value, at = x.flatten(2).max(2) if x.ndim > 2 else (x, torch.zeros_like(x, dtype=torch.long))
        index = where.flatten(1).expand(len(x), -1, -1).gather(2, at[..., None])[..., 0] if x.ndim > 2 else \
            where.expand(len(x), -1)
        latest[:] = [(value.float().cpu(), index.cpu())]  # of several calls the last one counts

    with eval_mode(model), torch.inference_mode(), capture(model, [layer], strongest):
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
    """n channels and for each the image that excites it most; `values` (N,C) of `strongest_neurons`.

    The channels given; or those whose strongest value stands out most among the images, in standard deviations from
    their mean, each with an image that none before it has, where there are as many. Columns channel, image, value,
    stands_out. ValueError: no such channel.
    """
    spread = values.std(0)
    stands_out = np.divide(values.max(0) - values.mean(0), spread, out=np.zeros_like(spread), where=spread > 0)
    wrong = next((channel for channel in channels if not 0 <= channel < values.shape[1]), None)
    if wrong is not None:
        raise ValueError(f"There is no channel {wrong}; expected 0 to {values.shape[1] - 1}.")
    table = pd.DataFrame({"channel": np.arange(values.shape[1]), "image": values.argmax(0), "value": values.max(0),
                          "stands_out": stands_out})
    if len(channels):
        return table.iloc[list(channels)].reset_index(drop=True)
    table = table.sort_values("stands_out", ascending=False, kind="stable")
    again = table.duplicated("image")
    return pd.concat([table[~again], table[again]]).head(n).reset_index(drop=True)


Place = tuple[float, float, float, float]  # y, x of the centre, height, width: shares of the image's


def neuron_place(model: nn.Module, image: Tensor, layer: str, channel: int, value: float) -> Place | None:
    """Where in an image (C,H,W) the position of a layer lies at which a channel takes its largest `value`.

    None where the layer has no positions, or where that value stands at none of them (such as at a class token).
    """
    try:
        map_ = feature_maps_of(model, image, layer)[channel]
    except ValueError:
        return None
    if map_.size < 2 or not np.isclose(map_.max(), value, rtol=1e-2, atol=1e-6):
        return None
    (y, x), (rows, columns) = np.unravel_index(map_.argmax(), map_.shape), map_.shape
    return (float(y) + 0.5) / rows, (float(x) + 0.5) / columns, 1 / rows, 1 / columns


def guided_neurons(inspection: Inspection, table: pd.DataFrame, layer: str | None = None, *, n: int = 4,
                   channels: Sequence[int] = (), batch_size: int = 32) -> tuple[str, pd.DataFrame, Tensor]:
    """The neurons of a layer (None: the last convolution), the images of `table` that excite them most, guided gradients.

    Returns the layer; one row per neuron: channel, path, label, value, stands_out (see `choose_neurons`), next, next_labels
    (paths and labels of the three images that come after), place (see `neuron_place`); and the guided gradient (n,C,H,W) of
    each neuron at its image.
    """
    images = ImageDataset(table.assign(label=""), inspection.root, [""], inspection.transform)
    layer, values, units = strongest_neurons(inspection.model, make_loader(images, batch_size=batch_size), layer)
    chosen = choose_neurons(values, n, channels)
    rows, columns = chosen["image"].to_numpy(), chosen["channel"].to_numpy()
    paths, labels = (table[name].to_numpy() for name in ("path", "label"))
    after = [np.argsort(-values[:, column], kind="stable")[1:4] for column in columns]
    excite = inspection.load(paths[rows])
    places = [neuron_place(inspection.model, image, layer, column, values[row, column])
              for image, row, column in zip(excite, rows, columns, strict=True)]
    chosen = chosen.assign(path=paths[rows], label=labels[rows], next=[paths[order].tolist() for order in after],
                           next_labels=[labels[order].tolist() for order in after], place=places).drop(columns="image")
    return layer, chosen, guided_backpropagation(inspection.model, excite, layer=layer, units=units[rows, columns])
