"""Tests of inside/feature_maps/states.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from inside.feature_maps.states import NonPositiveCounts, StreamingCovariance
from shared.feature_maps import FEATURES, reference_covariance, rng


def test_dead_channels_are_those_without_a_positive_value():
    counts = NonPositiveCounts()
    #                       dead   fires  dead but for NaN  only NaN
    counts.update(np.array([[4, 3, 3, 0], [4, 4, 4, 0]]), 4, nan=np.array([[0, 0, 1, 4], [0, 0, 0, 4]]))
    assert counts.dead_channels.tolist() == [0, 2] and counts.images == {-1: 2} and counts.nan == 9
    assert counts.share_by_channel[:3].tolist() == [1, 7 / 8, 1] and np.isnan(counts.share_by_channel[3])
    assert NonPositiveCounts().total.shape == (3, 0) and np.isnan(NonPositiveCounts().share)
    with pytest.raises(ValueError, match="3 channels; expected 4"):
        counts.update(np.zeros((1, 3)), 4)


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("batch_size", [1, 7, 32, None])
def test_streamed_covariance_equals_numpy(name, batch_size):
    x = FEATURES[name]
    state = StreamingCovariance()
    for start in range(0, len(x), batch_size or len(x)):
        state.update(x[start:start + (batch_size or len(x))])
    covariance, expected = state.covariance(), reference_covariance(x)
    assert state.count == len(x) and covariance.dtype == np.float64
    scale = np.sqrt(np.outer(expected.diagonal(), expected.diagonal()))  # entry by entry, on its own scale
    assert (np.abs(covariance - expected) <= 1e-10 * scale).all()
    np.testing.assert_allclose(state.location(), x.mean(0), rtol=1e-13, atol=1e-13 * np.abs(x).max())
    if name not in ("huge offset", "one image"):  # NumPy's own error at an offset of 1e9 times the spread is larger
        plain = np.cov(x, rowvar=False, bias=True)
        assert np.linalg.norm(covariance - plain) <= 1e-10 * np.linalg.norm(plain) + 1e-30


@pytest.mark.parametrize("name", FEATURES)
def test_covariance_states_merge_in_any_order(name):
    x = FEATURES[name]
    parts = []
    for rows in np.array_split(rng().permutation(len(x)), min(4, len(x))):
        parts.append(StreamingCovariance())
        parts[-1].update(x[rows])
    parts[0].merge(StreamingCovariance())  # an empty part changes nothing
    total = StreamingCovariance()
    for part in reversed(parts):
        total.merge(part)
    expected = reference_covariance(x)
    scale = np.sqrt(np.outer(expected.diagonal(), expected.diagonal()))
    assert total.count == len(x) and (np.abs(total.covariance() - expected) <= 1e-10 * scale).all()
    assert parts[-1].count < len(x) or len(x) == 1  # merging leaves the merged parts as they were


VALUES = st.one_of(st.floats(-4, 4, width=32), st.sampled_from([0.0, 1e7, 1e7 + 1, -1e-20]))


@given(arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 4)), elements=VALUES), st.lists(st.integers(0, 12), max_size=5),
       st.integers(0, 99))
def test_any_batches_merged_in_any_order_give_the_covariance_of_all(x, cuts, seed):
    """Against the sums in exact order of the definition, entry by entry to rounding of the largest distance between two images."""
    chance, states = rng(seed), []
    for rows in np.split(chance.permutation(len(x)), sorted(min(cut, len(x)) for cut in cuts)):
        state = StreamingCovariance()
        for batch in np.array_split(rows, chance.integers(1, 4)):
            state.update(x[batch])
        states.append(state)
    total = states.pop(chance.integers(len(states)))
    for state in states:
        total.merge(state)
    centred = (x - x[0]) - (x - x[0]).mean(0)
    spread = np.ptp(x, axis=0)
    assert total.count == len(x) and np.allclose(total.location(), x.mean(0), rtol=1e-12, atol=1e-12)
    assert (np.abs(total.covariance() - centred.T @ centred / len(x)) <= 1e-12 * np.outer(spread, spread)).all()


def test_covariance_by_the_formula_of_two_images():
    state = StreamingCovariance()
    state.update([[0.0, 1.0], [2.0, 5.0]])
    assert state.covariance().tolist() == [[1.0, 2.0], [2.0, 4.0]] and state.location().tolist() == [1.0, 3.0]
    for bad, words in (([[1.0, np.nan]], "1 feature values are NaN"), ([[1.0, 2.0, 3.0]], "3 channels; expected 2"),
                       ([1.0, 2.0], "images, channels")):
        with pytest.raises(ValueError, match=words):
            state.update(bad)
    with pytest.raises(ValueError, match="0 vectors"):
        StreamingCovariance().covariance()
