"""Tests of inside/training/describe.py."""

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from inside.names import AUGMENTATIONS
from inside.training.describe import describe_changes, describe_chosen_epoch, describe_classes_by_epoch, describe_training
from shared.training import CLASSES, history_of, unaugmented_of


@pytest.mark.parametrize("train, val, alike, augmentation, words", [
    (0.8, 0.5, 0.4, "light", ["which lies 0.300 below train", "lies 0.100 above train: that it lies below in the curve", "with augmentation and while"]),
    (0.8, 0.5, 0.4, "none", ["which lies 0.300 below train", "is measured, while the weights still changed"]),
    (0.8, 0.5, 0.6, "light", ["which lies 0.300 below train", "Scored the same way, validation lies 0.100 below train: its images are no harder"]),
    (0.5, 0.8, 0.4, "light", ["which lies 0.300 above train", "Scored the same way, validation lies 0.400 above train: the network does that much better"]),
    (0.5, 0.8, 0.9, "light", ["which lies 0.300 above train", "Scored the same way, validation lies 0.100 below train"]),
    (0.5, 0.5001, 0.5, "light", ["which lies level with train", "Scored the same way, validation lies level with train"]),
])
def test_what_is_told_of_the_losses_follows_the_numbers(train, val, alike, augmentation, words):
    history = history_of(train, val, chosen=2)
    text = " ".join(describe_training(history, unaugmented_of(alike), augmentation=augmentation))
    assert describe_chosen_epoch(history).startswith("Epoch 2 of 3 is chosen: mean class accuracy 0.800 on validation, 0.700 on the training images")
    assert all(word in text for word in words), text
    assert ("comes from" in text) == (val < train and alike < val) and ("with augmentation and while" in text) <= (augmentation != "none")


def test_how_many_training_images_were_scored_is_told():
    history = history_of(0.8, 0.5)
    assert "on the 30 training images without augmentation" in describe_training(history, unaugmented_of(0.4), augmentation="none")[1]
    some = describe_training(history, unaugmented_of(0.4, images=1000, of=12034), augmentation="none")[1]
    assert "on 1,000 of the 12,034 training images" in some
    assert len(describe_training(history, None, augmentation="none")) == 1


@hypothesis_settings(max_examples=50, deadline=None)
@given(losses=st.tuples(*[st.floats(0, 20)] * 3), augmentation=st.sampled_from(AUGMENTATIONS), some=st.booleans())
def test_no_sentence_on_losses_contradicts_its_numbers(losses, augmentation, some):
    train, val, alike = losses
    lines = describe_training(history_of(train, val), unaugmented_of(alike, of=50 if some else 30), augmentation=augmentation)
    for line, other in ((lines[0], train), (lines[2], alike)):
        assert ("above train" in line) == (round(val, 3) > round(other, 3)) and ("below train" in line) == (round(val, 3) < round(other, 3))
    assert not any("nan" in line or "  " in line or "lies 0.000" in line for line in lines) and all(line.endswith(".") for line in lines)


def test_a_tie_of_epochs_is_told_with_what_decided_it():
    history = history_of(0.5, 0.4, chosen=3)
    assert "the same as" not in describe_chosen_epoch(history)
    history["val_mean_class_accuracy"], history["val_loss"] = 0.9, [0.5, 0.5, 0.4]
    assert "0.900 on validation (the same as epochs 1 and 2, but with a lower loss), " in describe_chosen_epoch(history)
    history.loc[0, "val_mean_class_accuracy"], history.loc[1, "val_mean_class_accuracy"] = 0.8, 0.9 + 1e-15  # summed in another order
    assert "Epoch 3 of 3 is chosen" in describe_chosen_epoch(history) and "(the same as epoch 2, but with a lower loss)" in describe_chosen_epoch(history)


def classes_of(*rows, chosen=1):
    """A history with these accuracies of the classes a, b, c on validation, whose chosen epoch has the given number."""
    return history_of(0.5, 0.4, chosen=chosen, epochs=len(rows), **{f"val_accuracy_{name}": values for name, values in zip("abc", zip(*rows, strict=True), strict=True)})


@pytest.mark.parametrize("rows, chosen, extremes, changes", [
    ([(0.5, 0.9, 0.7), (0.6, 0.8, 0.7)], 2, "a is lowest on validation, at 0.600, and b highest, at 0.800.", "a gained most (+0.100); b lost most (−0.100)."),
    ([(0.5, 0.6, 0.9), (0.6, 0.6, 1.0)], 2, "a and b are lowest on validation, at 0.600, and c highest, at 1.000.", "a and c gained most (+0.100); no class lost."),
    ([(0.5, 0.6, 0.9), (0.5, 0.6, 0.9)], 2, "a is lowest on validation, at 0.500, and c highest, at 0.900.", "no class changed on validation."),
    ([(0.5, 0.5, 0.5), (0.4, 0.4, 0.4)], 1, "every class that validation has is at 0.500.", "The chosen epoch is the first of 2"),
    ([(0.5, 0.9, float("nan")), (0.7, 0.9, float("nan"))], 2, "a is lowest on validation, at 0.700, and b highest, at 0.900.", "a gained most (+0.200); no class lost.")])
def test_what_is_told_of_the_classes_by_epoch(rows, chosen, extremes, changes):
    history = classes_of(*rows, chosen=chosen)
    assert extremes in describe_classes_by_epoch(history, CLASSES) and changes in describe_changes(history, CLASSES)
