"""Run folders of numbers that a test invents: no image, no network, no training."""

import numpy as np
import pandas as pd

from inside.evaluation.metrics import class_metrics, metrics_summary
from inside.files import write_csv, write_json

CLASSES = ["forest", "sea", "street"]
LAYERS = ["conv1", "layer2.0.conv1", "head"]


def invent_images(n, *, classes=CLASSES, seed=0):
    """The test images of a split: path, label, sha256, group (none), `n` of each class."""
    label = np.repeat(classes, n)
    path = [f"{name}/{number}.png" for number, name in enumerate(label)]
    sha256 = [f"{seed:02d}{number:062d}" for number in range(len(label))]
    return pd.DataFrame({"path": path, "label": label, "sha256": sha256, "group": pd.Series(pd.NA, range(len(label)), dtype="Int64")})


def invent_predictions(images, hit, classes, seed=0):
    """Predictions of these images, correct where `hit`: the next class elsewhere, with confidences from 0.5 to 1."""
    rng = np.random.default_rng(seed)
    number = np.array([classes.index(name) for name in images["label"]])
    predicted = np.where(hit, number, (number + 1) % len(classes))
    confidence = rng.uniform(0.6, 0.99, len(images))
    scores = np.repeat(((1 - confidence) / (len(classes) - 1))[:, None], len(classes), axis=1)
    scores[np.arange(len(images)), predicted] = confidence
    table = pd.DataFrame({"path": images["path"], "label": images["label"], "predicted": np.array(classes, dtype=object)[predicted],
                          "confidence": confidence, "loss": -np.log(scores[np.arange(len(images)), number])})
    return table.join(pd.DataFrame(scores, columns=[f"prob_{name}" for name in classes]))


def invent_run(folder, hit, *, images=None, val=0.9, classes=CLASSES, parameters=None, shuffled=False, maps=False):
    """A finished run whose network has the images of `hit` (N,) right; `val`: its mean class accuracy on validation."""
    folder.mkdir(parents=True)
    images = invent_images(len(hit) // len(classes), classes=classes) if images is None else images
    predictions = invent_predictions(images, np.asarray(hit), classes)
    metrics = class_metrics(predictions, classes, groups=images["group"])
    other = images.head(3).assign(path=[f"{place}.png" for place in range(3)], sha256=["a", "b", f"c{images['sha256'][0]}"], group=pd.NA,
                                  split=["train", "train", "val"])
    split = pd.concat([images.assign(split="test"), other]).assign(width=9, height=9)
    write_csv(folder / "split.csv", split.sample(frac=1, random_state=1) if shuffled else split)
    write_csv(folder / "predictions_test.csv", predictions.sample(frac=1, random_state=2) if shuffled else predictions)
    write_csv(folder / "metrics_test.csv", metrics)
    summary = metrics_summary(metrics, predictions)
    write_json(folder / "01_results.json", {"dataset": "x", "architecture": "resnet18", "parameters": 1_500_000, "trainable": 1500, "macs": 2e8,
               "seconds": 75.0, "n_images": len(split), "val": summary | {"mean_class_accuracy": val}, "test": summary})
    write_json(folder / "run.json", {"command": "python run.py x", "parameters": {"RUN": str(folder), "SEED": 0, "EPOCHS": 3} | (parameters or {})})
    write_csv(folder / "history.csv", pd.DataFrame({"epoch": [1, 2, 3], "val_loss": [0.9, 0.5, 0.6], "val_mean_class_accuracy": [val / 2, val, val * 0.9]}))
    if maps:
        invent_maps(folder, LAYERS)
    return folder


def invent_maps(folder, layers):
    """The results of notebooks 02 and 03 for these layers."""
    write_json(folder / "02_results.json", {"layers": layers, "scenarios": {"finetuned_own": {
        name: {"channels": 8, "images": 60, "non_positive_share": 0.4 + place / 10} for place, name in enumerate(layers)}}})
    write_json(folder / "03_results.json", {"scenarios": {"finetuned_own": {
        name: {"channels": 8, "images": 60, "trace": 3.75, "effective_rank": 2.0 + place, "eigenvalues": [2.0, 1.0, 0.5]} for place, name in enumerate(layers)}}})
    np.savez(folder / "spectra.npz", **{f"finetuned_own/{name}/eigenvalues": np.array([2.0, 1.0, 0.5, 0.25]) for name in layers})
