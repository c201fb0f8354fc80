"""What a check finds: rows of a table, and the comparison of what a hand-in tells with what follows from its files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import pandas as pd

from inside.text import brief

HOLDS, DIFFERS, OTHER_VERSION, UNDECIDED, NOT_FOUND = (
    "holds", "does not hold", "other version", "cannot be checked", "not examined")
STATUS = {HOLDS: 0, NOT_FOUND: 0, DIFFERS: 1, OTHER_VERSION: 2, UNDECIDED: 2}
COLUMNS = ["run", "what", "told", "recomputed", "expected", "verdict", "remark"]


@dataclass(frozen=True)
class Row:
    """One line of the table: what was looked at, what the hand-in tells, what was recomputed or expected, the verdict.

    `shown`: lines to be shown below it, such as the difference of two pieces of code.
    """

    what: str
    verdict: str
    told: str = ""
    recomputed: str = ""
    expected: str = ""
    remark: str = ""
    shown: str = ""
    run: str = ""


@dataclass(frozen=True)
class Tolerance:
    """How far two numbers that should be the same may be from each other: relative · |number| + absolute."""

    relative: float
    absolute: float

    def same(self, first: object, second: object) -> bool:
        """Whether two values agree: numbers within the tolerance, missing ones with missing ones, others exactly."""
        if not (_is_number(first) and _is_number(second)):
            return first == second
        a, b = float(first), float(second)  # type: ignore[arg-type]
        return a == b or abs(a - b) <= self.relative * max(abs(a), abs(b)) + self.absolute


EXACT = Tolerance(1e-9, 1e-12)  # the same float64 numbers, read from a CSV file, summed in another order


def compared(what: str, told: Any, made: Any, tolerance: Tolerance = EXACT, *, most: int = 5) -> list[Row]:
    """Compare two nestings of dictionaries, lists and tables: one row where all is the same, else one a difference.

    What only `told` has counts as a difference, too. After `most` of them a row tells how many more there are.
    """
    first, second = dict(leaves(told)), dict(leaves(made))
    wrong = [name for name in {**second, **first} if name not in first or name not in second
             or not tolerance.same(first[name], second[name])]
    if not wrong:
        return [Row(what, HOLDS, number_of(len(first)), "the same")]
    rows = [Row(f"{what}: {name}" if name else what, DIFFERS, _word(first, name), _word(second, name))
            for name in wrong[:most]]
    more = len(wrong) - most
    return rows + [Row(f"{what}: {more:,} more", DIFFERS, number_of(len(first)), f"{more:,} more differ")] * (more > 0)


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, object]]:
    """(name, value) of each value in a nesting; of a table each cell, named by row and column; NaN and "" are None."""
    if isinstance(value, pd.DataFrame):
        value = {f"row {number}": row for number, row in enumerate(value.to_dict("records"), 1)}
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from leaves(entry, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for number, entry in enumerate(value, 1):
            yield from leaves(entry, f"{name}[{number}]")
    else:
        yield name, None if value is pd.NA or value == "" or isinstance(value, float) and math.isnan(value) else value


def number_of(count: int, noun: str = "value") -> str:
    """A count with its noun."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def word(value: object) -> str:
    """A value for a cell of the table."""
    if value is None:
        return "none"
    if _is_number(value):
        return f"{value:.6g}" if isinstance(value, float) else brief(value)
    return " ".join(brief(value).split()) if not isinstance(value, str) else brief(value)[1:-1]


def _word(found: Mapping[str, object], name: str) -> str:
    return word(found[name]) if name in found else "not there"


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
