"""Tests of inside/feature_maps/audit.py."""

import json

import matplotlib.pyplot as plt
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from inside.feature_maps.audit import hook_audit
from inside.feature_maps.hooks import RESNET_LAYERS


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # small inputs: threads would only wait for each other
    yield
    torch.set_num_threads(before)
    plt.close("all")


def images(n=4, size=64, seed=0, channels=3):
    return torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


def resnet18():
    torch.manual_seed(0)
    return torchvision.models.resnet18()


class Net(nn.Module):
    """A small network with all that can go wrong: in-place module after the convolution, functions, a shared module."""

    def __init__(self, channels=4):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, channels, 3), nn.Conv2d(channels, channels, 3)
        self.norm, self.act = nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        self.head = nn.Linear(channels, 3)

    def forward(self, x):
        x = self.act(self.conv1(x))
        x = self.act(self.norm(self.conv2(x)))
        x = F.gelu(x - 0.5)
        F.relu_(x)
        return self.head(torch.relu(x).mean((2, 3)))


class Tuples(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.inner, self.output = nn.Identity(), output

    def forward(self, x):
        return self.output(self.inner(x))


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


NETWORKS = {
    "resnet18": (lambda: torchvision.models.resnet18(), [*RESNET_LAYERS, "layer1.0.bn1", "layer1.0.relu"]),
    "resnet50": (lambda: torchvision.models.resnet50(), [*RESNET_LAYERS, "layer1.0.bn2", "layer1.0.relu", "layer4"]),
    "vgg16": (lambda: torchvision.models.vgg16(init_weights=False, num_classes=10), None),
    "vit_b_16": (lambda: torchvision.models.vit_b_16(image_size=64, num_classes=10), None),
    "efficientnet_lite0": (lambda: timm.create_model("tf_efficientnet_lite0"), None),
}
_made = {}


def network(name):
    if name not in _made:
        torch.manual_seed(1)
        _made[name] = NETWORKS[name][0]()
    return _made[name]
