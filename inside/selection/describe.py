"""Sentences on a search, made from its trials."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.stats
from optuna.trial import FrozenTrial, TrialState

from inside.selection.search import Search, format_params
from inside.text import format_number, format_share, format_value, listed

STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
CALLED = {"best": "the best setting", "runner-up": "the runner-up", "as they stand": "the settings as they stand"}


@dataclasses.dataclass(frozen=True)
class Difference:
    """The mean of n differences between two settings, a seed each, and its 95% interval; rounded to three digits."""

    n: int
    gap: float
    low: float
    high: float

    @classmethod
    def of(cls, one: Sequence[float], other: Sequence[float]) -> Difference:
        """By the paired t test (Student 1908): scores in the same order of seeds; a seed that lacks one (NaN) is left out.

        Paired, since the settings share their seeds, which move them alike (four settings, 14 seeds: correlations from 0.26
        to 0.89); Welch's test would tell equal settings apart too seldom and find less. The limits stay within -1 and 1, as
        shares do; they are NaN, and nothing can be told, with fewer than two seeds or where all differences are the same.
        """
        pairs = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
        both = np.isfinite(pairs[0]) & np.isfinite(pairs[1])
        first, second = (scores[both] for scores in pairs)
        if not len(first):
            return cls(0, math.nan, math.nan, math.nan)
        low = high = math.nan
        if len(first) > 1 and np.ptp(first - second) > 1e-9:
            low, high = np.clip(scipy.stats.ttest_rel(first, second).confidence_interval(0.95), -1, 1)
        return cls(len(first), *(round(float(value), 3) + 0.0 for value in ((first - second).mean(), low, high)))

    @property
    def told(self) -> bool:
        """Whether the two are told apart: the interval, as it is shown, does not hold 0."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        gap, low, high = (format_number(value, 3, sign=True) for value in (self.gap, self.low, self.high))
        return f"a difference of {gap}" + (f" (95% interval {low} to {high})" if math.isfinite(self.low) else "")


def describe_noise(band: pd.DataFrame) -> str:
    """The scores of each candidate with new seeds, and whether they distinguish the best (see Difference)."""
    groups = dict(iter(band.groupby("setting", sort=False)))
    scores = band.pivot(index="seed", columns="setting", values="score")
    told = "; ".join(f"{CALLED[name]}{_numbered(part)} {_spread(scores[name])}" for name, part in groups.items())
    lines = [f"With {_counted(len(scores), 'new seed')}: {told}."]
    lines += [f"The best setting minus {CALLED[name]}: {_verdict(scores['best'], scores[name])}."
              for name in groups if name != "best"]
    if len(groups) == 1:
        lines.append("There is no other setting to compare it with.")
    own = groups["best"]["trial_score"].iloc[0]
    if round(own, 3) > round(scores["best"].max(), 3):
        lines.append(f"In the search the best setting scored {format_share(own)}, more than with any new seed: the highest "
                     "of several scores is optimistically biased.")
    return " ".join(lines)


def _numbered(part: pd.DataFrame) -> str:
    number = part["trial"].iloc[0]
    return "" if pd.isna(number) else f" (trial {number})"


def _spread(scores: pd.Series) -> str:
    """Mean and range of the scores of some seeds, and how many failed."""
    known = scores.dropna()
    if known.empty:
        return "no score (every seed failed)"
    failed = [f"{len(scores) - len(known)} of {len(scores)} seeds failed"] if len(known) < len(scores) else []
    ranged = [f"{format_share(known.min())} to {format_share(known.max())}"] if len(known) > 1 else []
    inside = "; ".join(ranged + failed)
    return f"{format_share(known.mean())}" + (f" ({inside})" if inside else "")


