"""Tests of inside/feature_maps/statistics.py."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from inside.feature_maps.audit import hook_audit
from inside.feature_maps.hooks import capture, only_tensor
from inside.feature_maps.shares import share_table
from inside.feature_maps.spectra import measure_spectra
from inside.feature_maps.statistics import collect_statistics
from inside.feature_maps.tracing import Tracer, channel_axes
from shared.attribution import images
from shared.feature_maps import Net, Tuples, batches_of, brute_force, network, stored_maps


def test_outputs_that_are_not_one_tensor():
    x, pair = images(2, 8), lambda x: (x, None)
    model = nn.Sequential(Tuples(pair), Tuples(lambda y: y[0]))
    assert collect_statistics(model, [x], ["0"])["0"].channels == 3
    for output, kind in ((lambda x: (x, x), "tuple"), (lambda x: {}, "dict"), (lambda x: x.long(), "Tensor")):
        with pytest.raises(ValueError, match=f"Module '0' returns {kind}"):
            collect_statistics(nn.Sequential(Tuples(output), Tuples(lambda y: x)), [x], ["0"])
    with pytest.raises(ValueError, match=r"expected \(N,C,H,W\)"):
        collect_statistics(nn.Sequential(Tuples(lambda x: x[..., None])), [x], ["0"])
    google = torchvision.models.googlenet(init_weights=False, aux_logits=True).train()
    with torch.no_grad(), pytest.raises(ValueError, match="GoogLeNetOutputs"):
        only_tensor("whole", google(images(2)))


def test_audit_of_a_layer_that_is_never_called():
    model = torchvision.models.googlenet(init_weights=False)
    audit = hook_audit(model, images(1), ["aux1.conv.conv"])
    assert audit["layers"]["aux1.conv.conv"]["calls"] == 0
    with pytest.raises(ValueError, match="never called"):
        collect_statistics(model, [images(1)], ["aux1.conv.conv"])


@pytest.mark.parametrize("name, layer", [("vgg16", "features.0"), ("resnet18", "layer1.0.bn1")])
def test_a_naive_hook_sees_no_negative_value_after_an_in_place_relu(name, layer):
    """A hook that keeps the tensor and counts after the pass: the in-place ReLU has made every negative value a zero.
    Of all counts, only that of values <= 0 survives this; those < 0 and the pooled feature do not."""
    model, batches = network(name), batches_of(images(2), [0, 1], 2)
    right, naive = (stored_maps(model, batches, [layer], clone=clone)[layer][0] for clone in (True, False))
    ours = collect_statistics(model, batches, [layer])[layer]
    assert (naive < 0).sum() == 0 < (right < 0).sum()
    np.testing.assert_allclose(ours.features, right.mean((2, 3)), rtol=1e-4, atol=1e-6)
    assert not np.allclose(ours.features, naive.mean((2, 3)), rtol=1e-2, atol=1e-3)
    assert ours.counts.total[0].sum() == (right <= 0).sum()


def test_a_naive_hook_counts_wrongly_after_the_in_place_end_of_a_resnet_block():
    """torchvision's block ends with `out += identity` and an in-place ReLU, both written over the output of bn2."""
    model, batches = network("resnet18"), batches_of(images(2), [0, 1], 2)
    layer = "layer1.0.bn2"
    right, naive = (stored_maps(model, batches, [layer], clone=clone)[layer] for clone in (True, False))
    assert abs(brute_force(naive)[0] - brute_force(right)[0]) > 0.1 * brute_force(right)[0]
    counts = collect_statistics(model, batches, [layer])[layer].counts
    assert counts.total[0].sum() == brute_force(right)[0]
    assert hook_audit(model, images(2), [layer])["layers"][layer]["overwritten_later"]


