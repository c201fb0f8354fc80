"""Simulated coverage of the intervals in the report: a 95% interval should contain the true value in about 95 of 100 cases.

Each family of intervals has a function that gives rows of one table: interval, setting, images (of a class, or of the whole
part), coverage, its Monte Carlo error (one standard error; 0: exact), mean width. Intervals marked "(not used)" were
tried and had worse coverage. The true value is that for unlimited images, by integration or from 600,000 images. One core,
about nine minutes, no files read.

    python benchmarks/coverage.py [--repeats 500]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
from coverage_attribution import attribution_rows
from scipy import integrate, optimize
from scipy.special import softmax
from scipy.stats import binom, norm

from inside.evaluation.calibration import coverage_table, equal_mass_bins, reliability_table
from inside.evaluation.intervals import (
    difference_interval,
    effective_size,
    jackknife_error,
    leave_one_out_average_precision,
    logit_interval,
    mean_share_interval,
    wilson_interval,
)
from inside.many_runs.compare.paired import paired_differences

SIZES, SHARES = (18, 27, 88, 344), (0.5, 0.8, 0.95, 0.99)
IMAGES, QUALITIES, CLASSES = (60, 162, 528, 3000), (0.7, 0.9, 0.98, 0.999), 6
Z = norm.ppf(0.975)
WANTED = (0.93, 0.99)


def row(interval: str, setting: str, images: object, ends: Sequence[tuple[float, float]], truth: object,
        weights: object = None) -> dict:
    """One row of the table from simulated intervals; with `weights`, the probabilities of all outcomes, it is exact."""
    low, high = np.asarray(ends, dtype=float).T
    held, width = (low <= truth) & (truth <= high), high - low
    coverage = float(np.average(held, weights=weights))
    error = 0.0 if weights is not None else math.sqrt(coverage * (1 - coverage) / len(held))
    return {"interval": interval, "setting": setting, "images": images, "coverage": coverage, "Monte-Carlo error": error,
            "mean width": float(np.average(width, weights=weights))}


# ---------------------------------------------------------------------------------------- accuracy

def class_accuracy_rows() -> list[dict]:
    """Wilson's interval of a class's accuracy p, exact: at four p, and at the p between 0.5 and 1 where it covers least."""
    rows = []
    for n in SIZES:
        ends = [wilson_interval(hits / n, n) for hits in range(n + 1)]
        def at(p, name, n=n, ends=ends):
            return row("class accuracy: Wilson", name, n, ends, p, binom.pmf(np.arange(n + 1), n, p))
        rows += [at(p, f"p {p}") for p in SHARES]
        worst = min(np.linspace(0.5, 0.9995, 2000), key=lambda p, at=at: at(p, "")["coverage"])
        rows.append(at(worst, f"the worst p, {worst:.4f}"))
    return rows


def six_classes() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Settings of the mean accuracy of six classes: name, images and p of each class."""
    for n in SIZES:
        for p in (*SHARES, 0.999):
            yield f"six classes, p {p}", np.full(CLASSES, n), np.full(CLASSES, p)
        for shares in ((0.5, 0.8, 0.95, 0.99, 0.99, 0.99), (0.8, 0.99, 0.99, 0.99, 0.99, 0.99)):
            yield f"p {', '.join(map(str, shares))}", np.full(CLASSES, n), np.array(shares)
    unequal = np.array([10, 18, 27, 88, 200, 344])
    for shares in ([0.95] * 6, [0.99] * 6, [0.5, 0.8, 0.9, 0.95, 0.99, 0.99], [0.99, 0.99, 0.95, 0.9, 0.8, 0.5]):
        yield f"p {shares[0] if len(set(shares)) == 1 else ', '.join(map(str, shares))}", unequal, np.array(shares)


