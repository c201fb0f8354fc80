"""HTML of what a section shows, the same in JupyterLab and in the report: figures, tables, folds."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from typing import TYPE_CHECKING

import mistune

from inside.files import csv_text
from inside.shown import Figure, Fold, Table
from inside.text import format_number, format_share, format_significant, plain_text, put_back, set_aside, visible

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

NARROW = 620  # CSS pixels: the page has two pictures as narrow as this side by side
_markdown = mistune.create_markdown(escape=True, plugins=["table"])


def markdown_html(markdown: str) -> str:
    """Markdown as HTML; HTML in it stays text, and names that `inside.text.literal` has marked are shown as they are.

    The class keeps JupyterLab from reading a formula into a name that holds dollars.
    """
    text, names = set_aside(markdown)
    return put_back(str(_markdown(text)), [f'<bdi class="mathjax_ignore">{html.escape(name)}</bdi>' for name in names])


def figure_html(figure: Figure, number: str, picture: bytes, width: int) -> str:
    """A figure whose picture, a PNG or JPEG, is `width` CSS pixels wide; its anchor is figure-<name>."""
    kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
    data = f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
    image = f'<img alt="{html.escape(plain_text(figure.alt))}" width="{width}" src="{data}">'
    look = f"picture{' narrow' * (width <= NARROW)} mathjax_ignore"
    return (f'<figure class="{look}" id="figure-{html.escape(figure.name)}"><div class="scroll" tabindex="0" role="group" '
            f'aria-label="Figure {number}">{image}</div>{_caption("Figure", number, figure.caption)}</figure>')


def table_html(table: Table, number: str) -> str:
    """A table with the whole of it as CSV behind a link; its anchor is table-<name>."""
    csv = base64.b64encode(csv_text(table.table).encode()).decode()
    rows = len(table.table)
    told = f"{table.rows} of {rows:,} rows; all as " if rows > table.rows else ""
    link = f'{told}<a download="{html.escape(table.name)}.csv" href="data:text/csv;base64,{csv}">CSV</a>'
    body = _styled(table).to_html().replace("<th ", '<th scope="col" ')
    caption = _caption("Table", number, table.caption, link)
    return (f'<figure class="table mathjax_ignore" id="table-{html.escape(table.name)}">{caption}'
            f'<div class="scroll" tabindex="0" role="group" aria-label="Table {number}">{body}</div></figure>')


def fold_html(fold: Fold, body: str) -> str:
    """What is folded away, under a line that also says how much it is."""
    counts = {"row": sum(len(part.table) for part in fold.parts if isinstance(part, Table)),
              "figure": sum(isinstance(part, Figure) for part in fold.parts)}
    length = ", ".join(f"{count:,} {noun}{'s' * (count != 1)}" for noun, count in counts.items() if count)
    told = f"{fold.summary} ({length})" if length else fold.summary
    numbers = re.findall(r"<figcaption><b>((?:Figure|Table) [\d.]+)\.</b>", body)
    told = f"{numbers[0]} · {told}" if len(numbers) == 1 else told
    return f'<details class="fold"><summary class="mathjax_ignore">{html.escape(told)}</summary>{body}</details>'


def _caption(kind: str, number: str, caption: str, more: str = "") -> str:
    told = markdown_html(caption).strip().removeprefix("<p>").removesuffix("</p>") if caption else ""
    return f"<figcaption><b>{kind} {number}.</b> {told} {more}</figcaption>"


def _seen(value: object) -> object:
    return visible(value) if isinstance(value, str) else value


def _head(name: object) -> str:
    """The head of a column, which may break behind an underscore: heads are often wider than their numbers."""
    return str(_seen(name)).replace("_", "_<wbr>")


def _cell(value: object, write: Callable[[float, int], str], digits: int) -> str:
    if isinstance(value, bool) or not isinstance(value, Real):
        return str(value)
    return format_number(float(value), 0) if isinstance(value, Integral) else write(float(value), digits)


def _styled(table: Table) -> Styler:
    """The first rows of a table: numbers to the right, with so many digits, text escaped and to the left.

    A column of numbers from −1 to 1 is taken for shares, scores or correlations: see `format_share`.
    """
    from pandas.api.types import is_numeric_dtype
    from pandas.io.formats.style import Styler
    shown = table.table.head(table.rows)
    texts = shown.columns[[not is_numeric_dtype(kind) for kind in shown.dtypes]]
    shown = shown.astype(dict.fromkeys(texts, object)).map(_seen)
    styled = Styler(shown, uuid=f"{table.name}_", cell_ids=False).hide(axis="index")
    for name in shown:
        found = [float(value) for value in shown[name] if isinstance(value, Real)]
        shares = all(abs(value) <= 1 for value in found if value == value)
        write = format_significant if table.significant else format_share if shares else format_number
        styled = styled.format(partial(_cell, write=write, digits=table.digits), [name], na_rep="–", escape="html")
    styled = styled.format_index(_head, escape="html", axis=1)
    styled = styled.set_table_styles({name: [{"selector": "", "props": "text-align: left"}] for name in texts})
    return styled.set_table_attributes('class="numbers"')
