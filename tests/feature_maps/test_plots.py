"""Tests of inside/feature_maps/plots.py."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from inside.feature_maps.certainty import bootstrap_spectrum
from inside.feature_maps.plots import (
    plot_by_layer,
    plot_channel_shares,
    plot_class_heatmap,
    plot_cumulative_variance,
    plot_eigenvalues,
    plot_non_positive_shares,
)
from inside.feature_maps.scenario_names import SCENARIO_COLORS, SCENARIO_LABELS
from inside.feature_maps.spectra import spectrum


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # small inputs: threads would only wait for each other
    yield
    torch.set_num_threads(before)
    plt.close("all")


def rng(seed=0):
    return np.random.default_rng(seed)


def spectra_of(*scenarios, n=30):
    scale = np.linspace(2, 0, 12)
    return {name: spectrum(rng(i).standard_normal((n, 12)) * scale) for i, name in enumerate(scenarios)}


def test_plot_of_eigenvalues_shows_the_eigenvalues():
    spectra = spectra_of("finetuned_own", "random_own")
    ax = plot_eigenvalues(spectra, noise=True)
    line = next(line for line in ax.lines if line.get_label() == SCENARIO_LABELS["random_own"])
    np.testing.assert_array_equal(line.get_ydata(), spectra["random_own"].eigenvalues)
    assert ax.get_xlabel() and ax.get_ylabel() and line.get_color() == SCENARIO_COLORS["random_own"]
    ax = plot_eigenvalues(spectra, log=True, relative=True)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert all((np.asarray(line.get_ydata()) > 0).all() for line in ax.lines)
    boot = bootstrap_spectrum(rng(0).standard_normal((30, 12)), n_resamples=5)
    assert plot_eigenvalues(spectra, errors={"random_own": boot}).collections
    assert plot_cumulative_variance(spectra).lines[0].get_ydata()[-1] == pytest.approx(1)


@pytest.mark.parametrize("panel", [plot_eigenvalues, plot_cumulative_variance])
def test_grid_has_a_panel_a_layer_and_one_legend(panel):
    spectra = {s: {layer: value for layer in ("a", "b", "c", "d", "e")}
               for s, value in spectra_of("finetuned_own", "imagenet_own", "imagenet_own_32px").items()}
    figure = plot_by_layer(spectra, panel)
    titles = [ax.get_title().split("\n")[0] for ax in figure.axes]
    assert titles == ["a", "b", "c", "d", "e", ""]
    words = [text.get_text() for text in figure.axes[-1].get_legend().get_texts()]
    assert words[:2] == [SCENARIO_LABELS["finetuned_own"], SCENARIO_LABELS["imagenet_own"]]
    figure.canvas.draw()


def test_plots_of_shares():
    scenarios, layers = ["imagenet_own", "random_own"], ["first", "second"]
    table = pd.DataFrame([(s, layer, 0.2 + 0.3 * i) for s in scenarios for i, layer in enumerate(layers)],
                         columns=["scenario", "layer", "non_positive_share"])
    ax = plot_non_positive_shares(table)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.2, 0.5])
    assert [label.get_text() for label in ax.get_xticklabels()] == layers
    channels = pd.DataFrame([(s, layer, k, k / 9) for s in scenarios for layer in layers for k in range(10)],
                            columns=["scenario", "layer", "channel", "share"])
    legend = plot_channel_shares(channels).get_legend()
    assert [t.get_text() for t in legend.get_texts()] == [SCENARIO_LABELS[s] for s in scenarios]
    ax = plot_class_heatmap(pd.DataFrame([[0.25, 0.5]], index=["first"], columns=["sea", "street"]))
    assert [text.get_text() for text in ax.texts] == ["25.0%", "50.0%"]
