"""Tests of inside/selection/importance.py."""

import math
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as some

from inside.selection.describe import describe_importances
from inside.selection.importance import chance_level, correlation, importances
from shared.searches import made


def test_importance_and_correlation_at_a_known_answer():
    table = importances(made()).set_index("option")
    assert table.index[0] == "x" and table.loc["x", "importance"] > 0.7 and table["importance"].sum() == pytest.approx(1)
    assert table.loc["x", "correlation"] > 0.9 and abs(table.loc["y", "correlation"]) < 0.4
    assert table.loc["word", "measure"] == "ratio η" and 0 <= table.loc["word", "correlation"] < 0.6


def test_correlation():
    scores = pd.Series([1.0, 2.0, 3.0, 4.0])
    assert correlation(pd.Series([1, 10, 100, 1000]), scores) == (pytest.approx(1), "Spearman ρ")
    assert correlation(pd.Series(["a", "a", "b", "b"]), scores)[0] == pytest.approx(math.sqrt(4 / 5))
    assert correlation(pd.Series([True, True, False, False]), scores)[1] == "ratio η"
    assert math.isnan(correlation(pd.Series([1, 1, 1, 1]), scores)[0])
    rng = np.random.default_rng(0)
    for _ in range(20):  # with ties and gaps, as pandas has it
        values, scores = pd.Series(rng.integers(0, 5, 12)).astype(object), pd.Series(rng.integers(0, 6, 12) / 6)
        values[rng.integers(0, 12, 3)] = None
        wanted = values.dropna().astype(float).corr(scores[values.notna()], method="spearman")
        assert correlation(values, scores)[0] == pytest.approx(wanted)


def test_a_strong_negative_correlation_keeps_its_sign_and_is_above_chance():
    """Scores that fall with a value are told as such; the chance level is of the absolute value (n = 10: 0.648, one-sided 0.564)."""
    values = pd.Series(range(10))
    falling = correlation(values, -values.astype(float) ** 3)
    level = chance_level(values, -values.astype(float) ** 3, n_permutations=5000)
    assert falling == (pytest.approx(-1), "Spearman ρ") and level == pytest.approx(0.648, abs=0.03)
    table = pd.DataFrame([{"option": "lr", "importance": 1.0, "correlation": falling[0], "chance": level, "measure": falling[1]}])
    assert describe_importances(table).startswith(f"Above their chance level: lr (Spearman ρ −1.00, chance {level:.2f})")


@pytest.mark.soak
def test_the_chance_level_is_what_unrelated_scores_stay_below():
    """Of unrelated values, 5% exceed their chance level; related ones do; it is the same in each call."""
    rng = np.random.default_rng(0)
    for values in (pd.Series(rng.uniform(size=10)), pd.Series(list("aabbbccddd"))):
        beyond = []
        for _ in range(250):
            scores = pd.Series(rng.normal(size=10))
            beyond.append(abs(correlation(values, scores)[0]) > chance_level(values, scores))
        assert 0.02 < np.mean(beyond) < 0.09
        assert chance_level(values, scores) == chance_level(values, scores)
    words = pd.Series(list("aabbbccddd"))
    means = [correlation(words, pd.Series(rng.normal(size=10)))[0] for _ in range(200)]
    assert chance_level(words, scores) > np.mean(means) > 0.4  # what stands there by chance alone
    strong = pd.Series(range(10))
    assert chance_level(strong, strong.astype(float)) < 0.8
    assert math.isnan(chance_level(pd.Series([1, 1, 1, 1]), pd.Series([1.0, 2, 3, 4])))
    assert math.isnan(chance_level(pd.Series([1, 2, 3]), pd.Series([1.0, 1, 1])))


@budget(max_examples=40, deadline=None)
@given(data=some.data(), n=some.integers(0, 7))
def test_what_is_told_of_importances_at_extremes(data, n):
    """No scores, ties, one choice, gaps: each option is in one group, and its numbers say so."""
    words, numbers = some.sampled_from(["a", "b", None]), some.sampled_from([1e-3, 1e-2, None])
    rows = [{"word": data.draw(words), "number": data.draw(numbers), "score": data.draw(some.sampled_from([0, 0.5, 0.5, 1]))} for _ in range(n)]
    table = pd.DataFrame(rows, columns=["word", "number", "score"]).astype({"score": float})
    found = []
    for name in ("word", "number"):
        value, measure = correlation(table[name], table["score"])
        found.append({"option": name, "importance": math.nan, "correlation": value, "chance": chance_level(table[name], table["score"]), "measure": measure})
    found = pd.DataFrame(found)
    told = describe_importances(found)
    assert "nan" not in told and all(told.count(name) == 1 for name in ("word", "number"))
    for start, value, level in re.findall(r"(\w+) \([^()]* (-?[\d.]+), chance ([\d.]+)\)", told):
        above = told.index(start) < (told.index("Not above") if "Not above" in told else len(told))
        assert (abs(float(value)) > float(level)) == (above and told.startswith("Above"))
