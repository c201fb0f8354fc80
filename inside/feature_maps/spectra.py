"""Spectra of covariances over channels, and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inside.feature_maps.states import StreamingCovariance, _features
from inside.feature_maps.statistics import LayerStatistics, by_scenario
from inside.files import atomic_write


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of a covariance (1/N) in decreasing order, none negative.

    `all_eigenvalues`: the first rank_bound = min(C, N-1) of them; all further ones are zero, computed ones rounding.
    Fewer can be real: a 1x1 convolution of 40 channels gives pooled features of rank 40, whatever its C.
    `trace`: total variance, from the data itself. `images` N, `channels` C, `top_k` as asked for.
    """

    all_eigenvalues: np.ndarray
    trace: float
    images: int
    channels: int
    top_k: int = 1000

    @property
    def rank_bound(self) -> int:
        """min(C, N-1): the most eigenvalues that can differ from zero."""
        return max(0, min(self.channels, self.images - 1))

    @property
    def eigenvalues(self) -> np.ndarray:
        """The leading min(top_k, rank_bound) eigenvalues."""
        return self.all_eigenvalues[:self.top_k]

    @property
    def effective_rank(self) -> float:
        """exp(entropy of λ/Σλ), 1 to rank_bound; 0 without variance. Roy and Vetterli, The effective rank (2007)."""
        total = self.all_eigenvalues.sum()
        share = self.all_eigenvalues[self.all_eigenvalues > 0] / (total or 1)
        return float(np.exp(-(share * np.log(share)).sum())) if total > 0 else 0.0

    @property
    def participation_ratio(self) -> float:
        """(Σλ)²/Σλ², 1 to rank_bound; 0 without variance. E.g. Gao et al. (2017), bioRxiv 214262."""
        top = self.all_eigenvalues[:1].sum()
        scaled = self.all_eigenvalues / (top or 1)  # squares of tiny eigenvalues would underflow
        return float(scaled.sum() ** 2 / (scaled**2).sum()) if top > 0 else 0.0

    @property
    def cumulative_share(self) -> np.ndarray:
        """Share of the variance in the first k directions, k = 1, 2, …; empty without variance."""
        return np.cumsum(self.all_eigenvalues) / self.trace if self.trace > 0 else np.zeros(0)

    def k_for(self, share: float) -> int:
        """Fewest directions that hold `share` (0 to 1) of the variance; 0 without variance."""
        if not 0 < share <= 1:
            raise ValueError(f"share is {share}; expected above 0 and at most 1.")
        reached = np.flatnonzero(self.cumulative_share >= share * (1 - 1e-12))
        return int(reached[0]) + 1 if len(reached) else 0

    @property
    def k95(self) -> int:
        """Fewest directions that hold 95% of the variance."""
        return self.k_for(0.95)

    @property
    def k99(self) -> int:
        """Fewest directions that hold 99% of the variance."""
        return self.k_for(0.99)

    @property
    def rounding(self) -> float:
        """The variance along a direction that float32 features can have by rounding alone; see `_rank`."""
        return float(self.all_eigenvalues[:1].sum() * (max(self.images, self.channels) * np.finfo(np.float32).eps) ** 2)

    def noise(self) -> np.ndarray:
        """The eigenvalues that pure noise of the same size and total variance would give: marchenko_pastur."""
        return marchenko_pastur(self.images, self.channels, self.trace)


def save_spectra(path: Path, spectra: Mapping[str, Mapping[str, Spectrum]],
                 statistics: Mapping[str, Mapping[str, LayerStatistics]]) -> None:
    """Write <scenario>/<layer>/eigenvalues and /mean, float64, and /features to `path` (spectra.npz).

    The covariance follows from the pooled features (N,C), which are float32 and so a small part of its size.
    """
    arrays: dict[str, Any] = {}
    for name, by_layer in spectra.items():
        for layer, found in by_layer.items():
            state = statistics[name][layer]
            arrays |= {f"{name}/{layer}/eigenvalues": found.eigenvalues, f"{name}/{layer}/mean": state.covariance.location(),
                       f"{name}/{layer}/features": state.features.astype(np.float32)}
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def effective_rank(eigenvalues: np.ndarray) -> float:
    """exp of the entropy of the eigenvalues' shares (Roy and Vetterli 2007); 0 where all are 0."""
    return Spectrum(eigenvalues, float(eigenvalues.sum()), len(eigenvalues) + 1, len(eigenvalues)).effective_rank


def spectrum(features_or_state: np.ndarray | StreamingCovariance, *, top_k: int = 1000) -> Spectrum:
    """Eigenvalues of Σ = 1/N Σₙ (fₙ-μ)(fₙ-μ)ᵀ from features (N,C) or a StreamingCovariance.

    From features with N < C they come from the N×N matrix of inner products, which has the same ones and is smaller.
    ValueError: top_k < 1, no images, not two axes, a value that is not finite.
    """
    if top_k < 1:
        raise ValueError(f"top_k is {top_k}; it must be at least 1.")
    if isinstance(features_or_state, StreamingCovariance):
        matrix, n = features_or_state.covariance(), features_or_state.count
        c, trace = len(matrix), float(np.trace(matrix))
    else:
        x = _centred(features_or_state)
        n, c = x.shape
        matrix, trace = (x @ x.T if n < c else x.T @ x) / n, float((x**2).sum() / n)
    values = np.linalg.eigvalsh(matrix)[::-1].clip(min=0)[:max(0, min(c, n - 1))]
    assert np.isclose(values.sum(), trace, rtol=1e-9, atol=1e-300), f"Σλ = {values.sum()}, but the trace is {trace}"
    return Spectrum(values, trace, n, c, top_k)


