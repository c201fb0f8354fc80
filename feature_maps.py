"""What the feature maps of a network look like: hooks, statistics in one pass, spectra, plots.

Notebooks 02 and 03 share this module. A *feature map* is the output of one module; a *pooled feature* its mean over
positions (tokens, for transformers), one vector of C channels an image; a *non-positive* value is one that is <= 0.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from scipy.stats import beta, norm
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

import helpers
import image_data

# The course's five feature maps of a torchvision ResNet: the first convolution of each block up to layer3.0.
RESNET_LAYERS = ("layer1.0.conv1", "layer1.1.conv1", "layer2.0.conv1", "layer2.1.conv1", "layer3.0.conv1")

# Scenario -> colour (Okabe and Ito's palette, told apart by colour-blind readers) and words for legends. A scenario
# named "<one of these>_32px" (images first reduced to 32 x 32 pixels) has the same colour, dashed.
SCENARIO_COLORS = {
    "finetuned_own": "#D55E00",
    "imagenet_own": "#0072B2",
    "imagenet_imagenet": "#009E73",
    "imagenet_cifar10": "#CC79A7",
    "imagenet_photo_patches": "#009E73",
    "imagenet_digits": "#CC79A7",
    "imagenet_demo": "#E69F00",
    "random_own": "#7F7F7F",
}
SCENARIO_LABELS = {
    "finetuned_own": "fine-tuned, own images",
    "imagenet_own": "ImageNet-initialised, own images",
    "imagenet_imagenet": "ImageNet-initialised, ImageNet images",
    "imagenet_cifar10": "ImageNet-initialised, CIFAR-10 images",
    "imagenet_photo_patches": "ImageNet-initialised, photo patches (stand-in for ImageNet)",
    "imagenet_digits": "ImageNet-initialised, handwritten digits (stand-in for CIFAR-10)",
    "imagenet_demo": "ImageNet-initialised, drawn scenes (stand-in)",
    "random_own": "random initialisation, own images",
}
STAND_INS = ("photo_patches", "digits", "demo")  # embedded data sets that take the place of ImageNet and CIFAR-10

# ---------------------------------------------------------------------------------------------- walk and choose


def module_table(model: nn.Module, image_size: int | tuple[int, int], *, in_channels: int = 3) -> pd.DataFrame:
    """Every module inside a network with its output, seen in one forward pass of a zero image.

    Columns: name, type, output_shape (of its first call, without the batch axis; None if never called), parameters
    (its own and those of modules inside it), calls (in that pass). `image_size` in pixels, a side or (height, width).
    Training flags, buffers and gradients are left as they were.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    modules = {name: module for name, module in model.named_modules() if name}
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str, output: object) -> None:
        tensors = _tensors(output)
        shapes.setdefault(name, tuple(tensors[0].shape[1:]) if tensors else ())

    like = first_parameter(model)
    image = torch.zeros(1, in_channels, *size, dtype=like.dtype, device=like.device)
    with evaluating(model), torch.no_grad(), capture(model, list(modules), note) as calls:
        model(image)
    rows = [(name, type(module).__name__, shapes.get(name), sum(p.numel() for p in module.parameters()), calls[name])
            for name, module in modules.items()]
    return pd.DataFrame(rows, columns=["name", "type", "output_shape", "parameters", "calls"])


def choose_layers(model: nn.Module, layers: Sequence[str] | None = None, n: int = 5) -> list[str]:
    """Names of the feature maps to measure: those given, checked, or `n` spread evenly over the depth.

    Spread among the convolutions on the main path (shortcut, squeeze-and-excitation, auxiliary ones left out); where
    there are fewer than `n`, among the attention blocks (transformers), else among convolutions and linear layers.
    Fewer names come back if the network has fewer. ValueError: unknown name (with near ones), one given twice, n < 1.
    """
    names = all_modules(model)
    if layers is not None:
        chosen = [layers] if isinstance(layers, str) else list(layers)
        for name in chosen:
            check_layer(name, names)
        twice = [name for name, times in Counter(chosen).items() if times > 1]
        if twice or not chosen:
            raise ValueError(f"layers is {chosen}; it must hold at least one name and each name once.")
        return chosen
    if n < 1:
        raise ValueError(f"n is {n}; it must be at least 1.")
    candidates = _candidates(model, n)
    if not candidates:
        raise ValueError(f"{type(model).__name__} has no convolution, attention block or linear layer: name layers.")
    n = min(n, len(candidates))
    return [candidates[i] for i in np.linspace(0, len(candidates) - 1, n).round().astype(int)]


def _candidates(model: nn.Module, n: int) -> list[str]:
    """Modules of one kind that choose_layers spreads its choice over, in the order of named_modules()."""
    modules = {name: module for name, module in model.named_modules() if name}
    aside = tuple(f"{name}." for name, module in modules.items()
                  if name.split(".")[-1].lower().startswith(("downsample", "shortcut", "aux"))
                  or "squeezeexc" in type(module).__name__.lower() or type(module).__name__ == "SEModule")
    main = [name for name in modules if not f"{name}.".startswith(aside or ("\0",))]
    convolutions = [name for name in main if isinstance(modules[name], nn.Conv2d)]
    if len(convolutions) >= n:
        return convolutions
    attention = ("attention", "attn")
    blocks = [name for name in main if any(word in type(child).__name__.lower()
                                           for child in modules[name].children() for word in attention)
              and not any(word in type(modules[name]).__name__.lower() for word in attention)]
    return blocks or [name for name in main if isinstance(modules[name], nn.Conv2d | nn.Linear)]


def all_modules(model: nn.Module) -> dict[str, nn.Module]:
    """name -> module, all names of a module that has several."""
    return {name: module for name, module in model.named_modules(remove_duplicate=False) if name}


def check_layer(name: str, names: Mapping[str, nn.Module]) -> None:
    """ValueError, with the nearest names, unless `name` is one of `names`."""
    if name not in names:
        near = difflib.get_close_matches(str(name), list(names), n=5, cutoff=0.4) or list(names)[:5]
        raise ValueError(f"The network has no module named {name!r}; legal are the names of named_modules(), "
                         f"the nearest ones {', '.join(near)}.")


def first_parameter(model: nn.Module) -> Tensor:
    """The first weight of a network, for its device and type; a number on the CPU where it has none."""
    return next(model.parameters(), torch.zeros(()))


# ---------------------------------------------------------------------------------------------- hooks


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Evaluation mode inside, afterwards every module's training flag and every buffer exactly as before."""
    flags = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        yield model.eval()
    finally:
        for module, flag in flags:
            module.training = flag
        with torch.no_grad():
            for buffer, before in buffers:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)


@contextmanager
def capture(model: nn.Module, layers: Sequence[str],
            reduce: Callable[[str, object], object]) -> Iterator[Counter[str]]:
    """Call `reduce(name, output)` at every call of the named modules, in a forward hook, before the next module runs.

    So an in-place activation that follows has not yet changed the output; keep nothing of it unless you clone it.
    Yields a Counter name -> calls so far. All hooks are removed on leaving, also after an exception, and nothing else
    is put on the network. ValueError: unknown name. Source: torch.nn.Module.register_forward_hook.
    """
    names, calls, handles = all_modules(model), Counter(), []

    def hook(name: str, module: nn.Module, inputs: object, output: object) -> None:
        calls[name] += 1
        reduce(name, output)

    try:
        for name in layers:
            check_layer(name, names)
            handles.append(names[name].register_forward_hook(partial(hook, name)))
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _tensors(output: object) -> list[Tensor]:
    """The tensors in a module's output: itself, or those in a tuple, list, mapping or dataclass."""
    if isinstance(output, Tensor):
        return [output]
    if dataclasses.is_dataclass(output):
        output = [getattr(output, f.name) for f in dataclasses.fields(output)]
    values = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    return [tensor for value in values for tensor in _tensors(value)]


def only_tensor(name: str, output: object) -> Tensor:
    """The one tensor of an output such as x or (x, None); ValueError if there are several or none."""
    tensors = _tensors(output)
    if len(tensors) != 1 or not tensors[0].is_floating_point():
        kinds = ", ".join(str(t.dtype) for t in tensors) or "no tensor"
        raise ValueError(f"Module {name!r} returns {type(output).__name__} with {kinds}; legal is one floating-point "
                         f"tensor: choose a module inside it.")
    return tensors[0]


def gives_channels_last(module: nn.Module) -> bool:
    """Whether a module's four axes are (N,H,W,C) instead of (N,C,H,W), as far as its type alone tells.

    An activation between two linear layers, or a block that holds them, does not tell: see `channel_axes`, which does.
    """
    if isinstance(module, nn.Sequential) and len(module):
        return gives_channels_last(module[-1])
    swin = type(module).__name__.startswith(("Swin", "PatchMerging"))
    return swin or (isinstance(module, nn.Linear | nn.LayerNorm) and "2d" not in type(module).__name__.lower())


def _positions(name: str, module: nn.Module, x: Tensor, channels: int | None = None) -> tuple[Tensor, int]:
    """A feature map as (N,P,C) with 1 or (N,C,P) with 2: a view where memory allows, and the axis of positions P.

    (N,C,H,W) has H*W positions, (N,T,C) has T, (N,C) one. `channels`: the axis of the channels; None where it is not known:
    then the last one of three, and of four that which the type of the module tells.
    """
    if x.ndim not in (2, 3, 4):
        raise ValueError(f"Module {name!r} returns shape {tuple(x.shape)}; legal are (N,C,H,W), (N,T,C) and (N,C).")
    x, last = x.detach(), x.ndim - 1
    if not channels:
        channels = last if x.ndim < 4 or gives_channels_last(module) else 1
    if x.ndim == 2:
        return x.unsqueeze(1), 1
    if channels == last:
        return x.flatten(1, -2), 1
    if channels == 1 and x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return x.permute(0, 2, 3, 1).flatten(1, 2), 1
    return x.movedim(channels, 1).flatten(2), 2


