"""A run folder made of numbers that the tests know, without a network."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from inside.files import write_json

CLASSES = ["glacier", "mountain", "sea"]
LAYERS = ["conv1", "layer2.0.conv1", "head"]


def own_results():
    """01_results.json: 60 test images, three errors, two of them glacier taken for mountain."""
    per_class = {name: {"support": 20} for name in CLASSES}
    return {"dataset": "demo", "drawn": True, "n_images": 900, "split": {"train": 630, "val": 108, "test": 162}, "leaks": {"path": 0, "content": 0},
            "architecture": "resnet18", "weights": "imagenet", "image_size": 160, "parameters": 1000, "trainable": 900, "epochs": 3,
            "best_epoch": 2, "baseline": {"class": "sea", "mean_class_accuracy": 1 / 3}, "search": None, "comparison": None,
            "test": {"per_class": per_class}, "reproduced": {"checked": 60, "max_difference": 0.0, "tolerance": 1e-4}}


def scenario_results(column, **values):
    """{scenario: {layer: numbers}}, one value a layer."""
    more = {"channels": 8, "trace": 4.0, "eigenvalues": [2.0, 1.0]}
    return {name: row and {layer: more | {column: value} for layer, value in zip(LAYERS, row, strict=True)} for name, row in values.items()}


@pytest.fixture(scope="module")
def make_run_folder():
    return _make_run_folder


@pytest.fixture
def run_folder(tmp_path):
    return _make_run_folder(tmp_path / "run")


def _make_run_folder(folder):
    """A folder with the results, predictions, metrics, history and pictures of three notebooks."""
    for part in ("figures", "tables"):
        (folder / part).mkdir(parents=True)
    write_json(folder / "01_results.json", own_results())
    verdicts = {name: {"verdict": {"nothing": "not changed", "classifier": verdict}} for name, verdict in
                (("CAM", "changed"), ("guided backpropagation", "not changed"), ("gradient", "undecided"))}
    write_json(folder / "02_results.json", {"layers": LAYERS, "missing": {}, "explanations": {"randomisation": verdicts}, "scenarios":
               scenario_results("non_positive_share", finetuned_own=[0.5, 0.6, 0.4], imagenet_own=[0.5, 0.45, 0.42], imagenet_digits=[0.5] * 3)})
    write_json(folder / "03_results.json", {"missing": {"imagenet_imagenet": "IMAGENET_VAL: no folder 'x'."}, "scenarios":
               scenario_results("effective_rank", finetuned_own=[2.0, 9.0, 30.0], imagenet_own=[2.0, 8.0, 40.0], imagenet_digits=[1.0, 2.0, 3.0],
                                imagenet_imagenet=None)})
    labels = np.repeat(CLASSES, 20)
    predicted = labels.copy()
    predicted[[0, 1]], predicted[40] = "mountain", "glacier"
    scores = {f"prob_{name}": np.where(predicted == name, 0.9, 0.05) for name in CLASSES}
    pd.DataFrame({"path": [f"{label}/{number}.png" for number, label in enumerate(labels)], "label": labels, "predicted": predicted,
                  **scores}).to_csv(folder / "predictions_test.csv", index=False)
    rows = [("glacier", 20, 0.9, 0.95, 0.7, 0.97), ("mountain", 20, 1.0, 0.98, 0.839, 1.0), ("sea", 20, 0.95, 0.99, 0.76, 0.99),
            ("mean over classes", 60, 0.95, 0.97, 0.86, 0.98)]
    pd.DataFrame(rows, columns=["class", "support", "accuracy", "average_precision", "accuracy_low", "accuracy_high"]).to_csv(
        folder / "metrics_test.csv", index=False)
    pd.DataFrame({"epoch": [1, 2, 3], "train_loss": [0.9, 0.4, 0.2], "val_loss": [0.8, 0.5, 0.6], "val_accuracy_glacier": [0.5, 0.8, 0.7],
                  "val_accuracy_sea": [0.9, 1.0, 1.0]}).to_csv(folder / "history.csv", index=False)
    for name in ("confusion", "effective_ranks", "ranked_sea"):
        Image.fromarray(np.arange(300 * 500, dtype=np.uint32).astype(np.uint8).reshape(300, 500)).save(folder / "figures" / f"{name}.png")
    return folder
