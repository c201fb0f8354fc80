"""Tests of inside/attribution/randomisation.py."""

import copy
import weakref
from functools import partial

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
import torch.utils.checkpoint
import torchvision
from torch import nn

from inside.attribution.cam import class_activation_maps
from inside.attribution.guided import guided_backpropagation, saliency
from inside.attribution.randomisation import (
    _explain,
    chance_correlations,
    edge_strength,
    images_before,
    interval_over_draws,
    parameter_randomisation_test,
    randomise,
    rank_correlation,
    unrelated_maps,
    weighted_parts,
)
from inside.evaluation.intervals import mean_interval
from inside.models.scratch import ConvNetGAP
from shared.attribution import SMALL_VIT, gap_network, images, lite, seeded


@pytest.mark.parametrize("make, first, last", [
    (torchvision.models.resnet18, ["fc", "layer4.1", "layer4.0"], "conv1"),
    (torchvision.models.alexnet, ["classifier.6", "classifier.4", "classifier.1", "features.10"], "features.0"),
    (gap_network, ["output"], None), (lite, ["classifier", "bn2", "conv_head", "blocks.6"], "conv_stem"),
    (lambda: nn.DataParallel(torchvision.models.resnet18()), ["module.fc", "module.layer4.1"], "module.conv1"),
    (lambda: torchvision.models.VisionTransformer(**SMALL_VIT | {"num_layers": 8}), ["heads.head", "encoder.ln", "encoder.layers.encoder_layer_7"], "conv_proj")])
def test_weights_are_drawn_anew_from_the_top_down(make, first, last):
    model, fresh = seeded(make), make()
    units = weighted_parts(model)
    assert units[:len(first)] == first and (last is None or units[-1] == last)
    owned = {name for unit in units for name, _ in model.get_submodule(unit).named_parameters(prefix=unit)}
    assert {name for name, _ in model.named_parameters()} - owned <= {"class_token", "encoder.pos_embedding"}
    before, changed = copy.deepcopy(model.state_dict()), []
    for down_to, network in randomise(model, fresh, units, 4):
        now = network.state_dict()
        assert all(torch.equal(now[name], value) or torch.equal(now[name], fresh.state_dict()[name]) for name, value in before.items())
        changed.append((down_to, {name for name, value in before.items() if not torch.equal(value, now[name])}))
    assert changed[0] == ("nothing", set()) and changed[1][0] == units[0] and changed[-1][0] == units[-1]
    assert {name.rpartition(".")[0] for name in changed[1][1]} == {units[0]}
    assert all(small < large for (_, small), (_, large) in zip(changed, changed[1:], strict=False)) and len(changed) == 1 + min(4, len(units))
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in network.state_dict().items())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert len(list(randomise(model, fresh, units, 1))) == 2 and weighted_parts(nn.Sequential(nn.Linear(2, 2))) == ["0"]


def test_rank_correlation():
    a = np.arange(12.0).reshape(3, 4)
    assert rank_correlation(a, a**3) == pytest.approx(1) and rank_correlation(a, -a) == pytest.approx(-1)
    assert rank_correlation(np.array([[1, 2, 3]]), np.array([[1, 3, 2]])) == pytest.approx(0.5)
    assert np.isnan(rank_correlation(a, np.ones((3, 4)))) and np.isnan(rank_correlation(a, a * np.nan))


def another_gap_network(seed=77):
    torch.manual_seed(seed)
    return ConvNetGAP(4, widths=[6, 8]).eval()


