"""Tests of inside/attribution/cam.py."""

import dataclasses

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
import torchvision
from torch import nn

from inside.attribution import cam
from inside.attribution.cam import class_activation_maps, view_examples
from inside.attribution.guided import guided_backpropagation, saliency
from inside.attribution.inputs import feature_maps_of, pick_examples
from inside.attribution.occlusion import occlusion_check
from inside.attribution.plots import plot_class_activation_maps, plot_guided_gradient
from inside.models.surgery import add_hidden_layer, classifier_name
from inside.panels import draw_views
from shared.attribution import CLASSES, SMALL_VIT, Rectified, gap_network, hooks_of, images, lite, resnet18, seeded


@pytest.mark.parametrize("layer", ["conv2", "conv1"])
def test_grad_cam_is_its_definition_also_before_an_in_place_relu(layer):
    batch = images(2, 12)
    plain, in_place = Rectified(nn.ReLU()), Rectified(nn.ReLU(inplace=True))
    in_place.conv1.register_forward_hook(lambda m, i, o: None)  # a hook of the user's stays
    ours = class_activation_maps(in_place, batch, [1, 3], layer=layer)
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


@pytest.mark.parametrize("make, layer", [(torchvision.models.resnet18, "layer3"), pytest.param(torchvision.models.vgg11, "features.18", marks=pytest.mark.soak)])
def test_grad_cam_equals_captum(make, layer):
    from captum.attr import LayerGradCam

    model, batch = seeded(make), images(2, 96)
    expected = LayerGradCam(model, model.get_submodule(layer)).attribute(batch, target=[3, 8])[:, 0].detach().numpy()
    ours = class_activation_maps(model, batch, [3, 8], layer=layer).maps
    assert np.abs(ours - expected).max() < 1e-5 * np.abs(expected).max()


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
    found = class_activation_maps(model, batch, 2)
    assert found.method == "CAM" and found.residual < 1e-5 and found.layer == "the input of global average pooling"
    with torch.no_grad():
        maps = torch.relu(model.conv2(torch.relu(model.conv1(batch))))
    np.testing.assert_allclose(found.maps, torch.einsum("nchw,c->nhw", maps, model.head.weight[2]).detach(), atol=1e-5)


@pytest.mark.parametrize("model", [averaging(AVERAGES[0], torch.tanh), averaging(lambda x: x.amax((2, 3))), averaging(lambda x: x.mean((2, 3)) ** 2)])
def test_what_is_no_cam_is_not_called_one(model):
    assert class_activation_maps(model, images(2, 12), 2).method == "Grad-CAM"


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
    found = class_activation_maps(seeded(Squeezed), images(2, 16))
    assert (found.method, found.layer, found.maps.shape) == ("Grad-CAM", "last", (2, 6, 6))


def test_maps_of_a_stage_that_gives_channels_last():
    swin = seeded(timm.create_model, "swin_tiny_patch4_window7_224", num_classes=5)
    assert class_activation_maps(swin, images(1, 224), layer="layers.2").maps.shape == (1, 14, 14)
    assert feature_maps_of(seeded(torchvision.models.swin_t), images(1, 96)[0], "features.7").shape == (768, 3, 3)
    vit = seeded(timm.create_model, "vit_tiny_patch16_224", num_classes=3, qk_norm=True)
    assert class_activation_maps(vit, images(1, 224)).layer == "blocks.11.norm1"


def test_networks_that_change_their_input_or_return_a_dictionary():
    model, batch = averaging(AVERAGES[0]), images(12, 12)
    forward = model.forward
    model.forward = lambda x: {"logits": forward(x.mul_(2))}
    expected = class_activation_maps(averaging(AVERAGES[0]), batch * 2, 1).maps
    np.testing.assert_allclose(class_activation_maps(model, batch, 1).maps, expected, rtol=1e-4, atol=1e-6)
    assert saliency(model, batch, 1).shape == guided_backpropagation(model, batch, 1).shape == batch.shape
    assert occlusion_check(model, batch)[0].notna().all(axis=None)


@pytest.mark.parametrize("make, layer", [
    (resnet18, "layer4.1"), (gap_network, None), (lite, "bn2"), (lambda: Rectified(F.relu), "the input of global average pooling"),
    (lambda: torchvision.models.densenet121(num_classes=5), "the input of global average pooling"),
    (lambda: torchvision.models.efficientnet_b0(num_classes=5), "features.8"),
    (lambda: timm.create_model("swin_tiny_patch4_window7_224", num_classes=5), "norm")])
def test_cam_adds_up_to_the_logit_and_equals_grad_cam_up_to_scale(make, layer):
    model = seeded(make)
    batch = images(2, {"SwinTransformer": 224, "ConvNetGAP": 32}.get(type(model).__name__, 96))
    found = class_activation_maps(model, batch, 1)
    assert found.method == "CAM" and (layer is None or found.layer == layer) and hooks_of(model) == 0
    with torch.no_grad():
        logits = model(batch).numpy()
    bias = model.get_submodule(classifier_name(model)).bias.detach().numpy()[1]
    np.testing.assert_allclose(found.maps.mean((1, 2)) + bias, logits[:, 1], rtol=1e-3, atol=1e-5)
    grad_cam = cam.grad_cam(model, batch, 1, None)  # at the same maps; theory: 1/(h·w) of it
    positions = found.maps[0].size
    np.testing.assert_allclose(grad_cam.maps * positions, found.maps, rtol=1e-3, atol=1e-5 * np.abs(found.maps).max())
    assert positions > 1 and (grad_cam.method, grad_cam.layer) == ("Grad-CAM", found.layer)


