"""What the three notebooks share: the run folder that shows what it saves, and the words that all of them use.

The work itself is in `inside/`, a folder a concern; `inside/__init__.py` is its map.
"""

from __future__ import annotations

import inspect
import io
import os
import platform
import textwrap
from collections.abc import Callable
from importlib import metadata

import matplotlib.pyplot as plt
import pandas as pd
import torch
from IPython.display import HTML, Image, Markdown, display
from PIL import Image as PILImage

from inside.device import choose_device, choose_precision
from inside.files import RunFolder, atomic_write, read_json, write_csv
from inside.names import SPLITS
from inside.preflight import check_parameters
from inside.shown import Figure, Shown, Table, Text
from inside.text import format_duration, plain_text

__all__ = ["SPLITS", "Run", "check_parameters", "choose_device", "choose_precision", "environment", "format_duration",
           "read_json", "show_source", "write_csv"]


class Run(RunFolder):
    """A run folder that displays what it saves."""

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
