"""Tests of inside/evaluation/report.py."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from inside.evaluation.describe import (
    describe_classes,
    describe_confidence,
    describe_confused_pair,
    describe_evaluation,
    describe_lowest,
    describe_ranges,
    describe_reloaded,
    describe_scores,
)
from inside.evaluation.metrics import class_metrics, majority_baseline, metrics_summary
from inside.evaluation.plots import plot_class_metrics
from inside.evaluation.predictions import prediction_table
from inside.evaluation.report import report_confusion, report_metrics, report_ranked, report_samples, report_scores

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
    figure, text = report_scores(metrics, metrics_summary(metrics, predictions), baseline)
    assert "overall accuracy **0.917** (0.583)" in text.markdown and "always predicts “dogs”" in text.markdown
    assert figure.name == "class_metrics" and "cats 1.000" in figure.alt and len(figure.drawing.axes) == 1
    assert figure.caption.startswith("Accuracy ranges from 0.857 (dogs) to 1.000 (cats)")
    plt.close("all")


def test_nearly_all_is_not_all(predictions):
    """An average precision of 0.9996 beside one of 1, and an accuracy of 0.0004 beside one of 0, as they are."""
    metrics = class_metrics(predictions, CLASSES).assign(average_precision=[0.9996, 1, 0.9998], accuracy=[0.0004, 0, 0.0002])
    told = describe_ranges(metrics)
    assert told == "Accuracy ranges from 0.000 (dogs) to 0.0004 (cats); average precision ranges from 0.9996 (cats) to 1.000 (dogs)."
    assert describe_classes(metrics).startswith("cats 0.0004 and 0.9996; dogs 0.000 and 1.000")
    axes = plot_class_metrics(metrics)
    assert {"0.9996", "1.000", "0.0004"} <= {text.get_text() for text in axes.texts}
    plt.close("all")


@pytest.mark.parametrize("train, told", [
    ("ccde", "“c”, the most frequent class of training"), ("ddcce", "“c”, the first by name of the 2 classes that tie as the most frequent of training"),
    ("edc", "“c”, the first by name of the 3 classes that tie as the most frequent of training")])
def test_classes_that_tie_for_the_most_frequent(predictions, train, told):
    metrics, baseline = class_metrics(predictions, CLASSES), majority_baseline(list(train), predictions["label"])
    assert f"always predicts {told}." in describe_scores(metrics_summary(metrics, predictions), baseline)
    lines = describe_evaluation({"val": metrics, "test": metrics}, baseline, conflicts=0, bad=0, drawn=False)
    assert f"Always predicting {told}, gives" in lines[0]


def test_the_confusion_matrix_and_its_sentence(predictions):
    figure, text = report_confusion(predictions, CLASSES)
    assert figure.name == "confusion" and "dogs is taken for cats once, the only error on test." in figure.alt
    assert figure.caption.startswith("dogs is taken for cats once") and text.markdown == describe_confused_pair(predictions)
    plt.close("all")


def test_the_ten_highest_over_the_ten_lowest_of_each_class(predictions, tmp_path):
    shown = report_ranked(predictions, tmp_path / "images", CLASSES, marks={})
    assert [getattr(part, "name", "text") for part in shown] == ["ranked_cats", "text", "ranked_dogs", "text"]
    high, low = shown[0].alt.split("With the 10 lowest")
    assert high.index("cats/0.png") < high.index("cats/1.png") and "dogs/5.png" not in high and low.index("dogs/5.png") < low.index("dogs/4.png")
    names = [ax.get_xlabel().split("\n")[0] for ax in shown[0].drawing.axes]
    order = [*(f"cats/{number}" for number in range(4)), "cats/4", "cats/5", *(f"dogs/{number}" for number in range(6))]
    assert names == [*order[:10], *order[:1:-1]]
    assert shown[0].drawing.axes[4].get_xlabel() == "cats/4\n0.623 → cats" and shown[0].drawing.axes[4].texts[0].get_text() == "✗"
    assert shown[0].caption.startswith(
        "5 of the 10 highest scores for cats belong to images of that class (cats/4.png is dogs; dogs/0.png is dogs; dogs/1.png is dogs; "
        "dogs/2.png is dogs; dogs/3.png is dogs).")
    assert shown[2].caption.startswith("7 of the 10 highest scores for dogs belong to images of that class (cats/5.png is cats; ")
    assert shown[1].markdown == ("The image of cats with the lowest score is cats/5.png, at place 6 of 12: 1 image of another class stands above it. "
                                 "It is predicted as cats, which is correct.")
    assert shown[3].markdown.startswith("The image of dogs with the lowest score is cats/4.png, at place 8 of 12: 1 image of another class")
    assert shown[3].markdown.endswith("It is predicted as cats, an error.")
    plt.close("all")


def test_few_images_fill_one_row_each(predictions, tmp_path):
    figure, _ = report_ranked(predictions.head(3), tmp_path / "images", ["cats"], marks={})
    assert len(figure.drawing.axes) == 6 and "the 3 highest scores" in figure.alt
    assert figure.caption.startswith("All 3 highest scores for cats belong to images of that class. ")
    assert describe_lowest(predictions.head(3), "dogs") == "No test image is of dogs."
    plt.close("all")


def test_the_table_of_metrics_begins_with_its_errors(predictions):
    metrics = class_metrics(predictions, CLASSES)
    table, = report_metrics(metrics, "val")
    assert table.name == "metrics_val" and len(table.table) == table.rows == 3
    assert table.caption.startswith("1 of 12 validation images is misclassified, of the class dogs. One row per class")
    table, = report_metrics(class_metrics(predictions.assign(predicted="cats"), CLASSES), "test")
    assert table.caption.startswith("7 of 12 test images are misclassified; dogs has the most (7).")
    table, = report_metrics(class_metrics(predictions.assign(predicted=predictions["label"]), CLASSES), "test")
    assert table.caption.startswith("No test image is misclassified.")


@pytest.mark.parametrize("wrong, told", [
    ([], "No class is confused with another."), (["ab"], "A single error does not show which classes are alike."),
    (["ab", "ab", "ba", "bc"], "75% of the errors are between a and b: 3 of 4, 2 one way and 1 the other."),
    (["ab", "ab"], "The reverse, b taken for a, does not occur."),
    (["ab", "bc"], "Counted in both directions, no single pair of classes stands out: 2 pairs have 1 error each.")])
def test_the_pair_of_classes_with_most_errors(wrong, told):
    pairs = [*(tuple(pair) for pair in wrong), ("c", "c")]
    assert describe_confused_pair(pd.DataFrame(pairs, columns=["label", "predicted"])) == told


def test_what_is_told_of_confidence_and_of_a_network_loaded_again(predictions):
    assert describe_confidence(predictions) == "The mean confidence is 0.76 where the prediction is right and 0.62 where it is wrong."
    assert describe_confidence(predictions[:4]) == "The mean confidence of these predictions is 0.83."
    assert describe_reloaded({"max_difference": 0.0, "tolerance": 1e-4}) == "identical (tolerance 0.0001)"
    assert describe_reloaded({"max_difference": 2.3e-6, "tolerance": 1e-4}) == "the scores differ by at most 2e-06 (tolerance 0.0001)"


def test_samples_are_as_many_as_the_grid_holds_and_the_same_for_a_seed(predictions, tmp_path):
    figure, text = report_samples(predictions, tmp_path / "images", [2, 3], seed=1, marks={})
    assert "6 test images drawn at random" in figure.alt and "of these 6 test images" in figure.caption and "mean confidence" in text.markdown
    assert len([ax for ax in figure.drawing.axes if ax.get_visible()]) == 6
    again, _ = report_samples(predictions, tmp_path / "images", [2, 3], seed=1, marks={})
    other, _ = report_samples(predictions, tmp_path / "images", [2, 3], seed=2, marks={})
    captions = [[ax.get_xlabel() for ax in found.drawing.axes] for found in (figure, again, other)]
    assert captions[0] == captions[1] != captions[2]
    assert len(report_samples(predictions, tmp_path / "images", [5, 5], seed=1, marks={})[0].alt) > 0
    plt.close("all")


def test_signs_are_explained_where_they_occur(predictions, tmp_path):
    marks = {"cats/0.png": "‡ ", "dogs/5.png": "† "}
    top = report_ranked(predictions.iloc[:6], tmp_path / "images", ["cats"], marks=marks)[0].caption
    assert "‡ is a suspected label error" in top and "† has" not in top and "✗: wrong" in top
    plt.close("all")


LIMITS = {  # labels, and the score of each class for each image
    "a perfect network": ("ccdd", [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0]]), "one image a class": ("cde", [[0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7]]),
    "all predictions of one class": ("ccdde", [[1, 0, 0]] * 5), "all scores equal": ("cddee", [[1 / 3] * 3] * 5), "all wrong": ("cde", [[0, 1, 0], [0, 0, 1], [1, 0, 0]]),
    "one image": ("d", [[0.2, 0.5, 0.3]])}


@pytest.mark.parametrize("kind", LIMITS)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_sections_at_the_limits_of_their_numbers(kind, make_folder, tmp_path):
    """Every section shows something, no text holds a nan, a class without images has no number and leaves the mean."""
    labels, scores = LIMITS[kind]
    make_folder(dict.fromkeys("cde", 5))
    table = pd.DataFrame({"path": [f"{label}/{number}.png" for number, label in enumerate(labels)], "label": list(labels)})
    predictions, classes = prediction_table(table, np.array(scores, dtype=float), np.zeros(len(labels)), list("cde")), list("cde")
    metrics, baseline = class_metrics(predictions, classes), majority_baseline(list("ccde"), list(labels))
    shown = [*report_metrics(metrics, "test"), *report_scores(metrics, metrics_summary(metrics, predictions), baseline),
             *report_confusion(predictions, classes), *report_ranked(predictions, tmp_path / "images", ["e"], marks={}),
             *report_samples(predictions, tmp_path / "images", [2, 2], seed=0, marks={})]
    parts = [inner for part in shown for inner in getattr(part, "parts", (part,))]
    told = " ".join(getattr(part, name, "") for part in parts for name in ("markdown", "caption", "alt"))
    told += " ".join(describe_evaluation({"val": metrics, "test": metrics}, baseline, conflicts=0, bad=0, drawn=False))
    twice = kind in ("all predictions of one class", "all scores equal")  # d is taken for c, e for c
    assert len(shown) == 9 + twice and "nan" not in told and ("more than once" in told) == twice
    absent = metrics.iloc[:-1].query("support == 0")
    assert set(absent["class"]) == set("cde") - set(labels) and absent[["accuracy", "average_precision", "accuracy_low"]].isna().all(axis=None)
    assert metrics.iloc[-1]["average_precision"] == pytest.approx(metrics.iloc[:-1]["average_precision"].mean())
    assert ("are classified correctly" in told) == (kind == "a perfect network")
    assert all(f"{name} without images" in told for name in absent["class"]) and ("No test image is of e." in told) == ("e" in set(absent["class"]))
    plt.close("all")