def mover_interval(shares: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    """The mean of shares from the Wilson limits of each (MOVER: Zou, Huang and Zhang 2009)."""
    low, high = np.array([wilson_interval(share, size) for share, size in zip(shares, sizes, strict=True)]).T
    return (shares.mean() - np.sqrt(((shares - low) ** 2).sum()) / len(shares),
            shares.mean() + np.sqrt(((high - shares) ** 2).sum()) / len(shares))


def mean_accuracy_rows(repeats: int) -> list[dict]:
    """The mean accuracy over six classes: the score interval, and MOVER."""
    rng, rows = np.random.default_rng(0), []
    for name, sizes, p in six_classes():
        drawn = rng.binomial(sizes, p, size=(repeats, CLASSES)) / sizes
        images = str(sizes[0]) if len(set(sizes)) == 1 else ", ".join(map(str, sizes))
        for interval, ends in (("mean accuracy: score", mean_share_interval),
                               ("mean accuracy: MOVER (not used)", mover_interval)):
            rows.append(row(interval, name, images, [ends(shares, sizes) for shares in drawn], p.mean()))
    return rows


def difference_rows(repeats: int) -> list[dict]:
    """Validation minus test, mean accuracy over six classes: MOVER of the two intervals."""
    rng, rows = np.random.default_rng(0), []
    for val, test in ((12, 18), (18, 27), (88, 132)):
        for p in SHARES:
            ends = []
            for _ in range(repeats):
                parts = []
                for n in (val, test):
                    shares = rng.binomial(n, p, CLASSES) / n
                    parts.append((shares.mean(), *mean_share_interval(shares, [n] * CLASSES)))
                ends.append(difference_interval(*parts))
            rows.append(row("validation - test: MOVER", f"six classes, p {p}", f"{val} and {test}", ends, 0))
    return rows


def paired_rows(repeats: int) -> list[dict]:
    """Differences of mean class accuracy on the same images, six classes; the chances that only one network is right."""
    rng, rows = np.random.default_rng(0), []
    for n in SIZES:
        label = np.repeat(np.arange(CLASSES), n)
        for only in ((0.01, 0.01), (0.05, 0.05), (0.15, 0.15), (0.02, 0.005), (0.05, 0.01), (0.2, 0.05)):
            for name, copies in (("paired difference: bootstrap", 1), ("paired difference: bootstrap, copies together", 2)):
                drawn, units, ends = np.repeat(label, copies), np.repeat(np.arange(len(label)), copies), []
                for repeat in range(repeats):
                    kind = np.repeat(rng.choice(3, len(label), p=[*only, 1 - sum(only)]), copies)
                    ends.append(paired_differences(kind != 1, kind != 0, drawn, units, seed=repeat)[0][1:])
                rows.append(row(name, f"only one right: {only[0]} and {only[1]}", n, ends, only[0] - only[1]))
    return rows


# ---------------------------------------------------------------------------------------- average precision

def weighted_average_precision(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision for many weightings of the images at once: (N,), (N,), (R, N) -> (R,); for scores without ties."""
    order = np.argsort(-score, kind="stable")
    weights, hit = weights[:, order], positive[order] > 0
    hits = np.cumsum(weights[:, hit], axis=1)
    precision = hits / np.maximum(np.cumsum(weights, axis=1)[:, hit], 1)
    return (weights[:, hit] * precision).sum(1) / hits[:, -1]


def resampled(label: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Weights (draws, N) of a bootstrap that keeps the size of each class."""
    weights = np.empty((draws, len(label)))
    for name in np.unique(label):
        own = np.flatnonzero(label == name)
        weights[:, own] = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), size=draws)
    return weights


def bootstrap_ends(value: float, drawn: np.ndarray, effects: np.ndarray) -> dict[str, tuple[float, float]]:
    """The percentile interval of resampled values, and BCa (Efron 1987)."""
    bias = norm.ppf(np.clip(((drawn < value).mean() + (drawn <= value).mean()) / 2, 1 / len(drawn), 1 - 1 / len(drawn)))
    spread = (effects ** 2).sum() ** 1.5
    skew = (effects ** 3).sum() / (6 * spread) if spread > 0 else 0
    tails = [norm.cdf(bias + (bias + z) / (1 - skew * (bias + z))) for z in (-Z, Z)]
    return {f"{name} (not used)": tuple(np.quantile(drawn, ends))
            for name, ends in (("bootstrap", [0.025, 0.975]), ("BCa", tails))}


def binormal(quality: float) -> float:
    """The distance of two normal distributions, one of six images positive, whose average precision is `quality`."""
    def reached(distance):
        def precision(x):
            found, wrong = norm.sf(x - distance), (CLASSES - 1) * norm.sf(x)
            return norm.pdf(x - distance) * found / (found + wrong)
        return integrate.quad(precision, distance - 8, distance + 8, limit=400)[0]
    return optimize.brentq(lambda distance: reached(distance) - quality, 0, 10)


