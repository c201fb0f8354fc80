"""Tests of inside/attribution/report.py: what is shown when all is there, and each reason why something is left out."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from inside.attribution.inputs import Inspection, feature_maps_of
from inside.attribution.report import map_examples, report_first_layer, report_neurons
from inside.models.scratch import ConvNetGAP, build_from_scratch
from inside.shown import Figure, Text
from shared.attribution import CLASSES


def network(seed=0, n_classes=2):
    torch.manual_seed(seed)
    return ConvNetGAP(n_classes, widths=[6, 8]).eval()


def predicted_by(model, inspection, classes):
    """Each of the twelve images as a right prediction of a class of its own, and as a wrong one of the class of highest score."""
    paths = list(inspection.predictions["path"])
    with torch.no_grad():
        scores = model(inspection.load(paths)).softmax(1).double().numpy()
    order = np.argsort(-scores, axis=1)
    rows = [(path, classes[at], classes[at], scores[at, at]) for at, path in enumerate(paths)]
    wrong = [(path, classes[at], classes[best], scores[at, best]) for (at, path), best in zip(enumerate(paths), order[:, 0], strict=True)
             if best != at]
    return pd.DataFrame([*rows, *wrong], columns=["path", "label", "predicted", "confidence"])


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


def kinds(parts):
    """What is shown, in words: "text", and the names of figures."""
    return [part.name if isinstance(part, Figure) else "text" for part in parts]


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
    shown, text = report_first_layer(inspection, "00.png")
    image, grid = shown.drawing.subfigs
    assert shown.name == "first_layer" and len(image.axes) == 1 and len(grid.axes) == 8 + 8  # six of each, and two empty places
    assert shown.alt.startswith("One image, 6 of the 6 filters of the first layer, 3×3 pixels each") and "32×32 values" in shown.alt
    assert shown.caption.startswith("Depending on the filter, between ") and "of the 6 filters shown" in text.markdown
    many = dataclasses.replace(inspection, model=nn.Sequential(nn.Conv2d(3, 70, 5)))
    shown, _ = report_first_layer(many, "00.png")
    assert "8 of the 70 filters of the first layer, 5×5 pixels" in shown.alt
    maps = feature_maps_of(many.model, many.load(["00.png"])[0], "0")
    strongest = maps.std((1, 2)).argmax()
    above, below = shown.drawing.subfigs[1].axes[0], shown.drawing.subfigs[1].axes[4]
    assert above.get_ylabel() == str(strongest) and (np.asarray(below.images[0].get_array()) == maps[strongest]).all()
    assert below.images[0].get_clim() == (-np.abs(maps[strongest]).max(), np.abs(maps[strongest]).max())


def test_a_first_layer_that_cannot_be_shown(inspection):
    told = left_out(report_first_layer(without_convolutions(inspection), "00.png"))
    assert "MLP has no convolution, and so no filters that could be shown." in told
    four = dataclasses.replace(inspection, model=nn.Sequential(nn.Conv2d(4, 2, 1)))
    assert "as pictures: they read 4 channels; expected 1 or 3." in left_out(report_first_layer(four, "00.png"))


def test_neurons(inspection):
    figure, text = report_neurons(inspection, inspection.predictions, channels=[3, 1])
    assert figure.name == "guided_backprop" and figure.alt.startswith("2 channels of blocks.1.conv, one row each:")
    labels = [ax.get_ylabel().split("\n")[0] for ax in figure.drawing.axes if ax.get_ylabel()]
    assert labels == ["channel 3", "channel 1"] and "not tested in this run" in figure.caption and "rows" in text.markdown
    figure, _ = report_neurons(inspection, inspection.predictions, "blocks.0.conv")
    assert figure.alt.startswith("4 channels of blocks.0.conv")
    assert "a network with convolutions" in left_out(report_neurons(without_convolutions(inspection), inspection.predictions))
    linear = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    told = left_out(report_neurons(dataclasses.replace(inspection, model=linear), inspection.predictions))
    assert "ran none of the activations that can be guided" in told
    with pytest.raises(ValueError, match="no channel 99; expected 0 to 7"):
        report_neurons(inspection, inspection.predictions, channels=[99])


def test_the_box_stands_where_the_neuron_does(inspection):
    figure, _ = report_neurons(inspection, inspection.predictions, "blocks.0.conv", channels=[2])
    images = inspection.load(inspection.predictions["path"])
    maps = [feature_maps_of(inspection.model, image, "blocks.0.conv")[2] for image in images]
    y, x = np.unravel_index(max(maps, key=np.max).argmax(), (32, 32))
    for ax in figure.drawing.axes[:2]:
        for box in ax.patches:
            assert box.get_x() + box.get_width() / 2 == pytest.approx(x) and box.get_y() + box.get_height() / 2 == pytest.approx(y)
        assert len(ax.patches) == 2
    assert not any(ax.patches for ax in figure.drawing.axes[2:])


def test_examples_right_and_wrong(inspection):
    found = map_examples(inspection, seed=1)
    assert kinds(found.report()) == ["text", "class_activation_maps", "text", "class_activation_maps_wrong", "text"]
    told, right, _, wrong, _ = found.report()
    written = found.results()
    assert f"{100 * written['hottest_tenth']['mean']:.0f}% of the evidence" in right.caption and written["method"] == found.maps.method
    assert written["same_place"]["errors"] <= len(found.wrong) and 0 <= written["same_place"]["count"] <= written["same_place"]["errors"]
    assert "CAM of layer `" in told.markdown and "positions of images of 32×32 pixels. The mean of a map plus the bias" in told.markdown
    assert right.alt.startswith(f"CAM of {len(found.right)} images that the network classifies correctly: image, map, overlay. Classes: "
                                f"{', '.join(found.right['label'])}. ")
    assert "of the evidence for the class lies in" in right.caption and "share" in wrong.caption
    assert found.right["label"].is_unique and found.wrong["path"].is_unique
    assert (found.right["label"] == found.right["predicted"]).all() and len(found.right_views) == len(found.right)
    assert wrong.alt.count(" taken for ") == len(found.wrong) and len(found.wrong_views) == 2 * len(found.wrong) > 0
    assert f"{found.wrong['label'][0]} taken for {found.wrong['predicted'][0]}" in wrong.alt
    np.testing.assert_allclose(found.maps.confidence, found.right["confidence"], rtol=1e-5)


def test_examples_of_which_there_are_none(inspection):
    hit = inspection.predictions["label"] == inspection.predictions["predicted"]
    for rows, names, kept in ((hit, ["text", "class_activation_maps", "text", "text"], "no wrong"),
                              (~hit, ["text", "text", "class_activation_maps_wrong", "text"], "no right")):
        found = map_examples(dataclasses.replace(inspection, predictions=inspection.predictions[rows]))
        assert kinds(found.report()) == names and found.maps.method == "CAM"
        assert any(f"There is {kept} prediction" in part.markdown for part in found.report() if isinstance(part, Text))
    none = map_examples(dataclasses.replace(inspection, predictions=None))
    assert "the fine-tuned network of notebook 01." in left_out(none.report()) and none.results() is None
    assert "a network with convolutions" in left_out(map_examples(without_convolutions(inspection)).report())


def test_more_classes_than_are_shown(inspection):
    """Of the classes with an example the first six, of the errors the six most confident; no matter where these classes stand."""
    classes = [*(f"other {number}" for number in range(12)), *CLASSES]
    found = map_examples(dataclasses.replace(inspection, model=network(n_classes=14), classes=classes,
                                             predictions=predicted_by(network(n_classes=14), inspection, classes)))
    assert len(found.right) == 6 and len(found.wrong) == 6 and found.right["label"].is_unique
    errors = predicted_by(network(n_classes=14), inspection, classes).query("label != predicted")
    most = errors.sort_values("confidence").groupby("label").tail(1)["confidence"].nlargest(6)
    assert sorted(found.wrong["confidence"]) == pytest.approx(sorted(most))
    none = map_examples(dataclasses.replace(inspection, predictions=inspection.predictions.head(0)))
    assert kinds(none.report()) == ["text"] * 2 and none.maps is None


def test_a_network_without_a_map_with_positions(inspection):
    """It has a convolution, but that leaves a single position: no class activation map, and the reason is told."""
    model = nn.Sequential(nn.Conv2d(3, 4, 32), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
    found = map_examples(dataclasses.replace(inspection, model=model))
    assert "Sequential gives no map with positions" in left_out(found.report()) and found.maps is None


def test_predictions_of_another_network_are_refused(inspection):
    other = inspection.predictions.assign(confidence=inspection.predictions["confidence"] - 0.02)
    with pytest.raises(AssertionError, match="not the predictions of this network"):
        map_examples(dataclasses.replace(inspection, predictions=other))


def test_a_map_that_does_not_add_up_is_refused(inspection, monkeypatch):
    monkeypatch.setattr("inside.attribution.cam.ActivationMaps.residual", 0.1)
    with pytest.raises(AssertionError, match="does not add up to the logit"):
        map_examples(inspection)
