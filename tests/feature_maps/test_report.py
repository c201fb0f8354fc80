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
    report_comparison,
    report_cumulative_variance,
    report_resolution_control,
    report_spectra,
)
from inside.feature_maps.scenarios import Scenario
from inside.feature_maps.share_report import (
    describe_audit,
    report_audit,
    report_channels,
    report_classes,
    report_counts,
    report_modules,
    report_scenarios,
    report_shares,
)
from inside.feature_maps.share_sentences import describe_dead
from inside.feature_maps.shares import class_share_table, share_table
from inside.feature_maps.spectra import measure_spectra
from inside.feature_maps.spectra_tables import certainty_table, comparison_table
from inside.feature_maps.statistics import LayerStatistics
from inside.feature_maps.tracing import Following
from inside.shown import Figure, Fold, Table, Text

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
    """What is shown, in words: "text", the names of tables with a slash, and of figures; lists are folded."""
    names = {Text: lambda part: "text", Table: lambda part: f"tables/{part.name}", Figure: lambda part: part.name,
             Fold: lambda part: kinds(part.parts)}
    return [names[type(part)](part) for part in parts]


def test_scenarios_and_those_that_are_missing():
    images = ImageSet("", Path(), pd.DataFrame({"path": ["a.png", "b.png"]}), "made up")
    scenarios = {name: Scenario(name, nn.Identity(), {}, images) for name in NAMES}
    table, told = report_scenarios(scenarios, {"imagenet_cifar10": "replaced."}, "02_scenarios")
    assert kinds([table, told]) == ["tables/02_scenarios", "text"]
    assert table.table["scenario"].tolist() == [name for name in NAMES if name != "random_own_draw2"]
    assert table.table.iloc[0].tolist() == ["finetuned_own", "fine-tuned, own images", 2, "made up"]
    assert told.markdown == "- **ImageNet-initialised, CIFAR-10 images** is not measured: replaced.\n- Draws of random weights: 2."


def test_audit():
    layer = {"type": "Conv2d", "calls": 1, "in_place": False, "overwritten_later": False}
    audit = {"layers": {"conv": layer}, "activations": [{"kind": "module"}]}
    parts = report_audit(audit)
    assert kinds(parts) == ["text", ["tables/hook_audit", "tables/activations"]]
    layers, activations = parts[1].parts
    assert layers.table.to_dict("records") == [{"layer": "conv"} | layer]
    assert activations.table["kind"].tolist() == ["module"]
    assert describe_audit(audit) == "The chosen layer ran once; no in-place operation overwrote the output of the chosen layer."
    audit["layers"]["twice"] = layer | {"calls": 2, "overwritten_later": True}
    told = describe_audit(audit)
    assert told == "Not called exactly once in a forward pass: **twice** (2 calls); in-place operations affect **twice**, " \
                   "counted inside the hook before that."


def test_modules_and_counts_are_folded():
    modules = pd.DataFrame({"name": ["a", "b", "c"], "type": "Conv2d", "output_shape": ["2 × 4 × 4", "8 × 1 × 1", "–"], "calls": [1, 1, 0]})
    parts = report_modules(modules, ["a", "b"])
    assert kinds(parts) == ["tables/02_layers", ["tables/modules"]] and parts[0].table["name"].tolist() == ["a", "b"]
    assert parts[0].caption.startswith("2 feature maps to measure, from **a** (2 × 4 × 4) to **b** (8 × 1 × 1).")
    assert parts[1].parts[0].caption == "1 of 3 modules is never called in a forward pass."
    assert report_modules(modules, ["a"])[0].caption.startswith("1 feature map to measure, **a** (2 × 4 × 4).")
    counted = pd.DataFrame({"layer": ["a"], "values": [10], "by_hook": [4], "by_hand": [4]})
    assert kinds(report_counts(counted)) == ["text", ["tables/counted_twice"]]


def test_shares_by_layer_by_channel_and_by_class(statistics):
    shares = share_table(statistics)
    figure, told, table = report_shares(shares, ["first"])
    assert kinds([figure, told, table]) == ["non_positive_shares", "text", "tables/non_positive_shares"]
    assert figure.caption.startswith("Fine-tuning moved the share") and told.markdown.startswith("Compared with random")
    assert table.table["layer"].tolist() == ["first (frozen)", "last"] and "first (frozen), last" in figure.alt
    channels, told, dead = report_channels(statistics, shares, ["first"])
    assert kinds([channels, told, dead]) == ["channel_shares", "text", "tables/dead_channels"]
    assert dead.caption.startswith(describe_dead(shares)) and dead.digits == 1 and "draw2" not in channels.alt
    assert dead.table["layer"].tolist() == ["first (frozen)", "last"]
    heat, told = report_classes(class_share_table(statistics["imagenet_own"], ["a", "b"]), "imagenet_own", ["first"])
    assert heat.caption.startswith("Classes differ most in ") and " is highest for " in told.markdown
    assert heat.name == "class_heatmap" and "in the ImageNet-initialised network." in heat.alt