def _pool_and_count(x: Tensor, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Means (N,C), counts of values <= 0 (N,C) int64, and of NaN (None if there are none) over one axis of (N,·,·).

    A few images at a time are copied into a small float buffer, averaged there, replaced by 0 or 1 and summed: many
    times faster than summing booleans, and exact, since a float32 holds integers up to 2**24.
    """
    wide = torch.float64 if x.dtype == torch.float64 or x.shape[axis] >= 2**24 else torch.float32
    step = max(1, 2**20 // max(1, x[0].numel()))
    buffer, means, counts = torch.empty_like(x[:step], dtype=wide), [], []
    for part in x.split(step):
        values = buffer[:len(part)].copy_(part)
        means.append(values.mean(axis))
        counts.append(torch.le(values, 0, out=values).sum(axis))
    mean = torch.cat(means)
    nan = None if torch.isfinite(mean).all() else torch.isnan(x).sum(axis).cpu().numpy()
    return mean.cpu().numpy(), torch.cat(counts).to(torch.int64).cpu().numpy(), nan


# ---------------------------------------------------------------------------------------------- audit

_ACTIVATIONS = set("relu relu6 hardtanh threshold leaky_relu prelu rrelu elu selu celu gelu silu mish hardswish "
                   "hardsigmoid sigmoid tanh softplus softsign glu clamp_min".split())


def hook_audit(model: nn.Module, batch: Tensor, layers: Sequence[str]) -> dict:
    """What the hooks met in one forward pass of `batch` (N,C,H,W), as a dictionary that JSON can hold.

    `layers`: for each its type, calls, whether it works in place, whether its output was overwritten later in the pass,
    and how that was handled. `activations`: those seen, as modules or as functions (F.relu, torch.relu, Tensor.relu_,
    F.gelu, clamp(min=0), …), with calls, places, and whether in place: observed by memory address, not by a flag.
    `called_several_times`: name -> calls, of all modules. Operations fused in C++ are not seen.
    """
    names, modules = choose_layers(model, layers), {id(m): name for name, m in model.named_modules()}
    running: list[nn.Module] = []
    seen: dict[tuple, Counter] = {}
    kept = {name: [] for name in names}
    handles = []

    def on_activation(label: str, in_place: bool) -> None:
        inside = running[-1] if running else model
        is_module = not list(inside.children()) and not list(inside.parameters(recurse=False))
        kind = ("module", type(inside).__name__) if is_module else ("functional", label)
        seen.setdefault((*kind, in_place), Counter())[modules[id(inside)] or type(model).__name__] += 1

    def leave(module: nn.Module, inputs: tuple, output: object) -> None:
        running.pop()
        called[modules[id(module)]] += 1

    def keep(name: str, module: nn.Module, inputs: tuple, output: object) -> None:
        x = only_tensor(name, output)
        kept[name].append((x, x._version, any(t.data_ptr() == x.data_ptr() for t in _tensors(inputs))))

    called, by_name = Counter(), all_modules(model)
    try:
        for module in model.modules():
            handles.append(module.register_forward_pre_hook(lambda module, inputs: running.append(module)))
            handles.append(module.register_forward_hook(leave))
        handles += [by_name[name].register_forward_hook(partial(keep, name)) for name in names]
        with evaluating(model), torch.no_grad(), _SeeActivations(on_activation):
            model(batch)
    finally:
        for handle in handles:
            handle.remove()
    return {
        "batch": list(batch.shape),
        "layers": {name: _audit_layer(by_name[name], kept[name]) for name in names},
        "activations": [_audit_activation(*key, places) for key, places in seen.items()],
        "called_several_times": {name: n for name, n in called.items() if n > 1 and name},
    }


def _audit_layer(module: nn.Module, outputs: list[tuple[Tensor, int, bool]]) -> dict:
    in_place = any(own for *_, own in outputs)
    overwritten = any(x._version != version for x, version, _ in outputs)
    handling = "counted inside the hook at every call, before the next module runs"
    if overwritten:
        handling += "; a later in-place operation overwrote the output, which the count does not see"
    if in_place:
        handling += "; the module itself works in place: its output is counted, its input no longer exists"
    if not outputs:
        handling = "never called in the forward pass: nothing to count"
    return {"type": type(module).__name__, "calls": len(outputs), "in_place": in_place,
            "overwritten_later": overwritten, "handling": handling}


def _audit_activation(kind: str, label: str, in_place: bool, places: Counter) -> dict:
    handling = {
        ("module", False): "gives a new tensor: the feature map before it stays as it was",
        ("module", True): "overwrites its input: the feature map before it was reduced in its own hook, earlier",
        ("functional", False): "a function, not a module: no hook can name it; the module around it can be hooked",
        ("functional", True): "a function that overwrites its input: the feature map before it was reduced earlier",
    }[kind, in_place]
    return {"kind": kind, "activation": label, "in_place": in_place, "calls": sum(places.values()),
            "places": len(places), "examples": list(places)[:5], "handling": handling}


def _activation_label(func: Callable, args: tuple, kwargs: Mapping) -> str | None:
    """What the audit calls a function that is an activation for these arguments; None where it is none."""
    name = getattr(func, "__name__", "").rstrip("_")
    return name if name in _ACTIVATIONS else "clamp(min=0)" if rectifier_ceiling(func, args, kwargs) else None


class _SeeActivations(TorchFunctionMode):
    """Reports each activation function that runs, whoever calls it; see torch.overrides.TorchFunctionMode."""

    def __init__(self, report: Callable[[str, bool], None]) -> None:
        super().__init__()
        self.report = report

    def __torch_function__(self, func, types, args=(), kwargs=None):
        label = _activation_label(func, args, kwargs or {})
        address = args[0].data_ptr() if label and args and isinstance(args[0], Tensor) else None
        result = func(*args, **(kwargs or {}))
        if address is not None:
            self.report(label, result.data_ptr() == address)
        return result


def rectifier_ceiling(func: Callable, args: tuple, kwargs: Mapping) -> float | None:
    """Upper bound of a function that is a rectifier for these arguments (relu: inf, relu6: 6), else None."""
    name, limits = getattr(func, "__name__", "").rstrip("_"), [a for a in args[1:] if not isinstance(a, bool)]
    if name in ("relu", "relu6"):
        return 6.0 if name == "relu6" else float("inf")
    if name not in ("hardtanh", "clamp", "clip", "clamp_min"):
        return None
    lowest, highest = ("min_val", "max_val") if name == "hardtanh" else ("min", "max")
    low = kwargs.get(lowest, limits[0] if limits else None)
    high = kwargs.get(highest, limits[1] if len(limits) > 1 else None)
    if isinstance(low, Tensor) or isinstance(high, Tensor) or low != 0:
        return None
    return float("inf") if high is None else float(high)


# ---------------------------------------------------------------------------------------------- what becomes of an output

# functions whose result has its channels on the second axis, and on the last one
_SECOND = set("conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d batch_norm group_norm "
              "instance_norm".split())
_LAST = set("linear layer_norm rms_norm multi_head_attention_forward scaled_dot_product_attention".split())
_MIXING = set("matmul bmm baddbmm einsum tensordot".split())
_MOVING = set("permute transpose swapaxes swapdims movedim moveaxis t get".split())
_NORMALISING = set("batch_norm group_norm instance_norm layer_norm rms_norm".split())
_RESHAPING = set("reshape view flatten unflatten squeeze unsqueeze reshape_as view_as ravel".split())
# functions that hand the values of a channel on: normalised, in another order or type, or as they are
_HANDING_ON = _NORMALISING | _RESHAPING | (_MOVING - {"get"}) | set(
    "dropout dropout1d dropout2d dropout3d alpha_dropout contiguous clone detach to type float double half bfloat16".split())
_IN_WORDS = {"add": "an addition (a shortcut)", "iadd": "an addition (a shortcut)", "mul": "a multiplication",
             "imul": "a multiplication", "cat": "a concatenation", "linear": "the next linear layer",
             "multi_head_attention_forward": "an attention", "scaled_dot_product_attention": "an attention"}


@dataclass(frozen=True)
class _Mark:
    """What is known of a tensor: the axis of its channels, the activation that gave it, and whose output it hands on."""

    channels: int | None = None
    activation: str = ""
    outputs: frozenset[tuple[str, int]] = frozenset()


@dataclass(frozen=True)
class Following:
    """The activation that follows an output, and which channels (C,) were ever > 0 after it; or why none follows."""

    activation: str = ""
    fires: np.ndarray | None = None
    reason: str = ""


class Tracer(TorchFunctionMode):
    """Follows tensors through forward passes: where their channels are, and which activation takes up the output of a layer.

    Enter it around a pass after `begin`, tell it the outputs to follow with `follow`, and ask `channels` during the pass
    and `following` after it. An output is followed, tensor by tensor, through normalisation, dropout and changes of shape
    or type to the function that takes it up. Operations fused in C++ are not seen. See torch.overrides.TorchFunctionMode.
    """

    def __init__(self) -> None:
        super().__init__()
        self._idle, self._marks = False, WeakTensorKeyDictionary()
        self._found: dict[tuple[str, int], list[Following]] = {}

    def begin(self, images: Tensor) -> None:
        """Forget the last pass; the channels of the images (N,C,H,W) are on the second axis."""
        self._marks, self._found = WeakTensorKeyDictionary(), {}
        self._marks[images] = _Mark(channels=1)

    def channels(self, x: Tensor) -> int | None:
        """The axis on which a tensor has its channels; None where that could not be followed."""
        return self._marks.get(x, _Mark()).channels

    def follow(self, layer: str, call: int, x: Tensor) -> str:
        """Follow `x`, the output of a call of a layer, from here on; returns the activation that gave it, if one did."""
        mark = self._marks.get(x, _Mark())
        self._marks[x] = dataclasses.replace(mark, outputs=mark.outputs | {(layer, call)})
        return mark.activation

    def following(self, layer: str, call: int) -> Following:
        """What took up an output: an activation and nothing else, or the reason why no activation can be named."""
        found = self._found.get((layer, call), [])
        others = [taken.reason for taken in found if taken.reason]
        if others or not found:
            words = f"its output goes into {others[0]}" if others else "nothing that is seen takes up its output"
            alone, also = (" alone", ", too") if len(others) < len(found) else ("", "")
            return Following(reason=f"no activation follows{alone}: {words}{also}")
        return Following(found[0].activation, np.any([taken.fires for taken in found], axis=0))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Inside, nothing is followed: for the work of hooks."""
        self._idle = True
        try:
            yield
        finally:
            self._idle = False

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not self._idle and isinstance(result, Tensor | tuple | list):
            given, results = _tensors([args, kwargs]), _tensors(result)
            if given and results:
                self._note(func, args, kwargs, given, results)
        return result

    def _note(self, func: Callable, args: tuple, kwargs: Mapping, given: list[Tensor], results: list[Tensor]) -> None:
        name = getattr(func, "__name__", "").strip("_")
        marks = [self._marks.get(x, _Mark()) for x in given]
        first, label = marks[0], _activation_label(func, args, kwargs)
        on = label or (name in _HANDING_ON and len(results) == 1)
        known = next(((x, mark.channels) for x, mark in zip(given, marks, strict=True) if mark.channels), None)
        label = "relu6" if label == "hardtanh" and rectifier_ceiling(func, args, kwargs) == 6 else label
        activation = label or (first.activation if on and name not in _NORMALISING else "")
        for x in results:
            axis = _channel_axis(func, name, args, kwargs, x, known)
            self._marks[x] = _Mark(axis, activation, first.outputs if on and not label else frozenset())
        fires = _fires(results[0], self.channels(results[0])) if label and first.outputs else None
        for place, mark in enumerate(marks):
            for output in mark.outputs:
                if place or not on:
                    self._found.setdefault(output, []).append(Following(reason=_in_words(name)))
                elif label:
                    self._found.setdefault(output, []).append(Following(label, fires))


def _in_words(name: str) -> str:
    kinds = {"conv": "the next convolution", "pool": "a pooling"}
    return next((words for kind, words in kinds.items() if kind in name), _IN_WORDS.get(name, f"the operation {name}"))


def _channel_axis(func: Callable, name: str, args: tuple, kwargs: Mapping, result: Tensor,
                  known: tuple[Tensor, int] | None) -> int | None:
    """The axis of the channels of a result, from a tensor that it was made from and its axis (`known`); None: not known."""
    if name in _SECOND or name in _LAST:
        return 1 if name in _SECOND else result.ndim - 1
    if known is None or name in _MIXING:
        return None
    x, axis = known
    if name in _RESHAPING:  # an axis with as many channels, and as many values before it
        ahead = np.cumprod([1, *result.shape])
        same = [i for i, size in enumerate(result.shape) if size == x.shape[axis] and ahead[i] == np.prod(x.shape[:axis])]
        return same[-1] if same else None
    if result.ndim == x.ndim and name not in _MOVING:
        return axis
    sizes = (2, 3, 5, 7, 11, 13)[:x.ndim]  # where does the axis go? tried on a tensor without values, no two sizes the same
    try:
        return list(func(torch.empty(sizes, device="meta"), *args[1:], **kwargs).shape).index(sizes[axis])
    except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return None


def _fires(x: Tensor, channels: int | None) -> np.ndarray:
    """Which channels (C,) of an activation's output have a value > 0; `channels`: their axis."""
    x = x.detach()
    flat, axis = _positions("", nn.Identity(), x, channels) if x.ndim in (2, 3, 4) else (x.flatten(1).unsqueeze(1), 1)
    highest = flat.amax((0, axis))
    if highest.isnan().any():
        highest = torch.where(flat.isnan(), -1, flat).amax((0, axis))
    return (highest > 0).cpu().numpy()


def channel_axes(model: nn.Module, images: Tensor, layers: Sequence[str]) -> dict[str, int | None]:
    """The axis on which the output of each layer (of its last call) has its channels, seen in one pass of `images`.

    1 or another, -1 for the last one; None where it cannot be followed, or where the layer never ran. The operations that
    made a tensor decide, not the type of the module: a convolution puts the channels second, a linear layer last, and so
    they stay until axes are permuted.
    """
    axes: dict[str, int | None] = dict.fromkeys(layers)
    tracer = Tracer()
    tracer.begin(images)

    def note(name: str, output: object) -> None:
        x = only_tensor(name, output)
        axis = tracer.channels(x)
        axes[name] = -1 if axis == x.ndim - 1 else axis

    with evaluating(model), torch.no_grad(), tracer, capture(model, layers, note):
        model(images)
    return axes


# ---------------------------------------------------------------------------------------------- statistics in one pass


@dataclass
class NonPositiveCounts:
    """Exact counts of values <= 0, by channel and by class of image; states of parts merge to that of the whole.

    `table`: label -> int64 (3, C), rows non-positive, NaN, all values. `images`: label -> number of images.
    Images without a label have the label -1. Shares are taken over the values that are numbers (NaN apart).
    """

    table: dict[int, np.ndarray] = field(default_factory=dict)
    images: Counter[int] = field(default_factory=Counter)

    def update(self, non_positive: np.ndarray, positions: np.ndarray | int, *, nan: np.ndarray | None = None,
               labels: np.ndarray | None = None) -> None:
        """Add N images: counts (N,C) of integers, positions behind each count (C,) or one number, labels (N,)."""
        counts = np.asarray(non_positive, dtype=np.int64)
        labels = np.full(len(counts), -1) if labels is None else np.asarray(labels)
        nan = np.zeros_like(counts) if nan is None else nan
        for label in np.unique(labels):
            rows = labels == label
            values = np.broadcast_to(np.asarray(positions, dtype=np.int64) * rows.sum(), counts.shape[1:])
            self._add(int(label), np.stack([counts[rows].sum(0), nan[rows].sum(0), values]), int(rows.sum()))

    def merge(self, other: NonPositiveCounts) -> None:
        """Add the images of another state."""
        for label, table in other.table.items():
            self._add(label, table, other.images[label])

    def _add(self, label: int, table: np.ndarray, images: int) -> None:
        width = next(iter(self.table.values()), table).shape[1]
        if table.shape[1] != width:
            raise ValueError(f"The counts have {table.shape[1]} channels; legal is {width}, as in those already added.")
        self.table[label] = self.table.get(label, 0) + table
        self.images[label] += images

    @property
    def total(self) -> np.ndarray:
        """(3, C): non-positive, NaN and all values by channel, over all images."""
        return sum(self.table.values(), np.zeros((3, 0), np.int64) if not self.table else 0)

    @property
    def nan(self) -> int:
        """How many values were NaN."""
        return int(self.total[1].sum())

    @property
    def share(self) -> float:
        """Share of non-positive values over all images, channels and positions; NaN if there are no values."""
        return float(_share(self.total.sum(1)))

    @property
    def share_by_channel(self) -> np.ndarray:
        """(C,) shares over all images and positions."""
        return _share(self.total)

    @property
    def share_by_class(self) -> dict[int, float]:
        """label -> share over the images of that label, in the order of labels."""
        return {label: float(_share(self.table[label].sum(1))) for label in sorted(self.table)}

    @property
    def dead_channels(self) -> np.ndarray:
        """Indices of the channels that are never > 0 in this map (and had a number at all).

        Dead in the usual sense only if the map is what leaves an activation: see LayerStatistics.dead_channels.
        """
        non_positive, nan, values = self.total
        return np.flatnonzero((non_positive + nan == values) & (non_positive > 0))


def _share(table: np.ndarray) -> np.ndarray:
    numbers = table[2] - table[1]
    return np.divide(table[0], numbers, out=np.full(np.shape(numbers), np.nan), where=numbers > 0)


@dataclass
class CovarianceState:
    """Covariance of vectors that come in batches, in float64; states of parts merge to that of the whole.

    `count`, `shift` (C,) (the first vector), `mean` (C,) relative to the shift, `scatter` (C,C) the sum of outer
    products about the mean. Source: Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for computing
    sample variances (1979); the shift keeps it exact where the offset is huge beside the spread.
    """

    count: int = 0
    shift: np.ndarray | None = None
    mean: np.ndarray | None = None
    scatter: np.ndarray | None = None

    def update(self, batch: np.ndarray) -> None:
        """Add vectors (N,C). ValueError: not two axes, another C, or a value that is not finite."""
        batch = _features(batch)
        if not len(batch):
            return
        self._start(batch[0])
        x = batch - self.shift
        mean = x.mean(0)
        step = mean - self.mean
        weight = self.count * len(x) / (self.count + len(x))
        # scatter += sum of (x - mean)(x - mean)^T + weight step step^T, as one product
        rows = torch.from_numpy(np.vstack([x - mean, np.sqrt(weight) * step]))
        torch.from_numpy(self.scatter).addmm_(rows.T, rows)
        self.count += len(x)
        self.mean += step * (len(x) / self.count)

    def merge(self, other: CovarianceState) -> None:
        """Add the vectors of another state."""
        if not other.count:
            return
        self._start(other.shift)
        step = other.mean + (other.shift - self.shift) - self.mean
        count = self.count + other.count
        self.scatter += other.scatter + (self.count * other.count / count) * np.outer(step, step)
        self.mean += step * (other.count / count)
        self.count = count

    def _start(self, first: np.ndarray) -> None:
        if self.shift is None:
            self.shift, self.mean = first.copy(), np.zeros(len(first))
            self.scatter = np.zeros((len(first), len(first)))
        if len(first) != len(self.shift):
            raise ValueError(f"The vectors have {len(first)} channels; legal is {len(self.shift)}, as in those before.")

    def location(self) -> np.ndarray:
        """The mean vector (C,). ValueError: no vectors yet."""
        self._need_vectors()
        return self.shift + self.mean

    def covariance(self) -> np.ndarray:
        """1/N times the scatter, (C,C), symmetric: numpy.cov(bias=True) of all vectors. ValueError: no vectors yet."""
        self._need_vectors()
        return (self.scatter + self.scatter.T) / (2 * self.count)

    def _need_vectors(self) -> None:
        if not self.count:
            raise ValueError("The state holds 0 vectors; a mean or covariance needs at least 1.")


STORED = ("calls", "features", "labels", "skipped", "table", "images", "activation", "fires", "reason")


@dataclass
class LayerStatistics:
    """All that one pass over images tells of one feature map; parts merge.

    `calls` in one forward pass: those of a module called several times stand side by side, as further channels.
    `skipped`: images whose pooled feature is not finite; they are counted in `counts` but left out of `covariance`.
    `after`: the activation that gave the map or follows it, with the channels that were ever > 0 after it, or why none does.
    """

    layer: str
    calls: int
    counts: NonPositiveCounts = field(default_factory=NonPositiveCounts)
    covariance: CovarianceState = field(default_factory=CovarianceState)
    skipped: int = 0
    pooled: list[np.ndarray] = field(default_factory=list)
    after: Following | None = None

    @property
    def images(self) -> int:
        """Number of images seen."""
        return self.counts.images.total()

    @property
    def dead_channels(self) -> np.ndarray | None:
        """Indices of the channels that are never > 0 after the activation, over all images and positions.

        None where the map neither comes from an activation nor goes into one: `after.reason` says why.
        """
        if self.after is None or self.after.fires is None:
            return None
        _, nan, values = self.counts.total
        return np.flatnonzero(~self.after.fires & (nan < values))

    @property
    def channels(self) -> int:
        """Number of channels, over all calls."""
        return self.counts.total.shape[1]

    @property
    def features(self) -> np.ndarray:
        """Pooled features (N,C) float64 in the order of the images. ValueError: they were not kept."""
        if not self.pooled:
            raise ValueError(f"The features of {self.layer!r} were not kept: collect with keep_features=True.")
        return np.concatenate(self.pooled).astype(np.float64)

    def merge(self, other: LayerStatistics) -> None:
        """Add the images of another part, after these."""
        if (self.layer, self.calls) != (other.layer, other.calls):
            raise ValueError(f"Statistics of {other.layer!r} with {other.calls} calls cannot be added to those of "
                             f"{self.layer!r} with {self.calls}: legal is the same layer and number of calls.")
        self.counts.merge(other.counts)
        self.covariance.merge(other.covariance)
        self.skipped += other.skipped
        self.pooled += other.pooled
        self._add_after(other.after)

    def _add_after(self, after: Following | None) -> None:
        if self.after is None or after is None or after.fires is None:
            self.after = after or self.after
        elif self.after.fires is not None:
            self.after = dataclasses.replace(self.after, fires=self.after.fires | after.fires)

    def arrays(self) -> dict[str, np.ndarray]:
        """This state as arrays for np.savez; `of_arrays` reads them."""
        labels, after = sorted(self.counts.table), self.after or Following()
        fires = np.zeros(0, bool) if after.fires is None else after.fires
        return {"activation": np.array(after.activation), "fires": fires, "reason": np.array(after.reason),
                "calls": np.array(self.calls), "features": self.features, "labels": np.array(labels),
                "skipped": np.array(self.skipped), "table": np.stack([self.counts.table[label] for label in labels]),
                "images": np.array([self.counts.images[label] for label in labels])}

    @classmethod
    def of_arrays(cls, layer: str, stored: Mapping[str, np.ndarray], batch_size: int) -> LayerStatistics:
        """The state that `arrays` gave; the covariance is accumulated anew, in minibatches of `batch_size`."""
        fires, reason = stored["fires"], str(stored["reason"])
        state = cls(layer, int(stored["calls"]), skipped=int(stored["skipped"]), pooled=[stored["features"]],
                    after=Following(str(stored["activation"]), None if reason else fires, reason))
        for label, table, images in zip(stored["labels"], stored["table"], stored["images"], strict=True):
            state.counts._add(int(label), table, int(images))
        finite = stored["features"][np.isfinite(stored["features"]).all(axis=1)]
        for start in range(0, len(finite), batch_size):
            state.covariance.update(finite[start:start + batch_size])
        return state

    def _update(self, maps: list[tuple], labels: np.ndarray, keep_features: bool, after: Following) -> None:
        """Add one batch; `maps`: for each call positions, means (N,C), counts (N,C), counts of NaN or None."""
        self._add_after(after)
        means = np.concatenate([mean for _, mean, _, _ in maps], axis=1)
        positions = np.concatenate([np.full(mean.shape[1], p) for p, mean, _, _ in maps])
        counts = np.concatenate([count for *_, count, _ in maps], axis=1)
        nan = [np.zeros_like(count) if nan is None else nan for *_, count, nan in maps]
        self.counts.update(counts, positions, nan=np.concatenate(nan, axis=1), labels=labels)
        finite = np.isfinite(means).all(axis=1)
        self.skipped += int((~finite).sum())
        self.covariance.update(means if finite.all() else means[finite])
        if keep_features:
            self.pooled.append(means)


def collect_statistics(model: nn.Module, loader: Iterable, layers: Sequence[str], *, channels_last: bool = True,
                       precision: torch.dtype = torch.float32,
                       keep_features: bool = True) -> dict[str, LayerStatistics]:
    """Non-positive counts, pooled features and covariance of the named feature maps in one pass over a loader.

    `loader` yields (images (N,C,H,W), labels (N,)) or images alone. The network runs in evaluation mode and inference
    mode on its own device, under autocast if `precision` is not float32; flags and buffers come back. Everything is
    reduced inside the hooks: pooling in float32 (float64 for float64 maps), counting in exact integers. A `Tracer` runs
    along: it tells where the channels of a map are, and which are ever > 0 after the activation that follows. With
    keep_features the pooled features (4 bytes a channel and image) stay; without, memory does not grow with the images.
    ValueError: unknown layer, a layer never called, called differently from batch to batch, no images.
    """
    names, like, result = choose_layers(model, layers), first_parameter(model), {}
    running = _Pass(all_modules(model))
    autocast = torch.autocast(like.device.type, dtype=precision, enabled=precision != torch.float32)
    with evaluating(model), torch.inference_mode(), autocast, capture(model, names, running.reduce):
        for batch in loader:
            images, labels = batch if isinstance(batch, tuple | list) else (batch, None)
            labels = np.full(len(images), -1) if labels is None else torch.as_tensor(labels).cpu().numpy()
            layout = torch.channels_last if channels_last and images.ndim == 4 else torch.preserve_format
            images = images.to(like.device, like.dtype, memory_format=layout)
            running.begin(images)
            with running.tracer:
                model(images)
            for name in names:
                maps = running.maps.get(name, [])
                _check_calls(name, maps, len(images), result.get(name))
                layer = result.setdefault(name, LayerStatistics(name, len(maps)))
                layer._update(maps, labels, keep_features, running.after(name))
    if not result:
        raise ValueError("The loader gave 0 batches; at least 1 is needed.")
    return result


class _Pass:
    """What the hooks reduce the outputs of one forward pass to.

    `maps`: layer -> for each call positions, means (N,C), counts (N,C), counts of NaN or None.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self.modules, self.tracer = modules, Tracer()
        self.maps: dict[str, list[tuple]] = {}
        self.given_by: dict[str, list[str]] = {}

    def begin(self, images: Tensor) -> None:
        self.maps, self.given_by = {}, {}
        self.tracer.begin(images)

    def reduce(self, name: str, output: object) -> None:
        tensor, maps = only_tensor(name, output), self.maps.setdefault(name, [])
        with self.tracer.paused():
            x, axis = _positions(name, self.modules[name], tensor, self.tracer.channels(tensor))
            maps.append((x.shape[axis], *_pool_and_count(x, axis)))
        self.given_by.setdefault(name, []).append(self.tracer.follow(name, len(maps) - 1, tensor))

    def after(self, name: str) -> Following:
        """The activations of all calls of a layer, their channels side by side; the reason of the first without one."""
        found, maps = [], self.maps[name]
        for call, ((positions, mean, count, nan), activation) in enumerate(zip(maps, self.given_by[name], strict=True)):
            after = self.tracer.following(name, call)
            if activation:  # the map is itself what leaves an activation
                numbers = len(mean) * positions - (0 if nan is None else nan.sum(0))
                after = Following(activation, numbers > count.sum(0))
            if after.fires is not None and len(after.fires) != mean.shape[1]:
                after = Following(reason=f"no activation follows channel by channel: {after.activation} regroups them")
            if after.reason:
                return Following(reason=after.reason + (f" (call {call + 1} of {len(maps)})" if len(maps) > 1 else ""))
            found.append(after)
        return Following(" and ".join(dict.fromkeys(after.activation for after in found)),
                         np.concatenate([after.fires for after in found]))


def _check_calls(name: str, maps: list[tuple], images: int, before: LayerStatistics | None) -> None:
    if not maps:
        raise ValueError(f"Module {name!r} was never called; legal are modules with calls > 0 in the module table.")
    if before is not None and before.calls != len(maps):
        raise ValueError(f"Module {name!r} ran {len(maps)} times in a batch, legal is {before.calls}, as before.")
    rows = next((len(mean) for _, mean, *_ in maps if len(mean) != images), images)
    if rows != images:
        raise ValueError(f"Module {name!r} gives {rows} rows for {images} images; legal is one row an image.")


# ---------------------------------------------------------------------------------------------- scenarios


@dataclass(frozen=True)
class Images:
    """Images to measure: `table` (path, label, sha256), below `root`; `about` says what they are, for the reader."""

    table: pd.DataFrame
    root: Path
    about: str

    @property
    def classes(self) -> list[str]:
        """The class names, [""] where the images have no labels."""
        return helpers.natural_sort(self.table["label"].unique())


@dataclass(frozen=True)
class Scenario:
    """A network and the images that it is run on; `stamp` is the fingerprint of the network, see `network_stamp`.

    `network` may be a function that builds it; then each use of `model` builds it anew, and it takes no memory in between.
    """

    name: str
    network: nn.Module | Callable[[], nn.Module]
    preprocessing: dict
    images: Images
    stamp: str = ""

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self.network if isinstance(self.network, nn.Module) else self.network()

    @property
    def reduced(self) -> int | None:
        """The side in pixels to which images are first reduced: 32 for the resolution control, else None."""
        return 32 if self.name.endswith("_32px") else None


def pick_images(table: pd.DataFrame, n: int, *, seed: int) -> pd.DataFrame:
    """At most n rows in the order of their paths: all of them where there are no more, else a seeded draw."""
    chosen = table if len(table) <= n else table.sample(n, random_state=seed)
    return chosen.sort_values("path", kind="stable").reset_index(drop=True)


def own_images(run: helpers.Run, dataset: str, n: int, *, demo_images: int = 900, seed: int = 0) -> Images:
    """n own images: test images of the run's split, or, where notebook 01 has made none, of the data set."""
    if run.path("split.csv").exists() and run.path("model.json").exists():
        table = image_data.read_split(run.path("split.csv"))
        root = Path(helpers.read_json(run.path("model.json"))["root"])
        if not root.is_dir():
            raise ValueError(f"The images of the run {run.name!r} are no longer at {root}: put them back, or run notebook "
                             "01 again.")
        return Images(pick_images(table[table["split"] == "test"], n, seed=seed), root, "test images of notebook 01")
    images = other_images(dataset, n, demo_images=demo_images, seed=seed)
    return dataclasses.replace(images, about=f"{images.about}; not split, since notebook 01 has not run here")


def other_images(dataset: str, n: int, *, demo_images: int = 900, seed: int = 0) -> Images:
    """n images of a data set by name or by folder, flat or by class. ValueError where it is not to be had."""
    source = image_data.open_dataset(dataset, demo_images=demo_images, seed=seed, labels=False)
    table, _ = image_data.image_table(dataclasses.replace(source, files=pick_images(source.files, n, seed=seed)))
    return Images(table, source.root, source.about)


def open_scenarios(run: helpers.Run, own: Images, *, architecture: str, n_images: int, imagenet_val: str, cifar10: str,
                   device: torch.device, seed: int = 0, control: bool = False, map_size: int = 224,
                   draws: int = 1) -> tuple[dict[str, Scenario], dict[str, str]]:
    """The scenarios of the design that can be had, and for the others the reason and the remedy, by name.

    `imagenet_val` and `cifar10` are data sets by name or folder; the embedded ones are stand-ins, and the scenario is
    then named after them. All scenarios have the same number of images, that of the smallest set. `control` adds own and
    ImageNet images reduced to 32×32 pixels, names ending in _32px. `map_size`: see `input_size`. `draws`: how often random
    weights are drawn, from the seeds of `random_seeds`: random_own, random_own_draw2, random_own_draw3, …
    """
    asked = {"n_classes": max(2, len(own.classes)), "device": device, "seed": seed, "image_size": map_size}
    networks, missing = open_networks(run, architecture, **asked)
    images = {"own": own}
    for name, dataset, parameter in (("imagenet", imagenet_val, "IMAGENET_VAL"), ("cifar10", cifar10, "CIFAR10")):
        key = dataset if dataset in STAND_INS else name
        if key != name:
            missing[f"imagenet_{name}"] = f"replaced by a stand-in: set {parameter} to a folder of these images"
        try:
            images[key] = other_images(dataset, n_images, seed=seed)
        except ValueError as error:
            missing[f"imagenet_{key}"] = str(error).replace("DATASET", parameter)
    same = min(len(found.table) for found in images.values())  # the effective rank grows with the number of images
    images = {key: dataclasses.replace(found, table=pick_images(found.table, same, seed=seed))
              for key, found in images.items()}
    pairs = [("finetuned", "own"), *(("imagenet", key) for key in images), ("random", "own")]
    small = cifar10 if cifar10 in STAND_INS else "cifar10"
    pairs += [("imagenet", f"{key}_32px") for key in images if control and key != small]
    scenarios = {}
    for network, key in pairs:
        if network in networks:
            model, preprocessing, stamp = networks[network]
            name = f"{network}_{key}"
            scenarios[name] = Scenario(name, model, preprocessing, images[key.removesuffix("_32px")], stamp)
            again = range(2, draws + 1) if network == "random" else ()
            scenarios |= {f"{name}_draw{draw}": dataclasses.replace(
                scenarios[name], name=f"{name}_draw{draw}", stamp="",
                network=partial(open_random_network, run, architecture, draw, **asked)) for draw in again}
        else:
            missing[f"{network}_{key}"] = missing[network]
    return scenarios, {name: reason for name, reason in missing.items() if "_" in name}


def input_size(model: nn.Module, map_size: int) -> int:
    """The side of the images that a network is measured on: `map_size`, or the one that it takes, where it takes but one."""
    fixed = getattr(model, "image_size", None)
    if isinstance(fixed, int) and fixed != map_size:
        print(f"{type(model).__name__} takes images of {fixed}×{fixed} pixels only: they are resized to that, not to "
              f"MAP_SIZE = {map_size}")
        return fixed
    return map_size


def open_networks(run: helpers.Run, architecture: str, n_classes: int, *, device: torch.device, seed: int = 0,
                  image_size: int = 224) -> tuple[dict[str, tuple[nn.Module, dict, str]], dict[str, str]]:
    """{finetuned, imagenet, random: (network, preprocessing, stamp)}, and the reasons for those that cannot be had.

    Where the run holds a fine-tuned network, the others are of its architecture. `image_size` is for networks whose input
    has one size, where the run does not tell it. The random one is the first draw of `open_random_network`.
    """
    networks, missing = {}, {}
    try:
        model, description = helpers.load_network(run)
        networks["finetuned"] = model.to(device), description["preprocessing"], network_stamp(model)
    except ValueError as error:
        missing["finetuned"] = str(error)
    built = _building(run, architecture, n_classes, image_size)
    for weights, drawn in (("imagenet", seed), ("random", random_seeds(seed, 1)[0])):
        try:
            model, preprocessing = helpers.build_network(**built, weights=weights, seed=drawn)
            networks[weights] = model.eval().to(device), preprocessing, network_stamp(model)
        except ValueError as error:
            missing[weights] = str(error)
    return networks, missing


def _building(run: helpers.Run, architecture: str, n_classes: int, image_size: int) -> dict[str, object]:
    """How the networks of a run are built: as its fine-tuned one, where it holds one, else as asked for."""
    found = read_description(run)
    if not found:
        return {"architecture": architecture, "n_classes": n_classes, "image_size": image_size}
    return {"architecture": found["architecture"], "n_classes": len(found["classes"]), "image_size": found["image_size"],
            "options": found.get("options"), "head": found.get("head", "linear")}


def read_description(run: helpers.Run) -> dict:
    """What notebook 01 has noted of the network of a run (model.json); empty where it holds none."""
    held = run.path("model.json").exists() and run.path("model.safetensors").exists()
    return helpers.read_json(run.path("model.json")) if held else {}


def is_pretrained(run: helpers.Run) -> bool:
    """Whether the network of a run was trained from ImageNet weights, as far as model.json tells; True without one."""
    return read_description(run).get("settings", {}).get("WEIGHTS", "imagenet") == "imagenet"


def network_stamp(model: nn.Module) -> str:
    """The fingerprint of a network: all its weights and buffers, and its modules with their options."""
    digest = hashlib.sha256(repr(model).encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def random_seeds(seed: int, n: int) -> list[int]:
    """n seeds for random weights, none of them one that a run with SEED = `seed` uses itself; the first do not depend on n.

    A run uses SEED for its own start, and SEED + 1, SEED + 2, … for new trainings (FINAL_SEEDS).
    """
    seeds: list[int] = []
    for number in itertools.count():
        if len(seeds) == n:
            return seeds
        drawn = int(helpers.fingerprint("random weights", seed, number), 16) % 2**31
        if drawn not in seeds and not seed <= drawn <= seed + helpers.RULES["FINAL_SEEDS"][2]:
            seeds.append(drawn)


def open_random_network(run: helpers.Run, architecture: str, draw: int, *, n_classes: int, device: torch.device,
                        seed: int = 0, image_size: int = 224) -> nn.Module:
    """The network of `open_networks` with random weights, those of a draw (1, 2, …): see `random_seeds`."""
    built = _building(run, architecture, n_classes, image_size)
    model, _ = helpers.build_network(**built, weights="random", seed=random_seeds(seed, draw)[-1])
    return model.eval().to(device)


def random_draws(scenarios: Mapping[str, Scenario]) -> list[Scenario]:
    """The scenarios of random weights on own images, one a draw."""
    return [scenario for name, scenario in scenarios.items() if scenario_draw(name)[0] == "random_own"]


def first_draws(by_scenario: Mapping[str, object]) -> dict[str, object]:
    """A dictionary by scenario without the further draws of random weights."""
    return {name: value for name, value in by_scenario.items() if scenario_draw(name)[1] == 1}


def scenario_draw(name: str) -> tuple[str, int]:
    """("random_own", 2) of "random_own_draw2": the scenario, and which draw of its weights; 1 for names without a number."""
    scenario, _, draw = name.partition("_draw")
    return (scenario, int(draw)) if draw.isdecimal() else (name, 1)


def scenario_statistics(run: helpers.Run, scenario: Scenario, layers: Sequence[str], *, map_size: int,
                        batch_size: int) -> dict[str, LayerStatistics]:
    """The statistics of one scenario, in float32, in one pass; kept in statistics/, so that 02 and 03 share the pass."""
    name, model = f"statistics/{scenario.name}.npz", scenario.model
    stamp = helpers.fingerprint(scenario.stamp or network_stamp(model), scenario.preprocessing,
                                scenario.images.table[["label", "sha256"]], list(layers), map_size, scenario.reduced, 2)
    if not run.is_current(stamp, name):
        transform = image_data.make_transform(scenario.preprocessing, map_size, reduced=scenario.reduced)
        images = image_data.ImageDataset(scenario.images.table, scenario.images.root, scenario.images.classes, transform)
        found = collect_statistics(model, helpers.make_loader(images, batch_size=batch_size), layers)
        run.path("statistics").mkdir(exist_ok=True)
        with helpers.replacing(run.path(name)) as temporary, open(temporary, "wb") as file:
            np.savez(file, **{f"{layer}/{key}": value for layer, state in found.items()
                              for key, value in state.arrays().items()})
        run.mark(stamp, name)
    with np.load(run.path(name)) as stored:
        return {layer: LayerStatistics.of_arrays(layer, {key: stored[f"{layer}/{key}"] for key in STORED}, batch_size)
                for layer in layers}


def is_stand_in(name: str) -> bool:
    """Whether a data set, or the images of a scenario, only stand in for ImageNet or CIFAR-10: they are never ranked."""
    return name.removesuffix("_32px").removeprefix("imagenet_") in STAND_INS


def scenario_title(name: str) -> str:
    """The name of a scenario for tables and sentences, a stand-in marked as one."""
    return f"{name} (stand-in)" if is_stand_in(name) else name


def frozen_layers(scenarios: Mapping[str, Scenario], layers: Sequence[str]) -> list[str]:
    """Those of `layers` that are the same in the fine-tuned and in the initial network by construction.

    In one pass of an empty image: everything that had begun to run when the layer was ready has the same weights and buffers
    (the statistics of batch norm) in both. None where either network is missing.
    """
    if not {"finetuned_own", "imagenet_own"} <= set(scenarios):
        return []
    tuned, initial = (scenarios[name].model for name in ("finetuned_own", "imagenet_own"))
    begun: list[str] = []
    before: dict[str, set[str]] = {}
    handles = [module.register_forward_pre_hook(lambda module, inputs, name=name: begun.append(name))
               for name, module in tuned.named_modules()]
    like, side = first_parameter(tuned), _usual_side(tuned)
    image = torch.zeros(1, scenarios["finetuned_own"].preprocessing.get("channels", 3), side, side, device=like.device)
    try:
        with evaluating(tuned), torch.no_grad(), capture(tuned, layers, lambda name, _: before.update({name: set(begun)})):
            tuned(image)
    finally:
        for handle in handles:
            handle.remove()
    changed = _changed_modules(tuned, initial, set(begun))
    return [layer for layer in layers if layer in before and not before[layer] & changed]


def _usual_side(model: nn.Module) -> int:
    """A side in pixels that a network takes: its own where there is but one."""
    side = getattr(model, "image_size", None) or (getattr(model, "pretrained_cfg", None) or {}).get("input_size", [224])[-1]
    return side if isinstance(side, int) else 224


def _changed_modules(a: nn.Module, b: nn.Module, called: set[str]) -> set[str]:
    """The modules, of those `called`, that own weights or buffers that differ; those of others go to the nearest above."""
    others, changed = b.state_dict(), set()
    for name, tensor in a.state_dict().items():
        if name not in others or not torch.equal(tensor, others[name]):
            owner = name.rpartition(".")[0]
            while owner and owner not in called:
                owner = owner.rpartition(".")[0]
            changed.add(owner)
    return changed


def frozen_label(layer: str, frozen: Sequence[str]) -> str:
    """The name of a layer for axes and tables, a frozen one marked as one."""
    return f"{layer} (frozen)" if layer in frozen else layer


def mark_frozen(table: pd.DataFrame, frozen: Sequence[str]) -> pd.DataFrame:
    """A table with the frozen layers marked in its column "layer"."""
    return table.assign(layer=[frozen_label(layer, frozen) for layer in table["layer"]])


# ---------------------------------------------------------------------------------------------- shares: tables and sentences

SHARE_COLUMNS = ["scenario", "layer", "draw", "channels", "images", "values", "non_positive", "non_positive_share"]


def count_twice(model: nn.Module, images: Tensor, layers: Sequence[str]) -> pd.DataFrame:
    """Values <= 0 that each layer gives for a batch (N,C,H,W), as `collect_statistics` counts them and the plain way.

    The plain way: copy every output when it is there, and count in the copies with NumPy at the end. Columns layer, values,
    by_hook, by_hand.
    """
    kept: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    with capture(model, layers, lambda name, output: kept[name].append(only_tensor(name, output).detach().clone())):
        counted = collect_statistics(model, [images], layers)
    copies = {layer: [copy.float().cpu().numpy() for copy in outputs] for layer, outputs in kept.items()}
    rows = [(layer, sum(copy.size for copy in copies[layer]), int(counted[layer].counts.total[0].sum()),
             sum(int((copy <= 0).sum()) for copy in copies[layer])) for layer in layers]
    return pd.DataFrame(rows, columns=["layer", "values", "by_hook", "by_hand"])


def share_table(statistics: Mapping[str, Mapping[str, LayerStatistics]]) -> pd.DataFrame:
    """One row a scenario, layer and draw of random weights: SHARE_COLUMNS, dead_channels, activation, reason.

    `values` are those that are numbers. dead_channels is missing where the map neither comes from an activation nor goes
    into one, and `reason` says why.
    """
    rows = []
    for name, by_layer in statistics.items():
        for layer, state in by_layer.items():
            non_positive, nan, values = (int(number) for number in state.counts.total.sum(1))
            (scenario, draw), dead, after = scenario_draw(name), state.dead_channels, state.after or Following()
            rows.append((scenario, layer, draw, state.channels, state.images, values - nan, non_positive, state.counts.share,
                         None if dead is None else len(dead), after.activation, after.reason))
    table = pd.DataFrame(rows, columns=[*SHARE_COLUMNS, "dead_channels", "activation", "reason"])
    return table.astype({"dead_channels": "Int64"})


def over_draws(table: pd.DataFrame, value: str, how: str = "mean") -> pd.DataFrame:
    """A column of a table by layer (index) and scenario (columns), its mean ("min", "max") over the draws."""
    values = table.assign(**{value: table[value].astype(float)})
    wide = values.groupby(["layer", "scenario"], sort=False)[value].agg(how).unstack()
    return wide.reindex(index=table["layer"].unique(), columns=table["scenario"].unique())


def share_overview(shares: pd.DataFrame, value: str = "non_positive_share") -> pd.DataFrame:
    """One row a layer, a column a scenario; of several draws of random weights mean, lowest and highest value."""
    mean, low, high = (over_draws(shares, value, how) for how in ("mean", "min", "max"))
    number = shares.groupby("scenario")["draw"].max()
    table = pd.DataFrame({"layer": mean.index})
    for name in mean:
        if number[name] > 1:
            table[f"{name}, mean of {number[name]} draws"] = mean[name].to_numpy()
            table[f"{name}, lowest"], table[f"{name}, highest"] = low[name].to_numpy(), high[name].to_numpy()
        else:
            table[scenario_title(name)] = mean[name].to_numpy()
    return table


def dead_overview(shares: pd.DataFrame) -> pd.DataFrame:
    """Dead channels by layer and scenario, and the activation after which they are counted, or why there is none."""
    first = shares.drop_duplicates("layer").set_index("layer")
    table = share_overview(shares, "dead_channels")
    found = [row.activation and f"after {row.activation}" or row.reason for row in first.loc[table["layer"]].itertuples()]
    table.insert(1, "channels", first.loc[table["layer"], "channels"].to_numpy())
    return table.assign(counted=found)


def channel_share_table(statistics: Mapping[str, Mapping[str, LayerStatistics]]) -> pd.DataFrame:
    """Share of values <= 0 of every channel: scenario, layer, channel, share; of several draws of weights the first."""
    return pd.concat([pd.DataFrame({"scenario": name, "layer": layer, "channel": range(state.channels),
                                    "share": state.counts.share_by_channel})
                      for name, by_layer in first_draws(statistics).items() for layer, state in by_layer.items()],
                     ignore_index=True)


def class_share_table(statistics: Mapping[str, LayerStatistics], classes: Sequence[str]) -> pd.DataFrame:
    """Share of values <= 0 by layer (index) and class of the image (columns), of one scenario.

    `classes`: those of the images that were measured (`Scenario.images.classes`), whose places the labels are. ValueError
    where the labels are not those of these classes.
    """
    for layer, state in statistics.items():
        if sorted(state.counts.table) != list(range(len(classes))):
            raise ValueError(f"The images of {layer!r} have the labels {sorted(state.counts.table)}; legal are those of "
                             f"{len(classes)} classes, {', '.join(classes)}, each with images.")
    shares = {layer: state.counts.share_by_class for layer, state in statistics.items()}
    return pd.DataFrame([[by_class[label] for label in range(len(classes))] for by_class in shares.values()],
                        index=list(shares), columns=list(classes))


def describe_input_sizes(run: helpers.Run, map_size: int) -> str:
    """At which size the images were measured, and at which the network of the run was fine-tuned, if there is one."""
    told = f"Measured on whole images resized to {map_size}×{map_size} pixels"
    size = helpers.read_json(run.path("model.json")).get("image_size") if run.path("model.json").exists() else None
    if not size:
        return f"{told}."
    return f"{told}, the size at which the network was fine-tuned." if size == map_size else \
        f"{told}; the network was fine-tuned at {size}×{size} pixels."


def share_results(shares: pd.DataFrame) -> dict[str, dict[str, dict]]:
    """{scenario: {layer: numbers}} for 02_results.json: those of the first draw; mean and range where there are several."""
    found: dict[str, dict[str, dict]] = {}
    for (name, layer), rows in shares.groupby(["scenario", "layer"], sort=False):
        first, several = rows.iloc[0], rows["non_positive_share"]
        entry = {"channels": first["channels"], "images": first["images"], "non_positive_share": several.iloc[0],
                 "dead_channels": None if pd.isna(first["dead_channels"]) else int(first["dead_channels"])}
        entry |= {"activation": first["activation"]} if first["activation"] else {"dead_channels_reason": first["reason"]}
        if len(rows) > 1:
            entry["draws"] = {"n": len(rows), "mean": several.mean(), "low": several.min(), "high": several.max()}
        found.setdefault(name, {})[layer] = entry
    return found


def describe_shares(shares: pd.DataFrame, frozen: Sequence[str] = (), *, pretrained: bool = True) -> list[str]:
    """What `share_table` tells: fine-tuning, random weights as a baseline, dead channels; one sentence each, or more.

    `frozen`: layers that are the same before and after by construction. `pretrained`: whether the fine-tuned network had
    started from the ImageNet-initialised one.
    """
    means = over_draws(shares, "non_positive_share")
    return [*_describe_tuning(means, frozen, pretrained), *_describe_learnt(shares, means), describe_dead(shares)]


def _describe_tuning(means: pd.DataFrame, frozen: Sequence[str], pretrained: bool) -> list[str]:
    if not {"finetuned_own", "imagenet_own"} <= set(means):
        return []
    still = [layer for layer in means.index if layer in frozen]
    lines = [f"{_in_a_row(f'**{layer}**' for layer in still)} {'is' if len(still) == 1 else 'are'} frozen: before and after "
             "fine-tuning the same by construction."] if still else []
    change = 100 * (means["finetuned_own"] - means["imagenet_own"]).drop(still).dropna()
    if not len(change):
        return lines or ["Before and after fine-tuning no layer has shares that can be compared."]
    what = "Fine-tuning moved the share of non-positive values" if pretrained else \
        "The network that was trained from random weights differs from the ImageNet-initialised one in this share"
    which = "that learn" if still else "measured"
    return [*lines, f"{what} {_most(change, which)}."]


def _describe_learnt(shares: pd.DataFrame, means: pd.DataFrame) -> list[str]:
    if not {"imagenet_own", "random_own"} <= set(means):
        return []
    gap = 100 * (means["imagenet_own"] - means["random_own"]).dropna()
    if not len(gap):
        return []
    number = int(shares.loc[shares["scenario"] == "random_own", "draw"].max())
    drawn = f"the mean of {number} draws" if number > 1 else "one draw"
    line = (f"Against random initialisation ({drawn}) the share of the ImageNet-initialised network differs "
            f"{_most(gap, 'measured')}.")
    if number > 1:
        low, high = (over_draws(shares, "non_positive_share", how)["random_own"] for how in ("min", "max"))
        outside = ((means["imagenet_own"] < low) | (means["imagenet_own"] > high))[gap.index].sum()
        line += f" It lies outside the range of the draws in {outside} of {_layers(len(gap))}."
    return [line]


def describe_dead(shares: pd.DataFrame) -> str:
    """The number of dead channels of each scenario, over the layers that come from an activation or go into one."""
    missing = shares.groupby("layer", sort=False)["dead_channels"].apply(lambda numbers: numbers.isna().any())
    counted = missing.index[~missing]
    if not len(counted):
        where = f"**{missing.index[0]}**" if len(missing) == 1 else f"any of the {_layers(len(missing))}"
        return f"No activation gives or follows {where}: no channel there can be called dead."
    rows = shares[shares["layer"].isin(counted)]
    totals = rows.groupby(["scenario", "draw"], sort=False)["dead_channels"].sum()
    told = []
    for name, numbers in totals.groupby("scenario", sort=False):
        several = f"{numbers.mean():.1f} on average ({numbers.min()} to {numbers.max()} in {len(numbers)} draws)"
        told.append(f"{scenario_title(name)} {several if len(numbers) > 1 else numbers.iloc[0]}")
    channels = rows.drop_duplicates("layer")["channels"].sum()
    of = f"all {_layers(len(missing))}" if len(counted) == len(missing) else \
        f"the {len(counted)} of {_layers(len(missing))} that have one"
    where = of if len(missing) > 1 else f"**{counted[0]}**"
    return (f"Dead channels, those that are never above 0 after the activation, in {where} ({channels:,} channels): "
            f"{'; '.join(told)}.")


def _layers(number: int) -> str:
    return f"{number} layer{'s' if number != 1 else ''}"


def _in_a_row(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _most(change: pd.Series, which: str) -> str:
    """Where changes in percentage points, a number a layer, are largest, with all that tie as they are shown."""
    shown = change.round(1) + 0.0
    where = f"**{change.index[0]}**" if len(change) == 1 else f"each of the {_layers(len(change))} {which}"
    if not shown.any():
        return f"by less than 0.1 percentage points in {where}"
    if len(change) == 1:
        return f"in {where} by {shown.iloc[0]:+.1f} percentage points"
    largest = shown[shown.abs() == shown.abs().max()]
    if len(largest) == len(change) and largest.nunique() == 1:
        return f"in {where} by {largest.iloc[0]:+.1f} percentage points"
    return f"most in {_in_a_row(f'**{layer}** ({value:+.1f} percentage points)' for layer, value in largest.items())}"


def describe_share_figure(shares: pd.DataFrame, frozen: Sequence[str] = ()) -> str:
    """The numbers of `plot_non_positive_shares` in words, for those who do not see it."""
    mean, low, high = (over_draws(shares, "non_positive_share", how) for how in ("mean", "min", "max"))
    number = shares.groupby("scenario")["draw"].max()
    told = []
    for name in mean:
        several = number[name] > 1
        values = [_as_share(value) + (f" ({a:.2f} to {b:.2f})" if several and value == value else "")
                  for value, a, b in zip(mean[name], low[name], high[name], strict=True)]
        of_draws = f", mean and range of {number[name]} draws" if several else ""
        told.append(f"{scenario_title(name)}{of_draws}: {', '.join(values)}")
    layers = ", ".join(frozen_label(layer, frozen) for layer in mean.index)
    return f"Share of values ≤ 0 by layer, from input to output ({layers}). {'; '.join(told)}."


def _as_share(value: float) -> str:
    return "not defined" if np.isnan(value) else f"{value:.2f}"


def describe_channel_figure(channels: pd.DataFrame) -> str:
    """How far the channels of `channel_share_table` differ, scenario by scenario, for those who do not see the figure."""
    spread = channels.groupby("scenario", sort=False)["share"].std()
    told = ", ".join(f"{scenario_title(name)} {_as_share(value)}" for name, value in spread.items())
    return ("Distribution over channels of the share of values ≤ 0, a box a layer and scenario. Standard deviation over the "
            f"channels of all layers: {told}.")


def describe_class_figure(heat: pd.DataFrame, scenario: str) -> str:
    """Where the classes of `class_share_table` differ most, for those who do not see the figure."""
    line = f"Share of values ≤ 0 by layer and class, {scenario_title(scenario)}."
    width = (heat.max(axis=1) - heat.min(axis=1))[heat.notna().sum(axis=1) > 1]
    if heat.shape[1] < 2 or not len(width):
        return line + (" There is one class only." if heat.shape[1] < 2 else " No layer has shares to compare.")
    if round(width.max(), 3) == 0:
        return f"{line} The classes differ by less than 0.1 % in every layer."
    shown = width.round(3)
    most = [str(layer) for layer in shown.index[shown == shown.max()]]
    return f"{line} Classes differ most in {_in_a_row(most)}, by {width.max():.1%}."


# ---------------------------------------------------------------------------------------------- spectra


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of a covariance (1/N) in decreasing order, none negative.

    `all_eigenvalues`: the first rank_bound = min(C, N-1) of them; all further ones are zero, computed ones rounding.
    Fewer can be real: a 1x1 convolution of 40 channels gives pooled features of rank 40, whatever its C.
    `trace`: total variance, from the data itself. `images` N, `channels` C, `top_k` as asked for.
    """

    all_eigenvalues: np.ndarray
    trace: float
    images: int
    channels: int
    top_k: int = 1000

    @property
    def rank_bound(self) -> int:
        """min(C, N-1): the most eigenvalues that can differ from zero."""
        return max(0, min(self.channels, self.images - 1))

    @property
    def eigenvalues(self) -> np.ndarray:
        """The leading min(top_k, rank_bound) eigenvalues."""
        return self.all_eigenvalues[:self.top_k]

    @property
    def effective_rank(self) -> float:
        """exp(entropy of λ/Σλ), 1 to rank_bound; 0 without variance. Roy and Vetterli, The effective rank (2007)."""
        total = self.all_eigenvalues.sum()
        share = self.all_eigenvalues[self.all_eigenvalues > 0] / (total or 1)
        return float(np.exp(-(share * np.log(share)).sum())) if total > 0 else 0.0

    @property
    def participation_ratio(self) -> float:
        """(Σλ)²/Σλ², 1 to rank_bound; 0 without variance. E.g. Gao et al. (2017), bioRxiv 214262."""
        top = self.all_eigenvalues[:1].sum()
        scaled = self.all_eigenvalues / (top or 1)  # squares of tiny eigenvalues would underflow
        return float(scaled.sum() ** 2 / (scaled**2).sum()) if top > 0 else 0.0

    @property
    def cumulative_share(self) -> np.ndarray:
        """Share of the variance in the first k directions, k = 1, 2, …; empty without variance."""
        return np.cumsum(self.all_eigenvalues) / self.trace if self.trace > 0 else np.zeros(0)

    def k_for(self, share: float) -> int:
        """Fewest directions that hold `share` (0 to 1) of the variance; 0 without variance."""
        if not 0 < share <= 1:
            raise ValueError(f"share is {share}; legal is above 0 and at most 1.")
        reached = np.flatnonzero(self.cumulative_share >= share * (1 - 1e-12))
        return int(reached[0]) + 1 if len(reached) else 0

    @property
    def k95(self) -> int:
        """Fewest directions that hold 95 % of the variance."""
        return self.k_for(0.95)

    @property
    def k99(self) -> int:
        """Fewest directions that hold 99 % of the variance."""
        return self.k_for(0.99)

    def noise(self) -> np.ndarray:
        """The eigenvalues that pure noise of the same size and total variance would give: marchenko_pastur."""
        return marchenko_pastur(self.images, self.channels, self.trace)


def save_spectra(path: Path, spectra: Mapping[str, Mapping[str, Spectrum]],
                 statistics: Mapping[str, Mapping[str, LayerStatistics]]) -> None:
    """Write <scenario>/<layer>/eigenvalues, /covariance and /mean, float64, to `path` (spectra.npz)."""
    arrays = {}
    for name, by_layer in spectra.items():
        for layer, found in by_layer.items():
            state = statistics[name][layer].covariance
            arrays |= {f"{name}/{layer}/eigenvalues": found.eigenvalues, f"{name}/{layer}/covariance": state.covariance(),
                       f"{name}/{layer}/mean": state.location()}
    with helpers.replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def spectra_results(spectra: Mapping[str, Mapping[str, Spectrum]]) -> dict[str, dict[str, dict]]:
    """{scenario: {layer: numbers}} for 03_results.json: those of the first draw; mean and range of the effective rank."""
    found = {name: {layer: {"channels": s.channels, "images": s.images, "rank_bound": s.rank_bound, "trace": s.trace,
                            "effective_rank": s.effective_rank, "k95": s.k95, "eigenvalues": s.eigenvalues[:10]}
                    for layer, s in by_layer.items()} for name, by_layer in first_draws(spectra).items()}
    for name, by_layer in found.items():
        draws = [drawn for other, drawn in spectra.items() if scenario_draw(other)[0] == name]
        for layer, entry in by_layer.items() if len(draws) > 1 else ():
            ranks = [drawn[layer].effective_rank for drawn in draws]
            entry["draws"] = {"n": len(ranks), "mean": float(np.mean(ranks)), "low": min(ranks), "high": max(ranks)}
    return found


def effective_rank(eigenvalues: np.ndarray) -> float:
    """exp of the entropy of the eigenvalues' shares (Roy and Vetterli 2007); 0 where all are 0."""
    return Spectrum(eigenvalues, float(eigenvalues.sum()), len(eigenvalues) + 1, len(eigenvalues)).effective_rank


def spectrum(features_or_state: np.ndarray | CovarianceState, *, top_k: int = 1000) -> Spectrum:
    """Eigenvalues of Σ = 1/N Σₙ (fₙ-μ)(fₙ-μ)ᵀ from features (N,C) or a CovarianceState.

    From features with N < C they come from the N×N matrix of inner products, which has the same ones and is smaller.
    ValueError: top_k < 1, no images, not two axes, a value that is not finite.
    """
    if top_k < 1:
        raise ValueError(f"top_k is {top_k}; it must be at least 1.")
    if isinstance(features_or_state, CovarianceState):
        matrix, n = features_or_state.covariance(), features_or_state.count
        c, trace = len(matrix), float(np.trace(matrix))
    else:
        x = _centred(features_or_state)
        n, c = x.shape
        matrix, trace = (x @ x.T if n < c else x.T @ x) / n, float((x**2).sum() / n)
    values = np.linalg.eigvalsh(matrix)[::-1].clip(min=0)[:max(0, min(c, n - 1))]
    assert np.isclose(values.sum(), trace, rtol=1e-9, atol=1e-300), f"Σλ = {values.sum()}, but the trace is {trace}"
    return Spectrum(values, trace, n, c, top_k)


def _features(features: np.ndarray) -> np.ndarray:
    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 2 or not x.shape[1]:
        raise ValueError(f"The features have shape {x.shape}; legal is (images, channels).")
    if not np.isfinite(x).all():
        raise ValueError(f"{int((~np.isfinite(x)).sum())} feature values are NaN or infinite; legal are finite ones.")
    return x


def _centred(features: np.ndarray) -> np.ndarray:
    """Features minus their mean, float64; a constant feature becomes exactly 0."""
    x = _features(features)
    if not len(x):
        raise ValueError("The features hold 0 images; at least 1 is needed.")
    x = x - x[0]
    return x - x.mean(0)


@dataclass(frozen=True)
class BootstrapSpectrum:
    """Spectra of images drawn again with replacement: `eigenvalues` (resamples, k), `effective_rank` (resamples,).

    A spread says how far the estimate scatters over other sets of N such images: where its mean at this N may lie. It is
    no interval for the population, from which that mean itself is far: noise spreads the eigenvalues, so that the leading
    ones are too large and the effective rank is too small (eigenvalues 1/k, 320 channels, N = 200: 58 instead of 86).
    """

    estimate: Spectrum
    eigenvalues: np.ndarray
    effective_rank: np.ndarray

    def eigenvalue_spread(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends (k,) of the spread at this N of the leading eigenvalues."""
        return self._spread(self.eigenvalues, self.estimate.all_eigenvalues[:self.eigenvalues.shape[1]], level)

    def effective_rank_spread(self, level: float = 0.95) -> tuple[float, float]:
        """Lower and upper end of the spread at this N of the effective rank."""
        low, high = self._spread(self.effective_rank[:, None], np.array([self.estimate.effective_rank]), level)
        return float(low[0]), float(high[0])

    @staticmethod
    def _spread(samples: np.ndarray, estimate: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
        """The estimate divided and multiplied by exp(z s), with s the standard deviation of the samples' logarithms."""
        logs = np.full(samples.shape, np.nan)
        np.log(samples, out=logs, where=samples > 0)
        s = np.array([column[np.isfinite(column)].std() if np.isfinite(column).any() else 0.0 for column in logs.T])
        factor = np.exp(norm.ppf((1 + level) / 2) * s)
        return estimate / factor, estimate * factor


def bootstrap_spectrum(features: np.ndarray, *, n_resamples: int = 200, n_leading: int = 10,
                       seed: int = 0) -> BootstrapSpectrum:
    """Spread at this N of the leading eigenvalues and the effective rank of features (N,C), by bootstrap of the images.

    A resample repeats images: its leading eigenvalues are larger and its effective rank is smaller than the estimate's, as
    the estimate's are against the population's, so that the resamples' quantiles lie beside the estimate. Only their
    scatter is used, on the logarithmic scale. Simulated (benchmarks/spectrum_spread.py), the 95 % spread of the effective
    rank covers its mean at this N in 92 to 96 of 100 data sets of 50 and 200 images (in all where the spectrum is flat or
    the images are 14), that of a leading eigenvalue in 88 to 99. Source: Efron and Tibshirani, An introduction to the
    bootstrap (1993), chapters 6 and 10.
    """
    if n_resamples < 2 or n_leading < 1:
        raise ValueError(f"n_resamples is {n_resamples}, n_leading {n_leading}; legal are at least 2 and at least 1.")
    estimate, x = spectrum(features), _centred(features)
    n, c = x.shape
    if n < c:
        x = np.linalg.qr(x.T, mode="r").T  # the same inner products in n instead of c coordinates
    k = min(n_leading, estimate.rank_bound)
    rng, leading, ranks = np.random.default_rng(seed), np.zeros((n_resamples, k)), np.zeros(n_resamples)
    for i in range(n_resamples):
        weights = rng.multinomial(n, np.full(n, 1 / n)) / n
        drawn = weights > 0
        y = np.sqrt(weights[drawn, None]) * (x[drawn] - weights @ x)
        values = np.linalg.eigvalsh(y @ y.T if len(y) < y.shape[1] else y.T @ y)[::-1].clip(min=0)
        values = np.pad(values, (0, max(0, k - len(values))))
        leading[i] = values[:k]
        ranks[i] = Spectrum(values, float(values.sum()), n, c).effective_rank
    return BootstrapSpectrum(estimate, leading, ranks)


@dataclass(frozen=True)
class SplitHalf:
    """Spectra of two halves of the images, and what the first half's directions are worth in the second.

    `held_out` (k,): the variance of the second half along them. `cosines` (r,), for those that have a variance: |cos| with
    the most similar direction of the second half. `chance`: how many directions would be found again if both halves had
    directions at random in the space that the features of all images span.
    """

    first: Spectrum
    second: Spectrum
    held_out: np.ndarray
    cosines: np.ndarray
    chance: float

    @property
    def found_again(self) -> int:
        """How many of the first half's directions the second half has, too: cos² > ½, which at most one pair can share.

        Directions of nearly equal strength mix: they are not found again one by one even where the space of all of them is.
        """
        return int((self.cosines**2 > 0.5).sum())


def split_half(features: np.ndarray, seed: int = 0) -> SplitHalf:
    """Two random halves of the images (N,C) measured apart (N odd: one image is left out).

    `held_out` (k,) is the variance of the second half along the first half's eigenvectors: what those directions are
    worth on images that did not choose them, free of the upward bias of the leading eigenvalues. ValueError: N < 4.
    """
    x = _centred(features)
    if len(x) < 4:
        raise ValueError(f"There are {len(x)} images; a split needs at least 4.")
    order, half = np.random.default_rng(seed).permutation(len(x)), len(x) // 2
    a, b = _centred(x[order[:half]]), _centred(x[order[half:2 * half]])
    first = spectrum(a)
    directions = np.linalg.svd(a, full_matrices=False)[2][:first.rank_bound]
    ranks = [int(np.linalg.matrix_rank(part)) for part in (a, b, x)]
    cosines = np.abs(directions[:ranks[0]] @ _directions(b, ranks[1])).max(1, initial=0)
    return SplitHalf(first, spectrum(b), (b @ directions.T).var(axis=0), cosines.clip(max=1), _found_by_chance(*ranks))


def _found_by_chance(a: int, b: int, dimensions: int) -> float:
    """Expected number of a random orthonormal directions that share cos² > ½ with one of b others: cos² is beta distributed.

    No direction can share that much with two of the others, so that the probabilities add up.
    """
    share = beta.sf(0.5, 0.5, (dimensions - 1) / 2) if dimensions > 1 else 1.0
    return float(a * b * share)


def marchenko_pastur(n: int, c: int, total_variance: float) -> np.ndarray:
    """Expected ordered eigenvalues of the covariance (1/N) of n images of c channels of pure noise.

    The noise is uncorrelated, of equal variance in all channels: a reference, the spectrum of features that prefer no
    direction. It is no threshold: where eigenvalues decay, those near and below the line can belong to directions that
    other images show, too (SplitHalf.found_again). min(c, n-1) values in decreasing order, the quantiles (i-½)/rank of the
    law's continuous part, with sum `total_variance` (the trace to compare with); for c > n-1 its mass at zero is the
    c-n+1 eigenvalues left out. Source: Marchenko and Pastur (1967); n-1 as the mean is estimated.
    """
    if n < 1 or c < 1 or not total_variance >= 0:
        raise ValueError(f"n, c, total_variance are {n}, {c}, {total_variance}; legal are n >= 1, c >= 1, and >= 0.")
    rank = min(c, n - 1)
    if rank < 1:
        return np.zeros(0)
    ratio = c / (n - 1)
    middle, half = 1 + ratio, 2 * np.sqrt(ratio)  # support (1±√ratio)², variance 1
    angle = np.linspace(0, np.pi, 20_001)[1:-1]
    values = middle + half * np.cos(angle)  # decreasing; in the angle the density has no square-root ends
    cumulative = np.cumsum(np.sin(angle) ** 2 / values)
    quantiles = np.interp((np.arange(rank) + 0.5) / rank, cumulative / cumulative[-1], values)
    return quantiles * (total_variance / quantiles.sum())


@dataclass(frozen=True)
class SubspaceOverlap:
    """Top-m eigenspaces compared: `angles` (m,) radians, increasing; `overlap` mean cos², 0 to 1; `chance` m/C."""

    angles: np.ndarray
    overlap: float
    chance: float


def subspace_overlap(features_a: np.ndarray, features_b: np.ndarray, m: int) -> SubspaceOverlap:
    """Principal angles between the spaces of the m leading eigenvectors of two covariances, features (N,C) and (N',C).

    `chance` is the expected overlap with a random m-dimensional space. Source: Björck and Golub, Numerical methods for
    computing angles between linear subspaces (1973). ValueError: another C, m below 1 or above the rank of either.
    """
    a, b = _centred(features_a), _centred(features_b)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"The features have {a.shape[1]} and {b.shape[1]} channels; legal is the same number.")
    rank = min(int(np.linalg.matrix_rank(x)) for x in (a, b))
    if not 1 <= m <= rank:
        raise ValueError(f"m is {m}; legal is 1 to the rank of the features, {rank}.")
    cosines = np.linalg.svd(_directions(a, m).T @ _directions(b, m), compute_uv=False).clip(0, 1)
    return SubspaceOverlap(np.arccos(cosines), float((cosines**2).mean()), m / a.shape[1])


def _directions(x: np.ndarray, m: int) -> np.ndarray:
    """The m leading eigenvectors (C,m) of the covariance of centred features."""
    return np.linalg.svd(x, full_matrices=False)[2][:m].T


def compare_features(a: np.ndarray, b: np.ndarray, m: int, *, seed: int = 0) -> dict[str, float]:
    """Overlap of the top-m eigenspaces and linear CKA of two networks' features of the same images, with their chance.

    m is lowered to the smaller rank where a layer has fewer directions. Keys: m, overlap, overlap by chance (m/C), CKA,
    CKA of shuffled images (a check: about 0). ValueError: fewer than 4 images.
    """
    m = min(m, *(int(np.linalg.matrix_rank(_centred(x))) for x in (a, b)))
    shuffled = b[np.random.default_rng(seed).permutation(len(b))]
    overlap = subspace_overlap(a, b, m) if m else SubspaceOverlap(np.zeros(0), float("nan"), float("nan"))
    return {"m": m, "overlap": overlap.overlap, "overlap by chance": overlap.chance, "CKA": linear_cka(a, b),
            "CKA of shuffled images": linear_cka(a, shuffled)}


def linear_cka(a: np.ndarray, b: np.ndarray) -> float:
    """Debiased linear CKA of two sets of features (N,C) and (N,C') of the same images.

    1 for the same features up to rotation, scale and offset; about 0, as often below as above, for unrelated ones, however
    few the images. NaN where one set does not tell images apart. ValueError: another number of images, or fewer than 4.
    Sources: Kornblith et al., Similarity of neural network representations revisited (2019); Murphy, Zylberberg and Fyshe,
    Correcting biased centered kernel alignment measures in biological and artificial neural networks (2024).
    """
    x, y = _centred(a), _centred(b)
    if len(x) != len(y):
        raise ValueError(f"The features hold {len(x)} and {len(y)} images; legal is the same images in the same order.")
    if len(x) < 4:
        raise ValueError(f"There are {len(x)} images; debiased CKA needs at least 4.")
    x, y = (z / (np.abs(z).max() or 1.0) for z in (x, y))
    own = _unbiased_hsic(x, x), _unbiased_hsic(y, y)
    return float(_unbiased_hsic(x, y) / np.sqrt(own[0] * own[1])) if min(own) > 0 else float("nan")


def _unbiased_hsic(x: np.ndarray, y: np.ndarray) -> float:
    """n(n-3) times the unbiased HSIC of centred features with linear kernels; 0 where it is no more than rounding.

    Song et al., Feature selection via dependence maximization (2012): tr(K̃L̃) + 1ᵀK̃1·1ᵀL̃1/((n-1)(n-2)) - 2/(n-2)·1ᵀK̃L̃1, where
    K̃ is K = xxᵀ without its diagonal k, and L̃ is L = yyᵀ without l. Centred features have K1 = L1 = 0, so that K̃1 = -k,
    L̃1 = -l and tr(K̃L̃) = tr(KL) - k·l, with tr(KL) the squared norm of xᵀy: n·C·C' products, or n²·(C+C') among images.
    """
    n, k, l = len(x), (x**2).sum(1), (y**2).sum(1)  # noqa: E741
    among_images = n * (x.shape[1] + y.shape[1]) < x.shape[1] * y.shape[1]
    product = float(np.vdot(x @ x.T, y @ y.T) if among_images else np.square(x.T @ y).sum())
    value = product - n / (n - 2) * (k @ l) + k.sum() * l.sum() / ((n - 1) * (n - 2))
    return value if abs(value) > 1e-12 * product else 0.0


# ---------------------------------------------------------------------------------------------- tables and sentences


def remark(scenario: str, layer: str, frozen: Sequence[str] = ()) -> str:
    """What a row must say beside its numbers: that the layer was frozen, that the images are a stand-in, or nothing."""
    if scenario == "finetuned_own" and layer in frozen:
        return "frozen: as initial by construction"
    return "stand-in" if is_stand_in(scenario) else ""


def spectra_table(spectra: Mapping[str, Mapping[str, Spectrum]], *, frozen: Sequence[str] = ()) -> pd.DataFrame:
    """A row a scenario, draw of its weights and layer: sizes, trace, effective rank and its like, and a remark."""
    rows = []
    for name, by_layer in spectra.items():
        scenario, draw = scenario_draw(name)
        rows += [{"scenario": scenario, "draw": draw, "layer": layer, "channels": s.channels, "images": s.images,
                  "rank bound": s.rank_bound, "trace": s.trace, "effective rank": s.effective_rank,
                  "participation ratio": s.participation_ratio, "k95": s.k95, "k99": s.k99,
                  "remark": remark(scenario, layer, frozen)} for layer, s in by_layer.items()]
    return pd.DataFrame(rows)


def certainty_table(errors: Mapping[str, Mapping[str, BootstrapSpectrum]], halves: Mapping[str, Mapping[str, SplitHalf]], *,
                    leading: int = 10, frozen: Sequence[str] = ()) -> pd.DataFrame:
    """A row a scenario and layer: the effective rank, its spread at this N, and what two halves of the images say.

    `leading` directions of the first half (k: fewer where it has fewer) are compared by their share of the variance in the
    half that chose them and in the other; "found again" counts all directions of the first half (see SplitHalf).
    """
    rows = []
    for scenario, by_layer in errors.items():
        for layer, boot in by_layer.items():
            half, whole = halves[scenario][layer], boot.estimate
            k, (low, high) = min(leading, half.first.rank_bound), boot.effective_rank_spread()
            rows.append({"scenario": scenario, "layer": layer, "images": whole.images,
                         "effective rank": whole.effective_rank, "spread low": low, "spread high": high,
                         "first half": half.first.effective_rank, "second half": half.second.effective_rank,
                         "noise": effective_rank(whole.noise()), "k": k,
                         "share of leading k": _part(half.first.all_eigenvalues[:k].sum(), half.first.trace),
                         "in second half": _part(half.held_out[:k].sum(), half.second.trace),
                         "found again": half.found_again, "by chance": half.chance,
                         "remark": remark(scenario, layer, frozen)})
    return pd.DataFrame(rows)


def _part(value: float, whole: float) -> float:
    return float(value / whole) if whole > 0 else float("nan")


def comparison_table(statistics: Mapping[str, Mapping[str, LayerStatistics]], layers: Sequence[str], m: int, *,
                     frozen: Sequence[str] = (), seed: int = 0) -> pd.DataFrame:
    """compare_features of the fine-tuned and of the random network with the initial one on own images, a row a layer.

    Of random weights the first draw. No rows where there is no such pair.
    """
    pairs = [(a, "imagenet_own") for a in ("finetuned_own", "random_own") if {a, "imagenet_own"} <= set(statistics)]
    rows = [{"networks": f"{a} and {b}", "layer": layer,
             **compare_features(statistics[a][layer].features, statistics[b][layer].features, m, seed=seed),
             "remark": remark(a, layer, frozen)} for a, b in pairs for layer in layers]
    return pd.DataFrame(rows, columns=["networks", "layer", "m", "overlap", "overlap by chance", "CKA",
                                       "CKA of shuffled images", "remark"])


def describe_by_layer(table: pd.DataFrame, column: str, *, digits: int = 1, frozen: Sequence[str] = ()) -> str:
    """A column's values by scenario and layer, for readers who do not see the figure; several draws as mean and range."""
    layers = list(dict.fromkeys(table["layer"]))
    told = [f"{_marked(str(scenario))} " + ", ".join(_with_range(rows.loc[rows["layer"] == layer, column], digits)
                                                     for layer in layers if layer in set(rows["layer"]))
            for scenario, rows in table.groupby("scenario", sort=False)]
    return f"{column} in {', '.join(layers)}: {'; '.join(told)}.{_frozen_note(layers, frozen, table['scenario'])}"


def describe_comparison(compared: pd.DataFrame, *, frozen: Sequence[str] = ()) -> str:
    """Overlap and CKA of each pair of networks by layer, for readers who do not see the figure."""
    told = [f"{networks}: " + "; ".join(f"{row['layer']} {_number(row['overlap'], 2)} and {_number(row['CKA'], 2)}"
                                        for _, row in rows.iterrows())
            for networks, rows in compared.groupby("networks", sort=False)]
    names = [str(networks).split(" and ")[0] for networks in compared["networks"]]
    return ". ".join(told) + f".{_frozen_note(list(dict.fromkeys(compared['layer'])), frozen, names)}"


def _frozen_note(layers: Sequence[str], frozen: Sequence[str], scenarios: Iterable[str]) -> str:
    fixed = [layer for layer in layers if layer in frozen]
    return f" Frozen, so that fine-tuned and initial are the same there by construction: {', '.join(fixed)}." \
        if fixed and "finetuned_own" in set(scenarios) else ""


def _marked(scenario: str) -> str:
    return f"{scenario} (stand-in)" if is_stand_in(scenario) else scenario


def _number(value: float, digits: int) -> str:
    """A number in words' company: no "nan", and no zero with a minus."""
    return "not defined" if not np.isfinite(value) else f"{round(value, digits) + 0.0:.{digits}f}"


def _with_range(values: pd.Series, digits: int) -> str:
    told = _number(values.mean(), digits)
    return told if len(values) < 2 else \
        f"{told} ({_number(values.min(), digits)} to {_number(values.max(), digits)} in {len(values)} draws)"


def describe_spectra(table: pd.DataFrame, certainty: pd.DataFrame, compared: pd.DataFrame, *, frozen: Sequence[str] = (),
                     missing: Iterable[str] = ()) -> list[str]:
    """The takeaways of notebook 03, sentences made from the numbers of its three tables.

    `table`, `certainty`, `compared`: see spectra_table, certainty_table, comparison_table; they may have no rows. Frozen
    layers are told to be the same by construction, stand-ins are not ranked.
    """
    sentences = []
    if len(table):
        ranks = ranks_by_layer(table)
        if {"finetuned_own", "imagenet_own"} <= set(ranks):
            sentences += _describe_frozen(ranks, frozen) + _describe_directions(compared, frozen)
            sentences += _describe_change(ranks, frozen)
        sentences += _describe_sets(ranks) + _describe_random(table, ranks.index[-1]) + _describe_blur(ranks)
    if len(certainty):
        sentences += [_describe_scatter(certainty), _describe_halves(certainty)]
    return sentences + [f"**{name}** could not be measured." for name in missing]


def ranks_by_layer(table: pd.DataFrame) -> pd.DataFrame:
    """Effective ranks of a spectra_table in its order: layers down, scenarios across, of several draws the first."""
    first = table.drop_duplicates(["scenario", "layer"])
    ranks = first.pivot(index="layer", columns="scenario", values="effective rank")
    return ranks.loc[list(dict.fromkeys(table["layer"])), list(dict.fromkeys(table["scenario"]))]


def _describe_frozen(ranks: pd.DataFrame, frozen: Sequence[str]) -> list[str]:
    fixed = [layer for layer in ranks.index if layer in frozen]
    return [f"Frozen in fine-tuning, and therefore the same as initially by construction: {_bold(fixed)}."] if fixed else []


def _describe_directions(compared: pd.DataFrame, frozen: Sequence[str]) -> list[str]:
    """Where fine-tuning turned the leading directions most, among the layers that could learn."""
    own = compared[[str(x).startswith("finetuned_own and ") for x in compared["networks"]]] if len(compared) else compared
    free = own[~own["layer"].isin(frozen)] if len(own) else own
    if not len(free):
        return []
    rows, without = free[free["overlap"].notna()], free[free["overlap"].isna()]
    told = [f"No directions to compare, for want of variance in one of the networks: {_bold(without['layer'])}."] \
        if len(without) else []
    if not len(rows):
        return told
    shown = rows["overlap"].round(2)
    least, lowest = rows[shown == shown.min()], shown.min()
    about = f"overlap of the leading directions {lowest:.2f}, by chance {_from_to(least['overlap by chance'], 2)}"
    if lowest >= 1:
        return [f"By fine-tuning, the leading directions did not change in {_bold(rows['layer'])} ({about}).", *told]
    how = "" if len(rows) == 1 else "most " if len(least) < len(rows) else "equally "
    return [f"By fine-tuning, the leading directions changed {how}in {_bold(least['layer'])} ({about}).", *told]


def _describe_change(ranks: pd.DataFrame, frozen: Sequence[str]) -> list[str]:
    """Where fine-tuning changed the effective rank most, among the layers that could learn."""
    both = ranks.loc[[x for x in ranks.index if x not in frozen], ["finetuned_own", "imagenet_own"]].dropna()
    both = both[both["imagenet_own"] > 0]
    if both.empty:
        return []
    change = (100 * (both["finetuned_own"] / both["imagenet_own"] - 1)).round().astype(int)
    if not change.any():
        return [f"By fine-tuning, the effective rank changed by less than 1 % in {_bold(change.index)}."]
    most = change[change.abs() == change.abs().max()]
    told = [f"**{layer}** (from {both.loc[layer, 'imagenet_own']:.1f} to {both.loc[layer, 'finetuned_own']:.1f}, "
            f"{value:+d} %)" for layer, value in most.items()]
    how = "" if len(change) == 1 else "most " if len(most) < len(change) else "equally strongly "
    return [f"By fine-tuning, the effective rank changed {how}in {_join(told)}."]


def _describe_sets(ranks: pd.DataFrame) -> list[str]:
    """The image sets through the initial network in the deepest layer; stand-ins apart and in no order."""
    deepest, told = ranks.index[-1], []
    sets = ranks.loc[deepest, [x for x in ranks if x.startswith("imagenet_") and not x.endswith("_32px")]].dropna()
    others = sets[[is_stand_in(x) for x in sets.index]]
    real = sets.drop(others.index).round(1).sort_values(ascending=False, kind="stable")
    head = f"Effective rank of the ImageNet-initialised network in **{deepest}**"
    if len(real):
        told.append(f"{head}{', in decreasing order' if real.nunique() > 1 else ''}: {_listed(real)}.")
    if len(others):
        told.append(f"{head} for stand-ins, which say nothing about the images that they stand for: {_listed(others)}.")
    return told


def _describe_random(table: pd.DataFrame, deepest: str) -> list[str]:
    drawn = table.loc[(table["scenario"] == "random_own") & (table["layer"] == deepest), "effective rank"]
    told = f"Effective rank with random weights in **{deepest}**: random_own {_with_range(drawn, 1)}."
    return [told] if len(drawn) else []


def _describe_blur(ranks: pd.DataFrame) -> list[str]:
    """What reducing the images to 32×32 pixels does to the effective rank in the deepest layer."""
    deepest, told = ranks.index[-1], []
    for name in [x for x in ranks if x.endswith("_32px") and x.removesuffix("_32px") in ranks]:
        before, after = (round(float(ranks.loc[deepest, x]), 1) for x in (name.removesuffix("_32px"), name))
        what = f"the effective rank of {_marked(name.removesuffix('_32px'))} in **{deepest}**"
        if after < before:
            told.append(f"Reducing the images to 32×32 pixels lowers {what} from {before:.1f} to {after:.1f}: so much of a "
                        "difference to 32-pixel images can be blur alone.")
        elif after > before:
            told.append(f"Reducing the images to 32×32 pixels raises {what} from {before:.1f} to {after:.1f}: blur lowers "
                        "nothing there.")
        elif after == before:
            told.append(f"Reducing the images to 32×32 pixels leaves {what} at {before:.1f}.")
    return told


def _describe_scatter(certainty: pd.DataFrame) -> str:
    """How far the effective rank scatters at this N, and that this is not its distance to the population's."""
    images, rank = _from_to(certainty["images"], 0), certainty["effective rank"].where(certainty["effective rank"] > 0)
    width = (certainty["spread high"] - certainty["spread low"]) / 2 / rank
    if not width.notna().any():
        return f"With {images} images no layer has a variance, so that its effective rank has no spread."
    worst = certainty.loc[width.idxmax()]
    loss = round(100 * float((1 - certainty[["first half", "second half"]].mean(axis=1) / rank).median()))
    told = f": half of the images give {loss} % less in the median" if loss > 0 else ""
    return (f"At {images} images the spread of the effective rank is ±{100 * width.max():.0f} % at most "
            f"(**{worst['layer']}** of {_marked(worst['scenario'])}): so far it moves with other images of the same number. "
            "It is no distance to the rank of all such images, since the effective rank depends on the number of images"
            f"{told}.")


def _describe_halves(certainty: pd.DataFrame) -> str:
    """How many directions of one half of the images the other half has, too."""
    found = certainty["found again"].astype(int)
    few, many = (f"{found[at]} (**{certainty.loc[at, 'layer']}** of {_marked(certainty.loc[at, 'scenario'])})"
                 for at in (found.idxmin(), found.idxmax()))
    told = f"from {few} to {many}" if found.min() < found.max() else f"{found.min()} in every layer measured"
    return (f"Directions of one half of the images that the other half shows, too: {told}; by chance at most "
            f"{certainty['by chance'].max():.1f}. Eigenvalues beyond the rank bound are zero whatever the network does.")


def _bold(names: Iterable[str]) -> str:
    return _join([f"**{name}**" for name in names])


def _join(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _listed(values: pd.Series) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in values.items())


def _from_to(values: pd.Series, digits: int) -> str:
    low, high = _number(values.min(), digits), _number(values.max(), digits)
    return low if low == high else f"{low} to {high}"


# ---------------------------------------------------------------------------------------------- plots


def scenario_style(scenario: str) -> dict:
    """label, color and linestyle of a scenario; names ending in _32px are dashed, unknown ones black."""
    base = scenario_draw(scenario)[0].removesuffix("_32px")
    reduced = scenario.endswith("_32px")
    return {"label": SCENARIO_LABELS.get(base, base) + (", reduced to 32×32 px" if reduced else ""),
            "color": SCENARIO_COLORS.get(base, "black"), "linestyle": "--" if reduced else "-"}


def plot_eigenvalues(spectra: Mapping[str, Spectrum], *, log: bool = False, noise: bool = True, relative: bool = False,
                     errors: Mapping[str, BootstrapSpectrum] | None = None, ax: Axes | None = None) -> Axes:
    """Eigenvalues by rank, a line a scenario, on linear or double logarithmic axes.

    `noise` adds the Marchenko-Pastur line of each scenario, dotted in its colour (one grey line if `relative`, which
    divides by the trace). `errors`: scenario -> bootstrap, the 95 % spread at this N as bars.
    """
    ax = ax or plt.subplots(figsize=(5, 4), layout="constrained")[1]
    for scenario, s in spectra.items():
        style, scale = scenario_style(scenario), s.trace if relative and s.trace > 0 else 1.0
        values = s.eigenvalues / scale
        shown = values > (1e-12 * s.trace / scale if log else -1)  # zeros have no place on a logarithmic axis
        ranks = np.arange(1, len(values) + 1)
        front = 3 if scenario.startswith("finetuned") else 2  # where it hardly differs from the initial network, on top
        ax.plot(ranks[shown], values[shown], marker=".", markersize=3, linewidth=1.3, zorder=front, **style)
        if noise and s.trace > 0:
            line = {"color": "black" if relative else style["color"], "linestyle": ":", "linewidth": 1}
            ax.plot(np.arange(1, s.rank_bound + 1)[:s.top_k], s.noise()[:s.top_k] / scale, label="_noise", **line)
        if errors and scenario in errors:
            low, high = errors[scenario].eigenvalue_spread()
            at = np.arange(1, len(low) + 1)
            ax.vlines(at, low / scale, high / scale, color=style["color"], linewidth=2, alpha=0.4)
    if noise:
        ax.plot([], [], color="black", linestyle=":", linewidth=1, label="pure noise (Marchenko–Pastur)")
    if log and _has_variance(spectra, ax):
        ax.set(xscale="log", yscale="log")
    ax.set(xlabel="rank k", ylabel="share of variance λₖ/Σλ" if relative else "eigenvalue λₖ (variance)")
    return ax


def _has_variance(spectra: Mapping[str, Spectrum], ax: Axes) -> bool:
    """Whether there is anything to draw on a logarithmic axis; where there is not, the panel says so."""
    if any(s.trace > 0 for s in spectra.values()):
        return True
    ax.text(0.5, 0.5, "no variance", transform=ax.transAxes, ha="center")
    return False


def plot_cumulative_variance(spectra: Mapping[str, Spectrum], *, ax: Axes | None = None) -> Axes:
    """Share of the variance in the first k directions, a line a scenario, with the levels of 95 and 99 %."""
    ax = ax or plt.subplots(figsize=(5, 4), layout="constrained")[1]
    for scenario, s in spectra.items():
        share = s.cumulative_share
        front = 3 if scenario.startswith("finetuned") else 2
        ax.plot(np.arange(1, len(share) + 1), share, linewidth=1.5, zorder=front, **scenario_style(scenario))
    for level in (0.95, 0.99):
        ax.axhline(level, color="black", linewidth=0.6, linestyle=":")
    ax.set(xscale="log" if _has_variance(spectra, ax) else "linear", ylim=(0, 1.02), xlabel="number of directions k",
           ylabel="cumulative share of variance")
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return ax


def plot_by_layer(spectra: Mapping[str, Mapping[str, Spectrum]], panel: Callable = plot_eigenvalues, *,
                  frozen: Sequence[str] = (), layout: str | None = "constrained", **options) -> Figure:
    """A grid with a panel a layer, all scenarios in each, from scenario -> layer -> Spectrum, and one legend.

    `panel`: plot_eigenvalues or plot_cumulative_variance; `options`: its options (`errors` by scenario and layer, too).
    `frozen`: layers to mark. `layout`: matplotlib's; None is quicker, and leaves the margins to the caller.
    """
    layers = list(dict.fromkeys(layer for by_layer in spectra.values() for layer in by_layer))
    errors = options.pop("errors", None)
    columns = min(3, len(layers) + 1)
    rows = -(-(len(layers) + 1) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4.3 * columns, 3.4 * rows), layout=layout, squeeze=False)
    for layer, ax in zip(layers, axes.flat, strict=False):
        if errors:
            options["errors"] = {s: by_layer[layer] for s, by_layer in errors.items() if layer in by_layer}
        panel({s: by_layer[layer] for s, by_layer in spectra.items() if layer in by_layer}, ax=ax, **options)
        first = next(by_layer[layer] for by_layer in spectra.values() if layer in by_layer)
        mark = " (frozen)" if layer in frozen else ""
        ax.set_title(f"{layer}{mark}\n{first.channels} channels, {first.images} images", fontsize=10)
    for ax in axes.flat[len(layers):]:
        ax.axis("off")
    handles = {label: h for ax in axes.flat for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    axes.flat[len(layers)].legend(handles.values(), handles.keys(), loc="center", frameon=False, fontsize=9)
    return figure


def plot_effective_ranks(table: pd.DataFrame, *, draws: pd.DataFrame | None = None, frozen: Sequence[str] = (),
                         ax: Axes | None = None) -> Axes:
    """Effective rank by layer, a line a scenario; bars: the spread at this N, or the range of several draws of weights.

    `table`: columns scenario, layer, effective rank, spread low, spread high. `draws`: scenario, draw, layer, effective
    rank; a scenario with several draws is shown by their mean and range. `frozen`: layers to mark.
    """
    ax = ax or plt.subplots(figsize=(8, 4.2), layout="constrained")[1]
    layers = list(dict.fromkeys(table["layer"]))
    scenarios = list(dict.fromkeys(table["scenario"]))
    for offset, scenario in zip(np.linspace(-0.12, 0.12, len(scenarios)), scenarios, strict=True):
        rows = table[table["scenario"] == scenario].set_index("layer").reindex(layers)
        middle, low, high = (rows[name] for name in ("effective rank", "spread low", "spread high"))
        style = scenario_style(scenario)
        drawn = draws[draws["scenario"] == scenario] if draws is not None else table.iloc[:0]
        if len(drawn) and drawn["draw"].nunique() > 1:
            by_layer = drawn.groupby("layer")["effective rank"]
            middle, low, high = (values.reindex(layers) for values in (by_layer.mean(), by_layer.min(), by_layer.max()))
            style["label"] += f": mean and range of {drawn['draw'].nunique()} draws"
        bars = [(middle - low).clip(lower=0), (high - middle).clip(lower=0)]
        ax.errorbar(np.arange(len(layers)) + offset, middle, yerr=bars, marker="o", capsize=2, **style)
    _mark_layers(ax, layers, frozen)
    ax.set(ylabel="effective rank (directions)", ylim=(0, None))
    ax.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax


def _mark_layers(ax: Axes, layers: Sequence[str], frozen: Sequence[str] = ()) -> None:
    """Layers at 0, 1, … of the x axis, the frozen ones marked."""
    names = [f"{layer} (frozen)" if layer in frozen else layer for layer in layers]
    ax.set_xticks(range(len(layers)), names, rotation=20, ha="right")
    ax.set_xlabel("layer, from input to output")


def plot_comparison(table: pd.DataFrame, *, frozen: Sequence[str] = ()) -> Figure:
    """Overlap of eigenspaces and debiased linear CKA by layer, a line a pair of networks; dotted: by chance."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.9), layout="constrained", sharey=True)
    layers = list(dict.fromkeys(table["layer"]))
    columns = (("overlap", "overlap by chance", "overlap of the leading directions"),
               ("CKA", "CKA of shuffled images", "linear CKA, debiased"))
    for ax, (value, chance, title) in zip(axes, columns, strict=True):
        for networks, rows in table.groupby("networks", sort=False):
            style, rows = scenario_style(str(networks).split(" and ")[0]), rows.set_index("layer").reindex(layers)
            ax.plot(range(len(layers)), rows[value], marker="o", color=style["color"], label=networks)
            ax.plot(range(len(layers)), rows[chance], linestyle=":", color=style["color"])
        _mark_layers(ax, layers, frozen)
        ax.set_ylabel(title)
    lowest = min(0.0, float(np.nanmin([0.0, *table[["CKA", "CKA of shuffled images"]].to_numpy().ravel()])))
    axes[0].set_ylim(lowest - 0.03, 1.03)  # debiased values can be below 0
    axes[0].plot([], [], linestyle=":", color="black", label="by chance")
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def plot_non_positive_shares(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Share of non-positive values by layer, a line a scenario; columns scenario, layer, non_positive_share.

    Where a scenario has several rows a layer, those of several draws, their mean and as a band their range.
    """
    ax = ax or plt.subplots(figsize=(8, 4.2), layout="constrained")[1]
    mean, low, high = (over_draws(table, "non_positive_share", how) for how in ("mean", "min", "max"))
    for name in mean:
        style = scenario_style(str(name))
        ax.plot(range(len(mean)), mean[name], marker="o", **style)
        if table[table["scenario"] == name].duplicated("layer").any():
            ax.fill_between(range(len(mean)), low[name], high[name], color=style["color"], alpha=0.25, linewidth=0)
            ax.lines[-1].set_label(f"{style['label']} (mean and range of the draws)")
    ax.axhline(0.5, color="black", linewidth=0.6, linestyle=":")
    ax.set_xticks(range(len(mean)), mean.index, rotation=20, ha="right")
    ax.set(xlabel="layer, from input to output", ylabel="share of values ≤ 0", ylim=(0, 1))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax


def plot_channel_shares(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Distribution over channels of the share of non-positive values; columns scenario, layer, channel, share.

    Boxes hold the middle half, whiskers the middle 90 % of the channels, dots the others.
    """
    ax = ax or plt.subplots(figsize=(9, 4.2), layout="constrained")[1]
    palette = {s: scenario_style(s)["color"] for s in table["scenario"].unique()}
    table = table.dropna(subset="share")
    if not len(table):
        ax.text(0.5, 0.5, "no channel has a share", transform=ax.transAxes, ha="center")
        return ax
    sns.boxplot(table, x="layer", y="share", hue="scenario", palette=palette, whis=(5, 95), fliersize=1.5,
                linewidth=0.8, ax=ax)
    ax.set(xlabel="layer, from input to output", ylabel="share of values ≤ 0 in a channel", ylim=(-0.02, 1.02))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.tick_params(axis="x", rotation=20)
    handles, names = ax.get_legend_handles_labels()
    ax.legend(handles, [scenario_style(name)["label"] for name in names], frameon=False, fontsize=8,
              loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax


def plot_class_heatmap(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Heat map of the share of non-positive values: layers down (index), classes across (columns)."""
    size = (2.5 + 1.0 * table.shape[1], 1.5 + 0.5 * table.shape[0])
    ax = ax or plt.subplots(figsize=size, layout="constrained")[1]
    limits = {"vmin": 0, "vmax": 1} if table.isna().all(axis=None) else {}
    sns.heatmap(table, **limits, annot=True, fmt=".1%", cmap="cividis", linewidths=0.5, annot_kws={"fontsize": 8}, ax=ax,
                cbar_kws={"label": "share of values ≤ 0", "format": PercentFormatter(1, decimals=0)})
    ax.set(xlabel="class of the image", ylabel="layer")
    ax.tick_params(axis="y", rotation=0)
    return ax
