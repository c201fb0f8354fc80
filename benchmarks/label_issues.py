"""How many planted label errors the search for label errors ranks first; and the labels that it suspects as they are.

Flips a share of the labels of a folder at random, ranks all images by the out-of-sample score of their label, and counts the
flipped ones among the first of the ranking; once for each seed. Then the same without flips: the most suspected labels are
listed, and shown in suspected.png, for a reader to judge.

    python benchmarks/label_issues.py --images path/to/folder --work data/label_issues
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

from inside.curation.features import pretrained_features
from inside.curation.label_issues import out_of_sample_scores, rank_labels
from inside.data.grids import plot_images, short_paths
from inside.data.sources import open_dataset
from inside.data.table import decode_images, load_image

SHARE, FIRST = 0.05, 0.08  # of the labels that are flipped; of the ranking in which they should be


def flipped(labels: np.ndarray, n_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The labels, of which SHARE are moved to another class at random, and the places of these."""
    rng = np.random.default_rng(seed)
    places, found = rng.choice(len(labels), round(SHARE * len(labels)), replace=False), labels.copy()
    found[places] = (labels[places] + rng.integers(1, n_classes, len(places))) % n_classes
    return found, places


def show(ranked: pd.DataFrame, root: Path, file: Path, at_most: int) -> None:
    worst = ranked.head(at_most)
    texts = [f"{number}: {path}\n→ {row.suggested}? {row.quality:.2g}" for number, (path, row) in
             enumerate(zip(short_paths(worst["path"], width=20), worst.itertuples(), strict=True), 1)]
    plot_images([load_image(root / path) for path in worst["path"]], texts, columns=10, size=1.75).savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", required=True)
    parser.add_argument("--work", type=Path, default=Path("data/label_issues"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shown", type=int, default=50)
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    images, _ = decode_images(open_dataset(asked.images))
    table, labels = images.table, pd.Index(images.classes).get_indexer(images.table["label"])
    groups, n_classes = pd.factorize(table["sha256"])[0], len(images.classes)
    start = time.perf_counter()
    features = pretrained_features(table, images.root, bar=True)
    print(f"{len(table):,} images, features in {time.perf_counter() - start:.1f} s")
    for seed in range(asked.seeds):
        wrong, places = flipped(labels, n_classes, seed)
        start = time.perf_counter()
        ranked = rank_labels(table["path"], wrong, out_of_sample_scores(features, wrong, groups, seed=seed), images.classes)
        seconds, planted = time.perf_counter() - start, set(table["path"].iloc[places])
        first, suspected = set(ranked["path"][:round(FIRST * len(table))]), set(ranked.loc[ranked["suspected"], "path"])
        print(f"seed {seed}: {len(planted & first) / len(planted):.3f} of {len(planted)} flipped labels are among the first "
              f"{FIRST:.0%}; {len(suspected)} suspected, with {len(planted & suspected) / len(planted):.3f} of them; "
              f"{seconds:.1f} s")
    scores = out_of_sample_scores(features, labels, groups)
    ranked = rank_labels(table["path"], labels, scores, images.classes)
    print(f"as they are: {ranked['suspected'].sum()} suspected; the regressions agree with "
          f"{(scores.argmax(1) == labels).mean():.3f} of the labels; the first {asked.shown}:")
    print(ranked.head(asked.shown).to_string())
    show(ranked, images.root, asked.work / "suspected.png", asked.shown)


if __name__ == "__main__":
    main()
