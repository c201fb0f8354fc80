"""What notebook 01 shows of a training."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from inside.models.saved import SavedModel
from inside.shown import Figure, Shown, Text
from inside.training.describe import describe_changes, describe_chosen_epoch, describe_classes_by_epoch, describe_training
from inside.training.plots import add_legend, plot_accuracy_by_epoch, plot_history


def report_training(saved: SavedModel, history: pd.DataFrame) -> list[Shown]:
    """Losses by epoch, accuracy of each class by epoch on train and validation, and what follows from the chosen epoch."""
    told = describe_training(history, saved.train_unaugmented, augmentation=saved.settings["AUGMENTATION"])
    ax = plot_history(history, unaugmented=saved.train_unaugmented)
    alt = f"Cross-entropy of train and validation by epoch. {describe_chosen_epoch(history)} {' '.join(told)}"
    diamond = "; diamond: the training images scored as validation is" if saved.train_unaugmented else ""
    caption = f"{describe_chosen_epoch(history)} Mean cross-entropy by epoch; dotted: the chosen epoch{diamond}."
    return [Figure(ax.figure, "training", alt, caption), Text.bullets(told), *_report_classes(saved, history)]


def _report_classes(saved: SavedModel, history: pd.DataFrame) -> list[Shown]:
    fig, axes = plt.subplots(1, 2, figsize=(10.6, 4.2), layout="constrained", sharey=True)
    for part, ax in zip(("train", "val"), axes, strict=True):
        plot_accuracy_by_epoch(history, saved.classes, part, ax=ax)
    axes[1].set_ylabel("")
    add_legend(axes[1])
    claim = describe_classes_by_epoch(history, saved.classes)
    alt = f"Accuracy of each class by epoch, left on train, right on validation. {claim}"
    caption = (f"{claim} Left: measured during training; right: on validation, after each epoch. Points of the same "
               "epoch are drawn side by side, so that equal ones remain visible.")
    return [Figure(fig, "training_classes", alt, caption), Text(describe_changes(history, saved.classes))]
