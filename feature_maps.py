"""What the feature maps of a network look like: hooks, statistics in one pass, spectra, plots.

Notebooks 02 and 03 share this module. A *feature map* is the output of one module; a *pooled feature* its mean over
positions (tokens, for transformers), one vector of C channels an image; a *non-positive* value is one that is <= 0.
"""

from __future__ import annotations

import dataclasses
import difflib
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

# Data sets that come with the project and stand in where the images of the design are not to be had.
STAND_INS = ("photo_patches", "digits", "demo")


def is_stand_in(name: str) -> bool:
    """Whether a data set, or the images of a scenario, only stand in for ImageNet or CIFAR-10: they are never ranked."""
    return name.removesuffix("_32px").removeprefix("imagenet_") in STAND_INS


def scenario_draw(name: str) -> tuple[str, int]:
    """("random_own", 2) of "random_own_draw2": the scenario, and which draw of its weights; 1 for names without a number."""
    scenario, _, draw = name.partition("_draw")
    return (scenario, int(draw)) if draw.isdecimal() else (name, 1)


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
    """Whether a module's four axes are (N,H,W,C) instead of (N,C,H,W)."""
    if isinstance(module, nn.Sequential) and len(module):
        return gives_channels_last(module[-1])
    swin = type(module).__name__.startswith(("Swin", "PatchMerging"))
    return swin or (isinstance(module, nn.Linear | nn.LayerNorm) and "2d" not in type(module).__name__.lower())


def _positions(name: str, module: nn.Module, output: object) -> tuple[Tensor, int]:
    """A feature map as (N,P,C) with 1 or (N,C,P) with 2: a view where memory allows, and the axis of positions P.

    (N,C,H,W) has H*W positions, (N,T,C) has T, (N,C) one. Linear, LayerNorm and Swin modules give (N,H,W,C).
    """
    x = only_tensor(name, output).detach()
    if x.ndim == 2:
        return x.unsqueeze(1), 1
    if x.ndim == 3:
        return x, 1
    if x.ndim != 4:
        raise ValueError(f"Module {name!r} returns shape {tuple(x.shape)}; legal are (N,C,H,W), (N,T,C) and (N,C).")
    if gives_channels_last(module):
        return x.flatten(1, 2), 1
    if x.is_contiguous(memory_format=torch.channels_last):
        return x.permute(0, 2, 3, 1).flatten(1, 2), 1
    return x.flatten(2), 2


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


class _SeeActivations(TorchFunctionMode):
    """Reports each activation function that runs, whoever calls it; see torch.overrides.TorchFunctionMode."""

    def __init__(self, report: Callable[[str, bool], None]) -> None:
        super().__init__()
        self.report = report

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "").rstrip("_")
        label = name if name in _ACTIVATIONS else "clamp(min=0)" if rectifier_ceiling(func, args, kwargs or {}) else None
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
        """Indices of the channels that are never > 0 over all images and positions (and had a number at all)."""
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


STORED = ("calls", "features", "labels", "skipped", "table", "images")


