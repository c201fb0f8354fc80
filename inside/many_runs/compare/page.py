"""Several runs side by side, as one self-contained HTML page."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from datetime import date
from itertools import count
from pathlib import Path

import matplotlib.pyplot as plt
from jinja2 import Environment, FileSystemLoader
from PIL import Image

from inside import render
from inside.files import atomic_write
from inside.fonts import save_figure
from inside.many_runs.compare.sections import Comparison
from inside.report import markup
from inside.shown import Figure, Shown, Table, Text

TEMPLATES = FileSystemLoader([Path(__file__).parent, Path(__file__).parents[2] / "report"])


def compare_runs(runs: Sequence[str | Path], target: Path) -> Path:
    """Write a page that compares runs, given by name or folder: what differs, and what is more than chance.

    Runs that were tested on the same images are compared image by image, the others stand beside them. Raises ValueError
    where fewer than two of them have the results of notebook 01; others without are named on the page.
    """
    return write_comparison(Comparison.of(runs), target)


def write_comparison(compared: Comparison, target: Path) -> Path:
    """Write the page of a comparison."""
    write = _Writer()
    sections = [(title, write.html(parts)) for title, parts in compared.sections()]
    page = Environment(loader=TEMPLATES, autoescape=True).get_template("compare.html.j2").render(
        title=f"{len(compared.runs)} runs compared", made=f"{date.today():%-d %B %Y}", sections=sections,
        verdict=write.html([Text.bullets(compared.verdict())]))
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as temporary:
        temporary.write_text(markup.smaller_pictures(markup.unique_ids(page)), encoding="utf-8")
    return target


class _Writer:
    """HTML of texts, tables and figures, numbered as they come."""

    def __init__(self) -> None:
        self.tables, self.figures = count(1), count(1)

    def html(self, parts: Iterable[Shown]) -> str:
        return "".join(map(self._one, parts))

    def _one(self, part: Shown) -> str:
        match part:
            case Text():
                return render.markdown_html(part.markdown)
            case Table():
                return render.table_html(part, str(next(self.tables)))
            case Figure():
                return render.figure_html(part, str(next(self.figures)), *_picture(part))
            case _:
                return render.fold_html(part, self.html(part.parts))


def _picture(figure: Figure) -> tuple[bytes, int]:
    """A figure as PNG, and its width in CSS pixels."""
    kept = io.BytesIO()
    save_figure(figure.drawing, kept, dpi=144, bbox_inches="tight")
    plt.close(figure.drawing)
    return kept.getvalue(), round(Image.open(kept).width * 96 / 144)
