"""Tests of inside/fonts.py."""

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pytest
from matplotlib import font_manager

from inside.fonts import choose_fonts, save_figure


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_what_the_usual_font_has_stays_as_it_is(ax):
    ax.set(title="café, лес, δάσος", xlabel="$x_1$")
    before = ax.title.get_fontfamily()
    assert choose_fonts(ax.figure) == set() and ax.title.get_fontfamily() == before


def test_other_fonts_of_the_machine_are_used_and_what_none_has_is_told(ax, recwarn):
    usual = font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap()
    other = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "STIXGeneral.ttf"  # a list of fonts made earlier may lack it
    font_manager.fontManager.addfont(other)
    elsewhere = next(chr(point) for point in font_manager.get_font(other).get_charmap()
                     if point > 127 and point not in usual and chr(point).isprintable())
    ax.set(title=f"a {elsewhere}", xticks=[0], xticklabels=[elsewhere], ylabel="\U0003fffd")
    assert choose_fonts(ax.figure) == set()  # a code point without a sign cannot be printed
    assert ax.title.get_fontfamily()[0] == "DejaVu Sans" and len(ax.title.get_fontfamily()) == 2
    ax.figure.canvas.draw()
    assert not [warning for warning in recwarn if f"Glyph {ord(elsewhere)} " in str(warning.message)]
    ax.set_title("a \U00010a60")  # Old South Arabian
    assert choose_fonts(ax.figure) <= {"\U00010a60"}


def test_a_name_in_a_figure_turns_no_text_round_and_hides_nothing(ax, tmp_path):
    ax.set_title("evil \u202ename\nwith \x1b[2J 👩\u200d🌾", parse_math=False)
    save_figure(ax.figure, tmp_path / "figure.png")
    assert ax.title.get_text() == "evil \\u202ename\nwith \\x1b[2J 👩\u200d🌾"
