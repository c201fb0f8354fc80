"""Tests of inside/selection/space.py."""

import json

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from inside.preflight import check_settings
from inside.selection.space import grid_of, search_space, suggest, with_trial_params
from inside.selection.study import RepeatableSampler
from inside.training.compatible import check_network
from shared.searches import settings


def test_ranges_and_choices():
    space = search_space(settings({
        "lr": [1e-5, 1e-2, "log"], "BATCH_SIZE": [8, 64], "dropout": [0.2, 0.5], "augment": ["none", "light"], "warmup": [0.0, 0.2, "choice"],
        "class_weights": [True, False], "image_size": [32, 48, 64], "weight_decay": [0.0, 0.01, 0.1]}))
    assert space == {
        "learning_rate": FloatDistribution(1e-5, 1e-2, log=True), "batch_size": IntDistribution(8, 64), "dropout": FloatDistribution(0.2, 0.5),
        "augmentation": CategoricalDistribution(["none", "light"]), "warmup": CategoricalDistribution([0.0, 0.2]),
        "class_weights": CategoricalDistribution([True, False]), "image_size": CategoricalDistribution([32, 48, 64]),
        "weight_decay": CategoricalDistribution([0.0, 0.01, 0.1])}


@pytest.mark.parametrize("space, message, changes", [
    ({}, "SEARCH_SPACE is empty", {}), ({"learning_rat": [1e-3, 1e-2]}, "did you mean 'learning_rate'", {}),
    ({"lr": []}, "lr = \\[\\] is not valid: it takes a range", {}), ({"lr": [1e-2, 1e-3]}, "range lr = \\[0.01, 0.001\\] is empty", {}),
    ({"lr": [0.01, 0.01]}, "is empty", {}), ({"lr": [0, 0.01, "log"]}, "above 0 on a logarithmic scale", {}),
    ({"lr": [1e-3, 1e-2, "logs"]}, "legal there are 'log' and 'choice'", {}), ({"lr": 0.01}, "lr = 0.01 is not valid: it takes a range", {}),
    ({"lr": [1e-3, 1e-2], "learning_rate": [1e-3, 1e-2]}, "names an option twice", {}),
    ({"optimizer": ["sgd", "adamm"]}, "did you mean 'adam'", {}), ({"optimizer": ["sgd", "sgd"]}, "names a choice twice", {}),
    ({"lr": [1e-3, 100.0]}, "LEARNING_RATE = 100.0 is not valid", {}), ({"strategy": ["heads"]}, "did you mean 'head'", {}),
    ({"architecture": ["resnet5"]}, "did you mean 'resnet50'", {}), ({"filters": [8, 16]}, "no option of timm/test_resnet or of training", {}),
    ({"filters": [8, 16], "architecture": ["convnet5", "convnet_gap"], "kernel_size": [0, 3, 5]}, "kernel_size = 0 is not valid", {}),
    ({"dropout": [0.2, 1.5]}, "dropout = 1.5 is not valid", {}), ({"epochs": [2, 4]}, "SEARCH_EPOCHS fixes them", {"SEARCH_EPOCHS": 3}),
    ({"architecture": ["convnet5", "resnet18"], "filters": [8, 16]}, "which not every architecture has", {"SEARCH_SAMPLER": "grid"}),
    ({"SEED": [1, 2, 3]}, "no option", {}), ({"head": ["linear", "mlp"]}, "HEAD = 'mlp' is not valid", {}),
])
def test_spaces_that_are_not_legal(space, message, changes):
    with pytest.raises(ValueError, match=message) as error:
        check_settings(settings() | {"SEARCH_SPACE": space} | changes)
    assert "\n" not in str(error.value)
    check_settings(settings() | {"SEARCH_SPACE": space, "SEARCH_TRIALS": 0} | changes)  # not needed, not looked at


def test_an_option_is_drawn_for_those_that_have_it():
    chosen = settings({"architecture": ["convnet5", "timm/test_resnet"], "filters": [[4, 4, 4, 4, 4], 8], "strategy": ["head", "full"],
                       "dropout": [0.1, 0.4]}, SEARCH_SAMPLER="random")
    space = search_space(chosen)
    study = optuna.create_study(sampler=RepeatableSampler("random", 0))
    seen = set()
    for _ in range(30):
        drawn = suggest(study.ask(), space, chosen["ARCHITECTURE"])
        own = drawn["architecture"] == "convnet5"
        assert ("filters" in drawn) == own and ("strategy" in drawn) != own and "dropout" in drawn
        tried = with_trial_params(chosen, drawn)
        check_network(tried)
        seen.add(json.dumps(tried["ARCHITECTURE_OPTIONS"].get("filters")))
        assert tried["STRATEGY"] == ("full" if own else drawn["strategy"])
    assert seen == {"null", "8", "[4, 4, 4, 4, 4]"}


def test_grid_covers_all_combinations():
    space = search_space(settings({"lr": [1e-4, 1e-2, "log"], "augment": ["none", "light"], "batch_size": [4, 5]}))
    grid = grid_of(space)
    assert len(grid) == 3 * 2 * 2 == len({json.dumps(entry) for entry in grid})
    assert sorted({entry["learning_rate"] for entry in grid}) == pytest.approx([1e-4, 1e-3, 1e-2])
    for entry in grid:
        for name, value in entry.items():
            assert space[name]._contains(space[name].to_internal_repr(value))
