"""Tests of inside/feature_maps/plots.py."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from inside.feature_maps.axes import label_lines
from inside.feature_maps.certainty import bootstrap_spectrum
from inside.feature_maps.plots import plot_by_layer, plot_cumulative_variance, plot_eigenvalues, plot_reduced
from inside.feature_maps.scenario_names import SCENARIO_COLORS, SCENARIO_LABELS, scenario_style
from inside.feature_maps.share_plots import plot_channel_shares, plot_class_heatmap, plot_non_positive_shares
from inside.feature_maps.spectra import spectrum
from shared.feature_maps import rng


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
    assert {text.get_text().replace("\n", " ") for text in ax.texts} == {SCENARIO_LABELS[name] for name in scenarios}  # labelled directly
    low, high = ax.get_ylim()
    assert 0.1 < low < 0.2 and 0.5 < high < 0.6  # the axis fits the data
    channels = pd.DataFrame([(s, layer, k, k / 9) for s in scenarios for layer in layers for k in range(10)],
                            columns=["scenario", "layer", "channel", "share"])
    dead = pd.DataFrame({"scenario": "random_own", "layer": layers, "dead_channels": pd.array([7, pd.NA], dtype="Int64")})
    ax = plot_channel_shares(channels, dead, frozen=["first"])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [SCENARIO_LABELS[s] for s in scenarios]
    assert [text.get_text() for text in ax.texts] == ["–", "7", "–", "–", "dead"]
    hatches = [box.get_hatch() for boxes in ax.containers for box in boxes.boxes]
    assert hatches[:2] == [""] * 2 and hatches[2] == hatches[3] != ""
    assert [label.get_text() for label in ax.get_xticklabels()] == ["first\n(frozen)", "second"]
    ax = plot_class_heatmap(pd.DataFrame([[0.25, 0.5]], index=["first"], columns=["sea", "street"]))
    assert [text.get_text() for text in ax.texts] == ["25.0%", "50.0%"]
    assert ax.collections[0].get_clim() == (0.25, 0.75)  # white is 50%


def luminance(color):
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3]]
    return np.dot([0.2126, 0.7152, 0.0722], channels)


def test_numbers_in_the_heat_map_can_be_read():
    ax = plot_class_heatmap(pd.DataFrame(np.linspace(0, 1, 12).reshape(3, 4), index=list("xyz"), columns=list("abcd")), frozen=["y"])
    ax.figure.canvas.draw()
    for text, face in zip(ax.texts, ax.collections[0].get_facecolors(), strict=True):
        pair = sorted([luminance(matplotlib.colors.to_rgb(text.get_color())), luminance(face)])
        assert (pair[1] + 0.05) / (pair[0] + 0.05) > 4.5
    assert [label.get_text() for label in ax.get_yticklabels()] == ["x", "y (frozen)", "z"]
    names = ["$x$", "n" * 120, "\u202eback"]
    named = plot_class_heatmap(pd.DataFrame(np.full((2, 3), 0.5), index=["x", "y"], columns=names)).get_xticklabels()
    assert [label.get_text() for label in named] == ["$x$", f"{'n' * 15}…{'n' * 8}", "\\u202eback"] and not any(label.get_parse_math() for label in named)
    many = plot_class_heatmap(pd.DataFrame(np.full((2, 40), 0.5), index=["x", "y"]))
    assert not many.texts and many.figure.get_size_inches()[0] <= 18


@pytest.mark.parametrize("ends", [[0.0, 1.0], [0.5] * 5, [0.1, 0.11, 0.12, 0.9, np.nan], [1.0, 1.0, 1.0]])
def test_labels_of_lines_do_not_overlap(ends):
    ax = plt.subplots(figsize=(10, 4), layout="constrained")[1]
    ax.set(xlim=(0, 1), ylim=(0, 1))
    names = ["finetuned_own", "imagenet_own", "imagenet_photo_patches", "imagenet_digits", "random_own"][:len(ends)]
    label_lines(ax, [(end, scenario_style(name)) for end, name in zip(ends, names, strict=True)])
    ax.figure.canvas.draw()
    boxes = sorted((text.get_window_extent() for text in ax.texts), key=lambda box: box.y0)
    assert len(boxes) == len(ends) and all(above.y0 >= below.y1 for below, above in zip(boxes, boxes[1:], strict=False))


def test_dumbbells_join_each_scenario_with_its_reduced_images():
    ranks = pd.DataFrame({"imagenet_own": [3.0, 9.0], "imagenet_own_32px": [2.0, 10.0], "random_own": [1.0, 1.0]}, index=["a", "b"])
    ax = plot_reduced(ranks, frozen=["a"])
    joined = [sorted(line[:, 0]) for line in ax.collections[0].get_segments()]
    assert joined == [[2, 3], [9, 10]] and [line.get_xdata().tolist() for line in ax.lines] == [[3, 9], [2, 10]]
    assert [line.get_markerfacecolor() for line in ax.lines] == [SCENARIO_COLORS["imagenet_own"], "white"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a (frozen)", "b"]
    spectra = {s: {"a": value} for s, value in spectra_of("imagenet_own", "imagenet_own_32px").items()}
    figure = plot_by_layer(spectra, plot_cumulative_variance, beside=lambda ax: plot_reduced(ranks, ax=ax))
    assert "32×32" in figure.axes[1].get_title() and len(figure.legends) == 1
