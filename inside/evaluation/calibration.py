"""Calibration: whether predictions of a confidence of 0.8 are right in 80 of 100 cases, and what one temperature changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import softmax

from inside.evaluation.intervals import effective_size, sampling_units, wilson_interval
from inside.text import format_share

BINS, IN_A_BIN = 15, 30  # at most so many bins; fewer, where there would be fewer images in each
TEMPERATURES = 0.05, 20.0  # the lowest and the highest that is looked for
AS_TRAINED, WITH_TEMPERATURE, CLASS_SHARES = "as trained", "with the temperature", "class shares of training"


@dataclass(frozen=True)
class Calibration:
    """How far the confidence of a network can be believed, on `images` test images.

    `temperature` is None where validation gives none, for the reason `no_temperature`. `measures`: what `measure` gives, a
    row for AS_TRAINED, for WITH_TEMPERATURE if there is one, and for CLASS_SHARES, the baseline; `reliability`: the rows of
    `reliability_table` for the first two; `coverage`: `coverage_table`, as trained.
    """

    images: int
    temperature: float | None
    no_temperature: str
    measures: pd.DataFrame
    reliability: pd.DataFrame
    coverage: pd.DataFrame

    def results(self) -> dict:
        """The entry `calibration` of 01_results.json: images, temperature, the measures, accuracy by coverage."""
        rows = self.measures.to_dict("index")
        return {"images": self.images, "temperature": self.temperature, "no_temperature": self.no_temperature or None,
                **{name.replace(" ", "_"): rows.get(name) for name in (AS_TRAINED, WITH_TEMPERATURE, CLASS_SHARES)},
                "coverage": self.coverage[["coverage", "threshold", "accuracy"]].to_dict("records")}


def calibrate(val: pd.DataFrame, test: pd.DataFrame, train_labels: Sequence[str], *, groups: Sequence | None = None,
              seed: int = 0) -> Calibration:
    """Fit a temperature to the predictions of validation; measure the calibration of those of test without and with it.

    `val` and `test` are tables of `prediction_table`; `groups` of the test images as in `class_metrics`: copies are one
    draw. The baseline gives every image the shares of the classes in training as its scores.
    """
    (val_scores, val_targets), (scores, targets) = scores_of(val), scores_of(test)
    temperature, units = fit_temperature(val_scores, val_targets), sampling_units(test["label"], groups)
    found = {AS_TRAINED: scores}
    if temperature:
        found[WITH_TEMPERATURE] = with_temperature(scores, temperature)
    shares = pd.Series(list(train_labels)).value_counts(normalize=True).reindex(class_names(test), fill_value=0)
    baseline = {CLASS_SHARES: np.tile(shares.to_numpy(), (len(scores), 1))}
    measures = {name: measure(kind, targets, units, seed=seed) for name, kind in (found | baseline).items()}
    reliability = {name: reliability_table(kind, targets, units) for name, kind in found.items()}
    return Calibration(len(test), temperature, "" if temperature else _why_none(val), pd.DataFrame(measures).T,
                       pd.concat(reliability, names=["scores"]).reset_index("scores"),
                       coverage_table(scores, targets, units))


def format_calibration(measures: pd.DataFrame) -> pd.DataFrame:
    """The measures of a `Calibration` for a page, accuracy and error beside those that a calibrated network would show."""
    shown = measures.rename(columns=lambda name: {"confidence": "mean confidence", "brier_score": "Brier score"}.get(
        name, name.replace("_", " ").replace("log likelihood", "log-likelihood"))).rename_axis("scores").reset_index()
    low, high, level = (shown.pop(f"calibrated {name}").map(format_share) for name in ("low", "high", "level"))
    shown.insert(3, "accuracy if calibrated", low + " to " + high)
    shown.insert(5, "error if calibrated", "at most " + level)
    return shown


def class_names(predictions: pd.DataFrame) -> list[str]:
    """The classes of a prediction table, in its order."""
    return [name.removeprefix("prob_") for name in predictions if name.startswith("prob_")]


def scores_of(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The softmax scores (N, classes) of a prediction table, and the places of the true classes (N,)."""
    classes = class_names(predictions)
    return predictions[[f"prob_{name}" for name in classes]].to_numpy(), pd.Index(classes).get_indexer(predictions["label"])


def with_temperature(scores: np.ndarray, temperature: float) -> np.ndarray:
    """The softmax scores (N, classes) of logits that are divided by a temperature, from those at a temperature of 1.

    Up to a constant for each image, logits are the logarithms of scores.
    """
    return softmax(_log(scores) / temperature, axis=1)


def _log(scores: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(scores, np.finfo(float).tiny))  # a score of 0 is one that was too small for a float


def fit_temperature(scores: np.ndarray, targets: np.ndarray) -> float | None:
    """The temperature of the highest likelihood (Guo et al. 2017); None where it is not within TEMPERATURES.

    Its logarithm is concave in 1/T: the slope, the true logit minus the expected one, has at most one root, and none where
    all images are classified correctly.
    """
    logits = _log(scores)
    true = logits[np.arange(len(targets)), targets]

    def slope(log_temperature: float) -> float:
        return float((true - (softmax(logits / math.exp(log_temperature), axis=1) * logits).sum(axis=1)).mean())
    low, high = map(math.log, TEMPERATURES)
    return math.exp(brentq(slope, low, high)) if slope(low) < 0 < slope(high) else None


