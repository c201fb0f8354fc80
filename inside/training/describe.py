"""Sentences on a training, made from its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from inside.text import format_number, format_share, listed, literal, round_share
from inside.training.loop import best_epoch


def is_plain(history: pd.DataFrame) -> bool:
    """Whether train_loss of a history is the plain cross-entropy; in old ones it is the objective."""
    return "train_objective" in history and bool(history["train_objective"].notna().all())


def describe_chosen_epoch(history: pd.DataFrame) -> str:
    """Which epoch is chosen, and the mean class accuracies that it has."""
    row = history.set_index("epoch").loc[best_epoch(history.to_dict("records"))]
    val, train = (format_share(row[f"{part}_mean_class_accuracy"]) for part in ("val", "train"))
    alike = history["val_mean_class_accuracy"].round(9) == round(row["val_mean_class_accuracy"], 9)
    ties = list(history.loc[alike & (history["val_loss"] > row["val_loss"]), "epoch"].astype(str))
    tied = f" (the same as epoch{'s' * (len(ties) > 1)} {listed(ties)}, but with a lower loss)" if ties else ""
    return (f"Epoch {row.name} of {len(history)} is chosen: mean class accuracy {val} on validation{tied}, {train} on the "
            "training images as measured during training.")


def describe_classes_by_epoch(history: pd.DataFrame, classes: Sequence[str]) -> str:
    """The classes with the lowest and the highest accuracy on validation in the chosen epoch."""
    row = history.set_index("epoch").loc[best_epoch(history.to_dict("records"))]
    values = pd.Series({name: row[f"val_accuracy_{name}"] for name in classes}, dtype=float).dropna().map(round_share)
    if len(values) < 2 or values.min() == values.max():
        return "In the chosen epoch every class that validation has is at " + format_share(values.max()) + "." \
            if len(values) else "No class has validation images."
    low, high = (listed(list(map(literal, values.index[values == end])), 3) for end in (values.min(), values.max()))
    verb = "is" if (values == values.min()).sum() == 1 else "are"
    return (f"In the chosen epoch {low} {verb} lowest on validation, at {format_share(values.min())}, and {high} highest, "
            f"at {format_share(values.max())}.")


def describe_changes(history: pd.DataFrame, classes: Sequence[str]) -> str:
    """Which class gains most and which loses most on validation from the first epoch to the chosen one."""
    rows = history.set_index("epoch")
    best = best_epoch(history.to_dict("records"))
    if best == rows.index[0]:
        return f"The chosen epoch is the first of {len(history)}: later ones raise no mean on validation."
    columns = [f"val_accuracy_{name}" for name in classes]
    change = pd.Series((rows.loc[best, columns] - rows[columns].iloc[0]).to_numpy(float), classes).dropna().round(3)
    told = []
    for word, sign in (("gained", 1), ("lost", -1)):
        most = (sign * change).max()
        if most > 0:
            names = listed(list(map(literal, change.index[sign * change == most])), 3)
            told.append(f"{names} {word} most ({format_number(sign * most, 3, sign=True)})")
    if not told:
        return "From the first epoch to the chosen one no class changed on validation."
    return f"From the first epoch to the chosen one, on validation: {'; '.join(told)}" + (
        "." if change.min() < 0 else "; no class lost.")


def describe_training(history: pd.DataFrame, unaugmented: Mapping | None, *, augmentation: str) -> list[str]:
    """Sentences on the losses of the chosen epoch, and why validation lies where it does.

    `unaugmented` {images, of, loss, mean_class_accuracy}: the training images scored by the chosen network as the
    validation images are; None where that was not done.
    """
    row = history.set_index("epoch").loc[best_epoch(history.to_dict("records"))]
    train, val = row["train_loss"], row["val_loss"]
    if not is_plain(history):
        return ["The training loss of this run is what was optimised, with label smoothing and class weights where "
                "they were set: it cannot be compared with that of validation."]
    lines = [f"Cross-entropy in the chosen epoch: {train:.3f} on the training images as measured during training, "
             f"{val:.3f} on validation, which lies {_side(val, train)} train."]
    if unaugmented:
        n, of = unaugmented["images"], unaugmented["of"]
        lines.append(f"The chosen network again, on {f'{n:,} of ' if n < of else ''}the {of:,} training images without "
                     f"augmentation: cross-entropy {unaugmented['loss']:.3f}, mean class accuracy "
                     f"{format_share(unaugmented['mean_class_accuracy'])}.")
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
        causes = "" if augmentation == "none" else "with augmentation and "
        return (f"Scored the same way, validation lies {scored} train: that it lies below in the curve comes from how the "
                f"training loss is measured, {causes}while the weights still changed.")
    reason = "the network does that much better on images that it was trained on" if "above" in scored else \
        "its images are no harder for the network than those that it was trained on"
    return f"Scored the same way, validation lies {scored} train: {reason}."
