"""Tests of inside/selection/describe.py."""

import json
import math
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as some
from optuna.trial import TrialState

from inside.files import write_json
from inside.selection import search as search_module
from inside.selection.describe import (
    CALLED,
    Difference,
    describe_band,
    describe_base,
    describe_best,
    describe_chances,
    describe_level,
    describe_noise,
    describe_search,
    describe_seeds,
    describe_strongest,
    describe_trials,
)
from inside.selection.search import noise_band
from shared.searches import made_band, made_search, settings


def test_settings_that_stand_and_fail_are_told(split, tmp_path, monkeypatch):
    trained = []

    def train(settings, folder, *, after_epoch):
        trained.append(settings)
        if settings["LEARNING_RATE"] == 0.05:
            raise ZeroDivisionError("division by zero")
        after_epoch({"epoch": 1, "val_mean_class_accuracy": 0.4})
    monkeypatch.setattr("inside.selection.search.Experiment", lambda settings, *arguments: settings)
    monkeypatch.setattr("inside.selection.search.train", train)
    search = search_module.run_search(settings(SEARCH_TRIALS=3, LEARNING_RATE=0.05, SEARCH_IMAGES=12), split, folder=tmp_path)
    assert describe_base(search).endswith("failed: ZeroDivisionError: division by zero.")
    band = noise_band(search, split, folder=tmp_path)
    assert band["score"].isna().tolist() == [False] * 4 + [True] * 2 and band["trial"].tolist() == [0, 0, 1, 1, None, None]
    write_json(tmp_path / "band.json", band.to_dict("records"))
    assert json.loads((tmp_path / "band.json").read_text())[-1] == {
        "setting": "as they stand", "trial": None, "seed": 2, "score": None, "trial_score": None}
    assert "every seed failed" in describe_noise(band) and "nan" not in describe_noise(band)
    assert "unknown, since no seed has a score of both" in describe_search(search, band)[0]
    trained.clear()  # where a trial has them, its failure is theirs: they are not tried again
    inside = search_module.run_search(search.settings | {"SEARCH_SPACE": {"lr": [0.01, 0.1]}}, split, folder=tmp_path)
    assert inside.base.number == 0 and inside.base.state == TrialState.FAIL and len(trained) == 3
    assert describe_base(inside) == "The settings as they stand (trial 0) failed: ZeroDivisionError: division by zero."


@pytest.mark.parametrize("n", [2, *(pytest.param(n, marks=pytest.mark.soak) for n in (3, 5))])
def test_equal_settings_are_seldom_told_apart(n):
    """Settings that differ in nothing but their seeds are called different in 5 of 100 cases, whether the seeds move both alike or not."""
    for shared in (0.0, 0.7):
        rng, told = np.random.default_rng(n), []
        for _ in range(600):
            alike, own = 0.02 * rng.normal(size=n), 0.02 * rng.normal(size=(2, n))
            one, other = 0.8 + math.sqrt(shared) * alike + math.sqrt(1 - shared) * own
            told.append(Difference.of(one, other).told)
        assert 0.025 < np.mean(told) < 0.08, shared


def test_real_differences_are_found_with_enough_seeds():
    rng, found = np.random.default_rng(0), {}
    for n in (2, 8):
        band = [Difference.of(0.83 + 0.02 * rng.normal(size=n), 0.8 + 0.02 * rng.normal(size=n)) for _ in range(200)]
        found[n] = np.mean([difference.told for difference in band])
        assert all(difference.gap > 0 for difference in band if difference.told) or n == 2
        assert np.mean([difference.low <= 0.03 <= difference.high for difference in band]) == pytest.approx(0.95, abs=0.04)
    assert found[8] > 0.7 > 0.4 > found[2]


def test_differences_that_cannot_be_told():
    nothing = Difference.of([0.8, math.nan], [math.nan, 0.6])
    assert nothing.n == 0 and math.isnan(nothing.gap) and not nothing.told  # no seed is scored by both
    one = Difference.of([0.8, 0.9, math.nan], [0.6, math.nan, 0.7])
    assert one.n == 1 and one.gap == pytest.approx(0.2) and math.isnan(one.low) and not one.told
    still = Difference.of([0.8, 0.7, 0.8], [0.6, 0.5, 0.6])
    assert still.n == 3 and still.gap == pytest.approx(0.2) and math.isnan(still.low) and not still.told
    told = Difference.of([0.80, 0.81, 0.79, math.nan], [0.60, 0.62, 0.59, 0.9])
    assert told.told and told.n == 3 and told.gap == pytest.approx(0.197) and told.low < told.gap < told.high


