"""Counts and covariances that are accumulated batch by batch and merge.

Own code: numpy.cov needs all vectors at once, and scikit-learn's IncrementalPCA drops directions and cannot merge.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch


@dataclass
class NonPositiveCounts:
    """Exact counts of values <= 0, by channel and by class of image; states of parts merge to that of the whole.

    `table`: label -> int64 (3, C), rows non-positive, NaN, all values. `images`: label -> number of images.
    Images without a label have the label -1. Shares are taken over the values that are numbers (NaN apart).
    """

    table: dict[int, np.ndarray] = field(default_factory=dict)
    images: Counter[int] = field(default_factory=Counter)

    def update(self, non_positive: np.ndarray, positions: np.ndarray | int, *, nan: np.ndarray | None = None,
               labels: np.ndarray | None = None) -> None:
        """Add N images: counts (N,C) of integers, positions behind each count (C,) or one number, labels (N,)."""
        counts = np.asarray(non_positive, dtype=np.int64)
        labels = np.full(len(counts), -1) if labels is None else np.asarray(labels)
        nan = np.zeros_like(counts) if nan is None else nan
        for label in np.unique(labels):
            rows = labels == label
            values = np.broadcast_to(np.asarray(positions, dtype=np.int64) * rows.sum(), counts.shape[1:])
            self._add(int(label), np.stack([counts[rows].sum(0), nan[rows].sum(0), values]), int(rows.sum()))

    def merge(self, other: NonPositiveCounts) -> None:
        """Add the images of another state."""
        for label, table in other.table.items():
            self._add(label, table, other.images[label])

    def _add(self, label: int, table: np.ndarray, images: int) -> None:
        width = next(iter(self.table.values()), table).shape[1]
        if table.shape[1] != width:
            raise ValueError(f"The counts have {table.shape[1]} channels; expected {width}, as in those already added.")
        self.table[label] = self.table.get(label, 0) + table
        self.images[label] += images

    @property
    def total(self) -> np.ndarray:
        """(3, C): non-positive, NaN and all values by channel, over all images."""
        return np.sum(list(self.table.values()), axis=0) if self.table else np.zeros((3, 0), np.int64)

    @property
    def nan(self) -> int:
        """How many values were NaN."""
        return int(self.total[1].sum())

    @property
    def share(self) -> float:
        """Share of non-positive values over all images, channels and positions; NaN if there are no values."""
        return float(_share(self.total.sum(1)))

    @property
    def share_by_channel(self) -> np.ndarray:
        """(C,) shares over all images and positions."""
        return _share(self.total)

    @property
    def share_by_class(self) -> dict[int, float]:
        """label -> share over the images of that label, in the order of labels."""
        return {label: float(_share(self.table[label].sum(1))) for label in sorted(self.table)}

    @property
    def dead_channels(self) -> np.ndarray:
        """Indices of the channels that are never > 0 in this map (and had a number at all).

        Dead in the usual sense only if the map is what leaves an activation: see LayerStatistics.dead_channels.
        """
        non_positive, nan, values = self.total
        return np.flatnonzero((non_positive + nan == values) & (non_positive > 0))


def _share(table: np.ndarray) -> np.ndarray:
    numbers = table[2] - table[1]
    return np.divide(table[0], numbers, out=np.full(np.shape(numbers), np.nan), where=numbers > 0)


@dataclass
class StreamingCovariance:
    """Covariance of vectors that come in batches, in float64; states of parts merge to that of the whole.

    `count`, `shift` (C,) (the first vector), `mean` (C,) relative to the shift, `scatter` (C,C) the sum of outer
    products about the mean. Source: Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for computing
    sample variances (1979); the shift keeps it exact where the offset is huge beside the spread.
    """

    count: int = 0
    shift: np.ndarray = field(default_factory=partial(np.zeros, 0))
    mean: np.ndarray = field(default_factory=partial(np.zeros, 0))
    scatter: np.ndarray = field(default_factory=partial(np.zeros, (0, 0)))

    def update(self, batch: np.ndarray) -> None:
        """Add vectors (N,C). ValueError: not two axes, another C, or a value that is not finite."""
        batch = _features(batch)
        if not len(batch):
            return
        self._start(batch[0])
        x = batch - self.shift
        mean = x.mean(0)
        step = mean - self.mean
        weight = self.count * len(x) / (self.count + len(x))
        # scatter += sum of (x - mean)(x - mean)^T + weight step step^T, as one product
        rows = torch.from_numpy(np.vstack([x - mean, np.sqrt(weight) * step]))
        torch.from_numpy(self.scatter).addmm_(rows.T, rows)
        self.count += len(x)
        self.mean += step * (len(x) / self.count)

    def merge(self, other: StreamingCovariance) -> None:
        """Add the vectors of another state."""
        if not other.count:
            return
        self._start(other.shift)
        step = other.mean + (other.shift - self.shift) - self.mean
        count = self.count + other.count
        self.scatter += other.scatter + (self.count * other.count / count) * np.outer(step, step)
        self.mean += step * (other.count / count)
        self.count = count

    def _start(self, first: np.ndarray) -> None:
        if not len(self.shift):
            self.shift, self.mean = first.copy(), np.zeros(len(first))
            self.scatter = np.zeros((len(first), len(first)))
        if len(first) != len(self.shift):
            raise ValueError(f"The vectors have {len(first)} channels; expected {len(self.shift)}, as in those before.")

    def location(self) -> np.ndarray:
        """The mean vector (C,). ValueError: no vectors yet."""
        self._need_vectors()
        return self.shift + self.mean

    def covariance(self) -> np.ndarray:
        """1/N times the scatter, (C,C), symmetric: numpy.cov(bias=True) of all vectors. ValueError: no vectors yet."""
        self._need_vectors()
        return (self.scatter + self.scatter.T) / (2 * self.count)

    def _need_vectors(self) -> None:
        if not self.count:
            raise ValueError("The state holds 0 vectors; a mean or covariance needs at least 1.")


def _features(features: np.ndarray) -> np.ndarray:
    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 2 or not x.shape[1]:
        raise ValueError(f"The features have shape {x.shape}; expected (images, channels).")
    if not np.isfinite(x).all():
        raise ValueError(f"{int((~np.isfinite(x)).sum())} feature values are NaN or infinite; expected finite ones.")
    return x
