"""Sentences on an evaluation, made from its numbers."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from inside.evaluation.intervals import difference_interval
from inside.evaluation.predictions import top_and_bottom
from inside.text import listed, percent, points


def describe_confusion(predictions: pd.DataFrame) -> str:
    """A sentence on the most frequent errors among the test images of a prediction table, without markup."""
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    if wrong.empty:
        return f"All {len(predictions):,} test images are predicted right." if len(predictions) > 1 else \
            "The one test image is predicted right."
    counts = (wrong["label"] + " taken for " + wrong["predicted"]).value_counts().sort_index()
    most = int(counts.max())
    names, total = list(counts.index[counts == most]), f"{len(wrong):,} wrong image{'s' * (len(wrong) > 1)}"
    if len(wrong) == 1:
        return f"The only error on test: {names[0]}, 1 image."
    if most == 1:
        return f"No error on test occurs twice: {total}, each of another pair of classes."
    if len(names) == 1:
        return f"The most frequent error on test: {names[0]}, {most:,} of {total}."
    return f"The most frequent errors on test: {listed(names)}, {most:,} of {total} each."


def describe_ranked(predictions: pd.DataFrame, name: str) -> str:
    """How many of the ten images with the highest scores for a class are of it, and which are not."""
    highest, _ = top_and_bottom(predictions, name)
    wrong = highest[highest["label"] != name]
    others = "; ".join(f"{row.path} is {row.label}" for row in wrong.itertuples())
    return f"{name}: {len(highest) - len(wrong)} of the {len(highest)} highest are of the class" + (
        f" ({others})." if others else ".")


def describe_scores(result: Mapping, baseline: Mapping) -> str:
    """The three measures of test (`metrics_summary`), each beside the same measure of `majority_baseline`."""
    names = {"accuracy": "overall accuracy", "mean_class_accuracy": "mean accuracy over classes",
             "mean_average_precision": "mean average precision"}
    told = ", ".join(f"{title} **{result[name]:.3f}** ({baseline[name]:.3f})" for name, title in names.items())
    return f"On test: {told}. In brackets: always saying “{baseline['class']}”, the most frequent class of training."


def describe_classes(metrics: pd.DataFrame) -> str:
    """Accuracy and average precision of each row of `class_metrics`, as text."""
    return "; ".join(f"{row['class']} {row['accuracy']:.3f} and {row['average_precision']:.3f}" if row["support"]
                     else f"{row['class']} without images" for row in metrics.to_dict("records"))


def describe_evaluation(metrics: Mapping[str, pd.DataFrame], baseline: Mapping, *, conflicts: int, bad: int,
                        drawn: bool) -> list[str]:
    """What an evaluation found, as Markdown sentences made from its numbers.

    `metrics` {"val", "test"} are tables of `class_metrics`, `baseline` is that of `majority_baseline` on test; conflicts
    counts groups of identical images with several labels, bad files that could not be decoded, drawn: no photographs.
    """
    mean, base = metrics["test"].iloc[-1], baseline["mean_class_accuracy"]
    place = "above" if base > mean["accuracy_high"] else "within" if base >= mean["accuracy_low"] else "below"
    groups = ("No group of identical images carries" if not conflicts else
              f"{conflicts:,} group{'s' * (conflicts > 1)} of identical images {'carry' if conflicts > 1 else 'carries'}")
    files = "every file could be decoded" if not bad else f"{bad:,} file{'s' * (bad > 1)} could not be decoded"
    return [
        f"The network reads **{percent(mean['accuracy'])}** of the test images right, as a mean over classes (95 % interval "
        f"{percent(mean['accuracy_low'])} to {percent(mean['accuracy_high'])}). Always saying “{baseline['class']}”, the "
        f"most frequent class of training, gives {percent(base)} as a mean over classes, {place} that interval.",
        _describe_extremes(metrics["test"].iloc[:-1]),
        _describe_val_and_test(metrics["val"], metrics["test"]),
        f"{groups} different labels, and {files}.",
        *(["**All images of this run are drawn**: the numbers say nothing about photographs."] if drawn else []),
    ]


def _describe_extremes(by_class: pd.DataFrame) -> str:
    """A sentence on the classes with the lowest and the highest accuracy, with their intervals."""
    found = by_class[by_class["support"] > 0]
    if len(found) == 1:
        return f"Only one class has test images: **{found['class'].iloc[0]}**."
    lowest, highest = found["accuracy"].min(), found["accuracy"].max()
    if lowest == highest:
        return f"All {len(found)} classes that have test images have the same accuracy, {percent(lowest)}."
    ends = []
    for value in (lowest, highest):
        rows = found[found["accuracy"] == value]
        low, high = (f"{percent(rows[f'accuracy_{end}'].iloc[0])}" for end in ("low", "high"))
        interval = f", 95 % interval {low} to {high}" if len(rows) == 1 else ""
        ends.append(f"{listed([f'**{name}**' for name in rows['class']])} ({percent(value)}{interval})")
    return f"Lowest accuracy of a class on test: {ends[0]}; highest: {ends[1]}."


def _describe_val_and_test(val: pd.DataFrame, test: pd.DataFrame) -> str:
    """A sentence on mean class accuracy on validation against test: the difference, its interval, and what that allows."""
    if list(val["class"][val["support"] > 0]) != list(test["class"][test["support"] > 0]):
        return "Validation and test have images of different classes, so that their means over classes are not compared."
    ends = [part.iloc[-1][["accuracy", "accuracy_low", "accuracy_high"]].to_list() for part in (val, test)]
    gap, (low, high) = ends[0][0] - ends[1][0], difference_interval(*ends)
    interval = f"on test (95 % interval of the difference: {points(low)} to {points(high)} points)"
    chosen = "The epoch was chosen on validation, which tends to raise its accuracy."
    if points(gap) == "0":
        return f"Mean class accuracy on validation equals that {interval}. {chosen}"
    side = "above" if gap > 0 else "below"
    verdict = ("so that the choice of images alone can explain it" if points(low) == "0" or points(high) == "0"
               or low < 0 < high else "more than the choice of images usually explains")
    return (f"Mean class accuracy on validation is {points(abs(gap))} percentage points {side} that {interval}, {verdict}. "
            f"{chosen}")
