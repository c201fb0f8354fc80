"""Tests of inside/attribution/plots.py."""

import numpy as np
import pytest
import torch
import torch.utils.checkpoint
from torch import nn

from inside.attribution.inputs import first_filters
from inside.attribution.occlusion import OCCLUSIONS, occlusion_check
from inside.attribution.plots import (
    plot_class_activation,
    plot_filters,
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
    assert len(plot_filters(filters).axes) == 24 and len(plot_filters(filters[:3]).axes) == 3
    shown = plot_filters(np.stack([np.full((2, 2), -3.0), np.eye(2)])).axes[0].images[0]
    assert shown.get_clim() == (-3, 3)  # signed, around 0
    first = plot_first_layer(np.zeros((8, 8, 3)), filters, np.zeros((20, 4, 4)))
    assert sum(len(part.axes) for part in first.subfigs) == 1 + 20 + 20
    heat = plot_class_activation(np.zeros((12, 10, 3)), np.full((12, 10), 2.0), scale=4).images[1]
    assert (heat.get_array() == 0.5).all()
    shown = plot_guided_gradient(torch.zeros(3, 4, 4)).images[0].get_array()
    assert (np.asarray(shown) == 0.5).all()
    batch = inspection.load(table["path"])
    checked = parameter_randomisation_test(inspection.model, [another_network(inspection.model)], batch, n_steps=2)
    ax = plot_randomisation(checked).axes[0]
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels == list(checked.pictures) and len(plot_randomised(np.zeros((8, 8, 3)), checked.pictures).axes) == 3 * (1 + len(labels))
    masks = {name: np.eye(8, dtype=bool) for name in OCCLUSIONS}
    figure = plot_occlusion(np.zeros((8, 8, 3)), masks, ["x"] * 4, occlusion_check(inspection.model, batch)[0])
    assert sum(len(part.axes) for part in figure.subfigs) == 5


def test_the_dotted_line_is_the_map_of_another_image(inspected):
    inspection, table = inspected
    checked = parameter_randomisation_test(inspection.model, [another_network(inspection.model)], inspection.load(table["path"]))
    dotted = [line.get_ydata()[0] for ax in plot_randomisation(checked).axes for line in ax.lines if line.get_linestyle() == ":"]
    expected = checked.controls.query("control == 'another image'")["correlation"].abs().groupby(checked.controls["method"], sort=False).mean()
    assert dotted == pytest.approx(expected.tolist())
