"""Spectra: what a spread covers, what repeats in other images, debiased CKA, and every sentence of notebook 03 at its limits."""

import itertools
import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from inside.data.sources import ImageSet
from inside.feature_maps.blur_sentences import describe_beyond_blur
from inside.feature_maps.certainty import BootstrapSpectrum, bootstrap_spectrum, split_half
from inside.feature_maps.frozen import frozen_layers
from inside.feature_maps.plots import plot_by_layer, plot_effective_ranks, plot_eigenvalues, plot_similarity
from inside.feature_maps.scenario_names import describe_missing, is_stand_in, scenario_style
from inside.feature_maps.scenarios import Scenario
from inside.feature_maps.share_sentences import describe_input_sizes
from inside.feature_maps.similarity import linear_cka
from inside.feature_maps.spectra import covariance_difference, effective_rank, measure_spectra, spectrum
from inside.feature_maps.spectra_sentences import (
    describe_by_layer,
    describe_comparison,
    describe_halves,
    describe_held_out,
    describe_k,
    describe_leading,
    describe_rank_claims,
    describe_scatter,
    describe_similarity_claims,
    describe_spectra,
)
from inside.feature_maps.spectra_tables import certainty_table, comparison_table, spectra_table
from inside.feature_maps.states import StreamingCovariance
from inside.files import ROOT, RunFolder
from inside.models.saved import SavedModel
from inside.text import round_share
from shared.feature_maps import rng

REAL = ["imagenet_own", "imagenet_imagenet", "imagenet_cifar10"]
STAND_INS = ["imagenet_photo_patches", "imagenet_digits", "imagenet_demo"]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def decaying(generator, n, c):
    return generator.standard_normal((n, c)) / np.sqrt(np.arange(1, c + 1))


@pytest.fixture(scope="module")
def repeated():
    """Estimates and their bootstraps for 150 data sets of 100 images, 60 channels, eigenvalues 1/k; means of 800 estimates."""
    generator = rng(0)
    many = [spectrum(decaying(generator, 100, 60)) for _ in range(800)]
    boots = [bootstrap_spectrum(decaying(generator, 100, 60), n_resamples=50, n_leading=5, seed=i) for i in range(150)]
    return boots, np.mean([s.effective_rank for s in many]), np.mean([s.eigenvalues[:5] for s in many], axis=0)


def test_spread_of_the_effective_rank_covers_its_mean_at_this_n_and_not_the_population(repeated):
    boots, mean, _ = repeated
    spreads = np.array([boot.effective_rank_spread() for boot in boots])
    covers = lambda value: ((spreads[:, 0] <= value) & (value <= spreads[:, 1])).mean()  # noqa: E731
    assert 0.93 <= covers(mean) <= 0.99
    population = effective_rank(1 / np.arange(1, 61))
    assert population > mean and covers(population) < 0.1
    assert np.array_equal([boot.effective_rank_spread(0.5)[0] > low for boot, (low, _) in zip(boots, spreads, strict=True)],
                          [True] * len(boots))


def test_spread_of_the_leading_eigenvalues_covers_their_means_at_this_n(repeated):
    boots, _, means = repeated
    spreads = np.array([boot.eigenvalue_spread() for boot in boots])
    covered = ((spreads[:, 0] <= means) & (means <= spreads[:, 1])).mean(0)
    assert ((covered >= 0.9) & (covered <= 0.99)).all() and covered.mean() >= 0.93, covered


def test_texts_claim_a_spread_and_no_interval_for_the_population():
    told = f"{BootstrapSpectrum.__doc__} {bootstrap_spectrum.__doc__} {plot_eigenvalues.__doc__}"
    book = "".join(line for cell in notebook()["cells"] for line in cell["source"])
    for text in (told, book):
        assert "spread" in text and "at this N" in text
        assert not re.search(r"confidence|95% (bootstrap )?intervals?|known to within|no resampling shows", text)


def test_spread_without_variance_is_none():
    boot = bootstrap_spectrum(np.ones((6, 3)), n_resamples=5)
    assert boot.effective_rank_spread() == (0, 0) and not np.any(boot.eigenvalue_spread())
    pair = bootstrap_spectrum(np.array([[0.0, 1], [1, 0]]), n_resamples=40)  # half of the resamples hold one image twice
    low, high = pair.effective_rank_spread()
    assert 0 < low <= pair.estimate.effective_rank <= high < np.inf


def test_directions_near_the_noise_line_can_repeat_in_other_images():
    """A decaying spectrum: the direction nearest the Marchenko-Pastur line, and others below it, are found again."""
    half = split_half(decaying(rng(1), 2000, 40), seed=0)
    nearest = np.abs(np.log(half.first.all_eigenvalues / half.first.noise())).argmin()
    assert half.cosines[nearest] > 0.7
    assert half.found_again > (half.first.all_eigenvalues > half.first.noise()).sum()


