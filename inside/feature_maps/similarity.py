"""How alike the features of two networks are: eigenspaces, linear CKA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from inside.feature_maps.spectra import _centred, _rank


@dataclass(frozen=True)
class SubspaceOverlap:
    """Top-m eigenspaces compared: `angles` (m,) radians, increasing; `overlap` mean cos², 0 to 1; `chance` m/C."""

    angles: np.ndarray
    overlap: float
    chance: float


def subspace_overlap(features_a: np.ndarray, features_b: np.ndarray, m: int) -> SubspaceOverlap:
    """Principal angles between the spaces of the m leading eigenvectors of two covariances, features (N,C) and (N',C).

    `chance` is the expected overlap with a random m-dimensional space. Source: Björck and Golub, Numerical methods for
    computing angles between linear subspaces (1973). ValueError: another C, m below 1 or above the rank of either.
    """
    a, b = _centred(features_a), _centred(features_b)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"The features have {a.shape[1]} and {b.shape[1]} channels; expected the same number.")
    rank = min(_rank(features_a), _rank(features_b))
    if not 1 <= m <= rank:
        raise ValueError(f"m is {m}; expected 1 to the rank of the features, {rank}.")
    angles = scipy.linalg.subspace_angles(_directions(a, m), _directions(b, m))[::-1]
    return SubspaceOverlap(angles, float((np.cos(angles)**2).mean()), m / a.shape[1])


def _directions(x: np.ndarray, m: int) -> np.ndarray:
    """The m leading eigenvectors (C,m) of the covariance of centred features."""
    return np.linalg.svd(x, full_matrices=False)[2][:m].T


def compare_features(a: np.ndarray, b: np.ndarray, m: int, *, seed: int = 0) -> dict[str, float]:
    """Overlap of the top-m eigenspaces and linear CKA of two networks' features of the same images, with their chance.

    m is lowered to the smaller rank where a layer has fewer directions. Keys: m, overlap, overlap by chance (m/C), CKA,
    CKA of shuffled images (a check: about 0). ValueError: fewer than 4 images.
    """
    m = min(m, _rank(a), _rank(b))
    shuffled = b[np.random.default_rng(seed).permutation(len(b))]
    overlap = subspace_overlap(a, b, m) if m else SubspaceOverlap(np.zeros(0), float("nan"), float("nan"))
    return {"m": m, "overlap": overlap.overlap, "overlap by chance": overlap.chance, "CKA": linear_cka(a, b),
            "CKA of shuffled images": linear_cka(a, shuffled)}


def linear_cka(a: np.ndarray, b: np.ndarray) -> float:
    """Debiased linear CKA of two sets of features (N,C) and (N,C') of the same images.

    1 for the same features up to rotation, scale and offset; about 0, as often below as above, for unrelated ones, however
    few the images. NaN where one set does not tell images apart. ValueError: another number of images, or fewer than 4.
    Sources: Kornblith et al., Similarity of neural network representations revisited (2019); Murphy, Zylberberg and Fyshe,
    Correcting biased centered kernel alignment measures in biological and artificial neural networks (2024).
    """
    x, y = _centred(a), _centred(b)
    if len(x) != len(y):
        raise ValueError(f"The features hold {len(x)} and {len(y)} images; expected the same images in the same order.")
    if len(x) < 4:
        raise ValueError(f"There are {len(x)} images; debiased CKA needs at least 4.")
    x, y = (z / (np.abs(z).max() or 1.0) for z in (x, y))
    own = _unbiased_hsic(x, x), _unbiased_hsic(y, y)
    return float(_unbiased_hsic(x, y) / np.sqrt(own[0] * own[1])) if min(own) > 0 else float("nan")


def cka_map(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> np.ndarray:
    """`linear_cka` of each of A features (N,C) with each of B others of the same images: (A,B).

    Debiased CKA is the cosine of the two matrices of inner products, U-centred (Székely and Rizzo, Partial distance
    correlation with methods for dissimilarities, 2014): each is computed once, n²·C products, not once a pair.
    """
    sizes = {len(features) for features in (*first, *second)}
    if len(sizes) > 1 or min(sizes, default=4) < 4:
        raise ValueError(f"The features hold {sorted(sizes)} images; expected the same 4 or more in all.")
    a, b = (np.array([_u_centred(features) for features in each]) for each in (first, second))
    return a @ b.T


def _u_centred(features: np.ndarray) -> np.ndarray:
    """The inner products of centred features, U-centred, as a vector of norm 1 (n²,); NaN where images do not differ."""
    x = _centred(features)
    n = len(x)
    x = x / (np.abs(x).max() or 1.0)
    products = x @ x.T
    np.fill_diagonal(products, 0)
    rows = products.sum(0) / (n - 2)
    centred = products - rows - rows[:, None] + products.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(centred, 0)
    length = np.linalg.norm(centred)
    return centred.ravel() / (length if length > 1e-6 * np.square(x).sum() / n else np.nan)


def _unbiased_hsic(x: np.ndarray, y: np.ndarray) -> float:
    """n(n-3) times the unbiased HSIC of centred features with linear kernels; 0 where it is no more than rounding.

    Song et al., Feature selection via dependence maximization (2012): tr(K̃L̃) + 1ᵀK̃1·1ᵀL̃1/((n-1)(n-2)) - 2/(n-2)·1ᵀK̃L̃1, where
    K̃ is K = xxᵀ without its diagonal k, and L̃ is L = yyᵀ without l. Centred features have K1 = L1 = 0, so that K̃1 = -k,
    L̃1 = -l and tr(K̃L̃) = tr(KL) - k·l, with tr(KL) the squared norm of xᵀy: n·C·C' products, or n²·(C+C') among images.
    """
    n, k, l = len(x), (x**2).sum(1), (y**2).sum(1)  # noqa: E741
    among_images = n * (x.shape[1] + y.shape[1]) < x.shape[1] * y.shape[1]
    product = float(np.vdot(x @ x.T, y @ y.T) if among_images else np.square(x.T @ y).sum())
    value = product - n / (n - 2) * (k @ l) + k.sum() * l.sum() / ((n - 1) * (n - 2))
    return value if abs(value) > 1e-12 * product else 0.0
