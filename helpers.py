"""What the three notebooks share: open a run, show and save its findings, write its results.

The work itself is in `inside/`, one folder per topic; `inside/__init__.py` is its map. Where to change

- what a parameter may be: inside/settings.py; the words of its error message: inside/legal.py, inside/names.py
- average precision: class_metrics in inside/evaluation/metrics.py; its interval: inside/evaluation/intervals.py
- which layers are chosen if none are named: choose_layers in inside/feature_maps/hooks.py
- the colours and names of scenarios: inside/feature_maps/scenario_names.py; other plots: plots.py of each folder
- how the report looks: inside/report/
- a new parameter, data set, network or figure, step by step: .github/CONTRIBUTING.md
"""

from __future__ import annotations

import inspect
import io
import os
import platform
import textwrap
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from importlib import metadata
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import torch
from filelock import BaseFileLock
from IPython.display import Markdown, display
from PIL import Image as PILImage

from inside import preflight, render
from inside.device import choose_device, choose_precision
from inside.files import RunFolder, atomic_write, file_hash, read_json, write_csv, write_json
from inside.fonts import save_figure
from inside.locks import hold_notebook
from inside.release import release
from inside.report.later import note_later
from inside.settings import PARAMETERS, check_parameters, parameter_problems, split_seed, unknown_problems
from inside.shown import Figure, Fold, Shown, Table, Text
from inside.text import format_duration, plain_text, raise_all

__all__ = ["Run", "environment", "format_duration", "open_run", "show_source", "write_csv"]


def open_run(namespace: dict[str, Any], number: str) -> Run:
    """Check the parameters in the globals() of notebook `number`, such as "01", and open the run folder named by RUN.

    Before anything is written, one ValueError tells all names and values that are not valid (see `unknown_problems`), or, if
    they are, all that does not fit or is not there (see inside/preflight.py). The names in the notebook at the first call
    and the numbers of its figures and tables are kept in the notebook, so that cells can be run again.
    """
    raise_all([*unknown_problems(namespace, namespace.get("_names_at_first")), *parameter_problems(namespace),
               *(f"Notebook {number} has no {name}: put it back into the cell of its parameters."
                 for name, parameter in PARAMETERS.items() if number[-1] in parameter.notebooks and name not in namespace)])
    settings = check_parameters(namespace)
    preflight.check(settings, [number])
    namespace.setdefault("_names_at_first", frozenset(namespace))
    run = Run(settings, number, namespace.setdefault("_shown", {}))
    if "_lock" in namespace:  # of an earlier call in this kernel
        namespace["_lock"].release()
    namespace["_lock"] = run.lock = hold_notebook(run.folder, number)
    note_later(run.path("report.html"), number)
    _note_run(run)
    print(f"run folder: {run.folder} · device: {run.device}")
    return run


def _note_run(run: Run) -> None:
    """Write run.json: command (None outside run.py), parameters, versions, and when the first notebook started."""
    path, versions = run.path("run.json"), environment().set_index("what")["value"].to_dict()
    with run.briefly():
        old = read_json(path) if path.exists() and run.number != "01" else {}
        write_json(path, {"command": os.environ.get("INSIDE_COMMAND"), "versions": versions,
                          "parameters": old.get("parameters", {}) | run.settings,
                          "start": old.get("start", f"{datetime.now():%Y-%m-%d %H:%M:%S}")})


