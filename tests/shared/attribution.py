"""Networks and images that tests of attribution, feature maps and panels share."""

import torch
import torch.utils.checkpoint
import torchvision
from torch import nn

from inside.models.build import build_network
from inside.models.scratch import ConvNetGAP


def images(n=4, size=64, seed=0, channels=3):
    return torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


def seeded(make, *arguments, **options):
    torch.manual_seed(0)
    model = make(*arguments, **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.01 * torch.randn_like(parameter)  # some are initialised to zero
    return model


def resnet18():
    return seeded(torchvision.models.resnet18)


def gap_network():
    return ConvNetGAP(4, widths=[6, 8])


def lite():
    return build_network("efficientnet_lite0", 6, weights="random")[0]


def hooks_of(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


class Rectified(nn.Module):
    """One small network, its activations written as `call`; biases so that each kind of unit occurs."""

    def __init__(self, call):
        super().__init__()
        torch.manual_seed(4)
        self.conv1, self.conv2, self.head = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 5, 3), nn.Linear(5, 4)
        self.call = call

    def forward(self, x):
        return self.head(self.call(self.conv2(self.call(self.conv1(x) * 4))).mean((2, 3)))


SMALL_VIT = {"num_classes": 3, "num_layers": 2, "hidden_dim": 24, "mlp_dim": 24, "num_heads": 2, "patch_size": 16, "image_size": 224}


CLASSES = ["a", "b"]