def test_directions_of_noise_are_not_found_again():
    half = split_half(rng(2).standard_normal((200, 120)))
    assert half.found_again == 0 and half.chance < 1e-6 and len(half.cosines) == 99


@pytest.mark.parametrize("c, n", [(1, 20), (2, 40), (4, 40), (6, 60)])
def test_how_many_directions_are_found_again_by_chance(c, n):
    """Isotropic noise has directions at random: the expected number is told beside the number."""
    halves = [split_half(rng(seed).standard_normal((n, c)), seed=seed) for seed in range(200)]
    assert np.mean([half.found_again for half in halves]) == pytest.approx(halves[0].chance, rel=0.1)


def test_directions_without_variance_do_not_count_as_found_again():
    line = np.outer(rng(3).standard_normal(40), np.ones(7))
    assert (split_half(line).found_again, split_half(np.ones((9, 5))).found_again) == (1, 0)
    assert split_half(np.ones((9, 5))).cosines.size == 0


def hsic_by_definition(x, y):
    """The U-statistic over all ordered quadruples of different images (Song et al. 2012)."""
    k, h = x @ x.T, y @ y.T
    return np.mean([k[i, j] * (h[i, j] + h[q, r] - 2 * h[i, q]) for i, j, q, r in itertools.permutations(range(len(x)), 4)])


def cka_among_images(x, y):
    """Debiased CKA by U-centring of the N×N matrices of inner products (Székely and Rizzo 2014)."""
    centred = []
    for z in (x, y):
        gram, n = z @ z.T, len(z)
        np.fill_diagonal(gram, 0)
        rows = gram.sum(0) / (n - 2)
        u = gram - rows[:, None] - rows[None, :] + gram.sum() / ((n - 1) * (n - 2))
        np.fill_diagonal(u, 0)
        centred.append(u)
    a, b = centred
    return (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())


