"""Tests of inside/attribution/captions.py: claims agree with their numbers, at the extremes as well."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inside.attribution.cam import View
from inside.attribution.captions import (
    describe_baselines,
    describe_concentration,
    describe_differences,
    describe_extremes,
    describe_filters,
    describe_first_maps,
    describe_largest_baseline,
    describe_least_changed,
    describe_neuron_classes,
    describe_neurons,
    describe_overlap,
    describe_places,
    describe_randomised,
    describe_refutation,
    describe_steps,
    format_rho,
    hottest_share,
    map_overlaps,
)
from inside.attribution.describe import summarise_randomisation
from inside.attribution.occlusion import OCCLUSIONS
from inside.attribution.randomisation import UNRELATED, Randomisation

GUIDED = "guided backpropagation"


def randomised(steps, *, method=GUIDED, another=0.1, unrelated=0.2, n_images=12):
    """A Randomisation of one method whose |ρ| of each step below "nothing" is that of `steps`."""
    names = ["nothing", "head", *(f"layer{n}" for n in range(1, len(steps)))]
    rows = [(step, down, method, image % 3, image, value + 0.001 * (image % 3) * (step > 0))
            for step, (down, value) in enumerate(zip(names, (1.0, *steps), strict=True)) for image in range(n_images)]
    controls = [(method, name, image, value) for name, value in (("another image", another), (UNRELATED, unrelated)) for image in range(n_images)]
    return Randomisation(pd.DataFrame(rows, columns=["step", "down_to", "method", "draw", "image", "correlation"]),
                         pd.DataFrame(controls, columns=["method", "control", "image", "correlation"]), {})


def view(heat):
    heat = np.asarray(heat, dtype=float)
    return View(np.zeros((*heat.shape, 3)), heat, heat, "", heat.max())


def square(y, x, value=1.0):
    """Heat (10,10) in a row of ten pixels from (y, x) on: a tenth of the image."""
    heat = np.zeros(100)
    heat[10 * y + x:10 * y + x + 10] = value
    return heat.reshape(10, 10)


@pytest.mark.parametrize("maps, told", [
    ([[[1, 1], [1, -1]], [[-1, -1], [0, 2]]], "Depending on the filter, between 25.0% and 75.0% of the values of these 2 maps are non-positive."),
    ([[[1, -1]], [[-1, 1]]], "50.0% of the values of each of these 2 maps are non-positive."),
    ([[[0, 0]]], "100.0% of the values of this map are non-positive.")])
def test_maps_of_the_first_layer(maps, told):
    assert describe_first_maps(np.array(maps, dtype=float)) == told


def test_filters_of_colour_and_of_brightness():
    gray, color = np.ones((1, 3, 2, 2)), np.ones((1, 3, 2, 2)) * np.array([1, -1, 0]).reshape(1, 3, 1, 1)
    assert describe_filters(np.concatenate([gray, color, color])).startswith("2 of the 3 filters shown respond more to colour")
    assert describe_filters(np.concatenate([gray, color])).startswith("1 of the 2 filters shown responds more")
    none = describe_filters(np.concatenate([gray, 0 * gray]))
    assert none.startswith("None of the 2 filters shown responds more to colour than to brightness: differences") and "at most half" in none
    assert "single channel" in describe_filters(np.ones((4, 1, 3, 3)))


def neurons(labels, after):
    return pd.DataFrame({"channel": range(len(labels)), "stands_out": np.arange(len(labels), dtype=float), "label": labels, "next_labels": after})


def test_neurons():
    found = neurons(["a", "b", "a"], [["a", "a"], ["b", "a"], ["b", "b"]])
    assert describe_neurons(found, "conv").startswith("Channel 2 of `conv` stands out most of those shown: its strongest value lies 2.0 σ")
    assert describe_neurons(found.assign(stands_out=[5.54, 5.51, 5.44]), "conv").startswith("Channels 0 and 1 of `conv` stand out most of those shown: "
                                                                                            "their strongest values lie 5.5 σ above their means")
    assert describe_neurons(found.assign(stands_out=0.0), "conv") == "None of these channels of `conv` varies over the images."
    assert describe_neuron_classes(found, 2).startswith("In 1 of 3 rows the 3 images are all of one class (a)")
    assert describe_neuron_classes(found.tail(2), 2).startswith("In none of the rows (2) are the 3 images all of one class")
    assert describe_neuron_classes(found, 1).startswith("All images carry the same label")
    assert describe_neuron_classes(neurons(["a"], [[]]), 2).startswith("There is a single image")


@pytest.mark.parametrize("value, words", [(0.95, "does not explain the *class*"), (0.05, "passes the first test"), (0.6, "is undecided")])
def test_the_caption_of_guided_backpropagation_says_what_the_check_found(value, words):
    found = randomised((value,))
    row = summarise_randomisation(found).query("step == 1").iloc[0]
    told = describe_refutation(found)
    assert words in told and f"|ρ| {row['|ρ|']:.3f}, {row['low']:.3f} to {row['high']:.3f}; threshold 0.60" in told and "(#figure-randomisation)" in told
    assert row["verdict"] == {"does not explain the *class*": "not changed", "passes the first test": "changed", "is undecided": "undecided"}[words]


def test_no_refutation_where_there_is_no_verdict():
    assert "not tested in this run" in describe_refutation(None)
    assert "not tested in this run" in describe_refutation(randomised((0.9,), method="gradient"))
    assert "gives no verdict" in describe_refutation(randomised((0.9,), n_images=4)) and "does not explain" not in describe_refutation(randomised((np.nan,)))


def test_how_concentrated_the_evidence_is():
    even, point, none = view(np.ones((10, 10))), view(square(0, 0)), view(np.zeros((10, 10)))
    assert hottest_share(even.heat) == pytest.approx(0.1) and hottest_share(point.heat) == 1 and np.isnan(hottest_share(none.heat))
    assert describe_concentration([even, point, none]) == ("On average over 2 images, 55% of the evidence for the class lies in the hottest "
                                                            "tenth of the image, where the map is highest; spread evenly it would be 10%.")
    assert describe_concentration([point, none]).startswith("100% of the evidence for the class lies in the hottest tenth of the image, where the map is highest;")
    assert describe_concentration([none]) == "None of the maps holds evidence for its class."
    assert describe_extremes([even, point, none], "abc") == \
        "The evidence is most concentrated for b (100% in the hottest tenth of the image) and least for a (10%)."
    assert "for b and d (100% in" in describe_extremes([even, point, none, point], "abcd")  # what is shown alike is told alike
    assert describe_extremes([even, even], "ab").startswith("The evidence is equally concentrated in all of them: 10%")
    assert "one case" in describe_extremes([point, none], "ab")


def test_where_errors_were_seen():
    wrong = pd.DataFrame({"label": ["a", "b", "c"], "predicted": ["b", "c", "a"]})
    same, half, apart = ([view(square(0, 0)), view(square(y, x))] for y, x in ((0, 0), (0, 5), (5, 0)))
    assert map_overlaps([*same, *half, *apart]).tolist() == [1, 0.5, 0]
    assert describe_overlap([*same, *half, *apart]).startswith("On average over 3 errors, the hottest tenths for the predicted and the true class share 50%")
    assert describe_places(wrong, [*same, *half, *apart]).startswith("In 2 of 3 errors (a taken for b and b taken for c) they share half")
    assert describe_places(wrong.head(1), apart).startswith("In no error (1 compared) do the tenths share half")
    none = [view(np.zeros((10, 10))), view(square(0, 0))]
    assert describe_overlap(none).startswith("No error has evidence for both") and describe_places(wrong.head(1), none).startswith("Nothing in the maps")
    assert describe_overlap([*none, *same]).startswith("The hottest tenths for the predicted and the true class share 100%")


def test_one_image_as_weights_are_reinitialised():
    a = np.arange(9.0).reshape(3, 3)
    pictures = {"nothing": {"x": a, "y": a}, "head": {"x": -a, "y": np.ones((3, 3))}, "all": {"x": a, "y": a}}
    assert describe_randomised(pictures).startswith("With a re-initialised classifier, ρ with the trained network's map is −1.00 for x and – for y")
    assert describe_least_changed(pictures).startswith("Here x changes least;")
    both = pictures | {"head": {"x": a, "y": -a}}
    assert describe_least_changed(both).startswith("Here x and y change least;")
    assert describe_least_changed(pictures | {"head": {"x": 0 * a, "y": 0 * a}}).startswith("None of these maps can be ranked;")
    assert [format_rho(value) for value in (np.nan, -0.001, 0.5, 0.999)] == ["–", "−0.001", "0.50", "0.999"]


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(st.sampled_from([0.05, 0.6, 0.95, np.nan]), min_size=1, max_size=5), another=st.sampled_from([0.1, 0.2, 0.9, np.nan]),
       n_images=st.sampled_from([3, 12]))
def test_tables_of_the_test(steps, another, n_images):
    found = randomised(tuple(steps), another=another, n_images=n_images)
    told, verdicts = describe_steps(found), summarise_randomisation(found).query("step > 0")["verdict"]
    counts = {verdict: int(count) for count, verdict in re.findall(r"(\d+) “([^”]+)”", told)}
    assert counts == verdicts.value_counts().to_dict() and told.startswith(f"Of {len(steps)} steps")
    alike = describe_baselines(found)
    assert ("more alike than chance for" in alike) == (another > 0.2) and ("could be compared" in alike) == np.isnan(another)
    largest = describe_largest_baseline(found)
    assert largest == f"The largest baseline is {np.nanmax([another, 0.2]):.3f}: {'another image' if another > 0.2 or another == 0.2 else UNRELATED}, by {GUIDED}."


def test_maps_are_alike_only_beyond_their_interval():
    found = randomised((0.1,))
    rows = found.controls["control"] == "another image"
    for spread, told in ((0.01, "more alike than chance for"), (0.5, "By no method")):
        found.controls.loc[rows, "correlation"] = np.clip(0.3 + spread * np.linspace(-1, 1, rows.sum()), 0, 1)
        assert told in describe_baselines(found)


def test_no_baseline_where_no_map_can_be_ranked():
    assert describe_largest_baseline(randomised((0.1,), another=np.nan, unrelated=np.nan)).startswith("No map can be ranked")
    assert "could be compared" in describe_baselines(randomised((0.1,), unrelated=np.nan))


def test_differences_of_occlusion():
    table = pd.DataFrame(np.random.default_rng(0).uniform(0, 0.5, (12, 3)) + [0.4, 0, 0], columns=list(OCCLUSIONS))
    told = describe_differences(table)
    for name in OCCLUSIONS[1:]:
        assert f"to the {name} is {100 * (table[OCCLUSIONS[0]] - table[name]).mean():.1f} points" in told
    few = describe_differences(table.head(3))
    low, high = 100 * table[OCCLUSIONS[0]].head(3).min(), 100 * table[OCCLUSIONS[0]].head(3).max()
    assert f"of the images (3) by {low:.1f} to {high:.1f} points" in few
