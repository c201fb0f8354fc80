"""Linear probes against scikit-learn used directly, and the test that compares two of them."""

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from inside.feature_maps.probes import paired_p_value, probe
from shared.feature_maps import rng


@pytest.mark.parametrize("channels", [5, 200])
def test_a_probe_is_scikit_learns_regression_on_standardised_features(channels):
    """With more channels than images it is found in the space of the images: the same classes."""
    labels = np.array(["a", "b", "c"])[rng(1).integers(0, 3, 160)]
    features = rng(2).standard_normal((160, channels)) * rng(3).uniform(0.1, 9, channels) + 50
    features[:, 0] += 8 * (labels == "b")
    features[:, 1] -= 5 * (labels == "c")
    features[:, 2] = 1 / 3  # a dead channel
    learnt, val = features[:60], features[60:]
    mean, deviation = learnt.mean(0), learnt.std(0)
    deviation[2] = 1
    model = LogisticRegression(max_iter=5000, tol=1e-8).fit((learnt - mean) / deviation, labels[:60])
    found = probe(learnt, labels[:60], val)
    assert (found == model.predict((val - mean) / deviation)).mean() >= 0.99  # two solvers may differ in a tie
    assert (found == labels[60:]).mean() == pytest.approx(model.score((val - mean) / deviation, labels[60:]), abs=0.011)


def test_the_test_of_paired_hits_is_the_binomial_one():
    right, other = np.zeros(40, bool), np.zeros(40, bool)
    right[:12], other[10:13] = True, True  # ten images only the first, one only the second
    two_sided = 2 * sum(math.comb(11, k) for k in (0, 1)) / 2**11
    assert paired_p_value(right, other) == pytest.approx(two_sided) == paired_p_value(other, right)
    assert paired_p_value(right, right) == 1
