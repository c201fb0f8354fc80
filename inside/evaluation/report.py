"""What notebook 01 shows of an evaluation: scores beside their baseline, confusions, calibration, rankings, samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from inside.data.grids import WIDTH, plot_images, plot_predictions, short_paths
from inside.data.table import load_image
from inside.evaluation.calibration import AS_TRAINED, Calibration, format_calibration
from inside.evaluation.calibration_sentences import (
    describe_calibration,
    describe_coverage,
    describe_promise,
    describe_temperature,
)
from inside.evaluation.describe import (
    describe_classes,
    describe_confidence,
    describe_confused_pair,
    describe_confusion,
    describe_errors,
    describe_lowest,
    describe_most_confused,
    describe_neighbours,
    describe_ranges,
    describe_ranked,
    describe_scores,
    describe_sensitivity,
)
from inside.evaluation.metrics import format_metrics, most_confused
from inside.evaluation.plots import plot_class_metrics, plot_confusion, plot_coverage, plot_reliability, short_name
from inside.evaluation.predictions import top_and_bottom
from inside.shown import Figure, Fold, Shown, Table, Text
from inside.text import format_share, literal, slug

SIGNS = {"†": "has a duplicate", "‡": "is a suspected label error"}


def explain_signs(paths: pd.Series, marks: Mapping[str, str]) -> str:
    """What the signs in a grid of these images mean; only of those that occur."""
    shown = {marks.get(path, "").strip() for path in paths}
    told = [f"{sign} {text}" for sign, text in SIGNS.items() if sign in shown]
    return "; ".join(["Green and ✓: predicted right; orange and ✗: wrong", *told]) + "."


def report_metrics(metrics: pd.DataFrame, part: str) -> list[Shown]:
    """The table of `class_metrics` of the part "val" or "test"."""
    name = {"val": "validation"}.get(part, part)
    caption = (f"{describe_errors(metrics, name)} One row per class: its images (support), accuracy and average precision "
               "with their 95% intervals; the last row is the mean over classes.")
    return [Table(format_metrics(metrics), f"metrics_{part}", caption, rows=len(metrics))]


def report_scores(metrics: pd.DataFrame, result: Mapping, baseline: Mapping) -> list[Shown]:
    """Accuracy and average precision of each class, and the three measures of test beside the baseline's."""
    fig = plot_class_metrics(metrics).figure
    alt = f"Accuracy and average precision of each class on test with 95% intervals: {describe_classes(metrics)}."
    caption = (f"{describe_ranges(metrics)} In brackets after a class: its test images. Lines are 95% intervals, "
               "Wilson's for accuracy; where those of two classes overlap widely, their order may be chance.")
    return [Figure(fig, "class_metrics", alt, caption), Text(describe_scores(result, baseline))]


def report_confusion(predictions: pd.DataFrame, classes: Sequence[str]) -> list[Shown]:
    """The confusion matrix of test, its most frequent errors, and a table of the pairs of classes with at least two."""
    told = describe_confusion(predictions)
    fig = plot_confusion(predictions, classes).figure
    shown = "Numbers are test images, none where blank" if len(classes) <= 20 else "Numbers are left out for so many classes"
    return [Figure(fig, "confusion", f"Confusion matrix on test. {told}",
                   f"{told} {shown}; the shade is the share of the true class. Correct predictions are on the diagonal."),
            Text(describe_confused_pair(predictions)), *_report_most_confused(predictions)]


def _report_most_confused(predictions: pd.DataFrame) -> list[Shown]:
    pairs = most_confused(predictions)
    caption = (f"{describe_most_confused(pairs, predictions)} One row per kind: true and predicted class, errors, and their "
               "share of the test images of the true class.")
    table = Table(pairs, "most_confused", caption, rows=10)
    return [Fold("Errors that occur more than once", (table,))] if len(pairs) else []


def report_calibration(found: Calibration) -> list[Shown]:
    """Reliability diagram and accuracy by coverage on test, what the confidences promise, and the table of measures."""
    fig, axes = plt.subplots(1, 2, figsize=(10.6, 4.5), layout="constrained")
    plot_reliability(found.reliability, ax=axes[0])
    plot_coverage(found.coverage, ax=axes[1])
    claim = f"{describe_calibration(found.measures.iloc[0])} {describe_coverage(found.coverage)}"
    bins = "; ".join(f"confidence {format_share(row.confidence)}, accuracy {format_share(row.accuracy)}" for row in
                     found.reliability[found.reliability["scores"] == AS_TRAINED].itertuples())
    alt = f"Reliability diagram and accuracy by coverage on test. {claim} By bin, as trained: {bins}."
    caption = (f"{claim} Left: accuracy in bins of about equally many images, by confidence, with 95% intervals "
               "for the scores as trained. Right: accuracy, with its 95% interval, of the images that the network decides "
               "when the least confident are left to a person.")
    numbers = (Table(found.reliability, "reliability", "Left: one row per bin."),
               Table(found.coverage, "coverage", "Right: one row per threshold, the lowest confidence that is decided."))
    return [Figure(fig, "calibration", alt, caption), Text(f"{describe_promise(found)} {describe_temperature(found)}"),
            Fold("All measures, and the numbers of the figure", (_calibration_table(found), *numbers))]


