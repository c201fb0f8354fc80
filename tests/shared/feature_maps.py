"""Networks, and counts by brute force, that tests of feature maps share."""

import warnings

import numpy as np
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from inside.feature_maps.hooks import RESNET_LAYERS


def rng(seed=0):
    return np.random.default_rng(seed)


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


def batches_of(x, labels, size):
    return [(x[i:i + size], torch.tensor(labels[i:i + size])) for i in range(0, len(x), size)]


def stored_maps(model, batches, layers, *, clone, precision=torch.float32):
    """Every output of the named modules, call by call; without `clone` as a naive hook keeps them."""
    maps, modules = {name: [] for name in layers}, dict(model.named_modules())
    handles = [modules[name].register_forward_hook(
        lambda m, i, o, name=name: maps[name].append(o.detach().clone() if clone else o.detach())) for name in layers]
    model.eval()
    with torch.no_grad(), torch.autocast("cpu", precision, enabled=precision != torch.float32):
        for x, _ in batches:
            model(x.contiguous(memory_format=torch.channels_last))
    for handle in handles:
        handle.remove()
    return {name: [m.double().numpy() for m in outputs] for name, outputs in maps.items()}


def brute_force(maps):
    return sum(int((m <= 0).sum()) for m in maps), sum(m.size for m in maps)


FEATURES = {
    "plain": rng(1).standard_normal((100, 12)) @ rng(2).standard_normal((12, 12)),
    "huge offset": rng(3).standard_normal((100, 8)) + 1e9,
    "mixed scales": rng(4).standard_normal((100, 6)) * 10.0 ** np.arange(-6, 6, 2) + 5e4,
    "constant feature": np.column_stack([rng(5).standard_normal((64, 3)), np.full(64, 0.1)]),
    "all constant": np.full((40, 5), 1 / 3),
    "one image": rng(6).standard_normal((1, 7)),
    "C > N": rng(7).standard_normal((20, 60)),
}


def reference_covariance(x):
    """numpy.cov(bias=True) after taking off the first image, which changes nothing but NumPy's own rounding."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.atleast_2d(np.cov(x - x[0], rowvar=False, bias=True))
