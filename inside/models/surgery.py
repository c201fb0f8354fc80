"""Changes to an existing network: its head, which layers are trained; and its cost."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from inside.names import check_strategy, read_head
from inside.text import did_you_mean


def reset_classifier(model: nn.Module, n_classes: int) -> None:
    """Replace the last layer, which has 1000 outputs, by a newly initialised one with `n_classes` outputs."""
    name = classifier_name(model)
    old = model.get_submodule(name)
    new = nn.Linear(old.in_features, n_classes) if isinstance(old, nn.Linear) else \
        nn.Conv2d(old.in_channels, n_classes, old.kernel_size)
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, new)


class Head(nn.Sequential):
    """A head of several layers, (N, features) -> (N, classes), that replaces the last layer of a network."""


def add_hidden_layer(model: nn.Module, head: str, dropout: float = 0.0) -> None:
    """Put `dropout` and a hidden layer with ReLU (see `read_head`) before the last layer, newly initialised."""
    width, inside = read_head(head)
    if not width and not dropout:
        return
    name = classifier_name(model)
    last = model.get_submodule(name)
    if not isinstance(last, nn.Linear):
        raise ValueError(f"HEAD = {head!r} and dropout need a network whose last layer is linear; {type(model).__name__} "
                         "ends in a convolution.")
    hidden = [nn.Linear(last.in_features, width), nn.ReLU(), nn.Dropout(inside)] if width else []
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, Head(
        nn.Dropout(dropout), *hidden, nn.Linear(width or last.in_features, last.out_features)))


def last_dropout(model: nn.Module) -> nn.Dropout | None:
    """The dropout whose output the last layer takes; None where another module comes before that."""
    leaves = [module for module in model.modules() if not list(module.children())]
    head = next(module for module in model.get_submodule(classifier_name(model)).modules() if module in leaves)
    before = [module for module in leaves[:leaves.index(head)] if not isinstance(module, nn.Identity | nn.Flatten)]
    return before[-1] if before and isinstance(before[-1], nn.Dropout) else None


def classifier_name(model: nn.Module) -> str:
    """The name of the module that gives the logits: a `Head`, or the last linear layer, or the last convolution."""
    heads = [name for name, module in model.named_modules() if isinstance(module, Head)]
    if heads:
        return heads[0]
    for kinds in (nn.Linear, nn.Conv2d):
        names = [name for name, module in model.named_modules() if isinstance(module, kinds)]
        if kinds is nn.Linear and len(names) and type(model).__name__ == "SqueezeNet":
            continue
        if names:
            return names[-1]
    raise ValueError(f"{type(model).__name__} has neither a linear layer nor a convolution that could serve as its head.")


def last_stage(model: nn.Module) -> str:
    """The first module of the last stage: the shortest tail of the trunk's blocks with at least two weight layers.

    The trunk is found by descending while one child holds at least 85% of the weight layers (convolutions,
    or linear layers in transformers). In ResNets that is layer4, in EfficientNets the last block group.
    """
    head = classifier_name(model)
    def weighty(module, prefix, kind):
        return [name for name, part in module.named_modules(prefix=prefix)
                if isinstance(part, kind) and name != head and not name.startswith(f"{head}.")]
    kind = max((nn.Conv2d, nn.Linear), key=lambda kind: len(weighty(model, "", kind)))
    trunk, prefix = model, ""
    while True:
        children = [(f"{prefix}.{name}" if prefix else name, child) for name, child in trunk.named_children()]
        counts = {name: len(weighty(child, name, kind)) for name, child in children}
        main = next((item for item in children if counts[item[0]] >= 0.85 * sum(counts.values())), None)
        if main is None or not list(main[1].named_children()):
            break
        prefix, trunk = main
    layers = 0
    for name, _ in reversed(children):
        layers += counts[name]
        if layers >= 2 and counts[name]:
            return name
    return head


def freeze(model: nn.Module, strategy: str) -> str:
    """Make part of the network trainable; returns the name of the first trainable module ("" for all).

    "head": the last layer; "last_stage": also the last stage; "full": everything; "from_layer:<name>": that module and
    all that are defined after it. Raises ValueError if the module does not exist.
    """
    check_strategy(strategy)
    first = {"full": "", "head": classifier_name(model)}.get(strategy, "")
    if strategy == "last_stage":
        first = last_stage(model)
    elif strategy.startswith("from_layer:"):
        first = strategy.removeprefix("from_layer:")
        names = [name for name, _ in model.named_modules() if name]
        if first not in names:
            raise ValueError(f"STRATEGY = {strategy!r}: the network has no module {first!r}; {did_you_mean(first, names)}")
    train = False
    for name, parameter in model.named_parameters():
        train = train or not first or name == first or name.startswith(f"{first}.")
        parameter.requires_grad_(train)
    if not train:
        raise ValueError(f"STRATEGY = {strategy!r}: there are no weights in {first!r} or after it; name an earlier module.")
    return first


def set_train_mode(model: nn.Module, batch_norm: str = "update") -> None:
    """Training mode, except for modules whose weights are all frozen: their batch norm and dropout stay in evaluation mode.

    With batch_norm "frozen", every batch norm uses its stored statistics, while its scale and shift are trained.
    """
    model.train()
    for module in model.modules():
        weights = list(module.parameters())
        still = weights and not any(weight.requires_grad for weight in weights)
        if still or batch_norm == "frozen" and isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def updates_batch_norm(model: nn.Module, batch_norm: str) -> bool:
    """Whether training in this mode of `set_train_mode` changes statistics of batch norm."""
    with kept_modes(model):
        set_train_mode(model, batch_norm)
        return any(isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training for module in model.modules())


@contextlib.contextmanager
def kept_modes(model: nn.Module) -> Iterator[None]:
    """After the block, each module is in training or evaluation mode as before."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def without_gradients(model: nn.Module) -> Iterator[None]:
    """In the block no weight asks for a gradient; after it, those that did before."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    try:
        for weight in weights:
            weight.requires_grad_(False)
        yield
    finally:
        for weight in weights:
            weight.requires_grad_()


def first_parameter(model: nn.Module) -> torch.Tensor:
    """The first weight of a network, for its device and type; a number on the CPU where it has none."""
    return next(model.parameters(), torch.zeros(()))


def empty_image(model: nn.Module, size: tuple[int, ...], channels: int = 3) -> torch.Tensor:
    """Zeros (1, channels, height, width) of a network's type and on its device."""
    like = first_parameter(model)
    return torch.zeros(1, channels, *size, dtype=like.dtype, device=like.device)


def count_costs(model: nn.Module, image_size: int, channels: int = 3) -> dict[str, int]:
    """Parameters (total, trainable) and multiply-accumulates for one image of image_size × image_size.

    Attention runs written out meanwhile: its products in one fused step would not be counted.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with kept_modes(model), torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), \
                FlopCounterMode(display=False) as counter:
            model.eval()(empty_image(model, (image_size, image_size), channels))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return {"parameters": sum(weight.numel() for weight in model.parameters()),
            "trainable": sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
            "macs": counter.get_total_flops() // 2}
