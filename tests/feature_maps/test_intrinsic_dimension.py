"""TwoNN on manifolds of known dimension, and what its spread covers."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from inside.feature_maps.intrinsic_dimension import FEWEST, two_nn
from shared.feature_maps import rng


def sheet(n, seed=0):
    """A curved two-dimensional sheet in 50 dimensions."""
    u = rng(seed).uniform(size=(n, 2))
    return np.column_stack([u, 0.3 * np.sin(3 * u[:, 0])]) @ np.linalg.qr(rng(99).standard_normal((50, 3)))[0].T


def ball(n, seed=0):
    """A solid five-dimensional ball in 50 dimensions."""
    x = rng(seed).standard_normal((n, 5))
    x *= rng(seed + 1000).uniform(size=(n, 1)) ** (1 / 5) / np.linalg.norm(x, axis=1, keepdims=True)
    return x @ np.linalg.qr(rng(98).standard_normal((50, 5)))[0].T


@pytest.mark.parametrize("manifold, dimension, off", [(sheet, 2, 0.1), (ball, 5, 0.45)])
def test_known_manifolds(manifold, dimension, off):
    found = [two_nn(manifold(600, seed)) for seed in range(6)]
    mean = np.mean([one.value for one in found])
    assert abs(mean - dimension) < off
    assert all(one.low < one.value < one.high and abs(one.value / dimension - 1) < 0.2 for one in found)
    scaled = two_nn(manifold(600) * 1e-3 + 1e4)  # neither scale nor place matters
    assert scaled.value == pytest.approx(found[0].value, rel=1e-5)


def test_the_spread_covers_the_mean_estimate_at_this_number_of_points():
    found = [two_nn(sheet(150, seed)) for seed in range(200)]
    mean = np.mean([one.value for one in found])
    assert 0.90 <= np.mean([one.low <= mean <= one.high for one in found]) <= 0.985


def test_the_fit_of_the_paper_agrees():
    """-ln(1 - F) against ln(r2/r1), a line through the origin, without the largest tenth: Facco et al. 2017."""
    for points in (sheet(1000), ball(1000)):
        distances = NearestNeighbors(n_neighbors=2).fit(points).kneighbors()[0]
        x = np.sort(np.log(distances[:, 1] / distances[:, 0]))[:900]
        y = -np.log(1 - np.arange(1, 901) / 1000)
        assert two_nn(points).value == pytest.approx((x @ y) / (x @ x), rel=0.06)


def test_a_few_outlying_ratios_matter_little():
    """Pairs that lie close together, as near copies do, have huge ratios."""
    points = sheet(500)
    points[:5] = points[5:10] + 1e-6
    assert two_nn(points).value == pytest.approx(two_nn(points[5:]).value, rel=0.1)
    assert two_nn(points, beyond=0).value < 0.85 * two_nn(points).value


def test_copies_count_once_and_too_few_points_not_at_all():
    points = ball(100)
    again = two_nn(np.vstack([points, points[:40], points[:40]]))
    assert again == pytest.approx(two_nn(points), rel=1e-9)
    few = two_nn(points[:FEWEST - 1])
    assert np.isnan(few).all() and np.isfinite(two_nn(points[:FEWEST])).all()
    assert np.isnan(two_nn(np.ones((50, 3)))).all()
    grid = two_nn(np.arange(30.0)[:, None])  # all ratios inside are 1: no dimension follows
    assert np.isnan(grid.value) or grid.value > 0
