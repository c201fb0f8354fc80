"""What a section of a notebook shows: text, tables, figures; `report()` gives them, `Run.show` displays and saves them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing


@dataclass(frozen=True)
class Text:
    """Markdown."""

    markdown: str

    @classmethod
    def bullets(cls, sentences: Iterable[str]) -> Text:
        """A list, a sentence an item."""
        return cls("\n".join(f"- {sentence}" for sentence in sentences))


@dataclass(frozen=True)
class Table:
    """A table, saved whole as tables/<name>.csv; its first `rows` rows are displayed, numbers with `digits` digits.

    The digits are those after the point, or, with `significant`, all that count.

    `caption` (Markdown) begins with what the table shows, as a claim made from its numbers, then says how to read it.
    """

    table: pd.DataFrame
    name: str
    caption: str = ""
    digits: int = 3
    rows: int = 30
    significant: bool = False


@dataclass(frozen=True)
class Figure:
    """A drawing, saved as figures/<name>.png; `alt` says in words and numbers what it shows, without markup.

    `caption` (Markdown) begins with what the figure shows, as a claim made from its numbers, then says how to read it.
    """

    drawing: Drawing
    name: str
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Fold:
    """What is folded away under a line that says what is in it; its length is added to that line."""

    summary: str
    parts: tuple[Text | Table | Figure, ...]


Shown = Text | Table | Figure | Fold
