"""Tests of inside/preflight.py."""

import sys

import pytest

from inside.preflight import check_settings
from shared.settings import settings


@pytest.mark.parametrize("changes, message", [
    ({"ARCHITECTURE": "convnet5", "STRATEGY": "head"}, "set STRATEGY = 'full'"), ({"ARCHITECTURE": "mlp", "HEAD": "mlp:8"}, "set HEAD = 'linear'"),
    ({"ARCHITECTURE_OPTIONS": {"filters": 8}}, "has no option 'filters'"), ({"TRACKERS": ["tensorbord"]}, "did you mean 'tensorboard'"),
    ({"COMPARE": ["head"]}, "expected dictionaries"), ({"COMPARE": [{"STRATEGYS": "head"}]}, "did you mean 'STRATEGY'"),
    ({"COMPARE": [{"SPLIT": [0.5, 0.2, 0.3]}]}, "cannot change 'SPLIT'"), ({"COMPARE": [{"STRATEGY": "heads"}]}, "did you mean 'head'"),
    ({"COMPARE": [{"ARCHITECTURE": "convnet5", "STRATEGY": "head"}]}, "set STRATEGY = 'full'"), ({"SAMPLE_GRID": [3]}, "rows and columns"),
    ({"ARCHITECTURE": "resnet5"}, "resnet50"), ({"ARCHITECTURE": "timm/resnet5"}, "resnet50"), ({"SAMPLE_GRID": [0, 4]}, "rows and columns"), ({"SEARCH_SPACE": []}, "it takes a dictionary"), ({"SEARCH_SAMPLER": "bayes"}, "choose from tpe, random, grid"),
])
def test_settings_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        check_settings(settings(**changes))
    assert "\n" not in str(error.value)


def test_a_tracker_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "wandb" else object())
    check_settings(settings(TRACKERS=["tensorboard"]))
    with pytest.raises(ValueError, match="pip install wandb"):
        check_settings(settings(TRACKERS=["tensorboard", "wandb"]))
