"""Tests of inside/many_runs/compare/paired.py."""

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_ind

from inside.many_runs.compare.paired import holm, one_sided, paired_differences, resampled_means, setting_difference


def drawn(only_first, only_second, n, seed):
    """Hits of two networks on n images: which chance it has that only the one, and only the other, is right."""
    kind = np.random.default_rng(seed).choice(3, n, p=[only_first, only_second, 1 - only_first - only_second])
    return kind != 1, kind != 0


def test_the_difference_is_that_of_the_means():
    label = np.array(["a"] * 4 + ["b"] * 16)
    first, second = np.ones(20, bool), np.ones(20, bool)
    second[[0, 1, 4]] = False
    by_class, overall = paired_differences(first, second, label, np.arange(20))
    assert by_class.value == pytest.approx((2 / 4 + 1 / 16) / 2) and overall.value == pytest.approx(3 / 20)
    turned, _ = paired_differences(second, first, label, np.arange(20))
    assert turned.value == -by_class.value and turned.low < turned.value < turned.high and by_class.low <= by_class.value <= by_class.high


def test_the_interval_is_that_of_the_textbook_for_many_images():
    first, second = drawn(0.1, 0.05, 4000, 1)
    (value, low, high), _ = paired_differences(first, second, ["a"] * 4000, np.arange(4000))
    error = (first.astype(float) - second).std() / 4000 ** 0.5
    assert low == pytest.approx(value - 1.96 * error, abs=0.1 * error) and high == pytest.approx(value + 1.96 * error, abs=0.1 * error)


def test_the_interval_covers():
    """Of 200 simulations of six classes, equal and unequal networks, at least as many as nine in ten hold the truth; 95% are expected."""
    label, held = np.repeat(np.arange(6), 20), 0
    for seed in range(200):
        truth = (0.06, 0.06) if seed % 2 else (0.1, 0.03)
        (_, low, high), _ = paired_differences(*drawn(*truth, 120, seed), label, np.arange(120), seed=seed)
        held += low <= truth[0] - truth[1] <= high
    assert binomtest(held, 200, 0.95).pvalue > 1e-3, held


def test_no_discordant_image_is_no_certainty():
    hits = np.ones(30, bool)
    (value, low, high), _ = paired_differences(hits, hits, np.repeat([0, 1], 15), np.arange(30))
    assert value == 0 and -0.15 < low < 0 < high < 0.15


def test_copies_of_a_picture_stay_together():
    first, second = drawn(0.15, 0.05, 50, 3)
    copied, units = np.repeat(np.arange(50), 8), np.repeat(np.arange(50), 8)
    label = ["a"] * 400
    wide, narrow = (paired_differences(first[copied], second[copied], label, each)[0] for each in (units, np.arange(400)))
    assert 2.2 < (wide.high - wide.low) / (narrow.high - narrow.low) < 3.6  # about the square root of 8 copies
    assert wide == pytest.approx(paired_differences(first, second, ["a"] * 50, np.arange(50))[0])
    assert one_sided(first[copied], second[copied], units) == one_sided(first, second, np.arange(50))


def test_equal_networks_are_rarely_told_apart():
    """100 pairs of networks of equal accuracy: no more differ than a level of 5% allows within binomial error."""
    told = sum(one_sided(*drawn(0.08, 0.08, 400, seed), np.arange(400))[2] < 0.05 for seed in range(100))
    assert binomtest(told, 100, 0.05, alternative="greater").pvalue > 0.01, told
    assert sum(one_sided(*drawn(0.12, 0.04, 400, seed), np.arange(400))[2] < 0.05 for seed in range(100)) > 90


def test_mcnemar_by_hand():
    first, second = np.array([1, 1, 1, 1, 1, 1, 0, 1]), np.array([0, 0, 0, 0, 0, 0, 1, 1])
    assert one_sided(first, second, np.arange(8)) == (6, 1, pytest.approx(2 * (1 + 7) / 2 ** 7))
    assert one_sided(first, first, np.arange(8)) == (0, 0, 1.0)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]).tolist() == [1, 1] and len(holm([])) == 0


def test_the_difference_of_settings_is_that_of_welch():
    first, second = [0.91, 0.93, 0.92, 0.95], [0.90, 0.86, 0.88]
    (value, low, high), p = setting_difference(first, second)
    wanted = ttest_ind(first, second, equal_var=False)
    assert p == pytest.approx(wanted.pvalue) and (low, high) == pytest.approx(tuple(wanted.confidence_interval())) and value > 0


def test_other_images_widen_it():
    scores = [0.91, 0.93, 0.92], [0.90, 0.89, 0.88]
    gain = drawn(0.1, 0.05, 300, 0)[0].astype(float) - drawn(0.1, 0.05, 300, 0)[1]
    variance = resampled_means(gain, ["a"] * 300, np.arange(300))[0].var()
    assert variance == pytest.approx(gain.var() / 300, rel=0.1)
    (_, low, _), p = setting_difference(*scores)
    (_, wider, _), more = setting_difference(*scores, variance)
    assert p < 0.05 < more and wider < 0 < low


@pytest.mark.parametrize("scores", [([0.9], [0.8, 0.7]), ([0.9, 0.9], [0.8, 0.8])])
def test_nothing_is_said_without_a_spread(scores):
    (value, low, high), p = setting_difference(*scores)
    assert np.isnan([low, high]).all() and p == 1 and value > 0


def test_equal_settings_are_rarely_told_apart():
    """Two seeds each or five, of equal settings whose seeds differ more than images, or less."""
    rng = np.random.default_rng(0)
    for seeds, spread in ((2, 0.02), (2, 0.002), (5, 0.02)):
        told = 0
        for _ in range(200):
            images = rng.normal(0, 0.01)
            first, second = rng.normal(0.9, spread, seeds) + images, rng.normal(0.9, spread, seeds)
            told += setting_difference(first, second, 0.01 ** 2)[1] < 0.05
        assert binomtest(told, 200, 0.05, alternative="greater").pvalue > 0.01, (seeds, spread, told)
