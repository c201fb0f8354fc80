"""Names, colours and marks of scenarios: draws of random weights, stand-ins, frozen layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

# Scenario -> colour (Okabe and Ito's palette), line style and marker: each of the last two alone tells them apart, too, in
# grey and for colour-blind readers. A stand-in looks like what it stands in for. A scenario named "<one of these>_32px"
# (images first reduced to 32 x 32 pixels) looks the same, with hollow markers.
SCENARIO_COLORS = {
    "finetuned_own": "#D55E00",
    "imagenet_own": "#0072B2",
    "imagenet_imagenet": "#009E73",
    "imagenet_cifar10": "#CC79A7",
    "imagenet_photo_patches": "#009E73",
    "imagenet_digits": "#CC79A7",
    "imagenet_demo": "#E69F00",
    "random_own": "#7F7F7F",
}
SCENARIO_LINES = {
    "finetuned_own": ("-", "o"),
    "imagenet_own": ("--", "s"),
    "imagenet_imagenet": ("-.", "^"),
    "imagenet_cifar10": ((0, (6, 1.5, 1, 1.5, 1, 1.5)), "D"),
    "imagenet_photo_patches": ("-.", "^"),
    "imagenet_digits": ((0, (6, 1.5, 1, 1.5, 1, 1.5)), "D"),
    "imagenet_demo": ((0, (1, 1)), "P"),
    "random_own": (":", "X"),
}
SCENARIO_LABELS = {
    "finetuned_own": "fine-tuned, own images",
    "imagenet_own": "ImageNet-initialised, own images",
    "imagenet_imagenet": "ImageNet-initialised, ImageNet images",
    "imagenet_cifar10": "ImageNet-initialised, CIFAR-10 images",
    "imagenet_photo_patches": "ImageNet-initialised, photo patches (stand-in for ImageNet)",
    "imagenet_digits": "ImageNet-initialised, handwritten digits (stand-in for CIFAR-10)",
    "imagenet_demo": "ImageNet-initialised, drawn scenes (stand-in)",
    "random_own": "random initialisation, own images",
}
NETWORK_WORDS = {"finetuned": "the fine-tuned network", "imagenet": "the ImageNet-initialised network",
                 "random": "the network with random weights"}
IMAGE_WORDS = {"own": "own images", "imagenet": "ImageNet images", "cifar10": "CIFAR-10 images",
               "photo_patches": "photo patches (stand-in)", "digits": "handwritten digits (stand-in)",
               "demo": "drawn scenes (stand-in)"}
SMALL_IMAGES = ("imagenet_cifar10", "imagenet_digits")  # scenarios whose images had fewer pixels before they were resized
STAND_INS = ("photo_patches", "digits", "demo")  # embedded data sets that take the place of ImageNet and CIFAR-10


def first_draws(by_scenario: Mapping[str, Any]) -> dict[str, Any]:
    """A dictionary by scenario without the further draws of random weights."""
    return {name: value for name, value in by_scenario.items() if scenario_draw(name)[1] == 1}


def main_scenarios(by_scenario: Mapping[str, Any]) -> dict[str, Any]:
    """A dictionary by scenario without the further draws of random weights and without the resolution control."""
    return {name: value for name, value in first_draws(by_scenario).items() if not name.endswith("_32px")}


def scenario_draw(name: str) -> tuple[str, int]:
    """("random_own", 2) of "random_own_draw2": the scenario, and which draw of its weights; 1 for names without a number."""
    scenario, _, draw = name.partition("_draw")
    return (scenario, int(draw)) if draw.isdecimal() else (name, 1)


def is_stand_in(name: str) -> bool:
    """Whether a data set, or the images of a scenario, only stand in for ImageNet or CIFAR-10: they are never ranked."""
    return name.removesuffix("_32px").removeprefix("imagenet_") in STAND_INS


def describe_missing(names: Iterable[str]) -> list[str]:
    """One sentence: which scenarios were not measured; [] where none is missing."""
    labels = [f"**{scenario_style(name)['label']}**" for name in names]
    return [f"Not measured: {'; '.join(labels)}."] if labels else []


def scenario_words(name: str) -> str:
    """A scenario in a sentence: its network, and its images where these are not the own ones as they are."""
    scenario, draw = scenario_draw(name)
    network, _, images = scenario.removesuffix("_32px").partition("_")
    if network not in NETWORK_WORDS or images not in IMAGE_WORDS:
        return name
    told = NETWORK_WORDS[network]
    told += "" if scenario == f"{network}_own" else f" on {image_words(scenario)}"
    return f"{told}, draw {draw}" if draw > 1 else told


def image_words(scenario: str) -> str:
    """The images of a scenario in a sentence."""
    images = scenario.removesuffix("_32px").partition("_")[2]
    return IMAGE_WORDS.get(images, images) + (" reduced to 32×32 px" if scenario.endswith("_32px") else "")


def pair_words(networks: str) -> str:
    """Two scenarios that are compared, "<one> and <other>", in a sentence."""
    return " and ".join(map(scenario_words, networks.split(" and ")))


def scenario_title(name: str) -> str:
    """The name of a scenario for tables, a stand-in marked as one."""
    return f"{name} (stand-in)" if is_stand_in(name) else name


def frozen_label(layer: str, frozen: Sequence[str]) -> str:
    """The name of a layer for axes and tables, a frozen one marked as one."""
    return f"{layer} (frozen)" if layer in frozen else layer


def mark_frozen(table: pd.DataFrame, frozen: Sequence[str]) -> pd.DataFrame:
    """A table with the frozen layers marked in its column "layer"."""
    return table.assign(layer=[frozen_label(layer, frozen) for layer in table["layer"]])


def scenario_style(scenario: str) -> dict:
    """label, color, linestyle, marker and its filling; hollow for names ending in _32px, black for unknown scenarios."""
    base = scenario_draw(scenario)[0].removesuffix("_32px")
    reduced, color = scenario.endswith("_32px"), SCENARIO_COLORS.get(base, "black")
    linestyle, marker = SCENARIO_LINES.get(base, ("-", "."))
    return {"label": SCENARIO_LABELS.get(base, base) + (", reduced to 32×32 px" if reduced else ""), "color": color,
            "linestyle": linestyle, "marker": marker, "markerfacecolor": "white" if reduced else color}
