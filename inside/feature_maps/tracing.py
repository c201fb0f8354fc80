"""Following tensors through a forward pass: where their channels are, which activation comes next."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from inside.feature_maps.hooks import _positions, _tensors, all_modules, capture, eval_mode, only_tensor

_ACTIVATIONS = set("relu relu6 hardtanh threshold leaky_relu prelu rrelu elu selu celu gelu silu mish hardswish "
                   "hardsigmoid sigmoid tanh softplus softsign glu".split())


def _activation_label(func: Callable, args: tuple, kwargs: Mapping) -> str | None:
    """What the audit calls a function that is an activation for these arguments; None where it is none."""
    name = getattr(func, "__name__", "").rstrip("_")
    return name if name in _ACTIVATIONS else "clamp(min=0)" if rectifier_ceiling(func, args, kwargs) else None


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

    Enter `over` around a pass, tell it the outputs to follow with `follow` where it is `tracing`, and ask `channels` during
    the pass and `following` after it. An output is followed, tensor by tensor, through normalisation, dropout and changes
    of shape or type to the function that takes it up. Operations fused in C++ are not seen. Source:
    torch.overrides.TorchFunctionMode.

    That takes a noticeable part of a pass of a small network. So only the first pass is followed in this way, where what
    each activation gives is the output of a module: in later passes, hooks of these modules look at which channels fire.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tracing, self._idle, self._marks = True, False, WeakTensorKeyDictionary()
        self._found: dict[tuple[str, int], list[Following]] = {}
        self._fired: dict[tuple, np.ndarray] = {}  # by the outputs taken up and the number of channels, over all passes
        self._gave = WeakTensorKeyDictionary()  # what an activation gave, until a module gives it -> the outputs taken up
        self._given: dict[tuple[str, int], tuple[frozenset, int | None]] = {}  # call of a module -> these, and channel axis
        self._calls, self._times, self._activations = Counter[str](), Counter[str](), 0

    @contextmanager
    def over(self, model: nn.Module, images: Tensor) -> Iterator[None]:
        """Follow the tensors of a pass of `images` (N,C,H,W) inside. A pass that is traced keeps of others only what fired.

        ValueError, after a pass that was not traced: a module ran another number of times than in the one that was.
        """
        if not self.tracing:
            with capture(model, list(self._times), self._see_again) as self._calls:
                yield
            for name, times in self._times.items():
                check_times(name, self._calls[name], times)
            return
        self._found, self._given, self._activations = {}, {}, 0
        self._marks, self._gave = WeakTensorKeyDictionary(), WeakTensorKeyDictionary()
        self._marks[images] = _Mark(channels=1)
        with capture(model, list(all_modules(model)), self._see) as self._calls, self:
            yield
        self._times = Counter({name: self._calls[name] for name, _ in self._given})
        self.tracing = len(self._given) < self._activations

    def _see(self, name: str, output: object) -> None:
        """A module's output, the innermost module's first: is it what an activation gave?"""
        outputs = self._gave.pop(output, None) if isinstance(output, Tensor) else None
        if outputs:
            self._given[name, self._calls[name]] = outputs, self.channels(output)

    def _see_again(self, name: str, output: object) -> None:
        if (name, self._calls[name]) in self._given:
            outputs, channels = self._given[name, self._calls[name]]
            self._fires(output, outputs, channels)

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
        fires = [taken.fires for taken in found if taken.fires is not None]
        if len(set(map(len, fires))) > 1:
            return Following(reason="no activation follows channel by channel: one of several regroups them")
        return Following(found[0].activation, np.any(fires, axis=0))

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
        if not self._idle and getattr(func, "__name__", "") == "__setitem__":
            self._forget(_tensors(args[:1]))
        elif not self._idle and isinstance(result, Tensor | tuple | list):
            given, results = _tensors([args, kwargs]), _tensors(result)
            if given and results:
                self._note(func, args, kwargs, given, results)
        return result

    def _forget(self, written: list[Tensor]) -> None:
        """What shares memory with these tensors may no longer be what an activation gave."""
        places = {x.untyped_storage().data_ptr() for x in written} if len(self._gave) else set()
        for x in [x for x in self._gave if x.untyped_storage().data_ptr() in places]:
            del self._gave[x]

    def _note(self, func: Callable, args: tuple, kwargs: Mapping, given: list[Tensor], results: list[Tensor]) -> None:
        name = getattr(func, "__name__", "").strip("_")
        marks = [self._marks.get(x, _Mark()) for x in given]
        first, label = marks[0], _activation_label(func, args, kwargs)
        on = label or (name in _HANDING_ON and len(results) == 1)
        known = next(((x, mark.channels) for x, mark in zip(given, marks, strict=True) if mark.channels), None)
        label = "relu6" if label == "hardtanh" and rectifier_ceiling(func, args, kwargs) == 6 else label
        if label or not on:
            self._forget(results)
        activation = label or (first.activation if on and name not in _NORMALISING else "")
        for x in results:
            axis = _channel_axis(func, name, args, kwargs, x, known)
            self._marks[x] = _Mark(axis, activation, first.outputs if on and not label else frozenset())
        fires = None
        if label and first.outputs:
            self._activations, self._gave[results[0]] = self._activations + 1, first.outputs
            fires = self._fires(results[0], first.outputs, self.channels(results[0]))
        for place, mark in enumerate(marks):
            for output in mark.outputs:
                if place or not on:
                    self._found.setdefault(output, []).append(Following(reason=_in_words(name)))
                elif label:
                    self._found.setdefault(output, []).append(Following(label, fires))

    def _fires(self, x: Tensor, outputs: frozenset[tuple[str, int]], channels: int | None) -> np.ndarray:
        """Which channels (C,) were > 0, in this pass or an earlier one, after an activation that took up the outputs.

        `x`: what the activation gave. Only channels that have not fired before are looked at.
        """
        x = x.detach()
        flat, axis = _positions("", nn.Identity(), x, channels) if x.ndim in (2, 3, 4) else \
            (x.reshape(len(x) if x.ndim else 1, 1, -1), 1)
        width = flat.shape[3 - axis]
        fired = self._fired.setdefault((outputs, width), np.zeros(width, dtype=bool))
        silent = np.flatnonzero(~fired)
        if len(silent):
            flat = flat if len(silent) == width else flat.index_select(3 - axis, torch.from_numpy(silent).to(x.device))
            highest = flat.amax((0, axis))
            if highest.isnan().any():
                highest = torch.where(flat.isnan(), -1, flat).amax((0, axis))
            fired[silent] = (highest > 0).cpu().numpy()
        return fired


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


def check_times(name: str, times: int, before: int) -> None:
    """ValueError unless a module ran in a batch as often as in those before."""
    if times != before:
        raise ValueError(f"Module {name!r} ran {times} times in a batch, expected {before}, as before.")


def channel_axes(model: nn.Module, images: Tensor, layers: Sequence[str]) -> dict[str, int | None]:
    """The axis on which the output of each layer (of its last call) has its channels, seen in one pass of `images`.

    1 or another, -1 for the last one; None where it cannot be followed, or where the layer never ran. The operations that
    made a tensor decide, not the type of the module: a convolution puts the channels second, a linear layer last, and so
    they stay until axes are permuted.
    """
    axes: dict[str, int | None] = dict.fromkeys(layers)
    tracer, images = Tracer(), images.clone()  # a network may work on them in place

    def note(name: str, output: object) -> None:
        x = only_tensor(name, output)
        axis = tracer.channels(x)
        axes[name] = -1 if axis == x.ndim - 1 else axis

    with eval_mode(model), torch.no_grad(), tracer.over(model, images), capture(model, layers, note):
        model(images)
    return axes
