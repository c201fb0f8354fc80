"""Tests of inside/feature_maps/scenario_names.py."""


from inside.feature_maps.scenario_names import (
    SCENARIO_COLORS,
    SCENARIO_LABELS,
    SCENARIO_LINES,
    first_draws,
    main_scenarios,
    scenario_style,
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
