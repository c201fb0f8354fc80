"""Tests of inside/attribution/describe.py."""

import copy
import importlib.util
import re

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from inside.attribution.describe import (
    ENOUGH,
    FEWEST,
    attribution_results,
    describe_occlusion,
    describe_randomisation,
    describe_randomisation_figure,
    describe_verdicts,
    randomisation_baselines,
    summarise_randomisation,
)
from inside.attribution.occlusion import OCCLUSIONS, occlusion_check, typical_image
from inside.attribution.plots import plot_randomisation, plot_randomised
from inside.attribution.randomisation import UNRELATED, Randomisation, parameter_randomisation_test
from inside.files import ROOT
from shared.attribution import SMALL_VIT, gap_network, images, seeded


def test_a_fresh_network_whose_head_is_zero():
    """As torchvision's vision transformers are: no map can be ranked, and that is told."""
    fresh = torchvision.models.VisionTransformer(**SMALL_VIT)
    assert not fresh.heads.head.weight.any()
    found = parameter_randomisation_test(seeded(torchvision.models.VisionTransformer, **SMALL_VIT), [fresh], images(10, 224), n_steps=2)
    rows = found.table[found.table["method"].str.startswith("class activation map (Grad-CAM)")]
    assert rows.query("step == 0")["correlation"].min() > 0.999 and rows.query("step > 0")["correlation"].isna().all()
    assert all("no verdict, since only 0 of 10" in line for line in describe_randomisation(found))


def test_a_method_that_does_not_change_is_told_so():
    model, batch = seeded(gap_network), images(12, 32)
    same = parameter_randomisation_test(model, [copy.deepcopy(model)], batch, n_steps=3, batch_size=4)
    assert same.table["correlation"].tolist() == pytest.approx([1.0] * len(same.table))
    for line in describe_randomisation(same):
        assert "does not change** when the classifier" in line and "it does not change either" in line and "were drawn once" in line
    alone = parameter_randomisation_test(model, [copy.deepcopy(model)], batch[:1])
    assert alone.controls.query("control != 'edges'")["correlation"].isna().all()
    assert all("no verdict, since only 1 of 1" in line for line in describe_randomisation(alone))


