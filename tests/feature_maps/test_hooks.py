"""Tests of inside/feature_maps/hooks.py."""

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from torch import nn

from inside.attribution.cam import class_activation_maps
from inside.attribution.guided import guided_backpropagation, saliency, strongest_neurons
from inside.attribution.inputs import feature_maps_of
from inside.feature_maps.audit import hook_audit
from inside.feature_maps.hooks import (
    RESNET_LAYERS,
    _pool_and_count,
    _positions,
    capture,
    choose_layers,
    format_modules,
    module_table,
)
from inside.feature_maps.statistics import collect_statistics
from shared.attribution import images
from shared.feature_maps import NETWORKS, Net, batches_of, brute_force, network, rng, stored_maps


def resnet18():
    torch.manual_seed(0)
    return torchvision.models.resnet18()


def footprint(model):
    """All that must be the same afterwards: tensors, gradients, flags, hooks, attributes."""
    return {
        "state": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "grads": [parameter.grad is None for parameter in model.parameters()],
        "flags": [module.training for module in model.modules()],
        "hooks": [len(getattr(m, kind)) for m in model.modules() for kind in vars(m) if kind.endswith("_hooks")
                  or kind.startswith("_forward_hooks")],
        "attributes": [sorted(vars(module)) for module in model.modules()],
    }


def assert_same(before, after):
    for key in ("grads", "flags", "hooks", "attributes"):
        assert before[key] == after[key], key
    assert before["state"].keys() == after["state"].keys()
    assert all(torch.equal(tensor, after["state"][name]) for name, tensor in before["state"].items())


def test_module_table_of_a_small_network():
    table = module_table(Net(), 16).set_index("name")
    assert list(table.index) == ["conv1", "conv2", "norm", "act", "head"]
    assert table.loc["conv1", "output_shape"] == (4, 14, 14) and table.loc["conv2", "output_shape"] == (4, 12, 12)
    assert table["parameters"].to_dict() == {"conv1": 112, "conv2": 148, "norm": 8, "act": 0, "head": 15}
    assert table.loc["act", "output_shape"] == (4, 14, 14)  # of its first call
    assert table["calls"].to_dict() == {"conv1": 1, "conv2": 1, "norm": 1, "act": 2, "head": 1}


def test_shapes_are_written_as_a_reader_does():
    table = pd.DataFrame({"name": ["a", "b", "c"], "output_shape": [(32, 56, 56), None, (10,)]})
    assert format_modules(table)["output_shape"].tolist() == ["32 × 56 × 56", "–", "10"]


def test_module_table_counts_shared_and_unused_modules():
    table = module_table(torchvision.models.googlenet(init_weights=False), 64).set_index("name")
    assert table.loc["aux1", "calls"] == 0 and table.loc["aux1", "output_shape"] is None
    assert module_table(resnet18(), (64, 32)).set_index("name").loc["layer1.0.relu", "calls"] == 2


class Counting(nn.Module):
    """Changes a buffer in every forward pass, in evaluation mode too."""

    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.zeros(1))
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, x):
        self.passes += 1
        return self.conv(x).mean((2, 3))


@pytest.mark.parametrize("make", [Net, Counting, resnet18])
def test_nothing_is_left_on_the_network(make):
    model = make().train()
    if hasattr(model, "norm"):
        model.norm.eval()  # a frozen normalisation inside a network in training mode
    model(images(2))[:, 0].sum().backward()
    before, layers = footprint(model), choose_layers(model, n=1)
    gradients = [p.grad.clone() for p in model.parameters()]
    module_table(model, 64)
    hook_audit(model, images(2), layers)
    collect_statistics(model, [(images(2), torch.tensor([0, 1]))], layers)
    class_activation_maps(model, images(2), 0)
    class_activation_maps(model, images(1)[0], 0, layer=layers[0])
    feature_maps_of(model, images(1)[0], layers[0])
    strongest_neurons(model, [images(2)], layers[0])
    saliency(model, images(2), 0)
    if make is not Counting:
        guided_backpropagation(model, images(1)[0], 0)
    assert_same(before, footprint(model))
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))


def test_chosen_layers_are_checked():
    model = resnet18()
    assert choose_layers(model, RESNET_LAYERS) == list(RESNET_LAYERS)
    with pytest.raises(ValueError, match=r"'layer1\.0\.convl'.*layer1\.0\.conv1"):
        choose_layers(model, ["layer1.0.convl"])
    with pytest.raises(ValueError, match="each name once"):
        choose_layers(model, ["conv1", "conv1"])
    with pytest.raises(ValueError, match="n is 0"):
        choose_layers(model, n=0)


