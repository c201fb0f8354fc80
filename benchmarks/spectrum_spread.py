"""How often the spread of the effective rank and of the leading eigenvalues covers their mean at this N, its target.

Features with known covariances are drawn repeatedly: normal ones with decaying, steep, exponential and flat spectra,
with heavy tails (Student's t with 5 degrees of freedom, one factor per image), and in six classes. One row per case: images,
channels, the mean effective rank at this N, that of the population; the fraction of data sets whose 95% spread covers
the former, and the latter; the fraction whose spread covers the mean of the first and of the fifth eigenvalue; and, for a
second network with other features of the same images, the fraction whose spread of the ratio of the two effective ranks
covers the mean ratio at this N, and the fraction in which the spreads of the two ranks overlap though their ratio's leaves
out 1.

    python benchmarks/spectrum_spread.py --sets 300 --resamples 200
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

from inside.feature_maps.certainty import bootstrap_spectrum, rank_ratio_spread
from inside.feature_maps.spectra import spectrum

DECAYS = {"1/k": lambda k: 1 / k, "1/k²": lambda k: 1 / k**2, "exp(-k/10)": lambda k: np.exp(-k / 10), "flat": np.ones_like}
CASES = [("1/k", "normal", 200, 320), ("1/k", "normal", 200, 40), ("1/k", "normal", 50, 40), ("1/k", "normal", 14, 40),
         ("1/k", "heavy tails", 200, 40), ("1/k", "classes", 200, 40), ("1/k", "classes", 50, 40),
         ("exp(-k/10)", "normal", 200, 40), ("1/k²", "normal", 200, 40), ("1/k²", "normal", 50, 40),
         ("flat", "normal", 200, 40)]


def draw(decay: str, kind: str, n: int, c: int, rng: np.random.Generator) -> np.ndarray:
    """Features (n,c) of one data set."""
    x = rng.standard_normal((n, c))
    if kind == "heavy tails":
        x *= np.sqrt(3 / rng.chisquare(5, (n, 1)))
    if kind == "classes":
        x += 1.5 * np.random.default_rng(99).standard_normal((6, c))[rng.integers(0, 6, n)]
    return x * np.sqrt(DECAYS[decay](np.arange(1.0, c + 1)))


def changed(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Features of a second network: those of the first, every other channel weaker by a fifth, with noise of a tenth."""
    return (x + 0.1 * x.std(0) * rng.standard_normal(x.shape)) * np.where(np.arange(x.shape[1]) % 2, 1, 0.8)


def coverage(decay: str, kind: str, n: int, c: int, *, sets: int, resamples: int, seed: int = 0) -> dict:
    """One row of the table."""
    rng = np.random.default_rng(seed)
    sets_drawn = [draw(decay, kind, n, c, rng) for _ in range(1000)]
    many = [spectrum(x) for x in sets_drawn]
    others = [spectrum(changed(x, rng)) for x in sets_drawn]
    ratio = np.mean([s.effective_rank / other.effective_rank for s, other in zip(many, others, strict=True)])
    population = spectrum(draw(decay, kind, 200 * c, c, rng)).effective_rank
    rank, values = np.mean([s.effective_rank for s in many]), np.mean([s.all_eigenvalues[:5] for s in many], axis=0)
    found = []
    for number in range(sets):
        x = draw(decay, kind, n, c, rng)
        boot, other = (bootstrap_spectrum(each, n_resamples=resamples, seed=number) for each in (x, changed(x, rng)))
        (low, high), (lows, highs) = boot.effective_rank_spread(), boot.eigenvalue_spread()
        (less, more), (least, most) = other.effective_rank_spread(), rank_ratio_spread(boot, other)
        found.append([low <= rank <= high, low <= population <= high,
                      *((lows[:5] <= values) & (values <= highs[:5]))[[0, 4]], least <= ratio <= most,
                      low <= more and less <= high and not least <= 1 <= most])
    names = ("covers mean", "covers population", "first eigenvalue", "fifth eigenvalue", "ratio", "apart, but overlap")
    return {"eigenvalues": decay, "features": kind, "images": n, "channels": c, "mean rank": rank, "population": population,
            **dict(zip(names, np.mean(found, axis=0), strict=True))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=300, help="data sets a case")
    parser.add_argument("--resamples", type=int, default=200, help="resamples of each data set")
    given = parser.parse_args()
    rows = [coverage(*case, sets=given.sets, resamples=given.resamples) for case in CASES]
    print(pd.DataFrame(rows).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
