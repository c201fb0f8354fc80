"""Tests of inside/feature_maps/certainty.py."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from inside.feature_maps.certainty import bootstrap_spectrum, rank_ratio_spread, split_half
from inside.feature_maps.similarity import compare_features, subspace_overlap
from inside.feature_maps.spectra import spectrum
from inside.feature_maps.spectra_tables import eigenvalue_table
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


def test_the_ratio_of_two_networks_on_the_same_images_is_more_certain_than_either_rank():
    """Two networks whose features differ in their spectra, and that of a network to a turned copy of itself."""
    decays, generator, apart, overlap, equal = (np.arange(1.0, 41) ** -power for power in (0.5, 0.54)), rng(20), 0, 0, 0
    first, second = decays
    turn = np.linalg.qr(generator.standard_normal((40, 40)))[0]
    for seed in range(60):
        x = generator.standard_normal((100, 40))
        boots = [bootstrap_spectrum(x * decay, n_resamples=60, seed=seed) for decay in (first, second)]
        boots.append(bootstrap_spectrum(x * first @ turn, n_resamples=60, seed=seed))
        low, high = rank_ratio_spread(*boots[:2])
        assert low < boots[0].estimate.effective_rank / boots[1].estimate.effective_rank < high
        apart += low > 1
        overlap += boots[1].effective_rank_spread()[1] > boots[0].effective_rank_spread()[0]
        low, high = rank_ratio_spread(boots[0], boots[2])
        equal += low == pytest.approx(1) and high == pytest.approx(1)
    assert apart >= 57 and overlap >= 30 and equal == 60
    other = bootstrap_spectrum(x[:99], n_resamples=60)
    with pytest.raises(ValueError, match="There are 100 and 99 images"):
        rank_ratio_spread(boots[0], other)
    assert np.isnan(rank_ratio_spread(boots[0], bootstrap_spectrum(np.ones((100, 4)), n_resamples=60))).all()


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


def test_rounding_is_no_direction():
    """Grey images through a 3×3 convolution of 64 channels: nine directions, however many float64 sees in features of float32."""
    grey = torch.tensor(rng(13).random((120, 1, 12, 12)), dtype=torch.float32).expand(-1, 3, -1, -1)
    weight = torch.tensor(rng(14).standard_normal((64, 3, 3, 3)), dtype=torch.float32)
    features = functional.conv2d(grey, weight, stride=2).mean((2, 3)).numpy()
    assert np.linalg.matrix_rank((features - features.mean(0)).astype(float)) > 9
    assert split_half(features).found_again <= 9
    assert compare_features(features, features * 2, 20)["m"] == 9
    with pytest.raises(ValueError, match="expected 1 to the rank of the features, 9"):
        subspace_overlap(features, features, 10)
    table = eigenvalue_table({"imagenet_own": {"conv": spectrum(features)}}, first=12)
    assert (table.iloc[0, 2:11].astype(float) > 0).all() and table.iloc[0, 11:].tolist() == [0, 0, 0] and (spectrum(features).eigenvalues[:12] > 0).all()
