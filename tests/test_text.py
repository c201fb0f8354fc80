"""Tests of inside/text.py."""

import datetime
import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inside.render import markdown_html
from inside.text import (
    change_in_points,
    for_terminal,
    format_duration,
    format_number,
    format_share,
    format_significant,
    format_value,
    literal,
    natural_sort,
    percent,
    plain_text,
    round_share,
    slug,
    visible,
    written_day,
)
from shared.hostile import CLASSES, FILES


def test_values_as_a_reader_writes_them():
    assert [format_value(value) for value in (0.000312, 7, True, [4, 4], "[4, 4]", "as they stand")] == [
        "0.00031", "7", "True", "[4,4]", "[4,4]", "as they stand"]


@pytest.mark.parametrize("value, text", [
    (5151.6386, "5,150"), (59.5053, "59.5"), (9.996, "10.0"), (0.999999996, "1.00"), (0.00590, "0.00590"), (0.000999999, "0.00100"),
    (0.00052273, "5.23·10⁻⁴"), (-1.3707e-06, "−1.37·10⁻⁶"), (0, "0"), (1e20, "1.00·10²⁰"), (float("nan"), "–")])
def test_three_digits_that_count(value, text):
    assert format_significant(value) == text and (value != value or len(re.sub(r"·.*|[^0-9]", "", text).lstrip("0")) in (0, 3, 4))


@pytest.mark.parametrize("old, new, points", [(0.41564, 0.46339, 4.7), (0.41556, 0.41644, 0.0), (0.99961, 0.99984, 0.02), (0.5, 0.25, -25)])
def test_a_difference_is_that_of_the_shares_shown(old, new, points):
    assert change_in_points(old, new) == pytest.approx(points) and change_in_points(old, new) == pytest.approx(
        float(percent(new)[:-1]) - float(percent(old)[:-1]))


@pytest.mark.parametrize("share, text", [
    (1, "1.000"), (0, "0.000"), (0.9996, "0.9996"), (0.99999994, "0.9999999"), (0.9994, "0.999"), (0.0004, "0.0004"), (-0.0004, "−0.0004"),
    (-0.9996, "−0.9996"), (-0.017, "−0.017"), (1 - 1e-16, "1.000"), (-1e-17, "0.000"), (float("nan"), "–")])
def test_a_share_is_0_or_1_only_where_it_is(share, text):
    assert format_share(share) == text
    assert share != share or float(text.replace("−", "-")) == round_share(share)


def test_numbers_have_a_real_minus_and_percent_the_digits_that_it_takes():
    assert [format_number(value, 1, sign=True) for value in (-1234.56, 1234.56, -0.01)] == ["−1,234.6", "+1,234.6", "+0.0"]
    assert [percent(value, 0) for value in (0.999, 0.004, 0.1, 1)] == ["99.9%", "0.4%", "10%", "100%"]


def test_a_day_is_written_on_every_system():
    assert written_day(datetime.date(2026, 11, 3)) == "3 November 2026"


def test_natural_sort():
    assert natural_sort(["class 10", "Class 2", "b", "A"]) == ["A", "b", "Class 2", "class 10"]


@pytest.mark.parametrize("seconds, text", [(3.4, "3 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")])
def test_duration(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize("markdown, plain", [
    ("Hiding the **hottest tenth** costs **7.2**.", "Hiding the hottest tenth costs 7.2."), ("**a `b` c** and *d*", "a b c and d"),
    ("street_view, a*b*c, 2 * 3 * 4 and **", "street_view, a*b*c, 2 * 3 * 4 and **"), ("", "")])
def test_plain_text(markdown, plain):
    assert plain_text(markdown) == plain


def test_names_with_signs_that_are_digits_in_one_sense_only():
    assert natural_sort(["m²", "²", "m10", "m2"]) == ["m2", "m10", "m²", "²"]


def as_read(page):
    """What a reader sees of HTML."""
    return html.unescape(re.sub("<[^>]*>", "", page)).strip()


NAMES = st.one_of(st.sampled_from([*CLASSES, *FILES]), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))


@given(NAMES, NAMES)
def test_names_are_read_as_they_are_whatever_they_hold(name, other):
    sentence = f"**{literal(name)}** is taken for {literal(other)} *most* often."
    page = markdown_html(sentence)
    assert as_read(page) == f"{visible(name)} is taken for {visible(other)} most often.".strip()
    assert re.sub("<bdi class=\"mathjax_ignore\">[^<]*</bdi>", "", page).count("<") == page.count("<") - 2 * page.count("<bdi")
    assert plain_text(sentence).replace("\u2068", "").replace("\u2069", "") == f"{visible(name)} is taken for {visible(other)} most often."


def test_ordinary_names_stay_as_they_are():
    assert [literal(name) for name in ("glacier", "street/00012.jpg", "Fichte, alt", "森林", "12")] == [
        "glacier", "street/00012.jpg", "Fichte, alt", "森林", "12"]
    assert literal("غابة") == "\u2068غابة\u2069" and literal("a\nb\x1b[31m") == "\u2068a\\nb\\x1b[31m\u2069"


@given(st.lists(NAMES, unique=True, min_size=2, max_size=6))
def test_slugs_are_names_of_files_and_tell_names_apart(names):
    slugs = [slug(name) for name in names]
    assert len(set(slugs)) == len(names) and all(re.fullmatch(r"[\w.-]{1,90}", found) for found in slugs)


def test_names_are_no_commands_to_a_terminal():
    told = f"a class:\n\t{literal('b$')} and \x1b]0;owned\x07\x1b[2J\r\u202e\udcff"
    assert for_terminal(told) == "a class:\n\tb$ and \\x1b]0;owned\\x07\\x1b[2J\\r\\u202e\\udcff"
