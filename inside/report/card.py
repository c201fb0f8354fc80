"""A model card of a run's network (Mitchell et al. 2019), with sentences made from its results."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from inside.files import atomic_write
from inside.render import markdown_html
from inside.report.found import Found
from inside.text import format_share, listed, literal, percent, put_back, set_aside

FILE = "model_card.md"


@dataclass(frozen=True)
class Section:
    """A section of the card: its title, and its sentences (Markdown)."""

    title: str
    sentences: list[str]


def card_sections(found: Found) -> list[Section]:
    """The sections of the paper that have something to say; [] where notebook 01 has not run."""
    own, metrics = found.results["01"], found.table("metrics_test.csv")
    if not own or metrics.empty:
        return []
    kind = "images that this project draws" if own.get("drawn") else f"images such as those of {literal(own['dataset'])}"
    return [
        Section("Model details", _details(own)),
        Section("Intended use", [f"It sorts {kind} into {len(found.classes)} classes: "
                                 f"{listed([literal(name) for name in found.classes], 20)}. An image of anything else is "
                                 "given one of these classes, too.", *_unsuited(own)]),
        Section("Factors", ["Measured by class only: camera, place, season, weather and the people in the images are not "
                            "told apart here."]),
        Section("Metrics", _measures(metrics)),
        Section("Training and evaluation data", _data(own)),
        Section("Quantitative analyses", [_weakest(metrics), *_calibrated(own)]),
        Section("Ethical considerations", ["Not examined by these notebooks: whom the images show, who may use them, and "
                                           "whom a wrong class would harm. Whoever passes the network on should add it."]),
        Section("Caveats and recommendations", _caveats(own)),
        Section("How to load it", [f"`python run.py predict {literal(found.folder.name)} path/to/images`, or in Python "
                                   "`from inside.files import RunFolder`, `from inside.models.saved import load_network`, "
                                   "`model, saved = load_network(RunFolder(\"NAME\", make=False))` with the name of this "
                                   "run; classes and preprocessing are in `saved`, and in `model.json`."])]


def _details(own: Mapping[str, Any]) -> list[str]:
    """The network, its start, what of it was trained, on how many pixels."""
    start = {"imagenet": "ImageNet weights", "random": "random weights"}.get(own["weights"], "other weights")
    return [f"{literal(own['architecture'])} of {own['parameters']:,} parameters, of which {own['trainable']:,} were "
            f"trained, from {start}, on {own['image_size']}×{own['image_size']} pixels; epoch {own['best_epoch']} of "
            f"{own['epochs']} is kept."]


def _unsuited(own: Mapping[str, Any]) -> list[str]:
    return ["Nothing is known about photographs."] if own.get("drawn") else []


def _measures(metrics: pd.DataFrame) -> list[str]:
    """Mean class accuracy and mean average precision with their intervals."""
    mean, told = metrics.iloc[-1], []
    for name, key in (("mean class accuracy", "accuracy"), ("mean average precision", "average_precision")):
        ends = [format_share(mean[f"{key}_{end}"]) for end in ("low", "high") if f"{key}_{end}" in mean]
        interval = f" (95% interval {' to '.join(ends)})" if ends else ""
        told.append(f"On test, {name} {format_share(mean[key])}{interval}.")
    return told


def _data(own: Mapping[str, Any]) -> list[str]:
    split, leaks, near = own.get("split", {}), own.get("leaks", {}), own.get("near_duplicates") or {}
    told = [f"{split.get('train', 0):,} images to train, {split.get('val', 0):,} to choose settings and epoch, "
            f"{split.get('test', 0):,} to test, once; the three share {leaks.get('path', 0)} files and "
            f"{leaks.get('content', 0)} decoded images."]
    if near.get("pairs") is not None:
        told.append(f"{near['pairs']:,} pairs of near duplicates were found, {leaks.get('near') or 0} of them in two parts.")
    return told


def _weakest(metrics: pd.DataFrame) -> str:
    classes = metrics.iloc[:-1].dropna(subset=["accuracy"])
    low, high = classes["accuracy"].min(), classes["accuracy"].max()
    names = [listed([literal(name) for name in classes.loc[classes["accuracy"] == end, "class"]]) for end in (low, high)]
    if low == high:
        return f"Every class has an accuracy of {percent(low)}."
    return f"Lowest class accuracy: {names[0]} ({percent(low)}); highest: {names[1]} ({percent(high)})."


def _calibrated(own: Mapping[str, Any]) -> list[str]:
    found = own.get("calibration") or {}
    measured = found.get("as_trained")
    if not measured:
        return []
    told = (f"Mean confidence {percent(measured['confidence'])} where {percent(measured['accuracy'])} are correct; expected "
            f"calibration error {format_share(measured['expected_calibration_error'])}.")
    warmth = found.get("temperature")
    return [told + (f" Divide the logits by {warmth:.2f} for better calibrated scores." if warmth else "")]


def _caveats(own: Mapping[str, Any]) -> list[str]:
    told = ["The intervals hold for other images of this kind and for this one network, not for another training."]
    suspects = own.get("suspected_labels") or {}
    if suspects.get("suspects"):
        told.append(f"{suspects['suspects']:,} of {suspects['images']:,} labels are suspected to be wrong, "
                    f"{suspects['by_part'].get('test', 0):,} of them of test images.")
    told.append("Images of other cameras, places or times than the training images may be classified less accurately: "
                "test with images of the place where it is to be used.")
    return told


def card_markdown(found: Found) -> str:
    """The card as Markdown, in which names from outside are text; "" where there is none."""
    sections = card_sections(found)
    parts = [f"## {section.title}\n\n" + "\n".join(f"- {sentence}" for sentence in section.sentences)
             for section in sections]
    text, names = set_aside("\n\n".join([f"# Model card: {literal(found.folder.name)}", *parts]))
    return put_back(text, [re.sub(r"([^\w\s])", r"\\\1", name) for name in names]) + "\n" if sections else ""


def card_html(found: Found) -> str:
    """The card for a fold of the page; "" where there is none."""
    return "".join(f"<h4>{html.escape(section.title)}</h4>" + markdown_html("\n".join(
        f"- {sentence}" for sentence in section.sentences)) for section in card_sections(found))


def write_card(folder: Path) -> None:
    """Write model_card.md into a run folder, if notebook 01 has run there."""
    if card := card_markdown(Found.read(folder)):
        with atomic_write(folder / FILE) as temporary:
            temporary.write_text(card, encoding="utf-8")
