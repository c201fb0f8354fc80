"""Tests of inside/panels.py."""

import dataclasses

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import torch.utils.checkpoint
from PIL import Image
from torch import nn

from inside.attribution.inputs import Inspection
from inside.feature_maps.spectra import spectrum
from inside.models.scratch import ConvNetGAP
from inside.panels import ORDERS, SCALES, browse_predictions, browse_spectra, browse_views, choose_predictions, draw_spectra


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    plt.close("all")


def images(n=4, size=64, seed=0, channels=3):
    return torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


def seeded(make, *arguments, **options):
    torch.manual_seed(0)
    model = make(*arguments, **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.01 * torch.randn_like(parameter)  # some are initialised to zero
    return model


CLASSES = ["a", "b"]


@pytest.fixture
def inspected(tmp_path):
    """An Inspection of six images of two classes, and the network's own predictions of them."""
    rng = np.random.default_rng(0)
    for index in range(6):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(tmp_path / f"{index}.png")
    model = seeded(ConvNetGAP, 2, widths=[6, 8])
    inspection = Inspection(model, {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear"}, 32, tmp_path)
    paths = [f"{index}.png" for index in range(6)]
    with torch.no_grad():
        scores = model(inspection.load(paths)).softmax(1).double().numpy()
    predicted = [CLASSES[index] for index in scores.argmax(1)]
    label = [name if index < 4 else CLASSES[1 - CLASSES.index(name)] for index, name in enumerate(predicted)]
    table = pd.DataFrame({"path": paths, "label": label, "predicted": predicted, "confidence": scores.max(1),
                          "prob_a": scores[:, 0], "prob_b": scores[:, 1]})
    return inspection, table


@pytest.fixture
def shown(monkeypatch, capsys):
    """shown(): what a panel has shown since the last call."""
    pages = []
    monkeypatch.setattr("inside.panels.display", lambda page: pages.append(page.data))

    def read():
        text = capsys.readouterr().out + "".join(pages)
        pages.clear()
        return text
    return read


def test_panel_of_predictions(inspected, shown):
    inspection, table = inspected
    assert choose_predictions(table, "all classes", "all", "a", ORDERS[0])["prob_a"].is_monotonic_decreasing
    wrong = choose_predictions(table, "all classes", "wrong", "the predicted class", ORDERS[1])
    assert set(wrong["path"]) == {"4.png", "5.png"} and wrong["confidence"].is_monotonic_increasing
    assert set(choose_predictions(table, "a", "right", "b", ORDERS[0])["label"]) <= {"a"}
    label, outcome, *_, page = browse_predictions(table, inspection.root, CLASSES, n=2).children[0].children
    text = shown()
    assert "6 of 6 images" in text and "page 1 of 3" in text
    page.value = 3
    assert "page 3 of 3" in shown()
    outcome.value = "wrong"
    text = shown()
    assert "2 of 6 images" in text and "page 1 of 1" in text and text.count("<img") == 1  # drawn once
    table = table.assign(label="a", predicted="a")
    label, outcome, *_ = browse_predictions(table, inspection.root, CLASSES).children[0].children
    shown()
    label.value = "b"
    text = shown()
    assert "no image of b" in text and "<img" not in text


def test_panel_of_views(inspected, shown):
    inspection, table = inspected
    inspection = dataclasses.replace(inspection, predictions=table, classes=CLASSES)
    layers = [name for name, module in inspection.model.named_modules() if isinstance(module, nn.Conv2d)]
    path, target, layer = browse_views(inspection, layers).children[0].children
    text = shown()
    assert "data:image/png" in text and f"maps of {layers[-1]}" in text and layer.options == tuple(layers)
    layer.value, target.value = layers[0], "b"
    shown()
    path.value = "3.png"
    text = shown()
    assert f"maps of {layers[0]}" in text and "3.png: CAM and guided gradient of b" in text
    assert f"score {table['prob_b'][3]:.3f}" in text and "drawn in" in text
    _, _, layer = browse_views(inspection, [layers[0], "output"]).children[0].children  # "output" gives no map
    assert layer.value == layers[0] and "output" not in layer.options


def test_a_panel_of_views_without_a_map_with_positions(inspected, shown):
    inspection, table = inspected
    model = nn.Sequential(nn.Conv2d(3, 4, 32), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
    browse_views(dataclasses.replace(inspection, model=model, predictions=table, classes=CLASSES), ["0"])
    assert "Sequential gives no map with positions" in shown()


def test_panel_of_spectra(shown):
    rng = np.random.default_rng(0)
    spectra = {name: {layer: spectrum(rng.standard_normal((30, 12))) for layer in ("x", "y")} for name in ("one", "two")}
    layers, scenarios, scale, k = browse_spectra(spectra).children[0].children
    assert "log-log, k up to 12: one, two in x, y" in shown()
    for name in (*SCALES[2:], *SCALES[:2]):
        scale.value = name
        text = shown()
        assert text.count("data:image/png") == 1 and f"{name}, k up to" in text
    k.value, scenarios.value = 5, ("two",)
    assert "k up to 5: two in x, y" in shown()
    figure, _ = draw_spectra(spectra, ["x"], ["two"], "linear", 5)
    assert len(figure.axes[0].lines[0].get_xdata()) == 5
    layers.value = ()
    text = shown()
    assert "Choose at least one layer" in text and "data:image" not in text
