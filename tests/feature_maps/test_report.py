"""Tests of inside/feature_maps/report.py: what is shown when all is there, and what is told where something is missing."""

import dataclasses
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from torch import nn

from inside.data.sources import ImageSet
from inside.feature_maps.report import (
    check_certainty,
    report_audit,
    report_channels,
    report_classes,
    report_comparison,
    report_cumulative_variance,
    report_resolution_control,
    report_scenarios,
    report_shares,
    report_spectra,
)
from inside.feature_maps.scenarios import Scenario
from inside.feature_maps.share_sentences import describe_dead
from inside.feature_maps.shares import class_share_table, share_table
from inside.feature_maps.spectra import measure_spectra
from inside.feature_maps.spectra_tables import certainty_table, comparison_table
from inside.feature_maps.statistics import LayerStatistics
from inside.feature_maps.tracing import Following
from inside.shown import Figure, Table, Text

NAMES = ["finetuned_own", "imagenet_own", "imagenet_digits", "random_own", "random_own_draw2", "imagenet_own_32px"]
LAYERS = ["first", "last"]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def statistics():
    """{scenario: {layer: statistics}} of 12 images of two classes and 5 channels, made up."""
    def state(seed):
        rng, found = np.random.default_rng(seed), LayerStatistics("x", 4)
        features = rng.standard_normal((12, 5))
        found.counts.update(rng.integers(0, 5, (12, 5)), 4, labels=[0, 1] * 6)
        found.covariance.update(features)
        found.pooled.append(features)
        found.after = Following("relu", np.ones(5, dtype=bool), "")
        return found
    return {name: {layer: state(10 * number + place) for place, layer in enumerate(LAYERS)} for number, name in enumerate(NAMES)}


def kinds(parts):
    """What is shown, in words: "text", the names of tables with a slash, and of figures."""
    names = {Text: lambda part: "text", Table: lambda part: f"tables/{part.name}", Figure: lambda part: part.name}
    return [names[type(part)](part) for part in parts]


def test_scenarios_and_those_that_are_missing():
    images = ImageSet("", Path(), pd.DataFrame({"path": ["a.png", "b.png"]}), "made up")
    scenarios = {name: Scenario(name, nn.Identity(), {}, images) for name in NAMES}
    table, told = report_scenarios(scenarios, {"imagenet_cifar10": "replaced"}, "02_scenarios")
    assert kinds([table, told]) == ["tables/02_scenarios", "text"]
    assert table.table["scenario"].tolist() == [name for name in NAMES if name != "random_own_draw2"]
    assert table.table.iloc[0].tolist() == ["finetuned_own", "fine-tuned, own images", 2, "made up"]
    assert told.markdown == "- **imagenet_cifar10** is missing: replaced\n- Draws of random weights: 2."


def test_audit():
    layers, activations = report_audit({"layers": {"conv": {"type": "Conv2d", "calls": 1}}, "activations": [{"kind": "module"}]})
    assert kinds([layers, activations]) == ["tables/hook_audit", "tables/activations"]
    assert layers.table.to_dict("records") == [{"layer": "conv", "type": "Conv2d", "calls": 1}]
    assert activations.table["kind"].tolist() == ["module"]


def test_shares_by_layer_by_channel_and_by_class(statistics):
    shares = share_table(statistics)
    table, figure = report_shares(shares, ["first"])
    assert kinds([table, figure]) == ["tables/non_positive_shares", "non_positive_shares"]
    assert table.table["layer"].tolist() == ["first (frozen)", "last"] and "first (frozen), last" in figure.alt
    channels, dead, told = report_channels(statistics, shares, ["first"])
    assert kinds([channels, dead, told]) == ["channel_shares", "tables/dead_channels", "text"]
    assert told.markdown == describe_dead(shares) and dead.digits == 1 and "draw2" not in channels.alt
    assert dead.table["layer"].tolist() == ["first (frozen)", "last"]
    (heat,) = report_classes(class_share_table(statistics["imagenet_own"], ["a", "b"]), "imagenet_own")
    assert heat.name == "class_heatmap" and "imagenet_own" in heat.alt


