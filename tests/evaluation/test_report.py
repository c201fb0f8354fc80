"""Tests of inside/evaluation/report.py."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from inside.evaluation.metrics import class_metrics, majority_baseline, metrics_summary
from inside.evaluation.predictions import prediction_table
from inside.evaluation.report import report_confusion, report_ranked, report_samples, report_scores

CLASSES = ["cats", "dogs"]


@pytest.fixture
def predictions(make_folder):
    """Twelve images with scores for cats that fall from 0.95 in steps; the first five are cats but one is called a dog."""
    make_folder({"cats": 6, "dogs": 6})
    paths = [f"cats/{number}.png" for number in range(6)] + [f"dogs/{number}.png" for number in range(6)]
    table = pd.DataFrame({"path": paths, "label": ["cats"] * 4 + ["dogs"] + ["cats"] + ["dogs"] * 6})
    scores = np.linspace(0.95, 0.05, 12)
    return prediction_table(table, np.stack([scores, 1 - scores], 1), np.zeros(12), CLASSES)


def test_scores_stand_beside_the_baseline(predictions):
    metrics = class_metrics(predictions, CLASSES)
    baseline = majority_baseline(predictions["label"], predictions["label"])
    text, figure = report_scores(metrics, metrics_summary(metrics, predictions), baseline)
    assert "overall accuracy **0.917** (0.583)" in text.markdown and "always saying “dogs”" in text.markdown
    assert figure.name == "class_metrics" and "cats 1.000" in figure.alt and len(figure.drawing.axes) == 2
    plt.close("all")


def test_the_confusion_matrix_and_its_sentence(predictions):
    figure, text = report_confusion(predictions, CLASSES)
    assert figure.name == "confusion" and text.markdown in figure.alt and "dogs taken for cats" in text.markdown
    plt.close("all")


def test_the_ten_highest_and_lowest_of_each_class(predictions, tmp_path):
    shown = report_ranked(predictions, tmp_path / "images", CLASSES, marks={})
    assert [part.name for part in shown[:-1]] == [f"ranked_{name}_{end}" for name in CLASSES for end in ("highest", "lowest")]
    assert shown[0].alt.index("cats/0.png") < shown[0].alt.index("cats/1.png") and "dogs/5.png" not in shown[0].alt
    assert shown[-1].markdown.splitlines() == [
        "- cats: 5 of the 10 highest are of the class (cats/4.png is dogs; dogs/0.png is dogs; dogs/1.png is dogs; dogs/2.png is dogs; "
        "dogs/3.png is dogs).",
        "- dogs: 7 of the 10 highest are of the class (cats/5.png is cats; cats/3.png is cats; cats/2.png is cats)."]
    plt.close("all")


def test_samples_are_as_many_as_the_grid_holds_and_the_same_for_a_seed(predictions, tmp_path):
    figure, text = report_samples(predictions, tmp_path / "images", [2, 3], seed=1, marks={})
    assert "6 test images drawn at random" in figure.alt and text.markdown.endswith("of these 6 are predicted right.")
    assert len([ax for ax in figure.drawing.axes if ax.get_visible()]) == 6
    again, _ = report_samples(predictions, tmp_path / "images", [2, 3], seed=1, marks={})
    other, _ = report_samples(predictions, tmp_path / "images", [2, 3], seed=2, marks={})
    captions = [[ax.get_xlabel() for ax in found.drawing.axes] for found in (figure, again, other)]
    assert captions[0] == captions[1] != captions[2]
    assert len(report_samples(predictions, tmp_path / "images", [5, 5], seed=1, marks={})[0].alt) > 0
    plt.close("all")
