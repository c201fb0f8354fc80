"""Feature maps, what becomes of them, and what notebook 02 says of them: known answers, brute force, limits."""

import copy
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from inside.attribution.as_it_is import AsItIs
from inside.attribution.cam import class_activation_maps
from inside.attribution.checks import OcclusionCheck, RandomisationCheck
from inside.attribution.guided import strongest_neurons
from inside.attribution.inputs import feature_maps_of
from inside.attribution.objects import ObjectsFound
from inside.attribution.report import ExampleMaps
from inside.data.loading import ImageDataset, make_loader
from inside.data.sources import ImageSet
from inside.data.split import Split
from inside.data.transforms import make_transform
from inside.feature_maps.frozen import frozen_layers
from inside.feature_maps.hooks import _pool_and_count, capture, eval_mode, only_tensor
from inside.feature_maps.scenario_names import (
    STAND_INS,
    is_stand_in,
    mark_frozen,
    scenario_style,
    scenario_title,
)
from inside.feature_maps.scenarios import (
    Scenario,
    network_stamp,
    open_scenarios,
    other_images,
    own_images,
    pick_images,
    random_draws,
    random_seeds,
    scenario_statistics,
)
from inside.feature_maps.share_plots import plot_non_positive_shares
from inside.feature_maps.share_sentences import (
    describe_channel_figure,
    describe_channels,
    describe_class_figure,
    describe_classes,
    describe_counts,
    describe_dead,
    describe_share_claims,
    describe_share_figure,
    describe_shares,
)
from inside.feature_maps.shares import (
    SHARE_COLUMNS,
    channel_share_table,
    class_share_table,
    count_twice,
    dead_overview,
    over_draws,
    share_overview,
    share_results,
    share_table,
)
from inside.feature_maps.statistics import LayerStatistics, collect_statistics
from inside.feature_maps.tracing import Following, channel_axes
from inside.files import ROOT, RunFolder, one_at_a_time
from inside.models.build import build_network
from inside.models.saved import SavedModel, save_network
from inside.models.scratch import build_from_scratch
from inside.models.surgery import freeze
from inside.text import percent

BOOK = ROOT / "notebooks" / "02_feature_map_statistics.ipynb"


def noise(n=3, size=64, seed=0, channels=3):
    return torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


def outputs_of(model, images, names):
    """name -> copies of the outputs of a module, call by call."""
    kept = {name: [] for name in names}
    with eval_mode(model), torch.inference_mode(), capture(
            model, names, lambda name, output: kept[name].append(only_tensor(name, output).clone())):
        model(images.contiguous(memory_format=torch.channels_last))
    return kept


def swin():
    return torchvision.models.SwinTransformer([4, 4], 8, [2, 1], [1, 1], [4, 4], num_classes=3)


def convnext():
    block = torchvision.models.convnext.CNBlockConfig
    return torchvision.models.ConvNeXt([block(8, 12, 2), block(12, None, 1)], num_classes=3)


def vit():
    return torchvision.models.VisionTransformer(32, 16, 2, 2, 8, 16, num_classes=3)


class Tokens(nn.Module):
    """Convolution, tokens with the channels last, then back: all that moves the axis of the channels."""

    def __init__(self):
        super().__init__()
        self.conv, self.tokens, self.norm, self.one = nn.Conv2d(3, 6, 3), nn.Identity(), nn.LayerNorm(6), nn.Identity()
        self.act, self.back, self.line = nn.GELU(), nn.Identity(), nn.Conv1d(6, 4, 1)

    def forward(self, x):
        x = self.conv(x)
        n, c, h, w = x.shape
        x = self.one(self.norm(self.tokens(x.flatten(2).transpose(-2, -1))))
        x = self.act(x.reshape(n, h, w, c))
        x = self.back(x.movedim(3, 1) * 2)
        return self.line(x.flatten(start_dim=2)).mean(-1)


AXES = {
    "swin": (swin, {"features.0.0": 1, "features.0.1": -1, "features.1.0": -1, "features.1.0.mlp": -1, "features.1.0.mlp.1": -1,
                    "features.1.0.attn": -1, "features.1.0.stochastic_depth": -1, "features.2": -1, "permute": 1, "avgpool": 1}),
    "convnext": (convnext, {"features.0": 1, "features.1.0.block.0": 1, "features.1.0.block.1": -1, "features.1.0.block.3": -1,
                            "features.1.0.block.4": -1, "features.1.0.block.6": 1, "features.1.0.block": 1, "features.1.0": 1}),
    "vit": (vit, {"conv_proj": 1, "encoder.layers.encoder_layer_0.mlp.1": -1, "encoder": -1}),
    "tokens": (Tokens, {"conv": 1, "tokens": -1, "one": -1, "act": -1, "back": 1, "line": 1}),
}


@pytest.mark.parametrize("name", AXES)
def test_channels_are_found_by_how_a_tensor_was_made(name):
    make, axes = AXES[name]
    torch.manual_seed(0)
    model = make().eval()
    assert channel_axes(model, noise(2, 32), list(axes)) == axes
    images = noise(3, 32)
    found, stored = collect_statistics(model, [images], list(axes)), outputs_of(model, images, list(axes))
    for layer, axis in axes.items():
        maps = torch.cat([output.movedim(axis, 1).flatten(2).double() for output in stored[layer]], 1)  # every call
        assert found[layer].channels == maps.shape[1], layer
        np.testing.assert_allclose(found[layer].features, maps.mean(2), rtol=1e-4, atol=1e-6)
        assert np.array_equal(found[layer].counts.total[0], (maps <= 0).sum((0, 2))), layer


