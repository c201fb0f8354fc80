"""Tests of inside/attribution/occlusion.py."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from inside.attribution.cam import class_activation_maps
from inside.attribution.describe import FEWEST, attribution_results, describe_occlusion, describe_occlusion_figure
from inside.attribution.occlusion import (
    OCCLUSIONS,
    move_within,
    occlusion_check,
    occlusion_masks,
    top_fraction_mask,
    typical_image,
)
from inside.attribution.plots import plot_occlusion


def test_the_hottest_tenth():
    maps = np.random.default_rng(0).random((3, 10, 20))
    masks = top_fraction_mask(maps)
    assert masks.sum((1, 2)).tolist() == [20] * 3
    assert all(maps[i][masks[i]].min() > maps[i][~masks[i]].max() for i in range(3))
    assert top_fraction_mask(np.zeros((1, 10, 10)), 0.25).sum() == 25
    hidden = occlusion_masks(maps, seed=1)
    assert list(hidden) == list(OCCLUSIONS) and {mask.sum() for masks in hidden.values() for mask in masks} == {20}
    np.testing.assert_array_equal(hidden[OCCLUSIONS[2]][1], masks[0])
    assert not np.array_equal(hidden[OCCLUSIONS[1]], occlusion_masks(maps, seed=2)[OCCLUSIONS[1]])


def outline(mask):
    """A shape (H,W) without its place."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return mask[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]


def test_a_moved_shape_is_the_same_one_within_the_image():
    mask = np.zeros((12, 20), dtype=bool)
    mask[2:6, 3:5], mask[5, 3:9] = True, True  # an L, which differs from its mirror images
    rng, places, kinds = np.random.default_rng(0), set(), set()
    mirrored = [np.flip(outline(mask), axes) for axes in ((), (0,), (1,), (0, 1))]
    for _ in range(3000):
        moved = move_within(mask, rng)
        shape = outline(moved)
        assert moved.sum() == mask.sum() and shape.shape == (4, 6)
        kinds.add(next(number for number, one in enumerate(mirrored) if np.array_equal(shape, one)))
        places.add((np.flatnonzero(moved.any(1))[0], np.flatnonzero(moved.any(0))[0]))
    assert kinds == {0, 1, 2, 3} and places == {(y, x) for y in range(9) for x in range(15)}  # every place, to the very border


def test_a_shape_that_reaches_from_border_to_border_is_mirrored():
    mask = np.zeros((6, 6), dtype=bool)
    mask[0, :], mask[:, 0] = True, True
    found = {move_within(mask, np.random.default_rng(seed)).tobytes() for seed in range(60)}
    assert len(found) == 4 and not move_within(np.zeros((3, 3), dtype=bool), np.random.default_rng(0)).any()


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
    """Images (n,1,20,20), 0 but for a square of 6×6 pixels (9% of the image) at a random place."""
    rng, batch = np.random.default_rng(0), torch.zeros(n, 1, 20, 20)
    for image, (y, x) in zip(batch, rng.integers(0, 14, (n, 2)), strict=True):
        image[0, y:y + 6, x:x + 6] = 5
    return batch


def test_hiding_what_counts_costs_more_than_hiding_something_else():
    table, masks = occlusion_check(Spot(), spots(), batch_size=16)
    assert (table["hottest tenth"] > 0.4).all() and table["random tenth"].mean() < 0.3  # nearly nothing is left of the spot
    assert (table["hottest tenth"] >= table["hottest tenth of another image"] - 1e-6).all()
    first, expected = spots()[:1], occlusion_masks(class_activation_maps(Spot(), spots()).enlarged(20))
    assert all((masks[name] == expected[name]).all() for name in OCCLUSIONS)
    for name in OCCLUSIONS:
        hidden = torch.where(torch.from_numpy(masks[name][0]), torch.zeros(()), first)
        drop = Spot()(first).softmax(1)[0, 0] - Spot()(hidden).softmax(1)[0, 0]
        assert table[name].iloc[0] == pytest.approx(drop.item(), abs=1e-5)
    told = describe_occlusion(table)
    assert "40 images" in told[0] and told[1].endswith(": on average, the map points at what the score depends on.") and told[1].count("points at") == 1
    assert f"above 0 in {100 * (table['hottest tenth'] > table['random tenth']).mean():.0f}% of them" in told[1]


COSTS = re.compile(r"([−\d.]+) points \(([−\d.]+) to ([−\d.]+)[);]")
def value_of(text):
    return float(text.replace("−", "-"))


DROPS = st.floats(-1, 1) | st.sampled_from([0.0, 0.0004, -0.0004, 1.0]) | st.just(float("nan"))


@settings(max_examples=50, deadline=None)
@given(drops=st.lists(st.tuples(DROPS, DROPS, DROPS), min_size=1, max_size=13) | st.tuples(DROPS, DROPS, DROPS).map(lambda row: [row] * 10),
       shift=st.sampled_from([0.0, 0.3, -0.3]))