def test_counts_at_known_answers():
    x = torch.tensor([[[[-1.0, 0.0], [1.0, 2.0]], [[-1.0, -2.0], [0.0, -0.0]]],
                      [[[1.0, 1.0], [1.0, float("nan")]], [[-3.0, -3.0], [-3.0, -float("inf")]]]])
    for layout in (True, False):
        layer = collect_statistics(nn.Sequential(nn.Identity()), [(x, torch.tensor([7, 3]))], ["0"],
                                      channels_last=layout)["0"]
        counts = layer.counts
        assert counts.total.tolist() == [[2, 8], [1, 0], [8, 8]]
        assert counts.nan == 1 and counts.share == 10 / 15
        assert counts.share_by_channel.tolist() == [2 / 7, 1.0]
        assert counts.share_by_class == {3: 4 / 7, 7: 6 / 8} and list(counts.share_by_class) == [3, 7]
        assert counts.dead_channels.tolist() == [1]
        assert layer.skipped == 1 and layer.covariance.count == 1 and layer.images == 2


def test_channel_axis_of_linear_and_swin_modules():
    x = images(2, 5, channels=7)
    for module in (nn.Linear(5, 9), nn.LayerNorm(5)):
        result = collect_statistics(nn.Sequential(module), [x], ["0"])["0"]
        assert result.channels == (9 if isinstance(module, nn.Linear) else 5)
    swin = torchvision.models.SwinTransformer([4, 4], 8, [1, 1], [1, 1], [4, 4], num_classes=3)
    result = collect_statistics(swin, [images(2, 32)], ["features.1.0"])
    assert result["features.1.0"].channels == 8


OVERWRITING = {"overwritten": lambda x: x.sub_(5), "by index": lambda x: x.__setitem__((slice(None), 1), 0),
               "through a view": lambda x: x[:, :].sub_(5)}


class Rectified(nn.Module):
    """Three channels as they are, then ReLU: of a module, a function in a module, or overwritten before its module ends."""

    def __init__(self, kind):
        super().__init__()
        self.same, self.kind = nn.Identity(), kind
        self.act = nn.ReLU(inplace=True) if kind == "module" else Tuples(lambda x: torch.relu(x))

    def forward(self, x):
        x = self.same(x)
        if self.kind == "nowhere":
            return torch.relu(x).mean((2, 3))
        if self.kind == "same":
            return F.dropout(torch.relu(x), training=self.training)
        if self.kind in OVERWRITING:
            x = torch.relu(x)
            OVERWRITING[self.kind](x)
            return x
        return self.act(x) if x.shape[2] > 1 or self.kind != "sometimes" else x


@pytest.mark.parametrize("kind, traced", [
    ("module", False), ("function", False), ("same", False), ("nowhere", True), *((kind, True) for kind in OVERWRITING)])
def test_channels_that_fire_in_a_later_batch_are_seen_by_hooks_or_traced(kind, traced):
    x = -torch.ones(6, 3, 4, 4)
    x[1, 0], x[5, 1, 2, 2] = 1, 1  # the first channel fires in the first batch of two, the second in the third, the last never
    model, tracer = nn.Sequential(Rectified(kind)).eval(), Tracer()
    layer = collect_statistics(model, x.split(2), ["0.same"])["0.same"]
    assert layer.after.fires.tolist() == [True, True, False] and layer.after.activation == "relu"
    with torch.no_grad(), capture(model, ["0.same"], lambda name, output: tracer.follow(name, 0, output)), tracer.over(model, x):
        model(x)
    assert tracer.tracing == traced and tracer.following("0.same", 0).fires.tolist() == [True, True, False]


def test_an_activation_that_runs_in_some_batches_only_is_refused():
    model = Rectified("sometimes")
    with pytest.raises(ValueError, match="Module 'act' ran 0 times in a batch, expected 1, as before"):
        collect_statistics(model, [images(2, 4), images(2, 1)], ["same"])


def test_an_activation_of_one_value_an_image_and_one_that_is_none():
    gate = nn.Sequential(nn.Flatten(), nn.Linear(4, 1), Tuples(lambda x: torch.sigmoid(x.squeeze(1))))
    assert collect_statistics(gate, [images(3, 2, channels=1)], ["1"])["1"].after.fires.tolist() == [True]
    for bound, activation in ((0, "clamp(min=0)"), (-3, "")):
        model = nn.Sequential(nn.Conv2d(3, 2, 1), Tuples(lambda x, bound=bound: x.clamp_min(bound)))
        assert collect_statistics(model, [images(2, 4)], ["0"])["0"].after.activation == activation


