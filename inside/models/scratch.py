"""Small networks to train from scratch: two convolutional ones, and two perceptrons for small images.

Each is a plain torch module with keyword options, which `ARCHITECTURE_OPTIONS` sets in the notebooks. Every activation
and normalisation is a separate module, called once, so that hooks see every value that is computed.
"""

from __future__ import annotations

import inspect
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from inside.text import brief

ACTIVATIONS = {kind.__name__: kind for kind in (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh)}
ORGANISATIONS = {"const": 1.0, "double": 2.0, "half": 0.5}


class ConvNet5(nn.Module):
    """Five blocks of convolution, activation and 2×2 max-pooling, then one dense layer and the output.

    (N, in_channels, image_size, image_size) -> (N, n_classes) logits. `filters` is the width of the first block, which
    `organisation` keeps ("const"), doubles or halves from block to block, or a list of five widths. `kernel_size` is one
    odd or even number, or five. `batch_norm` goes between convolution and activation. `dropout_in` places `dropout` after
    the dense layer ("dense"), after each pooling ("convolutions") or in "both" places. Pooling rounds the size up, so
    that images of any size can be used: the final side is ⌈image_size / 32⌉.
    """

    def __init__(self, n_classes: int, *, image_size: int, in_channels: int = 3, filters: int | Sequence[int] = 16,
                 organisation: str = "double", kernel_size: int | Sequence[int] = 3, activation: str = "ReLU",
                 batch_norm: bool = True, dropout: float = 0.2, dropout_in: str = "dense", dense: int = 128):
        super().__init__()
        self.image_size, self.in_channels = image_size, in_channels
        self.widths = five_widths(filters, organisation)
        self.kernels = _for_each("kernel_size", kernel_size, 5)
        act, rate = _activation(activation), _rate(dropout)
        _one_of("dropout_in", dropout_in, ("dense", "convolutions", "both"))
        blocks, channels = [], in_channels
        for width, kernel in zip(self.widths, self.kernels, strict=True):
            parts = {"conv": nn.Conv2d(channels, width, kernel, padding="same")}
            parts |= {"norm": nn.BatchNorm2d(width)} if batch_norm else {}
            parts |= {"activation": act(), "pool": nn.MaxPool2d(2, ceil_mode=True)}
            parts |= {"dropout": nn.Dropout(rate)} if dropout_in != "dense" and rate else {}
            blocks.append(nn.Sequential(OrderedDict(parts)))
            channels = width
        self.blocks = nn.Sequential(*blocks)
        self.dense = nn.Linear(channels * pooled_sides(image_size)[-1] ** 2, _count("dense", dense))
        self.activation = act()
        self.dropout = nn.Dropout(rate if dropout_in != "convolutions" else 0.0)
        self.output = nn.Linear(dense, n_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.output(self.dropout(self.activation(self.dense(self.blocks(images).flatten(1)))))


class ConvNetGAP(nn.Module):
    """Convolution blocks, global average pooling and one linear layer: its class activation maps are exact.

    (N, in_channels, H, W) -> (N, n_classes) logits, for any H and W large enough for the strides. A block is
    convolution, batch norm, ReLU and 2×2 max-pooling; `kernel_size`, `stride`, `padding` (None: half the kernel) and `pool`
    apply to all blocks or are lists with one entry per block. The last block is not pooled unless `pool` is a list that
    says so. `dropout` acts before the linear layer.
    """

    def __init__(self, n_classes: int, *, in_channels: int = 3, widths: Sequence[int] = (32, 64, 128, 256),
                 kernel_size: int | Sequence[int] = 3, stride: int | Sequence[int] = 1,
                 padding: int | Sequence[int] | None = None, batch_norm: bool = True,
                 pool: bool | Sequence[bool] = True, dropout: float = 0.0):
        super().__init__()
        self.in_channels = in_channels
        widths = _widths("widths", widths)
        kernels, strides = (_for_each(name, value, len(widths)) for name, value in
                            (("kernel_size", kernel_size), ("stride", stride)))
        paddings = [kernel // 2 for kernel in kernels] if padding is None else _for_each("padding", padding, len(widths), 0)
        pools = [pool] * (len(widths) - 1) + [False] if isinstance(pool, bool) else list(pool)
        if len(pools) != len(widths) or not all(isinstance(entry, bool) for entry in pools):
            raise ValueError(f"pool = {brief(pool)} is not valid: it takes true, false, or a list of {len(widths)} of them.")
        blocks, channels = [], in_channels
        for width, kernel, step, border, pooled in zip(widths, kernels, strides, paddings, pools, strict=True):
            parts = {"conv": nn.Conv2d(channels, width, kernel, step, border, bias=not batch_norm)}
            parts |= {"norm": nn.BatchNorm2d(width)} if batch_norm else {}
            parts |= {"activation": nn.ReLU()}
            parts |= {"pool": nn.MaxPool2d(2, ceil_mode=True)} if pooled else {}
            blocks.append(nn.Sequential(OrderedDict(parts)))
            channels = width
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(_rate(dropout))
        self.output = nn.Linear(channels, n_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.output(self.dropout(self.pool(self.blocks(images)).flatten(1)))


class MLP(nn.Module):
    """Hidden layers of the widths `hidden`, each with activation and dropout, on the pixels of the whole image.

    (N, in_channels, image_size, image_size) -> (N, n_classes) logits.
    """

    def __init__(self, n_classes: int, *, image_size: int, in_channels: int = 3, hidden: Sequence[int] = (256, 128),
                 activation: str = "ReLU", batch_norm: bool = False, dropout: float = 0.2):
        super().__init__()
        self.image_size, self.in_channels = image_size, in_channels
        act, rate = _activation(activation), _rate(dropout)
        layers, width = [], in_channels * image_size ** 2
        for after in _widths("hidden", hidden):
            parts = {"linear": nn.Linear(width, after)} | ({"norm": nn.BatchNorm1d(after)} if batch_norm else {})
            layers.append(nn.Sequential(OrderedDict(parts | {"activation": act(), "dropout": nn.Dropout(rate)})))
            width = after
        self.layers = nn.Sequential(*layers)
        self.output = nn.Linear(width, n_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.output(self.layers(images.flatten(1)))


class SkipBlock(nn.Module):
    """Two linear layers with a skip around them: act(skip(x) + W₂ dropout(act(W₁ x))), (N, before) -> (N, after).

    The skip is the identity, or a linear map if the widths differ (He et al. 2016, for linear layers).
    """

    def __init__(self, before: int, after: int, activation: str, dropout: float):
        super().__init__()
        act = _activation(activation)
        self.first, self.activation, self.dropout = nn.Linear(before, after), act(), nn.Dropout(dropout)
        self.second, self.last_activation = nn.Linear(after, after), act()
        self.skip = nn.Identity() if before == after else nn.Linear(before, after, bias=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        inside = self.second(self.dropout(self.activation(self.first(features))))
        return self.last_activation(self.skip(features) + inside)


class SkipMLP(nn.Module):
    """Blocks of two linear layers with a skip, of the widths `widths`, on the pixels of the whole image.

    (N, in_channels, image_size, image_size) -> (N, n_classes) logits.
    """

    def __init__(self, n_classes: int, *, image_size: int, in_channels: int = 3, widths: Sequence[int] = (256, 256, 128),
                 activation: str = "ReLU", dropout: float = 0.2):
        super().__init__()
        self.image_size, self.in_channels = image_size, in_channels
        ends = [in_channels * image_size ** 2, *_widths("widths", widths)]
        self.blocks = nn.Sequential(*(SkipBlock(before, after, activation, _rate(dropout))
                                      for before, after in zip(ends, ends[1:], strict=False)))
        self.output = nn.Linear(ends[-1], n_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.output(self.blocks(images.flatten(1)))


NETWORKS = {"convnet5": ConvNet5, "convnet_gap": ConvNetGAP, "mlp": MLP, "skip_mlp": SkipMLP}


def legal_options(name: str) -> dict[str, Any]:
    """{option: default} that the network `name` takes; the size of the images is a parameter of the notebooks."""
    parameters = inspect.signature(NETWORKS[name]).parameters.values()
    return {entry.name: entry.default for entry in parameters
            if entry.kind is entry.KEYWORD_ONLY and entry.name != "image_size"}


def build_from_scratch(name: str, n_classes: int, image_size: int, options: Mapping[str, Any]) -> nn.Module:
    """The network `name`, drawn from torch's generator. Raises ValueError for a value that is not valid."""
    channels, batch_norm = options.get("in_channels", 3), options.get("batch_norm", True)
    if type(channels) is not int or channels not in (1, 3):
        raise ValueError(f"in_channels = {brief(channels)} is not valid: it takes 1 (grey) or 3 (colour).")
    if type(batch_norm) is not bool:
        raise ValueError(f"batch_norm = {brief(batch_norm)} is not valid: it takes true or false.")
    sized = "image_size" in inspect.signature(NETWORKS[name]).parameters
    return NETWORKS[name](n_classes, **({"image_size": image_size} if sized else {}), **options)


def five_widths(filters: int | Sequence[int], organisation: str = "double") -> list[int]:
    """The widths of ConvNet5's five blocks. Raises ValueError, also if halving leaves a block without filters."""
    _one_of("organisation", organisation, tuple(ORGANISATIONS))
    if isinstance(filters, Sequence):
        widths = _widths("filters", filters)
        if len(widths) != 5:
            raise ValueError(f"filters = {list(filters)} is not valid: it takes one width or five.")
        return widths
    factor = ORGANISATIONS[organisation]
    widths = [int(_count("filters", filters) * factor ** block) for block in range(5)]
    if min(widths) < 1:
        raise ValueError(f"filters = {filters} with organisation = {organisation!r} leaves a block without filters "
                         f"({widths}): use 16 or more.")
    return widths


def pooled_sides(image_size: int) -> list[int]:
    """The side of the maps before the first block of ConvNet5 and after each: ⌈image_size / 2^i⌉ for i = 0, …, 5."""
    return [math.ceil(image_size / 2 ** block) for block in range(6)]


def _count(name: str, value: object, low: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= 65536:
        raise ValueError(f"{name} = {brief(value)} is not valid: it takes whole numbers from {low} to 65536.")
    return value


def _rate(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise ValueError(f"dropout = {brief(value)} is not valid: it takes a number from 0 to below 1.")
    return float(value)


def _one_of(name: str, value: object, legal: Sequence[str]) -> str:
    if value not in legal:
        raise ValueError(f"{name} = {brief(value)} is not valid: it takes {', '.join(map(repr, legal))}.")
    return str(value)


def _activation(name: object) -> type[nn.Module]:
    plain = {legal.lower(): legal for legal in ACTIVATIONS}
    return ACTIVATIONS[_one_of("activation", plain.get(str(name).lower().replace("_", ""), name), tuple(ACTIVATIONS))]


def _widths(name: str, value: object) -> list[int]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not 0 < len(value) <= 100:
        raise ValueError(f"{name} = {brief(value)} is not valid: it takes a list of widths, such as [64, 32], at most 100.")
    return [_count(name, width) for width in value]


def _for_each(name: str, value: object, n: int, low: int = 1) -> list[int]:
    """One number for all of n blocks, or a list of n."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != n:
            raise ValueError(f"{name} = {list(value)} is not valid: it takes one number, or a list of {n}.")
        return [_count(name, entry, low) for entry in value]
    return [_count(name, value, low)] * n
