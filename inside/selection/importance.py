"""How much each option of a search mattered, beside what chance gives."""

from __future__ import annotations

import contextlib
import math
import warnings

import numpy as np
import optuna
import pandas as pd
import scipy.stats
from optuna.trial import TrialState

from inside.selection.search import Search

PERMUTATIONS = 200  # of the scores, for the chance level of a correlation


def importances(found: Search) -> pd.DataFrame:
    """option, importance, correlation, chance, measure: how much each option mattered among the complete trials.

    importance: an option's share of what all options explain of the score one by one, without their interactions (fANOVA:
    Hutter, Hoos and Leyton-Brown 2014), unknown (NaN) for options that not all trials have. The shares add up to one
    whatever the scores are, and are no shares of their variance; they have no chance level, since some hundred forests
    would take minutes. correlation: Spearman's rank correlation with the score, for choices of words
    the correlation ratio η from 0 to 1, the root of the share of the variance between the choices. chance: what its
    absolute value stays below in 95 of 100 permutations of the scores.
    """
    done = found.trials[found.trials["state"] == "COMPLETE"]
    shares: dict[str, float] = {}
    if len(done) >= 4 and done["score"].nunique() > 1:
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        with warnings.catch_warnings(), contextlib.suppress(ValueError, RuntimeError):
            warnings.simplefilter("ignore")
            shares = optuna.importance.get_param_importances(finished_part(found), evaluator=evaluator)
    rows = []
    for name in found.space:
        value, measure = correlation(done[name], done["score"])
        rows.append({"option": name, "importance": shares.get(name, math.nan), "correlation": value,
                     "chance": chance_level(done[name], done["score"]), "measure": measure})
    return pd.DataFrame(rows).sort_values("importance", ascending=False, ignore_index=True, kind="stable")


def finished_part(found: Search) -> optuna.Study:
    """A study in memory that holds only the trials asked for (the storage can hold more)."""
    study = optuna.create_study(direction="maximize")
    study.add_trials([trial for trial in found.study.trials
                      if trial.number < found.n_trials and trial.state == TrialState.COMPLETE])
    return study


def correlation(values: pd.Series, scores: pd.Series) -> tuple[float, str]:
    """Spearman's ρ for numbers, the correlation ratio η for words and truth values; NaN where nothing varies."""
    found, measure = _correlations(values, scores.to_numpy(float)[None])
    return float(found[0]), measure


def chance_level(values: pd.Series, scores: pd.Series, *, n_permutations: int = PERMUTATIONS, seed: int = 0) -> float:
    """The 95% quantile of the absolute correlation over permutations of the scores; NaN where there is no correlation."""
    known = values.notna()
    drawn = np.tile(scores[known].to_numpy(float), (n_permutations, 1))
    found, _ = _correlations(values[known], np.random.default_rng(seed).permuted(drawn, axis=1))
    return float(np.quantile(np.abs(found), 0.95))


def _correlations(values: pd.Series, scores: np.ndarray) -> tuple[np.ndarray, str]:
    """The correlation of n values with each row of the scores (P,n), and the name of the measure; see `correlation`."""
    known = values.notna().to_numpy()
    values, scores = values[known], scores[:, known]
    if len(values) < 3 or values.nunique() < 2 or np.ptp(scores[0]) == 0:
        return np.full(len(scores), math.nan), ""
    if all(type(value) in (int, float) for value in values.tolist()):
        ranks, of_scores = scipy.stats.rankdata(values.to_numpy(float)), scipy.stats.rankdata(scores, axis=1)
        ranks, of_scores = ranks - ranks.mean(), of_scores - of_scores.mean(1, keepdims=True)
        return of_scores @ ranks / (np.linalg.norm(ranks) * np.linalg.norm(of_scores, axis=1)), "Spearman ρ"
    centred = scores - scores.mean(1, keepdims=True)
    member = pd.get_dummies(values.astype(str)).to_numpy(float)
    between = ((centred @ member) ** 2 / member.sum(0)).sum(1)
    return np.sqrt((between / (centred ** 2).sum(1)).clip(0, 1)), "ratio η"
