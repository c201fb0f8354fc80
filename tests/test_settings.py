"""Tests of inside/settings.py."""

import pytest

from inside.models.build import build_network
from inside.preflight import check_parameters


@pytest.mark.parametrize("name, value, message", [
    ("EPOCHS", 0, "int from 1"), ("EPOCHS", 2.5, "int from 1"), ("EPOCHS", True, "int from 1"), ("EPOCHS", "5", "int from 1"),
    ("OPTIMIZER", "adamm", "did you mean 'adam'"), ("LEARNING_RATE", -1, "float from"), ("TRAIN", 1, "True or False"),
    ("SPLIT", [0.5, 0.5], "three fractions"), ("STRATEGY", "heads", "did you mean 'head'"), ("RANKED_CLASSES", "sea", "list"),
    ("ARCHITECTURE", "resnet5", "resnet50"), ("ARCHITECTURE", "timm/resnet5", "resnet50"), ("WARMUP", 0.95, "float from"),
])
def test_illegal_parameters(name, value, message):
    with pytest.raises(ValueError, match=message) as error:
        check_parameters({name: value})
    assert "\n" not in str(error.value)


def test_legal_parameters_are_given_back():
    given = {"EPOCHS": 3, "LEARNING_RATE": 1, "SPLIT": [10, 5, 5], "STRATEGY": "from_layer:layer4", "TRAIN": False}
    assert check_parameters(given | {"_i1": 0, "EPOCH": 9}) == given


@pytest.mark.parametrize("name, heads", [
    ("deit_tiny_distilled_patch16_224", "head, head_dist"), ("levit_128", "head.linear, head_dist.linear"), ("crossvit_9_240", "head.0, head.1"),
    ("volo_d1_224", "head, aux_head")])
def test_networks_with_several_heads_are_refused(name, heads):
    """Their last layer alone does not give the logits, so that a new head, or training it alone, would be about another function."""
    with pytest.raises(ValueError, match=rf"ARCHITECTURE = 'timm/{name}' has several heads \({heads}\)") as error:
        check_parameters({"ARCHITECTURE": f"timm/{name}"})
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="several heads"):
        build_network(f"timm/{name}", 3, weights="random")


@pytest.mark.parametrize("head", ["mlp", "mlp:0", "mlp:10:1.5", "linear:3", 5, "mlp:10:0.3:1"])
def test_heads_that_are_not_legal(head):
    with pytest.raises(ValueError, match='"linear", or "mlp:<width>:<dropout>"'):
        check_parameters({"HEAD": head})
