"""What the three notebooks share: open a run, show and save what it finds, write its results.

The work itself is in `inside/`, a folder a concern; `inside/__init__.py` is its map. Where to change

- what a parameter may be: inside/settings.py; the words of its error message: inside/legal.py, inside/names.py
- average precision: class_metrics in inside/evaluation/metrics.py; its interval: inside/evaluation/intervals.py
- which layers are chosen where none are named: choose_layers in inside/feature_maps/hooks.py
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
from importlib import metadata
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import torch
from IPython.display import HTML, Image, Markdown, display
from PIL import Image as PILImage

from inside import preflight
from inside.device import choose_device, choose_precision
from inside.files import RunFolder, atomic_write, write_csv
from inside.settings import check_parameters, check_unknown
from inside.shown import Figure, Shown, Table, Text
from inside.text import format_duration, plain_text

__all__ = ["Run", "environment", "format_duration", "open_run", "show_source", "write_csv"]


def open_run(namespace: dict[str, Any]) -> Run:
    """Check the parameters in a notebook's globals() and open the run folder that RUN names.

    Raises ValueError for values that are not legal or do not fit together, and for a name that is meant as a parameter but
    is none (see `check_unknown`); the names that stand in the notebook at the first call are kept in it for that.
    """
    check_unknown(namespace, namespace.get("_names_at_first"))
    namespace.setdefault("_names_at_first", frozenset(namespace))
    settings = check_parameters(namespace)
    preflight.check(settings)
    run = Run(settings)
    print(f"run folder: {run.folder} · device: {run.device}")
    return run


class Run(RunFolder):
    """An open run: its folder, its checked `settings`, its `device`; shows and saves what is found."""

    def __init__(self, settings: Mapping[str, object]):
        super().__init__(str(settings["RUN"]))
        self.settings, self.started = dict(settings), time.perf_counter()
        self.device = choose_device(str(settings["DEVICE"]))

    def finish(self, number: str, results: Mapping[str, object]) -> None:
        """Write NN_results.json, the numbers of notebook `number`, and say how long it took."""
        seconds = time.perf_counter() - self.started
        self.write_results(number, {**results, "notebook_seconds": seconds})
        print(f"done in {format_duration(seconds)}")

    def show(self, *parts: Shown) -> None:
        """Display text, tables and figures in their order, as a `report()` gives them; save the tables and figures."""
        for part in parts:
            match part:
                case Text():
                    display(Markdown(part.markdown))
                case Table():
                    self.show_table(part.table, part.name, digits=part.digits, rows=part.rows)
                case Figure():
                    self.show_figure(part.drawing, part.name, part.alt)

    def show_figure(self, fig: plt.Figure, name: str, alt: str) -> None:
        """Save `fig` as figures/<name>.png (144 dpi) and display it with the alternative text `alt`, see `plain_text`.

        Where a JPEG is less than half as large, as with photographs, that is what the notebook shows.
        """
        with atomic_write(self.path("figures", f"{name}.png")) as temporary:
            fig.savefig(temporary, format="png", dpi=144, bbox_inches="tight", facecolor="white")
        plt.close(fig)
        png, jpeg = self.path("figures", f"{name}.png").read_bytes(), io.BytesIO()
        picture = PILImage.open(io.BytesIO(png))
        picture.convert("RGB").save(jpeg, "JPEG", quality=88)
        data = jpeg.getvalue() if jpeg.tell() < len(png) / 2 else png
        display(Image(data=data, alt=plain_text(alt), width=round(picture.width * 96 / 144)))  # 144 dpi, shown at 96

    def show_table(self, table: pd.DataFrame, name: str, *, digits: int = 3, rows: int = 30) -> None:
        """Save `table` as tables/<name>.csv and display its first `rows` rows, numbers with `digits` digits."""
        write_csv(self.path("tables", f"{name}.csv"), table)
        shown = table.head(rows).style.hide(axis="index").format(precision=digits, na_rep="–", thousands=",", escape="html")
        texts = table.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes]]
        shown = shown.set_table_styles({name: [{"selector": "", "props": "text-align: left"}] for name in texts})
        display(HTML(shown.set_table_attributes('class="numbers"').to_html()))
        if len(table) > rows:
            print(f"{rows} of {len(table):,} rows; all of them in tables/{name}.csv")


def show_source(*functions: Callable) -> None:
    """Display the source of helpers, highlighted, so that the page shows the method it uses."""
    for function in functions:
        display(Markdown(f"```python\n{textwrap.dedent(inspect.getsource(function))}```"))


def environment() -> pd.DataFrame:
    """What this notebook runs on: versions, processor, threads, precision; one row an item."""
    device = choose_device()
    names = ("torch", "torchvision", "timm", "scikit-learn", "optuna", "pandas", "papermill")
    rows = {"python": platform.python_version(), **{name: metadata.version(name) for name in names},
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "device": str(device) if device.type != "cuda" else torch.cuda.get_device_name(),
            "precision of training": str(choose_precision("auto", device)).removeprefix("torch.")}
    return pd.DataFrame({"what": rows.keys(), "value": rows.values()})
