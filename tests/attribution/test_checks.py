"""Tests of inside/attribution/checks.py: what is shown when all is there, and each reason why something is left out."""

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from inside.attribution.captions import describe_baselines, describe_randomised
from inside.attribution.checks import OcclusionCheck, check_occlusion, check_randomisation
from inside.attribution.describe import attribution_results, describe_occlusion, describe_randomisation, describe_verdicts
from inside.attribution.inputs import Inspection
from inside.attribution.occlusion import OCCLUSIONS
from inside.data.sources import ImageSet
from inside.feature_maps.scenarios import Scenario
from inside.files import RunFolder
from inside.models.scratch import ConvNetGAP
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


def seeded_like(model, seed):
    """A copy of a network with other weights."""
    torch.manual_seed(seed)
    changed = copy.deepcopy(model).eval()
    for module in changed.modules():
        getattr(module, "reset_parameters", lambda: None)()
    return changed


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


def test_random_weights(inspection, run):
    found = check_randomisation(run, inspection, inspection.predictions, draws(1, 2), n_images=11, seed=3)
    assert kinds(found.report()) == ["text", "randomised_maps", "text", "randomisation", "text",
                                     ["tables/randomisation_means", "tables/randomisation_baselines"]]
    about, maps, _, figure, told, fold = found.report()
    assert figure.caption.startswith(describe_verdicts(found.found))
    assert about.markdown.startswith("11 images and 2 draws of random weights; this took ") and about.markdown.endswith(" s.")
    assert ", ".join(list(found.found.pictures)[1:]) in maps.alt
    assert found.describe() == describe_randomisation(found.found)
    assert told.markdown == describe_baselines(found.found) and all(table.caption for table in fold.parts)
    assert maps.caption.startswith(describe_randomised(found.found.pictures))
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
    assert about.markdown.startswith("11 images; this took ") and f"for {len(found.table.dropna())} images" in figure.alt
    claim, *differences, note = describe_occlusion(found.table)
    assert figure.caption.startswith(" ".join(differences)) and told.markdown == f"{claim} {note}" and claim.replace("**", "") in figure.alt
    assert found.describe() == describe_occlusion(found.table)[:2] and list(found.hidden) == list(OCCLUSIONS)
    written = pd.read_csv(run.path("tables", "occlusion.csv"))
    assert set(written["path"]) <= set(inspection.predictions["path"]) and len(written) == 11
    np.testing.assert_array_equal(found.picture, inspection.pictures(inspection.load([written["path"][found.example]]))[0])
    titles = [ax.get_title() for ax in figure.drawing.subfigs[0].axes]
    row = written.iloc[found.example]
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


def test_why_hiding_is_left_out_of_a_network_without_a_map_with_positions(inspection, run):
    model = nn.Sequential(nn.Conv2d(3, 4, 32), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
    found = check_occlusion(run, dataclasses.replace(inspection, model=model), inspection.predictions, n_images=4)
    assert "Sequential gives no map with positions" in left_out(found.report()) and found.table is None
    checked = check_randomisation(run, dataclasses.replace(inspection, model=seeded_like(model, 0)), inspection.predictions,
                                  [dataclasses.replace(draws(1)[0], network=seeded_like(model, 1))], n_images=4)
    assert set(checked.found.table["method"]) == {"guided backpropagation", "gradient"}  # the other methods are tested


def test_hiding_on_too_few_images_for_a_verdict(inspection, run):
    about, figure, told = check_occlusion(run, inspection, inspection.predictions, n_images=5).report()
    assert figure.caption.startswith("Hiding the hottest tenth lowers the confidence of the images (5) by ")
    assert told.markdown.startswith("No verdict: only 5 of 5 images")