def test_explanations_find_the_channels_inside_swin_and_convnext():
    for make, layer, channels in ((swin, "features.1.0.mlp.1", 32), (convnext, "features.1.0.block.4", 32)):
        torch.manual_seed(0)
        model, image = make().eval(), noise(1, 32)[0]
        stored = outputs_of(model, image[None], [layer])[layer][0]
        maps = feature_maps_of(model, image, layer)
        assert maps.shape == (channels, *stored.shape[1:3])
        np.testing.assert_allclose(maps, stored[0].permute(2, 0, 1), rtol=1e-4, atol=1e-5)
        _, values, units = strongest_neurons(model, [image[None], image[None]], layer)
        assert values.shape == (2, channels)
        np.testing.assert_allclose(values[1], stored.flatten(1, 2).amax(1)[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(stored.flatten()[units[1]], values[1], rtol=1e-4, atol=1e-5)
        assert class_activation_maps(model, image, 0, layer=layer).maps.shape[1:] == stored.shape[1:3]


class Functional(nn.Module):
    """Activations that are functions, in place and not, one with another consumer, one by hand."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d, self.e = (nn.Conv2d(3 if i == 0 else 6, 6, 3, padding=1) for i in range(5))
        self.norm = nn.BatchNorm2d(6)

    def forward(self, x):
        x = F.relu_(self.norm(self.a(x)))
        x = F.dropout(self.b(x), 0.5, self.training).clamp(min=0)
        skip = self.c(x)
        x = torch.relu(skip) + skip
        y = self.d(x)
        x = y * torch.sigmoid(y)
        return F.gelu(self.e(x)).mean((2, 3))


# network -> its layers: (the module whose output is the activation's, its call; the axis of the channels), or a word of the reason
DEAD = {
    "resnet18": (torchvision.models.resnet18, {
        "conv1": ("relu", 0, 1), "bn1": ("relu", 0, 1), "relu": ("relu", 0, 1), "layer1.0.conv1": ("layer1.0.relu", 0, 1),
        "layer1.0.conv2": "an addition", "layer1.0.bn2": "an addition", "layer2.0.downsample.0": "an addition",
        "layer1.0": ("layer1.0.relu", 1, 1), "maxpool": "the next convolution", "avgpool": "the next linear layer", "fc": "nothing"}),
    "efficientnet_lite0": (lambda: timm.create_model("tf_efficientnet_lite0"), {
        "conv_stem": ("bn1.act", 0, 1), "blocks.1.1.conv_dw": ("blocks.1.1.bn2.act", 0, 1), "blocks.1.1.bn1": ("blocks.1.1.bn1", 0, 1),
        "conv_head": ("bn2", 0, 1), "blocks.1.1.conv_pwl": "an addition", "blocks.1.0.bn3": "the next convolution"}),
    "vgg11": (lambda: torchvision.models.vgg11(init_weights=False, num_classes=4), {
        "features.0": ("features.1", 0, 1), "features.1": ("features.1", 0, 1), "features.2": "the next convolution",
        "classifier.0": ("classifier.1", 0, 1)}),
    "vgg11_bn": (lambda: torchvision.models.vgg11_bn(init_weights=False, num_classes=4), {
        "features.0": ("features.2", 0, 1), "features.1": ("features.2", 0, 1), "features.2": ("features.2", 0, 1)}),
    "convnext": (convnext, {"features.1.0.block.3": ("features.1.0.block.4", 0, -1), "features.1.0.block.0": "the next linear layer",
                            "features.1.0.block.5": "a multiplication"}),
    "swin": (swin, {"features.1.0.mlp.0": ("features.1.0.mlp.1", 0, -1), "features.1.0.mlp.2": ("features.1.0.mlp.1", 0, -1),
                    "features.1.0.mlp": "an addition"}),
    "vit": (vit, {"encoder.layers.encoder_layer_0.mlp.0": ("encoder.layers.encoder_layer_0.mlp.1", 0, -1),
                  "encoder.layers.encoder_layer_0": "an attention", "conv_proj": "a concatenation"}),
    "convnet5": (lambda: build_from_scratch("convnet5", 4, 32, {}), {
        "blocks.0.conv": ("blocks.0.activation", 0, 1), "blocks.0.norm": ("blocks.0.activation", 0, 1),
        "dense": ("activation", 0, 1), "dropout": ("activation", 0, 1), "blocks.0": "the next convolution"}),
    "mlp": (lambda: build_from_scratch("mlp", 4, 32, {"batch_norm": True}), {
        "layers.0.linear": ("layers.0.activation", 0, 1), "layers.0": ("layers.0.activation", 0, 1), "output": "nothing"}),
}


def scramble(model):
    """Batch norm that moves the zero, so that what is dead before it can fire after it, and the other way round."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.bias.data = torch.randn(module.bias.shape, generator=generator) - 0.5
    return model.eval()


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.soak) if name.startswith("vgg") else name for name in DEAD])
def test_dead_channels_equal_brute_force_over_stored_activations(name):
    make, layers = DEAD[name]
    torch.manual_seed(0)
    model, images = scramble(make()), noise(4, 32)
    found = collect_statistics(model, [images[:2], images[2:]], list(layers))
    named = list({where[0] for where in layers.values() if not isinstance(where, str)})
    stored = [outputs_of(model, part, named) for part in (images[:2], images[2:])]
    for layer, where in layers.items():
        state = found[layer]
        if isinstance(where, str):
            assert state.dead_channels is None and where in state.after.reason, (layer, state.after)
            continue
        module, call, axis = where
        fires = sum((part[module][call].movedim(axis, 1).flatten(2) > 0).sum((0, 2)) for part in stored) if \
            stored[0][module][call].ndim > 2 else sum((part[module][call] > 0).sum(0) for part in stored)
        if layer == "layer1.0":
            assert state.dead_channels.tolist() == torch.nonzero(fires == 0).flatten().tolist()
        elif layer != "relu" and state.calls == 1:
            assert state.dead_channels.tolist() == torch.nonzero(fires == 0).flatten().tolist(), layer
        assert state.after.activation and not state.after.reason


def test_dead_before_batch_norm_and_after_it_are_not_the_same():
    """One channel of each kind: dead before only, dead after only, at both, at neither."""
    model = nn.Sequential(nn.Conv2d(1, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 1, 1)).eval()
    model[0].weight.data = torch.tensor([-1.0, 1.0, -1.0, 1.0]).view(4, 1, 1, 1)
    model[1].bias.data = torch.tensor([5.0, -5.0, 0.0, 0.0])
    images = torch.rand(3, 1, 4, 4) + 0.1
    found = collect_statistics(model, [images], ["0", "1", "2", "3"])
    assert found["0"].counts.dead_channels.tolist() == [0, 2]  # of the map itself
    assert [found[layer].dead_channels.tolist() for layer in ("0", "1", "2")] == [[1, 2]] * 3
    assert found["0"].after.activation == "relu" and found["3"].dead_channels is None


