"""The executed notebooks of a hand-in: their code, their parameters, and what they show beside the files of the run."""

from __future__ import annotations

import ast
import base64
import difflib
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bs4 import Tag
from nbformat import NotebookNode

from inside.many_runs.check.files import HandIn, is_parameters, own_notebook
from inside.many_runs.check.rows import DIFFERS, HOLDS, NOT_FOUND, OTHER_VERSION, Row, compared, number_of
from inside.pictures import open_picture
from inside.release import release
from inside.report.parameters import literals
from inside.text import format_significant, visible

PICTURE = 2.0  # mean difference of two pictures, of 255: two versions of Pillow pack the same pixels nearly alike


def check_code(hand_in: HandIn, number: str) -> Iterator[Row]:
    """The code of an executed notebook against the project's own, the values of its parameters apart."""
    own = own_notebook(number)
    cells, ours = hand_in.notebook(own.name).cells, json.loads(own.read_text(encoding="utf-8"))["cells"]
    told = hand_in.results(number).get("release") if hand_in.has(f"{number}_results.json") else None
    same_release = told == release()
    if not same_release:
        yield Row(f"{own.name}: the release that made it", OTHER_VERSION, str(told or "none")[:60], expected=release(),
                  remark="what differs below may be a change of the project: check with the release that made the run")
    for kind, what in (("code", "code"), ("markdown", "text")):
        first, second = _lines(ours, kind), _lines(cells, kind)
        if first == second:
            yield Row(f"{own.name}: its {what} is the project's", HOLDS)
            continue
        shown = "\n".join(difflib.unified_diff(first, second, "notebooks/" + own.name, "handed in", lineterm="", n=2))
        verdict = NOT_FOUND if kind == "markdown" else DIFFERS if same_release else OTHER_VERSION
        yield Row(f"{own.name}: its {what} is the project's", verdict, shown=shortened(shown),
                  remark="changed: text cells may hold a reader's own answers" if kind == "markdown" else "changed")
    yield from _check_parameters(hand_in, own.name, cells)


def shortened(text: str) -> str:
    """Lines from a hand-in to be shown, the first of them where there are many."""
    return visible(text, keep="\n\t")[:20_000]


def _lines(cells: Sequence[Any], kind: str) -> list[str]:
    """The lines of all cells of a kind, without those of parameters, each cell under a line that begins it."""
    chosen = [cell for cell in cells if cell["cell_type"] == kind and not is_parameters(cell)]
    sources = ["".join(cell["source"]).rstrip() for cell in chosen]
    return [line for source in sources if source for line in ("# ---", *source.splitlines())]


def _check_parameters(hand_in: HandIn, name: str, cells: Sequence[NotebookNode]) -> Iterator[Row]:
    """Whether the cells of parameters hold values only, and those that run.json notes."""
    found: dict[str, object] = {}
    for cell in (cell for cell in cells if is_parameters(cell)):
        if not _values_only(cell.source):
            yield Row(f"{name}: cells of parameters hold values only", DIFFERS, shown=shortened(cell.source))
            return
        found |= literals(cell.source)
    both = sorted(set(found) & set(hand_in.noted) - {"RUN"})  # run.json has those of the last notebook that ran
    told, noted = ({key: values[key] for key in both} for values in (found, hand_in.noted))
    yield from compared(f"{name}: its parameters are those of run.json", told, noted)


def _values_only(source: str) -> bool:
    try:
        lines = ast.parse(source).body
        return len(literals(source)) == len(lines) and all(
            isinstance(line, ast.Assign) and len(line.targets) == 1 for line in lines)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def check_shown(hand_in: HandIn, number: str) -> Iterator[Row]:
    """The tables and figures that a notebook shows against tables/*.csv and figures/*.png."""
    name = own_notebook(number).name
    page = hand_in.shown(number)
    tables = {_name(figure): figure for figure in page.select('figure[id^="table-"]')}  # of those shown twice the last
    figures = {_name(figure): figure for figure in page.select('figure[id^="figure-"]')}
    wrong = [row for key, figure in tables.items() for row in _check_table(hand_in, name, key, figure)]
    wrong += [row for key, figure in figures.items() for row in _check_figure(hand_in, name, key, figure)]
    yield from wrong
    if not wrong:
        yield Row(f"{name}: what it shows is in tables/ and figures/", HOLDS,
                  f"{number_of(len(tables), 'table')}, {number_of(len(figures), 'figure')}", "the same")


