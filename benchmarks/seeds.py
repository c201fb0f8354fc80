"""How often equal settings are called different: perceptrons of scikit-learn's digits that differ in their seed only.

On each of ten splits, 40 networks of one setting are trained, and as many of a setting with fewer neurons. Networks of one
setting are judged in pairs, as a comparison of runs judges two networks; then in groups of `--seeds`, as it judges two
settings. Networks of equal settings do differ a little, so that more than 5 of 100 pairs may be told apart; of settings, no
more should. Between the two settings there is a difference to be found. One core, about two minutes.

    python benchmarks/seeds.py [--seeds 2]
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
import torch
from scipy.stats import binomtest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from inside.many_runs.compare.paired import (
    LEVEL,
    one_sided,
    paired_differences,
    resampled_means,
    setting_difference,
    verdict,
)
from inside.models.scratch import MLP

SPLITS, NETWORKS, EPOCHS, BATCH = 10, 40, 4, 64
NEURONS, FEWER = [64], [12]


def train(x: torch.Tensor, y: torch.Tensor, hidden: list[int], seed: int) -> nn.Module:
    """A perceptron of 8×8 images (N,1,8,8), float32, trained with Adam from a seed."""
    torch.manual_seed(seed)
    model = MLP(10, image_size=8, in_channels=1, hidden=hidden)
    optimizer = torch.optim.Adam(model.parameters(), 0.005)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    return model.eval()


def hits_of(hidden: list[int], number: int) -> tuple[np.ndarray, np.ndarray]:
    """Which test images of a split each of NETWORKS networks has right, (NETWORKS, N), and the labels (N,)."""
    x, y = load_digits(return_X_y=True)
    parts = train_test_split(x, y, test_size=360, stratify=y, random_state=number)
    learnt, tested = (torch.tensor(part / 16, dtype=torch.float32).reshape(-1, 1, 8, 8) for part in parts[:2])
    networks = [train(learnt, torch.tensor(parts[2]), hidden, 1000 * number + seed) for seed in range(NETWORKS)]
    with torch.no_grad():
        return np.stack([model(tested).argmax(1).numpy() == parts[3] for model in networks]), parts[3]


def networks_differ(first: np.ndarray, second: np.ndarray, label: np.ndarray) -> bool:
    """Whether two networks are told apart, as in a comparison of two runs."""
    units = np.arange(len(label))
    difference, _ = paired_differences(first, second, label, units)
    return verdict(difference, one_sided(first, second, units)[2]) != 0


def settings_differ(first: np.ndarray, second: np.ndarray, label: np.ndarray) -> bool:
    """Whether two settings are told apart by their networks (seeds, N)."""
    scores, others = ([np.mean([hits[label == digit].mean() for digit in range(10)]) for hits in part]
                      for part in (first, second))
    variance = resampled_means(first.mean(0) - second.mean(0), label, np.arange(len(label)))[0].var()
    return verdict(*setting_difference(scores, others, variance)) != 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="networks of a setting (default 2)")
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    told: dict[str, list[bool]] = {}
    for number in range(SPLITS):
        (many, label), (few, _) = (hits_of(hidden, number) for hidden in (NEURONS, FEWER))
        print(f"split {number}: accuracy {many.mean():.4f} (sd over seeds {many.mean(1).std(ddof=1):.4f}) and "
              f"{few.mean():.4f}", flush=True)
        told.setdefault("networks of one setting", []).extend(
            networks_differ(many[at], many[at + 1], label) for at in range(0, NETWORKS - 1, 2))
        for at in range(0, NETWORKS - 2 * seeds + 1, 2 * seeds):
            middle, end = at + seeds, at + 2 * seeds
            told.setdefault(f"one setting, {seeds} seeds against {seeds} others", []).append(
                settings_differ(many[at:middle], many[middle:end], label))
            told.setdefault(f"two settings, {seeds} seeds each", []).append(
                settings_differ(many[at:middle], few[at:middle], label))
    print(pd.DataFrame([{"compared": name, "pairs": len(found), "told apart": sum(found),
                         "p of more than 5%": binomtest(sum(found), len(found), LEVEL, alternative="greater").pvalue}
                        for name, found in told.items()]).to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
