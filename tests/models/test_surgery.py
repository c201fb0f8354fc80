"""Tests of inside/models/surgery.py."""

import itertools

import pytest
import timm
import torch
import torchvision
from torch import nn

from inside.models.build import build_network
from inside.models.scratch import NETWORKS
from inside.models.surgery import classifier_name, count_costs, freeze, kept_modes, last_stage, set_train_mode
from inside.training.recipe import Recipe, make_optimizer
from shared.networks import build


@pytest.mark.parametrize("name, stage", [
    ("resnet18", "layer4"), ("resnet50", "layer4"), ("efficientnet_lite0", "blocks.6"), ("mobilenet_v2", "features.17"),
    pytest.param("vgg11", "features.16", marks=pytest.mark.soak), ("densenet121", "features.denseblock4"),
    pytest.param("vit_b_16", "encoder.layers.encoder_layer_11", marks=pytest.mark.soak),
    ("squeezenet1_1", None), ("googlenet", None)])
def test_heads_and_stages(name, stage):
    with torch.device("cpu"):
        model, preprocessing = build_network(name, 7, weights="random")
    size = 224 if name == "vit_b_16" else 64
    with torch.inference_mode():
        assert model.eval()(torch.zeros(2, 3, size, size)).shape == (2, 7)
    assert len(preprocessing["mean"]) == len(preprocessing["std"]) == 3
    assert stage is None or last_stage(model) == stage


@pytest.mark.parametrize("name, size", [("timm/deit_tiny_patch16_224", 224), ("timm/test_convnext", 64), ("mobilenet_v3_small", 64),
                                        ("googlenet", 64), ("efficientnet_lite0", 64)])
def test_the_head_gives_the_logits(name, size):
    model, _ = build_network(name, 7, weights="random")
    given = []
    model.get_submodule(classifier_name(model)).register_forward_hook(lambda module, inputs, output: given.append(output))
    with torch.inference_mode():
        logits = model.eval()(torch.randn(2, 3, size, size))
    assert len(given) == 1 and torch.equal(given[0].reshape(2, 7), logits)


@pytest.mark.parametrize("architecture", ["efficientnet_lite0", "timm/test_resnet", "resnet18"])
def test_new_heads_start_small(architecture):
    """A new head must not shout: its weights are within ±1/√features, torch's own, whatever the library drew."""
    model, _ = build_network(architecture, 6, weights="random")
    head = model.get_submodule(classifier_name(model))
    assert head.weight.abs().max() <= head.in_features ** -0.5


def learning(model):
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


def test_strategies():
    model, _ = build_network("resnet18", 3, weights="random")
    assert freeze(model, "head") == "fc" and learning(model) == {"fc.weight", "fc.bias"}
    assert freeze(model, "last_stage") == "layer4"
    assert {name.split(".")[0] for name in learning(model)} == {"layer4", "fc"}
    freeze(model, "from_layer:layer3.1")
    assert {".".join(name.split(".")[:2]) for name in learning(model)} == {"layer3.1", "layer4.0", "layer4.1", "fc.weight", "fc.bias"}
    assert freeze(model, "full") == "" and len(learning(model)) == len(list(model.parameters()))
    with pytest.raises(ValueError, match="no module 'layer5'; did you mean 'layer4'"):
        freeze(model, "from_layer:layer5")


def test_costs_at_known_answers():
    model, _ = build_network("resnet50", 1000, weights="random")
    costs = count_costs(model, 224)
    assert costs["parameters"] == costs["trainable"] == 25_557_032
    assert abs(costs["macs"] / 4.09e9 - 1) < 0.01  # 4.09 GFLOPS in torchvision's table, counted as multiply-accumulates


@pytest.mark.parametrize("name, image_size, channels", list(itertools.product(NETWORKS, (8, 33), (1, 3))))
def test_any_size_and_one_or_three_channels(name, image_size, channels):
    model = build(name, 4, image_size, in_channels=channels).eval()
    assert model(torch.rand(2, channels, image_size, image_size)).shape == (2, 4)
    assert classifier_name(model) == "output" and freeze(model, "full") == ""


def test_a_head_with_a_hidden_layer():
    model, _ = build_network("timm/test_resnet", 5, weights="random", head="mlp:32:0.3", options={"dropout": 0.1})
    head = model.get_submodule(classifier_name(model))
    assert [type(module) for module in head] == [nn.Dropout, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert (head[0].p, head[1].out_features, head[3].p) == (0.1, 32, 0.3)
    first = freeze(model, "head")
    learning = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert first == classifier_name(model) and learning == {f"{first}.{name}" for name, _ in head.named_parameters()}
    assert last_stage(model) == last_stage(build_network("timm/test_resnet", 5, weights="random")[0])
    rates = make_optimizer(model, Recipe(learning_rate=0.5)).param_groups
    assert {group["lr"] for group in rates} == {0.5}  # the whole head learns at the full rate


def test_modes_are_kept_module_by_module_also_after_an_error():
    """Frozen batch norm stays in evaluation mode, which model.train() would end."""
    model, _ = build_network("timm/test_resnet", 3, weights="random")
    set_train_mode(model, "frozen")
    before = [module.training for module in model.modules()]
    assert len(set(before)) == 2
    for work in (lambda: model.eval(), lambda: 1 / 0):
        try:
            with kept_modes(model):
                work()
        except ZeroDivisionError:
            pass
        assert [module.training for module in model.modules()] == before
    count_costs(model, 32)
    assert [module.training for module in model.modules()] == before


def test_attention_is_counted():
    """As torchvision's own table counts it; its fused step would not be."""
    weights = torchvision.models.ViT_B_32_Weights.DEFAULT.meta
    with torch.device("meta"):
        model = torchvision.models.vit_b_32()
    found = count_costs(model, 224)
    assert found["macs"] / 1e9 == pytest.approx(weights["_ops"], abs=0.002) and found["parameters"] == weights["num_params"]
    model = timm.create_model("test_vit")
    fused = count_costs(model, 160)["macs"]
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    assert count_costs(model, 160)["macs"] == fused and torch.backends.mha.get_fastpath_enabled()
