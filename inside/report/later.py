"""The note on a report that a notebook was opened after it. Apart from page.py: a kernel need not load what makes pages."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from inside.files import atomic_write

LATER = "<!--later-->"


def note_later(report: Path, number: str) -> None:
    """Say at the top of a report, if there is one, that notebook `number` was opened after it: files beside it may be newer.

    A run that ends writes the report anew, without it.
    """
    if report.exists():
        note = (f'<p class="note"><b>Notebook {number} was opened again</b> on {datetime.now():%Y-%m-%d at %H:%M}, after '
                "this page was made: figures, tables and numbers beside it may be newer. The next run that ends makes a new "
                "page.</p>")
        with atomic_write(report) as temporary:
            temporary.write_text(report.read_text(encoding="utf-8").replace(LATER, note, 1), encoding="utf-8")