@pytest.mark.parametrize("name, layer, side", [
    pytest.param("vgg11", "features.18", 6, marks=pytest.mark.soak), ("mobilenet_v3_small", "features.12", 3), ("squeezenet1_0", "classifier.2", 5),
    ("vit_b_16", "encoder.layers.encoder_layer_11.ln_1", 14)])
def test_grad_cam_elsewhere(name, layer, side):
    model = seeded(torchvision.models.VisionTransformer, **SMALL_VIT) if name == "vit_b_16" else seeded(torchvision.models.get_model, name)
    found = class_activation_maps(model, images(2, 224 if name == "vit_b_16" else 96))
    assert (found.method, found.layer) == ("Grad-CAM", layer.replace("_11.", "_1."))
    assert found.maps.shape == (2, side, side) and np.ptp(found.maps) > 0 and hooks_of(model) == 0


def test_a_hidden_layer_in_the_head_makes_it_grad_cam():
    model = resnet18()
    add_hidden_layer(model, "mlp:16:0.1")
    found = class_activation_maps(model.eval(), images(2))
    assert (found.method, found.layer) == ("Grad-CAM", "layer4.1")


def test_explaining_within_inference_mode():
    with torch.inference_mode():
        model, batch = Rectified(nn.ReLU(inplace=True)), images(2, 12)
    model = Rectified(nn.ReLU(inplace=True))
    with torch.inference_mode():
        inside = class_activation_maps(model, batch, 0).maps, guided_backpropagation(model, batch, 0).numpy()
    np.testing.assert_array_equal(inside[0], class_activation_maps(model, batch.clone(), 0).maps)
    np.testing.assert_array_equal(inside[1], guided_backpropagation(model, batch.clone(), 0))


def test_views_of_examples(inspected):
    inspection, table = inspected
    right = pick_examples(table, CLASSES, right=True)
    views, found = view_examples(inspection, right, CLASSES)
    np.testing.assert_allclose(found.confidence, right["confidence"], rtol=1e-5)
    assert len(views) == len(right) and all(view.title.startswith("right: ") for view in views)
    assert all(view.scale == view.heat.max() for view in views)
    wrong = table.iloc[4:5].reset_index(drop=True)
    (first, second), found = view_examples(inspection, wrong, CLASSES)
    assert first.title.startswith(f"predicted: {wrong['predicted'][0]}") and second.title.startswith(f"true class: {wrong['label'][0]}")
    assert first.scale == second.scale == max(first.heat.max(), second.heat.max()) and found.confidence.sum() == pytest.approx(1)
    figure = plot_class_activation_maps([[views[0]], [first, second]])
    (image, cam, overlay, bar), (error, predicted, true, scale) = np.reshape(figure.axes, (2, 4))
    assert (image.images[0].get_array() == views[0].picture).all() and len(error.images) == 1 and (error.images[0].get_array() == first.picture).all()
    np.testing.assert_array_equal(cam.images[0].get_array(), views[0].map.clip(min=0))
    assert cam.images[0].get_clim() == (0, views[0].scale) and bar.get_ylim() == (0, pytest.approx(views[0].scale))
    assert scale.get_ylim() == (0, pytest.approx(first.scale))  # one scale for both
    for ax, view in ((overlay, views[0]), (predicted, first), (true, second)):
        assert ax.get_title() == view.title
        np.testing.assert_allclose(ax.images[1].get_array(), view.heat / view.scale, atol=1e-6)


def test_views_are_those_of_the_layer(inspected):
    inspection, table = inspected
    figure, _ = draw_views(dataclasses.replace(inspection, classes=CLASSES), "2.png", 1, "blocks.0.conv")
    image = inspection.load(["2.png"])
    axes = {ax.get_title().split(",")[0].split(":")[0]: ax for ax in figure.axes}
    for title, found in (("CAM", class_activation_maps(inspection.model, image, 1)),
                         ("Grad-CAM", class_activation_maps(inspection.model, image, 1, layer="blocks.0.conv"))):
        heat = found.heat(32)[0]
        np.testing.assert_allclose(axes[title].images[1].get_array(), heat / heat.max(), atol=1e-5)
    maps = feature_maps_of(inspection.model, image[0], "blocks.0.conv")
    strongest = maps[np.abs(maps).mean((1, 2)).argmax()]
    shown = np.asarray(axes["blocks.0.conv"].images[0].get_array())
    np.testing.assert_allclose(shown[1:33, 1:33], strongest / np.abs(strongest).max(), atol=1e-5)
    unit = int(maps.argmax())
    guided = guided_backpropagation(inspection.model, image, layer="blocks.0.conv", units=[unit])[0]
    expected = plot_guided_gradient(guided).images[0].get_array()
    np.testing.assert_allclose(axes["… strongest unit of the layer"].images[0].get_array(), expected, atol=1e-5)
