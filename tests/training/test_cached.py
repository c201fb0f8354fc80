"""Tests of inside/training/cached.py."""

import contextlib

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from inside.data.loading import TensorImages, make_loader
from inside.data.sources import open_dataset
from inside.data.split import Split
from inside.data.table import decode_images
from inside.evaluation.features import penultimate_features
from inside.evaluation.predictions import predict
from inside.training.cached import cached_features, find_tail
from inside.training.experiment import Experiment
from inside.training.loop import Trainer
from shared.processes import at_once, needs_fork
from shared.settings import settings
from shared.training import CHAINS, Backbone


@pytest.mark.parametrize("name", CHAINS)
def test_where_the_kept_features_start(name):
    """Before the first dropout that acts while the head learns; nowhere, where the rest is more than a chain of layers."""
    forward, layers, start = CHAINS[name]
    model = Backbone(forward, **layers)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    state = torch.random.get_rng_state()
    tail = find_tail(model, 16)
    assert (tail and tail.start) == start
    assert model.training and all(weight.requires_grad for weight in model.parameters()) and torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    if tail:  # the tail shares the network's layers and gives its logits
        images = TensorImages(torch.randn(5, 3, 16, 16), [0] * 5)
        kept = penultimate_features(model, make_loader(images, batch_size=2), start=tail.start).tensors[0]
        with torch.no_grad():
            assert torch.allclose(tail.layers.eval()(kept), model.eval()(images.tensors[0]), atol=1e-6)


def test_features_are_kept_by_pixels_not_by_paths(make_folder, tmp_path):
    """An image that is replaced under its name gives other features; one that is only renamed does not."""
    folder = make_folder({"cats": 6, "dogs": 6})
    chosen = settings(STRATEGY="head", IMAGE_SIZE=16)
    def kept():
        found, _ = decode_images(open_dataset(str(folder)), cache=tmp_path / "cache")
        table = pd.concat([found.table.assign(split="train"), found.table.head(4).assign(split="val")])
        experiment = Experiment(chosen, Split(table, found.root, found.classes))
        features = cached_features(experiment, tmp_path / "features")[0]["train"].tensors[0]
        return features, penultimate_features(experiment.model, experiment.loader("train", learning=False)).tensors[0]
    first, _ = kept()
    Image.fromarray(np.full((10, 12, 3), 200, dtype=np.uint8)).save(folder / "cats" / "0.png")
    again, fresh = kept()
    assert torch.equal(again, fresh) and not torch.allclose(again[0], first[0]) and torch.equal(again[1:], first[1:])
    files = len(list((tmp_path / "features").iterdir()))
    folder.rename(tmp_path / "renamed")
    folder = tmp_path / "renamed"
    assert torch.equal(kept()[0], fresh) and len(list((tmp_path / "features").iterdir())) == files


@needs_fork
def test_processes_at_once_share_the_features(split, tmp_path):
    """Helpers of a search: whoever comes first writes, all have the same, and what is left is two whole files."""
    def features(number):
        parts, _ = cached_features(experiment, tmp_path / "features")
        return {part: kept.tensors[0].numpy() for part, kept in parts.items()}
    experiment = Experiment(settings(STRATEGY="head", IMAGE_SIZE=16), split)
    assert experiment.tail is not None
    found = at_once(features, 4)
    assert all(np.array_equal(other[part], found[0][part]) for other in found for part in ("train", "val"))
    assert [path.suffix for path in (tmp_path / "features").iterdir()] == [".pt"] * 2
    assert np.array_equal(features(0)["val"], found[0]["val"])


def test_features_of_a_shuffled_loader_keep_their_targets():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    dataset = TensorImages(torch.randn(30, 8), [index % 3 for index in range(30)])
    kept = penultimate_features(model, make_loader(dataset, batch_size=7, shuffle=True))
    with torch.no_grad():
        wanted = model[:2](dataset.tensors[0])
    for feature, target in zip(kept.tensors[0], kept.targets, strict=True):
        nearest = (wanted - feature).abs().sum(1).argmin()
        assert dataset.targets[nearest] == target and torch.allclose(wanted[nearest], feature, atol=1e-6)
    assert not any(module._forward_pre_hooks for module in model.modules())


class Seen(Exception):
    """Raised by a hook that has seen enough."""


def first_batch(model, work):
    """What arrives at a network's first call during `work`, which ends there."""
    seen = []
    def look(module, inputs):
        seen.append(inputs[0])
        raise Seen
    handle = model.register_forward_pre_hook(look)
    with pytest.raises(Seen):
        work()
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("chosen, kind", [("cuda", "meta"), ("cpu", "cpu")])
def test_everything_is_on_the_device_that_is_chosen(split, monkeypatch, chosen, kind):
    """A device without memory stands for one that this machine lacks: whatever is left on the processor is seen."""
    monkeypatch.setattr("inside.training.experiment.choose_device", lambda device: torch.device("meta" if device == "cuda" else device))
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: contextlib.nullcontext())  # which knows no such device
    experiment = Experiment(settings(DEVICE=chosen), split)
    model, loaders = experiment.model, experiment.loaders
    assert {tensor.device.type for tensor in (*model.parameters(), *model.buffers())} == {experiment.device.type} == {kind}
    trainer = Trainer(model, loaders["train"], experiment.recipe, 6, torch.float32)
    assert {trainer.class_weights.device.type, trainer.device.type} == {kind}
    for work in (lambda: trainer.train_epoch(loaders["train"], False), lambda: predict(model, loaders["val"]),
                 lambda: penultimate_features(model, loaders["val"])):
        assert first_batch(model, work).device.type == kind