def test_what_is_told_of_seeds():
    told = describe_noise
    clear = {"best": [0.80, 0.81, 0.79, 0.80], "runner-up": [0.60, 0.62, 0.59, 0.61], "as they stand": [0.91, 0.90, 0.92, 0.93]}
    text = told(made_band(clear))
    assert text.startswith("With 4 new seeds: the best setting (trial 0) 0.800 (0.790 to 0.810); the runner-up (trial 1) 0.605 (0.590 to 0.620); "
                           "the settings as they stand (trial 2) 0.915 (0.900 to 0.930).")
    assert "minus the runner-up: a difference of +0.195 (95% interval +0.186 to +0.204): it is better." in text
    assert "minus the settings as they stand: a difference of −0.115" in text and text.endswith("it is worse.")
    open_ = told(made_band({"best": [0.8, 0.6, 0.7], "runner-up": [0.69, 0.71, 0.6]}))
    assert "these seeds do not distinguish them" in open_ and "optimistically biased" not in open_
    biased = told(made_band({"best": [0.4, 0.45], "runner-up": [0.4, 0.41]}))
    assert "In the search the best setting scored 0.500, more than with any new seed" in biased and "optimistically biased" in biased
    assert "whose uncertainty is unknown from a single seed." in told(made_band({"best": [0.8], "runner-up": [0.6]}))
    assert told(made_band({"best": [0.8]})) == "With 1 new seed: the best setting (trial 0) 0.800. There is no other setting to compare it with."


def test_failed_seeds_are_not_counted_as_scores():
    nan = math.nan
    half = describe_noise(made_band({"best": [0.8, nan, nan], "runner-up": [0.6, 0.61, 0.59]}))
    assert "the best setting (trial 0) 0.800 (2 of 3 seeds failed)" in half and \
        "a difference of +0.200 over the 1 with scores of both, whose uncertainty is unknown from a single seed." in half
    none = describe_noise(made_band({"best": [nan, nan], "runner-up": [nan, nan]}))
    assert none == ("With 2 new seeds: the best setting (trial 0) no score (every seed failed); the runner-up (trial 1) no score (every seed "
                    "failed). The best setting minus the runner-up: unknown, since no seed has a score of both.")


STANDING = (0.001, "light")


def test_what_is_told_of_a_search_is_the_verdict_of_the_new_seeds():
    """The case that was seen: 0.880 to 0.898 in the search, 0.880 to 0.861 with new seeds."""
    search = made_search([(*STANDING, "COMPLETE", 0.880), (0.003, "none", "COMPLETE", 0.898), (0.004, "none", "COMPLETE", 0.89)])
    band = made_band({"best": [0.86, 0.862], "runner-up": [0.87, 0.85], "as they stand": [0.875, 0.885]})
    told, = describe_search(search, band)
    assert told.startswith("Did the search help? With 2 new seeds the setting that it chose scores 0.861 (0.860 to 0.862), the settings as they stand "
                           "0.880 (0.875 to 0.885): a difference of −0.019 (95% interval ")
    assert "these seeds do not show whether the search helped" in told and "raised" not in told
    assert told.endswith("Its own score of that setting, 0.898, the highest of 3 noisy scores, is optimistically biased.")
    assert "the search helped" in describe_search(search, made_band(
        {"best": [0.9, 0.91, 0.9, 0.91], "runner-up": [0.87] * 4, "as they stand": [0.8, 0.82, 0.81, 0.82]}))[0]
    assert "the search chose a worse setting" in describe_search(search, made_band(
        {"best": [0.7, 0.71, 0.7, 0.71], "runner-up": [0.87] * 4, "as they stand": [0.8, 0.82, 0.81, 0.82]}))[0]
    assert describe_search(search, None) == [
        "The search's own score of its best setting, 0.898, the highest of 3 noisy scores, is optimistically biased; nothing was verified with new "
        "seeds (FINAL_SEEDS = 0)."]
    assert describe_search(None, None) == []


