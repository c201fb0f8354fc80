"""Tests of inside/attribution/guided.py."""

import copy
import re
import warnings

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
import torchvision
from torch import nn

from inside.attribution.cam import class_activation_maps
from inside.attribution.guided import (
    NotGuidable,
    choose_neurons,
    guided_backpropagation,
    guided_neurons,
    neuron_place,
    saliency,
    strongest_neurons,
)
from inside.attribution.inputs import feature_maps_of, last_convolution
from inside.attribution.plots import plot_neurons
from inside.attribution.randomisation import attribution_methods
from inside.feature_maps.hooks import capture, module_table
from shared.attribution import SMALL_VIT, Rectified, hooks_of, images, resnet18, seeded


class Statement(nn.Module):
    """Ignores what the in-place function returns, as some code does."""

    def forward(self, x):
        F.relu(x, inplace=True)
        return x


def slope(call, x):
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(call(x.clone()).sum(), x)[0]


def guided_by_hand(model, image, target, plain):
    """Guided backpropagation written out for Rectified, its activation as a function without side effects: `plain`."""
    first = model.conv1(image[None]) * 4
    second = model.conv2(plain(first))
    gradient = model.head.weight[target].reshape(1, -1, 1, 1) / second[0, 0].numel() * torch.ones_like(second)
    gradient = gradient.clamp(min=0) * slope(plain, second) * (second > 0)
    gradient = F.conv_transpose2d(gradient, model.conv2.weight).clamp(min=0) * slope(plain, first) * (first > 0)
    return F.conv_transpose2d(gradient * 4, model.conv1.weight)[0].detach()


@pytest.mark.parametrize("call, plain", [
    (nn.ReLU(), F.relu), (nn.ReLU(inplace=True), F.relu), (F.relu, F.relu), (torch.relu, F.relu), (lambda x: x.relu_(), F.relu),
    (Statement(), F.relu), (lambda x: F.relu(input=x), F.relu), (lambda x: torch.clamp_min(x, 0), F.relu), (lambda x: x.clamp_(min=0), F.relu),
    (nn.ReLU6(), F.relu6), (nn.ReLU6(inplace=True), F.relu6), (F.relu6, F.relu6), (lambda x: x.clamp(0, 6), F.relu6),
    (lambda x: F.hardtanh(x, min_val=0.0, max_val=2.0), lambda x: F.hardtanh(x, 0, 2)),
    (nn.SiLU(), F.silu), (nn.SiLU(inplace=True), F.silu), (F.silu, F.silu), (lambda x: F.silu(x, True), F.silu),
    (nn.GELU(), F.gelu), (F.gelu, F.gelu), (nn.GELU("tanh"), lambda x: F.gelu(x, approximate="tanh")),
    (nn.Mish(inplace=True), F.mish), (nn.Hardswish(inplace=True), F.hardswish), (nn.LeakyReLU(0.1, inplace=True), lambda x: F.leaky_relu(x, 0.1)),
    (nn.ELU(), F.elu), (nn.PReLU(), lambda x: F.leaky_relu(x, 0.25)), (nn.Softplus(), F.softplus)])
def test_guided_backpropagation_is_its_definition(call, plain):
    model, image = Rectified(call), images(1, 12)[0]
    ours = guided_backpropagation(model, image, 2)
    expected = guided_by_hand(model, image, 2, plain)
    assert ours.shape == image.shape and expected.abs().max() > 0
    torch.testing.assert_close(ours, expected)
    plain_gradient = saliency(model, image, 2)
    assert not torch.allclose(ours, plain_gradient) and hooks_of(model) == 0


def with_modules(model):
    """For captum: no ReLU in place (that torchvision's blocks use one for two places, it copes with)."""
    reference = copy.deepcopy(model)
    for module in reference.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return reference