class Run(RunFolder):
    """An open run: its folder, its checked `settings`, its `device`; shows and saves the findings of notebook `number`.

    `places` holds the names of the figures and of the tables in the order in which they were first shown: their numbers.
    """

    def __init__(self, settings: Mapping[str, object], number: str, places: dict[str, list[str]] | None = None):
        super().__init__(str(settings["RUN"]))
        self.settings, self.number, self.started = dict(settings), number, time.perf_counter()
        self.places = {} if places is None else places
        self.device = choose_device(str(settings["DEVICE"]))
        self.lock: BaseFileLock | None = None
        self.without_font: set[str] = set()  # signs in figures that no font of this machine has

    @property
    def split_seed(self) -> int:
        """The seed of the split and of the images that are drawn."""
        return split_seed(self.settings)

    def finish(self, results: Mapping[str, object]) -> None:
        """Write NN_results.json, the numbers of the notebook, and say how long it took."""
        seconds, weights = time.perf_counter() - self.started, self.path("model.safetensors")
        network = file_hash(weights) if weights.exists() else None
        self.write_results(self.number, {**results, "network": network, "release": release(), "notebook_seconds": seconds})
        if self.lock:
            self.lock.release()
        print(f"done in {format_duration(seconds)}")

    def show(self, *parts: Shown) -> None:
        """Display text, tables, figures and folds in their order, as a `report()` gives them; save tables and figures."""
        for part in parts:
            told = part.markdown if isinstance(part, Text) else part.summary if isinstance(part, Fold) else part.caption
            display({"text/html": self._html(part), "text/plain": plain_text(told)}, raw=True)

    def show_table(self, table: pd.DataFrame, name: str, caption: str = "", **options: Any) -> None:
        """Save a table and display it, see inside.shown.Table."""
        self.show(Table(table, name, caption, **options))

    def _html(self, part: Shown) -> str:
        match part:
            case Text():
                return render.markdown_html(part.markdown)
            case Table():
                write_csv(self.path("tables", f"{part.name}.csv"), part.table)
                return render.table_html(part, self._place("Table", part.name))
            case Figure():
                return render.figure_html(part, self._place("Figure", part.name), *self._save(part))
            case Fold():
                return render.fold_html(part, "".join(map(self._html, part.parts)))

    def _place(self, kind: str, name: str) -> str:
        """The number of a figure or table: notebook and place, the same whenever its cell runs again."""
        names = self.places.setdefault(kind, [])
        if name not in names:
            names.append(name)
        return f"{int(self.number)}.{names.index(name) + 1}"

    def _save(self, figure: Figure) -> tuple[bytes, int]:
        """Save a figure as figures/<name>.png (144 dpi); what is displayed, and its width in CSS pixels.

        Where a JPEG is less than half as large, as with photographs, that is what the notebook shows.
        """
        path = self.path("figures", f"{figure.name}.png")
        with atomic_write(path) as temporary:
            unknown = save_figure(figure.drawing, temporary, dpi=144, bbox_inches="tight") - self.without_font
        plt.close(figure.drawing)
        if unknown:
            self.without_font |= unknown
            print(f"No font on this machine has {' '.join(sorted(unknown))}: figures show boxes. Install one that has "
                  "them, such as Noto Sans CJK for Chinese, Japanese and Korean.")
        png, jpeg = path.read_bytes(), io.BytesIO()
        picture = PILImage.open(io.BytesIO(png))
        picture.convert("RGB").save(jpeg, "JPEG", quality=88)
        return jpeg.getvalue() if jpeg.tell() < len(png) / 2 else png, round(picture.width * 96 / 144)


def show_source(*functions: Callable) -> None:
    """Display the source of helpers, highlighted, so that the page shows the method used."""
    for function in functions:
        display(Markdown(f"```python\n{textwrap.dedent(inspect.getsource(function))}```"))


def environment() -> pd.DataFrame:
    """What this notebook runs on: versions, processor, device, precision; one row per item."""
    device = choose_device()
    names = ("torch", "torchvision", "timm", "scikit-learn", "optuna", "pandas", "papermill")
    rows = {"python": platform.python_version(), **{name: metadata.version(name) for name in names},
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "device": str(device) if device.type != "cuda" else torch.cuda.get_device_name(),
            "precision of training": str(choose_precision("auto", device)).removeprefix("torch.")}
    return pd.DataFrame({"what": rows.keys(), "value": rows.values()})