def test_the_images_are_as_before_where_a_network_works_on_them_in_place():
    model, x = nn.Sequential(Tuples(lambda x: x.sub_(1)), nn.Conv2d(3, 2, 1)), images(2, 4)
    before = x.clone()
    assert channel_axes(model, x, ["1"]) == {"1": 1} and torch.equal(x, before)


def test_pooled_features_are_kept_in_the_type_that_they_were_pooled_in():
    for dtype in (torch.float32, torch.float64):
        layer = collect_statistics(nn.Sequential(nn.Conv2d(3, 2, 1)).to(dtype), [images(3, 4)], ["0"])["0"]
        assert torch.from_numpy(layer.arrays()["features"]).dtype == torch.from_numpy(layer.features).dtype == dtype


def test_later_batches_have_their_channels_where_the_first_has_them():
    model, name = torchvision.models.SwinTransformer([4, 4], 8, [2, 1], [1, 1], [4, 4], num_classes=3), "features.1.0.mlp.1"
    x = images(5, 32)
    parts, whole = (collect_statistics(model, batches_of(x, [0, 1, 1, 0, 1], n), [name])[name] for n in (2, 5))
    assert parts.channels == 32 and parts.counts.share == whole.counts.share
    assert parts.dead_channels.tolist() == whole.dead_channels.tolist()
    assert np.allclose(parts.features, whole.features, atol=1e-6)


def test_a_shared_module_counts_every_call():
    model, batches = network("resnet50"), batches_of(images(3), [0, 1, 1], 2)
    layer = collect_statistics(model, batches, ["layer1.0.relu"])["layer1.0.relu"]
    assert layer.calls == 3 and layer.channels == 64 + 64 + 256 and layer.features.shape == (3, 384)


def test_a_pass_in_parts_merges_to_the_whole():
    model, layers = Net(), ["conv1", "act"]
    batches = batches_of(images(5, 16), [0, 1, 2, 1, 0], 2)
    whole = collect_statistics(model, batches, layers)
    part, rest = collect_statistics(model, batches[:1], layers), collect_statistics(model, batches[1:], layers)
    for name in layers:
        part[name].merge(rest[name])
        assert np.array_equal(part[name].features, whole[name].features)
        assert part[name].counts.images == whole[name].counts.images == {0: 2, 1: 2, 2: 1}
        for label, table in whole[name].counts.table.items():
            assert np.array_equal(part[name].counts.table[label], table)
        np.testing.assert_allclose(part[name].covariance.covariance(), whole[name].covariance.covariance(), rtol=1e-12,
                                   atol=1e-18)
    with pytest.raises(ValueError, match="same layer"):
        whole["conv1"].merge(whole["act"])


def test_collect_refuses_what_it_cannot_count():
    with pytest.raises(ValueError, match="0 batches"):
        collect_statistics(Net(), [], ["conv1"])
    with pytest.raises(ValueError, match="1 rows for 2 images"):
        collect_statistics(nn.Sequential(Tuples(lambda x: x[:1])), [images(2, 8)], ["0"])
    lean = collect_statistics(Net(), [images(2, 16)], ["conv1"], keep_features=False)["conv1"]
    assert lean.covariance.count == 2
    with pytest.raises(ValueError, match="keep_features"):
        _ = lean.features


@pytest.mark.parametrize("batch_size", [1, 7, 32, 40])
def test_covariance_of_a_pass_equals_numpy_of_the_stored_features(batch_size):
    torch.manual_seed(0)
    x = images(40, 12)
    result = collect_statistics(Net(6), batches_of(x, [0] * 40, batch_size), ["conv1", "act"])
    for layer in result.values():
        expected = np.cov(layer.features.astype(np.float64), rowvar=False, bias=True)
        difference = np.abs(layer.covariance.covariance() - expected)
        assert layer.features.dtype == np.float32 and (difference <= 1e-10 * np.abs(expected).max()).all()


@pytest.mark.parametrize("function", [share_table, measure_spectra])
def test_statistics_of_one_network_alone_are_told_to_take_a_name(function):
    found = collect_statistics(torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3)), [torch.rand(3, 3, 8, 8)], ["0"])
    with pytest.raises(ValueError, match="expected {scenario: {layer: statistics}}: give them a name, such as"):
        function(found)
    assert len(function({"mine": found})) == 1
