"""Forward hooks that leave no trace, and the feature maps that they see.

A *feature map* is the output of one module; a *pooled feature* its mean over positions (tokens, for transformers), one
vector of C channels per image; a *non-positive* value is one that is <= 0.

Own code: the feature extractors of torchvision and timm give whole maps, where these hooks reduce each call's at once.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from inside.models.surgery import empty_image, kept_modes

# The course's five feature maps of a torchvision ResNet, for LAYERS (not the default): the first convolutions of the
# blocks up to layer3.0.
RESNET_LAYERS = ("layer1.0.conv1", "layer1.1.conv1", "layer2.0.conv1", "layer2.1.conv1", "layer3.0.conv1")


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

    with eval_mode(model), torch.no_grad(), capture(model, list(modules), note) as calls:
        model(empty_image(model, size, in_channels))
    rows = [(name, type(module).__name__, shapes.get(name), sum(p.numel() for p in module.parameters()), calls[name])
            for name, module in modules.items()]
    return pd.DataFrame(rows, columns=["name", "type", "output_shape", "parameters", "calls"])


def format_modules(table: pd.DataFrame) -> pd.DataFrame:
    """A module table with its shapes as a reader writes them: 32 × 56 × 56, and – for modules that were never called."""
    shapes = [" × ".join(map(str, shape)) if shape else "–" for shape in table["output_shape"]]
    return table.assign(output_shape=shapes)


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
                  or is_squeeze_excitation(module))
    main = [name for name in modules if not f"{name}.".startswith(aside or ("\0",))]
    convolutions = [name for name in main if isinstance(modules[name], nn.Conv2d)]
    if len(convolutions) >= n:
        return convolutions
    attention = ("attention", "attn")
    blocks = [name for name in main if any(word in type(child).__name__.lower()
                                           for child in modules[name].children() for word in attention)
              and not any(word in type(modules[name]).__name__.lower() for word in attention)]
    return blocks or [name for name in main if isinstance(modules[name], nn.Conv2d | nn.Linear)]


def is_squeeze_excitation(module: nn.Module) -> bool:
    """Whether a module weights the channels of a map by what is in them, as far as its type tells."""
    return "squeezeexc" in type(module).__name__.lower() or type(module).__name__ == "SEModule"


def all_modules(model: nn.Module) -> dict[str, nn.Module]:
    """name -> module, all names of a module that has several."""
    return {name: module for name, module in model.named_modules(remove_duplicate=False) if name}


def check_layer(name: str, names: Mapping[str, nn.Module]) -> None:
    """ValueError, with the nearest names, unless `name` is one of `names`."""
    if name not in names:
        near = difflib.get_close_matches(str(name), list(names), n=5, cutoff=0.4) or list(names)[:5]
        raise ValueError(f"The network has no module named {name!r}; expected the names of named_modules(), "
                         f"the nearest ones {', '.join(near)}.")


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[nn.Module]:
    """Evaluation mode inside, afterwards every module's training flag and every buffer exactly as before."""
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        with kept_modes(model):
            yield model.eval()
    finally:
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
    names, calls, handles = all_modules(model), Counter[str](), []

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
        raise ValueError(f"Module {name!r} returns {type(output).__name__} with {kinds}; expected one floating-point "
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


def as_grid(x: Tensor, last: bool) -> Tensor | None:
    """A tensor as (N,C,h,w): also (N,h,w,C) if `last`, tokens (N,T,C) on a square grid after at most 8 others, or None."""
    if x.ndim == 4:
        return x.permute(0, 3, 1, 2) if last else x
    side = math.isqrt(x.shape[1]) if x.ndim == 3 else 0
    if side > 1 and x.shape[1] - side**2 <= 8:
        return x[:, x.shape[1] - side**2:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    return None


def _positions(name: str, module: nn.Module, x: Tensor, channels: int | None = None) -> tuple[Tensor, int]:
    """A feature map as (N,P,C) with 1 or (N,C,P) with 2: a view where memory allows, and the axis of positions P.

    (N,C,H,W) has H*W positions, (N,T,C) has T, (N,C) one. `channels`: the axis of the channels; None where it is not known:
    then the last one of three, and of four that which the type of the module tells.
    """
    if x.ndim not in (2, 3, 4):
        raise ValueError(f"Module {name!r} returns shape {tuple(x.shape)}; expected (N,C,H,W), (N,T,C) and (N,C).")
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

    A few images at a time are averaged in float, and written into a small float buffer as 0 or 1, which is summed: many
    times faster than summing booleans, and exact, since a float32 holds integers up to 2**24.
    """
    wide = torch.float64 if x.dtype == torch.float64 or x.shape[axis] >= 2**24 else torch.float32
    step = max(1, 2**20 // max(1, x[0].numel()))
    buffer, means, counts = torch.empty_like(x[:step], dtype=wide), [], []
    for part in x.split(step):
        work = buffer[:len(part)]
        values = part if part.dtype == wide else work.copy_(part)
        means.append(values.mean(axis))
        counts.append(torch.le(values, 0, out=work).sum(axis))
    mean = torch.cat(means)
    nan = None if torch.isfinite(mean).all() else torch.isnan(x).sum(axis).cpu().numpy()
    return mean.cpu().numpy(), torch.cat(counts).to(torch.int64).cpu().numpy(), nan
