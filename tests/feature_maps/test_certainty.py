"""Tests of inside/feature_maps/certainty.py."""

import numpy as np
import pytest

from inside.feature_maps.certainty import bootstrap_spectrum, split_half
from inside.feature_maps.spectra import spectrum
from shared.feature_maps import rng


def test_bootstrap_agrees_with_drawing_the_images_and_covers_the_estimate():
    x = rng(8).standard_normal((30, 50)) * np.linspace(3, 0.1, 50)
    boot = bootstrap_spectrum(x, n_resamples=60, n_leading=4, seed=5)
    generator, expected = rng(5), []
    for _ in range(60):
        counts = generator.multinomial(30, np.full(30, 1 / 30))
        expected.append(spectrum(np.repeat(x, counts, axis=0)))
    np.testing.assert_allclose(boot.eigenvalues, [s.eigenvalues[:4] for s in expected], rtol=1e-9)
    np.testing.assert_allclose(boot.effective_rank, [s.effective_rank for s in expected], rtol=1e-9)
    assert boot.eigenvalues[:, 0].mean() > boot.estimate.eigenvalues[0]  # the upward bias that is documented
    low, high = boot.eigenvalue_spread()
    assert (low < boot.estimate.eigenvalues[:4]).all() and (boot.estimate.eigenvalues[:4] < high).all()
    low, high = boot.effective_rank_spread()
    assert low < boot.estimate.effective_rank < high
    again = bootstrap_spectrum(x, n_resamples=60, n_leading=4, seed=5)
    assert np.array_equal(boot.eigenvalues, again.eigenvalues)
    assert not np.array_equal(boot.eigenvalues, bootstrap_spectrum(x, n_resamples=60, n_leading=4).eigenvalues)


def test_bootstrap_error_of_a_variance_is_that_of_the_textbook():
    """One channel: the standard error of the variance of a normal sample is sqrt(2/N) times the variance."""
    boot = bootstrap_spectrum(rng(9).standard_normal((2000, 1)), n_resamples=400, n_leading=3)
    assert boot.eigenvalues.shape == (400, 1)
    assert boot.eigenvalues.std() == pytest.approx(np.sqrt(2 / 2000), rel=0.15)
    assert bootstrap_spectrum(np.ones((1, 4))).eigenvalues.shape == (200, 0)
    with pytest.raises(ValueError, match="n_resamples is 1"):
        bootstrap_spectrum(np.eye(3), n_resamples=1)


def test_split_half():
    x = rng(10).standard_normal((201, 40))
    halves = split_half(x, seed=3)
    assert halves.first.images == halves.second.images == 100
    # pure noise: the first direction holds far more than 1 in the half that chose it and about 1 in the other
    assert halves.first.eigenvalues[0] > 2 and abs(halves.held_out[:10].mean() - 1) < 0.15
    assert np.array_equal(halves.held_out, split_half(x, seed=3).held_out)
    one_direction = np.outer(rng(11).standard_normal(200), np.ones(300))
    strong = split_half(one_direction + 1e-3 * rng(12).standard_normal((200, 300)))
    assert strong.held_out[0] == pytest.approx(strong.second.eigenvalues[0], rel=1e-3)
    with pytest.raises(ValueError, match="3 images"):
        split_half(np.eye(3))
