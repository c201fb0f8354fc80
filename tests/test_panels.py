"""Tests of inside/panels.py."""

import dataclasses

import numpy as np
import pytest
from torch import nn

from inside.feature_maps.spectra import spectrum
from inside.panels import ORDERS, SCALES, browse_predictions, browse_spectra, browse_views, choose_predictions, draw_spectra
from shared.attribution import CLASSES

pytestmark = pytest.mark.usefixtures("one_thread")


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
    assert choose_predictions(table, "", "all", "a", ORDERS[0])["prob_a"].is_monotonic_decreasing
    wrong = choose_predictions(table, "", "wrong", "", ORDERS[1])
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
    layer.value, target.value = layers[0], CLASSES.index("b")
    shown()
    path.value = "3.png"
    text = shown()
    assert f"maps of {layers[0]}" in text and "\u20683.png\u2069: CAM and guided gradient of b" in text
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


def test_panels_tell_classes_by_whatever_name(inspected, shown):
    inspection, table = inspected
    names = {"a": "all classes", "b": "\x1b[31m$x$\n<b>"}
    classes = list(names.values())
    table = table.replace({"label": names, "predicted": names}).rename(columns={f"prob_{old}": f"prob_{new}" for old, new in names.items()})
    label, _, score_of, *_ = browse_predictions(table, inspection.root, classes).children[0].children
    assert "6 of 6 images" in shown() and label._options_labels == ("all classes", "all classes", "\\x1b[31m$x$\\n<b>")
    label.index, score_of.index = 1, 2
    text = shown()
    assert f"{(table['label'] == 'all classes').sum()} of 6 images" in text and "\\x1b[31m$x$\\n&lt;b&gt;" in text and "<b>" in text
    views = browse_views(dataclasses.replace(inspection, predictions=table, classes=classes), []).children[0].children
    views[1].index = 2
    text = shown()
    assert "guided gradient of \u2068\\x1b[31m$x$\\n<b>\u2069" in text and "\x1b[31m" not in text