def test_dead_channels_of_activations_that_are_functions():
    torch.manual_seed(1)
    model, images = scramble(Functional()), noise(2, 12)
    found = collect_statistics(model, [images], list("abcde"))
    with torch.no_grad():
        a = F.relu(model.norm(model.a(images)))
        b = model.b(a).clamp(min=0)
        e_input = (y := model.d(torch.relu(model.c(b)) + model.c(b))) * torch.sigmoid(y)
        e = F.gelu(model.e(e_input))
    for layer, after, word in (("a", a, "relu"), ("b", b, "clamp(min=0)"), ("e", e, "gelu")):
        assert found[layer].dead_channels.tolist() == torch.nonzero((after > 0).sum((0, 2, 3)) == 0).flatten().tolist()
        assert found[layer].after.activation == word
    assert found["c"].after.reason == "no activation follows alone: its output goes into an addition (a shortcut), too"
    assert found["d"].dead_channels is None and "multiplication" in found["d"].after.reason


def test_dead_channels_of_a_module_called_twice_and_of_numbers_that_are_none():
    torch.manual_seed(0)
    found = collect_statistics(torchvision.models.resnet18(), [noise(2)], ["layer1.0.relu"])["layer1.0.relu"]
    assert found.channels == 128 and found.after.fires.shape == (128,)  # both calls, side by side
    x = torch.tensor([[-1.0, np.nan, np.nan, 2.0], [-3.0, np.nan, -1.0, np.nan]])[:, :, None, None]
    model = nn.Sequential(nn.Identity(), nn.ReLU())
    for layer in ("0", "1"):
        state = collect_statistics(model, [x], [layer])[layer]
        assert state.dead_channels.tolist() == [0, 2]  # the second never had a number
    glu = nn.Sequential(nn.Conv2d(4, 6, 1), nn.GLU(1))
    assert "regroups" in collect_statistics(glu, [x.nan_to_num()], ["0"])["0"].after.reason
    x = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    assert "regroups" in collect_statistics(Twice(), [x], ["conv"])["conv"].after.reason


