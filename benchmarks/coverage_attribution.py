"""Coverage of the intervals of notebook 02: of mean drops in confidence, and of mean rank correlations.

Its rows are part of the table of coverage.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from inside.attribution.describe import ENOUGH, FEWEST
from inside.attribution.randomisation import interval_over_draws
from inside.evaluation.intervals import mean_interval

# Populations of drops in confidence, as functions of a generator and a size. Those of 528 photographs (EfficientNet-Lite0)
# had a mean of 0.07, a standard deviation of 0.14 and a skewness of 2.3 (hottest tenth) or 2.0 (less those of a random one).
DROPS: dict[str, Callable[[np.random.Generator, tuple], np.ndarray]] = {
    "normal": lambda rng, size: rng.normal(0.05, 0.1, size),
    "few images drop much (skewness 2.3)": lambda rng, size: np.where(
        rng.random(size) < 0.78, rng.normal(0.01, 0.03, size), rng.uniform(-0.12, 0.62, size)),
    "exponential (skewness 2)": lambda rng, size: rng.exponential(0.1, size),
}

# |ρ| of images (one row per sample, one column per image) from the effect of their draw, both standard normal.
CORRELATIONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "by chance, draws alike": lambda draw, image: np.abs(np.tanh(0.4 * image)),
    "by chance, draws differ": lambda draw, image: np.abs(np.tanh(0.2 * draw + 0.35 * image)),
    "0.6, draws differ as much as images": lambda draw, image: (0.6 + 0.1 * draw + 0.1 * image).clip(0, 1),
    "0.6, draws differ most": lambda draw, image: (0.6 + 0.1 * draw + 0.02 * image).clip(0, 1),
    "near 1": lambda draw, image: 1 - 0.005 * np.exp(0.3 * draw + 0.5 * image),
}


def attribution_rows(*, samples: int = 2000, seed: int = 0) -> list[dict]:
    """Intervals of notebook 02: of mean drops (`mean_interval`), of mean |ρ| (`interval_over_draws`); one row per setting.

    Keys interval, setting, images, coverage, Monte-Carlo error (standard error of the coverage), mean width.
    """
    rng, rows = np.random.default_rng(seed), []
    for name, drops in DROPS.items():
        truth = drops(rng, (2_000_000,)).mean()
        for images in (FEWEST, 20, ENOUGH, 100):
            ends = [mean_interval(values, bounds=(-1, 1))[1:] for values in drops(rng, (samples, images))]
            rows.append(_row("mean drop, Student's t", f"drops {name}", images, ends, truth))
    for name, correlations in CORRELATIONS.items():
        truth = correlations(*rng.standard_normal((2, 2_000_000))).mean()
        for draws, images in ((5, 30), (5, 10), (2, 30), (1, 30)):
            dealt = np.arange(images) % draws
            values = correlations(rng.standard_normal((samples, draws))[:, dealt], rng.standard_normal((samples, images)))
            ends = [interval_over_draws(row, dealt)[1:3] for row in values]
            how = f"{draws} draws" if draws > 1 else "1 draw: over images"
            rows.append(_row(f"mean |ρ|, {how}", f"|ρ| {name}", images, ends, truth))
    return rows


def _row(interval: str, setting: str, images: int, ends: list[tuple[float, float]], truth: float) -> dict:
    low, high = np.array(ends).T
    coverage = float(((low <= truth) & (truth <= high)).mean())
    return {"interval": interval, "setting": setting, "images": images, "coverage": coverage,
            "Monte-Carlo error": math.sqrt(coverage * (1 - coverage) / len(low)), "mean width": float((high - low).mean())}
