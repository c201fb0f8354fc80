"""feature_maps.py at known answers: brute force over stored maps, NumPy's covariance, closed forms."""

import json
import warnings

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.integrate
import scipy.linalg
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import explanations
import feature_maps as fm

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # small inputs: threads would only wait for each other
    yield
    torch.set_num_threads(before)
    plt.close("all")


def rng(seed=0):
    return np.random.default_rng(seed)


def images(n=4, size=64, seed=0, channels=3):
    return torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


def batches_of(x, labels, size):
    return [(x[i:i + size], torch.tensor(labels[i:i + size])) for i in range(0, len(x), size)]


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


def footprint(model):
    """All that must be the same afterwards: tensors, gradients, flags, hooks, attributes."""
    return {
        "state": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "grads": [parameter.grad is None for parameter in model.parameters()],
        "flags": [module.training for module in model.modules()],
        "hooks": [len(getattr(m, kind)) for m in model.modules() for kind in vars(m) if kind.endswith("_hooks")
                  or kind.startswith("_forward_hooks")],
        "attributes": [sorted(vars(module)) for module in model.modules()],
    }


def assert_same(before, after):
    for key in ("grads", "flags", "hooks", "attributes"):
        assert before[key] == after[key], key
    assert before["state"].keys() == after["state"].keys()
    assert all(torch.equal(tensor, after["state"][name]) for name, tensor in before["state"].items())


# ---------------------------------------------------------------------------------------------- walk and choose


def test_module_table_of_a_small_network():
    table = fm.module_table(Net(), 16).set_index("name")
    assert list(table.index) == ["conv1", "conv2", "norm", "act", "head"]
    assert table.loc["conv1", "output_shape"] == (4, 14, 14) and table.loc["conv2", "output_shape"] == (4, 12, 12)
    assert table["parameters"].to_dict() == {"conv1": 112, "conv2": 148, "norm": 8, "act": 0, "head": 15}
    assert table.loc["act", "output_shape"] == (4, 14, 14)  # of its first call
    assert table["calls"].to_dict() == {"conv1": 1, "conv2": 1, "norm": 1, "act": 2, "head": 1}


def test_module_table_counts_shared_and_unused_modules():
    table = fm.module_table(torchvision.models.googlenet(init_weights=False), 64).set_index("name")
    assert table.loc["aux1", "calls"] == 0 and table.loc["aux1", "output_shape"] is None
    assert fm.module_table(resnet18(), (64, 32)).set_index("name").loc["layer1.0.relu", "calls"] == 2


class Counting(nn.Module):
    """Changes a buffer in every forward pass, in evaluation mode too."""

    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.zeros(1))
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, x):
        self.passes += 1
        return self.conv(x).mean((2, 3))


@pytest.mark.parametrize("make", [Net, Counting, resnet18])
def test_nothing_is_left_on_the_network(make):
    model = make().train()
    if hasattr(model, "norm"):
        model.norm.eval()  # a frozen normalisation inside a network in training mode
    model(images(2))[:, 0].sum().backward()
    before, layers = footprint(model), fm.choose_layers(model, n=1)
    gradients = [p.grad.clone() for p in model.parameters()]
    fm.module_table(model, 64)
    fm.hook_audit(model, images(2), layers)
    fm.collect_statistics(model, [(images(2), torch.tensor([0, 1]))], layers)
    explanations.class_activation_maps(model, images(2), 0)
    explanations.class_activation_maps(model, images(1)[0], 0, layer=layers[0])
    explanations.feature_maps_of(model, images(1)[0], layers[0])
    explanations.strongest_units(model, [images(2)], layers[0])
    explanations.input_gradient(model, images(2), 0)
    if make is not Counting:
        explanations.guided_backpropagation(model, images(1)[0], 0)
    assert_same(before, footprint(model))
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))


def test_chosen_layers_are_checked():
    model = resnet18()
    assert fm.choose_layers(model, fm.RESNET_LAYERS) == list(fm.RESNET_LAYERS)
    with pytest.raises(ValueError, match=r"'layer1\.0\.convl'.*layer1\.0\.conv1"):
        fm.choose_layers(model, ["layer1.0.convl"])
    with pytest.raises(ValueError, match="each name once"):
        fm.choose_layers(model, ["conv1", "conv1"])
    with pytest.raises(ValueError, match="n is 0"):
        fm.choose_layers(model, n=0)