@dataclass
class LayerStatistics:
    """All that one pass over images tells of one feature map; parts merge.

    `calls` in one forward pass: those of a module called several times stand side by side, as further channels.
    `skipped`: images whose pooled feature is not finite; they are counted in `counts` but left out of `covariance`.
    """

    layer: str
    calls: int
    counts: NonPositiveCounts = field(default_factory=NonPositiveCounts)
    covariance: CovarianceState = field(default_factory=CovarianceState)
    skipped: int = 0
    pooled: list[np.ndarray] = field(default_factory=list)

    @property
    def images(self) -> int:
        """Number of images seen."""
        return self.counts.images.total()

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

    def arrays(self) -> dict[str, np.ndarray]:
        """This state as arrays for np.savez; `of_arrays` reads them."""
        labels = sorted(self.counts.table)
        return {"calls": np.array(self.calls), "features": self.features, "labels": np.array(labels),
                "skipped": np.array(self.skipped), "table": np.stack([self.counts.table[label] for label in labels]),
                "images": np.array([self.counts.images[label] for label in labels])}

    @classmethod
    def of_arrays(cls, layer: str, stored: Mapping[str, np.ndarray], batch_size: int) -> LayerStatistics:
        """The state that `arrays` gave; the covariance is accumulated anew, in minibatches of `batch_size`."""
        state = cls(layer, int(stored["calls"]), skipped=int(stored["skipped"]), pooled=[stored["features"]])
        for label, table, images in zip(stored["labels"], stored["table"], stored["images"], strict=True):
            state.counts._add(int(label), table, int(images))
        finite = stored["features"][np.isfinite(stored["features"]).all(axis=1)]
        for start in range(0, len(finite), batch_size):
            state.covariance.update(finite[start:start + batch_size])
        return state

    def _update(self, maps: list[tuple], labels: np.ndarray, keep_features: bool) -> None:
        """Add one batch; `maps`: for each call positions, means (N,C), counts (N,C), counts of NaN or None."""
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
    reduced inside the hooks: pooling in float32 (float64 for float64 maps), counting in exact integers. With
    keep_features the pooled features (4 bytes a channel and image) stay; without, memory does not grow with the images.
    ValueError: unknown layer, a layer never called, called differently from batch to batch, no images.
    """
    names, modules = choose_layers(model, layers), all_modules(model)
    like = first_parameter(model)
    maps: dict[str, list] = {name: [] for name in names}
    result: dict[str, LayerStatistics] = {}

    def reduce(name: str, output: object) -> None:
        x, axis = _positions(name, modules[name], output)
        maps[name].append((x.shape[axis], *_pool_and_count(x, axis)))

    autocast = torch.autocast(like.device.type, dtype=precision, enabled=precision != torch.float32)
    with evaluating(model), torch.inference_mode(), autocast, capture(model, names, reduce):
        for batch in loader:
            images, labels = batch if isinstance(batch, tuple | list) else (batch, None)
            labels = np.full(len(images), -1) if labels is None else torch.as_tensor(labels).cpu().numpy()
            layout = torch.channels_last if channels_last and images.ndim == 4 else torch.preserve_format
            model(images.to(like.device, like.dtype, memory_format=layout))
            for name in names:
                _check_calls(name, maps[name], len(images), result.get(name))
                layer = result.setdefault(name, LayerStatistics(name, len(maps[name])))
                layer._update(maps[name], labels, keep_features)
                maps[name].clear()
    if not result:
        raise ValueError("The loader gave 0 batches; at least 1 is needed.")
    return result


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
    """A network and the images that it is run on; `stamp` is the fingerprint of the network's weights."""

    name: str
    model: nn.Module
    preprocessing: dict
    images: Images
    stamp: str

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
                   device: torch.device, seed: int = 0, control: bool = False,
                   map_size: int = 224) -> tuple[dict[str, Scenario], dict[str, str]]:
    """The scenarios of the design that can be had, and for the others the reason and the remedy, by name.

    `imagenet_val` and `cifar10` are data sets by name or folder; the embedded ones are stand-ins, and the scenario is
    then named after them. All scenarios have the same number of images, that of the smallest set. `control` adds own and
    ImageNet images reduced to 32×32 pixels, names ending in _32px. `map_size`: see `input_size`.
    """
    networks, missing = open_networks(run, architecture, max(2, len(own.classes)), device=device, seed=seed,
                                      image_size=map_size)
    images = {"own": own}
    for name, dataset, parameter in (("imagenet", imagenet_val, "IMAGENET_VAL"), ("cifar10", cifar10, "CIFAR10")):
        key = dataset if dataset in ("photo_patches", "digits", "demo") else name
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
    small = cifar10 if cifar10 in ("photo_patches", "digits", "demo") else "cifar10"
    pairs += [("imagenet", f"{key}_32px") for key in images if control and key != small]
    scenarios = {}
    for network, key in pairs:
        if network in networks:
            model, preprocessing, stamp = networks[network]
            name = f"{network}_{key}"
            scenarios[name] = Scenario(name, model, preprocessing, images[key.removesuffix("_32px")], stamp)
        else:
            missing[f"{network}_{key}"] = missing[network]
    return scenarios, {name: reason for name, reason in missing.items() if "_" in name}


