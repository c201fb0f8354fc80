"""What notebook 01 shows of an evaluation: scores beside their baseline, confusions, rankings, samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from inside.data.grids import plot_predictions
from inside.evaluation.describe import describe_classes, describe_confusion, describe_ranked, describe_scores
from inside.evaluation.plots import plot_class_metrics, plot_confusion
from inside.evaluation.predictions import top_and_bottom
from inside.shown import Figure, Shown, Text


def report_scores(metrics: pd.DataFrame, result: Mapping, baseline: Mapping) -> list[Shown]:
    """The three measures of test beside the baseline's, and accuracy and average precision of each class."""
    fig, axes = plt.subplots(1, 2, figsize=(12, 0.45 * len(metrics) + 1.4), layout="constrained", sharey=True)
    plot_class_metrics(metrics, "accuracy", ax=axes[0])
    plot_class_metrics(metrics, "average_precision", ax=axes[1])
    told = f"Accuracy and average precision of each class on test with 95 % intervals: {describe_classes(metrics)}."
    return [Text(describe_scores(result, baseline)), Figure(fig, "class_metrics", told)]


def report_confusion(predictions: pd.DataFrame, classes: Sequence[str]) -> list[Shown]:
    """The confusion matrix of test and its most frequent errors."""
    told = describe_confusion(predictions)
    fig = plot_confusion(predictions, classes).figure
    return [Figure(fig, "confusion", f"Confusion matrix on test. {told}"), Text(told)]


def report_ranked(predictions: pd.DataFrame, root: Path, names: Sequence[str], *, marks: Mapping[str, str]) -> list[Shown]:
    """For each of the classes `names`, the test images with the ten highest and the ten lowest scores."""
    shown: list[Shown] = []
    for name in names:
        for end, rows in zip(("highest", "lowest"), top_and_bottom(predictions, name), strict=True):
            fig = plot_predictions(rows, root, columns=5, score_of=name, marks=marks,
                                   title=f"{name}: the {len(rows)} {end} scores of {len(predictions):,} images")
            told = ", ".join(f"{row['path']} {row[f'prob_{name}']:.2g}" for row in rows.to_dict("records"))
            shown.append(Figure(fig, f"ranked_{name}_{end}", f"Test images with the {end} scores for {name}: {told}."))
    return [*shown, Text.bullets(describe_ranked(predictions, name) for name in names)]


def report_samples(predictions: pd.DataFrame, root: Path, grid: Sequence[int], *, seed: int,
                   marks: Mapping[str, str]) -> list[Shown]:
    """Test images drawn at random, as many as a grid of (rows, columns) holds, with true and predicted class."""
    n_rows, n_columns = grid
    sample = predictions.sample(min(n_rows * n_columns, len(predictions)), random_state=seed)
    fig = plot_predictions(sample, root, columns=n_columns, marks=marks, size=1.3 if n_columns > 6 else 2.2)
    n_right = int((sample["label"] == sample["predicted"]).sum())
    alt = f"{len(sample)} test images drawn at random, with true and predicted class; {n_right} are predicted right."
    return [Figure(fig, "sample_predictions", alt), Text(f"{n_right} of these {len(sample)} are predicted right.")]
