"""Sentences on the calibration of a network, made from its numbers."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from inside.evaluation.calibration import AS_TRAINED, WITH_TEMPERATURE, Calibration
from inside.text import format_share, format_significant, listed, percent


def describe_calibration(found: Mapping) -> str:
    """Whether a network is over- or underconfident, and its calibration error beside a calibrated one's; from `measure`."""
    confidence, accuracy, low, high, error, level = (format_share(found[name]) for name in (
        "confidence", "accuracy", "calibrated_low", "calibrated_high", "expected_calibration_error", "calibrated_level"))
    both = f"its mean confidence is {confidence}, its accuracy {accuracy}"
    if found["accuracy"] < found["calibrated_low"]:
        told = f"The network is overconfident on test: {both}, below the {low} to {high} of a perfectly calibrated network."
    elif found["accuracy"] > found["calibrated_high"]:
        told = f"The network is underconfident on test: {both}, above the {low} to {high} of a perfectly calibrated network."
    elif found["expected_calibration_error"] > found["calibrated_level"]:
        told = f"The network is miscalibrated on test, although {both}."
    else:
        told = f"The test images do not contradict the confidence of the network: {both}."
    return (f"{told} The expected calibration error is {error}; that of a perfectly calibrated network would be at most "
            f"{level} in 95 of 100 samples of this size.")


def describe_temperature(found: Calibration) -> str:
    """The temperature of validation, and what it does to calibration error and likelihood on test."""
    if found.temperature is None:
        return f"No temperature is fitted: {found.no_temperature}."
    moved: dict[str, list[str]] = {}
    for name, title in (("expected_calibration_error", "expected calibration error"),
                        ("negative_log_likelihood", "negative log-likelihood")):
        values = found.measures.loc[[AS_TRAINED, WITH_TEMPERATURE], name]
        old, new = map(format_share, values)
        verb = "leaves" if old == new else "lowers" if values.iloc[1] < values.iloc[0] else "raises"
        moved.setdefault(verb, []).append(f"the {title} at {old}" if old == new else f"the {title} from {old} to {new}")
    told = listed([f"{verb} {listed(names)}" for verb, names in moved.items()])
    return f"On test, the temperature of {format_share(found.temperature)}, fitted on validation, {told}."


def describe_promise(found: Calibration) -> str:
    """How many errors the confidences promise, with the temperature too, and how many there are."""
    row = found.measures.loc[AS_TRAINED]
    promised = [format_significant(found.images * (1 - confidence)) for confidence in found.measures["confidence"]]
    tempered = f" ({promised[1]} with the temperature)" if found.temperature else ""
    verdict = "it is less reliable than it says" if row["accuracy"] < row["calibrated_low"] else \
        "it is more reliable than it says" if row["accuracy"] > row["calibrated_high"] else "chance allows this difference"
    return (f"Taken at its word, the network promises {promised[0]} errors{tempered} in {found.images:,} test "
            f"image{'s' * (found.images > 1)} and makes {round(found.images * (1 - row['accuracy'])):,}: {verdict}.")


def describe_coverage(coverage: pd.DataFrame) -> str:
    """What is gained if the least confident images, about a tenth, are left to a person; from `coverage_table`."""
    whole, fewer = coverage.iloc[coverage["coverage"].argmax()], coverage[coverage["coverage"] < 1]
    errors = int(whole["errors"])
    if not errors:
        return "There is no error on test that a person could correct."
    if fewer.empty:
        return "All test images have the same confidence: it does not tell which to leave to a person."
    row = fewer.loc[(fewer["coverage"] - 0.9).abs().idxmin()]
    left, caught = int(whole["images"] - row["images"]), int(errors - row["errors"])
    return (f"Without the {left:,} least confident image{'s' * (left > 1)} ({percent(left / whole['images'], 0)}), accuracy "
            f"is {format_share(row['accuracy'])} instead of {format_share(whole['accuracy'])}: {caught:,} of {errors:,} "
            f"error{'s' * (errors > 1)} {'is' if caught == 1 else 'are'} among them.")
