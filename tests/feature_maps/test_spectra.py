"""Tests of inside/feature_maps/spectra.py."""


import numpy as np
import pytest
import scipy.integrate

from inside.feature_maps.spectra import covariance_difference, marchenko_pastur, measure_spectra, spectrum, trace_difference
from inside.feature_maps.states import StreamingCovariance
from inside.feature_maps.statistics import LayerStatistics
from shared.feature_maps import FEATURES, reference_covariance, rng


def measured(name, batch=7):
    """Statistics of a layer with given features, its covariance accumulated in minibatches."""
    state = LayerStatistics(name, 1, pooled=[FEATURES[name]])
    for start in range(0, len(FEATURES[name]), batch):
        state.covariance.update(FEATURES[name][start:start + batch])
    return state


def test_claims_about_covariance_and_trace_hold_and_can_fail():
    statistics = {"own": {name: measured(name) for name in FEATURES if name != "one image"}}
    spectra = measure_spectra(statistics, top_k=2)
    assert list(spectra["own"]) == list(statistics["own"]) and {s.top_k for s in spectra["own"].values()} == {2}
    assert covariance_difference(statistics) < 1e-10 and trace_difference(spectra, statistics) < 1e-9
    statistics["own"]["plain"].covariance.update(np.ones((1, 12)))  # an image more than the features have
    assert covariance_difference(statistics) > 1e-3 and trace_difference(spectra, statistics) > 1e-3
    statistics["own"]["plain"].covariance.scatter *= np.nan
    assert np.isnan(covariance_difference(statistics)) and np.isnan(trace_difference(spectra, statistics))  # no claim holds then


@pytest.mark.parametrize("name", FEATURES)
def test_eigenvalues_equal_eigvalsh(name):
    x = FEATURES[name]
    n, c = x.shape
    reference = np.linalg.eigvalsh(reference_covariance(x))[::-1]
    state = StreamingCovariance()
    state.update(x)
    for source in (x, state):
        s = spectrum(source)
        values = s.eigenvalues
        assert values.dtype == np.float64 and (values >= 0).all() and (np.diff(values) <= 0).all()
        assert len(values) == s.rank_bound == min(c, n - 1)
        above = reference[:len(values)] > 1e-9 * reference[:1].sum()
        np.testing.assert_allclose(values[above], reference[:len(values)][above], rtol=1e-8)
        np.testing.assert_allclose(values, reference[:len(values)].clip(min=0), atol=1e-12 * (reference[0] or 1e-30))
        assert s.trace == pytest.approx(values.sum(), rel=1e-9)


def test_spectrum_at_known_answers():
    x = np.vstack([np.eye(4), -np.eye(4)]) * [4, 2, 2, 0]  # variances 4, 1, 1, 0
    s = spectrum(x, top_k=2)
    np.testing.assert_allclose(s.all_eigenvalues, [4, 1, 1, 0], atol=1e-15)
    assert s.eigenvalues.tolist() == s.all_eigenvalues[:2].tolist() and s.trace == pytest.approx(6)
    assert s.effective_rank == pytest.approx(np.exp(np.log(6) - 4 * np.log(4) / 6))
    assert s.participation_ratio == pytest.approx(36 / 18)
    assert [s.k_for(share) for share in (0.5, 4 / 6, 0.7, 5 / 6, 0.95, 1.0)] == [1, 1, 2, 2, 3, 3]
    assert (s.k95, s.k99, s.rank_bound) == (3, 3, 4)
    np.testing.assert_allclose(s.cumulative_share, [4 / 6, 5 / 6, 1, 1])
    even = spectrum(np.vstack([np.eye(5), -np.eye(5)]))
    assert even.effective_rank == pytest.approx(5) and even.participation_ratio == pytest.approx(5)


def test_spectrum_without_variance_and_errors():
    for x, bound in ((np.full((9, 4), 0.1), 4), (np.ones((1, 4)), 0)):
        s = spectrum(x)
        assert s.eigenvalues.tolist() == [0.0] * bound and s.trace == 0
        assert (s.effective_rank, s.participation_ratio, s.k95) == (0.0, 0.0, 0)
        assert s.noise().tolist() == [0.0] * bound
    for bad, words in ((np.zeros((0, 3)), "0 images"), (np.zeros(3), "images, channels"),
                       (np.array([[np.inf, 1.0]]), "NaN or infinite")):
        with pytest.raises(ValueError, match=words):
            spectrum(bad)
    with pytest.raises(ValueError, match="top_k is 0"):
        spectrum(np.eye(3), top_k=0)
    with pytest.raises(ValueError, match="share is 95"):
        spectrum(np.eye(3)).k_for(95)


@pytest.mark.parametrize("n, c", [(401, 100), (201, 200), (101, 800), (2001, 3)])
def test_marchenko_pastur_against_simulated_noise(n, c):
    simulated = np.mean([spectrum(rng(s).standard_normal((n, c)) * 2).all_eigenvalues for s in range(4)], axis=0)
    law = marchenko_pastur(n, c, simulated.sum())
    assert len(law) == min(c, n - 1) and (np.diff(law) <= 0).all() and law.sum() == pytest.approx(simulated.sum())
    assert np.abs(law - simulated).max() < (0.03 if c > 3 else 0.1) * simulated[0]
    edge = 4 * (1 + np.sqrt(c / (n - 1))) ** 2
    assert law[0] <= edge and law[0] > 0.8 * edge


def test_marchenko_pastur_closed_forms():
    """Ratio 1 and variance 1: the density is sqrt((4-x)/x)/2π, so half of it lies below the middle value."""
    law = marchenko_pastur(4002, 4001, 4001.0)
    density = scipy.integrate.quad(lambda x: np.sqrt((4 - x) / x) / (2 * np.pi), 0, law[2000])[0]
    assert density == pytest.approx(0.5, abs=1e-3)
    np.testing.assert_allclose(marchenko_pastur(10**9, 3, 6.0), 2.0, rtol=1e-3)
    assert marchenko_pastur(1, 5, 0.0).size == 0
    with pytest.raises(ValueError, match="-1"):
        marchenko_pastur(5, 5, -1)