def average_precision_rows(repeats: int) -> list[dict]:
    """One class against the rest, normal scores: the logit interval by jackknife, that of Boyd et al., two bootstraps."""
    rng, rows = np.random.default_rng(0), []
    for n in IMAGES:
        positive = np.arange(n) < n // CLASSES
        for quality in QUALITIES:
            ends, distance = {}, binormal(quality)
            for repeat in range(repeats):
                score = rng.standard_normal(n) + distance * positive
                value = weighted_average_precision(positive, score, np.ones((1, n)))[0]
                effects = value - leave_one_out_average_precision(positive, score)
                errors = {"logit, jackknife": jackknife_error(effects, positive, np.arange(n)),
                          "logit of Boyd et al. (not used)": math.sqrt(value * (1 - value) / (n // CLASSES))}
                found = {name: logit_interval(value, error, n // CLASSES) for name, error in errors.items()}
                if repeat < repeats * 0.4:  # the bootstraps are slow
                    drawn = weighted_average_precision(positive, score, resampled(positive, 400, rng))
                    found |= bootstrap_ends(value, drawn, effects)
                for name, limits in found.items():
                    ends.setdefault(name, []).append(limits)
            rows += [row(f"average precision: {name}", f"true value {quality}", n, limits, quality)
                     for name, limits in ends.items()]
    return rows


# Six classes: a logit of noise each, the true class raised by base + shape, the class beside it by `beside`. The bases give
# a mean average precision near QUALITIES; alike: all classes equal, unequal: two hard ones, two easy ones.
KINDS = {"alike": ((1.57, 2.26, 2.97, 3.91), np.zeros(CLASSES), 0.0),
         "unequal": ((1.88, 2.74, 3.58, 4.66), np.array([0, 0, -0.7, -0.7, 1.5, 1.5]), 1.0)}


def softmax_scores(label: np.ndarray, raised: np.ndarray, beside: float, rng: np.random.Generator) -> np.ndarray:
    """Scores (N, 6) of images with these labels (N,)."""
    logits, places = rng.standard_normal((len(label), CLASSES)), np.arange(len(label))
    logits[places, label] += raised[label]
    logits[places, label ^ 1] += beside
    scores = np.exp(logits - logits.max(1, keepdims=True))
    return scores / scores.sum(1, keepdims=True)


def by_class(label: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision of each class (R, 6) for each weighting (R, N)."""
    return np.stack([weighted_average_precision(label == k, scores[:, k], weights) for k in range(CLASSES)], axis=1)


def mean_ends(label: np.ndarray, scores: np.ndarray, units: np.ndarray) -> tuple[float, np.ndarray, list[tuple]]:
    """Mean average precision, the effect of each image on it, and the intervals of the six classes and of the mean."""
    values = by_class(label, scores, np.ones((1, len(label))))[0]
    without = [leave_one_out_average_precision(label == k, scores[:, k]) for k in range(CLASSES)]
    effects = [value - left for value, left in zip(values, without, strict=True)]
    sizes = [effective_size(units[label == k]) for k in range(CLASSES)]
    rows = [*zip(values, effects, sizes, strict=True), (values.mean(), np.mean(effects, axis=0), sum(sizes))]
    return values.mean(), rows[-1][1], [
        logit_interval(value, jackknife_error(effect, label, units), size) for value, effect, size in rows]


def mean_average_precision_rows(repeats: int) -> list[dict]:
    """Six classes from softmax scores: each class and their mean by jackknife, the mean by two bootstraps within classes."""
    rng, rows = np.random.default_rng(0), []
    for kind, (bases, shape, beside) in KINDS.items():
        for base in bases:
            many = np.repeat(np.arange(CLASSES), 100_000)
            truth = by_class(many, softmax_scores(many, base + shape, beside, rng), np.ones((1, len(many))))[0]
            setting = f"{kind}, true mean {truth.mean():.3f}"
            for n in IMAGES:
                label, ends, others = np.repeat(np.arange(CLASSES), n // CLASSES), [], {}
                for repeat in range(repeats):
                    scores = softmax_scores(label, base + shape, beside, rng)
                    value, effects, limits = mean_ends(label, scores, np.arange(n))
                    ends.append(limits)
                    if repeat < repeats * 0.4 and n < 1000:
                        drawn = by_class(label, scores, resampled(label, 200, rng)).mean(1)
                        for name, found in bootstrap_ends(value, drawn, effects).items():
                            others.setdefault(name, []).append(found)
                ends = np.array(ends)
                rows.append(row("average precision: logit, jackknife", f"six classes, {setting}", n,
                                ends[:, :-1].reshape(-1, 2), np.tile(truth, repeats)))
                rows.append(row("mean average precision: logit, jackknife", setting, n, ends[:, -1], truth.mean()))
                rows += [row(f"mean average precision: {name}", setting, n, found, truth.mean())
                         for name, found in others.items()]
    return rows


# ---------------------------------------------------------------------------------------- duplicates

def duplicates_rows(repeats: int) -> list[dict]:
    """Every second image occurs twice: intervals that count copies once, and intervals that count them separately."""
    rng, rows, n = np.random.default_rng(0), [], 18
    (_, base, *_), shape, beside = KINDS["alike"]
    label = np.repeat(np.arange(CLASSES), n)
    copied = np.concatenate([np.arange(len(label)), np.arange(0, len(label), 2)])
    many = np.repeat(np.arange(CLASSES), 100_000)
    truth = by_class(many, softmax_scores(many, base + shape, beside, rng), np.ones((1, len(many)))).mean()
    for name, units in (("copies count as one", copied), ("copies ignored (not used)", np.arange(len(copied)))):
        sizes = [effective_size(units[label[copied] == k]) for k in range(CLASSES)]
        shares, found = [], []
        for _ in range(repeats):
            hit = (rng.random(len(label)) < 0.8)[copied]
            shares.append([hit[label[copied] == k].mean() for k in range(CLASSES)])
            scores = softmax_scores(label, base + shape, beside, rng)[copied]
            scores += 1e-12 * rng.random(scores.shape)  # no ties: copies differ by rounding
            found.append(mean_ends(label[copied], scores, units)[2][-1])
        setting, images = "every second picture twice", f"{n * 3 // 2} a class"
        rows += [row(f"class accuracy: Wilson, {name}", f"p 0.8, {setting}", images,
                     [wilson_interval(share[0], sizes[0]) for share in shares], 0.8),
                 row(f"mean accuracy: score, {name}", f"p 0.8, {setting}", images,
                     [mean_share_interval(share, sizes) for share in shares], 0.8),
                 row(f"mean average precision: logit, {name}", f"true mean {truth:.3f}, {setting}", images, found, truth)]
    return rows


# ---------------------------------------------------------------------------------------- calibration

def calibration_rows(repeats: int) -> list[dict]:
    """Wilson's interval of the accuracy in the bins of a reliability diagram, and at a coverage of 0.9 and of 0.5.

    The logits of a calibrated network are normal; those of the scores are `factor` times as large.
    """
    rng, rows = np.random.default_rng(0), []
    for spread, factor in ((4, 1.5), (4, 0.6), (10, 1)):
        logits = spread * rng.standard_normal((600_000, CLASSES))
        label = (rng.random((len(logits), 1)) > softmax(logits, axis=1).cumsum(1)[:, :-1]).sum(1)
        scores = softmax(factor * logits, axis=1)
        confidence, hit = scores.max(1), scores.argmax(1) == label
        order = np.argsort(confidence)
        ranked, hits = confidence[order], np.append(0, np.cumsum(hit[order]))

        def accuracy(low, high, ranked=ranked, hits=hits):
            """The true accuracy between two confidences."""
            first, last = np.searchsorted(ranked, [low, high])
            return (hits[last] - hits[first]) / (last - first)
        for n in IMAGES:
            found: dict[str, list[tuple]] = {}
            for chosen in rng.integers(len(scores), size=(repeats, n)):
                given, sure = (scores[chosen], label[chosen], np.arange(n)), confidence[chosen]
                edges = pd.Series(sure).groupby(equal_mass_bins(sure)).agg(["min", "max"]).to_numpy()
                found.setdefault("of a bin", []).extend(
                    (*ends, accuracy(*edge)) for ends, edge in zip(_ends(reliability_table(*given)), edges, strict=True))
                for share, ends in zip((0.9, 0.5), _ends(coverage_table(*given, steps=10).iloc[[1, 5]]), strict=True):
                    truth = accuracy(np.quantile(ranked, 1 - share), 2)
                    found.setdefault(f"at a coverage of {share}", []).append((*ends, truth))
            setting = f"accuracy {hit.mean():.3f}, mean confidence {confidence.mean():.3f}"
            for name, cases in found.items():
                *ends, truths = np.array(cases).T
                rows.append(row(f"accuracy {name}: Wilson", setting, n, np.stack(ends, axis=1), truths))
    return rows


def _ends(table: pd.DataFrame) -> np.ndarray:
    return table[["accuracy_low", "accuracy_high"]].to_numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=500, help="simulated data sets of a setting (default 500)")
    repeats = parser.parse_args().repeats
    families: list[Callable[[], list[dict]]] = [
        class_accuracy_rows, lambda: mean_accuracy_rows(4 * repeats), lambda: difference_rows(2 * repeats),
        lambda: paired_rows(repeats),
        lambda: average_precision_rows(repeats), lambda: mean_average_precision_rows(repeats),
        lambda: duplicates_rows(2 * repeats), lambda: calibration_rows(repeats),
        lambda: attribution_rows(samples=4 * repeats)]
    table = pd.DataFrame([found for family in families for found in family()])
    table["93 to 99%?"] = np.select([table["coverage"] < WANTED[0], table["coverage"] > WANTED[1]], ["less", "more"], "")
    print(table.to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
