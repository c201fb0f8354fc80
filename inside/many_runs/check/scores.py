"""The numbers of notebook 01 once more, from the predictions and the split of a hand-in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from inside.data.split import class_counts
from inside.evaluation.calibration import Calibration, calibrate, class_names, format_calibration, scores_of
from inside.evaluation.metrics import class_metrics, format_metrics, majority_baseline, metrics_summary, most_confused
from inside.many_runs.check.files import PARTS, HandIn
from inside.many_runs.check.rows import DIFFERS, EXACT, HOLDS, Row, Tolerance, compared, number_of, word

MAIN = {"mean_class_accuracy": "mean class accuracy on test", "mean_average_precision": "mean average precision on test"}
# Scores are saved as float64 of float32 logits, losses from their logarithms: what a loss says of a score near 1, 1 - loss,
# is rounded to 1e-16.
SCORE = Tolerance(1e-6, 1e-9)


def check_predictions(hand_in: HandIn, part: str) -> Iterator[Row]:
    """Whether class, confidence and loss follow from the scores, and whether the images are those of the split."""
    table, name = hand_in.predictions(part), f"predictions_{part}.csv"
    scores, targets = scores_of(table)
    best, rows = scores.argmax(axis=1), np.arange(len(table))
    likelihood = np.where(targets >= 0, scores[rows, targets], np.nan)
    made = pd.DataFrame({"predicted": np.asarray(class_names(table), dtype=object)[best], "confidence": scores.max(axis=1),
                         "sum of scores": 1.0, "loss": -np.log(np.maximum(likelihood, 1e-300))})
    told = table[["predicted", "confidence"]].assign(**{"sum of scores": scores.sum(axis=1), "loss": table["loss"].where(
        likelihood > 1e-300, made["loss"])})  # of a score that is too small for a float nothing follows
    yield from compared(f"{name}: class, confidence and loss of {number_of(len(table), 'image')}", told, made, SCORE)
    own = hand_in.split.parts.get(part, hand_in.split.table[:0])
    yield from compared(f"{name}: the images of {part} in split.csv, with their labels", table[["path", "label"]],
                        own[["path", "label"]])


def remade_scores(hand_in: HandIn) -> dict:
    """What 01_results.json has of val, test, baseline and calibration, made again from the files."""
    tables = {part: hand_in.predictions(part) for part in PARTS}
    metrics, baseline = remade_metrics(hand_in), majority_baseline(_train_labels(hand_in), tables["test"]["label"])
    return {**{part: metrics_summary(metrics[part], tables[part]) for part in PARTS}, "baseline": baseline,
            "baseline_accuracy": baseline["accuracy"], "calibration": remade_calibration(hand_in).results()}


def remade_calibration(hand_in: HandIn) -> Calibration:
    """The calibration on test, and the temperature fitted on validation."""
    return calibrate(hand_in.predictions("val"), hand_in.predictions("test"), _train_labels(hand_in),
                     groups=_groups(hand_in, "test"), seed=hand_in.settings["SEED"])


def remade_metrics(hand_in: HandIn) -> dict[str, pd.DataFrame]:
    """{"val", "test": class_metrics} from the predictions."""
    return {part: class_metrics(table, class_names(table), groups=_groups(hand_in, part))
            for part in PARTS for table in [hand_in.predictions(part)]}


def check_scores(hand_in: HandIn) -> Iterator[Row]:
    """01_results.json, metrics_*.csv and the tables of the notebook against the predictions."""
    told, made, metrics = hand_in.results("01"), remade_scores(hand_in), remade_metrics(hand_in)
    for key, name in MAIN.items():
        first, second = told["test"].get(key) if isinstance(told.get("test"), Mapping) else None, made["test"][key]
        yield Row(name, HOLDS if EXACT.same(first, second) else DIFFERS, word(first), word(second))
    for key, value in made.items():
        yield from compared(f"01_results.json: {key}", told.get(key), value)
    for part in PARTS:
        yield from compared(f"metrics_{part}.csv", hand_in.csv(f"metrics_{part}.csv", columns=("class",)), metrics[part])


def check_score_tables(hand_in: HandIn) -> Iterator[Row]:
    """tables/*.csv of notebook 01 that follow from predictions and split."""
    test, split = hand_in.predictions("test"), hand_in.split.table
    calibration = remade_calibration(hand_in)
    tables = {f"metrics_{part}": format_metrics(found) for part, found in remade_metrics(hand_in).items()}
    tables |= {"most_confused": most_confused(test), "calibration": format_calibration(calibration.measures),
               "reliability": calibration.reliability, "coverage": calibration.coverage, "split_counts": class_counts(split)}
    for name, made in tables.items():
        if (told := hand_in.table("01", name)) is not None:
            yield from compared(f"tables/{name}.csv", told, made)


def _train_labels(hand_in: HandIn) -> pd.Series:
    return hand_in.split.parts["train"]["label"]


def _groups(hand_in: HandIn, part: str) -> pd.Series:
    """The group of duplicates of each predicted image of a part, by its path."""
    paths = hand_in.predictions(part)["path"]
    return paths.map(hand_in.split.table.set_index("path")["group"])
