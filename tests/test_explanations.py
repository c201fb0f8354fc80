"""explanations.py at known answers: definitions written out, captum, networks made so that the answer is known; panels.py."""

import copy
import importlib.util
import re
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.ndimage
import scipy.stats
import timm
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import explanations as ex
import feature_maps
import helpers
import panels
import scratch_networks


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    plt.close("all")


def images(n=4, size=64, seed=0, channels=3):
    return torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


def seeded(make, *arguments, **options):
    torch.manual_seed(0)
    model = make(*arguments, **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.01 * torch.randn_like(parameter)  # some are initialised to zero
    return model


SMALL_VIT = {"num_classes": 3, "num_layers": 2, "hidden_dim": 24, "mlp_dim": 24, "num_heads": 2, "patch_size": 16, "image_size": 224}


def resnet18():
    return seeded(torchvision.models.resnet18)


def hooks_of(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


# ---------------------------------------------------------------------------------------------- filters and maps

def test_first_filters():
    filters = ex.first_filters(resnet18())
    assert filters.shape == (64, 7, 7, 3)
    assert (filters.min((1, 2, 3)) == 0).all() and np.allclose(filters.max((1, 2, 3)), 1)
    convolution = nn.Conv2d(1, 2, 2)
    with torch.no_grad():
        convolution.weight[:] = torch.tensor([[[[0.0, 1], [2, 4]]], [[[5.0, 5], [5, 5]]]])
    expected = [[[0, 0.25], [0.5, 1]], [[0, 0], [0, 0]]]
    assert ex.first_filters(convolution).squeeze(-1).tolist() == expected
    for model, words in ((nn.Linear(2, 2), "there is none"), (nn.Conv2d(4, 2, 1), "it reads 4 channels")):
        with pytest.raises(ValueError, match=words):
            ex.first_filters(model)
    assert ex.first_convolution(resnet18()) == "conv1" and ex.first_convolution(nn.Linear(2, 2)) is None


def test_maps_of_a_layer():
    model, image = Rectified(nn.ReLU(inplace=True)), images(1, 12)[0]
    np.testing.assert_allclose(ex.feature_maps_of(model, image, "conv1"), model.conv1(image[None])[0].detach(), atol=1e-6)
    with pytest.raises(ValueError, match="legal is one with positions"):
        ex.feature_maps_of(model, image, "head")
    vit = seeded(timm.create_model, "vit_tiny_patch16_224", num_classes=3)
    tokens = vit.norm(vit.blocks(vit._pos_embed(vit.patch_embed(images(1, 224)))))
    maps = ex.feature_maps_of(vit, images(1, 224)[0], "norm")
    assert maps.shape == (192, 14, 14)  # after the class token, row by row
    np.testing.assert_allclose(maps[:, 2, 5], tokens[0, 1 + 2 * 14 + 5].detach(), atol=1e-4)


# ---------------------------------------------------------------------------------------------- guided backpropagation

class Rectified(nn.Module):
    """One small network, its activations written as `call`; biases so that each kind of unit occurs."""

    def __init__(self, call):
        super().__init__()
        torch.manual_seed(4)
        self.conv1, self.conv2, self.head = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 5, 3), nn.Linear(5, 4)
        self.call = call

    def forward(self, x):
        return self.head(self.call(self.conv2(self.call(self.conv1(x) * 4))).mean((2, 3)))


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
    ours = ex.guided_backpropagation(model, image, 2)
    expected = guided_by_hand(model, image, 2, plain)
    assert ours.shape == image.shape and expected.abs().max() > 0
    torch.testing.assert_close(ours, expected)
    plain_gradient = ex.input_gradient(model, image, 2)
    assert not torch.allclose(ours, plain_gradient) and hooks_of(model) == 0


def with_modules(model):
    """For captum: no ReLU in place (that torchvision's blocks use one for two places, it copes with)."""
    reference = copy.deepcopy(model)
    for module in reference.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return reference


@pytest.mark.parametrize("make", [torchvision.models.resnet18, torchvision.models.vgg11])
def test_guided_backpropagation_equals_captum(make):
    from captum.attr import GuidedBackprop, NeuronGuidedBackprop

    model, batch = seeded(make), images(2)
    layer = "layer4.0.conv2" if "ResNet" in type(model).__name__ else "features.18"
    reference = with_modules(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = GuidedBackprop(reference).attribute(batch, target=[5, 7])
        neuron = NeuronGuidedBackprop(reference, reference.get_submodule(layer)).attribute(batch, (17, 1, 0))
    ours = ex.guided_backpropagation(model, batch, [5, 7])
    assert 0 < (ours - expected).abs().max() / expected.abs().max() < 1e-5 or torch.equal(ours, expected)
    shape = feature_maps.module_table(model, 64).set_index("name")["output_shape"][layer]
    ours = ex.guided_backpropagation(model, batch, layer=layer, units=[int(np.ravel_multi_index((17, 1, 0), shape))])
    assert neuron.abs().max() > 0
    assert (ours - neuron).abs().max() / neuron.abs().max() < 1e-5


def test_an_in_place_activation_of_a_part_of_a_map():
    def apart(x):
        return torch.cat([F.relu(x[:, :2]), x[:, 2:]], 1)

    def in_place(x):
        F.relu_(x[:, :2])
        return x
    image = images(1, 12)[0]
    torch.testing.assert_close(ex.guided_backpropagation(Rectified(in_place), image, 2), ex.guided_backpropagation(Rectified(apart), image, 2))


def test_an_activation_without_a_gradient_beside_one_that_has_it():
    def constant(x):
        with torch.no_grad():
            shift = F.relu(x).mean()
        return F.relu(x + 0 * shift)
    image = images(1, 12)[0]
    torch.testing.assert_close(ex.guided_backpropagation(Rectified(constant), image, 1), ex.guided_backpropagation(Rectified(F.relu), image, 1))


class Gated(nn.Module):
    """Squeeze and excitation: a gate that is made of more than the tensor it multiplies is no activation."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Conv2d(5, 5, 1)

    def forward(self, x):
        x = F.relu(x)
        return x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))


def test_gates_are_no_activations():
    assert ex.guided_backpropagation(Rectified(Gated()), images(1, 12)[0], 1).abs().max() > 0


class QuickGELU(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


@pytest.mark.parametrize("call, words", [
    (torch.tanh, "ran none of the activations"), (QuickGELU(), "computes QuickGELU"), (torch.jit.trace(F.relu, images(1)), "ran none"),
    (nn.Sequential(nn.ReLU(), QuickGELU()), "computes QuickGELU"), (lambda x: F.relu(x * torch.sigmoid(x)), "as a product"),
    (lambda x: x * F.relu6(x + 3) / 6, "as a product"), (timm.layers.activations.HardSwish(), "as a product"),
    (lambda x: F.relu(x) + x.sigmoid() * x, "as a product"),
    (lambda x: torch.utils.checkpoint.checkpoint(F.silu, x, use_reentrant=False), "checkpointing")])
def test_networks_that_cannot_be_guided_say_so(call, words):
    model = Rectified(call)
    with pytest.raises(ex.NotGuidable, match=words):
        ex.guided_backpropagation(model, images(1, 12)[0], 0)
    assert hooks_of(model) == 0 and ex.input_gradient(model, images(1, 12), 0).abs().max() > 0
    assert list(ex.explainers(model, images(1, 12))) == ["class activation map (CAM)", "gradient"]


def test_bad_input():
    model, image = Rectified(F.relu), images(1, 12)[0]
    for method in (ex.guided_backpropagation, ex.input_gradient, ex.class_activation_maps):
        with pytest.raises(ValueError, match="target is 4; legal is 0 to 3"):
            method(model, image, 4)
        with pytest.raises(ValueError, match="target is -1"):
            method(model, image, -1)
        with pytest.raises(ValueError, match=r"shape \(12, 12\)"):
            method(model, image[0], 0)
    for layer, words in (("head", "legal is one with positions"), ("conv3", "conv1")):
        with pytest.raises(ValueError, match=words):
            ex.class_activation_maps(model, image, 0, layer=layer)
    with pytest.raises(ValueError, match="legal is 0 to 499"):
        ex.guided_backpropagation(model, image, layer="conv1", units=[500])
    with pytest.raises(ValueError, match="together"):
        ex.guided_backpropagation(model, image, layer="conv1")
    with pytest.raises(ValueError, match="targets holds 3 numbers for 2 images"):
        ex.class_activation_maps(model, images(2, 12), [0, 1, 2])
    model.aside = nn.Conv2d(5, 5, 1)
    for call in (lambda: ex.guided_backpropagation(model, image, layer="aside", units=[0]), lambda: ex.feature_maps_of(model, image, "aside"),
                 lambda: ex.strongest_units(model, [image[None]], "aside"), lambda: ex.class_activation_maps(model, image, 0, layer="aside")):
        with pytest.raises(ValueError, match="'aside' was never called"):
            call()
    vit = seeded(torchvision.models.VisionTransformer, **SMALL_VIT)
    with pytest.raises(ValueError, match="gives a tuple; legal is a tensor"):
        ex.class_activation_maps(vit, images(2, 224), 0, layer="encoder.layers.encoder_layer_0.self_attention")
    with pytest.raises(ValueError, match="has no convolution"):
        ex.strongest_units(nn.Sequential(nn.Flatten(), nn.Linear(432, 3)), [images(1, 12)])


# ---------------------------------------------------------------------------------------------- neurons

@pytest.mark.parametrize("layer", ["conv1", "conv2", "head", None])
def test_strongest_units_are_those_of_the_stored_maps(layer):
    model, batch = Rectified(nn.ReLU(inplace=True)), images(5, 12)
    name, values, units = ex.strongest_units(model, [(batch[:3], torch.zeros(3)), batch[3:]], layer)
    assert name == (layer or "conv2")
    kept = []
    with feature_maps.capture(model, [name], lambda name, output: kept.append(output.detach().clone())), torch.no_grad():
        model(batch)
    stored = kept[0].reshape(5, kept[0].shape[1], -1)
    np.testing.assert_allclose(values, stored.amax(2), atol=1e-6)
    np.testing.assert_allclose(kept[0].flatten(1).gather(1, torch.from_numpy(units)), values, atol=1e-6)


def test_strongest_units_of_tokens():
    vit, batch, kept = seeded(timm.create_model, "vit_tiny_patch16_224", num_classes=3), images(2, 224), []
    _, values, units = ex.strongest_units(vit, [batch], "blocks.3")
    with feature_maps.capture(vit, ["blocks.3"], lambda name, output: kept.append(output)), torch.no_grad():
        vit(batch)
    np.testing.assert_allclose(values, kept[0].amax(1), atol=1e-4)
    np.testing.assert_allclose(kept[0].flatten(1).gather(1, torch.from_numpy(units)), values, atol=1e-4)


def test_of_a_layer_called_twice_the_last_call_counts():
    model, batch, kept = resnet18(), images(5), []
    _, values, units = ex.strongest_units(model, [batch[:3], batch[3:]], "layer1.0.relu")
    with feature_maps.capture(model, ["layer1.0.relu"], lambda name, output: kept.append(output.clone())), torch.no_grad():
        model(batch)
    assert len(kept) == 2 and values.shape == (5, 64)
    np.testing.assert_allclose(values, kept[1].amax((2, 3)), atol=1e-5)
    np.testing.assert_allclose(kept[1].flatten(1).gather(1, torch.from_numpy(units)), values, atol=1e-5)


def test_the_neurons_that_stand_out():
    values = np.array([[0.0, 1, 9, 5], [0, 2, 0, 5], [0, 3, 0, 5], [8, 4, 0, 5]])
    table = ex.choose_neurons(values, 2)
    assert table["channel"].tolist() == [0, 2] and table["image"].tolist() == [3, 0]  # each has an image of its own
    assert table["stands_out"].tolist() == pytest.approx([np.sqrt(3)] * 2) and table["value"].tolist() == [8, 9]
    assert ex.choose_neurons(values, 3)["channel"].tolist() == [0, 2, 1]
    assert ex.choose_neurons(values, 9)["channel"].tolist() == [0, 2, 1, 3]  # a constant channel comes last
    assert ex.choose_neurons(values, channels=[3, 1])["channel"].tolist() == [3, 1]
    with pytest.raises(ValueError, match="no channel 4; legal is 0 to 3"):
        ex.choose_neurons(values, channels=[4])


# ---------------------------------------------------------------------------------------------- class activation maps

@pytest.mark.parametrize("layer", ["conv2", "conv1"])
def test_grad_cam_is_its_definition_also_before_an_in_place_relu(layer):
    batch = images(2, 12)
    plain, in_place = Rectified(nn.ReLU()), Rectified(nn.ReLU(inplace=True))
    in_place.conv1.register_forward_hook(lambda m, i, o: None)  # a hook of the user's stays
    ours = ex.class_activation_maps(in_place, batch, [1, 3], layer=layer)
    assert ours.method == "Grad-CAM" and ours.layer == layer and hooks_of(in_place) == 1
    kept = []
    handle = getattr(plain, layer).register_forward_hook(lambda m, i, o: kept.append(o))
    logits = plain(batch)
    handle.remove()
    gradient = torch.autograd.grad(logits[0, 1] + logits[1, 3], kept[0])[0]
    expected = torch.einsum("nkij,nk->nij", kept[0], gradient.mean((2, 3))).detach()
    torch.testing.assert_close(torch.from_numpy(ours.maps), expected)
    enlarged = F.interpolate(expected[:, None], size=(12, 12), mode="bilinear")[:, 0]
    np.testing.assert_allclose(ours.heat(12), enlarged.clamp(min=0), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(ours.confidence, logits.softmax(1)[[0, 1], [1, 3]].detach(), rtol=1e-5)


@pytest.mark.parametrize("make, layer", [(torchvision.models.resnet18, "layer3"), (torchvision.models.vgg11, "features.18")])
def test_grad_cam_equals_captum(make, layer):
    from captum.attr import LayerGradCam

    model, batch = seeded(make), images(2, 96)
    expected = LayerGradCam(model, model.get_submodule(layer)).attribute(batch, target=[3, 8])[:, 0].detach().numpy()
    ours = ex.class_activation_maps(model, batch, [3, 8], layer=layer).maps
    assert np.abs(ours - expected).max() < 1e-5 * np.abs(expected).max()


def gap_network():
    return scratch_networks.ConvNetGAP(4, widths=[6, 8])


def averaging(average, after=torch.clone):
    """Ends in an average, however it is written, and a linear layer; another linear layer, not used, comes last."""
    model = Rectified(F.relu)
    model.unused = nn.Linear(5, 4)
    model.forward = lambda x: after(model.head(average(torch.relu(model.conv2(torch.relu(model.conv1(x)))))))
    return model


AVERAGES = [lambda x: x.mean(3).mean(2), lambda x: x.flatten(2).mean(-1), lambda x: x.view(*x.shape[:2], -1).mean(2),
            lambda x: x.sum((2, 3)) / (x.shape[2] * x.shape[3]), lambda x: torch.mean(input=x, dim=(2, 3)),
            lambda x: F.avg_pool2d(x, x.shape[2:]).flatten(1), lambda x: F.adaptive_avg_pool2d(input=x, output_size=1)[..., 0, 0]]


@pytest.mark.parametrize("average", AVERAGES)
def test_however_the_average_is_written(average):
    model, batch = averaging(average), images(2, 12)
    found = ex.class_activation_maps(model, batch, 2)
    assert found.method == "CAM" and found.residual < 1e-5 and found.layer == "the input of global average pooling"
    with torch.no_grad():
        maps = torch.relu(model.conv2(torch.relu(model.conv1(batch))))
    np.testing.assert_allclose(found.maps, torch.einsum("nchw,c->nhw", maps, model.head.weight[2]).detach(), atol=1e-5)


@pytest.mark.parametrize("model", [averaging(AVERAGES[0], torch.tanh), averaging(lambda x: x.amax((2, 3))), averaging(lambda x: x.mean((2, 3)) ** 2)])
def test_what_is_no_cam_is_not_called_one(model):
    assert ex.class_activation_maps(model, images(2, 12), 2).method == "Grad-CAM"


class Squeezed(nn.Module):
    """Averages in its middle (squeeze and excitation), and ends in a maximum."""

    def __init__(self):
        super().__init__()
        self.first, self.gate, self.last, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, 2), nn.Linear(4, 3)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()
        return self.head(torch.relu(self.last(x)).amax((2, 3)))


def test_squeeze_and_excitation_is_not_the_ending():
    found = ex.class_activation_maps(seeded(Squeezed), images(2, 16))
    assert (found.method, found.layer, found.maps.shape) == ("Grad-CAM", "last", (2, 6, 6))


def test_maps_of_a_stage_that_gives_channels_last():
    swin = seeded(timm.create_model, "swin_tiny_patch4_window7_224", num_classes=5)
    assert ex.class_activation_maps(swin, images(1, 224), layer="layers.2").maps.shape == (1, 14, 14)
    assert ex.feature_maps_of(seeded(torchvision.models.swin_t), images(1, 96)[0], "features.7").shape == (768, 3, 3)
    vit = seeded(timm.create_model, "vit_tiny_patch16_224", num_classes=3, qk_norm=True)
    assert ex.class_activation_maps(vit, images(1, 224)).layer == "blocks.11.norm1"


def test_networks_that_change_their_input_or_return_a_dictionary():
    model, batch = averaging(AVERAGES[0]), images(12, 12)
    forward = model.forward
    model.forward = lambda x: {"logits": forward(x.mul_(2))}
    expected = ex.class_activation_maps(averaging(AVERAGES[0]), batch * 2, 1).maps
    np.testing.assert_allclose(ex.class_activation_maps(model, batch, 1).maps, expected, rtol=1e-4, atol=1e-6)
    assert ex.input_gradient(model, batch, 1).shape == ex.guided_backpropagation(model, batch, 1).shape == batch.shape
    assert ex.occlusion_check(model, batch)[0].notna().all(axis=None)


def lite():
    return helpers.build_network("efficientnet_lite0", 6, weights="random")[0]


@pytest.mark.parametrize("make, layer", [
    (resnet18, "layer4.1"), (gap_network, None), (lite, "bn2"), (lambda: Rectified(F.relu), "the input of global average pooling"),
    (lambda: torchvision.models.densenet121(num_classes=5), "the input of global average pooling"),
    (lambda: torchvision.models.efficientnet_b0(num_classes=5), "features.8"),
    (lambda: timm.create_model("swin_tiny_patch4_window7_224", num_classes=5), "norm")])
def test_cam_adds_up_to_the_logit_and_equals_grad_cam_up_to_scale(make, layer):
    model = seeded(make)
    batch = images(2, {"SwinTransformer": 224, "ConvNetGAP": 32}.get(type(model).__name__, 96))
    found = ex.class_activation_maps(model, batch, 1)
    assert found.method == "CAM" and (layer is None or found.layer == layer) and hooks_of(model) == 0
    with torch.no_grad():
        logits = model(batch).numpy()
    bias = model.get_submodule(helpers.find_head(model)).bias.detach().numpy()[1]
    np.testing.assert_allclose(found.maps.mean((1, 2)) + bias, logits[:, 1], rtol=1e-3, atol=1e-5)
    grad_cam = ex.grad_cam(model, batch, 1, None)  # at the same maps; theory: 1/(h·w) of it
    positions = found.maps[0].size
    np.testing.assert_allclose(grad_cam.maps * positions, found.maps, rtol=1e-3, atol=1e-5 * np.abs(found.maps).max())
    assert positions > 1 and (grad_cam.method, grad_cam.layer) == ("Grad-CAM", found.layer)


@pytest.mark.parametrize("name, layer, side", [
    ("vgg11", "features.18", 6), ("mobilenet_v3_small", "features.12", 3), ("squeezenet1_0", "classifier.2", 5),
    ("vit_b_16", "encoder.layers.encoder_layer_11.ln_1", 14)])
def test_grad_cam_elsewhere(name, layer, side):
    model = seeded(torchvision.models.VisionTransformer, **SMALL_VIT) if name == "vit_b_16" else seeded(torchvision.models.get_model, name)
    found = ex.class_activation_maps(model, images(2, 224 if name == "vit_b_16" else 96))
    assert (found.method, found.layer) == ("Grad-CAM", layer.replace("_11.", "_1."))
    assert found.maps.shape == (2, side, side) and np.ptp(found.maps) > 0 and hooks_of(model) == 0


def test_a_hidden_layer_in_the_head_makes_it_grad_cam():
    model = resnet18()
    helpers.deepen_head(model, "mlp:16:0.1")
    found = ex.class_activation_maps(model.eval(), images(2))
    assert (found.method, found.layer) == ("Grad-CAM", "layer4.1")


def test_explaining_within_inference_mode():
    with torch.inference_mode():
        model, batch = Rectified(nn.ReLU(inplace=True)), images(2, 12)
    model = Rectified(nn.ReLU(inplace=True))
    with torch.inference_mode():
        inside = ex.class_activation_maps(model, batch, 0).maps, ex.guided_backpropagation(model, batch, 0).numpy()
    np.testing.assert_array_equal(inside[0], ex.class_activation_maps(model, batch.clone(), 0).maps)
    np.testing.assert_array_equal(inside[1], ex.guided_backpropagation(model, batch.clone(), 0))


# ---------------------------------------------------------------------------------------------- random weights

@pytest.mark.parametrize("make, first, last", [
    (torchvision.models.resnet18, ["fc", "layer4.1", "layer4.0"], "conv1"),
    (torchvision.models.vgg11, ["classifier.6", "classifier.3", "classifier.0", "features.18"], "features.0"),
    (gap_network, ["output"], None), (lite, ["classifier", "bn2", "conv_head", "blocks.6"], "conv_stem"),
    (lambda: nn.DataParallel(torchvision.models.resnet18()), ["module.fc", "module.layer4.1"], "module.conv1"),
    (lambda: torchvision.models.VisionTransformer(**SMALL_VIT | {"num_layers": 8}), ["heads.head", "encoder.ln", "encoder.layers.encoder_layer_7"], "conv_proj")])
def test_weights_are_drawn_anew_from_the_top_down(make, first, last):
    model, fresh = seeded(make), make()
    units = ex.weight_units(model)
    assert units[:len(first)] == first and (last is None or units[-1] == last)
    owned = {name for unit in units for name, _ in model.get_submodule(unit).named_parameters(prefix=unit)}
    assert {name for name, _ in model.named_parameters()} - owned <= {"class_token", "encoder.pos_embedding"}
    before, changed = copy.deepcopy(model.state_dict()), []
    for down_to, network in ex.randomise(model, fresh, units, 4):
        now = network.state_dict()
        assert all(torch.equal(now[name], value) or torch.equal(now[name], fresh.state_dict()[name]) for name, value in before.items())
        changed.append((down_to, {name for name, value in before.items() if not torch.equal(value, now[name])}))
    assert changed[0] == ("nothing", set()) and changed[1][0] == units[0] and changed[-1][0] == units[-1]
    assert {name.rpartition(".")[0] for name in changed[1][1]} == {units[0]}
    assert all(small < large for (_, small), (_, large) in zip(changed, changed[1:], strict=False)) and len(changed) == 1 + min(4, len(units))
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in network.state_dict().items())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert len(list(ex.randomise(model, fresh, units, 1))) == 2 and ex.weight_units(nn.Sequential(nn.Linear(2, 2))) == ["0"]


def test_rank_correlation():
    a = np.arange(12.0).reshape(3, 4)
    assert ex.rank_correlation(a, a**3) == pytest.approx(1) and ex.rank_correlation(a, -a) == pytest.approx(-1)
    assert ex.rank_correlation(np.array([[1, 2, 3]]), np.array([[1, 3, 2]])) == pytest.approx(0.5)
    assert np.isnan(ex.rank_correlation(a, np.ones((3, 4)))) and np.isnan(ex.rank_correlation(a, a * np.nan))


def another_gap_network(seed=77):
    torch.manual_seed(seed)
    return scratch_networks.ConvNetGAP(4, widths=[6, 8]).eval()


def test_the_check_compares_the_network_of_each_step_and_draw():
    """Every row worked out again: the class that the trained network predicts, the maps of that draw's network at that step."""
    model, fresh, batch = seeded(gap_network), [another_gap_network(77), another_gap_network(78)], images(12, 32)
    found = ex.randomisation_check(model, fresh, batch, n_steps=3, batch_size=5)
    with torch.no_grad():
        targets = model(batch).argmax(1)
        assert all((network(batch).argmax(1) != targets).any() for network in fresh)
    rows = found.table.set_index(["step", "method", "draw", "image"])["correlation"]
    cascades = [[(name, copy.deepcopy(network)) for name, network in ex.randomise(model, weights, ex.weight_units(model), 3)] for weights in fresh]
    explained = {"class activation map (CAM)": lambda net: ex.class_activation_maps(net, batch, targets).maps,
                 "gradient": lambda net: ex.input_gradient(net, batch, targets).abs().sum(1).numpy(),
                 "guided backpropagation": lambda net: ex.guided_backpropagation(net, batch, targets).abs().sum(1).numpy()}
    for draw, cascade in enumerate(cascades):
        assert [name for name, _ in cascade] == list(found.pictures) and len(cascade) == 4
        for step, (down_to, network) in enumerate(cascade):
            for method, explain in explained.items():
                trained, maps = explain(model), explain(network)
                for image in (draw, 6 + draw, 10 + draw):  # dealt in turn
                    assert rows[step, method, draw, image] == pytest.approx(ex.rank_correlation(trained[image], maps[image]), abs=1e-3)
                if draw == 0:
                    np.testing.assert_allclose(found.pictures[down_to][method], maps[0], rtol=1e-3, atol=1e-6)
    means = found.table.groupby(["method", "step"])["correlation"].mean()
    assert (means[:, 0] > 0.999).all() and (means[:, 3].abs() < 0.9).all()
    cams = ex.class_activation_maps(model, batch, targets).maps
    controls = found.controls.set_index(["method", "control", "image"])["correlation"]
    assert controls["class activation map (CAM)", "another image", 3] == pytest.approx(ex.rank_correlation(cams[3], cams[2]), abs=1e-3)
    assert controls["gradient", "edges", 2] == pytest.approx(
        ex.rank_correlation(ex.edge_strength(batch)[2], ex.input_gradient(model, batch, targets).abs().sum(1)[2].numpy()), abs=1e-3)


@pytest.mark.parametrize("n_draws, n_images", [(1, 10), (3, 10), (5, 10), (4, 2)])
def test_each_image_belongs_to_one_draw(monkeypatch, n_draws, n_images):
    explained, explain = [], ex._explain
    monkeypatch.setattr(ex, "_explain", lambda method, network, part, *more: explained.append(len(part)) or explain(method, network, part, *more))
    found = ex.randomisation_check(seeded(gap_network), [another_gap_network(seed) for seed in range(n_draws)], images(n_images, 32), n_steps=2)
    for _, rows in found.table.groupby(["step", "method"]):
        assert sorted(rows["image"]) == list(range(n_images)) and set(rows["draw"]) == set(range(min(n_draws, n_images)))
        assert rows.groupby("draw").size().max() - rows.groupby("draw").size().min() <= 1
    assert (found.table.groupby("image")["draw"].nunique() == 1).all()
    assert sum(explained) == 3 * 3 * n_images  # methods, steps: more draws cost no more images


def test_draws_of_random_weights_must_differ():
    model, batch = seeded(gap_network), images(2, 32)
    with pytest.raises(ValueError, match="draws 0 and 2 of fresh hold the same weights"):
        ex.randomisation_check(model, [another_gap_network(seed) for seed in (1, 2, 1)], batch)
    with pytest.raises(ValueError, match="fresh holds 0 networks; legal is 1 or more"):
        ex.randomisation_check(model, [], batch)


def test_a_fresh_network_whose_head_is_zero():
    """As torchvision's vision transformers are: no map can be ranked, and that is told."""
    fresh = torchvision.models.VisionTransformer(**SMALL_VIT)
    assert not fresh.heads.head.weight.any()
    found = ex.randomisation_check(seeded(torchvision.models.VisionTransformer, **SMALL_VIT), [fresh], images(10, 224), n_steps=2)
    rows = found.table[found.table["method"].str.startswith("class activation map (Grad-CAM)")]
    assert rows.query("step == 0")["correlation"].min() > 0.999 and rows.query("step > 0")["correlation"].isna().all()
    assert all("no verdict, since only 0 of 10" in line for line in ex.told_randomisation(found))


def test_edges_of_an_image():
    image = torch.zeros(1, 3, 6, 6)
    image[:, :, :, 3:] = 2
    assert ex.edge_strength(image)[0].tolist() == [[0, 0, 1, 1, 0, 0]] * 6


def test_a_method_that_does_not_change_is_told_so():
    model, batch = seeded(gap_network), images(12, 32)
    same = ex.randomisation_check(model, [copy.deepcopy(model)], batch, n_steps=3, batch_size=4)
    assert same.table["correlation"].tolist() == pytest.approx([1.0] * len(same.table))
    for line in ex.told_randomisation(same):
        assert "does not change** when the classifier" in line and "it does not change either" in line and "were drawn once" in line
    alone = ex.randomisation_check(model, [copy.deepcopy(model)], batch[:1])
    assert alone.controls.query("control != 'edges'")["correlation"].isna().all()
    assert all("no verdict, since only 1 of 1" in line for line in ex.told_randomisation(alone))


# ---------------------------------------------------------------------------------------------- intervals and chance

def test_the_interval_over_draws_holds_the_variance_between_draws():
    values, draws = [0.1, 0.3, 0.5, 0.7, 0.2, 0.4], [0, 0, 1, 1, 2, 2]  # means 0.2, 0.6, 0.3
    expected = scipy.stats.t.interval(0.95, 2, np.mean([0.2, 0.6, 0.3]), np.std([0.2, 0.6, 0.3], ddof=1) / np.sqrt(3))
    assert ex.interval_over_draws(values, draws) == pytest.approx((1.1 / 3, *expected, 3))
    assert ex.interval_over_draws([*values, np.nan], [*draws, 3]) == pytest.approx((1.1 / 3, *expected, 3))
    same_within = np.repeat([0.2, 0.6], 50)  # a hundred images, two draws: nothing but the draws varies
    mean, low, high, n = ex.interval_over_draws(same_within, np.repeat([0, 1], 50))
    assert (mean, n) == (pytest.approx(0.4), 2) and high - low > 2
    assert ex.interval_over_draws(values, [0] * 6) == (*ex.mean_interval(values), 1)
    assert np.isnan(ex.interval_over_draws([np.nan] * 3, [0, 1, 2])[:3]).all()


@pytest.mark.parametrize("between, within", [(0.0, 0.2), (0.1, 0.2), (0.2, 0.05)])
def test_the_interval_over_draws_covers(between, within):
    rng, draws = np.random.default_rng(3), np.tile(np.arange(5), 6)
    held = 0
    for _ in range(400):
        values = 0.5 + between * rng.standard_normal(5)[draws] + within * rng.standard_normal(30)
        _, low, high, _ = ex.interval_over_draws(values, draws)
        held += low <= 0.5 <= high
    assert 0.92 <= held / 400 <= 0.98


def test_the_simulated_coverage_of_the_intervals():
    spec = importlib.util.spec_from_file_location("coverage_benchmark", helpers.ROOT / "benchmarks" / "coverage_attribution.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    rows = pd.DataFrame(benchmark.attribution_rows(samples=150))
    assert list(rows) == ["interval", "setting", "images", "coverage", "Monte-Carlo error", "mean width"]
    many = rows["interval"].isin(["mean |ρ|, 5 draws", "mean |ρ|, 2 draws"]) | (rows["images"] >= ex.ENOUGH)
    assert (rows[many]["coverage"] > 0.86).all() and rows[many]["coverage"].mean() == pytest.approx(0.945, abs=0.02)
    alone = rows[rows["interval"].str.contains("1 draw:") & rows["setting"].str.contains("differ as much")]
    assert (alone["coverage"] < 0.6).all()  # what the note of told_randomisation says


def smooth_maps(n, size, width, seed):
    """n maps of noise, blurred by `width` positions, cut out of larger ones: nothing wraps round."""
    noise = np.random.default_rng(seed).standard_normal((n, size + int(8 * width), size + int(8 * width)))
    margin = int(4 * width)
    return scipy.ndimage.gaussian_filter(noise, (0, width, width))[:, margin:margin + size, margin:margin + size]


@pytest.mark.parametrize("size, width", [(5, 1.0), (5, 2.0), (7, 1.5), (10, 2.0), (14, 1.0), (14, 4.0), (40, 2.0)])
def test_chance_is_what_unrelated_smooth_maps_have(size, width):
    a, b = smooth_maps(300, size, width, 1), smooth_maps(300, size, width, 2)
    unrelated = np.mean([abs(ex.rank_correlation(x, y)) for x, y in zip(a, b, strict=True)])
    chance = np.mean([abs(value) for _, value in ex.chance_correlations(a[:60], n=5)])
    assert chance == pytest.approx(unrelated, rel=0.2)
    assert unrelated > 0.06  # not 0, and for the smooth ones far from it


def test_chance_takes_maps_that_can_be_ranked():
    maps = smooth_maps(4, 6, 1, 0)
    maps[1], maps[2, 0, 0] = 3, np.nan
    assert {image for image, _ in ex.chance_correlations(maps)} == {0, 3}
    assert ex.chance_correlations(maps[:2]) == [] and ex.images_before(maps) == [3, None, None, 0]
    assert ex.images_before(maps[:3]) == [None] * 3
    assert ex.chance_correlations(maps, seed=1) == ex.chance_correlations(maps, seed=1) != ex.chance_correlations(maps, seed=2)
    own, other = np.abs(maps[[0, 3]]), ex.unrelated_maps(maps[[0, 3]])
    assert other.shape == own.shape and abs(ex.rank_correlation(own[0], other[0])) < 0.99


# ---------------------------------------------------------------------------------------------- verdicts

def randomised(steps, *, another=0.1, unrelated=0.28, spread=0.05, n_draws=5, n_images=30, draw_spread=0.0, seed=0):
    """A Randomisation of one method "gradient" whose |ρ| are about `steps` below "nothing", unrelated maps' about `unrelated`."""
    rng, names = np.random.default_rng(seed), ["nothing", "head", *(f"layer{n}" for n in range(len(steps) - 1, 0, -1))]
    shift = draw_spread * rng.standard_normal(n_draws)
    rows = [(step, down, "gradient", image % n_draws, image, value + (step > 0) * (spread * rng.standard_normal() + shift[image % n_draws]))
            for step, (down, value) in enumerate(zip(names, (1.0, *steps), strict=True)) for image in range(n_images)]
    controls = [("gradient", name, image, value) for name, value in (("another image", another), (ex.UNRELATED, unrelated)) for image in range(n_images)]
    return ex.Randomisation(pd.DataFrame(rows, columns=["step", "down_to", "method", "draw", "image", "correlation"]),
                            pd.DataFrame(controls, columns=["method", "control", "image", "correlation"]), {})


@pytest.mark.parametrize("steps, another, words", [
    ((0.2, 0.1), 0.1, ["**gradient** changes as soon as the classifier is drawn anew (|ρ| 0.", "below the bar of 0.64; chance 0.28", "So it does at every further step"]),
    ((0.9, 0.8, 0.1), 0.1, ["**gradient does not change** when", "above the bar of 0.64", "From the step on where the weights down to layer1 are drawn anew it changes at every step"]),
    ((0.9, 0.8), 0.1, ["does not change** when", "With all weights drawn anew it does not change either", "it shows the image, not what"]),
    ((0.9, 0.8), 0.9, ["as alike: it shows where things usually are"]),
    ((0.3, 0.9), 0.1, ["changes as soon as", "With all weights drawn anew it does not change (|ρ| 0.9"]),
    ((0.2, 0.9, 0.2), 0.1, ["changes as soon as", "down to layer1 are drawn anew it changes at every step"]),
    ((0.64, 0.1), 0.1, ["Whether **gradient** changes when the classifier is drawn anew cannot be told (|ρ| 0.6", "around the bar of 0.64", "down to layer1 are drawn anew it changes"]),
    ((0.64, 0.64), 0.1, ["cannot be told (", "With all weights drawn anew it cannot be told, either"]),
    ((-0.95, -0.9), 0.1, ["**gradient does not change** when the classifier"]),
    ((0.2, np.nan), 0.1, ["no verdict, since only 0 of 30 images"])])
def test_verdicts_on_random_weights(steps, another, words):
    line, = ex.told_randomisation(randomised(steps, another=another))
    assert all(word in line for word in words), line


def test_the_issue_s_two_sentences():
    """0.203 (0.188 to 0.219) is clearly below; an interval around the bar is not "no change"."""
    clear, = ex.told_randomisation(randomised((0.203, 0.203), spread=0.015))
    assert "changes as soon as" in clear and "in part" not in clear and "not clearly" not in clear
    open_, = ex.told_randomisation(randomised((0.64, 0.64), spread=0.02))
    assert "cannot be told" in open_ and "not change" not in open_


def test_the_bar_moves_with_chance():
    """The same |ρ| of 0.55 is above the bar where unrelated maps have 0, below it where they have 0.4."""
    smooth, rough = (ex.summarise_randomisation(randomised((0.55,), unrelated=chance, spread=0.01)).iloc[1] for chance in (0.4, 0.0))
    assert (smooth["bar"], smooth["verdict"]) == (0.7, "changed") and (rough["bar"], rough["verdict"]) == (0.5, "not changed")


NUMBERS = re.compile(r"\|ρ\| (\S+), (\S+) to (\S+), (below|above|around) the bar(?: of (\S+); chance ([\d.]+))?")


@settings(max_examples=50, deadline=None)
@given(steps=st.lists(st.floats(-1, 1) | st.just(float("nan")) | st.floats(0.6, 0.68), min_size=1, max_size=4), unrelated=st.floats(0, 1),
       another=st.floats(-1, 1) | st.just(float("nan")), spread=st.sampled_from([0, 0.001, 0.1]), draw_spread=st.sampled_from([0, 0.02, 0.3]),
       n_draws=st.integers(1, 6), n_images=st.integers(1, 12))
def test_no_sentence_on_random_weights_contradicts_its_numbers(n_images, **options):
    found = randomised(n_images=n_images, **options)
    (line,), rows = ex.told_randomisation(found), ex.summarise_randomisation(found)
    assert "nan" not in line and ("no verdict" in line) == (n_images < ex.FEWEST or np.isnan(options["steps"]).any())
    written = ex.results(None, found, None)["randomisation"]["gradient"]
    assert list(written["down_to"].values()) == pytest.approx(rows["|ρ|"].tolist(), nan_ok=True) and bool(written["no_verdict"]) == ("no verdict" in line)
    if "no verdict" in line:
        return
    told = [(float(mean), float(low), float(high), word) for mean, low, high, word, *_ in NUMBERS.findall(line)]
    bar, chance = (float(value) for value in NUMBERS.search(line).groups()[4:])
    assert bar == pytest.approx((1 + chance) / 2, abs=0.0051) and len(told) == 1 + (len(options["steps"]) > 1)
    for mean, low, high, word in told:
        assert 0 <= low <= mean <= high <= 1 and word == ("below" if high < bar else "above" if low > bar else "around")
    first, last = told[0][3], told[-1][3]
    assert (first == "below") == ("changes as soon as" in line) and (first == "above") == ("does not change** when" in line)
    assert (first == "around") == ("is drawn anew cannot be told" in line)
    if len(told) > 1:
        assert (last == "below") == ("(all weights:" in line) and (last == "above") == ("all weights drawn anew it does not change" in line)
        assert (last == "around") == ("all weights drawn anew it cannot be told" in line)
    assert ("drawn once" in line) == (options["n_draws"] == 1)


def test_one_statistic_everywhere():
    """Figure, table, sentence and results show the same mean |ρ| with its interval, chance and bar."""
    found = randomised((-0.3, 0.7), unrelated=-0.2, another=-0.4, draw_spread=0.05)
    rows = ex.summarise_randomisation(found)
    values = found.table.query("step == 1")
    assert rows["|ρ|"].tolist()[1] == pytest.approx(values["correlation"].abs().mean(), abs=6e-4) and (rows["chance"] == 0.2).all() and (rows["bar"] == 0.6).all()
    line, = ex.told_randomisation(found)
    assert f"|ρ| {rows['|ρ|'][1]:.3f}, {rows['low'][1]:.3f} to {rows['high'][1]:.3f}, below the bar of 0.60; chance 0.20" in line
    ax = ex.plot_randomisation(found).axes[0]
    lines = {line.get_label(): line.get_ydata() for line in ax.lines}
    assert set(lines["bar, halfway from chance to 1"]) == {0.6} and lines["map of another image"] == pytest.approx([0.4, 0.4])
    assert next(patch for patch in ax.patches if "chance" in patch.get_label()).get_y() + ax.patches[0].get_height() == pytest.approx(0.2)
    drawn = next(container for container in ax.containers)
    assert drawn[0].get_ydata().tolist() == rows["|ρ|"].tolist()
    bars = np.array([segment[:, 1] for segment in drawn[2][0].get_segments()])
    np.testing.assert_allclose(bars, rows[["low", "high"]])
    written = ex.results(None, found, None)["randomisation"]["gradient"]
    assert list(written["down_to"].values()) == rows["|ρ|"].tolist() and written["baselines"]["another image"] == pytest.approx(0.4)
    assert written["interval"]["head"] == [rows["low"][1], rows["high"][1]] and (written["bar"], written["chance"]) == (0.6, 0.2)
    assert ex.randomisation_baselines(found)["another image"].tolist() == pytest.approx([0.4])
    assert f"{rows['|ρ|'][1]:.2f}, {rows['|ρ|'][2]:.2f} (chance 0.20, bar 0.60)" in ex.describe_randomisation(found)


class Constant(nn.Module):
    """All of its maps are constant: its convolution is 0."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)
        with torch.no_grad():
            self.conv.weight.fill_(0)
            self.conv.bias.fill_(1)

    def forward(self, x):
        return self.head(F.relu(self.conv(x)).mean((2, 3)))


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_maps_that_are_all_constant_give_no_verdict_and_no_error():
    batch = images(12, 16)
    checked = ex.randomisation_check(Constant(), [seeded(Constant)], batch, n_steps=2)
    assert checked.table["correlation"].isna().all()
    assert all("no verdict, since only 0 of 12" in line for line in ex.told_randomisation(checked))
    assert len(ex.plot_randomisation(checked).axes) == 3 and "nan" in ex.describe_randomisation(checked)
    ex.plot_randomised(np.zeros((16, 16, 3)), checked.pictures)
    assert list(ex.randomisation_baselines(checked)) == ["method", "another image", "edges"]
    occluded, masks = ex.occlusion_check(Constant(), batch)
    assert occluded[list(ex.HIDINGS)].isna().all(axis=None) and ex.middle_image(occluded) is None
    assert ex.told_occlusion(occluded)[0].startswith("No verdict: only 0 of 12 images")
    found = ex.results(None, checked, occluded)
    assert found["occlusion"]["no_verdict"].startswith("No verdict") and found["randomisation"]["gradient"]["no_verdict"]


# ---------------------------------------------------------------------------------------------- occlusion

def test_the_hottest_tenth():
    maps = np.random.default_rng(0).random((3, 10, 20))
    masks = ex.hottest(maps)
    assert masks.sum((1, 2)).tolist() == [20] * 3
    assert all(maps[i][masks[i]].min() > maps[i][~masks[i]].max() for i in range(3))
    assert ex.hottest(np.zeros((1, 10, 10)), 0.25).sum() == 25
    hidden = ex.hidings(maps, seed=1)
    assert list(hidden) == list(ex.HIDINGS) and {mask.sum() for masks in hidden.values() for mask in masks} == {20}
    np.testing.assert_array_equal(hidden[ex.HIDINGS[2]][1], masks[0])
    assert any((np.roll(masks[0], (y, x), (0, 1)) == hidden[ex.HIDINGS[1]][0]).all() for y in range(10) for x in range(20))
    places = [[place for place in np.ndindex(10, 20) if (np.roll(mask, place, (0, 1)) == moved).all()][0] for mask, moved in
              zip(ex.hottest(np.random.default_rng(1).random((30, 10, 20))), ex.hidings(np.random.default_rng(1).random((30, 10, 20)))[ex.HIDINGS[1]], strict=True)]
    assert len({y for y, _ in places}) > 5 and len({x for _, x in places}) > 10  # moved along both axes
    assert not np.array_equal(hidden[ex.HIDINGS[1]], ex.hidings(maps, seed=2)[ex.HIDINGS[1]])


class Spot(nn.Module):
    """Its score is the brightness of the brightest part of the image, wherever that is."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 1, 1, bias=False), nn.Linear(1, 2)
        with torch.no_grad():
            self.conv.weight.fill_(1)
            self.head.weight[:] = torch.tensor([[8.0], [-8.0]])
            self.head.bias[:] = torch.tensor([-2.0, 2.0])

    def forward(self, x):
        return self.head(F.adaptive_avg_pool2d(self.conv(x), 1).flatten(1))


def spots(n=40):
    """Images (n,1,20,20), 0 but for a square of 6×6 pixels (9 % of the image) at a random place."""
    rng, batch = np.random.default_rng(0), torch.zeros(n, 1, 20, 20)
    for image, (y, x) in zip(batch, rng.integers(0, 14, (n, 2)), strict=True):
        image[0, y:y + 6, x:x + 6] = 5
    return batch


def test_hiding_what_counts_costs_more_than_hiding_something_else():
    table, masks = ex.occlusion_check(Spot(), spots(), batch_size=16)
    assert (table["hottest tenth"] > 0.4).all() and table["random tenth"].mean() < 0.3  # nearly nothing is left of the spot
    assert (table["hottest tenth"] >= table["hottest tenth of another image"] - 1e-6).all()
    first, expected = spots()[:1], ex.hidings(ex.class_activation_maps(Spot(), spots()).enlarged(20))
    assert all((masks[name] == expected[name]).all() for name in ex.HIDINGS)
    for name in ex.HIDINGS:
        hidden = torch.where(torch.from_numpy(masks[name][0]), torch.zeros(()), first)
        drop = Spot()(first).softmax(1)[0, 0] - Spot()(hidden).softmax(1)[0, 0]
        assert table[name].iloc[0] == pytest.approx(drop.item(), abs=1e-5)
    told = ex.told_occlusion(table)
    assert "40 images" in told[0] and all("points at what the score depends on" in line for line in told[1:3])


@pytest.mark.parametrize("drops, words", [
    ((0.1, 0.1, 0.1), "no difference is shown"), ((0, 0.2, 0.2), "points away"), ((0.3, 0.1, 0.1), "points at what"),
    ((-0.02, -0.06, -0.06), "costs any confidence is not shown")])  # hiding it raises the confidence, if less than elsewhere
def test_verdicts_on_occlusion(drops, words):
    rng = np.random.default_rng(0).normal(0, 0.01, (3, 60))
    table = pd.DataFrame(dict(zip(ex.HIDINGS, np.array(drops)[:, None] + rng, strict=True)))
    told = ex.told_occlusion(table)
    assert len(told) == 3 and all(words in line for line in told[1:])
    assert "Of fewer than 60 images" in ex.told_occlusion(table.head(59))[3]
    few, = ex.told_occlusion(table.head(9))
    assert few.startswith("No verdict: only 9 of 9 images have a map that points somewhere") and few.endswith("it takes 10.")


COSTS = re.compile(r"(-?[\d.]+) points \((-?[\d.]+) to (-?[\d.]+)\)")
DROPS = st.floats(-1, 1) | st.sampled_from([0.0, 0.0004, -0.0004, 1.0]) | st.just(float("nan"))


@settings(max_examples=100, deadline=None)
@given(drops=st.lists(st.tuples(DROPS, DROPS, DROPS), min_size=1, max_size=13) | st.tuples(DROPS, DROPS, DROPS).map(lambda row: [row] * 10),
       shift=st.sampled_from([0.0, 0.3, -0.3]))
def test_no_sentence_on_occlusion_contradicts_its_numbers(drops, shift):
    table = pd.DataFrame(drops, columns=list(ex.HIDINGS))
    table[ex.HIDINGS[0]] = (table[ex.HIDINGS[0]] / 2 + shift).clip(-1, 1)
    table = table.where(table.sub(table[ex.HIDINGS[0]], axis=0).abs() <= 1)  # of one confidence: no further apart
    measured, told = table.dropna(), ex.told_occlusion(table)
    written = ex.results(None, None, table)["occlusion"]
    assert written["images"] == len(measured) and (written["no_verdict"] is None) == (len(measured) >= 10)
    middle = ex.middle_image(table)
    assert (middle is None) == measured.empty and (middle is None or table.iloc[middle].notna().all())
    if len(measured) < ex.FEWEST:
        assert told == [written["no_verdict"]] and f"only {len(measured)} of {len(table)} images" in told[0]
        return
    hottest = [float(number) for number in COSTS.findall(told[0])[0]]
    assert "nan" not in "".join(told) and "-0.0 " not in "".join(told) and len(COSTS.findall(told[0])) == 3
    assert "**" not in ex.describe_occlusion(table) and f"means over {len(measured)} images" in ex.describe_occlusion(table)
    for name, line in zip(ex.HIDINGS[1:], told[1:3], strict=True):
        mean, low, high = (float(number) for number in COSTS.findall(line)[0])
        assert mean == pytest.approx(100 * (measured[ex.HIDINGS[0]] - measured[name]).mean(), abs=0.051) and low <= mean <= high
        assert ("points at" in line) == (low > 0 and hottest[1] > 0) and ("points away" in line) == (high < 0)
        assert ("no difference is shown" in line) == (low <= 0 <= high) and ("is not shown" in line) == (low > 0 >= hottest[1])


@pytest.mark.parametrize("drops", [[np.nan, 0.1], [np.nan, np.nan], [0.3, 0.3], [0.2]])
def test_the_figure_of_occlusion_shows_what_is_told(drops):
    table = pd.DataFrame({name: drops for name in ex.HIDINGS})
    figure = ex.plot_occlusion(np.zeros((4, 4, 3)), {name: np.eye(4, dtype=bool) for name in ex.HIDINGS}, ["x"] * 4, table)
    dots = figure.subfigs[1].axes[0].collections[0].get_offsets()
    assert dots[:, 0].tolist() == [100 * drop for drop in drops if not np.isnan(drop)]


def test_a_map_that_points_nowhere_is_left_out():
    batch = spots(12)
    batch[3] = 0
    table, masks = ex.occlusion_check(Spot(), batch)
    assert table[list(ex.HIDINGS)].isna().any(axis=1).tolist() == [index == 3 for index in range(12)]
    np.testing.assert_array_equal(masks[ex.HIDINGS[2]][4], masks[ex.HIDINGS[0]][2])  # the one before that has a map
    assert "means over 11 images" in ex.told_occlusion(table)[0]
    assert ex.occlusion_check(Spot(), batch[:1])[0][ex.HIDINGS[2]].isna().all()
    assert ex.occlusion_check(Spot(), batch[2:4])[0][ex.HIDINGS[2]].isna().all()  # one map, and none to compare with


def test_the_image_in_the_middle():
    table = pd.DataFrame(dict.fromkeys(ex.HIDINGS, [np.nan, 0.9, 0.1, np.nan, 0.3]))
    assert ex.middle_image(table) == 4 and ex.middle_image(table.head(1)) is None


def test_mean_and_its_interval():
    values = np.random.default_rng(1).normal(3, 1, 400)
    mean, low, high = ex.mean_interval(np.append(values, np.nan))
    expected = scipy.stats.t.interval(0.95, 399, values.mean(), values.std(ddof=1) / 20)
    assert (mean, low, high) == pytest.approx((values.mean(), *expected))
    assert ex.mean_interval([0.9, 1.0, 0.2], bounds=(-1, 1))[1:] == pytest.approx((-0.382, 1), abs=1e-3)
    assert np.isnan(ex.mean_interval([np.nan])).all() and ex.mean_interval([2.0])[0] == 2 and np.isnan(ex.mean_interval([2.0])[1:]).all()


def test_the_interval_of_few_drops_covers_more_than_a_percentile_bootstrap():
    rng = np.random.default_rng(0)
    samples = rng.exponential(1, (1500, 20))
    held = np.mean([low <= 1 <= high for _, low, high in map(ex.mean_interval, samples)])
    low, high = np.quantile(samples[:, rng.integers(0, 20, (500, 20))].mean(2), [0.025, 0.975], axis=1)
    assert held > ((low <= 1) & (high >= 1)).mean() + 0.005 and held > 0.9


# ---------------------------------------------------------------------------------------------- what is shown

CLASSES = ["a", "b"]


@pytest.fixture
def inspected(tmp_path):
    """An Inspection of six images of two classes, and the network's own predictions of them."""
    rng = np.random.default_rng(0)
    for index in range(6):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(tmp_path / f"{index}.png")
    model = seeded(scratch_networks.ConvNetGAP, 2, widths=[6, 8])
    inspection = ex.Inspection(model, {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear"}, 32, tmp_path)
    paths = [f"{index}.png" for index in range(6)]
    with torch.no_grad():
        scores = model(inspection.load(paths)).softmax(1).double().numpy()
    predicted = [CLASSES[index] for index in scores.argmax(1)]
    label = [name if index < 4 else CLASSES[1 - CLASSES.index(name)] for index, name in enumerate(predicted)]
    table = pd.DataFrame({"path": paths, "label": label, "predicted": predicted, "confidence": scores.max(1),
                          "prob_a": scores[:, 0], "prob_b": scores[:, 1]})
    return inspection, table


def test_images_for_display_are_the_images(inspected):
    inspection, table = inspected
    pictures = inspection.pictures(inspection.load(table["path"]))
    np.testing.assert_allclose(pictures[2] * 255, np.asarray(Image.open(inspection.root / "2.png")), atol=1e-3)


def test_examples(inspected):
    _, table = inspected
    right = ex.pick_examples(table, CLASSES, right=True, per_class=1)
    assert (right["label"] == right["predicted"]).all() and right["label"].is_monotonic_increasing and right["label"].is_unique
    wrong = ex.pick_examples(table, CLASSES, right=False, per_class=1)
    assert (wrong["label"] != wrong["predicted"]).all()
    assert wrong["confidence"].max() == table.iloc[4:]["confidence"].max()  # of each class the most confident one
    draws = {tuple(ex.pick_examples(table, CLASSES, right=True, per_class=1, seed=seed)["path"]) for seed in range(8)}
    assert len(draws) > 1


def test_views_of_examples(inspected):
    inspection, table = inspected
    right = ex.pick_examples(table, CLASSES, right=True)
    views, found = ex.view_examples(inspection, right, CLASSES)
    np.testing.assert_allclose(found.confidence, right["confidence"], rtol=1e-5)
    assert len(views) == len(right) and all(view.title.startswith("right: ") for view in views)
    assert all(view.scale == view.heat.max() for view in views)
    wrong = table.iloc[4:5].reset_index(drop=True)
    (first, second), found = ex.view_examples(inspection, wrong, CLASSES)
    assert first.title.startswith(f"predicted: {wrong['predicted'][0]}") and second.title.startswith(f"true class: {wrong['label'][0]}")
    assert first.scale == second.scale == max(first.heat.max(), second.heat.max()) and found.confidence.sum() == pytest.approx(1)
    for part, view in zip(ex.plot_class_activation_maps([first, second]).subfigs, (first, second), strict=True):
        image, cam, overlay = part.axes
        assert image.get_title(loc="left") == view.title and (image.images[0].get_array() == view.picture).all()
        np.testing.assert_array_equal(cam.images[0].get_array(), view.map.clip(min=0))
        assert cam.images[0].get_clim() == (0, first.scale)  # one scale for both
        np.testing.assert_allclose(overlay.images[1].get_array(), view.heat / first.scale, atol=1e-6)


def test_neurons_with_their_images_and_gradients(inspected):
    inspection, table = inspected
    layer, neurons, gradients = ex.guided_neurons(inspection, table, n=3, batch_size=4)
    assert len(neurons) == 3 and gradients.shape == (3, 3, 32, 32) and layer == ex.last_convolution(inspection.model)
    _, values, units = ex.strongest_units(inspection.model, [inspection.load(table["path"])], layer)
    row = neurons.iloc[1]
    order = np.argsort(-values[:, row["channel"]])
    assert [row["path"], *row["next"]] == [f"{index}.png" for index in order[:4]]
    expected = ex.guided_backpropagation(inspection.model, inspection.load([row["path"]]), layer=layer,
                                         units=[units[order[0], row["channel"]]])
    torch.testing.assert_close(gradients[1], expected[0])
    others = np.zeros((3, 2, 8, 8, 3))
    assert len(ex.plot_neurons(np.zeros((3, 8, 8, 3)), gradients, ["x"] * 3, others).axes) == 12


def another_network(model):
    """Of the same architecture, its weights drawn anew."""
    torch.manual_seed(5)
    return type(model)(2, widths=[6, 8]).eval()


def test_results_are_what_json_can_hold(inspected):
    inspection, table = inspected
    batch = inspection.load(table["path"])
    checked = ex.randomisation_check(inspection.model, [copy.deepcopy(inspection.model)], batch, n_steps=2)
    occluded, _ = ex.occlusion_check(inspection.model, batch)
    found = ex.results(ex.class_activation_maps(inspection.model, batch), checked, occluded)
    assert found["class_activation_map"]["method"] == "CAM" and found["occlusion"]["images"] == 6
    assert found["occlusion"]["drop"]["hottest tenth"]["mean"] == pytest.approx(occluded["hottest tenth"].mean())
    assert found["randomisation"]["gradient"]["down_to"]["output"] == pytest.approx(1)
    assert ex.results(None, None, None) == {"class_activation_map": None, "randomisation": None, "occlusion": None}


# ---------------------------------------------------------------------------------------------- plots and panels

def test_plots_of_pictures(inspected):
    inspection, table = inspected
    filters = ex.first_filters(nn.Conv2d(3, 20, 3))
    assert len(ex.plot_filters(filters).axes) == 24 and len(ex.plot_filters(filters[:3]).axes) == 3
    shown = ex.plot_filters(np.stack([np.full((2, 2), -3.0), np.eye(2)])).axes[0].images[0]
    assert shown.get_clim() == (-3, 3)  # signed, around 0
    first = ex.plot_first_layer(np.zeros((8, 8, 3)), filters, np.zeros((20, 4, 4)))
    assert sum(len(part.axes) for part in first.subfigs) == 1 + 24 + 24
    heat = ex.plot_class_activation(np.zeros((12, 10, 3)), np.full((12, 10), 2.0), scale=4).images[1]
    assert (heat.get_array() == 0.5).all()
    shown = ex.plot_guided_gradient(torch.zeros(3, 4, 4)).images[0].get_array()
    assert (np.asarray(shown) == 0.5).all()
    batch = inspection.load(table["path"])
    checked = ex.randomisation_check(inspection.model, [another_network(inspection.model)], batch, n_steps=2)
    ax = ex.plot_randomisation(checked).axes[0]
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels == list(checked.pictures) and len(ex.plot_randomised(np.zeros((8, 8, 3)), checked.pictures).axes) == 3 * (1 + len(labels))
    masks = {name: np.eye(8, dtype=bool) for name in ex.HIDINGS}
    figure = ex.plot_occlusion(np.zeros((8, 8, 3)), masks, ["x"] * 4, ex.occlusion_check(inspection.model, batch)[0])
    assert sum(len(part.axes) for part in figure.subfigs) == 5


@pytest.fixture
def shown(monkeypatch, capsys):
    """shown(): what a panel has shown since the last call."""
    pages = []
    monkeypatch.setattr(panels, "display", lambda page: pages.append(page.data))

    def read():
        text = capsys.readouterr().out + "".join(pages)
        pages.clear()
        return text
    return read


def test_panel_of_predictions(inspected, shown):
    inspection, table = inspected
    assert panels.choose_predictions(table, "all classes", "all", "a", panels.ORDERS[0])["prob_a"].is_monotonic_decreasing
    wrong = panels.choose_predictions(table, "all classes", "wrong", "the predicted class", panels.ORDERS[1])
    assert set(wrong["path"]) == {"4.png", "5.png"} and wrong["confidence"].is_monotonic_increasing
    assert set(panels.choose_predictions(table, "a", "right", "b", panels.ORDERS[0])["label"]) <= {"a"}
    label, outcome, *_, page = panels.browse_predictions(table, inspection.root, CLASSES, n=2).children[0].children
    text = shown()
    assert "6 of 6 images" in text and "page 1 of 3" in text
    page.value = 3
    assert "page 3 of 3" in shown()
    outcome.value = "wrong"
    text = shown()
    assert "2 of 6 images" in text and "page 1 of 1" in text and text.count("<img") == 1  # drawn once
    table = table.assign(label="a", predicted="a")
    label, outcome, *_ = panels.browse_predictions(table, inspection.root, CLASSES).children[0].children
    shown()
    label.value = "b"
    text = shown()
    assert "no image of b" in text and "<img" not in text


def test_at_which_size_is_told(inspected):
    inspection, _ = inspected
    other = ex.describe_sizes(inspection, 224)
    assert "images at 32×32 pixels" in other and "trained and tested" in other and "measured at 224×224" in other
    assert "images at 32×32 pixels" in ex.describe_sizes(inspection, 32) and "224" not in ex.describe_sizes(inspection, 32)


def test_the_dotted_line_is_the_map_of_another_image(inspected):
    inspection, table = inspected
    checked = ex.randomisation_check(inspection.model, [another_network(inspection.model)], inspection.load(table["path"]))
    dotted = [line.get_ydata()[0] for ax in ex.plot_randomisation(checked).axes for line in ax.lines if line.get_linestyle() == ":"]
    expected = checked.controls.query("control == 'another image'")["correlation"].abs().groupby(checked.controls["method"], sort=False).mean()
    assert dotted == pytest.approx(expected.tolist())


def test_panel_of_views(inspected, shown):
    inspection, table = inspected
    layers = [name for name, module in inspection.model.named_modules() if isinstance(module, nn.Conv2d)]
    path, target, layer = panels.browse_views(inspection, table, layers, CLASSES).children[0].children
    text = shown()
    assert "data:image/png" in text and f"maps of {layers[-1]}" in text and layer.options == tuple(layers)
    layer.value, target.value = layers[0], "b"
    shown()
    path.value = "3.png"
    text = shown()
    assert f"maps of {layers[0]}" in text and "3.png: CAM and guided gradient of b" in text
    assert f"score {table['prob_b'][3]:.3f}" in text and "drawn in" in text
    _, _, layer = panels.browse_views(inspection, table, [layers[0], "output"], CLASSES).children[0].children  # "output" gives no map
    assert layer.value == layers[0] and "output" not in layer.options


def test_views_are_those_of_the_layer(inspected):
    inspection, table = inspected
    figure, _ = panels.draw_views(inspection, "2.png", 1, "blocks.0.conv", CLASSES)
    image = inspection.load(["2.png"])
    axes = {ax.get_title().split(",")[0].split(":")[0]: ax for ax in figure.axes}
    for title, found in (("CAM", ex.class_activation_maps(inspection.model, image, 1)),
                         ("Grad-CAM", ex.class_activation_maps(inspection.model, image, 1, layer="blocks.0.conv"))):
        heat = found.heat(32)[0]
        np.testing.assert_allclose(axes[title].images[1].get_array(), heat / heat.max(), atol=1e-5)
    maps = ex.feature_maps_of(inspection.model, image[0], "blocks.0.conv")
    strongest = maps[np.abs(maps).mean((1, 2)).argmax()]
    shown = np.asarray(axes["blocks.0.conv"].images[0].get_array())
    np.testing.assert_allclose(shown[1:33, 1:33], strongest / np.abs(strongest).max(), atol=1e-5)
    unit = int(maps.argmax())
    guided = ex.guided_backpropagation(inspection.model, image, layer="blocks.0.conv", units=[unit])[0]
    expected = ex.plot_guided_gradient(guided).images[0].get_array()
    np.testing.assert_allclose(axes["… strongest unit of the layer"].images[0].get_array(), expected, atol=1e-5)


def test_panel_of_spectra(shown):
    rng = np.random.default_rng(0)
    spectra = {name: {layer: feature_maps.spectrum(rng.standard_normal((30, 12))) for layer in ("x", "y")} for name in ("one", "two")}
    layers, scenarios, scale, k = panels.browse_spectra(spectra).children[0].children
    assert "log-log, k up to 12: one, two in x, y" in shown()
    for name in (*panels.SCALES[2:], *panels.SCALES[:2]):
        scale.value = name
        text = shown()
        assert text.count("data:image/png") == 1 and f"{name}, k up to" in text
    k.value, scenarios.value = 5, ("two",)
    assert "k up to 5: two in x, y" in shown()
    figure, _ = panels.draw_spectra(spectra, ["x"], ["two"], "linear", 5)
    assert len(figure.axes[0].lines[0].get_xdata()) == 5
    layers.value = ()
    text = shown()
    assert "Choose at least one layer" in text and "data:image" not in text
