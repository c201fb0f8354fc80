"""How far an image lies from those that a network has learnt from (Sun et al. 2022, deep nearest neighbours)."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.functional import normalize

from inside.data.split import Split
from inside.evaluation.neighbours import features_of, training_features
from inside.files import NotWritten, RunFolder, file_hash, fingerprint, read_csv, write_csv
from inside.models.saved import SavedModel

NEIGHBOUR = 10  # the distance of an image is that to its tenth nearest training image
QUANTILE = 0.99  # far: beyond so many of the validation images
FILE = "val_distances.csv"


@dataclass(frozen=True)
class Familiar:
    """The features of training images, of length 1, (N, C) float32; and the distance from which an image counts as far."""

    features: torch.Tensor
    limit: float

    @classmethod
    def of(cls, run: RunFolder, model: nn.Module) -> Familiar:
        """What the run's network knows; computed once and kept in train_features.npz and val_distances.csv.

        Raises ValueError where neither the files nor the images of the run are there.
        """
        saved = SavedModel.of(run)
        if not run.path("split.csv").exists():
            raise ValueError(f"the run {run.name!r} has no split.csv")
        split = Split.read(run.path("split.csv"), Path(saved.root))
        _, features = training_features(run, model, split, seed=saved.settings.get("SEED", 0))
        known = cls(normalize(torch.from_numpy(features.astype(np.float32))), np.inf)
        table = split.parts["val"]
        stamp = fingerprint(file_hash(run.path("train_features.npz")), NEIGHBOUR, table[["path", "sha256"]])
        if not run.is_current(stamp, FILE):
            distances = known.distances(torch.from_numpy(features_of(run, model, split, table)))
            found = pd.DataFrame({"path": table["path"], "distance": distances})
            with contextlib.suppress(NotWritten):  # a run of somebody else: they are computed each time
                write_csv(run.path(FILE), found)
                run.mark(stamp, FILE)
        else:
            found = read_csv(run.path(FILE), texts=("path",))
        return cls(known.features, float(found["distance"].quantile(QUANTILE)))

    def distances(self, features: torch.Tensor) -> np.ndarray:
        """1 - cosine, 0 to 2, of features (B, C) to those of the NEIGHBOURth nearest training image, (B,)."""
        cosines = normalize(features.flatten(2).mean(2) if features.ndim > 2 else features) @ self.features.T
        return 1 - cosines.topk(min(NEIGHBOUR, len(self.features))).values[:, -1].numpy()
