"""Tests of inside/attribution/plots.py."""

import numpy as np
import pytest
import torch
import torch.utils.checkpoint
from torch import nn

from inside.attribution.captions import format_rho
from inside.attribution.inputs import first_filters
from inside.attribution.occlusion import OCCLUSIONS, occlusion_check
from inside.attribution.plots import (
    plot_class_activation,
    plot_first_layer,
    plot_guided_gradient,
    plot_occlusion,
    plot_randomisation,
    plot_randomised,
)
from inside.attribution.randomisation import parameter_randomisation_test


def another_network(model):
    """Of the same architecture, its weights re-initialised."""
    torch.manual_seed(5)
    return type(model)(2, widths=[6, 8]).eval()


def test_plots_of_pictures(inspected):
    inspection, table = inspected
    filters = first_filters(nn.Conv2d(3, 20, 3))
    first = plot_first_layer(np.zeros((8, 8, 3)), filters[:3], np.stack([np.full((2, 2), -3.0), np.eye(2), np.zeros((2, 2))]), "abc")
    assert [ax.get_ylabel() for ax in first.subfigs[1].axes] == ["a", "b", "c", "", "", ""]
    assert [ax.images[0].get_clim() for ax in first.subfigs[1].axes] == 3 * [(0, 1)] + [(-3, 3), (-1, 1), (-1, 1)]  # maps are signed, around 0
    many = plot_first_layer(np.zeros((8, 8, 3)), filters, np.zeros((20, 4, 4)), [""] * 20)
    assert sum(len(part.axes) for part in many.subfigs) == 1 + 20 + 20
    heat = plot_class_activation(np.zeros((12, 10, 3)), np.full((12, 10), 2.0), scale=4).images[1]
    assert (heat.get_array() == 0.5).all()
    shown = plot_guided_gradient(torch.zeros(3, 4, 4)).images[0].get_array()
    assert (np.asarray(shown) == 0.5).all()
    batch = inspection.load(table["path"])
    checked = parameter_randomisation_test(inspection.model, [another_network(inspection.model)], batch, n_steps=2)
    ax = plot_randomisation(checked).axes[0]
    labels = [label.get_text() for label in ax.get_xticklabels()]
    maps = plot_randomised(np.zeros((8, 8, 3)), checked.pictures).axes
    assert labels == list(checked.pictures) and len(maps) == 3 * (1 + len(labels))
    first = checked.table.query("image == 0").set_index(["method", "down_to"])["correlation"]
    wanted = [("" if step == "nothing" else f"ρ {format_rho(first[method, step])}") for method in checked.pictures["nothing"] for step in labels]
    assert [ax.get_xlabel() for ax in maps if ax.get_title() != "image" and ax.images] == wanted
    masks = {name: np.eye(8, dtype=bool) for name in OCCLUSIONS}
    figure = plot_occlusion(np.zeros((8, 8, 3)), masks, ["x"] * 4, occlusion_check(inspection.model, batch)[0])
    assert sum(len(part.axes) for part in figure.subfigs) == 5


def test_the_dotted_line_is_the_map_of_another_image(inspected):
    inspection, table = inspected
    checked = parameter_randomisation_test(inspection.model, [another_network(inspection.model)], inspection.load(table["path"]))
    dotted = [line.get_ydata()[0] for ax in plot_randomisation(checked).axes for line in ax.lines if line.get_linestyle() == ":"]
    expected = checked.controls.query("control == 'another image'")["correlation"].abs().groupby(checked.controls["method"], sort=False).mean()
    assert dotted == pytest.approx(expected.tolist())


def test_the_labels_of_the_levels_stand_at_their_lines_and_apart(inspected):
    inspection, table = inspected
    checked = parameter_randomisation_test(inspection.model, [another_network(inspection.model)], inspection.load(table["path"]), n_steps=2)
    figure = plot_randomisation(checked)
    figure.draw_without_rendering()
    for ax in figure.axes:
        boxes = sorted((text.get_window_extent() for text in ax.texts), key=lambda box: box.y0)
        assert len(boxes) == 3 and all(one.y1 <= other.y0 + 1 for one, other in zip(boxes, boxes[1:], strict=False))
        bar = next(text for text in ax.texts if text.get_text().startswith("threshold "))
        assert bar.get_text() == f"threshold {ax.lines[0].get_ydata()[0]:.2f}" and bar.xy[1] >= ax.lines[0].get_ydata()[0]