def labels_of(figure):
    """The lines of a grid's legend."""
    return [text.get_text() for ax in figure.drawing.axes if ax.get_legend() for text in ax.get_legend().get_texts()]


def test_spectra(statistics):
    spectra = measure_spectra(statistics, top_k=3)
    parts = report_spectra(spectra, frozen=["last"])
    assert kinds(parts) == ["tables/spectra", "eigenvalues_linear", "eigenvalues_log-log"]
    assert len(parts[0].table) == len(NAMES) * len(LAYERS)
    assert [part.drawing.axes[0].get_xscale() for part in parts[1:]] == ["linear", "log"]
    for part, words in zip(parts[1:], ("linear", "log-log"), strict=True):
        assert part.alt.startswith(f"Eigenvalues as shares of the variance by rank, {words}, a panel a layer")
        assert "in 2 draws" in part.alt and part.alt.count("random_own") == 1
        assert "_32px" not in part.alt and "by construction: last." in part.alt and not any("32×32" in text for text in labels_of(part))
    (figure,) = report_cumulative_variance(spectra)
    assert figure.name == "cumulative_variance" and "k95 in first, last" in figure.alt and "_32px" not in figure.alt


def test_certainty_is_that_of_the_main_scenarios(statistics):
    found = check_certainty(statistics, n_resamples=10, n_leading=2, frozen=["first"], seed=4)
    parts = found.report(measure_spectra(statistics))
    assert kinds(parts) == ["tables/certainty", "effective_ranks", "leading_eigenvalues"]
    assert list(found.errors) == NAMES[:4] and set(found.table["scenario"]) == set(NAMES[:4]) and found.table["k"].max() == 2
    assert parts[1].alt.startswith("Effective rank by layer; bars: 95 % spread at this N (bootstrap), or the range of several draws")
    assert "at most 2 leading ones, over 10 resamples" in parts[2].alt
    assert any("mean and range of 2 draws" in text for text in labels_of(parts[1]))
    again = check_certainty(statistics, n_resamples=10, n_leading=2, frozen=["first"], seed=5)
    assert not again.table["first half"].equals(found.table["first half"])  # another seed, other halves
    assert not again.table["spread low"].equals(found.table["spread low"]) and certainty_table({}, {}).empty


def test_comparison_of_networks(statistics):
    compared = comparison_table(statistics, LAYERS, 2, frozen=["first"])
    table, figure = report_comparison(compared, frozen=["first"])
    assert kinds([table, figure]) == ["tables/directions", "directions"] and table.table is compared
    assert figure.alt.startswith("Overlap of the leading directions and debiased linear CKA by layer. finetuned_own and imagenet_own:")
    (told,) = report_comparison(comparison_table({"random_own": statistics["random_own"]}, LAYERS, 2))
    assert told.markdown.startswith("There is no pair of networks to compare: it takes the ImageNet-initialised network")


def test_resolution_control(statistics):
    spectra = measure_spectra(statistics)
    (figure,) = report_resolution_control(spectra)
    assert figure.name == "resolution_control" and "effective rank in last: imagenet_own " in figure.alt
    assert "imagenet_own_32px" in figure.alt and "finetuned" not in figure.alt and "random" not in figure.alt
    assert sum("32×32" in text for text in labels_of(figure)) == 1
    (told,) = report_resolution_control({name: by_layer for name, by_layer in spectra.items() if not name.endswith("_32px")})
    assert told.markdown.startswith("Not measured: it takes RESOLUTION_CONTROL = True")


def test_alternative_texts_have_no_markup(statistics):
    spectra, shares = measure_spectra(statistics), share_table(statistics)
    parts = [*report_shares(shares), *report_channels(statistics, shares), *report_spectra(spectra), *report_resolution_control(spectra)]
    assert all(dataclasses.is_dataclass(part) for part in parts)
    assert not [part.alt for part in parts if isinstance(part, Figure) and ("**" in part.alt or "nan" in part.alt.replace("finetuned", ""))]