def _name(figure: Tag) -> str:
    return str(figure["id"]).partition("-")[2]


def _check_table(hand_in: HandIn, notebook: str, name: str, figure: Tag) -> Iterator[Row]:
    """A table that is shown against the CSV behind its link, and this against tables/<name>.csv."""
    what, link = f"{notebook}: table {name}", figure.find("a", download=True)
    kept = base64.b64decode(str(link["href"]).partition("base64,")[2]).decode() if isinstance(link, Tag) else ""
    place = ("tables", Path(f"{name}.csv").name)
    file = hand_in.path(*place).read_text(encoding="utf-8") if hand_in.has(*place) else ""
    first, second = (_cells(text) for text in (kept, file))
    if not first.equals(second):
        yield from compared(f"{what} against tables/{name}.csv", first, second) if len(first) or len(second) else [
            Row(f"{what} against tables/{name}.csv", DIFFERS, remark="one of them is empty")]
    rows = [[cell.get_text() for cell in row.find_all("td")] for row in figure.select("tbody tr")]
    for number, (seen, told) in enumerate(zip(rows, first.to_numpy().tolist(), strict=False), 1):
        for text, value in zip(seen, told, strict=False):
            if not _says(text, value):
                yield Row(f"{what}, row {number}", DIFFERS, text.strip(), value, remark="shown; in the CSV behind its link")


def _cells(text: str) -> pd.DataFrame:
    """The cells of CSV as text; without the apostrophe that keeps text from being a formula."""
    if not text.strip():
        return pd.DataFrame()
    table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    return table.map(lambda value: value.removeprefix("'"))


def _says(shown: str, value: str) -> bool:
    """Whether a cell of a page says what a cell of its CSV says: the number, rounded as it is shown, or the text."""
    shown, told = shown.strip(), visible(value).strip()
    if shown == told or shown == "–" and value == "":
        return True
    try:
        exact = float(value)
    except ValueError:
        return " ".join(shown.split()) == " ".join(told.split())
    if any(format_significant(exact, digits) == shown for digits in range(2, 7)):
        return True
    found = re.fullmatch(r"-?[\d,]+(?:\.(\d+))?", shown.replace("−", "-"))
    return found is not None and abs(float(found[0].replace(",", "")) - exact) <= 0.50001 * 10.0 ** -len(found[1] or "")


def _check_figure(hand_in: HandIn, notebook: str, name: str, figure: Tag) -> Iterator[Row]:
    """The picture that is shown against figures/<name>.png: the same bytes, or a JPEG of it as helpers.Run makes it."""
    image, what = figure.find("img"), f"{notebook}: figure {name} against figures/{name}.png"
    shown = base64.b64decode(str(image["src"]).partition("base64,")[2]) if isinstance(image, Tag) else b""
    file = hand_in.path("figures", Path(f"{name}.png").name).read_bytes()
    jpeg = io.BytesIO()
    if shown != file:
        open_picture(io.BytesIO(file)).convert("RGB").save(jpeg, "JPEG", quality=88)
    if shown not in (file, jpeg.getvalue()) and (far := picture_distance(shown, jpeg.getvalue())) > PICTURE:
        yield Row(what, DIFFERS, remark="another picture" if np.isinf(far) else
                  f"the pixels differ by {far:.0f} of 255 on average")


def picture_distance(first: bytes, second: bytes) -> float:
    """The mean difference of the pixels of two pictures, 0 to 255; infinite where their sizes differ."""
    one, other = (open_picture(io.BytesIO(data)).convert("RGB") for data in (first, second))
    if one.size != other.size:
        return float("inf")
    return float(np.abs(np.asarray(one, dtype=np.int16) - np.asarray(other, dtype=np.int16)).mean())
