"""Tests of inside/evaluation/metrics.py."""

import math

from inside.evaluation.metrics import class_metrics, metrics_summary
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
