"""The networks from scratch: formulas against what is counted, options with their effect, limits with their messages."""

import itertools

import pytest
import torch
from torch import nn

import helpers
import scratch_networks


def build(name, n_classes=4, image_size=33, **options):
    return helpers.build_network(name, n_classes, weights="random", image_size=image_size, options=options)[0]


@pytest.mark.parametrize("options", [
    {}, {"organisation": "const", "filters": 7}, {"organisation": "half", "filters": 32}, {"filters": [3, 5, 4, 6, 2]},
    {"kernel_size": 5, "batch_norm": False}, {"kernel_size": [7, 5, 3, 2, 1]}, {"in_channels": 1, "dense": 9, "dropout": 0.0}])
@pytest.mark.parametrize("image_size", [8, 33, 64])
def test_formulas_are_what_is_counted(options, image_size):
    model = build("convnet5", 5, image_size, **options)
    counted = helpers.count_costs(model, image_size, model.in_channels)
    assert scratch_networks.convnet5_costs(5, image_size, **options) == {name: counted[name] for name in ("parameters", "macs")}


def test_formula_at_a_known_answer():
    """Worked out on paper: 32×32 gray images, 2 filters of 3×3 in each block, 4 dense neurons, 3 classes."""
    options = {"in_channels": 1, "filters": 2, "organisation": "const", "dense": 4, "batch_norm": False}
    parameters = (9 * 1 + 1) * 2 + 4 * (9 * 2 + 1) * 2 + (1 * 2 + 1) * 4 + (4 + 1) * 3
    macs = 32 ** 2 * 9 * 2 + (16 ** 2 + 8 ** 2 + 4 ** 2 + 2 ** 2) * 9 * 4 + 2 * 4 + 4 * 3
    assert scratch_networks.convnet5_costs(3, 32, **options) == {"parameters": parameters, "macs": macs}


@pytest.mark.parametrize("name, image_size, channels", list(itertools.product(scratch_networks.NETWORKS, (8, 33), (1, 3))))
def test_any_size_and_one_or_three_channels(name, image_size, channels):
    model = build(name, 4, image_size, in_channels=channels).eval()
    assert model(torch.rand(2, channels, image_size, image_size)).shape == (2, 4)
    assert helpers.find_head(model) == "output" and helpers.freeze(model, "full") == ""


@pytest.mark.parametrize("activation, kind", scratch_networks.ACTIVATIONS.items())
def test_each_activation(activation, kind):
    for name in ("convnet5", "mlp", "skip_mlp"):
        model = build(name, activation=activation.lower())
        used = {type(module) for module in model.modules() if type(module) in scratch_networks.ACTIVATIONS.values()}
        assert used == {kind}


def test_widths_by_organisation():
    assert scratch_networks.five_widths(8, "double") == [8, 16, 32, 64, 128]
    assert scratch_networks.five_widths(32, "half") == [32, 16, 8, 4, 2]
    assert scratch_networks.five_widths(8, "const") == [8] * 5


@pytest.mark.parametrize("where, after_pool, dense", [("dense", 0, 0.5), ("convolutions", 5, 0.0), ("both", 5, 0.5)])
def test_dropout_acts_where_it_is_told(where, after_pool, dense):
    model = build("convnet5", dropout=0.5, dropout_in=where)
    assert sum(isinstance(module, nn.Dropout) for module in model.blocks.modules()) == after_pool
    assert model.dropout.p == dense
    images = torch.rand(4, 3, 33, 33)
    assert torch.equal(model.blocks(images), model.blocks(images)) == (after_pool == 0)  # in training
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


@pytest.mark.parametrize("name", scratch_networks.NETWORKS)
def test_dropout_acts_in_every_network(name):
    images = torch.rand(4, 3, 33, 33)
    for rate in (0.0, 0.5):
        model = build(name, dropout=rate)
        assert torch.equal(model(images), model(images)) == (rate == 0)


def test_convnet_gap_follows_its_lists():
    model = build("convnet_gap", 3, 40, widths=[6, 8], kernel_size=[5, 3], stride=[2, 1], padding=[0, 1], pool=[True, True])
    assert [module.kernel_size[0] for module in model.modules() if isinstance(module, nn.Conv2d)] == [5, 3]
    assert model.blocks(torch.rand(1, 3, 40, 40)).shape == (1, 8, 5, 5)  # (40-5)//2+1 = 18, 9, 9, 5
    assert build("convnet_gap", widths=[6, 8]).blocks(torch.rand(1, 3, 40, 40)).shape == (1, 8, 20, 20)