@pytest.mark.soak
def test_the_simulated_coverage_of_the_intervals():
    spec = importlib.util.spec_from_file_location("coverage_benchmark", ROOT / "benchmarks" / "coverage_attribution.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    rows = pd.DataFrame(benchmark.attribution_rows(samples=150))
    assert list(rows) == ["interval", "setting", "images", "coverage", "Monte-Carlo error", "mean width"]
    many = rows["interval"].isin(["mean |ρ|, 5 draws", "mean |ρ|, 2 draws"]) | (rows["images"] >= ENOUGH)
    assert (rows[many]["coverage"] > 0.86).all() and rows[many]["coverage"].mean() == pytest.approx(0.945, abs=0.02)
    alone = rows[rows["interval"].str.contains("1 draw:") & rows["setting"].str.contains("differ as much")]
    assert (alone["coverage"] < 0.6).all()  # what the note of told_randomisation says


def randomised(steps, *, another=0.1, unrelated=0.28, spread=0.05, n_draws=5, n_images=30, draw_spread=0.0, seed=0):
    """A Randomisation of one method "gradient" whose |ρ| are about `steps` below "nothing", unrelated maps' about `unrelated`."""
    rng, names = np.random.default_rng(seed), ["nothing", "head", *(f"layer{n}" for n in range(len(steps) - 1, 0, -1))]
    shift = draw_spread * rng.standard_normal(n_draws)
    rows = [(step, down, "gradient", image % n_draws, image, value + (step > 0) * (spread * rng.standard_normal() + shift[image % n_draws]))
            for step, (down, value) in enumerate(zip(names, (1.0, *steps), strict=True)) for image in range(n_images)]
    controls = [("gradient", name, image, value) for name, value in (("another image", another), (UNRELATED, unrelated)) for image in range(n_images)]
    return Randomisation(pd.DataFrame(rows, columns=["step", "down_to", "method", "draw", "image", "correlation"]),
                            pd.DataFrame(controls, columns=["method", "control", "image", "correlation"]), {})


@pytest.mark.parametrize("steps, another, words", [
    ((0.2, 0.1), 0.1, ["**gradient** changes as soon as the classifier is re-initialised (|ρ| 0.", "below the threshold of 0.64; chance 0.28", "It also changes at every further step"]),
    ((0.9, 0.8, 0.1), 0.1, ["**gradient does not change** when", "above the threshold of 0.64", "Once the weights down to layer1 are re-initialised, it changes at every step"]),
    ((0.9, 0.8), 0.1, ["does not change** when", "With all weights re-initialised it does not change either", "it shows the image, not what"]),
    ((0.9, 0.8), 0.9, ["as alike: it shows where things usually are"]),
    ((0.3, 0.9), 0.1, ["changes as soon as", "With all weights re-initialised it does not change (|ρ| 0.9"]),
    ((0.2, 0.9, 0.2), 0.1, ["changes as soon as", "Once the weights down to layer1 are re-initialised, it changes at every step"]),
    ((0.64, 0.1), 0.1, ["Whether the explanation by **gradient** changes when the classifier is re-initialised is undecided (|ρ| 0.6", "around the threshold of 0.64", "Once the weights down to layer1 are re-initialised, it changes"]),
    ((0.64, 0.64), 0.1, ["is undecided (", "With all weights re-initialised it is undecided, either"]),
    ((-0.95, -0.9), 0.1, ["**gradient does not change** when the classifier"]),
    ((0.2, np.nan), 0.1, ["no verdict, since only 0 of 30 images"])])
def test_verdicts_on_random_weights(steps, another, words):
    line, = describe_randomisation(randomised(steps, another=another))
    assert all(word in line for word in words), line


def test_the_issue_s_two_sentences():
    """0.203 (0.188 to 0.219) is clearly below; an interval around the threshold is not "no change"."""
    clear, = describe_randomisation(randomised((0.203, 0.203), spread=0.015))
    assert "changes as soon as" in clear and "in part" not in clear and "not clearly" not in clear
    open_, = describe_randomisation(randomised((0.64, 0.64), spread=0.02))
    assert "is undecided" in open_ and "not change" not in open_


def test_the_bar_moves_with_chance():
    """The same |ρ| of 0.55 is above the threshold where unrelated maps have 0, below it where they have 0.4."""
    smooth, rough = (summarise_randomisation(randomised((0.55,), unrelated=chance, spread=0.01)).iloc[1] for chance in (0.4, 0.0))
    assert (smooth["threshold"], smooth["verdict"]) == (0.7, "changed") and (rough["threshold"], rough["verdict"]) == (0.5, "not changed")


NUMBERS = re.compile(r"\|ρ\| (\S+), (\S+) to (\S+), (below|above|around) the threshold(?: of (\S+); chance ([\d.]+))?")


@settings(max_examples=50, deadline=None)
@given(steps=st.lists(st.floats(-1, 1) | st.just(float("nan")) | st.floats(0.6, 0.68), min_size=1, max_size=4), unrelated=st.floats(0, 1),
       another=st.floats(-1, 1) | st.just(float("nan")), spread=st.sampled_from([0, 0.001, 0.1]), draw_spread=st.sampled_from([0, 0.02, 0.3]),
       n_draws=st.integers(1, 6), n_images=st.integers(1, 12))
def test_no_sentence_on_random_weights_contradicts_its_numbers(n_images, **options):
    found = randomised(n_images=n_images, **options)
    (line,), rows = describe_randomisation(found), summarise_randomisation(found)
    assert "nan" not in line and ("no verdict" in line) == (n_images < FEWEST or np.isnan(options["steps"]).any())
    written = attribution_results(None, found, None)["randomisation"]["gradient"]
    assert list(written["down_to"].values()) == pytest.approx(rows["|ρ|"].tolist(), nan_ok=True) and bool(written["no_verdict"]) == ("no verdict" in line)
    if "no verdict" in line:
        return
    told = [(float(mean), float(low), float(high), word) for mean, low, high, word, *_ in NUMBERS.findall(line)]
    threshold, chance = (float(value) for value in NUMBERS.search(line).groups()[4:])
    assert threshold == pytest.approx((1 + chance) / 2, abs=0.0051) and len(told) == 1 + (len(options["steps"]) > 1)
    for mean, low, high, word in told:
        assert 0 <= low <= mean <= high <= 1 and word == ("below" if high < threshold else "above" if low > threshold else "around")
    first, last = told[0][3], told[-1][3]
    assert (first == "below") == ("changes as soon as" in line) and (first == "above") == ("does not change** when" in line)
    assert (first == "around") == ("is re-initialised is undecided" in line)
    if len(told) > 1:
        assert (last == "below") == ("(all weights:" in line) and (last == "above") == ("all weights re-initialised it does not change" in line)
        assert (last == "around") == ("all weights re-initialised it is undecided" in line)
    assert ("drawn once" in line) == (options["n_draws"] == 1)


def test_one_statistic_everywhere():
    """Figure, table, sentence and results show the same mean |ρ| with its interval, chance and threshold."""
    found = randomised((-0.3, 0.7), unrelated=-0.2, another=-0.4, draw_spread=0.05)
    rows = summarise_randomisation(found)
    values = found.table.query("step == 1")
    assert rows["|ρ|"].tolist()[1] == pytest.approx(values["correlation"].abs().mean(), abs=6e-4) and (rows["chance"] == 0.2).all() and (rows["threshold"] == 0.6).all()
    line, = describe_randomisation(found)
    assert f"|ρ| {rows['|ρ|'][1]:.3f}, {rows['low'][1]:.3f} to {rows['high'][1]:.3f}, below the threshold of 0.60; chance 0.20" in line
    ax = plot_randomisation(found).axes[0]
    threshold, another = (line.get_ydata() for line in ax.lines[:2])
    assert set(threshold) == {0.6} and another == pytest.approx([0.4, 0.4])
    assert ax.patches[0].get_y() + ax.patches[0].get_height() == pytest.approx(0.2)
    assert {text.get_text() for text in ax.texts} == {"threshold 0.60", "another\nimage 0.40", "chance 0.20"}
    drawn = next(container for container in ax.containers)
    assert drawn[0].get_ydata().tolist() == rows["|ρ|"].tolist()
    bars = np.array([segment[:, 1] for segment in drawn[2][0].get_segments()])
    np.testing.assert_allclose(bars, rows[["low", "high"]])
    written = attribution_results(None, found, None)["randomisation"]["gradient"]
    assert list(written["down_to"].values()) == rows["|ρ|"].tolist() and written["baselines"]["another image"] == pytest.approx(0.4)
    assert written["interval"]["head"] == [rows["low"][1], rows["high"][1]] and (written["threshold"], written["chance"]) == (0.6, 0.2)
    assert randomisation_baselines(found)["another image"].tolist() == pytest.approx([0.4])
    assert f"{rows['|ρ|'][1]:.2f}, {rows['|ρ|'][2]:.2f} (chance 0.20, threshold 0.60)" in describe_randomisation_figure(found)


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
    checked = parameter_randomisation_test(Constant(), [seeded(Constant)], batch, n_steps=2)
    assert checked.table["correlation"].isna().all()
    assert all("no verdict, since only 0 of 12" in line for line in describe_randomisation(checked))
    assert len(plot_randomisation(checked).axes) == 3 and "nan" in describe_randomisation_figure(checked)
    plot_randomised(np.zeros((16, 16, 3)), checked.pictures)
    assert list(randomisation_baselines(checked)) == ["method", "another image", "edges"]
    occluded, masks = occlusion_check(Constant(), batch)
    assert occluded[list(OCCLUSIONS)].isna().all(axis=None) and typical_image(occluded) is None
    assert describe_occlusion(occluded)[0].startswith("No verdict: only 0 of 12 images")
    found = attribution_results(None, checked, occluded)
    assert found["occlusion"]["no_verdict"].startswith("No verdict") and found["randomisation"]["gradient"]["no_verdict"]


@pytest.mark.parametrize("drops, words", [
    ((0.1, 0.1, 0.1), "no difference is shown"), ((0, 0.2, 0.2), "points away"), ((0.3, 0.1, 0.1), "points at what"),
    ((-0.02, -0.06, -0.06), "costs any confidence is not shown")])  # hiding it raises the confidence, if less than elsewhere
def test_verdicts_on_occlusion(drops, words):
    rng = np.random.default_rng(0).normal(0, 0.01, (3, 60))
    table = pd.DataFrame(dict(zip(OCCLUSIONS, np.array(drops)[:, None] + rng, strict=True)))
    told = describe_occlusion(table)
    assert len(told) == 2 and told[1].count(words) == 1 and told[1].count(": ") == 1
    assert "Of fewer than 60 images" in describe_occlusion(table.head(59))[2]
    other = describe_occlusion(table.assign(**{OCCLUSIONS[1]: table[OCCLUSIONS[0]] - np.linspace(-0.1, 0.1, 60)}))[1]
    assert other.count(": ") == (1 if words == "no difference is shown" else 2) and "no difference is shown" in other and words in other
    few, = describe_occlusion(table.head(9))
    assert few.startswith("No verdict: only 9 of 9 images have a map that points somewhere") and few.endswith("it takes 10.")


def test_results_are_what_json_can_hold(inspected):
    inspection, table = inspected
    batch = inspection.load(table["path"])
    checked = parameter_randomisation_test(inspection.model, [copy.deepcopy(inspection.model)], batch, n_steps=2)
    occluded, _ = occlusion_check(inspection.model, batch)
    found = attribution_results({"method": "CAM"}, checked, occluded)
    assert found["class_activation_map"]["method"] == "CAM" and found["occlusion"]["images"] == 6
    assert found["occlusion"]["drop"]["hottest tenth"]["mean"] == pytest.approx(occluded["hottest tenth"].mean())
    assert found["randomisation"]["gradient"]["down_to"]["output"] == pytest.approx(1)
    assert attribution_results(None, None, None) == {"class_activation_map": None, "randomisation": None, "occlusion": None}


def test_the_verdicts_of_all_methods_in_a_sentence(monkeypatch):
    rows = pd.DataFrame({"step": [0, 1, 0, 1, 0, 1], "method": ["a", "a", "b", "b", "c", "c"],
                         "verdict": ["not changed", "changed", "not changed", "not changed", "not changed", "changed"]})
    monkeypatch.setattr("inside.attribution.describe.summarise_randomisation", lambda found: rows)
    assert describe_verdicts(None) == "When the classifier is re-initialised, a and c change; b does not change."
