"""Near duplicates: re-encoded, resized, slightly cropped, brightened or mirrored copies, and photographs of one moment.

Three steps, each on fewer pairs: a perceptual hash of every image, the cosine of pretrained features, the correlation of the
details of aligned images. The limits were chosen on 200 copies planted among 900 drawn scenes, forty of a kind
(`python benchmarks/near_duplicates.py`):

    a copy and its image                    largest distance    lowest cosine    lowest correlation
    JPEG quality 40 to 95                    2 of 63 bits            0.88               0.96
    scaled by 0.5 to 2                       1                       0.79               0.97
    cropped by up to 8% of each side        18                       0.85               0.96
    brightness changed by up to 15%          2                       0.95               1.00
    mirrored                                 1                       0.84               1.00
    unlike scenes                            0.7% of pairs within 19, 7% of these from 0.65 on, at most 0.33
"""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image as PILImage
from scipy.fft import dctn
from scipy.optimize import brentq

from inside.curation.alignment import SIDE, detail_correlation
from inside.curation.features import image_dataset, pretrained_features
from inside.device import count_cores

BITS, COSINE, CORRELATION = 19, 0.65, 0.5  # candidates: within BITS of 63; confirmed: from the other two on
MOST_ALIGNED = 20_000  # pairs, those with the highest cosines
ALIKE, ALIKE_DETAILS = 0.015, 0.25  # of random pairs: share within BITS, and the correlation that so few may exceed
BY_CHANCE, HIGHEST = 1e-3, 0.85  # pairs by chance that may be expected for each image; what CORRELATION is raised to at most
TURNED = np.array([(-1) ** (place % 8) for place in range(1, 64)], np.float32)  # mirrored: odd horizontal frequencies
PAIR_COLUMNS = ("distance", "cosine", "correlation", "mirrored")


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Near duplicates among the rows of a table.

    `table`: first, second (rows), distance (bits of 63), cosine, correlation, mirrored; the highest correlation first.
    `limit`: the correlation from which a pair is confirmed; `by_chance`: how many pairs of unlike images are expected to
    reach it; `why_not`: why nothing was searched, "" where it was.
    """

    table: pd.DataFrame
    hashes: np.ndarray
    limit: float = CORRELATION
    by_chance: float = 0.0
    why_not: str = ""


def find_pairs(table: pd.DataFrame, root: Path, *, device: torch.device | None = None, bar: bool = False) -> Pairs:
    """The near duplicates among different images (an image table without identical ones) below `root`."""
    thumbnails = make_thumbnails(table, root)
    hashes = perceptual_hashes(thumbnails)
    rng = np.random.default_rng(0)
    usual = _usual_details(thumbnails, hashes, rng)
    if isinstance(usual, str):
        return Pairs(_none(), hashes, why_not=usual)
    first, second = candidate_pairs(hashes)
    used, places = np.unique(np.concatenate([first, second]), return_inverse=True)
    features = pretrained_features(table.iloc[used], root, device=device, bar=bar)
    cosine = cosines(features, *places.reshape(2, -1))
    near = np.flatnonzero(cosine >= COSINE)
    near = near[np.argsort(-cosine[near], kind="stable")[:MOST_ALIGNED]]
    found = align_pairs(thumbnails, hashes, first[near], second[near]).assign(cosine=cosine[near])
    limit, by_chance = confirmation(found["correlation"].to_numpy(), usual, len(table))
    if limit > HIGHEST:
        return Pairs(_none(), hashes, why_not="too many unlike images would be taken for copies")
    found = found[found["correlation"] >= limit]
    found = found.sort_values("correlation", ascending=False, kind="stable", ignore_index=True)
    return Pairs(found[["first", "second", *PAIR_COLUMNS]], hashes, limit, by_chance)


def _none() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=int if name in ("first", "second") else float)
                         for name in ("first", "second", *PAIR_COLUMNS)})


def make_thumbnails(table: pd.DataFrame, root: Path) -> np.ndarray:
    """Grey thumbnails (N, SIDE, SIDE) uint8 of the images of a table."""
    images = image_dataset(table, root)

    def shrink(row: int) -> np.ndarray:
        return np.asarray(images.image(row).convert("L").resize((SIDE, SIDE), PILImage.Resampling.BICUBIC))
    with ThreadPoolExecutor(count_cores()) as pool:
        return np.array(list(pool.map(shrink, range(len(table)))), np.uint8).reshape(-1, SIDE, SIDE)


def perceptual_hashes(thumbnails: np.ndarray) -> np.ndarray:
    """The signs (N, 63), 1 or -1, of the lowest frequencies of thumbnails (N, H, W): the hash of Zauner (2010), without 0.

    The cosine transform's coefficients up to the seventh in each direction, without the mean. Those of a mirrored image are
    the same times TURNED.
    """
    found = [dctn(part.astype(np.float32), axes=(1, 2))[:, :8, :8].reshape(len(part), 64)[:, 1:]
             for part in np.array_split(thumbnails, max(1, len(thumbnails) // 1000))]
    return np.where(np.concatenate(found) > 0, 1, -1).astype(np.float32)


def hash_distances(hashes: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The bits (2, pairs) in which the hashes of rows differ: as they are, and with one of the two mirrored."""
    one, other = hashes[first], hashes[second]
    return np.stack([(63 - np.einsum("pb,pb->p", one * turn, other)) / 2 for turn in (1, TURNED)])


