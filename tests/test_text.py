"""Tests of inside/text.py."""

import pytest

from inside.text import format_duration, format_value, natural_sort, plain_text


def test_values_as_a_reader_writes_them():
    assert [format_value(value) for value in (0.000312, 7, True, [4, 4], "[4, 4]", "as they stand")] == [
        "0.00031", "7", "True", "[4,4]", "[4,4]", "as they stand"]


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