def test_layers_are_spread_over_the_depth():
    main = ["conv1"] + [f"layer{s}.{b}.conv{c}" for s in (1, 2, 3, 4) for b in (0, 1) for c in (1, 2)]
    assert fm.choose_layers(resnet18()) == [main[i] for i in (0, 4, 8, 12, 16)]
    assert fm.choose_layers(resnet18(), n=17) == main  # no shortcut convolution
    vit = torchvision.models.VisionTransformer(32, 16, 6, 2, 8, 16)
    assert fm.choose_layers(vit) == [f"encoder.layers.encoder_layer_{i}" for i in (0, 1, 2, 4, 5)]
    assert fm.choose_layers(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))) == ["0", "2"]
    with pytest.raises(ValueError, match="no convolution"):
        fm.choose_layers(nn.Sequential(nn.ReLU()))


# ---------------------------------------------------------------------------------------------- hooks


def test_hooks_go_even_after_an_exception():
    model = Net()
    before = footprint(model)
    with pytest.raises(RuntimeError, match="stop"), fm.capture(model, ["conv1"], lambda name, output: None):
        raise RuntimeError("stop")

    def refuse(name, output):
        raise RuntimeError("inside the hook")

    with pytest.raises(RuntimeError, match="inside the hook"), fm.capture(model, ["conv1", "act"], refuse):
        model(images(1, 16))
    with pytest.raises(RuntimeError), fm.capture(model, ["conv1"], lambda name, output: None):
        model(images(1, 16, channels=5))  # the network itself fails
    with pytest.raises(ValueError, match="no module named"), fm.capture(model, ["conv1", "nope"], refuse):
        pass
    with pytest.raises(RuntimeError):
        fm.collect_statistics(model, [(images(1, 16, channels=5), torch.tensor([0]))], ["conv1"])
    assert_same(before, footprint(model))


def test_capture_counts_every_call():
    with fm.capture(Net().eval(), ["act", "conv1"], lambda name, output: None) as calls:
        pass
    assert not calls
    model, seen = Net().eval(), []
    with fm.capture(model, ["act", "conv1"], lambda name, output: seen.append((name, tuple(output.shape)))) as calls:
        model(images(1, 16))
    assert calls == {"act": 2, "conv1": 1}
    assert seen == [("conv1", (1, 4, 14, 14)), ("act", (1, 4, 14, 14)), ("act", (1, 4, 12, 12))]