def test_the_check_compares_the_network_of_each_step_and_draw():
    """Every row worked out again: the class that the trained network predicts, the maps of that draw's network at that step."""
    model, fresh, batch = seeded(gap_network), [another_gap_network(77), another_gap_network(78)], images(12, 32)
    found = parameter_randomisation_test(model, fresh, batch, n_steps=3, batch_size=5)
    with torch.no_grad():
        targets = model(batch).argmax(1)
        assert all((network(batch).argmax(1) != targets).any() for network in fresh)
    rows = found.table.set_index(["step", "method", "draw", "image"])["correlation"]
    cascades = [[(name, copy.deepcopy(network)) for name, network in randomise(model, weights, weighted_parts(model), 3)] for weights in fresh]
    explained = {"class activation map (CAM)": lambda net: class_activation_maps(net, batch, targets).maps,
                 "gradient": lambda net: saliency(net, batch, targets).abs().sum(1).numpy(),
                 "guided backpropagation": lambda net: guided_backpropagation(net, batch, targets).abs().sum(1).numpy()}
    for draw, cascade in enumerate(cascades):
        assert [name for name, _ in cascade] == list(found.pictures) and len(cascade) == 4
        for step, (down_to, network) in enumerate(cascade):
            for method, explain in explained.items():
                trained, maps = explain(model), explain(network)
                for image in (draw, 6 + draw, 10 + draw):  # dealt in turn
                    assert rows[step, method, draw, image] == pytest.approx(rank_correlation(trained[image], maps[image]), abs=1e-3)
                if draw == 0:
                    np.testing.assert_allclose(found.pictures[down_to][method], maps[0], rtol=1e-3, atol=1e-6)
    means = found.table.groupby(["method", "step"])["correlation"].mean()
    assert (means[:, 0] > 0.999).all() and (means[:, 3].abs() < 0.9).all()
    cams = class_activation_maps(model, batch, targets).maps
    controls = found.controls.set_index(["method", "control", "image"])["correlation"]
    assert controls["class activation map (CAM)", "another image", 3] == pytest.approx(rank_correlation(cams[3], cams[2]), abs=1e-3)
    assert controls["gradient", "edges", 2] == pytest.approx(
        rank_correlation(edge_strength(batch)[2], saliency(model, batch, targets).abs().sum(1)[2].numpy()), abs=1e-3)


@pytest.mark.parametrize("n_draws, n_images", [(1, 10), (3, 10), (5, 10), (4, 2)])
def test_each_image_belongs_to_one_draw(monkeypatch, n_draws, n_images):
    explained, explain = [], _explain
    monkeypatch.setattr("inside.attribution.randomisation._explain", lambda method, network, part, *more: explained.append(len(part)) or explain(method, network, part, *more))
    found = parameter_randomisation_test(seeded(gap_network), [another_gap_network(seed) for seed in range(n_draws)], images(n_images, 32), n_steps=2)
    for _, rows in found.table.groupby(["step", "method"]):
        assert sorted(rows["image"]) == list(range(n_images)) and set(rows["draw"]) == set(range(min(n_draws, n_images)))
        assert rows.groupby("draw").size().max() - rows.groupby("draw").size().min() <= 1
    assert (found.table.groupby("image")["draw"].nunique() == 1).all()
    assert sum(explained) == 3 * 3 * n_images  # methods, steps: more draws cost no more images


def test_draws_of_random_weights_must_differ():
    model, batch = seeded(gap_network), images(3, 32)
    with pytest.raises(ValueError, match="draws 0 and 2 of fresh hold the same weights"):
        parameter_randomisation_test(model, [another_gap_network(seed) for seed in (1, 2, 1)], batch)
    with pytest.raises(ValueError, match="fresh holds 0 networks; expected 1 or more"):
        parameter_randomisation_test(model, [], batch)


def test_functions_that_build_draws_give_the_same_and_one_network_is_alive_at_a_time():
    model, batch, built = seeded(gap_network), images(6, 32), []

    def build(seed):
        assert not [1 for network in built if network() is not None], "an earlier draw is still alive"
        network = another_gap_network(seed)
        built.append(weakref.ref(network))
        return network
    found = parameter_randomisation_test(model, [partial(build, seed) for seed in (1, 2, 3)], batch, n_steps=2)
    known = parameter_randomisation_test(model, [another_gap_network(seed) for seed in (1, 2, 3)], batch, n_steps=2)
    assert len(built) == 3 and found.table["correlation"].tolist() == known.table["correlation"].tolist()
    with pytest.raises(ValueError, match="draws 0 and 1 of fresh hold the same weights"):
        parameter_randomisation_test(model, [partial(another_gap_network, 1)] * 2, batch, n_steps=2)