def _verdict(one: pd.Series, other: pd.Series, better: str = "it is better", worse: str = "it is worse",
             undecided: str = "these seeds do not distinguish them") -> str:
    """The difference of two settings in words, or why it cannot be told."""
    difference = Difference.of(one, other)
    if not difference.n:
        return "unknown, since no seed has a score of both"
    over = f" over the {difference.n} with scores of both" if difference.n < len(one) else ""
    if math.isnan(difference.low):
        why = "from a single seed" if difference.n == 1 else "since it is the same with every seed"
        return f"{difference}{over}, whose uncertainty is unknown {why}"
    verdict = (better if difference.gap > 0 else worse) if difference.told else undecided
    return f"{difference}{over}: {verdict}"


def describe_trials(found: Search) -> str:
    """How the trials ended, which one was best, how the settings as they stand scored, and why trials failed."""
    best, trials = found.ranked[0], found.trials
    ends = ", ".join(f"{n} {STATES[state]}" for state, n in trials["state"].value_counts().items())
    told = (f"Best of {_counted(len(trials), 'trial')} ({ends}): trial {best.number} with {format_share(best.value)} on "
            f"validation ({format_params(best)}).{describe_level(found)} {describe_base(found)}")
    failed = {trial.number: _reason(trial)
              for trial in found._ended(TrialState.FAIL)}
    for reason in dict.fromkeys(failed.values()):
        numbers = ", ".join(str(number) for number, why in failed.items() if why == reason)
        told += f" Trial{'s' * (', ' in numbers)} {numbers} failed: {reason}."
    return told


def describe_level(found: Search) -> str:
    """The complete trials whose score is shown like that of the best, as a sentence after another one; "" for none."""
    done = found.trials[found.trials["state"] == "COMPLETE"]
    best = found.ranked[0]
    level = done.loc[(done["score"].round(3) == round(best.value, 3)) & (done["number"] != best.number), "number"]
    names = listed([str(number) for number in level])
    return f" Level with it: trial{'s' * (len(level) > 1)} {names}." if names else ""


def _reason(trial: FrozenTrial) -> str:
    return trial.user_attrs.get("reason", "no reason is known").rstrip(".")


def describe_base(found: Search) -> str:
    """One sentence: the score of the settings as they stand, and where it comes from."""
    base = found.base
    where = "trained separately, since no finished trial has them" if base is found.apart else f"trial {base.number}"
    if base.value is None:
        return f"The settings as they stand ({where}) failed: {_reason(base)}."
    return f"The settings as they stand ({where}) score {format_share(base.value)}."


def describe_search(found: Search | None, noise: pd.DataFrame | None) -> list[str]:
    """Whether the search helped: the verdict of the new seeds; without them, that nothing was verified. [] for no search."""
    if found is None:
        return []
    best, n_scores = found.ranked[0], int((found.trials["state"] == "COMPLETE").sum())
    unverified = "; nothing was verified with new seeds (FINAL_SEEDS = 0)."
    seeds = "" if noise is None else f"With {_counted(noise['seed'].nunique(), 'new seed')}"
    scores = {} if noise is None else noise.pivot(index="seed", columns="setting", values="score")
    if found.base_name == "best":
        told = (f"No trial of the search scored higher than the settings as they stand (trial {best.number}, "
                f"{format_share(best.value)})")
        return [told + unverified if noise is None else f"{told}. {seeds} they score {_spread(scores['best'])}."]
    biased = f"{format_share(best.value)}, " + (
        f"the highest of {n_scores} noisy scores, is optimistically biased" if n_scores > 1 else "the only one, is noisy")
    if noise is None:
        higher = (f" The settings as they stand, which no trial has, scored higher ({format_share(found.base.value)})."
                  if found.base.value is not None and round(found.base.value, 3) > round(best.value, 3) else "")
        return [f"The search's own score of its best setting, {biased}{unverified}{higher}"]
    base = scores[found.base_name or "as they stand"]
    verdict = _verdict(scores["best"], base, "the search helped", "the search chose a worse setting",
                       "these seeds do not show whether the search helped")
    return [f"Did the search help? {seeds} the setting that it chose scores {_spread(scores['best'])}, the settings as they "
            f"stand {_spread(base)}: {verdict}. Its own score of that setting, {biased}."]


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")


