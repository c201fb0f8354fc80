"""Sentences on an evaluation, made from its numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from inside.evaluation.intervals import difference_interval
from inside.evaluation.predictions import top_and_bottom
from inside.text import format_share, listed, literal, natural_sort, percent, points, round_share


def describe_confusion(predictions: pd.DataFrame) -> str:
    """A sentence on the most frequent errors among the test images of a prediction table, without markup."""
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    if wrong.empty:
        return f"All {len(predictions):,} test images are classified correctly." if len(predictions) > 1 else \
            "The one test image is classified correctly."
    counts = (wrong["label"].map(literal) + " is taken for " + wrong["predicted"].map(literal)).value_counts().sort_index()
    most = int(counts.max())
    names, total = list(counts.index[counts == most]), f"{len(wrong):,} error{'s' * (len(wrong) > 1)} on test"
    if len(wrong) == 1:
        return f"{names[0]} once, the only error on test."
    if most == 1:
        return f"No error occurs twice: {total}, each of another pair of classes."
    if len(names) == 1:
        return f"{names[0]} most often: {most:,} of {total}."
    return f"{listed(names)} most often: {most:,} each of {total}."


def describe_confused_pair(predictions: pd.DataFrame) -> str:
    """A sentence on the two classes between which most errors of a prediction table lie, in both directions together."""
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    if wrong.empty:
        return "No class is confused with another."
    if len(wrong) == 1:
        return "A single error does not show which classes are alike."
    pairs = wrong[["label", "predicted"]].apply(lambda row: " and ".join(map(literal, natural_sort(row))), axis=1)
    counts = pairs.value_counts().sort_index()
    most = int(counts.max())
    names = list(counts.index[counts == most])
    if len(names) > 1:
        return (f"Counted in both directions, no single pair of classes stands out: {len(names)} pairs have {most:,} "
                f"error{'s' * (most > 1)} each.")
    one = wrong.loc[pairs == names[0], "label"].value_counts()
    if len(one) == 1:
        pair = wrong[pairs == names[0]].iloc[0]
        return f"The reverse, {literal(pair['predicted'])} taken for {literal(pair['label'])}, does not occur."
    return (f"{percent(most / len(wrong), 0)} of the errors are between {names[0]}: {most:,} of {len(wrong):,}, "
            f"{one.iloc[0]:,} one way and {one.iloc[1]:,} the other.")


def describe_most_confused(pairs: pd.DataFrame, predictions: pd.DataFrame) -> str:
    """How many of the errors on test are of the pairs in `most_confused`."""
    errors, kinds = int((predictions["label"] != predictions["predicted"]).sum()), len(pairs)
    return (f"{pairs['errors'].sum():,} of {errors:,} errors on test are of {kinds} kind{'s' * (kinds > 1)} that "
            f"occur{'s' * (kinds == 1)} more than once.")


def describe_neighbours(nearest: pd.DataFrame, errors: pd.DataFrame) -> str:
    """For how many of the `costliest_errors` the nearest training image is of the predicted class, or of the true one."""
    first = nearest.drop_duplicates("path").set_index("path")["label"]
    nearest_label = errors["path"].map(first)
    predicted, true = int((nearest_label == errors["predicted"]).sum()), int((nearest_label == errors["label"]).sum())
    if len(errors) == 1:
        kind = "the predicted class" if predicted else "the true class" if true else "a third class"
        return f"The training image nearest to the only error is of {kind}."
    return (f"The nearest training image is of the predicted class for {predicted} of the {len(errors)} errors with the "
            f"highest loss, and of the true class for {true}.")


def describe_sensitivity(scores: Mapping) -> str:
    """How the scores of test change where images with suspected labels are left out, from `without_suspects`."""
    whole, left = scores["all"], scores["without_suspects"]
    if left is None:
        return "The label of every test image is suspected."
    gone = whole["images"] - left["images"]
    if not gone:
        return "No test image has a suspected label."
    kind = "have suspected labels" if gone > 1 else "has a suspected label"
    changes = [f"the {name} is {percent(left[key])} instead of {percent(whole[key])}" for name, key in (
        ("accuracy", "accuracy"), ("mean class accuracy", "mean_class_accuracy"))]
    return (f"{gone:,} of {whole['images']:,} test images {kind}. On the others, {' and '.join(changes)}. This shows how "
            "much the labels matter and is not the result: images are suspected because a classifier gets them wrong, so "
            "that leaving them out favours every classifier.")


def describe_ranked(predictions: pd.DataFrame, name: str) -> str:
    """How many of the ten images with the highest scores for a class are of it, and which are not."""
    highest, _ = top_and_bottom(predictions, name)
    wrong = highest[highest["label"] != name]
    others = "; ".join(f"{literal(row.path)} is {literal(row.label)}" for row in wrong.itertuples())
    if wrong.empty:
        return f"All {len(highest)} highest scores for {literal(name)} belong to images of that class."
    right = len(highest) - len(wrong)
    return f"{right} of the {len(highest)} highest scores for {literal(name)} belong to images of that class ({others})."


def describe_lowest(predictions: pd.DataFrame, name: str) -> str:
    """Where the image of a class with the lowest score for it stands among all images, and how it is predicted."""
    order = predictions.sort_values([f"prob_{name}", "path"], ascending=[False, True], ignore_index=True)
    own = order[order["label"] == name]
    if own.empty:
        return f"No test image is of {literal(name)}."
    last = own.iloc[-1]
    below = int((order.iloc[:own.index[-1]]["label"] != name).sum())
    found = "which is correct" if last["predicted"] == name else "an error"
    above = ("no image of another class stands", "1 image of another class stands")[below] if below < 2 else \
        f"{below:,} images of other classes stand"
    return (f"The image of {literal(name)} with the lowest score is {literal(last['path'])}, at place "
            f"{own.index[-1] + 1:,} of {len(order):,}: {above} above it. It is predicted as "
            f"{literal(last['predicted'])}, {found}.")


def describe_confidence(sample: pd.DataFrame) -> str:
    """The confidence of the predictions of a sample that are right beside that of the wrong ones."""
    right = sample["label"] == sample["predicted"]
    means = [format_share(sample.loc[chosen, "confidence"].mean(), 2) for chosen in (right, ~right)]
    if right.all() or not right.any():
        return f"The mean confidence of these predictions is {means[0] if right.all() else means[1]}."
    return f"The mean confidence is {means[0]} where the prediction is right and {means[1]} where it is wrong."


def describe_scores(result: Mapping, baseline: Mapping) -> str:
    """The three measures of test (`metrics_summary`), each beside the same measure of `majority_baseline`."""
    names = {"accuracy": "overall accuracy", "mean_class_accuracy": "mean accuracy over classes",
             "mean_average_precision": "mean average precision"}
    told = ", ".join(f"{title} **{format_share(result[name])}** ({format_share(baseline[name])})"
                     for name, title in names.items())
    return f"On test: {told}. In brackets: the baseline, which always predicts {_always(baseline)}."


def _always(baseline: Mapping) -> str:
    """The class that `majority_baseline` predicts, and that it is the most frequent one, or the first by name of several."""
    which = "the most frequent class of training" if baseline["ties"] == 1 else \
        f"the first by name of the {baseline['ties']} classes that tie as the most frequent of training"
    return f"“{literal(baseline['class'])}”, {which}"


def describe_classes(metrics: pd.DataFrame) -> str:
    """Accuracy and average precision of each row of `class_metrics`, as text."""
    return "; ".join(literal(row["class"]) + (
        f" {format_share(row['accuracy'])} and {format_share(row['average_precision'])}" if row["support"] else
        " without images") for row in metrics.to_dict("records"))


def describe_errors(metrics: pd.DataFrame, part: str) -> str:
    """How many images of a part ("validation", "test") are misclassified, and in which classes most of them are."""
    found = metrics.iloc[:-1].query("support > 0")
    errors = (found["support"] * (1 - found["accuracy"])).round().astype(int)
    total, images = int(errors.sum()), int(found["support"].sum())
    if not total:
        return f"No {part} image is misclassified." if images > 1 else f"The one {part} image is classified correctly."
    names = list(found["class"][errors == errors.max()].map(literal))
    told = f"{total:,} of {images:,} {part} images {'is' if total == 1 else 'are'} misclassified"
    if len(found) == 1:
        return f"{told}."
    if total == 1:
        return f"{told}, of the class {names[0]}."
    verb, each = ("has", "") if len(names) == 1 else ("have", " each")
    return f"{told}; {listed(names)} {verb} the most ({int(errors.max()):,}{each})."


def describe_reloaded(found: Mapping) -> str:
    """How far the scores of a network that was loaded again are from the saved ones, from `check_reloaded`."""
    difference = found["max_difference"]
    told = "identical" if difference == 0 else f"the scores differ by at most {difference:.1g}"
    return f"{told} (tolerance {np.format_float_positional(found['tolerance'])})"


def describe_ranges(metrics: pd.DataFrame) -> str:
    """From which class to which the accuracies and the average precisions of `class_metrics` go."""
    found = metrics.iloc[:-1].query("support > 0")
    told = []
    for name, title in (("accuracy", "accuracy"), ("average_precision", "average precision")):
        values = found[name].map(round_share)
        low, high = (listed(list(found["class"][values == end].map(literal)), 2) for end in (values.min(), values.max()))
        told.append(f"{title} is {format_share(values.min())} in every class" if values.min() == values.max() else
                    f"{title} ranges from {format_share(values.min())} ({low}) to {format_share(values.max())} ({high})")
    text = "; ".join(told)
    return f"{text[0].upper()}{text[1:]}."


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
        f"The network classifies **{percent(mean['accuracy'])}** of the test images correctly, as a mean over classes (95% "
        f"interval {percent(mean['accuracy_low'])} to {percent(mean['accuracy_high'])}). Always predicting "
        f"{_always(baseline)}, gives {percent(base)} as a mean over classes, {place} that interval.",
        _describe_extremes(metrics["test"].iloc[:-1]),
        _describe_val_and_test(metrics["val"], metrics["test"]),
        f"{groups} different labels, and {files}.",
        *(["**All images of this run are drawn**: these numbers say nothing about photographs."] if drawn else []),
    ]


def _describe_extremes(by_class: pd.DataFrame) -> str:
    """A sentence on the classes with the lowest and the highest accuracy, with their intervals."""
    found = by_class[by_class["support"] > 0]
    if len(found) == 1:
        return f"Only one class has test images: **{literal(found['class'].iloc[0])}**."
    lowest, highest = found["accuracy"].min(), found["accuracy"].max()
    if lowest == highest:
        return f"All {len(found)} classes that have test images have the same accuracy, {percent(lowest)}."
    ends = []
    for value in (lowest, highest):
        rows = found[found["accuracy"] == value]
        low, high = (f"{percent(rows[f'accuracy_{end}'].iloc[0])}" for end in ("low", "high"))
        interval = f", 95% interval {low} to {high}" if len(rows) == 1 else ""
        ends.append(f"{listed([f'**{literal(name)}**' for name in rows['class']])} ({percent(value)}{interval})")
    return f"Lowest class accuracy on test: {ends[0]}; highest: {ends[1]}."


def _describe_val_and_test(val: pd.DataFrame, test: pd.DataFrame) -> str:
    """A sentence on mean class accuracy on validation against test: the difference, its interval, and what that allows."""
    if list(val["class"][val["support"] > 0]) != list(test["class"][test["support"] > 0]):
        return "Validation and test have images of different classes, so their means over classes cannot be compared."
    ends = [part.iloc[-1][["accuracy", "accuracy_low", "accuracy_high"]].to_list() for part in (val, test)]
    gap, (low, high) = ends[0][0] - ends[1][0], difference_interval(*ends)
    interval = f"on test (95% interval of the difference: {points(low)} to {points(high)} points)"
    chosen = "The epoch was chosen on validation, which tends to raise its accuracy."
    if points(gap) == "0":
        return f"Mean class accuracy on validation equals that {interval}. {chosen}"
    side = "above" if gap > 0 else "below"
    verdict = ("which the choice of images alone could explain" if points(low) == "0" or points(high) == "0"
               or low < 0 < high else "more than the choice of images usually explains")
    return (f"Mean class accuracy on validation is {points(abs(gap))} percentage points {side} that {interval}, {verdict}. "
            f"{chosen}")
