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
    """A table, saved whole as tables/<name>.csv; its first `rows` rows are displayed, numbers with `digits` digits."""

    table: pd.DataFrame
    name: str
    digits: int = 3
    rows: int = 30


@dataclass(frozen=True)
class Figure:
    """A drawing, saved as figures/<name>.png; `alt` says in words and numbers what it shows, without markup."""

    drawing: Drawing
    name: str
    alt: str


Shown = Text | Table | Figure
