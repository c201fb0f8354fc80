"""Frozen batch norm as a part of the convolution before it, so that training has a pass over each feature map less.

With stored statistics, batch norm is an affine map of each channel: scaling the weights of the convolution by γ / √(σ² + ε)
and shifting its bias by β − μ γ / √(σ² + ε) gives the same values up to rounding (Jacob et al. 2018, section 3.2), and the
gradients of weights, γ and β follow from those of the scaled weights. Own code: PyTorch fuses the two for inference only.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from timm.layers import BatchNormAct2d, Conv2dSame, conv2d_same
from torch import nn

from inside.models.surgery import kept_modes

Pair = tuple[nn.Conv2d, nn.BatchNorm2d]
CONVOLVE: dict[type, Callable[..., torch.Tensor]] = {nn.Conv2d: nn.functional.conv2d, Conv2dSame: conv2d_same}


def find_pairs(model: nn.Module, images: torch.Tensor) -> list[Pair]:
    """The convolutions of a network whose output goes to a batch norm and nowhere else, each with its batch norm.

    `images` (N,C,H,W) of any N are passed through the network in evaluation mode, which leaves it as it was.
    """
    calls, made, found = Counter[nn.Module](), dict[Any, nn.Conv2d](), list[tuple[Any, nn.BatchNorm2d]]()

    def convolved(module: nn.Conv2d, _: object, output: torch.Tensor) -> None:
        calls[module] += 1
        made[output.grad_fn] = module

    def normalised(module: nn.BatchNorm2d, args: tuple[torch.Tensor]) -> None:
        calls[module] += 1
        found.append((args[0].grad_fn, module))
    hooks = [module.register_forward_pre_hook(normalised) for module in model.modules()
             if type(module) in (nn.BatchNorm2d, BatchNormAct2d) and module.track_running_stats]
    if not hooks:
        return []
    hooks += [module.register_forward_hook(convolved) for module in model.modules() if _is_plain(module)]
    try:
        with kept_modes(model), torch.enable_grad():
            result = model.eval()(images.detach().requires_grad_())
    finally:
        for hook in hooks:
            hook.remove()
    uses = _count_uses(result)
    return [(made[step], norm) for step, norm in found
            if step in made and uses[step] == calls[made[step]] == calls[norm] == 1]


def _is_plain(module: nn.Module) -> bool:
    """Whether a module is a convolution with a weight of its own (of none that is computed) and zeros around the image."""
    return type(module) in CONVOLVE and module.padding_mode == "zeros" and "weight" in dict(module.named_parameters())


def _count_uses(result: torch.Tensor) -> Counter:
    """How often each step of the computation of a result is used by a later one."""
    uses, seen, left = Counter[Any](), set[Any](), [result.grad_fn]
    while left:
        step = left.pop()
        if step is None or step in seen:
            continue
        seen.add(step)
        for earlier, _ in step.next_functions:
            uses[earlier] += 1
            left.append(earlier)
    return uses


@contextlib.contextmanager
def folded(pairs: Sequence[Pair]) -> Iterator[None]:
    """Compute pairs of `find_pairs` as one convolution each while the block runs, where the batch norm does not train."""
    frozen = [(conv, norm) for conv, norm in pairs if not norm.training]
    for conv, norm in frozen:
        conv.forward = _convolution(conv, norm)
        norm.forward = _rest(norm)
    try:
        yield
    finally:
        for module in (module for pair in frozen for module in pair):
            del module.forward


def _convolution(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Callable[[torch.Tensor], torch.Tensor]:
    def forward(x: torch.Tensor) -> torch.Tensor:
        scale = torch.rsqrt(norm.running_var + norm.eps) * (1 if norm.weight is None else norm.weight)
        bias = (0 if conv.bias is None else conv.bias) - norm.running_mean
        bias = bias * scale + (0 if norm.bias is None else norm.bias)
        weight = conv.weight * scale[:, None, None, None]
        return CONVOLVE[type(conv)](x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)
    return forward


def _rest(norm: nn.BatchNorm2d) -> Callable[[torch.Tensor], torch.Tensor]:
    """What a batch norm does besides: timm's have dropout and activation within them."""
    return (lambda x: norm.act(norm.drop(x))) if isinstance(norm, BatchNormAct2d) else (lambda x: x)