class Tuples(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.inner, self.output = nn.Identity(), output

    def forward(self, x):
        return self.output(self.inner(x))


def test_outputs_that_are_not_one_tensor():
    x, pair = images(2, 8), lambda x: (x, None)
    model = nn.Sequential(Tuples(pair), Tuples(lambda y: y[0]))
    assert fm.collect_statistics(model, [x], ["0"])["0"].channels == 3
    for output, kind in ((lambda x: (x, x), "tuple"), (lambda x: {}, "dict"), (lambda x: x.long(), "Tensor")):
        with pytest.raises(ValueError, match=f"Module '0' returns {kind}"):
            fm.collect_statistics(nn.Sequential(Tuples(output), Tuples(lambda y: x)), [x], ["0"])
    with pytest.raises(ValueError, match=r"legal are \(N,C,H,W\)"):
        fm.collect_statistics(nn.Sequential(Tuples(lambda x: x[..., None])), [x], ["0"])
    google = torchvision.models.googlenet(init_weights=False, aux_logits=True).train()
    with torch.no_grad(), pytest.raises(ValueError, match="GoogLeNetOutputs"):
        fm.only_tensor("whole", google(images(2)))


def test_audit_sees_modules_functions_and_in_place():
    model = Net()
    audit = json.loads(json.dumps(fm.hook_audit(model, images(2, 16), ["conv1", "conv2", "norm", "act"])))
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
    (seen,) = fm.hook_audit(model, images(1, 8), ["0.inner"])["activations"]
    assert (seen["kind"], seen["activation"], seen["in_place"]) == ("functional", label, in_place)
    assert seen["examples"] == ["0"]
    assert fm.hook_audit(nn.Sequential(Tuples(lambda x: x.clamp(max=0))), images(1, 8), ["0"])["activations"] == []


def test_audit_of_a_layer_that_is_never_called():
    model = torchvision.models.googlenet(init_weights=False)
    audit = fm.hook_audit(model, images(1), ["aux1.conv.conv"])
    assert audit["layers"]["aux1.conv.conv"]["calls"] == 0
    with pytest.raises(ValueError, match="never called"):
        fm.collect_statistics(model, [images(1)], ["aux1.conv.conv"])


# ---------------------------------------------------------------------------------------------- non-positive shares

NETWORKS = {
    "resnet18": (lambda: torchvision.models.resnet18(), [*fm.RESNET_LAYERS, "layer1.0.bn1", "layer1.0.relu"]),
    "resnet50": (lambda: torchvision.models.resnet50(), [*fm.RESNET_LAYERS, "layer1.0.bn2", "layer1.0.relu", "layer4"]),
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


@pytest.mark.parametrize("name, precision", [*((name, torch.float32) for name in NETWORKS),
                                             ("resnet18", torch.bfloat16), ("efficientnet_lite0", torch.bfloat16)])
def test_counts_equal_brute_force_over_stored_maps(name, precision):
    model, labels = network(name), [2, 0, 2, 2]
    layers = NETWORKS[name][1] or fm.choose_layers(model)
    batches = batches_of(images(4), labels, 2)
    maps = stored_maps(model, batches, layers, clone=True, precision=precision)
    result = fm.collect_statistics(model, batches, layers, precision=precision)
    for layer in layers:
        counts, calls = result[layer].counts, result[layer].calls
        assert (int(counts.total[0].sum()), int(counts.total[2].sum())) == brute_force(maps[layer])
        axes = (0, 2, 3) if maps[layer][0].ndim == 4 else (0, 1)
        by_call = [sum((m <= 0).sum(axes) for m in maps[layer][call::calls]) for call in range(calls)]
        assert counts.total.dtype == np.int64 and np.array_equal(counts.total[0], np.concatenate(by_call))
        ofclass0 = [m[1:] for m in maps[layer][:calls]]  # the second image of the first batch
        assert int(counts.table[0][0].sum()) == brute_force(ofclass0)[0]
        assert counts.images == {0: 1, 2: 3} and counts.nan == 0
        assert counts.share == brute_force(maps[layer])[0] / brute_force(maps[layer])[1]


@pytest.mark.parametrize("name, layer", [("vgg16", "features.0"), ("resnet18", "layer1.0.bn1")])
def test_a_naive_hook_sees_no_negative_value_after_an_in_place_relu(name, layer):
    """A hook that keeps the tensor and counts after the pass: the in-place ReLU has made every negative value a zero.
    Of all counts, only that of values <= 0 survives this; those < 0 and the pooled feature do not."""
    model, batches = network(name), batches_of(images(2), [0, 1], 2)
    right, naive = (stored_maps(model, batches, [layer], clone=clone)[layer][0] for clone in (True, False))
    ours = fm.collect_statistics(model, batches, [layer])[layer]
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
    counts = fm.collect_statistics(model, batches, [layer])[layer].counts
    assert counts.total[0].sum() == brute_force(right)[0]
    assert fm.hook_audit(model, images(2), [layer])["layers"][layer]["overwritten_later"]


def test_counts_at_known_answers():
    x = torch.tensor([[[[-1.0, 0.0], [1.0, 2.0]], [[-1.0, -2.0], [0.0, -0.0]]],
                      [[[1.0, 1.0], [1.0, float("nan")]], [[-3.0, -3.0], [-3.0, -float("inf")]]]])
    for layout in (True, False):
        layer = fm.collect_statistics(nn.Sequential(nn.Identity()), [(x, torch.tensor([7, 3]))], ["0"],
                                      channels_last=layout)["0"]
        counts = layer.counts
        assert counts.total.tolist() == [[2, 8], [1, 0], [8, 8]]
        assert counts.nan == 1 and counts.share == 10 / 15
        assert counts.share_by_channel.tolist() == [2 / 7, 1.0]
        assert counts.share_by_class == {3: 4 / 7, 7: 6 / 8} and list(counts.share_by_class) == [3, 7]
        assert counts.dead_channels.tolist() == [1]
        assert layer.skipped == 1 and layer.covariance.count == 1 and layer.images == 2


def test_dead_channels_are_those_without_a_positive_value():
    counts = fm.NonPositiveCounts()
    #                       dead   fires  dead but for NaN  only NaN
    counts.update(np.array([[4, 3, 3, 0], [4, 4, 4, 0]]), 4, nan=np.array([[0, 0, 1, 4], [0, 0, 0, 4]]))
    assert counts.dead_channels.tolist() == [0, 2] and counts.images == {-1: 2} and counts.nan == 9
    assert counts.share_by_channel[:3].tolist() == [1, 7 / 8, 1] and np.isnan(counts.share_by_channel[3])
    assert fm.NonPositiveCounts().total.shape == (3, 0) and np.isnan(fm.NonPositiveCounts().share)
    with pytest.raises(ValueError, match="3 channels; legal is 4"):
        counts.update(np.zeros((1, 3)), 4)


def test_counts_survive_chunks_and_odd_memory_layouts():
    x = torch.from_numpy(rng().standard_normal((5, 6, 40, 33)).astype(np.float32)).sub_(0.3)
    expected, mean = (x.numpy() <= 0).sum((2, 3)), x.double().numpy().mean((2, 3))
    views = [x, x.contiguous(memory_format=torch.channels_last), x.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2),
             torch.cat([x, x], 1)[:, :6]]
    for dtype in (torch.float32, torch.float64):
        for view in views:
            flat, axis = fm._positions("x", nn.Identity(), view.to(dtype))
            means, counts, nan = fm._pool_and_count(flat, axis)
            assert np.array_equal(counts, expected) and nan is None
            np.testing.assert_allclose(means, mean, rtol=1e-5, atol=1e-6)
    big = -torch.ones(3, 2, 900, 900)  # more than one chunk an image
    assert fm._pool_and_count(*fm._positions("x", nn.Identity(), big))[1].tolist() == [[810_000] * 2] * 3


def test_channel_axis_of_linear_and_swin_modules():
    x = images(2, 5, channels=7)
    for module in (nn.Linear(5, 9), nn.LayerNorm(5)):
        result = fm.collect_statistics(nn.Sequential(module), [x], ["0"])["0"]
        assert result.channels == (9 if isinstance(module, nn.Linear) else 5)
    swin = torchvision.models.SwinTransformer([4, 4], 8, [1, 1], [1, 1], [4, 4], num_classes=3)
    result = fm.collect_statistics(swin, [images(2, 32)], ["features.1.0"])
    assert result["features.1.0"].channels == 8


def test_a_shared_module_counts_every_call():
    model, batches = network("resnet50"), batches_of(images(3), [0, 1, 1], 2)
    layer = fm.collect_statistics(model, batches, ["layer1.0.relu"])["layer1.0.relu"]
    assert layer.calls == 3 and layer.channels == 64 + 64 + 256 and layer.features.shape == (3, 384)


def test_a_pass_in_parts_merges_to_the_whole():
    model, layers = Net(), ["conv1", "act"]
    batches = batches_of(images(5, 16), [0, 1, 2, 1, 0], 2)
    whole = fm.collect_statistics(model, batches, layers)
    part, rest = fm.collect_statistics(model, batches[:1], layers), fm.collect_statistics(model, batches[1:], layers)
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
        fm.collect_statistics(Net(), [], ["conv1"])
    with pytest.raises(ValueError, match="1 rows for 2 images"):
        fm.collect_statistics(nn.Sequential(Tuples(lambda x: x[:1])), [images(2, 8)], ["0"])
    lean = fm.collect_statistics(Net(), [images(2, 16)], ["conv1"], keep_features=False)["conv1"]
    assert lean.covariance.count == 2
    with pytest.raises(ValueError, match="keep_features"):
        _ = lean.features


# ---------------------------------------------------------------------------------------------- covariance

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


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("batch_size", [1, 7, 32, None])
def test_streamed_covariance_equals_numpy(name, batch_size):
    x = FEATURES[name]
    state = fm.CovarianceState()
    for start in range(0, len(x), batch_size or len(x)):
        state.update(x[start:start + (batch_size or len(x))])
    covariance, expected = state.covariance(), reference_covariance(x)
    assert state.count == len(x) and covariance.dtype == np.float64
    scale = np.sqrt(np.outer(expected.diagonal(), expected.diagonal()))  # entry by entry, on its own scale
    assert (np.abs(covariance - expected) <= 1e-10 * scale).all()
    np.testing.assert_allclose(state.location(), x.mean(0), rtol=1e-13, atol=1e-13 * np.abs(x).max())
    if name not in ("huge offset", "one image"):  # NumPy's own error at an offset of 1e9 times the spread is larger
        plain = np.cov(x, rowvar=False, bias=True)
        assert np.linalg.norm(covariance - plain) <= 1e-10 * np.linalg.norm(plain) + 1e-30


@pytest.mark.parametrize("name", FEATURES)
def test_covariance_states_merge_in_any_order(name):
    x = FEATURES[name]
    parts = []
    for rows in np.array_split(rng().permutation(len(x)), min(4, len(x))):
        parts.append(fm.CovarianceState())
        parts[-1].update(x[rows])
    parts[0].merge(fm.CovarianceState())  # an empty part changes nothing
    total = fm.CovarianceState()
    for part in reversed(parts):
        total.merge(part)
    expected = reference_covariance(x)
    scale = np.sqrt(np.outer(expected.diagonal(), expected.diagonal()))
    assert total.count == len(x) and (np.abs(total.covariance() - expected) <= 1e-10 * scale).all()
    assert parts[-1].count < len(x) or len(x) == 1  # merging leaves the merged parts as they were


def test_covariance_by_the_formula_of_two_images():
    state = fm.CovarianceState()
    state.update([[0.0, 1.0], [2.0, 5.0]])
    assert state.covariance().tolist() == [[1.0, 2.0], [2.0, 4.0]] and state.location().tolist() == [1.0, 3.0]
    for bad, words in (([[1.0, np.nan]], "1 feature values are NaN"), ([[1.0, 2.0, 3.0]], "3 channels; legal is 2"),
                       ([1.0, 2.0], "images, channels")):
        with pytest.raises(ValueError, match=words):
            state.update(bad)
    with pytest.raises(ValueError, match="0 vectors"):
        fm.CovarianceState().covariance()


@pytest.mark.parametrize("batch_size", [1, 7, 32, 40])
def test_covariance_of_a_pass_equals_numpy_of_the_stored_features(batch_size):
    torch.manual_seed(0)
    x = images(40, 12)
    result = fm.collect_statistics(Net(6), batches_of(x, [0] * 40, batch_size), ["conv1", "act"])
    for layer in result.values():
        expected = np.cov(layer.features, rowvar=False, bias=True)
        difference = np.abs(layer.covariance.covariance() - expected)
        assert layer.features.dtype == np.float64 and (difference <= 1e-10 * np.abs(expected).max()).all()


# ---------------------------------------------------------------------------------------------- spectra


@pytest.mark.parametrize("name", FEATURES)
def test_eigenvalues_equal_eigvalsh(name):
    x = FEATURES[name]
    n, c = x.shape
    reference = np.linalg.eigvalsh(reference_covariance(x))[::-1]
    state = fm.CovarianceState()
    state.update(x)
    for source in (x, state):
        s = fm.spectrum(source)
        values = s.eigenvalues
        assert values.dtype == np.float64 and (values >= 0).all() and (np.diff(values) <= 0).all()
        assert len(values) == s.rank_bound == min(c, n - 1)
        above = reference[:len(values)] > 1e-9 * reference[:1].sum()
        np.testing.assert_allclose(values[above], reference[:len(values)][above], rtol=1e-8)
        np.testing.assert_allclose(values, reference[:len(values)].clip(min=0), atol=1e-12 * (reference[0] or 1e-30))
        assert s.trace == pytest.approx(values.sum(), rel=1e-9)


def test_spectrum_at_known_answers():
    x = np.vstack([np.eye(4), -np.eye(4)]) * [4, 2, 2, 0]  # variances 4, 1, 1, 0
    s = fm.spectrum(x, top_k=2)
    np.testing.assert_allclose(s.all_eigenvalues, [4, 1, 1, 0], atol=1e-15)
    assert s.eigenvalues.tolist() == s.all_eigenvalues[:2].tolist() and s.trace == pytest.approx(6)
    assert s.effective_rank == pytest.approx(np.exp(np.log(6) - 4 * np.log(4) / 6))
    assert s.participation_ratio == pytest.approx(36 / 18)
    assert [s.k_for(share) for share in (0.5, 4 / 6, 0.7, 5 / 6, 0.95, 1.0)] == [1, 1, 2, 2, 3, 3]
    assert (s.k95, s.k99, s.rank_bound) == (3, 3, 4)
    np.testing.assert_allclose(s.cumulative_share, [4 / 6, 5 / 6, 1, 1])
    even = fm.spectrum(np.vstack([np.eye(5), -np.eye(5)]))
    assert even.effective_rank == pytest.approx(5) and even.participation_ratio == pytest.approx(5)


def test_spectrum_without_variance_and_errors():
    for x, bound in ((np.full((9, 4), 0.1), 4), (np.ones((1, 4)), 0)):
        s = fm.spectrum(x)
        assert s.eigenvalues.tolist() == [0.0] * bound and s.trace == 0
        assert (s.effective_rank, s.participation_ratio, s.k95) == (0.0, 0.0, 0)
        assert s.noise().tolist() == [0.0] * bound
    for bad, words in ((np.zeros((0, 3)), "0 images"), (np.zeros(3), "images, channels"),
                       (np.array([[np.inf, 1.0]]), "NaN or infinite")):
        with pytest.raises(ValueError, match=words):
            fm.spectrum(bad)
    with pytest.raises(ValueError, match="top_k is 0"):
        fm.spectrum(np.eye(3), top_k=0)
    with pytest.raises(ValueError, match="share is 95"):
        fm.spectrum(np.eye(3)).k_for(95)


def test_bootstrap_agrees_with_drawing_the_images_and_covers_the_estimate():
    x = rng(8).standard_normal((30, 50)) * np.linspace(3, 0.1, 50)
    boot = fm.bootstrap_spectrum(x, n_resamples=60, n_leading=4, seed=5)
    generator, expected = rng(5), []
    for _ in range(60):
        counts = generator.multinomial(30, np.full(30, 1 / 30))
        expected.append(fm.spectrum(np.repeat(x, counts, axis=0)))
    np.testing.assert_allclose(boot.eigenvalues, [s.eigenvalues[:4] for s in expected], rtol=1e-9)
    np.testing.assert_allclose(boot.effective_rank, [s.effective_rank for s in expected], rtol=1e-9)
    assert boot.eigenvalues[:, 0].mean() > boot.estimate.eigenvalues[0]  # the upward bias that is documented
    low, high = boot.eigenvalue_spread()
    assert (low < boot.estimate.eigenvalues[:4]).all() and (boot.estimate.eigenvalues[:4] < high).all()
    low, high = boot.effective_rank_spread()
    assert low < boot.estimate.effective_rank < high
    again = fm.bootstrap_spectrum(x, n_resamples=60, n_leading=4, seed=5)
    assert np.array_equal(boot.eigenvalues, again.eigenvalues)
    assert not np.array_equal(boot.eigenvalues, fm.bootstrap_spectrum(x, n_resamples=60, n_leading=4).eigenvalues)


def test_bootstrap_error_of_a_variance_is_that_of_the_textbook():
    """One channel: the standard error of the variance of a normal sample is sqrt(2/N) times the variance."""
    boot = fm.bootstrap_spectrum(rng(9).standard_normal((2000, 1)), n_resamples=400, n_leading=3)
    assert boot.eigenvalues.shape == (400, 1)
    assert boot.eigenvalues.std() == pytest.approx(np.sqrt(2 / 2000), rel=0.15)
    assert fm.bootstrap_spectrum(np.ones((1, 4))).eigenvalues.shape == (200, 0)
    with pytest.raises(ValueError, match="n_resamples is 1"):
        fm.bootstrap_spectrum(np.eye(3), n_resamples=1)


def test_split_half():
    x = rng(10).standard_normal((201, 40))
    halves = fm.split_half(x, seed=3)
    assert halves.first.images == halves.second.images == 100
    # pure noise: the first direction holds far more than 1 in the half that chose it and about 1 in the other
    assert halves.first.eigenvalues[0] > 2 and abs(halves.held_out[:10].mean() - 1) < 0.15
    assert np.array_equal(halves.held_out, fm.split_half(x, seed=3).held_out)
    one_direction = np.outer(rng(11).standard_normal(200), np.ones(300))
    strong = fm.split_half(one_direction + 1e-3 * rng(12).standard_normal((200, 300)))
    assert strong.held_out[0] == pytest.approx(strong.second.eigenvalues[0], rel=1e-3)
    with pytest.raises(ValueError, match="3 images"):
        fm.split_half(np.eye(3))


@pytest.mark.parametrize("n, c", [(401, 100), (201, 200), (101, 800), (2001, 3)])
def test_marchenko_pastur_against_simulated_noise(n, c):
    simulated = np.mean([fm.spectrum(rng(s).standard_normal((n, c)) * 2).all_eigenvalues for s in range(4)], axis=0)
    law = fm.marchenko_pastur(n, c, simulated.sum())
    assert len(law) == min(c, n - 1) and (np.diff(law) <= 0).all() and law.sum() == pytest.approx(simulated.sum())
    assert np.abs(law - simulated).max() < (0.03 if c > 3 else 0.1) * simulated[0]
    edge = 4 * (1 + np.sqrt(c / (n - 1))) ** 2
    assert law[0] <= edge and law[0] > 0.8 * edge


def test_marchenko_pastur_closed_forms():
    """Ratio 1 and variance 1: the density is sqrt((4-x)/x)/2π, so half of it lies below the middle value."""
    law = fm.marchenko_pastur(4002, 4001, 4001.0)
    density = scipy.integrate.quad(lambda x: np.sqrt((4 - x) / x) / (2 * np.pi), 0, law[2000])[0]
    assert density == pytest.approx(0.5, abs=1e-3)
    np.testing.assert_allclose(fm.marchenko_pastur(10**9, 3, 6.0), 2.0, rtol=1e-3)
    assert fm.marchenko_pastur(1, 5, 0.0).size == 0
    with pytest.raises(ValueError, match="-1"):
        fm.marchenko_pastur(5, 5, -1)


def test_subspace_overlap_at_known_answers():
    scale = np.array([9.0, 7, 5, 3, 2, 1])
    x = rng(13).standard_normal((500, 6)) * scale
    same = fm.subspace_overlap(x, x * 3 + 100, 3)
    assert same.overlap == pytest.approx(1) and same.angles.max() < 1e-6 and same.chance == 0.5
    cross = np.vstack([np.eye(4), -np.eye(4)])
    a, b = cross * [5, 4, 1, 0.5], cross * [5, 1, 4, 0.5]  # share the first axis, differ in the second
    assert fm.subspace_overlap(a, b, 2).overlap == pytest.approx(0.5)
    np.testing.assert_allclose(fm.subspace_overlap(a, b, 2).angles, [0, np.pi / 2], atol=1e-7)
    np.testing.assert_allclose(fm.subspace_overlap(a, cross * [1, 1, 5, 4], 2).overlap, 0, atol=1e-20)


def test_subspace_overlap_equals_scipy_and_chance():
    a, b = rng(14).standard_normal((40, 90)), rng(15).standard_normal((50, 90))
    va, vb = (np.linalg.eigh(np.cov(x, rowvar=False, bias=True))[1][:, ::-1][:, :6] for x in (a, b))
    angles = np.sort(scipy.linalg.subspace_angles(va, vb))
    np.testing.assert_allclose(fm.subspace_overlap(a, b, 6).angles, angles, rtol=1e-6)
    chance = [fm.subspace_overlap(rng(s).standard_normal((30, 40)), rng(s + 99).standard_normal((30, 40)), 8)
              for s in range(30)]
    assert np.mean([o.overlap for o in chance]) == pytest.approx(chance[0].chance, rel=0.05)
    for m in (0, 40):
        with pytest.raises(ValueError, match=f"m is {m}; legal is 1 to the rank of the features, 39"):
            fm.subspace_overlap(a, b, m)
    with pytest.raises(ValueError, match="90 and 5 channels"):
        fm.subspace_overlap(a, rng().standard_normal((50, 5)), 2)


# ---------------------------------------------------------------------------------------------- plots


def test_every_scenario_of_the_design_has_its_own_colour_and_words():
    names = {"finetuned_own", "imagenet_own", "imagenet_imagenet", "imagenet_cifar10", "random_own"}
    assert set(fm.SCENARIO_COLORS) == set(fm.SCENARIO_LABELS) > names
    assert len({fm.SCENARIO_COLORS[name] for name in names}) == len(names)
    assert all("stand-in" in fm.SCENARIO_LABELS[name] for name in set(fm.SCENARIO_LABELS) - names)
    style = fm.scenario_style("imagenet_own_32px")
    assert style["color"] == fm.SCENARIO_COLORS["imagenet_own"] and style["linestyle"] == "--"
    assert "32×32" in style["label"]


def spectra_of(*scenarios, n=30):
    scale = np.linspace(2, 0, 12)
    return {name: fm.spectrum(rng(i).standard_normal((n, 12)) * scale) for i, name in enumerate(scenarios)}


def test_plot_of_eigenvalues_shows_the_eigenvalues():
    spectra = spectra_of("finetuned_own", "random_own")
    ax = fm.plot_eigenvalues(spectra, noise=True)
    line = next(line for line in ax.lines if line.get_label() == fm.SCENARIO_LABELS["random_own"])
    np.testing.assert_array_equal(line.get_ydata(), spectra["random_own"].eigenvalues)
    assert ax.get_xlabel() and ax.get_ylabel() and line.get_color() == fm.SCENARIO_COLORS["random_own"]
    ax = fm.plot_eigenvalues(spectra, log=True, relative=True)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert all((np.asarray(line.get_ydata()) > 0).all() for line in ax.lines)
    boot = fm.bootstrap_spectrum(rng(0).standard_normal((30, 12)), n_resamples=5)
    assert fm.plot_eigenvalues(spectra, errors={"random_own": boot}).collections
    assert fm.plot_cumulative_variance(spectra).lines[0].get_ydata()[-1] == pytest.approx(1)


@pytest.mark.parametrize("panel", [fm.plot_eigenvalues, fm.plot_cumulative_variance])
def test_grid_has_a_panel_a_layer_and_one_legend(panel):
    spectra = {s: {layer: value for layer in ("a", "b", "c", "d", "e")}
               for s, value in spectra_of("finetuned_own", "imagenet_own", "imagenet_own_32px").items()}
    figure = fm.plot_by_layer(spectra, panel)
    titles = [ax.get_title().split("\n")[0] for ax in figure.axes]
    assert titles == ["a", "b", "c", "d", "e", ""]
    words = [text.get_text() for text in figure.axes[-1].get_legend().get_texts()]
    assert words[:2] == [fm.SCENARIO_LABELS["finetuned_own"], fm.SCENARIO_LABELS["imagenet_own"]]
    figure.canvas.draw()


def test_plots_of_shares():
    scenarios, layers = ["imagenet_own", "random_own"], ["first", "second"]
    table = pd.DataFrame([(s, layer, 0.2 + 0.3 * i) for s in scenarios for i, layer in enumerate(layers)],
                         columns=["scenario", "layer", "non_positive_share"])
    ax = fm.plot_non_positive_shares(table)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.2, 0.5])
    assert [label.get_text() for label in ax.get_xticklabels()] == layers
    channels = pd.DataFrame([(s, layer, k, k / 9) for s in scenarios for layer in layers for k in range(10)],
                            columns=["scenario", "layer", "channel", "share"])
    legend = fm.plot_channel_shares(channels).get_legend()
    assert [t.get_text() for t in legend.get_texts()] == [fm.SCENARIO_LABELS[s] for s in scenarios]
    ax = fm.plot_class_heatmap(pd.DataFrame([[0.25, 0.5]], index=["first"], columns=["sea", "street"]))
    assert [text.get_text() for text in ax.texts] == ["25.0%", "50.0%"]
