"""Tests of inside/attribution/report.py: what is shown when all is there, and each reason why something is left out."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from inside.attribution.describe import attribution_results, describe_occlusion, describe_randomisation, describe_verdicts
from inside.attribution.inputs import Inspection
from inside.attribution.occlusion import OCCLUSIONS
from inside.attribution.report import (
    OcclusionCheck,
    check_occlusion,
    check_randomisation,
    map_examples,
    report_first_layer,
    report_neurons,
)
from inside.data.sources import ImageSet
from inside.feature_maps.scenarios import Scenario
from inside.files import RunFolder
from inside.models.scratch import ConvNetGAP, build_from_scratch
from inside.shown import Figure, Fold, Table, Text
from shared.attribution import CLASSES


def network(seed=0):
    torch.manual_seed(seed)
    return ConvNetGAP(2, widths=[6, 8]).eval()


@pytest.fixture
def inspection(tmp_path):
    """Twelve images of two classes and a network's own predictions of them, the last two wrong."""
    rng, paths = np.random.default_rng(0), [f"{index:02}.png" for index in range(12)]
    for path in paths:
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(tmp_path / path)
    preprocessing = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear"}
    found = Inspection(network(), preprocessing, 32, tmp_path, classes=CLASSES)
    with torch.no_grad():
        scores = found.model(found.load(paths)).softmax(1).double().numpy()
    predicted = [CLASSES[index] for index in scores.argmax(1)]
    label = [name if index < 10 else CLASSES[1 - CLASSES.index(name)] for index, name in enumerate(predicted)]
    table = pd.DataFrame({"path": paths, "label": label, "predicted": predicted, "confidence": scores.max(1)})
    return dataclasses.replace(found, predictions=table)


@pytest.fixture
def run(tmp_path):
    return RunFolder(str(tmp_path / "run"))


def draws(*seeds):
    """Scenarios of random weights; the first holds its network, the others build it."""
    images = ImageSet("", Path(), pd.DataFrame(), "")
    return [Scenario("random_own", network(seed) if not number else lambda seed=seed: network(seed), {}, images)
            for number, seed in enumerate(seeds)]


def kinds(parts):
    """What is shown, in words: "text", the names of tables with a slash, and of figures."""
    names = {Text: lambda part: "text", Table: lambda part: f"tables/{part.name}", Figure: lambda part: part.name,
             Fold: lambda part: kinds(part.parts)}
    return [names[type(part)](part) for part in parts]


def left_out(parts):
    (text,) = parts
    assert text.markdown.startswith("Left out: ") and text.markdown.endswith(".") and not text.markdown.endswith("..")
    return text.markdown


def without_convolutions(inspection):
    return dataclasses.replace(inspection, model=build_from_scratch("mlp", 2, 32, {}))


def test_what_explanations_miss(inspection):
    initial = dataclasses.replace(inspection, predictions=None)
    assert inspection.missing == "" and initial.missing == "the fine-tuned network of notebook 01"
    assert without_convolutions(inspection).missing == "a network with convolutions"
    assert without_convolutions(initial).missing == "the fine-tuned network of notebook 01, and one with convolutions"


def test_the_first_layer(inspection):
    (shown,) = report_first_layer(inspection, "00.png")
    assert shown.name == "first_layer" and len(shown.drawing.axes) == 1 + 8 + 8  # six of each, and two empty places
    assert shown.alt.startswith("One image, 6 of the 6 filters of the first convolution, 3×3 pixels each") and "32×32 values each" in shown.alt
    many = dataclasses.replace(inspection, model=nn.Sequential(nn.Conv2d(3, 70, 5)))
    assert "8 of the 70 filters of the first convolution, 5×5 pixels each" in report_first_layer(many, "00.png")[0].alt
    assert "MLP cannot be shown: there is none" in left_out(report_first_layer(without_convolutions(inspection), "00.png"))
    four = dataclasses.replace(inspection, model=nn.Sequential(nn.Conv2d(4, 2, 1)))
    assert "it reads 4 channels; expected 1 and 3." in left_out(report_first_layer(four, "00.png"))


