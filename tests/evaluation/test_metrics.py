"""Tests of inside/evaluation/metrics.py."""

import math

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from inside.evaluation.metrics import class_metrics, metrics_summary
from inside.evaluation.predictions import top_and_bottom
from shared.training import CLASSES, predictions_of


def test_metrics_at_known_answers():
    labels = ["a", "a", "a", "a", "b", "b"]
    scores = [[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.35, 0.65], [0.7, 0.3]]
    metrics = class_metrics(predictions_of(labels, scores, ["a", "b"]), ["a", "b"]).set_index("class")
    assert metrics.loc["a", "accuracy"] == 0.75 and metrics.loc["b", "accuracy"] == 0.5
    assert metrics.iloc[-1]["accuracy"] == 0.625 and metrics.loc["a", "support"] == 4
    # ranked by a: .9 a, .8 a, .7 b, .6 a, .35 b, .3 a -> (1 + 1 + 3/4 + 4/6) / 4
    assert math.isclose(metrics.loc["a", "average_precision"], (1 + 1 + 3 / 4 + 4 / 6) / 4)
    assert (metrics["accuracy_low"] <= metrics["accuracy"]).all() and (metrics["accuracy"] <= metrics["accuracy_high"]).all()


def test_a_class_without_images_has_no_number_and_leaves_the_mean():
    labels = ["a", "a", "b", "b"]
    scores = [[0.9, 0.05, 0.05], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1]]
    metrics = class_metrics(predictions_of(labels, scores, CLASSES), CLASSES).set_index("class")
    assert metrics.loc["c"].drop("support").isna().all() and metrics.iloc[-1]["accuracy"] == 0.75
    assert metrics.iloc[-1][["accuracy_low", "average_precision_high"]].notna().all()
    assert metrics_summary(metrics.reset_index(), predictions_of(labels, scores, CLASSES))["accuracy"] == 0.75


@st.composite
def scored(draw):
    """Predictions of up to four classes, few different scores: many ties, perhaps all the same, perhaps all of one class."""
    k, n = draw(st.integers(2, 4)), draw(st.integers(1, 14))
    labels = draw(st.lists(st.sampled_from("abcd"[:k]), min_size=n, max_size=n))
    rows = draw(st.lists(st.lists(st.integers(0, 3), min_size=k, max_size=k).filter(any), min_size=n, max_size=n))
    scores = np.array(rows, dtype=float) / np.sum(rows, axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        return predictions_of(labels, scores, list("abcd"[:k])), draw(st.permutations(range(n)))


def average_precision(positive, score):
    """The definition: precision at each score, weighted by the recall that images of this score add; equal ones count at once."""
    found, before = 0.0, 0.0
    for level in sorted(set(score), reverse=True):
        taken = [hit for hit, value in zip(positive, score, strict=True) if value >= level]
        recall = sum(taken) / sum(positive)
        found, before = found + (recall - before) * sum(taken) / len(taken), recall
    return found


@settings(max_examples=40)
@given(scored())
def test_ties_count_at_once_whatever_the_order_of_the_images(drawn):
    predictions, order = drawn
    classes = [column.removeprefix("prob_") for column in predictions if column.startswith("prob_")]
    metrics, turned = (class_metrics(table, classes).set_index("class") for table in (predictions, predictions.iloc[order]))
    pd.testing.assert_frame_equal(metrics, turned)
    for name in classes:
        positive, score = (predictions["label"] == name).tolist(), predictions[f"prob_{name}"].tolist()
        value = metrics.loc[name, "average_precision"]
        assert math.isnan(value) if not any(positive) else math.isclose(value, average_precision(positive, score))
        assert not any(positive) or math.isclose(value, average_precision_score(positive, score))
        highest, lowest = top_and_bottom(predictions, name, n=4)
        ranked = sorted(zip([-s for s in score], predictions["path"], strict=True))
        assert highest["path"].tolist() == [path for _, path in ranked[:4]] and lowest["path"].tolist() == [path for _, path in ranked[-4:]]
        for one, other in zip(top_and_bottom(predictions.iloc[order], name, n=4), (highest, lowest), strict=True):
            pd.testing.assert_frame_equal(one, other)
