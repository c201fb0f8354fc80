"""The files of a hand-in, read as those of a stranger: nothing runs or is unpickled, no link leads out of the folder."""

from __future__ import annotations

import functools
import os
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
from bs4 import BeautifulSoup
from nbformat import NotebookNode

from inside.data.split import Split
from inside.files import ROOT, RunFolder, read_csv, read_json
from inside.release import release
from inside.report.parameters import literals
from inside.settings import PARAMETERS, name_problems, parameter_problems
from inside.text import brief

LARGEST = {".json": 20_000_000, ".csv": 500_000_000, ".ipynb": 300_000_000, ".html": 300_000_000, ".png": 50_000_000,
           ".npz": 4_000_000_000, ".safetensors": 20_000_000_000}  # bytes; a larger file is not opened
MOST_TAGS = 2_000_000  # in a notebook or report, of which a parsed one takes about 1 kB each; that of 20 classes has 30,000
TEXTS = ("path", "label", "predicted", "class", "split", "sha256", "scenario", "layer")
PARTS = ("val", "test")
NUMBERS = ("01", "02", "03")


def own_notebook(number: str) -> Path:
    """The project's own notebook of a number."""
    return next((ROOT / "notebooks").glob(f"{number}_*.ipynb"))


def is_parameters(cell: Mapping) -> bool:
    """Whether a cell of a notebook holds its parameters, or those that papermill has put in."""
    return bool({"parameters", "injected-parameters"} & set(cell.get("metadata", {}).get("tags", [])))


class Missing(ValueError):
    """A hand-in does not have a file; the text is a sentence."""


