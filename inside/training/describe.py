"""Sentences on a training, made from its history."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from inside.training.loop import best_epoch


def is_plain(history: pd.DataFrame) -> bool:
    """Whether train_loss of a history is the plain cross-entropy; in old ones it is the objective."""
    return "train_objective" in history and bool(history["train_objective"].notna().all())


def describe_training(history: pd.DataFrame, unaugmented: Mapping | None, *, augmentation: str) -> list[str]:
    """Sentences on the chosen epoch: its accuracies, its losses, and why validation lies where it does.

    `unaugmented` {images, of, loss, mean_class_accuracy}: the training images scored by the chosen network as the
    validation images are; None where that was not done.
    """
    row = history.set_index("epoch").loc[best_epoch(history.to_dict("records"))]
    train, val = row["train_loss"], row["val_loss"]
    lines = [f"Epoch {row.name} of {len(history)} is chosen: mean class accuracy {row['val_mean_class_accuracy']:.3f} on "
             f"validation, {row['train_mean_class_accuracy']:.3f} on the training images as they were seen while it learnt."]
    if not is_plain(history):
        return [*lines, "The training loss of this run is what was optimised, with label smoothing and class weights where "
                        "they were set: it cannot be set beside that of validation."]
    lines.append(f"Cross-entropy in that epoch: {train:.3f} on the training images as they were seen, {val:.3f} on "
                 f"validation, which lies {_side(val, train)} train.")
    if unaugmented:
        n, of = unaugmented["images"], unaugmented["of"]
        lines.append(f"The chosen network once more, on {f'{n:,} of ' if n < of else ''}the {of:,} training images as they "
                     f"are, not augmented: cross-entropy {unaugmented['loss']:.3f}, mean class accuracy "
                     f"{unaugmented['mean_class_accuracy']:.3f}.")
        lines.append(_describe_gap(train, val, unaugmented["loss"], augmentation))
    return lines


def _side(value: float, other: float) -> str:
    """How a value lies to another one, to three digits."""
    difference = round(value, 3) - round(other, 3)
    return f"{abs(difference):.3f} {'above' if difference > 0 else 'below'}" if abs(difference) > 1e-4 else "level with"


def _describe_gap(train: float, val: float, alike: float, augmentation: str) -> str:
    """What remains of the difference between two losses when the training images are scored as validation is."""
    seen, scored = _side(val, train), _side(val, alike)
    if "below" in seen and "above" in scored:
        causes = "while it was still learning" if augmentation == "none" else "augmented and while it was still learning"
        return (f"Scored alike, validation lies {scored} train: that it lies below in the curve comes from how the training "
                f"images were seen there, {causes}.")
    reason = "so much better does the network do on the images that it has learnt from" if "above" in scored else \
        "its images are no harder for the network than those that it has learnt from"
    return f"Scored alike, validation lies {scored} train: {reason}."
