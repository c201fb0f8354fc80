"""Tests of inside/models/scratch.py."""

import pytest
import torch
from torch import nn

from inside.models.build import build_network
from inside.models.scratch import ACTIVATIONS, NETWORKS, SkipBlock, convnet5_costs, five_widths
from inside.models.surgery import count_costs
from inside.text import did_you_mean


def build(name, n_classes=4, image_size=33, **options):
    return build_network(name, n_classes, weights="random", image_size=image_size, options=options)[0]


@pytest.mark.parametrize("options", [
    {}, {"organisation": "const", "filters": 7}, {"organisation": "half", "filters": 32}, {"filters": [3, 5, 4, 6, 2]},
    {"kernel_size": 5, "batch_norm": False}, {"kernel_size": [7, 5, 3, 2, 1]}, {"in_channels": 1, "dense": 9, "dropout": 0.0}])
@pytest.mark.parametrize("image_size", [8, 33, 64])
def test_formulas_are_what_is_counted(options, image_size):
    model = build("convnet5", 5, image_size, **options)
    counted = count_costs(model, image_size, model.in_channels)
    assert convnet5_costs(5, image_size, **options) == {name: counted[name] for name in ("parameters", "macs")}


def test_formula_at_a_known_answer():
    """Worked out on paper: 32×32 gray images, 2 filters of 3×3 in each block, 4 dense neurons, 3 classes."""
    options = {"in_channels": 1, "filters": 2, "organisation": "const", "dense": 4, "batch_norm": False}
    parameters = (9 * 1 + 1) * 2 + 4 * (9 * 2 + 1) * 2 + (1 * 2 + 1) * 4 + (4 + 1) * 3
    macs = 32 ** 2 * 9 * 2 + (16 ** 2 + 8 ** 2 + 4 ** 2 + 2 ** 2) * 9 * 4 + 2 * 4 + 4 * 3
    assert convnet5_costs(3, 32, **options) == {"parameters": parameters, "macs": macs}


@pytest.mark.parametrize("activation, kind", ACTIVATIONS.items())
def test_each_activation(activation, kind):
    for name in ("convnet5", "mlp", "skip_mlp"):
        model = build(name, activation=activation.lower())
        used = {type(module) for module in model.modules() if type(module) in ACTIVATIONS.values()}
        assert used == {kind}


def test_widths_by_organisation():
    assert five_widths(8, "double") == [8, 16, 32, 64, 128]
    assert five_widths(32, "half") == [32, 16, 8, 4, 2]
    assert five_widths(8, "const") == [8] * 5


@pytest.mark.parametrize("name", NETWORKS)
def test_dropout_acts_in_every_network(name):
    images = torch.rand(4, 3, 33, 33)
    for rate in (0.0, 0.5):
        model = build(name, dropout=rate)
        assert torch.equal(model(images), model(images)) == (rate == 0)


def test_skip_blocks_add_their_input():
    block = SkipBlock(6, 6, "ReLU", 0.0)
    nn.init.zeros_(block.second.weight)
    nn.init.zeros_(block.second.bias)
    x = torch.linspace(-1, 1, 18).view(3, 6)
    assert torch.equal(block(x), x.relu())  # the last activation acts on the sum
    block.second.bias.data.fill_(0.25)
    assert torch.equal(block(x), (x + 0.25).relu())
    bridge = SkipBlock(6, 4, "ReLU", 0.0)
    nn.init.zeros_(bridge.second.weight)
    nn.init.zeros_(bridge.second.bias)
    assert torch.equal(bridge(x), (x @ bridge.skip.weight.T).relu()) and bridge(x).shape == (3, 4)


def test_no_imagenet_weights():
    with pytest.raises(ValueError, match="has no ImageNet weights"):
        build_network("convnet5", 3)
    assert "convnet5" in did_you_mean("convnet", NETWORKS)
