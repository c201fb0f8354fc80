"""Tests of inside/selection/plots.py."""

import math

import numpy as np
import pandas as pd
import pytest

from inside.selection.describe import describe_importances
from inside.selection.importance import importances
from inside.selection.plots import plot_importances, plot_noise_band, plot_parallel_coordinates, plot_search, plot_trials
from inside.selection.search import run_search
from shared.searches import SEARCHED, made, made_band, made_search, settings


@pytest.fixture(scope="module")
def found(split, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    chosen = settings(SEARCHED, SEARCH_TRIALS=9, SEARCH_EPOCHS=1, SEARCH_IMAGES=18)
    return run_search(chosen, split, folder=folder), folder, chosen


def test_importances_stand_beside_their_chance_level():
    table = importances(made())
    assert list(table) == ["option", "importance", "correlation", "chance", "measure"]
    assert table.set_index("option")["chance"].between(0.2, 0.5).all()
    told = describe_importances(table)
    assert told.startswith(f"Above their chance level: x (Spearman ρ {table['correlation'][0]:.2f}, chance {table['chance'][0]:.2f})")
    below = told.split("Not above their chance level: ")[1].split(". ")[0]
    assert "y (" in below and "Of options without any effect, one in twenty would be above it by chance" in told
    axes = plot_importances(table).axes[1:]
    for ax, measure, low in zip(axes, ("Spearman ρ", "ratio η"), (-1, 0), strict=True):  # on axes of their own
        rows = table[table["measure"] == measure]
        assert len(ax.containers[0]) == len(ax.containers[1]) == len(rows) and measure[-1] in ax.get_xlabel()
        for (place, row), chance, bar in zip(rows.iterrows(), ax.containers[0], ax.containers[1], strict=True):
            assert (chance.get_x(), chance.get_x() + chance.get_width()) == pytest.approx((low * row["chance"], row["chance"]))
            assert bar.get_width() == pytest.approx(row["correlation"]) and bar.get_y() < place < bar.get_y() + bar.get_height()
        assert "permutations" in ax.containers[0].get_label()


def test_the_best_so_far_goes_on_behind_pruned_trials():
    trials = pd.DataFrame({"number": range(5), "state": ["FAIL", "COMPLETE", "PRUNED", "COMPLETE", "PRUNED"], "score": [math.nan, 0.5, 0.9, 0.4, 0.2]})
    line = plot_trials(trials).lines[-1]
    assert np.isnan(line.get_ydata()[0]) and line.get_ydata()[1:].tolist() == [0.5] * 4


def test_the_settings_as_they_stand_are_a_line_across():
    trials = pd.DataFrame({"number": range(2), "state": "COMPLETE", "score": [0.5, 0.6]})
    lines = {line.get_label(): line.get_ydata() for line in plot_trials(trials, base=0.55).lines}
    assert set(lines["settings as they stand"]) == {0.55}
    for nothing in (None, math.nan):
        assert "settings as they stand" not in [line.get_label() for line in plot_trials(trials, base=nothing).lines]


def test_plot_of_a_noise_band():
    """A row a setting, a mean where there is one; settings that no trial has are named without a number."""
    nan = math.nan
    band = made_band({"best": [0.8, 0.82], "runner-up": [0.7, nan], "as they stand": [nan, nan]}, {"as they stand": nan})
    band["trial"] = pd.Series([3, 3, 0, 0, None, None], dtype=object)
    ax = plot_noise_band(band)
    assert [text.get_text().strip() for text in ax.get_xticklabels()] == ["best\n(trial 3)", "runner-up\n(trial 0)", "as they stand"]
    means = [line.get_ydata()[0] for line in ax.lines if line.get_color() == "black"]
    assert means[:2] == pytest.approx([0.81, 0.7]) and math.isnan(means[2])
    band = ax.patches[0]
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((0.8, 0.82)) and ax.get_title() == "2 new seeds for each setting"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "one new seed", "mean", "score in the search", "noise band: range of the seeds"]


def test_trials_and_noise_band_share_one_axis():
    trials = pd.DataFrame({"number": range(2), "state": "COMPLETE", "score": [0.5, 0.6]})
    left, right = plot_search(trials, base=0.55, band=made_band({"best": [0.3, 0.32]})).axes
    assert left.get_ylim() == right.get_ylim() and left.get_ylim()[0] < 0.3 and left.get_ylim()[1] > 0.6
    assert len(plot_search(trials).axes) == 1


def test_the_thick_line_is_the_best_trial():
    search = made_search([(0.001, "light", "COMPLETE", 0.9), (0.003, "none", "COMPLETE", 0.9), (0.005, "none", "COMPLETE", 0.2)])
    lines = [line for line in plot_parallel_coordinates(search).axes[0].lines if len(line.get_xdata()) == 3]
    thick, = [line for line in lines if line.get_linewidth() == 3]
    height = (math.log(0.001) - math.log(1e-4)) / (math.log(1e-2) - math.log(1e-4))
    assert search.ranked[0].number == 0 and thick.get_ydata()[0] == pytest.approx(height)


def test_too_few_trials_have_no_importance():
    table = importances(made(2))
    assert table["importance"].isna().all() and len(table) == 3 and table["chance"].isna().all()
    texts = [[text.get_text() for text in ax.texts] for ax in plot_importances(table).axes]
    assert texts == [["unknown"] * 3] * 2
    assert describe_importances(table) == "Unknown, from too few trials or values that do not vary: x, y, word."


@pytest.mark.parametrize("name", ["made", "found"])
def test_plots_show_every_option_inside_the_figure(name, found):
    search = made() if name == "made" else found[0]
    figures = [plot_trials(search.trials).figure, plot_parallel_coordinates(search), plot_importances(importances(search))]
    for fig in figures:
        fig.canvas.draw()
        box = fig.bbox.padded(2)
        for ax in fig.axes:
            ticks = [text for axis, (low, high) in ((ax.xaxis, sorted(ax.get_xlim())), (ax.yaxis, sorted(ax.get_ylim())))
                     for place, text in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=False) if low <= place <= high]
            for text in (*ax.texts, *ticks, ax.xaxis.label, ax.yaxis.label) if ax.get_visible() else ():
                if text.get_visible() and text.get_text():
                    extent = text.get_window_extent()
                    assert box.x0 <= extent.x0 and extent.x1 <= box.x1 and box.y0 <= extent.y0 and extent.y1 <= box.y1, text.get_text()
    assert {text.get_text() for text in figures[2].axes[0].get_yticklabels()} == set(search.space)
    labels = [text.get_text().replace("\n", "_") for text in figures[1].axes[0].get_xticklabels()]
    assert labels == [*search.space, "score"]
    lines = [line for line in figures[1].axes[0].lines if len(line.get_xdata()) == len(search.space) + 1]
    assert len(lines) == (search.trials["state"] == "COMPLETE").sum()