def _finite_features(state: LayerStatistics, layer: str, scenario: str) -> np.ndarray:
    """The pooled features (N,C) of a layer; ValueError where some are NaN or infinite."""
    features = state.features
    if n := int((~np.isfinite(features)).any(axis=1).sum()):
        raise ValueError(f"Layer {layer!r} of {scenario} gives values that are NaN or infinite for {n:,} of "
                         f"{len(features):,} images, so it has no spectrum: choose other LAYERS or train again.")
    return features


def measure_spectra(statistics: Mapping[str, Mapping[str, LayerStatistics]], *,
                    top_k: int = 1000) -> dict[str, dict[str, Spectrum]]:
    """The spectrum of the pooled features of each scenario and layer: {scenario: {layer: Spectrum}}."""
    return {name: {layer: spectrum(_finite_features(state, layer, name), top_k=top_k) for layer, state in by_layer.items()}
            for name, by_layer in by_scenario(statistics).items()}


def covariance_difference(statistics: Mapping[str, Mapping[str, LayerStatistics]]) -> float:
    """How far the streamed covariances are from NumPy's of the same features, relative to the largest entry, at most."""
    found = []
    for name, layer in ((name, layer) for name, by_layer in statistics.items() for layer in by_layer):
        state = statistics[name][layer]
        features = _finite_features(state, layer, name).astype(np.float64)
        direct = np.cov((features - features[0]).T, bias=True)  # relative to an image: NumPy rounds less
        found.append(np.abs(state.covariance.covariance() - direct).max() / (np.abs(direct).max() or 1))
    return float(np.max(found))


def trace_difference(spectra: Mapping[str, Mapping[str, Spectrum]],
                     statistics: Mapping[str, Mapping[str, LayerStatistics]]) -> float:
    """How far the sums of all eigenvalues are from the traces of the streamed covariances, relative to these, at most."""
    found = []
    for name, layer in ((name, layer) for name, by_layer in spectra.items() for layer in by_layer):
        trace = np.trace(statistics[name][layer].covariance.covariance())
        found.append(abs(spectra[name][layer].all_eigenvalues.sum() - trace) / (trace or 1))
    return float(np.max(found))


def _centred(features: np.ndarray) -> np.ndarray:
    """Features minus their mean, float64; a constant feature becomes exactly 0."""
    x = _features(features)
    if not len(x):
        raise ValueError("The features hold 0 images; at least 1 is needed.")
    x = x - x[0]
    return x - x.mean(0)


def _rank(features: np.ndarray) -> int:
    """In how many directions features (N,C) vary by more than rounding in their own type, which float64 would count, too.

    A 3×3 convolution of three channels has 27 directions at most; its float32 features have more in float64.
    """
    values, given = np.linalg.svd(_centred(features), compute_uv=False), np.asarray(features).dtype
    precision = np.finfo(given if given.kind == "f" else np.float64).eps
    return int((values > values.max(initial=0) * max(features.shape) * precision).sum())


def marchenko_pastur(n: int, c: int, total_variance: float) -> np.ndarray:
    """Expected ordered eigenvalues of the covariance (1/N) of n images of c channels of pure noise.

    The noise is uncorrelated, of equal variance in all channels: a reference, the spectrum of features that prefer no
    direction. It is no threshold: where eigenvalues decay, those near and below the line can belong to directions that
    other images show, too (SplitHalf.found_again). min(c, n-1) values in decreasing order, the quantiles (i-½)/rank of the
    law's continuous part, with sum `total_variance` (the trace to compare with); for c > n-1 its mass at zero is the
    c-n+1 eigenvalues left out. Source: Marchenko and Pastur (1967); n-1 as the mean is estimated.
    """
    if n < 1 or c < 1 or not total_variance >= 0:
        raise ValueError(f"n, c, total_variance are {n}, {c}, {total_variance}; expected n >= 1, c >= 1, and >= 0.")
    rank = min(c, n - 1)
    if rank < 1:
        return np.zeros(0)
    ratio = c / (n - 1)
    middle, half = 1 + ratio, 2 * np.sqrt(ratio)  # support (1±√ratio)², variance 1
    angle = np.linspace(0, np.pi, 20_001)[1:-1]
    values = middle + half * np.cos(angle)  # decreasing; in the angle the density has no square-root ends
    cumulative = np.cumsum(np.sin(angle) ** 2 / values)
    quantiles = np.interp((np.arange(rank) + 0.5) / rank, cumulative / cumulative[-1], values)
    return quantiles * (total_variance / quantiles.sum())