def candidate_pairs(hashes: np.ndarray, *, block: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """The rows (first < second) whose hashes (N, 63) are within BITS, mirrored or not; a block of rows at a time."""
    found = [np.empty((0, 2), int)]
    for start in range(0, len(hashes), block):
        part, rest = hashes[start:start + block], hashes[start:]
        agreement = np.maximum(part @ rest.T, (part * TURNED) @ rest.T)
        near = np.argwhere(agreement >= 63 - 2 * BITS)
        found.append(near[near[:, 1] > near[:, 0]] + start)
    first, second = np.concatenate(found).T
    return first, second


def _usual_details(thumbnails: np.ndarray, hashes: np.ndarray, rng: np.random.Generator) -> np.ndarray | str:
    """Correlations of random pairs once aligned; or, where unlike images cannot be told from copies, the reason.

    Of few images, copies are a large share of the pairs: if each had one, 1 / (N - 1).
    """
    n, pairs = len(hashes), 20_000
    first, second = np.triu_indices(n, 1) if n <= 200 else (rng.integers(0, n, pairs), rng.integers(1, n, pairs))
    second = second if n <= 200 else (first + second) % n
    if not len(first):
        return np.empty(0)
    few = min(0.5, ALIKE + 2 / n)
    share = float((hash_distances(hashes, first, second).min(0) <= BITS).mean())
    if share > few:
        return f"{100 * share:.1f}% of random pairs of images look alike to a perceptual hash"
    drawn = rng.permutation(len(first))[:300]
    details = detail_correlation(thumbnails[first[drawn]], thumbnails[second[drawn]])
    if np.quantile(details, 1 - few) > ALIKE_DETAILS:
        return (f"the details of random pairs of images correlate too highly once they are aligned (up to "
                f"{np.quantile(details, 1 - few):.2f})")
    return details


def cosines(features: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The cosines (pairs,) of rows of features (N, C)."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)
    pieces = range(0, len(first), 10_000)
    found = [np.einsum("pc,pc->p", unit[first[at:at + 10_000]], unit[second[at:at + 10_000]]) for at in pieces]
    return np.concatenate([*found, np.empty(0, np.float32)])


def align_pairs(thumbnails: np.ndarray, hashes: np.ndarray, first: np.ndarray, second: np.ndarray, *,
                bits: int = BITS) -> pd.DataFrame:
    """first, second, distance, correlation, mirrored of pairs of rows: as they are, or with one mirrored.

    Whichever correlates more, of those within `bits`.
    """
    distances, count = hash_distances(hashes, first, second), len(first)
    correlation = np.full((2, count), -1.0)
    for mirrored in (0, 1):
        near = np.flatnonzero(distances[mirrored] <= bits)
        for at in range(0, len(near), 2000):
            rows = near[at:at + 2000]
            other = thumbnails[second[rows]][:, :, ::-1 if mirrored else 1]
            correlation[mirrored, rows] = detail_correlation(thumbnails[first[rows]], other)
    best, every = correlation.argmax(0), np.arange(count)
    return pd.DataFrame({"first": first, "second": second, "distance": distances[best, every].astype(int),
                         "correlation": correlation[best, every], "mirrored": best == 1})


def confirmation(correlations: np.ndarray, usual: np.ndarray, n_images: int) -> tuple[float, float]:
    """The correlation from which pairs are confirmed, and how many pairs of unlike images are expected to reach it.

    Pairs below CORRELATION are taken for unlike, and the excess of their highest over a threshold for exponentially
    distributed (peaks over a threshold, Pickands 1975), cut off at CORRELATION. Where fewer than 50 such pairs were aligned,
    those of random pairs (`usual`) are added. The limit rises until at most BY_CHANCE pairs for each image are expected;
    inf where no limit does.
    """
    unlike = correlations[correlations < CORRELATION]
    sample = np.sort(unlike if len(unlike) >= 50 else np.concatenate([unlike, usual[usual < CORRELATION]]))
    top = min(len(sample) // 5, 200)
    if not top or not len(unlike):
        return CORRELATION, 0.0
    start = sample[-top - 1]
    mean, cut = (sample[-top:] - start).mean(), CORRELATION - start
    if not 0 < mean < 0.49 * cut:  # 0.5 of an even distribution, which ends nowhere
        return (CORRELATION, 0.0) if mean == 0 else (np.inf, np.inf)
    scale = brentq(lambda tried: tried - cut / np.expm1(min(cut / tried, 500)) - mean, mean, 50 * cut)
    beyond = len(unlike) * top / len(sample) / -np.expm1(-cut / scale)
    limit = max(CORRELATION, start + scale * np.log(beyond / (BY_CHANCE * n_images)))
    return float(limit), float(beyond * np.exp(-(limit - start) / scale))
