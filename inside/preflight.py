"""Checks before anything is written: parameters that fit together, a search space that can be searched."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

from inside import settings as table
from inside.models.build import check_architecture
from inside.names import TRACKERS
from inside.selection.space import search_space
from inside.selection.study import check_storage
from inside.settings import PARAMETERS, parameters_where
from inside.text import did_you_mean
from inside.training.compatible import check_network, with_overrides


def check_parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    """The notebook parameters in `values`, each checked (see inside.settings), including the name of the architecture."""
    checked = table.check_parameters(values)
    if "ARCHITECTURE" in checked:
        check_architecture(checked["ARCHITECTURE"])
    return checked


def check_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The notebook parameters in `values`, each checked alone and together; ValueError for what does not fit.

    Complete settings of notebook 01 are needed; other names are ignored.
    """
    settings = check_parameters(values)
    check_network(settings)
    for tracker in settings["TRACKERS"]:
        if tracker not in TRACKERS:
            raise ValueError(f"TRACKERS names {tracker!r}: {did_you_mean(tracker, TRACKERS)}")
        if importlib.util.find_spec(tracker) is None:
            raise ValueError(f"TRACKERS names {tracker!r}, whose package is not installed: pip install {tracker}, "
                             "or remove it from TRACKERS.")
    for row in settings["COMPARE"]:
        if not isinstance(row, dict):
            raise ValueError(f"COMPARE holds {row!r}: expected dictionaries of changed parameters, such as "
                             '{"STRATEGY": "head"}.')
        for name in row:
            if name not in PARAMETERS or not PARAMETERS[name].comparable:
                legal = parameters_where(comparable=True)
                raise ValueError(f"COMPARE cannot change {name!r}; {did_you_mean(name, legal)}")
        check_network(check_parameters(with_overrides(settings, row)))
    return settings


def check(settings: Mapping[str, Any]) -> None:
    """Raise ValueError unless the parameters of a notebook fit together; those of other notebooks are ignored."""
    check_architecture(settings["ARCHITECTURE"])
    if all(name in settings for name, parameter in PARAMETERS.items() if "1" in parameter.notebooks):
        check_settings(settings)
        check_search(settings)


def check_search(settings: Mapping[str, Any]) -> None:
    """Raise ValueError unless STUDY_STORAGE and, if there are SEARCH_TRIALS, SEARCH_SPACE are valid."""
    check_storage(settings["STUDY_STORAGE"])
    if settings["SEARCH_TRIALS"]:
        search_space(settings)