@pytest.mark.parametrize("n, c, d", [(4, 3, 2), (5, 1, 1), (7, 20, 3), (8, 2, 30)])
def test_cka_equals_the_definition(n, c, d):
    x, y = rng(n).standard_normal((n, c)) + 3, rng(d + 50).standard_normal((n, d)) * 4 - 50  # far from 0: must be centred
    expected = hsic_by_definition(x, y) / np.sqrt(hsic_by_definition(x, x) * hsic_by_definition(y, y))
    assert linear_cka(x, y) == pytest.approx(expected, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("n, c, d", [(300, 20, 30), (40, 100, 100), (30, 200, 5), (25, 25, 25)])
def test_cka_among_channels_equals_that_among_images(n, c, d):
    """Whichever side is smaller: the same number."""
    x = rng(4).standard_normal((n, c)) + 2
    y = x[:, :1] * np.linspace(0, 2, d) + rng(5).standard_normal((n, d))
    assert linear_cka(x, y) == pytest.approx(cka_among_images(x, y), abs=1e-9)


@pytest.mark.parametrize("c", [96, 320, 1280])
def test_cka_of_unrelated_features_is_about_0_however_few_the_images(c):
    """The biased form gives 0.32, 0.61 and 0.87 here."""
    found = [linear_cka(rng(2 * i).standard_normal((200, c)) + 1, rng(2 * i + 1).standard_normal((200, c)) - 1)
             for i in range(4)]
    assert abs(np.mean(found)) < 0.015 and np.abs(found).max() < 0.03


def test_cka_of_the_same_features_is_1_whatever_the_axes_scale_and_offset():
    for n, c in ((60, 9), (20, 90)):
        a, b = rng(6).standard_normal((n, c)) + 5, rng(7).standard_normal((n, c)) * np.linspace(0, 3, c)
        rotation = np.linalg.qr(rng(8).standard_normal((c, c)))[0]
        assert linear_cka(a, a) == pytest.approx(1)
        assert linear_cka(a, 3 * a @ rotation + 7) == pytest.approx(1)
        assert linear_cka(a + rng(9).standard_normal(c) * 100, 1e-6 * b @ rotation) == pytest.approx(linear_cka(a, b))
        assert linear_cka(b, a) == pytest.approx(linear_cka(a, b))


def test_cka_can_be_negative_and_is_not_defined_where_images_are_not_told_apart():
    assert min(linear_cka(rng(i).standard_normal((10, 4)), rng(i + 99).standard_normal((10, 4))) for i in range(8)) < -0.01
    for same in (np.ones((6, 2)), np.eye(6)):  # all alike, and all equally different
        assert np.isnan(linear_cka(same, rng().standard_normal((6, 3)))) and np.isnan(linear_cka(same, same))
    with pytest.raises(ValueError, match="There are 3 images; debiased CKA needs at least 4"):
        linear_cka(np.eye(3), np.eye(3))
    with pytest.raises(ValueError, match="6 and 5 images"):
        linear_cka(np.eye(6), np.eye(5))


def test_stand_ins_are_known_by_name_and_named_so():
    assert all(is_stand_in(name) and is_stand_in(f"{name}_32px") for name in STAND_INS)
    assert not any(is_stand_in(name) for name in [*REAL, "imagenet_own_32px", "finetuned_own", "random_own", "random_own_draw2"])
    assert all("stand-in" in scenario_style(name)["label"] for name in [*STAND_INS, *(f"{name}_32px" for name in STAND_INS)])


def spectra_of(names, layers=("first", "last"), n=30, c=12):
    return {name: {layer: spectrum(rng(9 * i + j).standard_normal((n, c)) * np.linspace(2, 0, c))
                   for j, layer in enumerate(layers)} for i, name in enumerate(names)}


@pytest.mark.parametrize("chance, told", [(0.0, "by chance none is expected."), (0.04, "by chance none is expected."),
                                          (0.06, "by chance at most 0.1 are expected."), (2.34, "by chance at most 2.3 are expected.")])
def test_chance_is_told_in_directions(chance, told):
    certainty = pd.DataFrame({"scenario": "imagenet_own", "layer": ["a", "b"], "found again": [3, 4], "by chance": [0.0, chance]})
    assert describe_halves(certainty).endswith(f"to 4 (**b** of the ImageNet-initialised network); {told}")


def certain(spectra, frozen=()):
    features = {name: {layer: rng(len(name) + len(layer)).standard_normal((s.images, s.channels)) for layer, s in by_layer.items()}
                for name, by_layer in spectra.items()}
    errors = {name: {layer: bootstrap_spectrum(x, n_resamples=20) for layer, x in by.items()} for name, by in features.items()}
    halves = {name: {layer: split_half(x) for layer, x in by.items()} for name, by in features.items()}
    return certainty_table(errors, halves, leading=4, frozen=frozen), errors, halves


def test_tables_mark_frozen_layers_stand_ins_and_draws():
    spectra = spectra_of(["finetuned_own", "imagenet_own", "imagenet_digits", "random_own", "random_own_draw2"])
    table = spectra_table(spectra, frozen=["first"]).set_index(["scenario", "draw", "layer"])
    assert table.loc[("finetuned_own", 1, "first"), "remark"] == "frozen: as initial by construction"
    assert table.loc[("finetuned_own", 1, "last"), "remark"] == "" == table.loc[("imagenet_own", 1, "first"), "remark"]
    assert table.loc[("imagenet_digits", 1, "last"), "remark"] == "stand-in"
    assert table.loc[("random_own", 2, "last"), "effective rank"] == spectra["random_own_draw2"]["last"].effective_rank
    told, errors, halves = certain(spectra_of(["finetuned_own", "imagenet_digits"]), frozen=["last"])
    assert list(told["remark"]) == ["", "frozen: as initial by construction", "stand-in", "stand-in"]
    half, row = halves["finetuned_own"]["first"], told.iloc[0]
    assert (row["spread low"], row["spread high"]) == errors["finetuned_own"]["first"].effective_rank_spread()
    assert row["share of leading k"] == pytest.approx(half.first.all_eigenvalues[:4].sum() / half.first.trace) and row["k"] == 4
    assert row["in second half"] == pytest.approx(half.held_out[:4].sum() / half.second.trace)
    assert (row["found again"], row["by chance"]) == (half.found_again, half.chance)


class Measured:
    """What comparison_table needs of the statistics of a layer."""

    def __init__(self, features):
        self.features = features


def test_comparison_with_the_initial_network_only_and_its_frozen_layers_marked():
    x, y = rng(1).standard_normal((20, 6)), rng(2).standard_normal((20, 6))
    measured = {name: {"a": Measured(x), "b": Measured(features)} for name, features in
                (("imagenet_own", x), ("finetuned_own", y), ("random_own", y), ("random_own_draw2", x))}
    table = comparison_table(measured, ["a", "b"], 3, frozen=["a"])
    assert list(table["networks"]) == ["finetuned_own and imagenet_own"] * 2 + ["random_own and imagenet_own"] * 2
    assert list(table["remark"]) == ["frozen: as initial by construction", "", "", ""]
    assert table["CKA"].iloc[0] == pytest.approx(1) and table["CKA"].iloc[1] == pytest.approx(linear_cka(x, y))
    assert len(comparison_table({"imagenet_own": measured["imagenet_own"]}, ["a"], 3)) == 0


def compared_rows(rows):
    return pd.DataFrame([("finetuned_own and imagenet_own", layer, 10, overlap, 0.03, cka, -0.02, "") for layer, overlap, cka in rows],
                        columns=["networks", "layer", "m", "overlap", "overlap by chance", "CKA", "CKA of shuffled images", "remark"])


def test_figures_mark_frozen_layers_and_show_negative_cka():
    spectra = spectra_of(["finetuned_own", "imagenet_own", "imagenet_digits"])
    titles = [ax.get_title().split("\n")[0] for ax in plot_by_layer(spectra, frozen=["first"]).axes]
    assert titles[:2] == ["first (frozen)", "last"]
    figure = plot_similarity(compared_rows([("first", 1.0, 1.0), ("last", np.nan, -0.3)]), frozen=["first"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "the fine-tuned network and the ImageNet-initialised network", "by chance"]
    for ax in figure.axes:
        assert [text.get_text() for text in ax.get_xticklabels()] == ["first\n(frozen)", "last"] and len(ax.patches) == 1 and ax.get_ylim()[0] < -0.3
    told, _, _ = certain(spectra)
    ax = plot_effective_ranks(told, frozen=["first"])
    assert [text.get_text() for text in ax.get_xticklabels()] == ["first\n(frozen)", "last"]
    assert sum("stand-in" in text.get_text() for text in ax.texts) == 1 and len(ax.texts) == 3
    plot_similarity(compared_rows([("only", np.nan, np.nan)])).canvas.draw()


def test_figure_of_effective_ranks_shows_the_range_of_several_draws():
    table = pd.DataFrame([("random_own", draw, "a", rank) for draw, rank in ((1, 5.0), (2, 9.0), (3, 7.0))],
                         columns=["scenario", "draw", "layer", "effective rank"])
    told = pd.DataFrame([("random_own", "a", 5.0, 4.9, 5.1)], columns=["scenario", "layer", "effective rank", "spread low", "spread high"])
    for draws, middle, low, high, words in ((None, 5, 4.9, 5.1, "own images"), (table, 7, 5, 9, "mean and range of 3 draws")):
        ax = plot_effective_ranks(told, draws=draws)
        bar = ax.containers[0]
        assert bar.lines[0].get_ydata()[0] == middle and bar.lines[2][0].get_segments()[0][:, 1] == pytest.approx([low, high])
        assert ax.texts[0].get_text().replace("\n", " ").endswith(words)


@pytest.mark.parametrize("changed, frozen", [("3", ["0", "1", "2"]), ("1", ["0"]), ("0", []), (None, ["0", "1", "2", "3"])])
def test_frozen_layers_are_those_before_the_first_weight_that_differs(changed, frozen):
    def network():
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Sequential(nn.Conv2d(4, 4, 3)))
    initial, tuned = network(), network()
    tuned.load_state_dict(initial.state_dict())
    if changed:
        next(iter(tuned.get_submodule(changed).parameters())).data += 1
    images = ImageSet("", Path(), pd.DataFrame(), "")
    scenarios = {name: Scenario(name, model, {}, images, "") for name, model in (("finetuned_own", tuned), ("imagenet_own", initial))}
    assert frozen_layers(scenarios, ["0", "1", "2", "3"]) == frozen
    assert frozen_layers({"imagenet_own": scenarios["imagenet_own"]}, ["0"]) == []


def test_sizes_are_told_where_the_numbers_stand(tmp_path):
    run = RunFolder(str(tmp_path / "run"))
    assert describe_input_sizes(run, 224) == "Measured on whole images resized to 224×224 pixels."
    SavedModel(architecture="convnet5", classes=["a"], image_size=160, preprocessing={}, split="", root="").write(run)
    assert "224×224 pixels; the network was fine-tuned at 160×160" in describe_input_sizes(run, 224)
    assert "160×160 pixels, the size at which" in describe_input_sizes(run, 160)


def ranks_table(ranks):
    """{scenario: [effective rank by layer]} or {scenario: [[…] a draw]} as a spectra_table."""
    rows = [(scenario, draw + 1, f"layer{i}", rank, 200) for scenario, values in ranks.items()
            for draw, by_layer in enumerate(values if isinstance(values[0], list) else [values]) for i, rank in enumerate(by_layer)]
    return pd.DataFrame(rows, columns=["scenario", "draw", "layer", "effective rank", "images"])


NO_ROWS = pd.DataFrame()


def told_of(ranks, overlaps=None, frozen=()):
    compared = compared_rows([(f"layer{i}", overlap, 0.5) for i, overlap in enumerate(overlaps)]) if overlaps else NO_ROWS
    return describe_spectra(ranks_table(ranks), NO_ROWS, compared, frozen=frozen)


def test_takeaways_of_fine_tuning():
    ranks = {"finetuned_own": [10.0, 12.0, 30.0], "imagenet_own": [10.0, 10.0, 40.0]}
    told = told_of(ranks, [1.0, 0.5, 0.25])
    assert "changed the leading directions most in **layer2** (overlap of the leading directions 0.25, by chance 0.03)" in told[0]
    assert told[1] == "Fine-tuning changed the effective rank most in **layer2** (from 40.0 to 30.0, −25%)."
    told = told_of(ranks, [1.0, 0.5, 0.5])
    assert "changed the leading directions most in **layer1** and **layer2** (" in told[0]
    told = told_of(ranks, [1.0, 0.5, 0.25], frozen=["layer0", "layer2"])
    assert told[0] == "Frozen during fine-tuning, and therefore unchanged by construction: **layer0** and **layer2**."
    assert "changed the leading directions in **layer1** (" in told[1]
    assert "changed the effective rank in **layer1** (from 10.0 to 12.0, +20%)" in told[2]
    told = told_of({"finetuned_own": [10.0], "imagenet_own": [10.01]}, [1.0])
    assert "did not change the leading directions in **layer0**" in told[0]
    assert "changed the effective rank by less than 1% in **layer0**" in told[1]
    told = told_of(ranks, [1.0, 1.0, 1.0], frozen=["layer0", "layer1", "layer2"])
    assert "by construction" in told[0] and not any(line.startswith("Fine-tuning") for line in told)
    told = told_of({"finetuned_own": [0.0, 5.0], "imagenet_own": [0.0, 4.0]}, [np.nan, 0.5])
    assert "changed the leading directions in **layer1** (" in told[0]
    assert "because one of the networks has no variance there: **layer0**" in told[1]


def test_a_takeaway_on_the_rank_says_whether_the_images_may_explain_it():
    table = ranks_table({"finetuned_own": [30.0, 9.2], "imagenet_own": [40.0, 9.0]})
    rank = table["effective rank"]
    rows = table.assign(**{"spread low": 0.9 * rank, "spread high": 1.1 * rank, "first half": 20.0, "second half": 10.0, "found again": 3,
                           "by chance": 0.0, "ratio low": [0.7, 0.9, np.nan, np.nan], "ratio high": [0.8, 1.1, np.nan, np.nan]})
    (told,) = [line for line in describe_spectra(table, rows, NO_ROWS) if line.startswith("Fine-tuning")]
    assert told.endswith("(from 40.0 to 30.0, −25%). In **layer0** the difference is larger than the choice of images explains; "
                         "in **layer1** the choice of images may explain the difference.")
    (told,) = [line for line in describe_spectra(table, rows.assign(**{"ratio high": 1.0}), NO_ROWS) if line.startswith("Fine-tuning")]
    assert told.endswith("In **layer0** and **layer1** the choice of images may explain the difference.")
    same = rows.assign(**{"effective rank": [40.04, 9.0, 40.0, 9.0], "ratio low": 1.0001, "ratio high": 1.0003})
    (told,) = [line for line in describe_spectra(table, same, NO_ROWS) if line.startswith("Fine-tuning")]
    assert "choice of images" not in told  # however certain a difference that is not shown


def test_the_dependence_on_the_number_of_images_is_told_as_a_range():
    table = ranks_table({"finetuned_own": [30.0, 10.0, 20.0]})
    rows = table.assign(**{"spread low": 9.0, "spread high": 11.0, "first half": [23.0, 10.4, 19.0], "second half": [25.0, 10.4, 19.0]})
    assert describe_scatter(rows).endswith("depends on the number of images: with half of the images it differs by −20% (**layer0** of "
                                           "the fine-tuned network) to +4% (**layer1** of the fine-tuned network), by −5% in the median.")
    assert describe_scatter(rows.iloc[:1]).endswith("with half of the images it differs by −20% (**layer0** of the fine-tuned network).")


def test_what_is_missing_is_one_sentence():
    assert describe_missing([]) == []
    assert describe_missing(["imagenet_imagenet", "finetuned_own"]) == ["Not measured: **ImageNet-initialised, ImageNet images**; **fine-tuned, own images**."]


def test_takeaways_of_image_sets_rank_no_stand_in():
    told = told_of({"imagenet_own": [1.0, 20.0], "imagenet_imagenet": [1.0, 90.0], "imagenet_digits": [1.0, 99.0],
                    "random_own": [[1.0, 4.0], [1.0, 6.0]]})
    assert told[0].endswith("**layer1**, in decreasing order: 90.0 for ImageNet images, 20.0 for own images.")
    assert told[1].endswith("for stand-ins, which say nothing about the images that they stand for: 99.0 for handwritten digits (stand-in).")
    assert told[2].endswith(": 5.0 (4.0 to 6.0 in 2 draws).")
    assert "order" not in told_of({"imagenet_own": [3.0], "imagenet_imagenet": [3.0]})[0]


def test_blur_counts_the_layers_that_fall_and_rise_and_names_the_largest():
    (line,) = told_of({"imagenet_own": [1.63, 8.07, 13.41, 16.48, 35.37], "imagenet_own_32px": [1.63, 6.43, 10.3, 18.42, 35.02]})[1:]
    assert line == ("Reducing the images to 32×32 pixels lowers the effective rank of the ImageNet-initialised network in 3 of 5 layers, most in **layer2** (from 13.4 to "
                    "10.3) and raises it in 1 of 5 layers, **layer3** (from 16.5 to 18.4): a fall of this size could be due to blur alone.")
    (line,) = told_of({"imagenet_digits": [0.0, 5.0], "imagenet_digits_32px": [0.0, 8.0]})[1:]
    assert line == ("Reducing the images to 32×32 pixels raises the effective rank of the ImageNet-initialised network on handwritten digits (stand-in) in 1 of 2 layers, **layer1** "
                    "(from 5.0 to 8.0): blur explains no lower rank.")


def test_what_blur_does_not_explain_is_counted():
    ranks = {"imagenet_own": [9.0, 9.0, 9.0, 5.0], "imagenet_own_32px": [7.0, 7.0, 7.0, 6.0], "imagenet_cifar10": [6.0, 7.0, 8.0, 5.5]}
    (told,) = describe_beyond_blur(ranks_table(ranks))
    assert told == "The effective rank of the ImageNet-initialised network on CIFAR-10 images is lower than this blur explains in 1 of 4 layers."
    assert describe_beyond_blur(ranks_table(ranks | {"imagenet_cifar10": [9.0] * 4}))[0].endswith("in none of 4 layers.")
    assert describe_beyond_blur(ranks_table({"imagenet_own": [9.0], "imagenet_own_32px": [7.0], "imagenet_digits": [1.0]})) == []  # a stand-in


@pytest.mark.parametrize("before, after, words", [(90.0, 40.0, "(from 90.0 to 40.0): a fall of this size could be due to blur alone"), (40.0, 90.0, "raises"),
                                                  (40.0, 40.01, "leaves the effective rank of the ImageNet-initialised network as it is in every layer")])
def test_only_a_fall_is_put_down_to_blur(before, after, words):
    line = told_of({"imagenet_own": [before], "imagenet_own_32px": [after]})[-1]
    assert words in line and ("due to blur alone" in line) is (round(after, 1) < before)


VALUES = st.one_of(st.sampled_from([0.0, 1.0, 5.0, 5.04, 1e-12]), st.floats(1, 500))
SHARES = st.one_of(st.just(float("nan")), st.sampled_from([0.0, 0.5, 1.0, 0.999]), st.floats(0, 1))


@st.composite
def numbers(draw):
    """Tables of notebook 03 with any scenarios, one layer and more, ties, zeros and NaN."""
    layers = draw(st.integers(1, 4))
    names = draw(st.lists(st.sampled_from(["finetuned_own", *REAL, *STAND_INS, "random_own", "imagenet_own_32px", "imagenet_digits_32px"]),
                          unique=True, min_size=1))
    by_layer = st.lists(VALUES, min_size=layers, max_size=layers)
    ranks = {name: draw(st.lists(by_layer, min_size=1, max_size=3)) if name == "random_own" else draw(by_layer) for name in names}
    table = ranks_table(ranks)
    certainty = table[~table["scenario"].str.endswith("_32px")].drop_duplicates(["scenario", "layer"]).copy()
    rank, factor = certainty["effective rank"], draw(st.floats(1, 2))
    certainty = certainty.assign(**{"spread low": rank / factor, "spread high": rank * factor, "first half": rank * draw(st.floats(0.3, 1.2)),
                                    "second half": rank * 0.9, "found again": draw(st.lists(st.integers(0, 99), min_size=len(rank), max_size=len(rank))),
                                    "by chance": draw(st.floats(0, 9))}) if len(certainty) else NO_ROWS
    if len(certainty):
        initial = certainty["layer"].map(table[table["scenario"] == "imagenet_own"].set_index("layer")["effective rank"])
        ratio = (rank / initial.astype(float)).where((certainty["scenario"] == "finetuned_own") & (initial > 0))
        certainty = certainty.assign(**{"ratio low": ratio / factor, "ratio high": ratio * factor})
    overlaps = draw(st.lists(SHARES, min_size=layers, max_size=layers))
    compared = compared_rows([(f"layer{i}", x, x) for i, x in enumerate(overlaps)]) if {"finetuned_own", "imagenet_own"} <= set(names) else NO_ROWS
    frozen = draw(st.lists(st.sampled_from([f"layer{i}" for i in range(layers)]), unique=True))
    return table, certainty, compared, frozen


@given(numbers(), st.lists(st.sampled_from(["imagenet_imagenet", "finetuned_own"]), unique=True))
@settings(max_examples=60, deadline=None)
def test_no_sentence_contradicts_its_numbers(made, missing):
    table, certainty, compared, frozen = made
    told = describe_spectra(table, certainty, compared, frozen=frozen, missing=missing)
    text = " ".join(told)
    assert not re.search(r"\b(nan|inf|None)\b", text) and all(line.endswith(".") and "  " not in line for line in told)
    for line in told:
        if "order" in line:
            values = [float(x) for x in re.findall(r"(\d+\.\d) for ", line)]
            assert values == sorted(values, reverse=True) and len(set(values)) > 1
            assert "stand-in" not in line
        if "blur alone" in line:
            before, after = map(float, re.search(r"lowers .*?from (\d+\.\d) to (\d+\.\d)", line).groups())
            assert after < before
        if line.startswith("Fine-tuning"):
            assert not any(f"**{layer}**" in line for layer in frozen)
        if "changed the leading directions" in line:
            free = compared[~compared["layer"].isin(frozen)].dropna(subset="overlap").set_index("layer")["overlap"].map(lambda x: round_share(x, 2))
            assert {x for x in free.index if f"**{x}**" in line} == set(free.index[free == free.min()]) and free.min() < 1
            assert (" most " in line) is bool(free.min() < free.max())
    assert [line for line in told if "Not measured" in line] == describe_missing(missing)
    assert len([x for x in told if "spread of the effective rank is at most" in x]) <= 1 and ("population" not in text)


@given(numbers())
@settings(max_examples=50, deadline=None)
def test_figures_are_told_without_nan_and_with_their_marks(made):
    table, _, compared, frozen = made
    told = describe_by_layer(table, "effective rank", frozen=frozen)
    if len(compared):
        told += describe_comparison(compared, frozen=frozen)
    assert "nan" not in told and "**" not in told
    assert told.count("(stand-in)") == sum(is_stand_in(name) for name in table["scenario"].unique())
    assert ("by construction" in told) is (bool(frozen) and "finetuned_own" in set(table["scenario"]))


@given(numbers())
@settings(max_examples=50, deadline=None)
def test_captions_do_not_contradict_their_numbers(made):
    table, certainty, compared, frozen = made
    if not len(certainty):
        return
    k95 = table.assign(k95=table["effective rank"].astype(int))
    told = [describe_rank_claims(table, certainty, frozen), describe_k(k95), describe_similarity_claims(compared, frozen) if len(compared) else []]
    text = " ".join(sum(told, []))
    assert not re.search(r"\b(nan|inf)\b", text) and all(line.endswith(".") and "  " not in line for line in sum(told, []))
    sure = [line for line in told[0] if "choice of images" in line]
    if {"finetuned_own", "imagenet_own"} <= set(table["scenario"]):
        rows = certainty[~certainty["layer"].isin(frozen)].set_index(["scenario", "layer"])
        both = rows.loc["finetuned_own"].join(rows.loc["imagenet_own", "effective rank"].rename("initial")).dropna(subset="ratio low") \
            if len(rows) else NO_ROWS
        moved = [layer for layer, row in both.iterrows() if round(row["effective rank"], 1) != round(row["initial"], 1)]
        apart = [layer for layer in moved if both.loc[layer, "ratio low"] > 1 or both.loc[layer, "ratio high"] < 1]
        beyond, within = (re.search(words, " ".join(sure)) for words in (
            "[Ii]n ([^;]*) the difference is larger than", "[Ii]n ([^;]*) the choice of images may explain"))
        assert len(sure) == bool(moved) and set(re.findall(r"\*\*(.*?)\*\*", beyond[1]) if beyond else []) == set(apart)
        assert set(re.findall(r"\*\*(.*?)\*\*", within[1]) if within else []) == set(moved) - set(apart)
    else:
        assert not sure
    assert not any(f"**{layer}**" in line for layer in frozen for line in told[2])


def test_captions_of_eigenvalues_and_halves():
    spectra = {"imagenet_own": {"a": spectrum(np.diag([3.0, 2.0, 1.0]))}, "random_own": {"a": spectrum(np.diag([1.0, 1.0, 1.0]))}}
    held, above = describe_leading(spectra, 1)
    first = spectra["imagenet_own"]["a"]
    share = first.all_eigenvalues[0] / first.trace
    assert held == f"Of the variance of **a**, the leading direction holds {share:.0%} in the ImageNet-initialised network, 50% in the network with random weights."
    number = int((first.all_eigenvalues > first.noise()).sum())
    assert above.startswith(f"In **a**, {number} of 2 eigenvalues of the ImageNet-initialised network exceed those of pure noise") and 0 < number < 2
    assert describe_leading(spectra)[0].startswith("Of the variance of **a**, the 2 leading directions hold 100% in the ImageNet-initialised network")  # no more than there are
    assert describe_leading({"imagenet_own": {"a": spectrum(np.ones((5, 3)))}}) == ["No scenario has any variance in **a**."]
    ranks = ranks_table({"imagenet_own": [3.0, 70.0], "random_own": [[2.0, 9.0], [2.0, 8.0]]}).rename(columns={"effective rank": "k95"})
    assert describe_k(ranks) == ["Directions that hold 95% of the variance of **layer1**: 70 in the ImageNet-initialised network, 9 in the network with random weights.",
                                 "From **layer0** to **layer1** the number of directions that hold 95% goes from 3 to 70 in the ImageNet-initialised network."]
    halves = pd.DataFrame({"scenario": ["imagenet_own"] * 2, "layer": ["a", "b"], "k": 10, "share of leading k": [1, 0.7], "in second half": [1, 0.5]})
    assert describe_held_out(halves) == ("In **b** of the ImageNet-initialised network, the 10 leading directions of one half of the images hold 70% of its "
                                         "variance and 50% of the other half's.")
    assert "has no variance to compare" in describe_held_out(halves.assign(**{"in second half": np.nan}))


def notebook():
    return json.loads((ROOT / "notebooks" / "03_feature_map_spectra.ipynb").read_text())


LIMITS = {"constant features": np.ones((12, 5)), "one direction": np.outer(rng(1).standard_normal(12), np.ones(5)),
          "one channel": rng(2).standard_normal((12, 1)), "noise": rng(3).standard_normal((12, 30))}


@pytest.mark.parametrize("kind", ["constant features", "one channel", *(pytest.param(kind, marks=pytest.mark.soak) for kind in ("one direction", "noise"))])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_notebook_03_at_the_limits_of_its_numbers(kind, tmp_path, monkeypatch, capsys):
    """Every cell, on one layer of given features: fine-tuned, initial, random (two draws), a stand-in and its control."""
    x = LIMITS[kind]
    images = ImageSet("noise", tmp_path, pd.DataFrame({"path": [f"{i}.png" for i in range(len(x))], "label": "a"}), "made up")
    model = nn.Sequential(nn.Conv2d(3, 5, 1))
    names = ["finetuned_own", "imagenet_own", "imagenet_digits", "random_own", "random_own_draw2", "imagenet_own_32px"]
    scenarios = {name: Scenario(name, model, {}, images, "") for name in names}
    state = StreamingCovariance()
    state.update(x)

    def measure(run, scenario, layers, **_):
        measured = Measured(x)
        measured.covariance = state
        return dict.fromkeys(layers, measured)
    monkeypatch.setattr("inside.feature_maps.own_images", lambda *_, **__: images)
    monkeypatch.setattr("inside.preflight.check", lambda *_: None)  # the networks are not those that the settings name
    monkeypatch.setattr("inside.feature_maps.open_scenarios", lambda *_, **__: (scenarios, {"imagenet_cifar10": "not here"}))
    monkeypatch.setattr("inside.feature_maps.scenario_statistics", measure)
    namespace = {"__name__": "__main__"}
    for cell in notebook()["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), namespace)
            if cell["metadata"].get("tags") == ["parameters"]:
                namespace |= {"RUN": str(tmp_path / "run"), "LAYERS": ["0"], "RESAMPLES": 10, "INTERACTIVE": False}
    found = json.loads((tmp_path / "run" / "03_results.json").read_text())["scenarios"]
    assert set(names) - {"random_own_draw2"} <= set(found) and found["imagenet_cifar10"] is None
    assert found["imagenet_own"]["0"]["effective_rank"] == pytest.approx(spectrum(x).effective_rank)
    assert "nan" not in " ".join(namespace["lines"]) and len(namespace["lines"]) > 4
    spread = {"spread low", "spread high"}
    assert spread <= set(pd.read_csv(tmp_path / "run" / "tables" / "certainty.csv"))


def test_values_that_are_no_numbers_are_named_before_anything_is_made_of_them():
    x = np.ones((12, 5))
    x[3:5, 1] = np.nan, np.inf
    told = "Layer 'a' of imagenet_own gives values that are NaN or infinite for 2 of 12 images, so it has no spectrum: choose other LAYERS or train"
    for measure in (covariance_difference, measure_spectra):
        with pytest.raises(ValueError, match=told):
            measure({"imagenet_own": {"a": Measured(x)}})


def test_frozen_layers_are_told_beside_the_figure_where_a_fine_tuned_network_is_shown():
    same = "Frozen, so that fine-tuned and initial network are identical there by construction: layer1."
    for scenario, words, told in (("finetuned_own", "the fine-tuned network", f" {same}"), ("imagenet_own", "the ImageNet-initialised network", "")):
        assert describe_by_layer(ranks_table({scenario: [1.0, 2.0]}), "effective rank", frozen=["layer1"]) == \
            f"effective rank in layer0, layer1: 1.0, 2.0 in {words}.{told}"
