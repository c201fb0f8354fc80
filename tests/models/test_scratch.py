"""Tests of inside/models/scratch.py."""

import pytest
import torch
from torch import nn

from inside.models.build import build_network
from inside.models.scratch import ACTIVATIONS, NETWORKS, SkipBlock, five_widths
from inside.text import did_you_mean
from shared.networks import build


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