def test_maps_of_convnet_gap_add_up_to_the_logits():
    """Exact class activation maps: weighting the last maps by the output's weights and averaging gives the logits."""
    model = build("convnet_gap").eval()
    images = torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        maps = torch.einsum("kc,nchw->nkhw", model.output.weight, model.blocks(images))
        assert torch.allclose(maps.mean((2, 3)) + model.output.bias, model(images), atol=1e-5)


def test_skip_blocks_add_their_input():
    block = scratch_networks.SkipBlock(6, 6, "ReLU", 0.0)
    nn.init.zeros_(block.second.weight)
    nn.init.zeros_(block.second.bias)
    x = torch.linspace(-1, 1, 18).view(3, 6)
    assert torch.equal(block(x), x.relu())  # the last activation acts on the sum
    block.second.bias.data.fill_(0.25)
    assert torch.equal(block(x), (x + 0.25).relu())
    bridge = scratch_networks.SkipBlock(6, 4, "ReLU", 0.0)
    nn.init.zeros_(bridge.second.weight)
    nn.init.zeros_(bridge.second.bias)
    assert torch.equal(bridge(x), (x @ bridge.skip.weight.T).relu()) and bridge(x).shape == (3, 4)


@pytest.mark.parametrize("name, options, message", [
    ("convnet5", {"filter": 8}, "did you mean 'filters'"), ("convnet5", {"filters": 0}, "whole numbers from 1"),
    ("convnet5", {"filters": [8, 8]}, "one width or five"), ("convnet5", {"filters": 8, "organisation": "half"}, "without filters"),
    ("convnet5", {"organisation": "triple"}, "'const', 'double', 'half'"), ("convnet5", {"kernel_size": [3, 3]}, "a list of 5"),
    ("convnet5", {"activation": "relus"}, "'ReLU'"), ("convnet5", {"dropout": 1}, "share from 0"),
    ("convnet5", {"dropout_in": "all"}, "'dense'"), ("convnet5", {"in_channels": 2}, "1 \\(gray\\) or 3"),
    ("convnet_gap", {"widths": []}, "a list of widths"), ("convnet_gap", {"pool": [True]}, "a list of 4"),
    ("convnet_gap", {"stride": 0}, "whole numbers from 1"), ("mlp", {"hidden": 64}, "a list of widths"),
    ("skip_mlp", {"widths": [64, True]}, "whole numbers from 1"), ("resnet18", {"filters": 8}, "has no option 'filters'"),
    ("resnet18", {"dropout": "much"}, "share from 0")])
def test_options_that_are_not_legal(name, options, message):
    with pytest.raises(ValueError, match=message) as error:
        helpers.check_options(name, options)
    assert "\n" not in str(error.value)


def test_no_imagenet_weights():
    with pytest.raises(ValueError, match="has no ImageNet weights"):
        helpers.build_network("convnet5", 3)
    assert "convnet5" in helpers.nearest("convnet", scratch_networks.NETWORKS)


# ---------------------------------------------------------------------------------------- heads

def test_a_head_with_a_hidden_layer():
    model, _ = helpers.build_network("timm/test_resnet", 5, weights="random", head="mlp:32:0.3", options={"dropout": 0.1})
    head = model.get_submodule(helpers.find_head(model))
    assert [type(module) for module in head] == [nn.Dropout, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert (head[0].p, head[1].out_features, head[3].p) == (0.1, 32, 0.3)
    first = helpers.freeze(model, "head")
    learning = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert first == helpers.find_head(model) and learning == {f"{first}.{name}" for name, _ in head.named_parameters()}
    assert helpers.last_stage(model) == helpers.last_stage(helpers.build_network("timm/test_resnet", 5, weights="random")[0])
    rates = helpers.make_optimizer(model, helpers.Recipe(learning_rate=0.5)).param_groups
    assert {group["lr"] for group in rates} == {0.5}  # the whole head learns at the full rate


@pytest.mark.parametrize("head", ["mlp", "mlp:0", "mlp:10:1.5", "linear:3", 5, "mlp:10:0.3:1"])
def test_heads_that_are_not_legal(head):
    with pytest.raises(ValueError, match='"linear", or "mlp:<width>:<dropout>"'):
        helpers.check_parameters({"HEAD": head})


def test_a_convolution_as_head_takes_no_hidden_layer():
    with pytest.raises(ValueError, match="ends in a convolution"):
        helpers.build_network("squeezenet1_1", 3, weights="random", head="mlp:8")
