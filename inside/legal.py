"""The kinds of parameter values: a number in a range, a flag, one of several words, a list; a few lines each."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Whole:
    """A whole number from `low` to `high`."""

    low: int
    high: int

    def accepts(self, value: object) -> bool:
        return type(value) is int and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"a whole number from {self.low} to {self.high}"


@dataclass(frozen=True)
class Number:
    """A number, whole or not, from `low` to `high`."""

    low: float
    high: float

    def accepts(self, value: object) -> bool:
        return isinstance(value, (int, float)) and type(value) is not bool and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Flag:
    """True or False."""

    def accepts(self, value: object) -> bool:
        return type(value) is bool

    def __str__(self) -> str:
        return "True or False"


class Word:
    """One of several words."""

    def __init__(self, *words: str):
        self.words = words

    def accepts(self, value: object) -> bool:
        return isinstance(value, str) and value in self.words

    def __str__(self) -> str:
        return ", ".join(f'"{word}"' for word in self.words)


class Literal:
    """A text, list or dictionary; `says` describes the valid ones, `check` raises ValueError for the others."""

    def __init__(self, kind: type, says: str, check: Callable[[Any], object] | None = None):
        self.kind, self.says, self.check = kind, says, check

    def accepts(self, value: object) -> bool:
        return isinstance(value, (list, tuple) if self.kind is list else self.kind)

    def __str__(self) -> str:
        return self.says


class Written(Literal):
    """A text; `empty`: whether it may be one of no characters."""

    def __init__(self, says: str, check: Callable[[str], object] | None = None, *, empty: bool = False):
        super().__init__(str, says, check)
        self.empty = empty

    def fault(self, text: str) -> str:
        """Why no name or path can be this text, "" if one can."""
        if not (text.strip() or self.empty):
            return "it is empty"
        if len(text) > 1000:
            return f"it has {len(text):,} characters"
        control = any(unicodedata.category(character) in ("Cc", "Cs") for character in text)
        return "it contains a control character, or one that is no Unicode" if control else ""


class ListOf(Literal):
    """A list whose entries are all of one type."""

    def __init__(self, entry: type, says: str):
        super().__init__(list, says)
        self.entry = entry

    def accepts(self, value: object) -> bool:
        return isinstance(value, (list, tuple)) and all(type(entry) is self.entry for entry in value)