@pytest.mark.parametrize("make", [torchvision.models.resnet18, pytest.param(torchvision.models.vgg11, marks=pytest.mark.soak)])
def test_guided_backpropagation_equals_captum(make):
    from captum.attr import GuidedBackprop, NeuronGuidedBackprop

    model, batch = seeded(make), images(2)
    layer = "layer4.0.conv2" if "ResNet" in type(model).__name__ else "features.18"
    reference = with_modules(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = GuidedBackprop(reference).attribute(batch, target=[5, 7])
        neuron = NeuronGuidedBackprop(reference, reference.get_submodule(layer)).attribute(batch, (17, 1, 0))
    ours = guided_backpropagation(model, batch, [5, 7])
    assert 0 < (ours - expected).abs().max() / expected.abs().max() < 1e-5 or torch.equal(ours, expected)
    shape = module_table(model, 64).set_index("name")["output_shape"][layer]
    ours = guided_backpropagation(model, batch, layer=layer, units=[int(np.ravel_multi_index((17, 1, 0), shape))])
    assert neuron.abs().max() > 0
    assert (ours - neuron).abs().max() / neuron.abs().max() < 1e-5


def test_an_in_place_activation_of_a_part_of_a_map():
    def apart(x):
        return torch.cat([F.relu(x[:, :2]), x[:, 2:]], 1)

    def in_place(x):
        F.relu_(x[:, :2])
        return x
    image = images(1, 12)[0]
    torch.testing.assert_close(guided_backpropagation(Rectified(in_place), image, 2), guided_backpropagation(Rectified(apart), image, 2))


def test_an_activation_without_a_gradient_beside_one_that_has_it():
    def constant(x):
        with torch.no_grad():
            shift = F.relu(x).mean()
        return F.relu(x + 0 * shift)
    image = images(1, 12)[0]
    torch.testing.assert_close(guided_backpropagation(Rectified(constant), image, 1), guided_backpropagation(Rectified(F.relu), image, 1))


class Gated(nn.Module):
    """Squeeze and excitation: a gate that is made of more than the tensor it multiplies is no activation."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Conv2d(5, 5, 1)

    def forward(self, x):
        x = F.relu(x)
        return x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))


def test_gates_are_no_activations():
    assert guided_backpropagation(Rectified(Gated()), images(1, 12)[0], 1).abs().max() > 0


@pytest.mark.parametrize("odd, shape", [
    (nn.Sequential(nn.Conv2d(3, 1, 12), nn.ReLU(), nn.Flatten(0)), "(2,)"), (nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), "(2, 4, 10, 10)")])
@pytest.mark.parametrize("method", [guided_backpropagation, saliency, class_activation_maps])
def test_a_network_that_gives_no_logits_is_told_so(method, odd, shape):
    with pytest.raises(ValueError, match=re.escape(f"The network gives values of shape {shape}; expected logits (N, classes).")):
        method(odd, images(2, 12))


class QuickGELU(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class Called(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Pruned(nn.Conv2d):
    """Weights of which the small ones are left out."""

    def __init__(self):
        super().__init__(5, 5, 1)

    def forward(self, x):
        return self._conv_forward(x, self.weight * (self.weight.abs() > 0.1), self.bias)


def negatives_zeroed(x):
    x = x.clone()
    x[x < 0] = 0
    return x


@pytest.mark.parametrize("written", [
    lambda x: x * (x > 0), lambda x: x * (x > 0).float(), lambda x: x.mul(x.gt(0).to(x.dtype)), lambda x: torch.where(x > 0, x, 0),
    lambda x: torch.where(x > 0, x, torch.zeros_like(x)), lambda x: torch.where(x < 0, 0.1 * x, x), lambda x: x.masked_fill(x < 0, 0), negatives_zeroed,
    lambda x: torch.maximum(x, torch.tensor(0.0)), lambda x: torch.max(x, torch.zeros(())), lambda x: torch.max(torch.zeros(()), x),
    lambda x: (x + x.abs()) / 2, lambda x: 0.5 * (abs(x) + x), lambda x: x / (1 + torch.exp(-x)), lambda x: x * 0.5 * (1 + torch.erf(x / 2 ** 0.5)),
    lambda x: x * torch.tanh(F.softplus(x)), lambda x: x * (x > 0).type_as(x), lambda x: x * (x > 0).int(), lambda x: x * (x > 0).float().detach(),
    lambda x: x * torch.where(x > 0, 1.0, 0.0), lambda x: F.relu(x) + 0.1 * torch.minimum(x, torch.zeros(())), timm.layers.FilterResponseNormTlu2d(5),
    lambda x: 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.044715 * x.pow(3))))])
def test_an_activation_that_is_written_out_is_refused(written):
    """Guiding the others alone would give gradients that are not guided backpropagation's."""
    for trained in (True, False):
        model = Rectified(nn.Sequential(Called(written), nn.ReLU())).requires_grad_(trained)
        with pytest.raises(NotGuidable, match="computes an activation in arithmetic"):
            guided_backpropagation(model, images(1, 12)[0], 0)
        assert {weight.requires_grad for weight in model.parameters()} == {trained}


@pytest.mark.parametrize("harmless", [
    lambda x: x * x, lambda x: x + 2 * x, lambda x: torch.maximum(x, x.roll(1, 1)), lambda x: x.max(1, keepdim=True).values + x,
    lambda x: torch.where(torch.rand(x.shape[-2:]) > 0.5, x, 0), lambda x: x * (x.mean((2, 3), keepdim=True) > 0), lambda x: x / x.abs().sum(),
    lambda x: x / torch.maximum(x.norm(dim=1, keepdim=True), torch.tensor(1e-6)), lambda x: torch.max(x, torch.tensor(torch.finfo(x.dtype).min)),
    lambda x: x + F.relu(x.new_ones(1) * (x.new_ones(1) > 0)), timm.layers.ScaledStdConv2d(5, 5, 1), Pruned()])
def test_what_is_no_activation_is_not_refused(harmless):
    model = Rectified(nn.Sequential(Called(harmless), nn.ReLU()))
    assert guided_backpropagation(model, images(1, 12)[0], 0).shape == (3, 12, 12)


@pytest.mark.parametrize("call, words", [
    (torch.tanh, "ran none of the activations"), (QuickGELU(), "computes QuickGELU"), (torch.jit.trace(F.relu, images(1)), "ran none"),
    (nn.Sequential(nn.ReLU(), QuickGELU()), "computes QuickGELU"), (lambda x: F.relu(x * torch.sigmoid(x)), "in arithmetic"),
    (lambda x: x * F.relu6(x + 3) / 6, "in arithmetic"), (timm.layers.activations.HardSwish(), "in arithmetic"),
    (lambda x: F.relu(x) + x.sigmoid() * x, "in arithmetic"),
    (lambda x: torch.utils.checkpoint.checkpoint(F.silu, x, use_reentrant=False), "checkpointing")])
def test_networks_that_cannot_be_guided_say_so(call, words):
    model = Rectified(call)
    with pytest.raises(NotGuidable, match=words):
        guided_backpropagation(model, images(1, 12)[0], 0)
    assert hooks_of(model) == 0 and saliency(model, images(1, 12), 0).abs().max() > 0
    assert list(attribution_methods(model, images(1, 12))) == ["class activation map (CAM)", "gradient"]


def test_bad_input():
    model, image = Rectified(F.relu), images(1, 12)[0]
    for method in (guided_backpropagation, saliency, class_activation_maps):
        with pytest.raises(ValueError, match="target is 4; expected 0 to 3"):
            method(model, image, 4)
        with pytest.raises(ValueError, match="target is -1"):
            method(model, image, -1)
        with pytest.raises(ValueError, match=r"shape \(12, 12\)"):
            method(model, image[0], 0)
    for layer, words in (("head", "expected one with positions"), ("conv3", "conv1")):
        with pytest.raises(ValueError, match=words):
            class_activation_maps(model, image, 0, layer=layer)
    with pytest.raises(ValueError, match="expected 0 to 499"):
        guided_backpropagation(model, image, layer="conv1", units=[500])
    with pytest.raises(ValueError, match="together"):
        guided_backpropagation(model, image, layer="conv1")
    with pytest.raises(ValueError, match="targets holds 3 numbers for 2 images"):
        class_activation_maps(model, images(2, 12), [0, 1, 2])
    model.aside = nn.Conv2d(5, 5, 1)
    for call in (lambda: guided_backpropagation(model, image, layer="aside", units=[0]), lambda: feature_maps_of(model, image, "aside"),
                 lambda: strongest_neurons(model, [image[None]], "aside"), lambda: class_activation_maps(model, image, 0, layer="aside")):
        with pytest.raises(ValueError, match="'aside' was never called"):
            call()
    vit = seeded(torchvision.models.VisionTransformer, **SMALL_VIT)
    with pytest.raises(ValueError, match="gives a tuple; expected a tensor"):
        class_activation_maps(vit, images(2, 224), 0, layer="encoder.layers.encoder_layer_0.self_attention")
    with pytest.raises(ValueError, match="has no convolution"):
        strongest_neurons(nn.Sequential(nn.Flatten(), nn.Linear(432, 3)), [images(1, 12)])


@pytest.mark.parametrize("layer", ["conv1", "conv2", "head", None])
def test_strongest_units_are_those_of_the_stored_maps(layer):
    model, batch = Rectified(nn.ReLU(inplace=True)), images(5, 12)
    name, values, units = strongest_neurons(model, [(batch[:3], torch.zeros(3)), batch[3:]], layer)
    assert name == (layer or "conv2")
    kept = []
    with capture(model, [name], lambda name, output: kept.append(output.detach().clone())), torch.no_grad():
        model(batch)
    stored = kept[0].reshape(5, kept[0].shape[1], -1)
    np.testing.assert_allclose(values, stored.amax(2), atol=1e-6)
    np.testing.assert_allclose(kept[0].flatten(1).gather(1, torch.from_numpy(units)), values, atol=1e-6)


def test_strongest_units_of_tokens():
    vit, batch, kept = seeded(timm.create_model, "vit_tiny_patch16_224", num_classes=3), images(2, 224), []
    _, values, units = strongest_neurons(vit, [batch], "blocks.3")
    with capture(vit, ["blocks.3"], lambda name, output: kept.append(output)), torch.no_grad():
        vit(batch)
    np.testing.assert_allclose(values, kept[0].amax(1), atol=1e-4)
    np.testing.assert_allclose(kept[0].flatten(1).gather(1, torch.from_numpy(units)), values, atol=1e-4)


def test_of_a_layer_called_twice_the_last_call_counts():
    model, batch, kept = resnet18(), images(5), []
    _, values, units = strongest_neurons(model, [batch[:3], batch[3:]], "layer1.0.relu")
    with capture(model, ["layer1.0.relu"], lambda name, output: kept.append(output.clone())), torch.no_grad():
        model(batch)
    assert len(kept) == 2 and values.shape == (5, 64)
    np.testing.assert_allclose(values, kept[1].amax((2, 3)), atol=1e-5)
    np.testing.assert_allclose(kept[1].flatten(1).gather(1, torch.from_numpy(units)), values, atol=1e-5)


def test_the_neurons_that_stand_out():
    values = np.array([[0.0, 1, 9, 5], [0, 2, 0, 5], [0, 3, 0, 5], [8, 4, 0, 5]])
    table = choose_neurons(values, 2)
    assert table["channel"].tolist() == [0, 2] and table["image"].tolist() == [3, 0]  # each has an image of its own
    assert table["stands_out"].tolist() == pytest.approx([np.sqrt(3)] * 2) and table["value"].tolist() == [8, 9]
    assert choose_neurons(values, 3)["channel"].tolist() == [0, 2, 1]
    assert choose_neurons(values, 9)["channel"].tolist() == [0, 2, 1, 3]  # a constant channel comes last
    assert choose_neurons(values, channels=[3, 1])["channel"].tolist() == [3, 1]
    with pytest.raises(ValueError, match="no channel 4; expected 0 to 3"):
        choose_neurons(values, channels=[4])


def test_neurons_with_their_images_and_gradients(inspected):
    inspection, table = inspected
    layer, neurons, gradients = guided_neurons(inspection, table, n=3, batch_size=4)
    assert len(neurons) == 3 and gradients.shape == (3, 3, 32, 32) and layer == last_convolution(inspection.model)
    _, values, units = strongest_neurons(inspection.model, [inspection.load(table["path"])], layer)
    row = neurons.iloc[1]
    order = np.argsort(-values[:, row["channel"]])
    assert [row["path"], *row["next"]] == [f"{index}.png" for index in order[:4]]
    expected = guided_backpropagation(inspection.model, inspection.load([row["path"]]), layer=layer,
                                         units=[units[order[0], row["channel"]]])
    torch.testing.assert_close(gradients[1], expected[0])
    others = np.zeros((3, 2, 8, 8, 3))
    assert len(plot_neurons(np.zeros((3, 8, 8, 3)), gradients, ["x"] * 3, others, [None, (0.5, 0.5, 0.1, 0.1), None]).axes) == 12
    assert row["next_labels"] == [table["label"][index] for index in order[1:4]]
    maps = feature_maps_of(inspection.model, inspection.load([row["path"]])[0], layer)[row["channel"]]
    y, x = np.unravel_index(maps.argmax(), maps.shape)
    assert row["place"] == ((y + 0.5) / maps.shape[0], (x + 0.5) / maps.shape[1], 1 / maps.shape[0], 1 / maps.shape[1])
    assert neuron_place(inspection.model, inspection.load([row["path"]])[0], layer, row["channel"], maps.max() + 1) is None
    assert neuron_place(inspection.model, inspection.load([row["path"]])[0], "output", 0, 0.0) is None  # no positions
