"""Several runs side by side, as one self-contained HTML page."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from datetime import date
from itertools import count
from pathlib import Path

import matplotlib.pyplot as plt
from PIL import Image

from inside import render
from inside.fonts import save_figure
from inside.many_runs.compare.sections import Comparison
from inside.many_runs.pages import write_page
from inside.shown import Figure, Shown, Table, Text
from inside.text import written_day


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
    return write_page(target, Path(__file__).with_name("compare.html.j2"), title=f"{len(compared.runs)} runs compared",
                      made=written_day(date.today()), sections=sections,
                      verdict=write.html([Text.bullets(compared.verdict())]))


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
