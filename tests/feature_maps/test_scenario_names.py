"""Tests of inside/feature_maps/scenario_names.py."""

import pytest

from inside.feature_maps.scenario_names import (
    SCENARIO_COLORS,
    SCENARIO_LABELS,
    SCENARIO_LINES,
    first_draws,
    main_scenarios,
    pair_words,
    scenario_style,
    scenario_words,
)


def test_every_scenario_of_the_design_has_its_own_colour_and_words():
    names = {"finetuned_own", "imagenet_own", "imagenet_imagenet", "imagenet_cifar10", "random_own"}
    assert set(SCENARIO_COLORS) == set(SCENARIO_LABELS) == set(SCENARIO_LINES) > names
    for told_apart in range(2):  # without colour: by line style, and by marker
        assert len({SCENARIO_LINES[name][told_apart] for name in names}) == len(names)
    assert len({SCENARIO_COLORS[name] for name in names}) == len(names)
    assert all("stand-in" in SCENARIO_LABELS[name] for name in set(SCENARIO_LABELS) - names)
    style = scenario_style("imagenet_own_32px")
    assert style["color"] == SCENARIO_COLORS["imagenet_own"] and style["markerfacecolor"] == "white"
    assert "32×32" in style["label"] and scenario_style("imagenet_own")["markerfacecolor"] == style["color"]


def test_the_main_scenarios_are_neither_draws_nor_controls():
    names = ["finetuned_own", "imagenet_own", "random_own", "random_own_draw2", "imagenet_own_32px"]
    numbered = {name: number for number, name in enumerate(names)}
    assert main_scenarios(numbered) == {"finetuned_own": 0, "imagenet_own": 1, "random_own": 2}
    assert list(first_draws(numbered)) == [*names[:3], names[4]]


@pytest.mark.parametrize("name, words", [
    ("finetuned_own", "the fine-tuned network"), ("random_own_draw2", "the network with random weights, draw 2"),
    ("imagenet_own_32px", "the ImageNet-initialised network on own images reduced to 32×32 px"),
    ("imagenet_digits", "the ImageNet-initialised network on handwritten digits (stand-in)"),
    ("imagenet_cifar10", "the ImageNet-initialised network on CIFAR-10 images"), ("something_else", "something_else")])
def test_scenarios_have_plain_words_in_sentences(name, words):
    assert scenario_words(name) == words and pair_words(f"{name} and random_own") == f"{words} and the network with random weights"


def test_every_scenario_has_words():
    assert not [name for name in SCENARIO_LABELS if "_" in scenario_words(name)]