def test_a_search_that_finds_nothing_better_says_so():
    search = made_search([(*STANDING, "COMPLETE", 0.9), (0.003, "none", "COMPLETE", 0.9)])  # a tie is not better
    assert search.base_name == "best" and set(search.candidates) == {"best", "runner-up"}
    assert describe_search(search, None) == [
        "No trial of the search scored higher than the settings as they stand (trial 0, 0.900); nothing was verified with new seeds (FINAL_SEEDS = 0)."]
    told, = describe_search(search, made_band({"best": [0.86, 0.862], "runner-up": [0.87, 0.85]}))
    assert told.endswith("With 2 new seeds they score 0.861 (0.860 to 0.862).")
    outside = made_search([(0.003, "none", "COMPLETE", 0.9)], apart=0.95)
    assert set(outside.candidates) == {"best", "as they stand"}
    assert describe_search(outside, None)[0].endswith("The settings as they stand, which no trial has, scored higher (0.950).")


def test_what_is_told_of_trials():
    search = made_search([(*STANDING, "COMPLETE", 0.880), (0.003, "none", "COMPLETE", 0.898), (0.004, "none", "PRUNED", 0.95),
                          (0.005, "none", "FAIL", None), (0.006, "none", "FAIL", None)])
    assert describe_trials(search) == (
        "Best of 5 trials (2 complete, 2 failed, 1 pruned): trial 1 with 0.898 on validation (learning_rate 0.003, augmentation none). The settings "
        "as they stand (trial 0) score 0.880. Trials 3, 4 failed: The loss is not finite.")
    pruned = made_search([(*STANDING, "PRUNED", 0.7), (0.003, "none", "COMPLETE", 0.898)], apart=0.75)
    assert "(trained separately, since no finished trial has them) score 0.750" in describe_trials(pruned)


scores = some.sampled_from([0.0, 0.3, 0.5, 0.5004, 0.5006, 0.897, 1.0])
made_trials = some.lists(some.tuples(some.sampled_from([0.001, 0.003, 0.005]), some.sampled_from(["none", "light"]),
                                     some.sampled_from(["COMPLETE", "COMPLETE", "PRUNED", "FAIL"]), scores), min_size=1, max_size=6)


def check_verdicts(text):
    """Every "a difference of …" of a text says what its own interval says."""
    over = r"(?: over the \d+ with scores of both)?"
    pattern = rf"a difference of ([+−][\d.]+)(?: \(95% interval ([+−][\d.]+) to ([+−][\d.]+)\){over}: ([a-z ]+)|{over}, whose uncertainty is unknown)"
    found = re.findall(pattern, text)
    assert len(found) == text.count("a difference of")
    for gap, low, high, verdict in found:
        assert gap != "−0.000"
        gap, low, high = (number.replace("−", "-") for number in (gap, low, high))
        if verdict:
            assert float(low) <= float(gap) <= float(high)
            better, worse = float(low) > 0, float(high) < 0
            assert better == (verdict in ("it is better", "the search helped")), text
            assert worse == (verdict in ("it is worse", "the search chose a worse setting")), text
            assert (not better and not worse) == ("do not " in verdict), text


@budget(max_examples=60, deadline=None)
@given(trials=made_trials, apart=some.one_of(scores, some.just("FAIL")), n_seeds=some.integers(0, 4), data=some.data())
def test_every_sentence_of_a_search_is_made_and_holds(trials, apart, n_seeds, data):
    """Failed and pruned trials, ties, one trial, one seed, seeds that fail, no seeds: no "nan", and nothing against the numbers."""
    search = made_search(trials, apart)
    done = [value for *_, state, value in trials if state == "COMPLETE"]
    if not done:
        with pytest.raises(ValueError, match="No trial of the search came to an end"):
            describe_search(search, None)
        return
    scored = some.one_of(scores, some.just(math.nan))
    band = made_band({name: data.draw(some.lists(scored, min_size=n_seeds, max_size=n_seeds)) for name in search.candidates},
                     {name: math.nan if trial.value is None else trial.value for name, trial in search.candidates.items()}) if n_seeds else None
    lines = [describe_trials(search), *describe_search(search, band)]
    lines += [] if band is None else [describe_noise(band)]
    for line in lines:
        assert line.endswith(".") and not re.search(r"\bnan\b|\binf|None|\(\)|  ", line), line
        check_verdicts(line)
    best, base = max(done), search.base.value
    assert f"with {best:.3f} on validation" in lines[0]
    assert ("failed: " in lines[0]) == (base is None or any(state == "FAIL" for *_, state, _ in trials))
    assert ("No trial of the search scored higher" in lines[1]) == (search.base_name == "best")
    assert search.base_name != "best" or base == best
    assert ("scored higher (" not in lines[1]) or base > best
    assert ("nothing was verified" in lines[1]) == (band is None)
    if band is not None:
        for name, part in band.groupby("setting"):
            mean = part["score"].mean()
            words = "no score (every seed failed)" if math.isnan(mean) else f"{mean:.3f}"
            assert f"{CALLED[name]} (trial {part['trial'].iloc[0]}) {words}" in lines[2]
        more = round(band["trial_score"].iloc[0], 3) > round(band.loc[band["setting"] == "best", "score"].max(), 3)
        assert ("optimistically biased" in lines[2]) == more