def labels_of(figure):
    """The lines of a grid's legend."""
    legends = [legend for ax in figure.drawing.axes if (legend := ax.get_legend())] + figure.drawing.legends
    return [text.get_text().replace("\n", " ") for legend in legends for text in legend.get_texts()]


def test_spectra(statistics):
    spectra = measure_spectra(statistics, top_k=3)
    certainty = check_certainty(statistics, n_resamples=10, n_leading=2, frozen=["last"])
    parts = report_spectra(spectra, certainty)
    assert kinds(parts) == ["effective_ranks", "text", "tables/effective_ranks", ["tables/spectra"], "top_k_eigenvalues", "text",
                            ["tables/top_k_eigenvalues"], ["eigenvalues_linear"]]
    ranks, _, wide, full, log, _, (leading,), linear = [part.parts if part is parts[-2] else part for part in parts]
    assert leading.table.set_index(["layer", "scenario"]).loc[("first", "finetuned_own")].dropna().tolist() == list(
        spectra["finetuned_own"]["first"].eigenvalues)
    assert leading.significant and leading.table["scenario"].tolist() == [
        name for name in leading.table["scenario"].unique() for _ in LAYERS]
    assert len(full.parts[0].table) == len(NAMES) * len(LAYERS) and wide.table["layer"].tolist() == ["first", "last (frozen)"]
    assert wide.table["finetuned_own"].tolist() == [spectra["finetuned_own"][layer].effective_rank for layer in LAYERS]
    linear = linear.parts[0]
    assert [part.drawing.axes[0].get_xscale() for part in (linear, log)] == ["linear", "log"]
    assert any(bars.get_segments() for bars in log.drawing.axes[0].collections) and not linear.drawing.axes[0].collections  # intervals
    for part, words in ((linear, "linear"), (log, "log-log")):
        assert part.alt.startswith(f"Eigenvalues as shares of the variance by rank, {words}") and "one panel per layer" in part.alt
        assert part.alt.count("random weights") == 1 and "32×32" not in part.alt and not any("32×32" in text for text in labels_of(part))
    assert "at most 2 leading ones, over 10 resamples" in log.alt
    assert ranks.alt.startswith("Effective rank by layer; bars: the 95% spread at this N (bootstrap of the images), or the range of several draws")
    assert "in 2 draws" in ranks.alt and ranks.alt.count("with random weights") == 1 and "by construction: last." in ranks.alt
    assert any("mean and range of 2 draws" in text.get_text().replace("\n", " ") for text in ranks.drawing.axes[0].texts)
    assert ranks.caption.startswith("Fine-tuning changed the effective rank") and "**last**" not in ranks.caption.split(". ")[0]


def test_linear_eigenvalues_end_at_20():
    rng = np.random.default_rng(0)
    state = LayerStatistics("x", 1)
    features = rng.standard_normal((40, 30))
    state.covariance.update(features)
    state.pooled.append(features)
    made = {"imagenet_own": {"x": state}}
    parts = report_spectra(measure_spectra(made), check_certainty(made, n_resamples=3))
    linear = parts[-1].parts[0].drawing.axes[0]
    assert [len(line.get_xdata()) for line in linear.lines[:2]] == [20, 20]
    assert max(len(line.get_xdata()) for line in parts[-4].drawing.axes[0].lines) == 30


def test_cumulative_variance_with_the_resolution_control_beside_it(statistics):
    spectra = measure_spectra(statistics, top_k=3)
    figure, told = report_cumulative_variance(spectra, frozen=["last"])
    assert figure.name == "cumulative_variance" and "k95 in first, last" in figure.alt and "effective rank of the ImageNet-initialised network in 1 of 2 layers, last" in figure.alt
    assert "32×32" in figure.drawing.axes[2].get_title() and len(labels_of(figure)) == 4
    assert figure.caption.startswith("Directions that hold 95% of the variance of **last**:")
    assert told.markdown.startswith("From **first** to **last** the number of directions that hold 95% goes from ")
    without = {name: by_layer for name, by_layer in spectra.items() if not name.endswith("_32px")}
    assert "32×32" not in report_cumulative_variance(without)[0].caption