@dataclass(frozen=True)
class HandIn:
    """A run folder that somebody has handed in, and the name that it was called by.

    All that reads raises ValueError with one sentence, Missing for no file.
    """

    name: str
    folder: Path
    _notebooks: dict[str, NotebookNode] = field(default_factory=dict)
    _shown: dict[str, BeautifulSoup] = field(default_factory=dict)

    @classmethod
    def open(cls, name: str) -> HandIn:
        """The hand-in in a run folder, a path or a name in runs/."""
        folder = RunFolder(name, make=False).folder
        if not folder.is_dir():
            raise ValueError(f"There is no run folder {brief(str(folder))}: give its path, or the name of a run.")
        return cls(name.rstrip("/") or name, folder)

    def has(self, *parts: str) -> bool:
        """Whether there is a file of this name, or what stands in its place."""
        return os.path.lexists(self.folder.joinpath(*parts))

    def path(self, *parts: str) -> Path:
        """The path of a file that may be opened."""
        path, told = self.folder.joinpath(*parts), "/".join(parts)
        if not self.has(*parts):
            raise Missing(f"There is no {told}.")
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise ValueError(f"{told} is a link that leads out of the folder.")
        if not path.is_file():
            raise ValueError(f"{told} is no file.")
        most = LARGEST.get(path.suffix, 10_000_000)
        if path.stat().st_size > most:
            raise ValueError(f"{told} has {path.stat().st_size:,} bytes, more than the {most:,} that are read.")
        return path

    def json(self, name: str) -> dict[str, Any]:
        """The object in a JSON file."""
        path = self.path(name)
        try:
            return read_json(path)
        except ValueError:
            raise ValueError(f"{name} is damaged: it holds no JSON object.") from None

    def text(self, name: str) -> str:
        """A notebook or report as text, with so few tags that it can be parsed."""
        text = self.path(name).read_text(encoding="utf-8")
        if (tags := sum(map(text.count, ("<", "\\u003c", "\\u003C")))) > MOST_TAGS:
            raise ValueError(f"{name} has {tags:,} tags, more than the {MOST_TAGS:,} that are read.")
        return text

    def results(self, number: str) -> dict[str, Any]:
        """NN_results.json."""
        return self.json(f"{number}_results.json")

    def of_this_release(self, number: str) -> bool:
        """Whether a notebook's results are of this version of the project, which would give the same again."""
        return self.results(number).get("release") == release()

    def csv(self, *parts: str, columns: Collection[str] = ()) -> pd.DataFrame:
        """A table, which has at least these columns and a row."""
        path, told = self.path(*parts), "/".join(parts)
        try:
            table = read_csv(path, texts=TEXTS)
        except (ValueError, OSError, RuntimeError, MemoryError) as error:  # pandas' errors of parsing are ValueErrors
            raise ValueError(f"{told} cannot be read as a table ({_first_line(error)}).") from None
        absent = [name for name in columns if name not in table]
        if absent:
            raise ValueError(f"{told} has no column {brief(absent[0])}.")
        return table

    @functools.cached_property
    def split(self) -> Split:
        """The split in split.csv; its images are not opened."""
        path = self.path("split.csv")
        try:
            return Split.read(path, self.folder)
        except (ValueError, TypeError) as error:
            raise ValueError(f"split.csv: {_first_line(error).replace(str(path), 'it')}") from None

    def predictions(self, part: str) -> pd.DataFrame:
        """predictions_<part>.csv, whose scores are numbers from 0 to 1."""
        name = f"predictions_{part}.csv"
        table = self.csv(name, columns=("path", "label", "predicted", "confidence", "loss"))
        scores = table[[column for column in table if column.startswith("prob_")]]
        numbers = scores.shape[1] > 0 and all(pd.api.types.is_numeric_dtype(kind) for kind in scores.dtypes)
        if table.empty or not numbers or not (scores.ge(0) & scores.le(1)).all(axis=None):
            raise ValueError(f"{name} has no row, or scores (prob_…) that are no numbers from 0 to 1.")
        return table

    @functools.cached_property
    def settings(self) -> Mapping[str, Any]:
        """The parameters of the run, which must be valid: those of its notebooks where run.json does not have them."""
        found = dict[str, Any]()
        for name in [own_notebook(number).name for number in reversed(NUMBERS)]:
            for cell in (cell for cell in self.notebook(name).cells if is_parameters(cell)) if self.has(name) else ():
                found |= {key: value for key, value in literals(cell.source).items() if key in PARAMETERS}
        found |= self.noted
        if problems := [*name_problems(found), *parameter_problems(found)]:
            raise ValueError(f"run.json has parameters that are not valid: {problems[0]}")
        return found

    @functools.cached_property
    def noted(self) -> Mapping[str, Any]:
        """The parameters that run.json notes: of notebooks 02 and 03 only if they have run since notebook 01."""
        found = self.json("run.json").get("parameters")
        return found if isinstance(found, dict) else {}

    def notebook(self, name: str) -> NotebookNode:
        """An executed notebook, read, never run."""
        if name not in self._notebooks:
            self._notebooks[name] = self._read_notebook(name)
        return self._notebooks[name]

    def _read_notebook(self, name: str) -> NotebookNode:
        try:
            return nbformat.reads(self.text(name), as_version=4)
        except Missing:
            raise
        except Exception as error:  # nbformat's own kinds, JSON's, those of a notebook without what each has
            raise ValueError(f"{name} cannot be read as a notebook ({_first_line(error)}).") from None

    def shown(self, number: str) -> BeautifulSoup:
        """All that the cells of an executed notebook show as HTML; its tables have the id table-<name>."""
        if number not in self._shown:
            parts = [output["data"]["text/html"] for cell in self.notebook(own_notebook(number).name).cells
                     for output in cell.get("outputs", []) if "text/html" in output.get("data", {})]
            self._shown[number] = BeautifulSoup("\n".join("".join(part) for part in parts), "html.parser")
        return self._shown[number]

    def table(self, number: str, name: str) -> pd.DataFrame | None:
        """tables/<name>.csv where a notebook shows it, else None: files that it does not show may be of an earlier run."""
        return self.csv("tables", f"{name}.csv") if self.shown(number).find(id=f"table-{name}") else None

    def arrays(self, name: str) -> Mapping[str, np.ndarray]:
        """The arrays of an .npz file, none of which is unpickled; they are read when asked for."""
        path = self.path(name)
        try:
            with zipfile.ZipFile(path) as packed:
                size = sum(entry.file_size for entry in packed.infolist())
            if size > LARGEST[".npz"]:
                raise ValueError(f"it unpacks to {size:,} bytes")
            return np.load(path, allow_pickle=False)
        except (ValueError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(f"{name} cannot be read ({_first_line(error)}).") from None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
