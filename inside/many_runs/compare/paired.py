"""Differences between runs on the same images, and between settings that several seeds repeat.

Their coverage: benchmarks/coverage.py; how often equal settings are told apart: benchmarks/seeds.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t as student_t

from inside.feature_maps.probes import paired_p_value

RESAMPLES, LEVEL = 4000, 0.05


class Difference(NamedTuple):
    """First minus second: the value, and the ends of its 95% interval."""

    value: float
    low: float
    high: float


def resampled_means(gain: np.ndarray, label: Sequence, units: np.ndarray, *, resamples: int = RESAMPLES,
                    seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap of what each image gains (N,), hit minus hit: means over classes and over images, (resamples,) each.

    Within each class whole `units` (N,), see `sampling_units`, are drawn, so that copies of a picture stay together. A mean
    over no discordant image would have no spread: as Bonett and Price (2012) add one image to either side of McNemar's
    table, the population drawn from has one more picture, of the average number of copies, that only the first has right,
    and one that only the second has right, both spread evenly over the K classes.
    """
    rng, codes = np.random.default_rng(seed), pd.factorize(np.asarray(label))[0]
    n_classes, means, sums = codes.max() + 1, [], []
    drawn, of_class = np.stack([np.bincount(units, gain), np.bincount(units)], axis=1), np.zeros(units.max() + 1, dtype=int)
    of_class[units] = codes
    for number in range(n_classes):
        patterns, counts = np.unique(drawn[of_class == number], axis=0, return_counts=True)
        copies = drawn[of_class == number, 1].mean()
        patterns = np.vstack([patterns, [[copies, copies], [-copies, copies]]])
        chances = np.append(counts, [1 / n_classes] * 2)
        total, size = (rng.multinomial(counts.sum(), chances / chances.sum(), resamples) @ patterns).T
        means.append(total / size)
        sums.append(means[-1] * (codes == number).sum())
    return np.mean(means, axis=0), np.sum(sums, axis=0) / len(codes)


def paired_differences(first: np.ndarray, second: np.ndarray, label: Sequence, units: np.ndarray, *,
                       seed: int = 0) -> tuple[Difference, Difference]:
    """Differences of mean class accuracy and of accuracy, with percentile intervals; hits (N,) of the same images."""
    gain = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    by_class, overall = resampled_means(gain, label, units, seed=seed)
    values = pd.Series(gain).groupby(np.asarray(label)).mean().mean(), gain.mean()
    return tuple(_with_ends(float(value), drawn)  # type: ignore[return-value]
                 for value, drawn in zip(values, (by_class, overall), strict=True))


def _with_ends(value: float, drawn: np.ndarray) -> Difference:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Difference(value, min(value, float(low)), max(value, float(high)))


def one_sided(first: np.ndarray, second: np.ndarray, units: np.ndarray) -> tuple[int, int, float]:
    """How many pictures the first has more often right, how many the second, and McNemar's exact p-value from the two.

    Copies of a picture (the same of `units`) are one picture: it counts for the network that has more of them right.
    """
    gain = np.bincount(units, np.asarray(first, dtype=float) - np.asarray(second, dtype=float))
    return int((gain > 0).sum()), int((gain < 0).sum()), paired_p_value(gain > 0, gain < 0)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """P-values adjusted for there being so many (Holm, A simple sequentially rejective multiple test procedure, 1979)."""
    p = np.asarray(p_values, dtype=float)
    order, adjusted = np.argsort(p, kind="stable"), np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def setting_difference(first: Sequence[float], second: Sequence[float],
                       image_variance: float = 0.0) -> tuple[Difference, float]:
    """The difference of the means over seeds of two settings, with Welch's 95% interval and its p-value.

    `image_variance`: of the difference of the means when other images are drawn (`resampled_means`), to be added where all
    runs were tested on the same images; that of the seeds knows nothing of it. Degrees of freedom: Welch and Satterthwaite.
    Without any variance, or with one seed, nothing is known: NaN, and a p-value of 1.
    """
    a, b = (np.asarray(values, dtype=float) for values in (first, second))
    value = float(a.mean() - b.mean())
    if min(len(a), len(b)) < 2:
        return Difference(value, math.nan, math.nan), 1.0
    of_seeds = [(values.var(ddof=1) / len(values), len(values) - 1) for values in (a, b)]
    variance, spread = image_variance + sum(part for part, _ in of_seeds), sum(part ** 2 / n for part, n in of_seeds)
    if variance < 1e-18:
        return Difference(value, math.nan, math.nan), 1.0
    freedom, error = variance ** 2 / spread if spread > 0 else math.inf, math.sqrt(variance)
    half = student_t.ppf(0.975, freedom) * error
    return Difference(value, value - half, value + half), float(2 * student_t.sf(abs(value) / error, freedom))


def verdict(difference: Difference, p_value: float) -> int:
    """1 where the first is better, -1 where the second is, 0 where they cannot be told apart.

    It takes both: a p-value (adjusted, where there are several) below LEVEL, and an interval on one side of 0.
    """
    return 0 if not p_value < LEVEL else int(difference.low > 0) - int(difference.high < 0)
