"""Tests of inside/models/folding.py."""

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torchvision.models import vgg

from inside.data.loading import TensorImages, make_loader
from inside.models.folding import find_pairs, folded
from inside.models.surgery import set_train_mode
from inside.training.loop import Trainer
from inside.training.recipe import Recipe


def drawn(model):
    """A network in float64 with statistics, scales and shifts drawn at random, as in training with frozen batch norm."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.3)
    set_train_mode(model.double(), "frozen")
    return model


def passed(model, images, pairs):
    """Logits and gradients."""
    model.zero_grad()
    with folded(pairs):
        logits = model(images)
    nn.functional.cross_entropy(logits, torch.arange(len(images)) % 2).backward()
    return [logits.detach(), *(weight.grad for weight in model.parameters() if weight.grad is not None)]


@pytest.mark.parametrize("model, count", [
    (lambda: torchvision.models.resnet18(num_classes=3), 20), (lambda: timm.create_model("tf_efficientnet_lite0", num_classes=3), 49),
    (lambda: torchvision.models.densenet121(num_classes=3), 59),
    (lambda: nn.Sequential(vgg.make_layers(vgg.cfgs["A"], batch_norm=True), nn.AvgPool2d(2), nn.Flatten()), 8),
    (lambda: nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False), nn.AdaptiveAvgPool2d(1), nn.Flatten()), 1)])
def test_values_and_gradients_are_those_of_batch_norm(model, count):
    torch.manual_seed(0)
    model, images = drawn(model()), torch.randn(2, 3, 64, 64, dtype=torch.float64)
    pairs = find_pairs(model, images[:1])
    assert len(pairs) == count
    plain, other = passed(model, images, []), passed(model, images, pairs)
    scale = max(gradient.abs().max() for gradient in plain[1:]) if len(plain) > 1 else 1.0
    assert len(plain) == len(other) > 1 and (plain[0] - other[0]).abs().max() < 1e-12 * plain[0].abs().max()
    assert all((one - two).abs().max() < 1e-12 * scale for one, two in zip(plain[1:], other[1:], strict=True))
    assert all(torch.equal(one, two) for one, two in zip(plain, passed(model, images, []), strict=True))  # as it was before


class Twice(nn.Module):
    """A convolution whose output has another use."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        output = self.conv(x)
        return (self.norm(output) + output).mean((2, 3))


class Shared(Twice):
    """A convolution that is called twice, each time before the batch norm."""

    def forward(self, x):
        return self.norm(self.conv(self.norm(self.conv(x)))).mean((2, 3))


class Changed(Twice):
    """A convolution whose output is overwritten before batch norm."""

    def forward(self, x):
        return self.norm(nn.functional.relu_(self.conv(x))).mean((2, 3))


class Later(Twice):
    """A convolution whose output is overwritten after batch norm has had it, and used."""

    def forward(self, x):
        output = self.conv(x)
        return (self.norm(output) + nn.functional.relu(output.mul(2))).mean((2, 3))


def pair(conv=None, norm=None):
    return nn.Sequential(conv or nn.Conv2d(3, 3, 1), norm or nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize("model", [
    Twice, Shared, Changed, Later, lambda: pair(nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")), lambda: pair(weight_norm(nn.Conv2d(3, 3, 1))),
    lambda: pair(norm=nn.InstanceNorm2d(3)), lambda: pair(norm=nn.BatchNorm2d(3, track_running_stats=False)), lambda: nn.Sequential(nn.Flatten(), nn.Linear(48, 2))])
def test_what_could_not_be_the_same_is_left_as_it_is(model):
    assert find_pairs(model(), torch.randn(1, 3, 4, 4)) == []


def test_modes_statistics_and_random_numbers_stay_as_they_were():
    model = nn.Sequential(*pair(), nn.Dropout(0.5))
    model[1].eval()
    before, drawn_before = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    assert find_pairs(model, torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))) == [(model[0], model[1])]
    assert model.training and model[0].training and not model[1].training and torch.equal(drawn_before, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("mode, calls", [("frozen", 0), ("update", 2)])
def test_training_folds_batch_norm_that_is_frozen(mode, calls, monkeypatch):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 3, 3), *pair()[1:])
    loader = make_loader(TensorImages(torch.randn(4, 3, 8, 8), [0, 1, 2, 0]), batch_size=4)
    trainer = Trainer(model, loader, Recipe(epochs=1, batch_norm=mode), 3, torch.float32)
    set_train_mode(model, mode)
    trainer.step(*next(iter(loader)))  # which looks for pairs
    seen, batch_norm = [], nn.functional.batch_norm
    monkeypatch.setattr(nn.functional, "batch_norm", lambda *args, **options: seen.append(True) or batch_norm(*args, **options))
    trainer.step(*next(iter(loader)))
    assert len(seen) == calls and not [module for module in model.modules() if "forward" in vars(module)]
