"""The parameters of a run and its versions, once for its notebooks."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from nbformat import NotebookNode

from inside.settings import PARAMETERS
from inside.text import without_passwords

Row = tuple[str, str, str, str]


def parameter_rows(notebooks: Iterable[NotebookNode]) -> tuple[list[Row], list[Row]]:
    """(name, value, default, meaning) of the parameters that differ from their defaults, and of all others.

    Where a name needs no explanation, its valid values stand in place of its meaning.

    They are read from the cells of the executed notebooks that are tagged `parameters` and `injected-parameters`.
    """
    defaults: dict[str, object] = {}
    given: dict[str, object] = {}
    for notebook in notebooks:
        for cell in notebook.cells:
            tags = cell.metadata.get("tags", [])
            if "parameters" in tags:
                defaults = literals(cell.source) | defaults
            elif "injected-parameters" in tags:
                given = literals(cell.source) | given
    rows = {name: (name, without_passwords(repr(given.get(name, value))), repr(value), _meaning(name))
            for name, value in defaults.items()}
    differ = [name for name, value in defaults.items() if given.get(name, value) != value]
    return [rows[name] for name in differ], [row for name, row in rows.items() if name not in differ]


def literals(source: str) -> dict[str, object]:
    """{name: value} of the lines NAME = literal of a cell; other lines are left out."""
    found = {}
    for line in ast.parse(source).body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            try:
                found[line.targets[0].id] = ast.literal_eval(line.value)
            except ValueError:
                continue
    return found


def _meaning(name: str) -> str:
    return PARAMETERS[name].meaning or PARAMETERS[name].legal if name in PARAMETERS else ""