def test_all_trials_fail_says_why(split, tmp_path, monkeypatch):
    def diverges(*arguments, **options):
        raise ValueError("The loss is nan in epoch 1")
    monkeypatch.setattr("inside.selection.search.train", diverges)
    search = search_module.run_search(settings(SEARCH_TRIALS=2, SEARCH_IMAGES=12), split, folder=tmp_path)
    assert search.trials["state"].tolist() == ["FAIL"] * 2
    with pytest.raises(ValueError, match="No trial of the search came to an end: The loss is nan"):
        _ = search.ranked
    for told in (lambda: describe_trials(search), lambda: describe_search(search, None),
                 lambda: noise_band(search, split, folder=tmp_path)):
        with pytest.raises(ValueError, match="No trial of the search came to an end"):
            told()


def test_what_the_captions_of_a_noise_band_claim():
    nan = math.nan
    band = made_band({"best": [0.80, 0.83], "runner-up": [0.70, nan]})
    assert describe_band(band).startswith("The scores of one setting differ by up to 0.030 between 2 new seeds (the best setting): smaller differences")
    assert describe_seeds(band) == "4 trainings with new seeds, 1 of which failed."
    assert describe_band(made_band({"best": [nan, nan]})) == "Every new seed failed."
    still = made_band({"best": [0.8, 0.8]})
    assert describe_band(still) == "2 new seeds for each setting: the scores do not differ between seeds."
    assert describe_seeds(still) == "2 trainings with new seeds, none of which failed."
    assert "cannot show" in describe_band(made_band({"best": [0.8], "runner-up": [0.7]}))


def test_what_the_captions_of_the_options_claim():
    table = pd.DataFrame({"option": ["lr", "word", "x"], "importance": [0.2, 0.7, math.nan], "correlation": [-0.6, 0.301, math.nan],
                          "chance": [0.5, 0.3, math.nan], "measure": ["Spearman ρ", "ratio η", ""]})
    assert describe_strongest(table) == "word has the largest importance, 0.70 of what the options explain one by one."
    assert describe_strongest(table.assign(chance=0.9)).endswith("; no correlation with the score is above its chance level.")
    assert describe_strongest(table.assign(importance=0.5)).startswith("lr, word and x have the largest importance, 0.50 of")
    assert "chance" not in describe_strongest(table.assign(chance=math.nan))  # none is known
    assert describe_chances(table) == "1 of 2 known correlations with the score is above its chance level."  # 0.30 is shown for both
    assert "No importance is known" in describe_strongest(table[2:]) and describe_chances(table[2:]) == "No correlation with the score is known."
    trials = [(*STANDING, "COMPLETE", 0.8), (0.003, "light", "COMPLETE", 0.9), (0.004, "none", "COMPLETE", 0.7)]
    assert describe_level(made_search(trials)) == "" and describe_level(made_search(trials[:1])) == ""
    alike = made_search([*trials, (0.005, "none", "COMPLETE", 0.9003), (0.006, "none", "PRUNED", 0.9)])  # 0.900 is shown for both
    assert alike.ranked[0].number == 3 and describe_level(alike) == " Level with it: trial 1." and " Level with it: trial 1. " in describe_trials(alike)
    assert describe_best(made_search(trials), 2) == "The best 2 settings have augmentation light in common."
    assert describe_best(made_search(trials)) == "The best 3 settings have no option in common."
    assert describe_best(made_search(trials[:1])).startswith("Only one setting was completed: learning_rate 0.001, augmentation light.")
