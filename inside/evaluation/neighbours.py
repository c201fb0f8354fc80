"""The costliest errors on test, each beside the training images that the network takes it for."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd
import torch
from torch import nn

from inside.data.split import Split, proportional_sample
from inside.evaluation.features import penultimate_features
from inside.evaluation.predictions import evaluation_loader
from inside.files import RunFolder, atomic_write, file_hash, fingerprint
from inside.models.saved import SavedModel

MOST_IMAGES = 10_000  # of training
NEAREST = 3


FEATURES = "train_features.npz"


def training_features(run: RunFolder, model: nn.Module, split: Split, *, seed: int,
                      workers: int | str = "auto") -> tuple[list[str], np.ndarray]:
    """The paths of at most MOST_IMAGES training images, and what the run's network gives its head for them, (N, C) float16.

    Kept in FEATURES. Where that file was made by the same weights from the same images, it is read instead.
    """
    table = proportional_sample(split.parts["train"], MOST_IMAGES, seed=seed)
    if not run.is_current(_stamp(run, table), FEATURES):
        keep_features(run, table, features_of(run, model, split, table, workers=workers))
    with np.load(run.path(FEATURES), allow_pickle=False) as kept:
        return kept["paths"].tolist(), kept["features"]


def keep_features(run: RunFolder, table: pd.DataFrame, features: np.ndarray) -> None:
    """Write the features (N, C) of the training images of a table, by the network that the run has saved, to FEATURES."""
    with atomic_write(run.path(FEATURES)) as temporary, open(temporary, "wb") as opened:
        np.savez_compressed(opened, paths=table["path"].to_numpy(dtype=str), features=features.astype(np.float16))
    run.mark(_stamp(run, table), FEATURES)


def _stamp(run: RunFolder, table: pd.DataFrame) -> str:
    return fingerprint(file_hash(run.path("model.safetensors")), table[["path", "sha256"]])


def features_of(run: RunFolder, model: nn.Module, split: Split, table: pd.DataFrame, *,
                workers: int | str = "auto") -> np.ndarray:
    """What a network gives its head for the images of a table, (N, C) float32; maps as their spatial means."""
    loader = evaluation_loader(SavedModel.of(run), split, table, workers)
    return as_vectors(penultimate_features(model, loader).tensors[0])


def as_vectors(features: torch.Tensor) -> np.ndarray:
    """Features (N, C), or maps (N, C, H, W) as their spatial means."""
    return (features.flatten(2).mean(2) if features.ndim > 2 else features).numpy()


def costliest_errors(predictions: pd.DataFrame, *, at_most: int = 4) -> pd.DataFrame:
    """The wrong predictions with the highest loss, the highest first."""
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    return wrong.sort_values(["loss", "path"], ascending=[False, True]).head(at_most).reset_index(drop=True)


def nearest_images(run: RunFolder, model: nn.Module, split: Split, errors: pd.DataFrame, *, seed: int,
                   workers: int | str = "auto") -> pd.DataFrame:
    """The NEAREST training images of each image in `errors`: path, neighbour, label (its), cosine; the nearest first.

    In the features of the run's network, by the cosine of their angle.
    """
    if errors.empty:
        return pd.DataFrame(columns=["path", "neighbour", "label", "cosine"])
    paths, kept = training_features(run, model, split, seed=seed, workers=workers)
    labels = split.parts["train"].set_index("path")["label"]
    test = split.parts["test"].set_index("path", drop=False).loc[errors["path"]].reset_index(drop=True)
    wanted = features_of(run, model, split, test, workers=workers)
    cosines = torch.nn.functional.normalize(torch.from_numpy(wanted)) @ torch.nn.functional.normalize(
        torch.from_numpy(kept.astype(np.float32))).T
    values, places = cosines.topk(min(NEAREST, len(paths)))
    return pd.DataFrame([{"path": path, "neighbour": paths[place], "label": labels[paths[place]], "cosine": float(value)}
                         for path, row, near in zip(test["path"], values, places, strict=True)
                         for value, place in zip(row, near.tolist(), strict=True)])


def without_suspects(predictions: pd.DataFrame, suspects: Collection[str]) -> dict:
    """Accuracy and mean class accuracy on all test images, and on those whose labels are not suspected: a sensitivity."""
    left = predictions[~predictions["path"].isin(suspects)]

    def scores(rows: pd.DataFrame) -> dict:
        hits = rows["label"] == rows["predicted"]
        return {"images": len(rows), "accuracy": float(hits.mean()),
                "mean_class_accuracy": float(hits.groupby(rows["label"]).mean().mean())}
    return {"all": scores(predictions), "without_suspects": scores(left) if len(left) else None}