def test_neurons(inspection):
    (figure,) = report_neurons(inspection, inspection.predictions, channels=[3, 1])
    assert figure.name == "guided_backprop" and figure.alt.startswith("2 channels of blocks.1.conv, a row each:")
    labels = [ax.get_ylabel().split("\n")[0] for ax in figure.drawing.axes if ax.get_ylabel()]
    assert labels == ["channel 3", "channel 1"]
    (figure,) = report_neurons(inspection, inspection.predictions, "blocks.0.conv")
    assert figure.alt.startswith("4 channels of blocks.0.conv")
    assert "a network with convolutions" in left_out(report_neurons(without_convolutions(inspection), inspection.predictions))
    linear = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    told = left_out(report_neurons(dataclasses.replace(inspection, model=linear), inspection.predictions))
    assert "ran none of the activations that can be guided" in told
    with pytest.raises(ValueError, match="no channel 99; expected 0 to 7"):
        report_neurons(inspection, inspection.predictions, channels=[99])


def test_examples_right_and_wrong(inspection):
    found = map_examples(inspection, seed=1)
    assert kinds(found.report()) == ["text", "class_activation_maps", "class_activation_maps_wrong"]
    told, right, wrong = found.report()
    assert "CAM of layer `" in told.markdown and "positions of images of 32×32 pixels. The mean of a map plus the bias" in told.markdown
    assert right.alt == (f"CAM of {len(found.right)} images that the network classifies correctly: image, map, overlay. Classes: "
                         f"{', '.join(found.right['label'].unique())}.")
    assert (found.right["label"] == found.right["predicted"]).all() and len(found.right_views) == len(found.right)
    assert wrong.alt.count(" taken for ") == len(found.wrong) and len(found.wrong_views) == 2 * len(found.wrong) > 0
    assert f"{found.wrong['label'][0]} taken for {found.wrong['predicted'][0]}" in wrong.alt
    np.testing.assert_allclose(found.maps.confidence, found.right["confidence"], rtol=1e-5)


def test_examples_of_which_there_are_none(inspection):
    hit = inspection.predictions["label"] == inspection.predictions["predicted"]
    for rows, names, kept in ((hit, ["text", "class_activation_maps", "text"], "no wrong"),
                              (~hit, ["text", "text", "class_activation_maps_wrong"], "no right")):
        found = map_examples(dataclasses.replace(inspection, predictions=inspection.predictions[rows]))
        assert kinds(found.report()) == names and found.maps.method == "CAM"
        assert any(f"There is {kept} prediction" in part.markdown for part in found.report() if isinstance(part, Text))
    none = map_examples(dataclasses.replace(inspection, predictions=None))
    assert "the fine-tuned network of notebook 01." in left_out(none.report()) and none.maps is None
    assert "a network with convolutions" in left_out(map_examples(without_convolutions(inspection)).report())


def test_no_class_at_all_has_an_example(inspection):
    """None of the first classes is among the labels: nothing is right, nothing is wrong, and that is told."""
    classes = [*(f"other {number}" for number in range(12)), *CLASSES]
    found = map_examples(dataclasses.replace(inspection, classes=classes))
    assert kinds(found.report()) == ["text"] * 2 and found.maps is None


def test_predictions_of_another_network_are_refused(inspection):
    other = inspection.predictions.assign(confidence=inspection.predictions["confidence"] - 0.02)
    with pytest.raises(AssertionError, match="not the predictions of this network"):
        map_examples(dataclasses.replace(inspection, predictions=other))


def test_a_map_that_does_not_add_up_is_refused(inspection, monkeypatch):
    monkeypatch.setattr("inside.attribution.cam.ActivationMaps.residual", 0.1)
    with pytest.raises(AssertionError, match="does not add up to the logit"):
        map_examples(inspection)


