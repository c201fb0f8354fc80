"""Tests of inside/feature_maps/similarity.py."""

import numpy as np
import pytest

from inside.feature_maps.similarity import cka_map, compare_features, linear_cka, subspace_overlap
from shared.feature_maps import rng


def test_subspace_overlap_at_known_answers():
    scale = np.array([9.0, 7, 5, 3, 2, 1])
    x = rng(13).standard_normal((500, 6)) * scale
    same = subspace_overlap(x, x * 3 + 100, 3)
    assert same.overlap == pytest.approx(1) and same.angles.max() < 1e-6 and same.chance == 0.5
    cross = np.vstack([np.eye(4), -np.eye(4)])
    a, b = cross * [5, 4, 1, 0.5], cross * [5, 1, 4, 0.5]  # share the first axis, differ in the second
    assert subspace_overlap(a, b, 2).overlap == pytest.approx(0.5)
    np.testing.assert_allclose(subspace_overlap(a, b, 2).angles, [0, np.pi / 2], atol=1e-7)
    np.testing.assert_allclose(subspace_overlap(a, cross * [1, 1, 5, 4], 2).overlap, 0, atol=1e-20)


def test_subspace_overlap_equals_its_definition_and_chance():
    a, b = rng(14).standard_normal((40, 90)), rng(15).standard_normal((50, 90))
    va, vb = (np.linalg.eigh(np.cov(x, rowvar=False, bias=True))[1][:, ::-1][:, :6] for x in (a, b))
    cosines = np.linalg.svd(va.T @ vb, compute_uv=False)
    np.testing.assert_allclose(subspace_overlap(a, b, 6).angles, np.arccos(cosines), rtol=1e-6)
    assert subspace_overlap(a, b, 6).overlap == pytest.approx((cosines**2).mean())
    chance = [subspace_overlap(rng(s).standard_normal((30, 40)), rng(s + 99).standard_normal((30, 40)), 8)
              for s in range(30)]
    assert np.mean([o.overlap for o in chance]) == pytest.approx(chance[0].chance, rel=0.05)
    for m in (0, 40):
        with pytest.raises(ValueError, match=f"m is {m}; expected 1 to the rank of the features, 39"):
            subspace_overlap(a, b, m)
    with pytest.raises(ValueError, match="90 and 5 channels"):
        subspace_overlap(a, rng().standard_normal((50, 5)), 2)


def test_equal_spaces_and_layers_with_fewer_channels_than_directions():
    """Equal spaces have angles of 0 (an arccos of cosines near 1 has 1e-8 there); m is lowered to what a layer has."""
    few, other = rng(16).standard_normal((50, 3)), rng(17).standard_normal((50, 3))
    same = subspace_overlap(few, few * -2 + 5, 2)
    assert same.angles.max() < 1e-12 and same.overlap == pytest.approx(1, abs=1e-12)
    lowered = compare_features(few, other, 10)
    assert lowered["m"] == 3 and lowered["overlap"] == pytest.approx(1) and lowered["overlap by chance"] == 1


def unbiased_hsic(k, l):  # noqa: E741
    """Song et al. 2012, equation 5, word for word."""
    n, one = len(k), np.ones(len(k))
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    return (np.trace(k @ l) + (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ l @ one)) / (n * (n - 3))


def test_the_map_of_cka_equals_its_definition_pair_by_pair():
    first = [rng(seed).standard_normal((30, channels)) * 5 + 3 for seed, channels in ((1, 3), (2, 40), (3, 90))]
    second = [np.tanh(first[0] / 5) @ rng(4).standard_normal((3, 8)), rng(5).standard_normal((30, 60))]
    found = cka_map(first, second)
    assert found.shape == (3, 2)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            x, y = a @ a.T, b @ b.T  # not centred: the unbiased HSIC does not depend on it
            wanted = unbiased_hsic(x, y) / np.sqrt(unbiased_hsic(x, x) * unbiased_hsic(y, y))
            assert found[i, j] == pytest.approx(wanted, abs=1e-9) and found[i, j] == pytest.approx(linear_cka(a, b), abs=1e-12)
    assert np.diag(cka_map(first, [2 * x - 7 for x in first])) == pytest.approx(1)
    assert np.isnan(cka_map([np.full((30, 4), 1 / 3)], second)).all()


def test_the_map_of_cka_needs_the_same_images():
    with pytest.raises(ValueError, match=r"\[5, 6\] images; expected the same 4 or more"):
        cka_map([np.eye(5)], [np.eye(6)])
    with pytest.raises(ValueError, match=r"\[3\] images"):
        cka_map([np.eye(3)], [np.eye(3)])
