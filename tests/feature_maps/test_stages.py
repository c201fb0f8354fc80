"""The stages of networks: which modules they are, and by how much the weights of each have changed."""

import copy

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from inside.feature_maps.frozen import begun_before
from inside.feature_maps.stages import find_stages, weight_changes
from inside.models.surgery import classifier_name, freeze
from shared.networks import build

STAGES = {  # network: (size of the images, how many stages, the first ones, the last one)
    "convnet5": (33, 6, ["blocks.0", "blocks.1"], "activation"),
    "convnet_gap": (32, 4, ["blocks.0", "blocks.1"], "blocks.3"),
    "mlp": (8, 2, ["layers.0", "layers.1"], "layers.1"),
    "skip_mlp": (8, 3, ["blocks.0", "blocks.1"], "blocks.2"),
    "resnet18": (64, 9, ["relu", "layer1.0", "layer1.1"], "layer4.1"),
    "squeezenet1_1": (64, 9, ["features.1", "features.3", "features.4"], "features.12"),
    "densenet121": (64, 8, ["features.relu0", "features.denseblock1", "features.transition1"], "features.denseblock4"),
    "shufflenet_v2_x0_5": (64, 16, ["conv1", "stage2.0"], "conv5"),
    "mobilenet_v3_small": (64, 14, ["features.0", "features.1", "features.2"], "classifier.1"),
    "swin_t": (64, 16, ["features.0", "features.1.0", "features.1.1", "features.2"], "features.7.1"),
    "efficientnet_lite0": (64, 16, ["bn1", "blocks.0.0", "blocks.1.0"], "bn2"),
    "timm/test_vit": (160, 7, ["patch_embed", "blocks.0"], "blocks.5"),
    "timm/convnext_atto": (64, 16, ["stem", "stages.0.blocks.0"], "stages.3.blocks.1"),
}


@pytest.mark.parametrize("architecture", STAGES)
def test_the_stages_of_networks(architecture):
    size, number, first, last = STAGES[architecture]
    stages = find_stages(build(architecture, image_size=size), size)
    assert (len(stages), stages[:len(first)], stages[-1]) == (number, first, last)


def test_the_stages_of_a_transformer_whose_attention_calls_no_modules():
    vit = torchvision.models.VisionTransformer(image_size=32, patch_size=16, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=4)
    assert find_stages(vit, 32) == ["conv_proj", *(f"encoder.layers.encoder_layer_{place}" for place in range(3))]


