"""Tests of inside/feature_maps/audit.py."""

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from inside.feature_maps.audit import hook_audit
from shared.attribution import images
from shared.feature_maps import Net, Tuples


def test_audit_sees_modules_functions_and_in_place():
    model = Net()
    audit = json.loads(json.dumps(hook_audit(model, images(2, 16), ["conv1", "conv2", "norm", "act"])))
    seen = {(a["kind"], a["activation"], a["in_place"]): a["calls"] for a in audit["activations"]}
    assert seen == {("module", "ReLU", True): 2, ("functional", "gelu", False): 1, ("functional", "relu", True): 1,
                    ("functional", "relu", False): 1}
    layers = audit["layers"]
    assert [layers[n]["overwritten_later"] for n in ("conv1", "conv2", "norm")] == [True, False, True]
    assert layers["act"]["in_place"] and layers["act"]["calls"] == 2 and not layers["conv1"]["in_place"]
    assert audit["called_several_times"] == {"act": 2}


@pytest.mark.parametrize("call, label, in_place", [
    (lambda x: x.relu_(), "relu", True), (lambda x: torch.relu_(x), "relu", True), (lambda x: x.relu(), "relu", False),
    (lambda x: F.relu(x, True), "relu", True), (lambda x: F.relu6(x), "relu6", False),
    (lambda x: F.silu(x, inplace=True), "silu", True), (lambda x: F.hardswish(x), "hardswish", False),
    (lambda x: x.clamp(min=0), "clamp(min=0)", False), (lambda x: x.clamp_(0, 6), "clamp(min=0)", True)])
def test_audit_of_functions(call, label, in_place):
    model = nn.Sequential(Tuples(call))
    (seen,) = hook_audit(model, images(1, 8), ["0.inner"])["activations"]
    assert (seen["kind"], seen["activation"], seen["in_place"]) == ("functional", label, in_place)
    assert seen["examples"] == ["0"]
    assert hook_audit(nn.Sequential(Tuples(lambda x: x.clamp(max=0))), images(1, 8), ["0"])["activations"] == []