def describe_band(band: pd.DataFrame) -> str:
    """The widest noise band among the settings with new seeds, and that smaller differences are inconclusive."""
    spread = band.groupby("setting", sort=False)["score"].agg(lambda scores: scores.max() - scores.min())
    if not spread.notna().any():
        return "Every new seed failed."
    seeds = _counted(band["seed"].nunique(), "new seed")
    if band["seed"].nunique() == 1:
        return "One new seed for each setting cannot show how far the scores spread."
    if not round(spread.max(), 3):
        return f"{seeds} for each setting: the scores do not differ between seeds."
    return (f"The scores of one setting differ by up to {spread.max():.3f} between {seeds} ({CALLED[spread.idxmax()]}): "
            "smaller differences between two trials are inconclusive.")


def describe_best(found: Search, most: int = 3) -> str:
    """The options that the best `most` trials have in common."""
    top = found.ranked[:most]
    if len(top) < 2:
        return f"Only one setting was completed: {format_params(top[0])}."
    shared = [name for name in top[0].params if all(trial.params.get(name) == top[0].params[name] for trial in top)]
    told = ", ".join(f"{name} {format_value(top[0].params[name])}" for name in shared)
    return f"The best {len(top)} settings have {told or 'no option'} in common."


def describe_strongest(table: pd.DataFrame) -> str:
    """The option with the largest importance, or that none is known."""
    known = table.dropna(subset=["importance"])
    if known.empty:
        return "No importance is known: there are too few complete trials, or their scores are equal."
    shown = known["importance"].round(2)
    names, verb = list(known.loc[shown == shown.max(), "option"]), "has" if (shown == shown.max()).sum() == 1 else "have"
    above = _above_chance(table)
    sure = "" if above is None or above.any() else "; no correlation with the score is above its chance level"
    most = format_share(known["importance"].max(), 2)
    return f"{listed(names)} {verb} the largest importance, {most} of what the options explain one by one{sure}."


def _above_chance(table: pd.DataFrame) -> pd.Series | None:
    """Whether the known correlations with the score are above their chance levels, with two digits; None: none is known."""
    known = table.dropna(subset=["correlation", "chance"])
    return None if known.empty else known["correlation"].round(2).abs() > known["chance"].round(2)


def describe_chances(table: pd.DataFrame) -> str:
    """How many of the known correlations with the score are above their chance level, as shown with two digits."""
    found = _above_chance(table)
    if found is None:
        return "No correlation with the score is known."
    above = int(found.sum())
    verb = "is above its chance level" if above == 1 else "are above their chance levels"
    return f"{above} of {_counted(len(found), 'known correlation')} with the score {verb}."


def describe_seeds(band: pd.DataFrame) -> str:
    """How many trainings there were with new seeds, and how many of them failed."""
    failed = int(band["score"].isna().sum())
    return f"{_counted(len(band), 'training')} with new seeds, {failed or 'none'} of which failed."


def describe_importances(table: pd.DataFrame) -> str:
    """Which correlations with the score are above their chance level, as shown with two digits, and which are not."""
    shown = table.assign(value=table["correlation"].round(2), level=table["chance"].round(2))
    known = shown["value"].notna() & shown["level"].notna()
    above = known & (shown["value"].abs() > shown["level"])
    groups = (("Above", above), ("Not above", known & ~above))
    told = [f"{start} their chance level: " + ", ".join(
        f"{row['option']} ({row['measure']} {format_share(row['value'], 2)}, chance {format_share(row['level'], 2)})"
        for row in shown[chosen].to_dict("records")) for start, chosen in groups if chosen.any()]
    if not known.all():
        told.append(f"Unknown, from too few trials or values that do not vary: {', '.join(shown[~known]['option'])}")
    if above.any() and known.sum() > 1:
        told.append("Of options without any effect, one in twenty would be above it by chance")
    return ". ".join(told) + "."
