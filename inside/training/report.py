"""What notebook 01 shows of a training."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd

from inside.models.saved import SavedModel
from inside.shown import Figure, Shown, Text
from inside.training.describe import describe_training
from inside.training.plots import plot_accuracy_by_epoch, plot_history


def report_training(saved: SavedModel, history: pd.DataFrame) -> list[Shown]:
    """Losses by epoch, accuracy of each class by epoch on train and validation, and what follows from the chosen epoch."""
    classes: Sequence[str] = saved.classes
    fig, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    plot_history(history, unaugmented=saved.train_unaugmented, ax=axes[0])
    for part, ax in zip(("train", "val"), axes[1:], strict=True):
        plot_accuracy_by_epoch(history, classes, part, ax=ax)
    axes[1].sharey(axes[2])
    axes[2].legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    told = describe_training(history, saved.train_unaugmented, augmentation=saved.settings["AUGMENTATION"])
    last = history["val_mean_class_accuracy"].iloc[-1]
    alt = ("Left: cross-entropy of train and validation by epoch. Middle and right: accuracy of each class on train and "
           f"validation by epoch; the mean on validation ends at {last:.3f}. {' '.join(told)}")
    return [Figure(fig, "training", alt), Text.bullets(told)]