def test_random_weights(inspection, run):
    found = check_randomisation(run, inspection, inspection.predictions, draws(1, 2), n_images=11, seed=3)
    assert kinds(found.report()) == ["text", "randomised_maps", "randomisation", "text",
                                     ["tables/randomisation_means", "tables/randomisation_baselines"]]
    about, maps, figure, verdicts, _ = found.report()
    assert figure.caption.startswith(describe_verdicts(found.found))
    assert about.markdown.startswith("11 images, 2 draws: ") and about.markdown.endswith(" s.")
    assert ", ".join(list(found.found.pictures)[1:]) in maps.alt
    assert found.describe() == describe_randomisation(found.found)
    assert verdicts.markdown == "\n".join(f"- {line}" for line in found.describe())
    assert len(pd.read_csv(run.path("tables", "randomisation.csv"))) == len(found.found.table)
    first = inspection.predictions.sample(11, random_state=3)["path"].iloc[0]
    np.testing.assert_array_equal(found.picture, inspection.pictures(inspection.load([first]))[0])


@pytest.mark.parametrize("change, options, reason", [
    ({"predictions": None}, {}, "it takes the fine-tuned network of notebook 01"),
    ({}, {"n_images": 0}, "RANDOMISED_IMAGES is 0"),
    ({}, {"draws": []}, "there is no network with random weights"),
])
def test_why_random_weights_are_left_out(inspection, run, change, options, reason):
    table, options = inspection.predictions, {"draws": draws(1), "n_images": 4} | options
    found = check_randomisation(run, dataclasses.replace(inspection, **change), table, **options)
    assert left_out(found.report()) == f"Left out: {reason}." and found.describe() == [f"Random weights were not tried: {reason}."]
    assert attribution_results(None, found.found, None)["randomisation"] is None
    assert not run.path("tables", "randomisation.csv").exists()


def test_hiding(inspection, run):
    found = check_occlusion(run, inspection, inspection.predictions, n_images=11, seed=3)
    assert kinds(found.report()) == ["text", "occlusion", "text"]
    about, figure, told = found.report()
    assert about.markdown.startswith("11 images: ") and f"of {len(found.table.dropna())} images" in figure.alt
    claim, *rest = describe_occlusion(found.table)
    assert figure.caption.startswith(claim) and told.markdown.splitlines() == [f"- {line}" for line in rest]
    assert found.describe() == describe_occlusion(found.table)[:2] and list(found.hidden) == list(OCCLUSIONS)
    written = pd.read_csv(run.path("tables", "occlusion.csv"))
    assert set(written["path"]) <= set(inspection.predictions["path"]) and len(written) == 11
    np.testing.assert_array_equal(found.picture, inspection.pictures(inspection.load([written["path"][found.middle]]))[0])
    titles = [ax.get_title() for ax in figure.drawing.subfigs[0].axes]
    row = written.iloc[found.middle]
    assert titles[0] == f"whole: {row['confidence']:.2f}" and titles[2] == f"random tenth: {row['confidence'] - row['random tenth']:.2f}"


def test_hiding_without_an_image_that_has_all_drops(inspection, run):
    found = check_occlusion(run, inspection, inspection.predictions, n_images=1)  # no other image to compare with
    assert kinds(found.report()) == ["text", "text"] and "No verdict" in found.describe()[0]
    assert attribution_results(None, None, found.table)["occlusion"]["images"] == 0


@pytest.mark.parametrize("change, n_images, reason", [
    ({"predictions": None}, 4, "it takes the fine-tuned network of notebook 01"), ({}, 0, "OCCLUDED_IMAGES is 0")])
def test_why_hiding_is_left_out(inspection, run, change, n_images, reason):
    found = check_occlusion(run, dataclasses.replace(inspection, **change), inspection.predictions, n_images=n_images)
    assert found == OcclusionCheck(left_out=reason) and left_out(found.report()) == f"Left out: {reason}."
    assert found.describe() == [f"Nothing was hidden: {reason}."] and not run.path("tables", "occlusion.csv").exists()