def _why_none(val: pd.DataFrame) -> str:
    if (val["label"] == val["predicted"]).all():
        return "all validation images are classified correctly, so that the likelihood only rises as the temperature falls"
    return "on validation, the likelihood has no maximum between {:g} and {:g}".format(*TEMPERATURES)


def measure(scores: np.ndarray, targets: np.ndarray, units: np.ndarray, *, seed: int = 0) -> dict[str, float]:
    """Confidence and accuracy (means over images), and how far the scores (N, classes) are from the true classes (N,).

    `expected_calibration_error`: see `calibration_error`. Were the network calibrated, it would be at most
    `calibrated_level`, and the accuracy from `calibrated_low` to `calibrated_high`, each in 95 of 100 samples: see
    `calibrated_draws`. `brier_score`: the mean squared distance from the indicator of the true class, summed over the
    classes, 0 to 2 (Brier 1950). `negative_log_likelihood`: the mean, in nats.
    """
    confidence, hits = scores.max(axis=1), scores.argmax(axis=1) == targets
    bins, indicator = equal_mass_bins(confidence), np.eye(scores.shape[1])[targets]
    errors, shares = calibrated_draws(confidence, bins, units, seed=seed).T
    low, high = np.quantile(shares, [0.025, 0.975])
    return {"confidence": confidence.mean(), "accuracy": hits.mean(), "calibrated_low": low, "calibrated_high": high,
            "expected_calibration_error": calibration_error(hits, confidence, bins),
            "calibrated_level": np.quantile(errors, 0.95),
            "brier_score": ((scores - indicator) ** 2).sum(axis=1).mean(),
            "negative_log_likelihood": -_log(scores)[np.arange(len(targets)), targets].mean()}


def equal_mass_bins(confidence: np.ndarray) -> np.ndarray:
    """The number of the bin of each image, (N,), by confidence; with as many images in each as far as equal ones allow."""
    count = min(BINS, max(1, len(confidence) // IN_A_BIN))
    edges = np.quantile(confidence, np.arange(1, count) / count)
    return np.unique(np.searchsorted(edges, confidence), return_inverse=True)[1]


def calibration_error(hits: np.ndarray, confidence: np.ndarray, bins: np.ndarray) -> float:
    """Expected calibration error: |accuracy - confidence| of the bins, weighted by their images (Naeini et al. 2015)."""
    return float(np.abs(np.bincount(bins, hits - confidence)).sum() / len(hits))


def calibrated_draws(confidence: np.ndarray, bins: np.ndarray, units: np.ndarray, *, draws: int = 1000,
                     seed: int = 0) -> np.ndarray:
    """Calibration error and accuracy of a perfectly calibrated network of these confidences, (draws, 2), by simulation.

    Each prediction is right with the probability that its confidence says (Bröcker and Smith 2007); images of one number in
    `units` (see `sampling_units`) are right or wrong together.
    """
    generator, count = np.random.default_rng(seed), units.max() + 1
    drawn = (generator.random(count)[units] < confidence for _ in range(draws))
    return np.array([(calibration_error(hits, confidence, bins), hits.mean()) for hits in drawn])


def reliability_table(scores: np.ndarray, targets: np.ndarray, units: np.ndarray) -> pd.DataFrame:
    """images, confidence (mean), accuracy and its 95% interval (Wilson's); one row per bin of `equal_mass_bins`."""
    confidence, hits = scores.max(axis=1), scores.argmax(axis=1) == targets
    bins = equal_mass_bins(confidence)
    return pd.DataFrame([{"images": int(own.sum()), "confidence": confidence[own].mean(), **_share(hits[own], units[own])}
                         for own in (bins == place for place in range(bins.max() + 1))])


def coverage_table(scores: np.ndarray, targets: np.ndarray, units: np.ndarray, *, steps: int = 20) -> pd.DataFrame:
    """coverage, threshold, images, errors, accuracy and its 95% interval (Wilson's); one row per threshold.

    The network decides the images with a confidence of at least `threshold`; the others are left to a person (Geifman and
    El-Yaniv 2017). The coverage, its share of the images, takes so many values as far as equal confidences allow.
    """
    confidence, hits = scores.max(axis=1), scores.argmax(axis=1) == targets
    kept = np.ceil(np.arange(steps, 0, -1) * len(hits) / steps).astype(int)
    rows = []
    for threshold in np.unique(np.sort(confidence)[len(hits) - kept]):
        own = confidence >= threshold
        rows.append({"coverage": own.mean(), "threshold": threshold, "images": int(own.sum()),
                     "errors": int((~hits[own]).sum()), **_share(hits[own], units[own])})
    return pd.DataFrame(rows)


def _share(hits: np.ndarray, units: np.ndarray) -> dict[str, float]:
    low, high = wilson_interval(hits.mean(), effective_size(units))
    return {"accuracy": hits.mean(), "accuracy_low": low, "accuracy_high": high}
