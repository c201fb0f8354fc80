"""Intervals of shares, of their means and of average precision; their coverage: benchmarks/coverage.py."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import norm
from scipy.stats import t as student_t


def sampling_units(label: Sequence, groups: Sequence | None = None) -> np.ndarray:
    """One number per image, (N,): equal for images of the same label and group, its own for an image without a group."""
    singles = np.arange(len(label))
    groups = pd.Series(singles if groups is None else np.asarray(groups, dtype=object))
    if len(groups) != len(label):
        raise ValueError(f"groups has {len(groups)} entries for {len(label)} images: it takes one an image, NA for none.")
    codes = pd.factorize(groups)[0]  # -1: no group
    keys = pd.DataFrame({"label": label, "group": np.where(codes < 0, len(label) + singles, codes)})
    return keys.groupby(["label", "group"], sort=False).ngroup().to_numpy()


def effective_size(units: np.ndarray) -> float:
    """How many independent images tell as much as these, (N,) -> n² / Σ m² with m copies of a picture (Kish 1965)."""
    copies = np.unique(units, return_counts=True)[1]
    return len(units) ** 2 / (copies ** 2).sum() if len(units) else 0.0


def wilson_interval(share: float, size: float, level: float = 0.95) -> tuple[float, float]:
    """The interval of a share of `size` independent images (Wilson 1927): all p that a score test does not reject."""
    z2 = norm.ppf((1 + level) / 2) ** 2
    centre = (share + z2 / (2 * size)) / (1 + z2 / size)
    half = math.sqrt(z2 * (share * (1 - share) / size + z2 / (4 * size ** 2))) / (1 + z2 / size)
    return float(max(0, min(share, centre - half))), float(min(1, max(share, centre + half)))


def mean_share_interval(shares: Sequence[float], sizes: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """The interval of the mean of shares from independent samples: Wilson's, for several classes.

    It holds every mean that a score test does not reject, the shares of the classes being the likeliest ones with this mean
    (Martín Andrés, Herranz Tejedor and Álvarez Hernández 2012); for one class it is Wilson's interval.
    """
    share, size = np.asarray(shares, dtype=float), np.asarray(sizes, dtype=float)
    return _lowest_mean_share(share, size, level), 1 - _lowest_mean_share(1 - share, size, level)


def _lowest_mean_share(shares: np.ndarray, sizes: np.ndarray, level: float) -> float:
    """The lower end of `mean_share_interval`, by the Lagrange multiplier λ of the constrained maximum of the likelihood.

    The likeliest shares p solve size (share - p) = λ p (1 - p); then (mean - θ)² / Var(θ) = λ K (mean - θ) for θ their mean.
    """
    if not shares.any():
        return 0.0
    z2 = norm.ppf((1 + level) / 2) ** 2

    def mean_at(multiplier):
        b = multiplier + sizes
        return (2 * sizes * shares / (b + np.sqrt(np.maximum(b ** 2 - 4 * multiplier * sizes * shares, 0)))).mean()

    def excess(multiplier):
        return multiplier * len(shares) * (shares.mean() - mean_at(multiplier)) - z2
    low = high = z2 / shares.sum()  # the score is at most λ K mean: not reached yet
    while excess(high) <= 0:
        high *= 2
    return float(mean_at(brentq(excess, low, high, xtol=1e-12, rtol=1e-12)) if high > low else mean_at(low))


def leave_one_out_average_precision(positive: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Average precision without each of the images in turn: (N,), (N,) -> (N,), with one sort for all of them.

    Equal scores are taken together, as scikit-learn does. NaN for the only positive image.
    """
    positive = np.asarray(positive, dtype=float)
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)  # the last image of each score
    place = np.empty(len(score), dtype=int)
    place[order] = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=-1))
    hits, seen = np.cumsum(positive[order])[ends], ends + 1
    new, one_less = np.diff(hits, prepend=0), np.maximum(seen - 1, 1)
    above = np.cumsum(new * hits / seen) - new * hits / seen  # what higher scores add: unchanged
    negative_gone = above + np.cumsum((new * hits / one_less)[::-1])[::-1]
    below = np.cumsum((new * (hits - 1) / one_less)[::-1])[::-1]
    positive_gone = above + below - (hits - 1) / one_less  # the score of the image itself has one positive less
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(positive > 0, positive_gone[place] / (hits[-1] - 1), negative_gone[place] / hits[-1])


def jackknife_error(effects: np.ndarray, strata: Sequence, units: np.ndarray) -> float:
    """The standard error of a statistic from the effect of leaving out each image, within strata that keep their sizes.

    `effects` (N,) are differences from the statistic of all images, `units` (N,) numbers of what was drawn at once: effects
    within a unit are added. Stratified jackknife (Efron 1982; a stratum of one unit is not centred).
    """
    total = np.bincount(units, effects)
    stratum = np.zeros(len(total), dtype=int)
    stratum[units] = pd.factorize(np.asarray(strata))[0]
    count = np.bincount(stratum)
    centre = np.where(count > 1, np.bincount(stratum, total) / count, 0)
    weight = np.where(count > 1, (count - 1) / count, 1)
    return math.sqrt((weight[stratum] * (total - centre[stratum]) ** 2).sum())


def logit_interval(value: float, error: float, size: float, level: float = 0.95) -> tuple[float, float]:
    """The interval of an average precision with a standard error, symmetric on the logit scale (Boyd, Eng and Page 2013).

    Where the images have no spread (a perfect ranking, one image alone), that of Wilson for a share of `size` images.
    """
    if not (0 < value < 1 and error > 1e-9 and size > 1):
        return wilson_interval(value, size, level)
    middle, half = math.log(value / (1 - value)), norm.ppf((1 + level) / 2) * error / (value * (1 - value))
    return float(expit(middle - half)), float(expit(middle + half))


def difference_interval(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """The interval of the difference of two independent numbers, each (value, low, high) (MOVER: Newcombe 1998)."""
    (a, a_low, a_high), (b, b_low, b_high) = first, second
    return a - b - math.hypot(a - a_low, b_high - b), a - b + math.hypot(a_high - a, b - b_low)


def mean_interval(values: Sequence[float], *, level: float = 0.95,
                  bounds: tuple[float, float] = (-math.inf, math.inf)) -> tuple[float, float, float]:
    """Mean of the values that are numbers and the ends of Student's t interval, within `bounds`; NaN where there are none.

    A single value has no ends. Of skewed values it takes many (ENOUGH) before it covers what it says, but of few it covers
    more than the percentile and BCa bootstraps, and the studentised bootstrap is better for some and worse for others.
    """
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    if len(known) < 2:
        return (float(known.mean()) if len(known) else math.nan, math.nan, math.nan)
    half = student_t.ppf((1 + level) / 2, len(known) - 1) * known.std(ddof=1) / math.sqrt(len(known))
    return (float(known.mean()), *np.clip([known.mean() - half, known.mean() + half], *bounds).tolist())