def _calibration_table(found: Calibration) -> Table:
    caption = ("One row for each kind of scores. “If calibrated”: what a perfectly calibrated network of these confidences "
               "would show in 95 of 100 samples of this size. The last row is the baseline, which gives every image the "
               "shares of the classes in training.")
    return Table(format_calibration(found.measures), "calibration", caption)


def report_costliest(errors: pd.DataFrame, nearest: pd.DataFrame, root: Path, sensitivity: Mapping | None, *,
                     marks: Mapping[str, str]) -> list[Shown]:
    """The errors with the highest loss, each beside its nearest training images; the score without suspected labels."""
    told = [] if sensitivity is None else [Text(describe_sensitivity(sensitivity))]
    if errors.empty:
        return [Text("No test image is classified wrongly."), *told]
    pictures, texts = [], []
    for row in errors.to_dict("records"):
        near = nearest[nearest["path"] == row["path"]]
        paths = [row["path"], *near["neighbour"]]
        names = short_paths(paths, width=18)
        pictures += [load_image(root / path) for path in paths]
        texts += [f"{marks.get(row['path'], '')}{names[0]}\n→ {row['predicted']} {format_share(row['confidence'])}",
                  *(f"{marks.get(path, '')}{name}\ncosine {cosine:.2f}" for path, name, cosine in
                    zip(near["neighbour"], names[1:], near["cosine"], strict=True))]
    each = len(pictures) // len(errors)
    columns = each * min(2, len(errors))
    frames = ([False] + [None] * (each - 1)) * len(errors)
    fig = plot_images(pictures, texts, columns=columns, size=min(1.75, WIDTH / columns), right=frames)
    near = nearest["neighbour"].map(literal).groupby(nearest["path"]).agg(", ".join)
    alt = "; ".join(f"{literal(row.path)}, taken for {literal(row.predicted)}: nearest {near[row.path]}"
                    for row in errors.itertuples())
    signs = "".join(f" {sign} {what}." for sign, what in SIGNS.items() if any(text.startswith(sign) for text in texts))
    caption = (f"{describe_neighbours(nearest, errors)} Each error (✗), with the predicted class and its score, is followed "
               f"by the {each - 1} training images with the most similar features, by their cosine.{signs}")
    return [Figure(fig, "costliest_errors", f"Test images with the highest loss, and the training images nearest to them. "
                   f"{alt}.", caption), *told]


def report_ranked(predictions: pd.DataFrame, root: Path, names: Sequence[str], *, marks: Mapping[str, str]) -> list[Shown]:
    """For each of the classes `names`, the test images with the ten highest and the ten lowest scores, the lowest first."""
    return [part for name in names for part in _report_class(predictions, root, name, marks)]


def _report_class(predictions: pd.DataFrame, root: Path, name: str, marks: Mapping[str, str]) -> list[Shown]:
    highest, lowest = top_and_bottom(predictions, name)
    lowest, n, shown = lowest[::-1], len(highest), short_name(name, 60)
    fig = plot_predictions(pd.concat([highest, lowest]), root, columns=n, score_of=name, marks=marks,
                           titles=[f"highest scores for {shown}", f"lowest scores for {shown}, the lowest first"])
    told = [", ".join(f"{literal(row['path'])} {row[f'prob_{name}']:.2g}" for row in rows.to_dict("records"))
            for rows in (highest, lowest)]
    alt = (f"Test images with the {n} highest scores for {literal(name)}: {told[0]}. With the {n} lowest, the lowest first: "
           f"{told[1]}.")
    signs = explain_signs(pd.concat([highest, lowest])["path"], marks)
    caption = (f"{describe_ranked(predictions, name)} Below each image: class and file, the score for {literal(name)}, and "
               f"after → the predicted class where it is wrong. {signs}")
    return [Figure(fig, f"ranked_{slug(name)}", alt, caption), Text(describe_lowest(predictions, name))]


def report_samples(predictions: pd.DataFrame, root: Path, grid: Sequence[int], *, seed: int,
                   marks: Mapping[str, str]) -> list[Shown]:
    """Test images drawn at random, as many as a grid of (rows, columns) holds, with true and predicted class."""
    n_rows, n_columns = grid
    sample = predictions.sample(min(n_rows * n_columns, len(predictions)), random_state=seed)
    fig = plot_predictions(sample, root, columns=n_columns, marks=marks)
    right = sample["label"] == sample["predicted"]
    alt = f"{len(sample)} test images drawn at random, with true and predicted class; {right.sum()} are predicted right."
    n_right = "All" if right.all() else f"{right.sum()} of"
    signs = explain_signs(sample["path"], marks)
    caption = (f"{n_right} these {len(sample)} test images, drawn at random, are predicted right. Below each: class and "
               f"file, the score of the predicted class, and after → that class where it is wrong. {signs}")
    return [Figure(fig, "sample_predictions", alt, caption), Text(describe_confidence(sample))]
