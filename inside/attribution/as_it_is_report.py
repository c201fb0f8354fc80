"""What notebook 02 shows of the pretrained network as it is: figure, table, sentences, and the numbers for its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from inside.attribution.as_it_is import SHOWN_CLASSES, THRESHOLD, TOP, AsItIs, Guesses
from inside.attribution.plots import plot_guesses
from inside.attribution.report import left_out_text
from inside.shown import Figure, Shown, Table, Text
from inside.text import literal, percent


def report_as_it_is(found: AsItIs) -> list[Shown]:
    """Network and accuracy, an image of each class with its guesses, and the table of all images; or why there is none."""
    if found.left_out:
        return [left_out_text(found.left_out)]
    claim, told = describe_guesses(found.guesses), "; ".join(map(_told, found.guesses))
    read = (f"One image per class, of {SHOWN_CLASSES} classes at most, as the network reads it, and the {TOP} most probable "
            f"of its 1,000 classes with their probabilities. {found.no_box or describe_boxes(found.guesses)}")
    table = (f"{describe_most_frequent(found.table)} By own class: the class of ImageNet that is most often the most "
             "probable, its share of the images, and its mean probability in these.")
    return [Text(f"{_describe_network(found)} {describe_accuracy(found.accuracy, found.not_scored)}"),
            Figure(plot_guesses(found.guesses), "as_it_is",
                   f"Images with the first guess of the ImageNet network: {told}. {claim}", f"{claim} {read}"),
            Table(found.table, "as_it_is", table)]


def _told(guess: Guesses) -> str:
    """Own class, the first guess and its probability, for a sentence."""
    return f"{literal(guess.label or 'no class')} ({literal(guess.names[0])}, {percent(guess.probabilities[0])})"


def _describe_network(found: AsItIs) -> str:
    sizes = found.preprocessing
    return (f"`{found.architecture}` with its 1,000 classes, on images as at its evaluation on ImageNet: the shorter side "
            f"resized to {sizes['resize']} pixels ({sizes['interpolation']}), the middle {sizes['size']}×{sizes['size']} "
            "cut out.")


def describe_guesses(guesses: Sequence[Guesses]) -> str:
    """Of which image the network is most certain and of which least, before fine-tuning."""
    most, least = (pick(guesses, key=lambda guess: guess.probabilities[0]) for pick in (max, min))
    told = f"Before fine-tuning, the network is most certain about the image of {_told(most)}"
    return f"{told}." if most is least else f"{told} and least about that of {_told(least)}."


def describe_boxes(guesses: Sequence[Guesses]) -> str:
    """What the boxes are, and how much of the images they cover."""
    shares = [(right - left) * (bottom - top) / guess.picture[..., 0].size
              for guess in guesses if guess.box for left, top, right, bottom in [guess.box]]
    if not shares:
        return "No map holds evidence for the most probable class, so that there are no boxes."
    return ("Box, in the colour of the most probable class: around the largest connected part of its class activation map "
            f"above {percent(THRESHOLD, 0)} of the maximum; on average {percent(float(np.mean(shares)), 0)} of the image.")


def describe_most_frequent(table: pd.DataFrame) -> str:
    """Of which own class most images are taken for one and the same class of ImageNet, and of which fewest."""
    rows = table.sort_values("share of images", kind="stable").to_dict("records")
    most, least = (f"{literal(own or 'no class')} ({percent(share)}, {literal(name)})" for own, name, share in (
        (row["class"], row["ImageNet class"], row["share of images"]) for row in (rows[-1], rows[0])))
    told = "The share of images taken for one and the same class of ImageNet is"
    return f"{told} that of {most}." if len(rows) == 1 else f"{told} largest for {most} and smallest for {least}."


def describe_accuracy(accuracy: Mapping[str, Any] | None, not_scored: str) -> str:
    """How often the right class of ImageNet is the most probable one, and how often among the first TOP; or why not."""
    if accuracy is None:
        return f"It is not scored: {not_scored}."
    top = []
    for name in ("top1", "top5"):
        low, high = (percent(end) for end in accuracy[f"{name}_interval"])
        top.append(f"{percent(accuracy[name])} (95% interval {low} to {high})")
    return (f"Of {accuracy['images']:,} images of IMAGENET_VAL, whose names tell their class, {top[0]} are classified "
            f"correctly; for {top[1]} the right class is among the first {TOP}.")


def as_it_is_results(found: AsItIs) -> dict[str, Any]:
    """{as_it_is, as_it_is_reason} for 02_results.json; as_it_is is None where there is no such network, for this reason."""
    if found.left_out:
        return {"as_it_is": None, "as_it_is_reason": found.left_out}
    rows = {row["class"]: {"images": row["images"], "imagenet_class": row["ImageNet class"], "share": row["share of images"],
                           "confidence": row["mean confidence"]} for row in found.table.to_dict("records")}
    told = {"architecture": found.architecture, "preprocessing": dict(found.preprocessing), "most_frequent": rows,
            "accuracy": found.accuracy, "accuracy_reason": found.not_scored or None}
    return {"as_it_is": told, "as_it_is_reason": None}