def frozen_layers(scenarios: Mapping[str, Scenario], layers: Sequence[str]) -> list[str]:
    """The layers up to and in which the fine-tuned network has the initial one's weights: the same by construction."""
    if not {"finetuned_own", "imagenet_own"} <= set(scenarios):
        return []
    tuned, initial = (dict(scenarios[name].model.named_modules()) for name in ("finetuned_own", "imagenet_own"))
    same = 0  # how many modules, in the order of their definition, before the first that differs
    for module, other in zip(tuned.values(), initial.values(), strict=False):
        pairs = [(x, y) for kind in ("_parameters", "_buffers") for x, y in
                 zip(getattr(module, kind).values(), getattr(other, kind).values(), strict=False) if x is not None]
        if any(x.shape != y.shape or x.is_floating_point() and not torch.equal(x, y) for x, y in pairs):
            break
        same += 1
    changed = list(tuned)[same:]
    return [layer for layer in layers if not any(name == layer or name.startswith(f"{layer}.") for name in changed)]


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
    has one size, where the run does not tell it.
    """
    networks, missing, built = {}, {}, {"image_size": image_size}
    try:
        model, description = helpers.load_network(run)
        architecture, n_classes = description["architecture"], len(description["classes"])
        built = {"image_size": description["image_size"], "options": description.get("options"),
                 "head": description.get("head", "linear")}
        stamp = helpers.file_hash(run.path("model.safetensors"))
        networks["finetuned"] = model.to(device), description["preprocessing"], stamp
    except ValueError as error:
        missing["finetuned"] = str(error)
    for weights in ("imagenet", "random"):
        try:
            model, preprocessing = helpers.build_network(architecture, n_classes, weights=weights, seed=seed, **built)
            networks[weights] = model.eval().to(device), preprocessing, f"{architecture} {weights} {seed}"
        except ValueError as error:
            missing[weights] = str(error)
    return networks, missing


def scenario_statistics(run: helpers.Run, scenario: Scenario, layers: Sequence[str], *, map_size: int,
                        batch_size: int) -> dict[str, LayerStatistics]:
    """The statistics of one scenario, in float32, in one pass; kept in statistics/, so that 02 and 03 share the pass."""
    name = f"statistics/{scenario.name}.npz"
    stamp = helpers.fingerprint(scenario.stamp, scenario.preprocessing, scenario.images.table[["label", "sha256"]],
                                list(layers), map_size, scenario.reduced, 1)
    if not run.is_current(stamp, name):
        transform = image_data.make_transform(scenario.preprocessing, map_size, reduced=scenario.reduced)
        images = image_data.ImageDataset(scenario.images.table, scenario.images.root, scenario.images.classes, transform)
        found = collect_statistics(scenario.model, helpers.make_loader(images, batch_size=batch_size), layers)
        run.path("statistics").mkdir(exist_ok=True)
        with helpers.replacing(run.path(name)) as temporary, open(temporary, "wb") as file:
            np.savez(file, **{f"{layer}/{key}": value for layer, state in found.items()
                              for key, value in state.arrays().items()})
        run.mark(stamp, name)
    with np.load(run.path(name)) as stored:
        return {layer: LayerStatistics.of_arrays(layer, {key: stored[f"{layer}/{key}"] for key in STORED}, batch_size)
                for layer in layers}


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


def describe_input_sizes(run: helpers.Run, map_size: int) -> str:
    """At which size the images were measured, and at which the network of the run was fine-tuned, if there is one."""
    told = f"Measured on whole images resized to {map_size}×{map_size} pixels"
    size = helpers.read_json(run.path("model.json")).get("image_size") if run.path("model.json").exists() else None
    if not size:
        return f"{told}."
    return f"{told}, the size at which the network was fine-tuned." if size == map_size else \
        f"{told}; the network was fine-tuned at {size}×{size} pixels."


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
    """Share of non-positive values by layer, a line a scenario; columns scenario, layer, non_positive_share."""
    ax = ax or plt.subplots(figsize=(8, 4.2), layout="constrained")[1]
    layers = list(dict.fromkeys(table["layer"]))
    for scenario, rows in table.groupby("scenario", sort=False):
        shares = rows.set_index("layer")["non_positive_share"].reindex(layers)
        ax.plot(range(len(layers)), shares, marker="o", **scenario_style(str(scenario)))
    ax.axhline(0.5, color="black", linewidth=0.6, linestyle=":")
    ax.set_xticks(range(len(layers)), layers, rotation=20, ha="right")
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
    sns.heatmap(table, annot=True, fmt=".1%", cmap="cividis", linewidths=0.5, annot_kws={"fontsize": 8}, ax=ax,
                cbar_kws={"label": "share of values ≤ 0", "format": PercentFormatter(1, decimals=0)})
    ax.set(xlabel="class of the image", ylabel="layer")
    ax.tick_params(axis="y", rotation=0)
    return ax