class Twice(nn.Module):
    """A convolution whose output goes into an activation as it is, and into another one after it is flattened."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 1)

    def forward(self, x):
        x = self.conv(x)
        return nn.functional.relu(x).mean() + nn.functional.relu(x.flatten(1)).mean()


def test_dead_channels_of_parts_merge_and_are_kept(tmp_path):
    torch.manual_seed(0)
    model, layers, images = scramble(torchvision.models.resnet18()), ["layer1.0.conv1", "layer1.0.conv2"], noise(6, 32)
    whole = collect_statistics(model, [images], layers)
    parts = [collect_statistics(model, [images[i:i + 2]], layers) for i in (0, 2, 4)]
    for layer, state in whole.items():
        merged = parts[0][layer]
        merged.merge(parts[1][layer])
        merged.merge(parts[2][layer])
        np.savez(tmp_path / "kept.npz", **state.arrays())
        with np.load(tmp_path / "kept.npz") as stored:
            again = LayerStatistics.of_arrays(layer, stored, 32)
        for other in (merged, again):
            assert (other.after.activation, other.after.reason) == (state.after.activation, state.after.reason)
            assert other.dead_channels is state.dead_channels is None or other.dead_channels.tolist() == state.dead_channels.tolist()
    fires = [part["layer1.0.conv1"].after.fires for part in parts[1:]]
    batches = collect_statistics(model, images.split(2), layers)  # channels that fired in one are not looked at in the next
    for layer, state in whole.items():
        assert np.array_equal(batches[layer].after.fires, state.after.fires)
    assert not np.array_equal(*fires)  # so that merging has something to do


def test_counting_twice_tells_a_wrong_counter(monkeypatch):
    torch.manual_seed(0)
    model, layers = torchvision.models.resnet18(), ["conv1", "layer1.0.bn2", "layer1.0.relu"]
    table = count_twice(model, noise(2), layers).set_index("layer")
    assert table["by_hook"].equals(table["by_hand"])
    stored = outputs_of(model, noise(2), layers)
    assert table["values"].to_dict() == {layer: sum(maps.numel() for maps in stored[layer]) for layer in layers}
    right = _pool_and_count

    def wrong(x, axis):
        mean, count, nan = right(x, axis)
        return mean, (x < 0).sum(axis).numpy(), nan
    monkeypatch.setattr("inside.feature_maps.statistics._pool_and_count", wrong)
    table = count_twice(model, noise(2), layers).set_index("layer")
    assert (table["by_hook"] != table["by_hand"])["layer1.0.relu"]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(0, 30))
def test_random_seeds_are_none_that_the_run_uses(seed, n):
    seeds = random_seeds(seed, n)
    assert len(set(seeds)) == n == len(seeds) and all(0 <= drawn < 2**31 for drawn in seeds)
    assert not set(seeds) & set(range(seed, seed + 101))
    assert random_seeds(seed, n + 2)[:n] == seeds and seeds != random_seeds(seed + 1, n) or not n


def start_of_a_run(folder, *, weights="random", architecture="timm/test_resnet", **changes):
    """A run that holds the network as it is before the first step, from SEED = 0."""
    run = RunFolder(str(folder / "run"))
    saved = SavedModel(architecture=architecture, classes=["a", "b", "c"], image_size=32, settings={"WEIGHTS": weights},
                       preprocessing={}, split="", root=str(folder), **changes)
    model, saved.preprocessing = build_network(**saved.kind, weights=weights, seed=0)
    save_network(run, model.state_dict(), saved)
    return run, model


def own_set(make_folder, sizes, name="own"):
    return other_images(str(make_folder(sizes, name)), 1000)


def opened(run, own, stand_in="digits", **options):
    return open_scenarios(run, own, **{"architecture": "timm/test_resnet", "n_images": 4, "imagenet_val": stand_in,
                                          "cifar10": stand_in, "device": torch.device("cpu"), "map_size": 32} | options)[0]


def test_images_have_a_seed_of_their_own(tmp_path, make_folder):
    """With another seed and the same image_seed, all scenarios see the same images through other random weights."""
    run, own = RunFolder(str(tmp_path / "run")), own_set(make_folder, {"a": 20, "b": 20})
    found = [opened(run, own, seed=seed, image_seed=image_seed) for seed, image_seed in ((0, None), (1, 0), (1, None))]
    paths = [{name: scenario.images.table["path"].tolist() for name, scenario in scenarios.items()} for scenarios in found]
    assert paths[0] == paths[1] != paths[2]
    assert found[0]["random_own"].stamp != found[1]["random_own"].stamp == found[2]["random_own"].stamp


def test_the_random_baseline_is_not_the_start_of_the_run(tmp_path, make_folder):
    run, start = start_of_a_run(tmp_path)
    scenarios = opened(run, own_set(make_folder, {"a": 2, "b": 2, "c": 2}), draws=4)
    draws = random_draws(scenarios)
    assert [scenario.name for scenario in draws] == ["random_own", "random_own_draw2", "random_own_draw3", "random_own_draw4"]
    networks = [start, scenarios["finetuned_own"].model, *(scenario.model for scenario in draws)]
    weights = np.stack([torch.cat([p.flatten() for name, p in net.named_parameters() if p.ndim > 1]).detach().numpy() for net in networks])
    together = np.corrcoef(weights)
    assert together[0, 1] == pytest.approx(1)  # the run has not moved from its start
    assert np.abs(together[2:, 0]).max() < 0.1 and np.abs(together[2:, 2:] - np.eye(4)).max() < 0.1
    assert not any(net.training for net in networks[2:])


def test_draws_are_the_same_again_and_take_no_memory_before_they_are_used(tmp_path, make_folder, monkeypatch):
    run, _ = start_of_a_run(tmp_path)
    own, built = own_set(make_folder, {"a": 2, "b": 2}), []
    right = build_network
    monkeypatch.setattr("inside.feature_maps.scenarios.build_network", lambda *args, **kwargs: built.append(kwargs["weights"]) or right(*args, **kwargs))
    scenarios = opened(run, own, draws=30)
    assert len(built) <= 4 and len(random_draws(scenarios)) == 30
    again = opened(run, own, draws=3)
    for name in ("random_own", "random_own_draw3"):
        assert network_stamp(scenarios[name].model) == network_stamp(again[name].model)


def measure(run, scenario, layers=("blocks.0.conv", "blocks.0.activation")):
    return scenario_statistics(run, scenario, list(layers), map_size=32, batch_size=4)


@pytest.mark.parametrize("before, after", [({"activation": "ReLU"}, {"activation": "ELU"}), ({"filters": 4}, {"filters": [4, 4, 4, 4, 4]})])
def test_statistics_of_random_weights_go_stale_with_the_options_of_the_architecture(tmp_path, make_folder, before, after):
    own = own_set(make_folder, {"a": 3, "b": 3})
    found = []
    for options in (before, after, before):
        run, _ = start_of_a_run(tmp_path, architecture="convnet5", options=options)
        layers = ["blocks.0.activation", "blocks.1.conv"]
        scenario = opened(run, own)["random_own"]
        found.append(np.hstack([state.features for state in measure(run, scenario, layers).values()]))
        by_hand = collect_statistics(scenario.model, make_loader(ImageDataset(
            scenario.images.table, own.root, own.classes, make_transform(scenario.preprocessing, 32)), batch_size=4), layers)
        np.testing.assert_allclose(found[-1], np.hstack([state.features for state in by_hand.values()]), rtol=1e-5, atol=1e-7)
    assert found[0].shape != found[1].shape or not np.allclose(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_statistics_are_kept_draw_by_draw_and_measured_once(tmp_path, make_folder, monkeypatch):
    run, _ = start_of_a_run(tmp_path, architecture="convnet5", options={"filters": 4})
    scenarios = opened(run, own_set(make_folder, {"a": 3, "b": 3}), draws=3)
    first = {scenario.name: measure(run, scenario) for scenario in random_draws(scenarios)}
    assert {path.name for path in run.path("statistics").iterdir()} == {
        "random_own.npz", "random_own_draw2.npz", "random_own_draw3.npz"}
    monkeypatch.setattr("inside.feature_maps.scenarios.collect_statistics", None)
    for scenario in random_draws(scenarios):
        again = measure(run, scenario)
        assert np.array_equal(again["blocks.0.conv"].features, first[scenario.name]["blocks.0.conv"].features)
    features = [by_layer["blocks.0.conv"].features for by_layer in first.values()]
    assert not np.allclose(features[0], features[1]) and not np.allclose(features[1], features[2])


def test_notebooks_that_run_at_the_same_time_measure_once(tmp_path, make_folder, monkeypatch):
    run, _ = start_of_a_run(tmp_path, architecture="convnet5", options={"filters": 4})
    scenario, measured = opened(run, own_set(make_folder, {"a": 3, "b": 3}))["random_own"], []
    monkeypatch.setattr("inside.feature_maps.scenarios.collect_statistics", lambda *args: (
        time.sleep(0.5), measured.append(args), collect_statistics(*args))[-1])
    with ThreadPoolExecutor(2) as pool:
        found = [by_layer["blocks.0.conv"].features for by_layer in pool.map(lambda number: measure(run, scenario), range(2))]
    assert len(measured) == 1 and np.array_equal(*found)
    assert [path.name for path in run.path("statistics").iterdir()] == ["random_own.npz"]  # locks are elsewhere


def test_a_notebook_with_other_layers_that_comes_just_after_disturbs_nothing(tmp_path, make_folder, monkeypatch):
    run, _ = start_of_a_run(tmp_path, architecture="convnet5", options={"filters": 4})
    scenario, right = opened(run, own_set(make_folder, {"a": 3, "b": 3}))["random_own"], one_at_a_time

    @contextmanager
    def then_the_other(*paths):
        with right(*paths):
            yield
        monkeypatch.setattr("inside.feature_maps.scenarios.one_at_a_time", right)
        measure(run, scenario, ["blocks.1.conv"])
    monkeypatch.setattr("inside.feature_maps.scenarios.one_at_a_time", then_the_other)
    assert list(measure(run, scenario, ["blocks.0.conv"])) == ["blocks.0.conv"]


def pair(model, change=lambda tuned: None):
    """Scenarios of an initial network and of one that differs from it by `change`."""
    tuned = copy.deepcopy(model)
    with torch.no_grad():
        change(tuned)
    images = ImageSet("", Path(), pd.DataFrame(), "")
    return {name: Scenario(name, net.eval(), {"channels": 3}, images, "") for name, net in
            (("finetuned_own", tuned), ("imagenet_own", model))}


def trained(strategy):
    def change(model):
        freeze(model, strategy)
        for weight in model.parameters():
            weight.add_(1e-6 * weight.requires_grad)
    return change


RESNET = ["conv1", "bn1", "layer1.0.conv1", "layer3.1.bn2", "layer4.0.conv1", "layer4.1", "fc"]


@pytest.mark.parametrize("strategy, frozen", [("head", 6), ("last_stage", 4), ("from_layer:layer3.1.conv2", 3), ("full", 0)])
def test_layers_that_a_strategy_leaves_out_are_frozen(strategy, frozen):
    torch.manual_seed(0)
    scenarios = pair(torchvision.models.resnet18(), trained(strategy))
    for scenario in scenarios.values():
        for weight in scenario.model.parameters():
            weight.requires_grad_(True)  # the networks are loaded from files: this mark is not there any more
    assert frozen_layers(scenarios, RESNET) == RESNET[:frozen]
    features = [collect_statistics(scenario.model, [noise(2)], RESNET) for scenario in scenarios.values()]
    same = [layer for layer in RESNET if np.array_equal(features[0][layer].features, features[1][layer].features)]
    assert same == RESNET[:frozen]


def test_buffers_tokens_and_parts_that_are_never_called_count():
    torch.manual_seed(0)
    moved = pair(torchvision.models.resnet18(), lambda model: model.layer1[0].bn1.running_mean.add_(0.1))
    assert frozen_layers(moved, RESNET) == ["conv1", "bn1", "layer1.0.conv1"]
    layers = ["conv_proj", "encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_1"]
    attention = pair(vit(), lambda model: model.encoder.layers[1].self_attention.out_proj.weight.add_(0.1))
    assert frozen_layers(attention, layers) == layers[:2]  # its weights are used, but the module is never called
    assert frozen_layers(pair(vit(), lambda model: model.class_token.add_(0.1)), layers) == []
    assert frozen_layers(pair(vit()), layers) == layers
    assert frozen_layers({"imagenet_own": None}, layers) == []


def test_a_layer_defined_after_what_runs_before_it():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.late, self.early = nn.Conv2d(4, 4, 1), nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return self.late(self.early(x)).mean((2, 3))
    assert frozen_layers(pair(Backwards(), lambda model: model.early.bias.add_(1)), ["late", "early"]) == []
    assert frozen_layers(pair(Backwards(), lambda model: model.late.bias.add_(1)), ["late", "early"]) == ["early"]


def test_frozen_layers_and_draws_are_marked_in_figures_and_tables():
    rows = [(scenario, layer, draw, 0.4 + 0.1 * draw) for scenario, draws in (("imagenet_own", 1), ("random_own", 3))
            for layer in ("first", "last") for draw in range(1, draws + 1)]
    shares = pd.DataFrame(rows, columns=["scenario", "layer", "draw", "non_positive_share"])
    ax = plot_non_positive_shares(shares, frozen=["first"])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["first\n(frozen)", "last"]
    assert [patch.get_x() for patch in ax.patches] == [-0.5]  # a band behind the frozen layer
    np.testing.assert_allclose(ax.lines[1].get_ydata(), 0.6)
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert len(ax.collections) == 1 and (band.min(), band.max()) == pytest.approx((0.5, 0.7))
    told = [text.get_text().replace("\n", " ") for text in ax.texts]
    assert "mean and range" in told[1] and "mean" not in told[0]
    table = mark_frozen(share_overview(shares), ["first"]).set_index("layer")
    assert table.loc["first (frozen)"].to_dict() == pytest.approx(
        {"imagenet_own": 0.5, "random_own, mean of 3 draws": 0.6, "random_own, lowest": 0.5, "random_own, highest": 0.7})
    told = describe_share_figure(shares, ["first"])
    assert "first (frozen), last" in told and "in the network with random weights, mean and range of 3 draws: 0.60 (0.50 to 0.70), 0.60" in told


def test_stand_ins_are_known_and_marked():
    for name in ("imagenet_photo_patches", "imagenet_digits", "imagenet_demo", "imagenet_digits_32px", "digits"):
        assert is_stand_in(name) and scenario_title(name) == f"{name} (stand-in)"
    for name in ("imagenet_own", "imagenet_own_32px", "imagenet_imagenet", "imagenet_cifar10", "random_own", "finetuned_own"):
        assert not is_stand_in(name) and scenario_title(name) == name
    assert all("stand-in" in scenario_style(f"imagenet_{name}")["label"] for name in STAND_INS)


def state_of(counts, *, layer="x", values=None, dead=None, reason="", labels=None):
    """Statistics of one layer: counts (N,C) of values <= 0 among `values` at each position."""
    state = LayerStatistics(layer, 1)
    counts = np.asarray(counts)
    state.counts.update(counts, values or int(counts.max()), labels=labels)
    fires = None if dead is None else ~np.isin(np.arange(counts.shape[1]), dead)
    state.after = Following("relu" if dead is not None else "", fires, reason)
    return state


def test_share_table_holds_the_contract_and_the_draws():
    statistics = {"imagenet_own": {"x": state_of([[1, 4], [3, 4]], values=4, dead=[1])},
                  "random_own": {"x": state_of([[0, 0], [0, 4]], values=4, dead=[])},
                  "random_own_draw2": {"x": state_of([[4, 4], [4, 4]], values=4, dead=[0, 1])}}
    table = share_table(statistics)
    assert list(table)[:8] == ["scenario", "layer", "draw", "channels", "images", "values", "non_positive", "non_positive_share"]
    assert table[SHARE_COLUMNS].to_numpy().tolist() == [
        ["imagenet_own", "x", 1, 2, 2, 16, 12, 0.75], ["random_own", "x", 1, 2, 2, 16, 4, 0.25], ["random_own", "x", 2, 2, 2, 16, 16, 1.0]]
    assert table["dead_channels"].tolist() == [1, 0, 2]
    found = json.loads(json.dumps(share_results(table), default=lambda value: value.item()))
    assert found["imagenet_own"]["x"] == {"channels": 2, "images": 2, "non_positive_share": 0.75, "dead_channels": 1, "activation": "relu"}
    assert found["random_own"]["x"] == {"channels": 2, "images": 2, "non_positive_share": 0.25, "dead_channels": 0, "activation": "relu",
                                        "draws": {"n": 2, "mean": 0.625, "low": 0.25, "high": 1.0}}
    nothing = share_table({"imagenet_own": {"x": state_of([[1]], reason="no activation follows: why")}})
    assert share_results(nothing)["imagenet_own"]["x"]["dead_channels"] is None
    assert share_results(nothing)["imagenet_own"]["x"]["dead_channels_reason"] == "no activation follows: why"
    assert dead_overview(nothing)["counted"].tolist() == ["no activation follows: why"]
    assert dead_overview(table)["counted"].tolist() == ["after relu"]
    assert set(channel_share_table(statistics)["scenario"]) == {"imagenet_own", "random_own"}


def test_class_shares_have_the_classes_of_the_images_that_were_measured():
    state = state_of([[4, 4], [0, 0], [2, 2]], values=4, labels=[1, 0, 1])
    table = class_share_table({"x": state}, ["bear", "cat"])
    assert table.loc["x"].to_dict() == {"bear": 0.0, "cat": 0.75}
    for classes in (["apple", "bear", "cat"], ["bear"]):
        with pytest.raises(ValueError, match=r"labels \[0, 1\]; expected those of"):
            class_share_table({"x": state}, classes)
    with pytest.raises(ValueError, match=r"labels \[1, 2\]"):
        class_share_table({"x": state_of([[1], [1]], labels=[1, 2])}, ["bear", "cat"])


def shares_of(values, dead=0, channels=8):
    """{scenario: [share by layer]} or {scenario: [[…] a draw]} as a share_table."""
    rows = [(name, f"layer{i}", draw + 1, channels, 10, 100, 0, share, dead, "relu" if dead is not None else "",
             "" if dead is not None else "no activation follows: why")
            for name, shares in values.items() for draw, by_layer in enumerate(shares if isinstance(shares[0], list) else [shares])
            for i, share in enumerate(by_layer)]
    columns = [*SHARE_COLUMNS, "dead_channels", "activation", "reason"]
    return pd.DataFrame(rows, columns=columns).astype({"dead_channels": "Int64"})


@pytest.mark.parametrize("tuned, frozen, told", [
    ([0.5, 0.5, 0.5], ["layer0", "layer1", "layer2"], ["**layer0**, **layer1** and **layer2** are frozen: identical before and after fine-tuning"]),
    ([0.5, 0.5, 0.5], [], ["Fine-tuning moved the share of non-positive values by less than 0.1 percentage points in each of the 3 layers measured."]),
    ([0.5, 0.5, 0.62], ["layer0"], ["**layer0** is frozen", "moved the share of non-positive values most in **layer2** (+12.0 percentage points)."]),
    ([0.4, 0.6, 0.5], [], ["most in **layer0** (−10.0 percentage points) and **layer1** (+10.0 percentage points)."]),
    ([0.6, 0.6, 0.6], [], ["moved the share of non-positive values in each of the 3 layers measured by +10.0 percentage points."]),
    ([np.nan, 0.49, np.nan], [], ["moved the share of non-positive values in **layer1** by −1.0 percentage points."]),
    ([np.nan] * 3, [], ["No layer has shares that can be compared"]),
])
def test_what_fine_tuning_moved(tuned, frozen, told):
    lines = describe_shares(shares_of({"finetuned_own": tuned, "imagenet_own": [0.5] * 3}), frozen)
    assert len(lines) == len(told) + 1 and all(words in line for words, line in zip(told, lines, strict=False))


def test_a_network_from_random_weights_was_not_fine_tuned():
    shares = shares_of({"finetuned_own": [0.7], "imagenet_own": [0.5]})
    told = describe_shares(shares, pretrained=False)[0]
    assert "Fine-tuning" not in told and "trained from random weights" in told and "in **layer0** by +20.0 percentage" in told


def test_random_weights_are_a_baseline_with_its_range():
    shares = shares_of({"imagenet_own": [0.5, 0.5], "random_own": [[0.40, 0.48], [0.45, 0.56]]})
    (told, _) = describe_shares(shares)
    assert "the mean of 2 draws" in told and "most in **layer0** (+7.5 percentage points)" in told
    assert told.endswith("It lies outside the range of the draws in 1 of 2 layers; one more draw would in about 67% of layers.")
    (told, _) = describe_shares(shares_of({"imagenet_own": [0.5], "random_own": [0.5]}))
    assert told == "Compared with random initialisation (one draw), the share of the ImageNet-initialised network differs by less than " \
                   "0.1 percentage points in **layer0**."


def test_dead_channels_are_told_where_an_activation_follows():
    shares = shares_of({"imagenet_digits": [0.5, 0.5], "random_own": [[0.5, 0.5], [0.5, 0.5]]}, dead=2)
    assert describe_dead(shares) == ("Dead channels (never above 0 after the activation) in all 2 layers (16 channels): "
                                        "4 in the ImageNet-initialised network on handwritten digits (stand-in); 4.0 on average (4 to 4 in 2 draws) in the network with random weights.")
    shares.loc[shares["layer"] == "layer1", "dead_channels"] = pd.NA
    assert "in the 1 of 2 layers that have one (8 channels): 2 in the ImageNet-initialised network on handwritten digits (stand-in); 2.0 on average" in describe_dead(shares)
    none = shares_of({"imagenet_own": [0.5, 0.5]}, dead=None)
    assert describe_dead(none) == "No activation produces or follows any of the 2 layers: no channel there can be called dead."
    assert "follows **layer0**: no channel" in describe_dead(shares_of({"imagenet_own": [0.5]}, dead=None))


def test_a_difference_of_shares_is_that_of_the_numbers_shown():
    shares = shares_of({"finetuned_own": [0.46339], "imagenet_own": [0.41564], "random_own": [0.49485]})  # 46.3, 41.6 and 49.5%
    assert [re.search(r"by (\S+) percentage", line).group(1) for line in describe_shares(shares)[:2]] == ["+4.7", "−7.9"]
    assert describe_classes(pd.DataFrame({"sea": [0.46339], "ice": [0.41564]}, index=["head"]))[0].endswith("by 4.7 percentage points.")
    assert "by less than 0.1 percentage points" in describe_shares(shares_of({"finetuned_own": [0.41644], "imagenet_own": [0.41556]}))[0]


def test_the_range_of_shares_says_that_stand_ins_are_left_out():
    own = {"imagenet_own": [0.4, 0.5]}
    assert describe_share_claims(shares_of(own | {"imagenet_digits": [0.3, 0.7]}))[-1].startswith("Stand-ins aside, the shares range from 40.0%")
    assert describe_share_claims(shares_of(own))[-1].startswith("The shares range from 40.0%")
    assert describe_share_claims(shares_of({"imagenet_digits": [0.3, 0.7]}))[-1].startswith("The shares range from 30.0%")


def shown(values):
    """Shares in percent, as sentences and tables have them."""
    return values.map(lambda value: np.nan if np.isnan(value) else float(percent(value)[:-1]))


SHARES = st.one_of(st.just(float("nan")), st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1))
NAMES = ["finetuned_own", "imagenet_own", "imagenet_imagenet", "imagenet_digits", "random_own"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_sentences_agree_with_their_numbers_whatever_they_are(data):
    k = data.draw(st.integers(1, 4))
    names = data.draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    values = {name: [data.draw(st.lists(SHARES, min_size=k, max_size=k)) for _ in range(data.draw(st.integers(1, 3)) if name == "random_own" else 1)]
              for name in names}
    frozen = data.draw(st.lists(st.sampled_from([f"layer{i}" for i in range(k)]), unique=True)) if "finetuned_own" in names else []
    shares = shares_of(values, dead=data.draw(st.sampled_from([0, 3, None])))
    lines = describe_shares(shares, frozen)
    everything = " ".join([*lines, describe_share_figure(shares, frozen)])
    assert not re.search(r"\bnan\b", everything) and "<NA>" not in everything and "1 layers" not in everything
    assert ("imagenet_digits" in names) == ("on handwritten digits (stand-in)" in everything)
    assert not any("digits" in line for line in lines[:-1])  # told, never ranked
    moved = [line for line in lines if line.startswith("Fine-tuning moved")]
    means = over_draws(shares, "non_positive_share")
    both = {"finetuned_own", "imagenet_own"} <= set(names)
    change = (shown(means["finetuned_own"]) - shown(means["imagenet_own"])).drop(frozen).dropna() if both else pd.Series(dtype=float)
    assert bool(moved) == bool(len(change))
    if moved:
        assert not any(f"**{layer}**" in moved[0] for layer in frozen)
        largest = change.abs().max()
        if "less than" in moved[0]:
            assert largest < 0.1
        else:
            assert largest >= 0.04 and f"{largest:.1f}" in moved[0].replace("-", "").replace("+", "")
            named = [layer for layer in change.index if f"**{layer}**" in moved[0]] or list(change.index)
            assert all(abs(abs(change[layer]) - largest) <= 0.1 for layer in named)
    assert ("most" in " ".join(moved)) <= (len(change) > 1)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.data())
def test_captions_of_classes_and_channels_agree_with_their_numbers(classes, layers, data):
    heat = pd.DataFrame([data.draw(st.lists(SHARES, min_size=classes, max_size=classes)) for _ in range(layers)],
                        index=[f"layer{i}" for i in range(layers)], columns=[f"c{i}" for i in range(classes)])
    told = describe_class_figure(heat, "imagenet_own")
    width = (shown(heat.max(axis=1)) - shown(heat.min(axis=1)))[heat.notna().sum(axis=1) > 1].round(1)
    assert "nan" not in told
    if "differ most" in told:
        assert f"by {width.max():.1f} percentage points" in told and width.idxmax() in told
        row = heat.loc[[layer for layer in heat.index if f"most in {layer}" in told][0]]
        highest, lowest = (re.search(rf"{end} for (\w+) \((\S+)%\)", describe_classes(heat)[1]).groups() for end in ("highest", "lowest"))
        assert row[highest[0]] == row.max() and row[lowest[0]] == row.min() and highest[1] == f"{100 * row.max():.1f}"
    elif "less than" in told:
        assert width.max() < 0.1
    else:
        assert classes == 1 or not len(width)
    channels = pd.DataFrame({"scenario": "imagenet_digits", "share": heat.to_numpy().ravel()})
    told = describe_channel_figure(channels)
    assert not re.search(r"\bnan\b", told) and "on handwritten digits (stand-in)" in told and "idest" not in told


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_claims_on_shares_agree_with_their_numbers(data):
    k = data.draw(st.integers(1, 3))
    names = data.draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    shares = shares_of({name: data.draw(st.lists(SHARES, min_size=k, max_size=k)) for name in names})
    frozen = data.draw(st.sampled_from([[], ["layer0"], ["layer0", "layer1", "layer2"]])) if "finetuned_own" in names else []
    *claims, spread = describe_share_claims(shares, frozen)
    assert "nan" not in " ".join([*claims, spread]).replace("finetuned", "") and all(line.endswith(".") for line in [*claims, spread])
    moved = [line for line in claims if "Fine-tuning moved" in line]
    assert not moved or not any(f"**{layer}**" in moved[0] for layer in frozen)
    real = shares[~shares["scenario"].map(is_stand_in)]["non_positive_share"].dropna()
    if len(real):  # stand-ins are not ranked
        assert "stand-in" not in spread and f"from {percent(real.min())}" in spread and f"to {percent(real.max())}" in spread


def test_claims_on_channels_and_counts():
    table = pd.DataFrame([("imagenet_own", layer, share) for layer, shares in (("narrow", [0.5, 0.5, 0.51]), ("wide", [0.0, 0.4, 0.99]))
                          for share in shares], columns=["scenario", "layer", "share"])
    first, more = describe_channels(table)
    assert "differ most in **wide**: the middle half of them lie between 20% and 70%" in first
    assert more == "Averages hide extremes: of 6 channels of the ImageNet-initialised network, 1 lies above 95% and 1 below 5%."
    assert describe_channels(table[table["layer"] == "narrow"])[1] == "No channel of the ImageNet-initialised network has a share above 95% or below 5%."
    assert describe_channels(table.assign(share=np.nan)) == ["No channel has a share."]
    counted = pd.DataFrame({"layer": ["a", "b"], "values": [10, 2000], "by_hook": [4, 1000], "by_hand": [4, 1000]})
    assert describe_counts(counted) == "Hook and NumPy agree in all 2 layers: 1,004 of 2,010 values of the batch are ≤ 0."
    assert "only 1 of 2 layers" in describe_counts(counted.assign(by_hand=[4, 999]))


def run_notebook(folder, **changes):
    """The code cells of part A of notebook 02 and that of the results, in one namespace."""
    namespace, on = {"__name__": "__main__"}, True
    for cell in json.loads(BOOK.read_text())["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            on = (on or "## Exercises" in text) and "## Part B" not in text
        elif on:
            exec(text, namespace)
            if cell["metadata"].get("tags") == ["parameters"]:
                namespace |= {"RUN": str(folder / "run"), "INTERACTIVE": False, "MAP_SIZE": 32, "RANDOM_DRAWS": 2} | changes
                namespace |= {"examples": ExampleMaps(), "checked": RandomisationCheck(), "occluded": OcclusionCheck(),
                              "pretrained": AsItIs(left_out="not looked"), "objects": ObjectsFound(left_out="not looked")}
    return namespace


def bright_folder(folder, sizes, brightness):
    """Class folders of plain images of 12×12 pixels, no two the same, about as bright as told."""
    for label, count in sizes.items():
        (folder / label).mkdir(parents=True)
        for number in range(count):
            pixels = np.full((12, 12, 3), brightness[label], dtype=np.uint8)
            pixels[0, 0] = 5 * number
            Image.fromarray(pixels).save(folder / label / f"{number:02}.png")
    return folder


def thresholds(*_, **__):
    """Networks whose first layer is <= 0 where a pixel is dark: black classes have a share of about 1, white ones of 0."""
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)).eval()
    model[0].weight.data.fill_(1.0)
    model[0].bias.data.fill_(0.0)
    preprocessing = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "channels": 3}
    return {name: (model, preprocessing, "") for name in ("imagenet", "random")}, {"finetuned": "not here"}


def test_the_heat_map_names_the_classes_of_the_reduced_set(tmp_path, monkeypatch, capsys):
    """Classes apple 2, bear 20, cat 20 and 8 ImageNet images: 8 images are left of the own ones, and no apple among them."""
    own = bright_folder(tmp_path / "own", {"apple": 2, "bear": 20, "cat": 20}, {"apple": 120, "bear": 0, "cat": 255})
    imagenet = bright_folder(tmp_path / "imagenet", {"x": 8}, {"x": 128})
    monkeypatch.setattr("inside.feature_maps.scenarios.open_networks", thresholds)
    monkeypatch.setattr("inside.preflight.check", lambda *_: None)  # the networks are not those that the settings name
    table = other_images(str(own), 200).table
    seed = next(seed for seed in range(50) if set(pick_images(table, 8, seed=seed)["label"]) == {"bear", "cat"})
    found = run_notebook(tmp_path, DATASET=str(own), IMAGENET_VAL=str(imagenet), LAYERS=["0"], SEED=seed, RANDOM_DRAWS=1)
    assert list(found["heat"].columns) == ["bear", "cat"]
    assert found["heat"].loc["0", "bear"] > 0.9 and found["heat"].loc["0", "cat"] < 0.1
    run = tmp_path / "run"
    assert pd.read_csv(run / "tables" / "class_shares.csv", dtype={"layer": str}).set_index("layer").loc["0", "bear"] > 0.9
    maps = pd.read_csv(run / "feature_maps.csv")
    assert (maps["non_positive"] / maps["values"] == maps["non_positive_share"]).all() and set(maps["images"]) == {8}


def test_fewer_than_four_images_are_too_few(make_folder, tmp_path):
    """Own images stop there; of other images the scenario is missing, and does not take the others down to its number."""
    few, run = make_folder({"a": 2, "b": 1}, "few"), RunFolder(str(tmp_path / "run"))
    told = f"{str(few)!r} has 3 images that can be decoded; feature maps are measured on at least 4: add images."
    with pytest.raises(ValueError) as error:
        own_images(run, str(few), 200)
    assert str(error.value) == f"DATASET = {told}"
    scenarios, missing = open_scenarios(run, own_set(make_folder, {"a": 5, "b": 5}), architecture="timm/test_resnet", n_images=200, imagenet_val=str(few),
                                        cifar10="digits", device=torch.device("cpu"), map_size=32)
    assert missing["imagenet_imagenet"] == f"IMAGENET_VAL = {told}" and {len(found.images.table) for found in scenarios.values()} == {10}
    run, _ = start_of_a_run(tmp_path)
    Split(other_images(str(make_folder({"a": 3, "b": 3}, "six")), 9).table.assign(split=["train", "val", "test"] * 2), few, ["a", "b"]).save(run.path("split.csv"))
    with pytest.raises(ValueError, match="has 2 test images; feature maps are measured on at least 4: give test a larger share in SPLIT"):
        own_images(run, "digits", 200)


LIMITS = {"constant": lambda model: model[0].weight.data.fill_(0.0), "not a number": lambda model: model[0].weight.data.fill_(np.nan),
          "trained": lambda model: model[0].bias.data.add_(0.1), "frozen": lambda model: model[4].bias.data.add_(0.1)}


@pytest.mark.parametrize("kind", ["constant", "not a number", "frozen", pytest.param("trained", marks=pytest.mark.soak)])
def test_notebook_02_at_the_limits_of_its_numbers(kind, tmp_path, monkeypatch, capsys):
    """Part A and results of one layer and one class, with a fine-tuned network."""
    own = bright_folder(tmp_path / "own", {"only": 4}, {"only": 128})
    (initial, preprocessing, _), _ = thresholds()[0]["imagenet"], None
    tuned = copy.deepcopy(initial)
    for model in (initial, tuned) if kind == "constant" else (tuned,):
        LIMITS[kind](model)
    networks = {"finetuned": (tuned, preprocessing, "a"), "imagenet": (initial, preprocessing, "b"), "random": (initial, preprocessing, "c")}
    monkeypatch.setattr("inside.feature_maps.scenarios.open_networks", lambda *_, **__: (networks, {}))
    monkeypatch.setattr("inside.preflight.check", lambda *_: None)  # the networks are not those that the settings name
    monkeypatch.setattr("inside.feature_maps.scenarios.open_random_network", lambda *_, **__: copy.deepcopy(initial))
    found = run_notebook(tmp_path, DATASET=str(own), IMAGENET_VAL="digits", LAYERS=["0"], N_IMAGES=4)
    told = " ".join(found["lines"])
    assert "nan" not in told and len(found["lines"]) >= 4
    assert found["frozen"] == (["0"] if kind in ("frozen",) else []) or kind == "constant"
    assert ("is frozen" in told) == bool(found["frozen"])
    results = json.loads((tmp_path / "run" / "02_results.json").read_text())
    entry = results["scenarios"]["random_own"]["0"]
    assert entry["draws"]["n"] == 2 and results["frozen"] == found["frozen"] and results["scenarios"]["imagenet_cifar10"] is None
    if found["frozen"]:
        assert "0 (frozen)" in set(pd.read_csv(tmp_path / "run" / "tables" / "non_positive_shares.csv")["layer"])


def test_no_prose_of_part_a_types_a_number_of_the_run():
    cells = json.loads(BOOK.read_text())["cells"]
    prose = " ".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown").split("## Part B")[0]
    assert "Five is the default" in prose
    for words in ("200 images", "about 20 s", "Five feature maps", "five spread", "all five", "silent"):
        assert words not in prose
