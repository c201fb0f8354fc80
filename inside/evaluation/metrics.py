"""Accuracy and average precision by class, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

from inside.evaluation.intervals import (
    effective_size,
    jackknife_error,
    leave_one_out_average_precision,
    logit_interval,
    mean_share_interval,
    sampling_units,
    wilson_interval,
)
from inside.text import format_share

MEAN_ROW = "mean over classes"  # the last row of class_metrics; a class may be called so, too: read the row by its place


def class_metrics(predictions: pd.DataFrame, classes: Sequence[str], *, groups: Sequence | None = None,
                  level: float = 0.95) -> pd.DataFrame:
    """class, support, accuracy (= recall), average_precision, and the ends of their intervals; one row per class.

    Average precision is one against the rest from the softmax scores (scikit-learn's definition). A class without
    images has NaN. The last row (MEAN_ROW; read it with .iloc[-1]) is the mean over the classes that have images.
    `groups` holds one label per image, in the order of `predictions`; images of a class with the same label are copies
    of one picture and count as one draw, missing values are pictures of their own. The intervals, for given class sizes:
    `wilson_interval`, `mean_share_interval`, and `logit_interval` for both average precisions. How often they hold the
    truth is measured by benchmarks/coverage.py.
    """
    label = predictions["label"].to_numpy()
    units = sampling_units(label, groups)
    hit = (predictions["predicted"].to_numpy() == label).astype(float)
    rows, effects = [], []
    for name in classes:
        own = label == name
        rows.append({"class": name, "support": int(own.sum()), "size": effective_size(units[own])})
        if own.any():
            score = predictions[f"prob_{name}"].to_numpy()
            value = average_precision_score(own, score)  # leave_one_out_average_precision has the same definition
            effects.append(np.nan_to_num(value - leave_one_out_average_precision(own, score)))
            rows[-1] |= {"accuracy": hit[own].mean(), "average_precision": value,
                         "error": jackknife_error(effects[-1], label, units)}
    table = pd.DataFrame(rows, columns=["class", "support", "size", "accuracy", "average_precision", "error"])
    present = table[table["support"] > 0]
    error = jackknife_error(np.mean(effects, axis=0), label, units)
    table.loc[len(table)] = [MEAN_ROW, len(label), len(present) ** 2 / (1 / present["size"]).sum(),
                             present["accuracy"].mean(), present["average_precision"].mean(), error]
    ends = {name: [(math.nan, math.nan)] * len(table) for name in ("accuracy", "average_precision")}
    for place, row in table[table["support"] > 0].iterrows():
        ends["accuracy"][place] = wilson_interval(row["accuracy"], row["size"], level)
        ends["average_precision"][place] = logit_interval(row["average_precision"], row["error"], row["size"], level)
    ends["accuracy"][-1] = mean_share_interval(present["accuracy"], present["size"], level)
    for name, limits in ends.items():
        table[[f"{name}_low", f"{name}_high"]] = limits
    return table.drop(columns=["size", "error"])


def format_metrics(metrics: pd.DataFrame) -> pd.DataFrame:
    """The table of `class_metrics` for a page: each measure beside its 95% interval."""
    shown = metrics[["class", "support"]].copy()
    for name, title in (("accuracy", "accuracy"), ("average_precision", "average precision")):
        shown[title] = metrics[name]
        shown[f"{title}: 95% interval"] = [
            f"{format_share(low)} to {format_share(high)}" if math.isfinite(low) else "–"
            for low, high in metrics[[f"{name}_low", f"{name}_high"]].to_numpy()]
    return shown


def most_confused(predictions: pd.DataFrame, *, at_least: int = 2) -> pd.DataFrame:
    """label, predicted, errors, share of the images of the label; a row per pair with so many errors, the most first."""
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    pairs = wrong.groupby(["label", "predicted"]).size().rename("errors").reset_index()
    pairs["share"] = pairs["errors"] / pairs["label"].map(predictions["label"].value_counts())
    return pairs[pairs["errors"] >= at_least].sort_values("errors", ascending=False, kind="stable", ignore_index=True)


def metrics_summary(metrics: pd.DataFrame, predictions: pd.DataFrame) -> dict:
    """The numbers of one split for NN_results.json: overall accuracy, means over classes, and each class."""
    mean, by_class = metrics.iloc[-1], metrics.iloc[:-1].set_index("class")
    return {"accuracy": float((predictions["label"] == predictions["predicted"]).mean()),
            "mean_class_accuracy": mean["accuracy"], "mean_average_precision": mean["average_precision"],
            "per_class": by_class[["support", "accuracy", "average_precision"]].to_dict("index")}


def majority_baseline(train: Sequence[str], labels: Sequence[str]) -> dict:
    """What always predicting the most frequent class of the labels `train` gives on `labels`, measure by measure.

    {class, ties, accuracy, mean_class_accuracy, mean_average_precision}; `ties`: the number of classes that are the most
    frequent, of which the first by name is taken. Over the K classes that `labels` has: one is right throughout and the
    others never, 1/K on average; a score that is the same for all images has the share of the class as its average
    precision, and the shares average 1/K, too.
    """
    (frequent, *others), true = pd.Series(train).mode(), pd.Series(labels)
    shares = true.value_counts(normalize=True)
    return {"class": frequent, "ties": 1 + len(others), "accuracy": float((true == frequent).mean()),
            "mean_class_accuracy": float((shares.index == frequent).mean()),
            "mean_average_precision": float(shares.mean())}