def test_certainty_is_that_of_the_main_scenarios(statistics):
    found = check_certainty(statistics, n_resamples=10, n_leading=2, frozen=["first"], seed=4)
    parts = found.report()
    assert kinds(parts) == ["tables/found_again", "text", ["tables/certainty"]]
    assert list(found.errors) == NAMES[:4] and set(found.table["scenario"]) == set(NAMES[:4]) and found.table["k"].max() == 2
    assert list(parts[0].table) == ["layer", "finetuned_own", "imagenet_own", "imagenet_digits (stand-in)", "random_own"]
    assert parts[0].table["layer"].tolist() == ["first (frozen)", "last"] and parts[2].parts[0].table is found.table
    assert parts[1].markdown.startswith("In **last** of the fine-tuned network, the 2 leading directions of one half of the images hold ")
    again = check_certainty(statistics, n_resamples=10, n_leading=2, frozen=["first"], seed=5)
    assert not again.table["first half"].equals(found.table["first half"])  # another seed, other halves
    assert not again.table["spread low"].equals(found.table["spread low"]) and certainty_table({}, {}).empty


def test_comparison_of_networks(statistics):
    compared = comparison_table(statistics, LAYERS, 2, frozen=["first"])
    figure, told, table = report_comparison(compared, frozen=["first"])
    assert kinds([figure, told, table]) == ["directions", "text", ["tables/directions"]] and table.parts[0].table is compared
    assert figure.alt.startswith("Overlap of the leading directions and debiased linear CKA by layer. Overlap and CKA of the fine-tuned network and the ImageNet-initialised network:")
    assert "leading directions in **last**" in figure.caption and "CKA of the network with random weights and the ImageNet-initialised network is lowest in **last**" in told.markdown
    assert len(labels_of(figure)) == 3  # two pairs, and chance
    (told,) = report_comparison(comparison_table({"random_own": statistics["random_own"]}, LAYERS, 2))
    assert told.markdown.startswith("There is no pair of networks to compare: this needs the ImageNet-initialised network")


def test_resolution_control(statistics):
    spectra = measure_spectra(statistics)
    (table,) = report_resolution_control(spectra)
    assert table.name == "resolution_control" and list(table.table) == ["layer", "imagenet_own", "imagenet_own_32px", "imagenet_digits (stand-in)"]
    assert table.table["imagenet_own_32px"].tolist() == [spectra["imagenet_own_32px"][layer].effective_rank for layer in LAYERS]
    assert "Reducing the images to 32×32 pixels" in table.caption and "(#figure-cumulative_variance)" in table.caption
    small = spectra | {"imagenet_cifar10": spectra["finetuned_own"], "imagenet_digits": spectra["finetuned_own"]}
    (table, told) = report_resolution_control(small)
    assert list(table.table) == ["layer", "imagenet_own", "imagenet_own_32px", "imagenet_cifar10", "imagenet_digits (stand-in)"]
    assert told.markdown.startswith("The effective rank of the ImageNet-initialised network on CIFAR-10 images is lower than this blur explains in ")
    (told,) = report_resolution_control({name: by_layer for name, by_layer in spectra.items() if not name.endswith("_32px")})
    assert told.markdown.startswith("Not measured: this needs RESOLUTION_CONTROL = True")


def flat(parts):
    """All parts, those in folds too."""
    return [one for part in parts for one in (flat(part.parts) if isinstance(part, Fold) else [part])]


def test_all_has_a_caption_and_alternative_texts_have_no_markup(statistics):
    spectra, shares = measure_spectra(statistics), share_table(statistics)
    certainty = check_certainty(statistics, n_resamples=5)
    parts = flat([*report_shares(shares), *report_channels(statistics, shares), *report_spectra(spectra, certainty), *certainty.report(),
                  *report_cumulative_variance(spectra), *report_resolution_control(spectra),
                  *report_comparison(comparison_table(statistics, LAYERS, 2))])
    assert all(dataclasses.is_dataclass(part) for part in parts)
    assert not [part.alt for part in parts if isinstance(part, Figure) and ("**" in part.alt or "nan" in part.alt.replace("finetuned", ""))]
    captions = [part.caption for part in parts if isinstance(part, (Figure, Table))]
    assert len(captions) == 16 and all(caption.endswith(".") and "  " not in caption for caption in captions)
    assert not [caption for caption in captions if "nan" in caption.replace("finetuned", "")]
