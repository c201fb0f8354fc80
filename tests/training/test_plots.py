"""Tests of inside/training/plots.py."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from inside.training.describe import describe_training
from inside.training.plots import plot_accuracy_by_epoch, plot_history, plot_learning_curves
from inside.training.report import report_training
from shared.training import CLASSES, history_of, unaugmented_of


def test_the_point_of_the_training_images_not_augmented_is_drawn_at_the_chosen_epoch():
    history = history_of(0.8, 0.5, chosen=2)
    ax = plot_history(history, unaugmented=unaugmented_of(0.4, images=1000, of=3000))
    line = ax.lines[-1]
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([2], [0.4])
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert any("not augmented" in text and "1,000" in text for text in texts) and "chosen: epoch 2" in texts


def test_an_old_history_is_not_set_beside_validation():
    """Its training loss is the objective, with smoothing and weights: no difference is told, and the plot says what it is."""
    old = history_of(0.8, 0.5).drop(columns="train_objective")
    for history in (old, history_of(0.8, 0.5, train_objective=[math.nan, 1.0, 1.0])):  # the second: an old checkpoint, gone on from
        lines = describe_training(history, None, augmentation="light")
        assert "cannot be compared" in lines[-1] and not any("below" in line or "above" in line for line in lines)
        assert "as optimised" in plot_history(history).get_legend().get_texts()[0].get_text()
    assert "optimised" not in plot_history(history_of(0.8, 0.5)).get_legend().get_texts()[0].get_text()


def classes_of(names):
    """A history in which all classes have the same accuracy, but the first the lowest in the last epoch."""
    columns = {f"{part}_accuracy_{name}": [0.5, 0.6, 0.7 - 0.2 * (name == names[0])] for part in ("train", "val") for name in names}
    return history_of(0.8, 0.5, chosen=2, **columns)


def test_classes_that_coincide_are_told_apart():
    names = ["a_b", "$x$", "c"]
    ax = plot_accuracy_by_epoch(classes_of(names), names, "val")
    lines = [line for line in ax.lines if line.get_label() in names]
    assert len(lines) == 3 and len({(line.get_linestyle(), line.get_marker()) for line in lines}) == 3
    assert [line.get_ydata()[0] for line in lines] == [0.5] * 3 and len({line.get_xdata()[0] for line in lines}) == 3
    assert all(abs(line.get_xdata() - [1, 2, 3]).max() < 0.5 for line in lines)  # nearer to their epoch than to the next


def test_of_many_classes_the_lowest_are_named():
    names = [f"class {number}" for number in range(30)]
    ax = plot_accuracy_by_epoch(classes_of(names), names, "train")
    named = [line.get_label() for line in ax.lines if line.get_label() in names]
    assert len(named) == 10 and names[0] in named and len(ax.lines) == 31


def test_learning_curves_are_told_apart_without_colour():
    histories = {name: history_of(0.8, 0.5, chosen=2) for name in ("one", "two", "three")}
    lines = [line for line in plot_learning_curves(histories).lines if line.get_label() in histories]
    assert len({(line.get_linestyle(), line.get_marker()) for line in lines}) == 3


@pytest.mark.parametrize("unaugmented", [None, unaugmented_of(0.4)])
def test_the_report_of_a_training(unaugmented):
    saved = SimpleNamespace(classes=CLASSES, settings={"AUGMENTATION": "light"}, train_unaugmented=unaugmented)
    losses, bullets, by_class, told = report_training(saved, classes_of(CLASSES))
    assert (losses.name, by_class.name) == ("training", "training_classes")
    assert losses.caption.startswith("Epoch 2 of 3 is chosen: ") and ("diamond" in losses.caption) == (unaugmented is not None)
    assert by_class.caption.startswith("In the chosen epoch every class that validation has is at 0.600.")
    assert len(losses.drawing.axes) == 1 and len(by_class.drawing.axes) == 2 and np.isclose(*[ax.get_ylim() for ax in by_class.drawing.axes]).all()
    assert bullets.markdown.startswith("- Cross-entropy in the chosen epoch") and told.markdown.endswith("gained most (+0.100); no class lost.")


def test_classes_without_validation_images_take_no_place_among_those_that_are_named():
    names = [f"{letter}" for letter in "abcdefghijklmn"]
    columns = {f"{part}_accuracy_{name}": [math.nan if name in "abc" and part == "val" else 0.1 * number for _ in range(3)]
               for part in ("train", "val") for number, name in enumerate(names)}
    labels = [line.get_label() for line in plot_accuracy_by_epoch(history_of(0.8, 0.5, **columns), names, "val").lines]
    assert [label for label in labels if label in names] == list("defghijklm")
