"""Linear probes: what can be read off features by a linear classifier."""

from __future__ import annotations

import numpy as np
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler


def probe(learnt: np.ndarray, labels: np.ndarray, features: np.ndarray) -> np.ndarray:
    """The classes (M,) that a linear probe finds for features (M,C), learnt from other ones (N,C) and their labels (N,).

    Multinomial logistic regression with scikit-learn's L2 penalty (C = 1) on features of mean 0 and variance 1 in the N.
    The penalty keeps the weights in the space that the N span: with C > N they are found there, in N coordinates instead
    of C, and are the same. Source: Alain and Bengio, Understanding intermediate layers using linear classifier probes
    (2016).
    """
    scaler = StandardScaler().fit(learnt)
    x, y = scaler.transform(learnt), scaler.transform(features)
    if len(x) < x.shape[1]:
        axes = np.linalg.svd(x, full_matrices=False)[2].T
        x, y = x @ axes, y @ axes
    return LogisticRegression(max_iter=1000).fit(x, labels).predict(y)


def paired_p_value(right: np.ndarray, other: np.ndarray) -> float:
    """The chance that two classifiers, neither of them better, differ as much: right (N,) and other (N,) say where they hit.

    Exact, two-sided, from the images that only one of them gets right. Source: McNemar, Note on the sampling error of the
    difference between correlated proportions or percentages (1947).
    """
    only, other_only = int((right & ~other).sum()), int((other & ~right).sum())
    return float(binomtest(only, only + other_only).pvalue) if only + other_only else 1.0
