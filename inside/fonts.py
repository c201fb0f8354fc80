"""Fonts for the signs in a figure, such as Chinese class names: those of the machine, where matplotlib's own has none."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import BinaryIO

import matplotlib
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

from inside.text import visible


def save_figure(figure: Figure, file: BinaryIO | Path, **options: object) -> set[str]:
    """Save a figure as a PNG on white, with `choose_fonts`; the signs that no font of this machine has, shown as boxes."""
    for text in figure.findobj(Text):  # no name is written from right to left, or over another
        text.set_text(visible(text.get_text(), keep="\n"))
    missing = choose_fonts(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(file, format="png", facecolor="white", **options)
    return missing


def choose_fonts(figure: Figure) -> set[str]:
    """Have the texts of a figure fall back on fonts of this machine that hold what the usual one lacks; what none holds."""
    texts, own = figure.findobj(Text), str(matplotlib.rcParams["font.sans-serif"][0])
    signs = {sign for text in texts for sign in text.get_text() if sign.isprintable() and ord(sign) > 127}
    missing, families = signs - _held(font_manager.findfont(own), signs), [own]
    for font in font_manager.fontManager.ttflist if missing else ():
        if font.style == "normal" and not font.name.startswith("Last Resort") and (held := _held(font.fname, missing)):
            families.append(font.name)
            missing -= held
    for text in texts if len(families) > 1 else ():
        text.set_fontfamily(families)
    return missing


def _held(path: str, signs: set[str]) -> set[str]:
    """Those of the signs that a font file has."""
    points = _code_points(path)
    return {sign for sign in signs if ord(sign) in points}


@functools.cache
def _code_points(path: str) -> frozenset[int]:
    return frozenset(font_manager.get_font(path).get_charmap())
