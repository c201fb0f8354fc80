"""The space of a search: ranges and choices of training parameters and options of architectures."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from inside.models.build import check_architecture, from_scratch, legal_options
from inside.settings import PARAMETERS, check_parameters, parameters_where
from inside.text import brief, did_you_mean, errors_of, raise_all
from inside.training.compatible import check_network, with_overrides

ALIASES = {"LR": "LEARNING_RATE", "AUGMENT": "AUGMENTATION"}
SEARCHABLE = parameters_where(searchable=True)
GRID_VALUES = 3  # of a range, where SEARCH_SAMPLER is "grid"


def search_space(settings: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """SEARCH_SPACE as Optuna distributions, by name in lower case; ValueError for what is no option or an empty range.

    A range is two numbers, with "log" as a third entry for a logarithmic one: [1e-5, 1e-2, "log"]. Any other list, and
    two numbers followed by "choice", are choices. Names are training parameters (lr and augment are understood), or
    options of an architecture in play; an option that not all architectures have is drawn for those that do.
    """
    given = settings["SEARCH_SPACE"]
    if not given:
        raise ValueError('SEARCH_SPACE is empty: give options to try, such as {"learning_rate": [1e-4, 1e-2, "log"]}, or '
                         "set SEARCH_TRIALS = 0.")
    names = {_option_name(name): name for name in given}
    if len(names) < len(given):
        raise ValueError(f"SEARCH_SPACE names an option twice: {', '.join(given)}.")
    architectures = [settings["ARCHITECTURE"]]
    if "architecture" in names:
        architectures = values_of(_distribution("architecture", given[names["architecture"]]))
        raise_all(problem for architecture in architectures for problem in errors_of(check_architecture, architecture))
    raise_all(problem for name in given for problem in errors_of(_distribution, name, given[name]))
    space = {option: _distribution(name, given[name]) for option, name in names.items()}
    raise_all(problem for option, name in names.items() for problem in errors_of(
        _check_option, option, name, values_of(space[option]), architectures, settings))
    if "epochs" in space and settings["SEARCH_EPOCHS"]:
        raise ValueError("SEARCH_SPACE varies epochs, but SEARCH_EPOCHS fixes them: set SEARCH_EPOCHS = 0.")
    if settings["SEARCH_SAMPLER"] == "grid":
        partial = [name for name in space if not all(applies(name, kind) for kind in architectures)]
        if partial:
            raise ValueError(f"SEARCH_SPACE holds {partial[0]!r}, which not every architecture has: SEARCH_SAMPLER = "
                             "\"grid\" cannot do that, \"tpe\" and \"random\" can.")
    return space


def _option_name(name: str) -> str:
    upper = ALIASES.get(name.upper(), name.upper())
    return (upper if upper in SEARCHABLE else name).lower()


def _distribution(name: str, values: object) -> BaseDistribution:
    """One entry of SEARCH_SPACE."""
    if not isinstance(values, (list, tuple)) or not values:
        raise ValueError(f"SEARCH_SPACE: {name} = {brief(values)} is not valid: it takes a range [low, high], "
                         "[low, high, \"log\"], or a list of choices.")
    if any(type(value) in (int, float) and not abs(value) < 1e300 for value in values):
        raise ValueError(f"SEARCH_SPACE: {name} = {brief(values)} holds a number that is infinite, too large or none.")
    numbers = [type(value) in (int, float) for value in values[:2]] == [True, True]
    word = values[2] if len(values) == 3 and numbers and isinstance(values[2], str) else ""
    if word not in ("", "log", "choice"):
        raise ValueError(f"SEARCH_SPACE: {name} = {brief(list(values))} ends in {word!r}; legal there are 'log' and "
                         "'choice'.")
    if numbers and (word == "log" or len(values) == 2):
        low, high = values[:2]
        if low >= high or word == "log" and low <= 0:
            raise ValueError(f"SEARCH_SPACE: the range {name} = {list(values)} is empty: the first number must be smaller "
                             "than the second" + (", and above 0 on a logarithmic scale." if word else "."))
        kind = IntDistribution if type(low) is type(high) is int else FloatDistribution
        return kind(low, high, log=word == "log")
    choices = [value if isinstance(value, (str, bool, int, float)) else json.dumps(value)
               for value in (values[:2] if word else values)]
    if len(set(map(repr, choices))) < len(choices):
        raise ValueError(f"SEARCH_SPACE: {name} = {brief(list(values))} names a choice twice: leave one of them out.")
    return CategoricalDistribution(choices)


def _check_option(option: str, name: str, values: Sequence, architectures: Sequence[str],
                  settings: Mapping[str, Any]) -> None:
    """Raise ValueError unless an architecture in play has the option, and all values are legal for those that have it."""
    fitting = [architecture for architecture in architectures if applies(option, architecture)]
    if not fitting:
        legal = {*map(str.lower, SEARCHABLE), *(key for kind in architectures for key in legal_options(kind))}
        raise ValueError(f"SEARCH_SPACE names {name!r}, which is no option of {' or '.join(architectures)} or of training: "
                         f"{did_you_mean(name, sorted(legal))}")
    for value, architecture in itertools.product(values, fitting):
        drawn = {"architecture": architecture, option: value}
        if option.upper() in SEARCHABLE:
            check_parameters({option.upper(): value})
        check_network(with_trial_params(settings, drawn))


def applies(option: str, architecture: str) -> bool:
    """Whether an option of a search means anything for an architecture."""
    if option.upper() in SEARCHABLE:
        return not (from_scratch(architecture) and PARAMETERS[option.upper()].pretrained)
    return option in legal_options(architecture)


def decoded(value: object) -> object:
    """A choice as it stood in SEARCH_SPACE: lists are kept as JSON text in a study."""
    return json.loads(value) if isinstance(value, str) and value[:1] in ("[", "{") else value


def values_of(distribution: BaseDistribution) -> list:
    """All choices of a distribution, or the ends of its range."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    return [distribution.low, distribution.high]


