"""Profiles and the parameters of the notebooks, as the command line gives them. Imports nothing heavy."""

from __future__ import annotations

import argparse
import ast
import json
from pathlib import Path
from typing import Any, cast

from inside.cli.commands import COMMANDS
from inside.files import ROOT
from inside.plain_yaml import read_yaml
from inside.settings import PARAMETERS, name_problems, parameter_problems
from inside.text import brief, did_you_mean, raise_all

NOTEBOOKS = ROOT / "notebooks"
PROFILES = ROOT / "profiles"


def notebooks() -> list[Path]:
    """The three notebooks in order."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def notebook_parameters(path: Path) -> dict[str, Any]:
    """{name: default} of the cell tagged `parameters` of a notebook: literals only (papermill's own lookup misses some)."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    source = next("".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", []))
    lines = cast(list[ast.Assign], ast.parse(source).body)
    return {ast.unparse(line.targets[0]): ast.literal_eval(line.value) for line in lines}


def default_parameters() -> dict[str, Any]:
    """The defaults of all notebooks; for a parameter of several, that of the first."""
    return {name: value for book in reversed(notebooks()) for name, value in notebook_parameters(book).items()}


def read_profile(name: str) -> dict[str, Any]:
    """The parameters of a profile: the name of a file in profiles/, or a path. Raises ValueError."""
    path = next((path for path in (Path(name), PROFILES / f"{name}.yaml") if path.is_file()), None)
    if path is None:
        legal = sorted(file.stem for file in PROFILES.glob("*.yaml"))
        raise ValueError(f"There is no profile {brief(name)}: {did_you_mean(name, legal)}")
    if path.stem in COMMANDS:
        raise ValueError(f"The profile {path} has the name of a command: rename it.")
    profile = read_yaml(path)
    profile = {} if profile is None else profile
    if not isinstance(profile, dict):
        raise ValueError(f"The profile {path} contains no parameters: expected lines such as 'EPOCHS: 4'.")
    return {"RUN": path.stem} | profile


def given_parameters(options: argparse.Namespace) -> dict[str, Any]:
    """The parameters of a command: those of its profile, of -p and of --name. One ValueError tells all that is wrong."""
    problems: list[str] = []
    try:
        given = read_profile(options.profile)
    except ValueError as error:
        given, problems = {}, [str(error)]
    problems += name_problems([*given, *(name for name, _ in options.p)])
    given |= {name: PARAMETERS[name].parse(text) for name, text in options.p if name in PARAMETERS}
    given |= {"RUN": options.name} if options.name is not None else {}
    numbers = [book.name[:2] for book in notebooks()]
    problems += [f"--only {number}: there is no such notebook; choose from {', '.join(numbers)}."
                 for number in options.only or [] if number not in numbers]
    raise_all([*problems, *parameter_problems(given)])
    return given
