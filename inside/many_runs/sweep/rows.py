"""The rows of a sweep: what each of its runs changes, read from a CSV or a YAML file. Imports nothing heavy."""

from __future__ import annotations

import csv
import io
import json
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inside.plain_yaml import LARGEST, read_yaml
from inside.settings import PARAMETERS, name_problems, parameter_problems
from inside.text import brief, listed, raise_all, slug, visible

LONGEST, MOST = 60, 1000  # characters of a name, and runs of a sweep
Problems = list[tuple[int, str]]  # of which row, 0 for the file as a whole


@dataclass(frozen=True)
class Row:
    """One run of a sweep: the number of its row in the file, from 1, and the parameters that it changes."""

    number: int
    changes: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of its folder: what it changes, the seed last, whatever the order of the columns and the other rows."""
        changed = [name for name in (*(name for name in PARAMETERS if name != "SEED"), "SEED") if name in self.changes]
        whole = "+".join(f"{name.lower()}-{slug(self.word(name))}" for name in changed)
        if len(whole) > LONGEST:
            return f"{whole[:LONGEST - 9]}-{zlib.crc32(whole.encode()):08x}"
        return whole or "unchanged"

    def word(self, name: str) -> str:
        """The value of a parameter that it changes, as text."""
        value = self.changes[name]
        return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def read_rows(path: Path) -> list[Row]:
    """The rows of a file, those with several seeds once for each. One ValueError tells all that is wrong, by row.

    CSV: the names of parameters, then a row for each run; an empty cell changes nothing. YAML (.yaml, .yml): a list of
    dictionaries of changed parameters. SEED may be a list, in CSV also `0 1 2`.
    """
    if not path.is_file():
        raise ValueError(f"There is no file {visible(str(path))}: give a CSV or YAML file of changed parameters, one row a "
                         "run.")
    read = _read_yaml if path.suffix.lower() in (".yaml", ".yml") else _read_csv
    entries, problems = read(path)
    rows = [Row(number, changes) for number, entry in enumerate(entries, 1) for changes in _with_each_seed(
        {name: PARAMETERS[name].parse(value) if isinstance(value, str) else value
         for name, value in entry.items() if name in PARAMETERS})]
    problems += [(row.number, problem) for row in rows for problem in parameter_problems(row.changes)]
    problems += [(row.number, "RUN cannot be changed: each row has a folder of its own.") for row in rows
                 if "RUN" in row.changes]
    if not rows:
        problems += [(0, f"{visible(str(path))} has no rows: give one for each run.")] if not problems else []
    elif len(rows) > MOST:
        problems.append((0, f"{visible(str(path))} asks for {len(rows):,} runs; a sweep has at most {MOST:,}."))
    raise_by_row(problems, len(entries))
    raise_by_row(_twice(rows), len(entries))
    return rows


def raise_by_row(problems: Problems, n_rows: int) -> None:
    """Raise one ValueError that tells all problems, each once, with the numbers of the rows that have it; none: nothing."""
    found: dict[str, list[int]] = {}
    for number, problem in problems:
        found.setdefault(problem, []).append(number)
    raise_all(f"{_of(sorted(set(numbers)), n_rows)}{problem}" for problem, numbers in found.items())


def _of(numbers: Sequence[int], n_rows: int) -> str:
    if 0 in numbers:
        return ""
    if len(numbers) == n_rows > 1:
        return "every row: "
    return f"row{'s' * (len(numbers) > 1)} {listed([f'{number:,}' for number in numbers])}: "


def _twice(rows: Iterable[Row]) -> Problems:
    seen: dict[str, Row] = {}
    return [(row.number, f"it changes the same as row {first.number:,}: {row.name}.") for row in rows
            if (first := seen.setdefault(row.name.casefold(), row)) is not row]


def _with_each_seed(changes: dict[str, Any]) -> list[dict[str, Any]]:
    seeds = changes.get("SEED")
    if isinstance(seeds, str) and re.fullmatch(r"\d{1,12}(\s+\d{1,12})+", seeds.strip()):
        seeds = [int(seed) for seed in seeds.split()]
    return [changes | {"SEED": seed} for seed in seeds] if isinstance(seeds, list) and seeds else [changes]


def _read_yaml(path: Path) -> tuple[list[dict[str, Any]], Problems]:
    try:
        found = read_yaml(path)
    except ValueError as error:
        return [], [(0, str(error).replace("The profile", "The file of the rows", 1).replace("a profile", "it"))]
    found = [found] if isinstance(found, dict) else found
    if not isinstance(found, list):
        return [], [(0, f"{visible(str(path))} contains no list of changed parameters: expected lines such as "
                     "'- EPOCHS: 4'.")]
    wrong = [(number, f"it is {brief(entry)}: expected changed parameters, such as EPOCHS: 4.")
             for number, entry in enumerate(found, 1) if not isinstance(entry, dict)]
    entries = [entry if isinstance(entry, dict) else {} for entry in found]
    wrong += [(number, problem) for number, entry in enumerate(entries, 1) for problem in name_problems(entry)]
    return entries, wrong


def _read_csv(path: Path) -> tuple[list[dict[str, Any]], Problems]:
    """The cells of a table with commas or, as spreadsheets write it where a comma is decimal, semicolons."""
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it has {path.stat().st_size:,} bytes, more than {LARGEST:,}")
        text = path.read_text(encoding="utf-8-sig")
        head = text.partition("\n")[0]
        marked = ";" if ";" in head and "," not in head else ","
        lines = list(csv.reader(io.StringIO(text), delimiter=marked, skipinitialspace=True, strict=True))
    except (ValueError, csv.Error) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        return [], [(0, f"{visible(str(path))} cannot be read: {reason}.")]
    header, *cells = [[cell.strip() for cell in line] for line in lines if any(cell.strip() for cell in line)] or [[]]
    wrong: Problems = [(0, problem) for problem in name_problems(header)]
    wrong += [(0, f"{visible(str(path))} has the column {brief(name)} twice.") for name in dict.fromkeys(header)
              if header.count(name) > 1]
    longer = [number for number, line in enumerate(cells, 1) if len(line) > len(header)]
    wrong += [(number, f"it has more cells than the table has columns, {len(header)}: put a value with commas in quotes.")
              for number in longer]
    return [{name: cell for name, cell in zip(header, line, strict=False) if cell and number not in longer}
            for number, line in enumerate(cells, 1)], wrong