def grid_of(space: Mapping[str, BaseDistribution]) -> list[dict[str, Any]]:
    """All combinations of the choices; a range stands for GRID_VALUES values, its ends and evenly between them."""
    columns = []
    for distribution in space.values():
        if isinstance(distribution, CategoricalDistribution):
            columns.append(distribution.choices)
            continue
        spaced = np.geomspace if distribution.log else np.linspace
        values = spaced(distribution.low, distribution.high, GRID_VALUES).clip(distribution.low, distribution.high)
        whole = isinstance(distribution, IntDistribution)
        columns.append(list(dict.fromkeys(int(value.round()) if whole else float(value) for value in values)))
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*columns)]


def with_trial_params(settings: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the options that a trial has drawn, those of its architecture among the ARCHITECTURE_OPTIONS."""
    of_training = {name.upper(): value for name, value in params.items() if name.upper() in SEARCHABLE}
    settings = with_overrides(settings, of_training)
    own = {name: decoded(value) for name, value in params.items() if name.upper() not in SEARCHABLE}
    return settings | {"ARCHITECTURE_OPTIONS": settings["ARCHITECTURE_OPTIONS"] | own}


def suggest(trial: optuna.Trial, space: Mapping[str, BaseDistribution], architecture: str) -> dict[str, Any]:
    """Draw the options of a trial: the architecture first, then those that mean anything for it."""
    drawn: dict[str, Any] = {}
    for name in sorted(space, key=lambda name: name != "architecture"):
        if applies(name, drawn.get("architecture", architecture)):
            distribution = space[name]
            if isinstance(distribution, CategoricalDistribution):
                drawn[name] = trial.suggest_categorical(name, distribution.choices)
            else:
                draw = trial.suggest_int if isinstance(distribution, IntDistribution) else trial.suggest_float
                drawn[name] = draw(name, distribution.low, distribution.high, log=distribution.log)
    return drawn


def base_values(settings: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """The values that the settings themselves have for the options of a space: those of trial 0, where the space holds
    them."""
    values = {}
    for name in space:
        if name.upper() in SEARCHABLE:
            values[name] = settings[name.upper()]
        else:
            values[name] = (legal_options(settings["ARCHITECTURE"]) | settings["ARCHITECTURE_OPTIONS"]).get(name)
    return values
