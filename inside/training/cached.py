"""The input of the head, computed once and cached, with the dropout that comes before it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader

from inside.data.loading import TensorImages, make_loader
from inside.evaluation.features import kept_inputs, penultimate_features
from inside.files import atomic_write, fingerprint
from inside.models.surgery import classifier_name, freeze, kept_modes, set_train_mode
from inside.processes import first, rank
from inside.training.compatible import is_random

if TYPE_CHECKING:
    from inside.training.experiment import Experiment



@contextlib.contextmanager
def only_head_learns(model: nn.Module) -> Iterator[None]:
    """Freeze everything but the head while the block runs; afterwards, the same layers are trainable as before."""
    learning = [weight.requires_grad for weight in model.parameters()]
    freeze(model, "head")
    try:
        with kept_modes(model):
            yield
    finally:
        for weight, learns in zip(model.parameters(), learning, strict=True):
            weight.requires_grad_(learns)


class Tail(NamedTuple):
    """The module whose input is cached as features, and the layers that are trained on them."""

    start: str
    layers: nn.Sequential


@torch.no_grad()
def find_tail(model: nn.Module, image_size: int, channels: int = 3) -> Tail | None:
    """The layers from the first dropout active while the head is trained up to the head, or None if they are no chain.

    Everything before is frozen and gives the same for an image in every pass. That nothing else varies, and that the
    chain is what the network computes, is tested: for two random images and the same seed, the input of the head and the
    logits must be those of the network in training mode.
    """
    device, statistics = next(model.parameters()).device, [buffer.clone() for buffer in model.buffers()]
    images = torch.randn(2, channels, image_size, image_size, generator=torch.Generator().manual_seed(0)).to(device)
    head = model.get_submodule(classifier_name(model))
    with only_head_learns(model), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        set_train_mode(model)
        torch.manual_seed(0)
        with recorded_calls(model) as calls, kept_inputs(head) as wanted:
            wanted.append(model(images))
        for buffer, before in zip(model.buffers(), statistics, strict=True):
            buffer.copy_(before)  # batch norm without weights is not frozen, and has been updated
        tail = _chain(model, calls)
        if tail is None:
            return None
        model.eval()
        with kept_inputs(model.get_submodule(tail.start)) as kept:
            model(images)
        set_train_mode(tail.layers)
        torch.manual_seed(0)
        try:
            with kept_inputs(head) as given:
                given.append(tail.layers(kept[0].to(device)))
        except RuntimeError:  # shapes that do not fit: something happens between the layers
            return None
    return tail if all(map(_same, given, wanted)) else None


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors differ by no more than rounding, relative to their largest value."""
    return one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=1e-3 * float(other.abs().max()))


class Call(NamedTuple):
    """A call of a module: its name and the numbers of axes of input and output."""

    name: str
    axes_in: int
    axes_out: int


@contextlib.contextmanager
def recorded_calls(model: nn.Module) -> Iterator[list[Call]]:
    """The calls of a network's innermost modules, with the head as a whole, in order, while the block runs."""
    head, calls = classifier_name(model), []
    def note(name: str) -> Callable:
        return lambda module, inputs, output: calls.append(
            Call(name, getattr(inputs[0], "ndim", 0) if inputs else 0, getattr(output, "ndim", 0)))
    handles = [module.register_forward_hook(note(name)) for name, module in model.named_modules()
               if name == head or not (list(module.children()) or name.startswith(f"{head}."))]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _chain(model: nn.Module, calls: Sequence[Call]) -> Tail | None:
    """The modules called from the first active dropout to the head, with flattening wherever axes are lost."""
    head, names = classifier_name(model), [call.name for call in calls]
    if names.count(head) != 1:
        return None
    calls = calls[:names.index(head) + 1]
    dropouts = [place for place, call in enumerate(calls) if _drops(model.get_submodule(call.name))]
    start = min([*dropouts, len(calls) - 1])
    if names.count(names[start]) != 1:
        return None
    layers = []
    for before, call in zip([None, *calls[start:]], calls[start:], strict=False):
        layers += [nn.Flatten(1)] if before and before.axes_out > call.axes_in else []
        layers.append(model.get_submodule(call.name))
    return Tail(names[start], nn.Sequential(*layers))


def _drops(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.dropout._DropoutNd) and module.training and module.p > 0


def _head_loaders(experiment: Experiment, parts: Mapping[str, TensorImages]) -> tuple[DataLoader, DataLoader]:
    size = experiment.settings["BATCH_SIZE"]
    return make_loader(parts["train"], batch_size=size, shuffle=True), make_loader(parts["val"], batch_size=size)


def cached_features(experiment: Experiment, folder: Path) -> tuple[dict[str, TensorImages], float]:
    """The input of the `tail` for the images of train and val, not augmented, and the seconds of the pass over them.

    Training features are computed at the precision of training, validation features in float32. They are cached in
    `folder`; if they are there already for the same network and images (by their pixels), they and their seconds are
    read. Where several processes compute, rank 0 has them, and the others have none.
    """
    assert experiment.tail is not None, "features cannot be kept"
    s, parts, seconds = experiment.settings, {}, 0.0
    network = [s["ARCHITECTURE"], s["ARCHITECTURE_OPTIONS"], s["WEIGHTS"], s["SEED"] if is_random(s) else None,
               s["IMAGE_SIZE"], experiment.preprocessing, experiment.tail.start]
    for part in ("train", "val"):
        precision = experiment.precision if part == "train" else torch.float32
        loader = experiment.loader(part, learning=False)
        pixels = experiment.split.parts[part]["sha256"].tolist()
        file = folder / f"{fingerprint(network, str(precision), pixels, loader.dataset.targets)}.pt"
        kept = read_cached(file) if rank() == 0 else {}
        if not first(partial(_belongs, kept, loader.dataset.targets)):
            start = time.perf_counter()
            images = penultimate_features(experiment.model, loader, start=experiment.tail.start, precision=precision)
            kept = {"features": images.tensors[0], "targets": images.targets, "seconds": time.perf_counter() - start}
            first(partial(_write_cached, file, kept))
        if rank() == 0:
            parts[part] = TensorImages(kept["features"], kept["targets"])
            seconds += kept["seconds"]
    return parts, seconds


def _write_cached(file: Path, kept: dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as temporary:
        torch.save(kept, temporary)


def _belongs(kept: Mapping, targets: Sequence[int]) -> bool:
    """Whether what a file of features holds is that: features of images of these classes, and the seconds they took."""
    features, seconds = kept.get("features"), kept.get("seconds")
    return (isinstance(features, torch.Tensor) and len(features) == len(targets) and kept.get("targets") == list(targets)
            and isinstance(seconds, float))


def read_cached(file: Path) -> dict:
    """The tensors in a file of our own, or {} if there is none, or none that can be read, which is told. Runs no code."""
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
        if isinstance(found, dict):
            return found
        problem = "it holds something else"
    except FileNotFoundError:
        return {}
    except Exception as error:  # whatever bytes that are no tensors lead to
        problem = type(error).__name__
    print(f"{file.name} cannot be read ({problem}): it is made anew", flush=True)
    return {}