def test_edges_of_an_image():
    image = torch.zeros(1, 3, 6, 6)
    image[:, :, :, 3:] = 2
    assert edge_strength(image)[0].tolist() == [[0, 0, 1, 1, 0, 0]] * 6


def test_the_interval_over_draws_holds_the_variance_between_draws():
    values, draws = [0.1, 0.3, 0.5, 0.7, 0.2, 0.4], [0, 0, 1, 1, 2, 2]  # means 0.2, 0.6, 0.3
    expected = scipy.stats.t.interval(0.95, 2, np.mean([0.2, 0.6, 0.3]), np.std([0.2, 0.6, 0.3], ddof=1) / np.sqrt(3))
    assert interval_over_draws(values, draws) == pytest.approx((1.1 / 3, *expected, 3))
    assert interval_over_draws([*values, np.nan], [*draws, 3]) == pytest.approx((1.1 / 3, *expected, 3))
    same_within = np.repeat([0.2, 0.6], 50)  # a hundred images, two draws: nothing but the draws varies
    mean, low, high, n = interval_over_draws(same_within, np.repeat([0, 1], 50))
    assert (mean, n) == (pytest.approx(0.4), 2) and high - low > 2
    assert interval_over_draws(values, [0] * 6) == (*mean_interval(values), 1)
    assert np.isnan(interval_over_draws([np.nan] * 3, [0, 1, 2])[:3]).all()


@pytest.mark.parametrize("between, within", [(0.1, 0.2), *(pytest.param(*pair, marks=pytest.mark.soak) for pair in ((0.0, 0.2), (0.2, 0.05)))])
def test_the_interval_over_draws_covers(between, within):
    rng, draws = np.random.default_rng(3), np.tile(np.arange(5), 6)
    held = 0
    for _ in range(400):
        values = 0.5 + between * rng.standard_normal(5)[draws] + within * rng.standard_normal(30)
        _, low, high, _ = interval_over_draws(values, draws)
        held += low <= 0.5 <= high
    assert 0.92 <= held / 400 <= 0.98


def smooth_maps(n, size, width, seed):
    """n maps of noise, blurred by `width` positions, cut out of larger ones: nothing wraps round."""
    noise = np.random.default_rng(seed).standard_normal((n, size + int(8 * width), size + int(8 * width)))
    margin = int(4 * width)
    return scipy.ndimage.gaussian_filter(noise, (0, width, width))[:, margin:margin + size, margin:margin + size]


@pytest.mark.parametrize("size, width", [(7, 1.5), (14, 1.0), (14, 4.0), *(pytest.param(*pair, marks=pytest.mark.soak) for pair in ((5, 1.0), (5, 2.0), (10, 2.0), (40, 2.0)))])
def test_chance_is_what_unrelated_smooth_maps_have(size, width):
    a, b = smooth_maps(300, size, width, 1), smooth_maps(300, size, width, 2)
    unrelated = np.mean([abs(rank_correlation(x, y)) for x, y in zip(a, b, strict=True)])
    chance = np.mean([abs(value) for _, value in chance_correlations(a[:60], n=5)])
    assert chance == pytest.approx(unrelated, rel=0.2)
    assert unrelated > 0.06  # not 0, and for the smooth ones far from it


def test_chance_takes_maps_that_can_be_ranked():
    maps = smooth_maps(4, 6, 1, 0)
    maps[1], maps[2, 0, 0] = 3, np.nan
    assert {image for image, _ in chance_correlations(maps)} == {0, 3}
    assert chance_correlations(maps[:2]) == [] and images_before(maps) == [3, None, None, 0]
    assert images_before(maps[:3]) == [None] * 3
    assert chance_correlations(maps, seed=1) == chance_correlations(maps, seed=1) != chance_correlations(maps, seed=2)
    own, other = np.abs(maps[[0, 3]]), unrelated_maps(maps[[0, 3]])
    assert other.shape == own.shape and abs(rank_correlation(own[0], other[0])) < 0.99