class Flat(nn.Module):
    """A trunk without blocks, as VGG's, whose activations overwrite their inputs."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5),
                                      nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2))
        self.classifier = nn.Sequential(nn.Linear(20, 6), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(6, 3))

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def test_the_stages_of_a_trunk_without_blocks():
    assert find_stages(Flat(), 16) == ["features.1", "features.5", "classifier.1"]


@pytest.mark.parametrize("architecture, size", [("resnet18", 64), ("densenet121", 64), ("skip_mlp", 8), ("convnet5", 33)])
def test_everything_goes_through_a_stage(architecture, size):
    """Where the output of a stage is replaced by that of another image, so are the logits: nothing goes past it."""
    model = build(architecture, image_size=size).eval()
    images, modules = torch.randn(2, 3, size, size), dict(model.named_modules())
    with torch.no_grad():
        expected = model(images)
        assert not torch.allclose(expected[0], expected[1])
        for stage in find_stages(model, size):
            handle = modules[stage].register_forward_hook(lambda module, inputs, output: output.flip(0))
            assert torch.allclose(model(images), expected.flip(0), atol=1e-5), stage
            handle.remove()


def test_branches_are_no_stages():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.early, self.left, self.right, self.head = (nn.Linear(4, 4) for _ in range(4))

        def forward(self, x):
            x = self.early(x.flatten(1)[:, :4])
            return self.head(self.left(x) + self.right(x))

    assert find_stages(Branches(), 8) == ["early"]


def test_more_blocks_than_wanted_are_thinned_evenly():
    model = build("convnet_gap", image_size=64, widths=[4] * 30, pool=False)
    found = find_stages(model, 64)
    assert len(found) == 16 and (found[0], found[-1]) == ("blocks.0", "blocks.29")
    assert set(np.diff([int(name.split(".")[1]) for name in found])) == {1, 2}
    assert find_stages(model, 64, at_most=3) == ["blocks.0", "blocks.14", "blocks.29"]
    assert find_stages(model, 64, at_most=1) == ["blocks.0"]


def test_the_network_is_left_as_it_was():
    model = build("timm/test_resnet", image_size=32).train()
    before = copy.deepcopy(model.state_dict())
    find_stages(model, 32)
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert all(weight.grad is None for weight in model.parameters())


def test_relative_changes_by_hand():
    initial = build("convnet_gap", image_size=32, widths=[3, 4, 5])
    tuned = copy.deepcopy(initial)
    stages = find_stages(tuned, 32)
    assert stages == ["blocks.0", "blocks.1", "blocks.2"] and weight_changes(tuned, initial, stages) == [0.0, 0.0, 0.0]
    with torch.no_grad():
        tuned.blocks[1].conv.weight += 0.5
        tuned.blocks[1].norm.bias -= 2
        tuned.blocks[2].conv.weight *= 3
        tuned.output.weight += 100  # the classifier is in no stage
    old = np.concatenate([weight.detach().numpy().ravel() for weight in initial.blocks[1].parameters()])
    new = np.concatenate([weight.detach().numpy().ravel() for weight in tuned.blocks[1].parameters()])
    conv, norm = initial.blocks[2].conv.weight, initial.blocks[2].norm.weight  # of scale 1; its shift is 0
    third = 2 * conv.norm().item() / np.hypot(conv.norm().item(), norm.norm().item())
    assert weight_changes(tuned, initial, stages) == pytest.approx([0, np.linalg.norm(new - old) / np.linalg.norm(old), third])
    two = weight_changes(tuned, initial, ["blocks.0", "blocks.2"])  # weights between two stages are the second one's
    moved = np.hypot(np.linalg.norm(new - old), 2 * conv.norm().item())
    norm_of_both = np.sqrt(np.linalg.norm(old)**2 + conv.norm().item()**2 + norm.norm().item()**2)
    assert two == pytest.approx([0, moved / norm_of_both])


@pytest.mark.parametrize("architecture, size", [("timm/test_resnet", 64), ("timm/test_vit", 160)])
def test_each_weight_before_the_classifier_is_of_one_stage(architecture, size):
    """Each weight in turn is changed: the change of one stage shows it, and none that of what follows the last block."""
    initial = build(architecture, image_size=size)
    tuned, stages, head = copy.deepcopy(initial), find_stages(initial, size), classifier_name(initial)
    for name, weight in tuned.named_parameters():
        old = weight.detach().clone()
        with torch.no_grad():
            weight.add_(1)
            changed = [change > 0 for change in weight_changes(tuned, initial, stages)]
            weight.copy_(old)
        assert sum(changed) == (not name.startswith((f"{head}.", "norm.", "fc_norm."))), name


def test_stages_begin_after_one_another():
    model = build("resnet18", image_size=64).double()
    before, begun = begun_before(model, ["relu", "layer1.0"])
    assert "layer1.0.conv1" not in before["relu"] and {"layer1.0.conv1", "layer1.0.bn2"} <= before["layer1.0"]
    assert "fc" in begun and before["relu"] < before["layer1.0"] < begun


def test_frozen_weights_do_not_count():
    model = build("resnet18", image_size=64)
    initial = copy.deepcopy(model)
    freeze(model, "last_stage")
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += 0.01
    changes = dict(zip(stages := find_stages(model, 64), weight_changes(model, initial, stages), strict=True))
    assert [name for name, change in changes.items() if change] == ["layer4.0", "layer4.1"]