def test_layers_are_spread_over_the_depth():
    main = ["conv1"] + [f"layer{s}.{b}.conv{c}" for s in (1, 2, 3, 4) for b in (0, 1) for c in (1, 2)]
    assert choose_layers(resnet18()) == [main[i] for i in (0, 4, 8, 12, 16)]
    assert choose_layers(resnet18(), n=17) == main  # no shortcut convolution
    vit = torchvision.models.VisionTransformer(32, 16, 6, 2, 8, 16)
    assert choose_layers(vit) == [f"encoder.layers.encoder_layer_{i}" for i in (0, 1, 2, 4, 5)]
    assert choose_layers(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))) == ["0", "2"]
    with pytest.raises(ValueError, match="no convolution"):
        choose_layers(nn.Sequential(nn.ReLU()))


def test_hooks_go_even_after_an_exception():
    model = Net()
    before = footprint(model)
    with pytest.raises(RuntimeError, match="stop"), capture(model, ["conv1"], lambda name, output: None):
        raise RuntimeError("stop")

    def refuse(name, output):
        raise RuntimeError("inside the hook")

    with pytest.raises(RuntimeError, match="inside the hook"), capture(model, ["conv1", "act"], refuse):
        model(images(1, 16))
    with pytest.raises(RuntimeError), capture(model, ["conv1"], lambda name, output: None):
        model(images(1, 16, channels=5))  # the network itself fails
    with pytest.raises(ValueError, match="no module named"), capture(model, ["conv1", "nope"], refuse):
        pass
    with pytest.raises(RuntimeError):
        collect_statistics(model, [(images(1, 16, channels=5), torch.tensor([0]))], ["conv1"])
    assert_same(before, footprint(model))


def test_capture_counts_every_call():
    with capture(Net().eval(), ["act", "conv1"], lambda name, output: None) as calls:
        pass
    assert not calls
    model, seen = Net().eval(), []
    with capture(model, ["act", "conv1"], lambda name, output: seen.append((name, tuple(output.shape)))) as calls:
        model(images(1, 16))
    assert calls == {"act": 2, "conv1": 1}
    assert seen == [("conv1", (1, 4, 14, 14)), ("act", (1, 4, 14, 14)), ("act", (1, 4, 12, 12))]


@pytest.mark.parametrize("name, precision", [*(pytest.param(name, torch.float32, marks=pytest.mark.soak if name in ("vgg16", "vit_b_16") else ()) for name in NETWORKS),
                                             ("resnet18", torch.bfloat16), ("efficientnet_lite0", torch.bfloat16)])
def test_counts_equal_brute_force_over_stored_maps(name, precision):
    model, labels = network(name), [2, 0, 2, 2]
    layers = NETWORKS[name][1] or choose_layers(model)
    batches = batches_of(images(4), labels, 2)
    maps = stored_maps(model, batches, layers, clone=True, precision=precision)
    result = collect_statistics(model, batches, layers, precision=precision)
    for layer in layers:
        counts, calls = result[layer].counts, result[layer].calls
        assert (int(counts.total[0].sum()), int(counts.total[2].sum())) == brute_force(maps[layer])
        axes = (0, 2, 3) if maps[layer][0].ndim == 4 else (0, 1)
        by_call = [sum((m <= 0).sum(axes) for m in maps[layer][call::calls]) for call in range(calls)]
        assert counts.total.dtype == np.int64 and np.array_equal(counts.total[0], np.concatenate(by_call))
        ofclass0 = [m[1:] for m in maps[layer][:calls]]  # the second image of the first batch
        assert int(counts.table[0][0].sum()) == brute_force(ofclass0)[0]
        assert counts.images == {0: 1, 2: 3} and counts.nan == 0
        assert counts.share == brute_force(maps[layer])[0] / brute_force(maps[layer])[1]


def test_counts_survive_chunks_and_odd_memory_layouts():
    x = torch.from_numpy(rng().standard_normal((5, 6, 40, 33)).astype(np.float32)).sub_(0.3)
    expected, mean = (x.numpy() <= 0).sum((2, 3)), x.double().numpy().mean((2, 3))
    views = [x, x.contiguous(memory_format=torch.channels_last), x.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2),
             torch.cat([x, x], 1)[:, :6]]
    for dtype in (torch.float32, torch.float64):
        for view in views:
            flat, axis = _positions("x", nn.Identity(), view.to(dtype))
            means, counts, nan = _pool_and_count(flat, axis)
            assert np.array_equal(counts, expected) and nan is None
            np.testing.assert_allclose(means, mean, rtol=1e-5, atol=1e-6)
    big = -torch.ones(3, 2, 900, 900)  # more than one chunk an image
    assert _pool_and_count(*_positions("x", nn.Identity(), big))[1].tolist() == [[810_000] * 2] * 3