def test_no_sentence_on_occlusion_contradicts_its_numbers(drops, shift):
    table = pd.DataFrame(drops, columns=list(OCCLUSIONS))
    table[OCCLUSIONS[0]] = (table[OCCLUSIONS[0]] / 2 + shift).clip(-1, 1)
    table = table.where(table.sub(table[OCCLUSIONS[0]], axis=0).abs() <= 1)  # of one confidence: no further apart
    measured, told = table.dropna(), describe_occlusion(table)
    written = attribution_results(None, None, table)["occlusion"]
    assert written["images"] == len(measured) and (written["no_verdict"] is None) == (len(measured) >= 10)
    example = typical_image(table)
    assert (example is None) == measured.empty and (example is None or table.iloc[example].notna().all())
    if len(measured) < FEWEST:
        assert told == [written["no_verdict"]] and f"only {len(measured)} of {len(table)} images" in told[0]
        return
    hottest = [value_of(number) for number in COSTS.findall(told[0])[0]]
    assert "nan" not in "".join(told) and "−0.0 " not in "".join(told) and len(COSTS.findall(told[0])) == 3
    assert "**" not in describe_occlusion_figure(table) and f"means over {len(measured)} images" in describe_occlusion_figure(table)
    lines = told[1].split("; that ") if told[1].count(": ") > 1 else [told[1]] * 2
    for name, line, found in zip(OCCLUSIONS[1:], lines, COSTS.findall(told[1]), strict=True):
        mean, low, high = map(value_of, found)
        assert mean == pytest.approx(100 * (measured[OCCLUSIONS[0]] - measured[name]).mean(), abs=0.051) and low <= mean <= high
        assert ("points at" in line) == (low > 0 and hottest[1] > 0) and ("points away" in line) == (high < 0)
        assert ("no difference is shown" in line) == (low <= 0 <= high) and ("is not shown" in line) == (low > 0 >= hottest[1])


@pytest.mark.parametrize("drops", [[np.nan, 0.1], [np.nan, np.nan], [0.3, 0.3], [0.2]])
def test_the_figure_of_occlusion_shows_what_is_told(drops):
    table = pd.DataFrame({name: drops for name in OCCLUSIONS})
    figure = plot_occlusion(np.zeros((4, 4, 3)), {name: np.eye(4, dtype=bool) for name in OCCLUSIONS}, ["x"] * 4, table)
    for dots in figure.subfigs[1].axes[0].collections[:1]:
        assert dots.get_offsets()[:, 0].tolist() == [0.0 for drop in drops if not np.isnan(drop)]


def test_the_figure_of_occlusion_shows_paired_differences():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({name: rng.uniform(-0.2, 0.8, 12) for name in OCCLUSIONS})
    ax = plot_occlusion(np.zeros((4, 4, 3)), {name: np.eye(4, dtype=bool) for name in OCCLUSIONS}, ["x"] * 4, table).subfigs[1].axes[0]
    dots = [part.get_offsets()[:, 0] for part in ax.collections if len(part.get_offsets()) == 12]
    for name, found, text in zip(OCCLUSIONS[1:], dots, ax.texts, strict=True):
        expected = 100 * (table[OCCLUSIONS[0]] - table[name])
        np.testing.assert_allclose(found, expected)
        assert text.get_text() == f"mean {expected.mean():.1f}".replace("-", "−")


def test_a_map_that_points_nowhere_is_left_out():
    batch = spots(12)
    batch[3] = 0
    table, masks = occlusion_check(Spot(), batch)
    assert table[list(OCCLUSIONS)].isna().any(axis=1).tolist() == [index == 3 for index in range(12)]
    np.testing.assert_array_equal(masks[OCCLUSIONS[2]][4], masks[OCCLUSIONS[0]][2])  # the one before that has a map
    assert "means over 11 images" in describe_occlusion(table)[0]
    assert occlusion_check(Spot(), batch[:1])[0][OCCLUSIONS[2]].isna().all()
    assert occlusion_check(Spot(), batch[2:4])[0][OCCLUSIONS[2]].isna().all()  # one map, and none to compare with


def test_the_example_agrees_with_the_means():
    table = pd.DataFrame(dict.fromkeys(OCCLUSIONS, [np.nan, 0.9, 0.1, np.nan, 0.4]))
    assert typical_image(table) == 4 and typical_image(table.head(1)) is None
    rows = [(0.9, 0.1, 0.1), (0.3, 0.2, 0.2), (0.41, 0.42, 0.1), (0.0, 0.5, 0.0)]  # the third is nearest, but its random tenth costs more
    table = pd.DataFrame(rows, columns=list(OCCLUSIONS))
    assert (table.mean() > 0).all() and typical_image(table) == 1

