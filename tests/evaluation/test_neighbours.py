"""Tests of inside/evaluation/neighbours.py: the costliest errors, their nearest training images, the score without suspects."""

import numpy as np
import pandas as pd
import pytest
import torch

from inside.data.split import Split
from inside.evaluation import neighbours
from inside.evaluation.describe import describe_neighbours, describe_sensitivity
from inside.evaluation.neighbours import costliest_errors, features_of, nearest_images, training_features, without_suspects
from inside.evaluation.report import report_costliest
from inside.files import RunFolder
from inside.shown import Figure, Text
from shared.images import write_images
from shared.training import predictions_of

LABELS = ["a", "b"] * 12
PATHS = [f"{label}/{number}.png" for number, label in enumerate(LABELS)]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run whose network gives each image a known vector: images 0 to 15 are of training, the others of test."""
    write_images(tmp_path, PATHS)
    vectors = dict(zip(PATHS, np.random.default_rng(0).normal(size=(24, 5)), strict=True))
    calls = []

    def known(run, model, split, table, **_):
        calls.append(len(table))
        return np.stack([vectors[path] for path in table["path"]]).astype(np.float32)
    monkeypatch.setattr(neighbours, "features_of", known)
    table = pd.DataFrame({"path": PATHS, "label": LABELS, "split": ["train"] * 16 + ["test"] * 8, "sha256": PATHS})
    folder = RunFolder(str(tmp_path / "run"))
    folder.path("model.safetensors").write_bytes(b"weights")
    return folder, Split(table, tmp_path, ["a", "b"]), vectors, calls


def test_the_nearest_training_images_are_those_of_the_smallest_angle(run):
    folder, split, vectors, _ = run
    errors = pd.DataFrame({"path": PATHS[18:21], "label": LABELS[18:21], "predicted": "a"})
    found = nearest_images(folder, None, split, errors, seed=0)
    for path in errors["path"]:
        cosine = {other: vectors[path] @ vectors[other] / np.linalg.norm(vectors[path]) / np.linalg.norm(vectors[other]) for other in PATHS[:16]}
        wanted = sorted(cosine, key=cosine.get)[::-1][:3]
        own = found[found["path"] == path]
        assert own["neighbour"].tolist() == wanted and own["label"].tolist() == [name[0] for name in wanted]
        assert np.allclose(own["cosine"], [cosine[name] for name in wanted], atol=2e-3)  # kept as float16
    assert nearest_images(folder, None, split, errors[:0], seed=0).empty


def test_features_are_kept_until_the_weights_or_the_images_change(run):
    folder, split, vectors, calls = run
    paths, features = training_features(folder, None, split, seed=0)
    assert paths == PATHS[:16] and features.dtype == np.float16 and np.allclose(features, [vectors[path] for path in paths], atol=2e-3)
    training_features(folder, None, split, seed=0)
    assert calls == [16]
    with np.load(folder.path("train_features.npz")) as kept:
        assert set(kept) == {"paths", "features"}
    folder.path("model.safetensors").write_bytes(b"other weights")
    training_features(folder, None, split, seed=0)
    training_features(folder, None, Split(split.table.assign(sha256=split.table["sha256"] + "!"), split.root, split.classes), seed=0)
    assert calls == [16] * 3


def test_maps_are_averaged_over_their_positions(monkeypatch):
    monkeypatch.setattr(neighbours, "evaluation_loader", lambda *_: None)
    monkeypatch.setattr(neighbours.SavedModel, "of", classmethod(lambda cls, run: None))
    maps = torch.randn(4, 3, 2, 5)
    monkeypatch.setattr(neighbours, "penultimate_features", lambda *_: torch.utils.data.TensorDataset(maps))
    assert np.allclose(features_of(None, None, None, None), maps.mean((2, 3)))


@pytest.fixture
def predictions():
    """Ten images of two classes, of which three are wrong, with losses 2.3, 0.9 and 0.7."""
    scores = [[0.9, 0.1]] * 4 + [[0.4, 0.6]] + [[0.1, 0.9]] * 3 + [[0.9, 0.1], [0.51, 0.49]]
    table = predictions_of(["a"] * 5 + ["b"] * 5, scores, ["a", "b"])
    return table.assign(loss=[-np.log(row[f"prob_{row['label']}"]) for row in table.to_dict("records")])


def test_the_costliest_errors_are_the_wrong_ones_with_the_highest_loss(predictions):
    assert costliest_errors(predictions)["path"].tolist() == ["8.png", "4.png", "9.png"]
    assert costliest_errors(predictions, at_most=1)["path"].tolist() == ["8.png"]
    assert costliest_errors(predictions[:4]).empty


def test_the_sensitivity_leaves_suspects_out_of_the_score(predictions):
    found = without_suspects(predictions, ["8.png", "0.png", "elsewhere.png"])
    assert found["all"] == {"images": 10, "accuracy": 0.7, "mean_class_accuracy": pytest.approx(0.7)}
    assert found["without_suspects"] == {"images": 8, "accuracy": 0.75, "mean_class_accuracy": pytest.approx(0.75)}
    told = describe_sensitivity(found)
    assert told.startswith("2 of 10 test images have suspected labels. On the others, the accuracy is 75.0% instead of 70.0%") and "is not the result" in told
    assert describe_sensitivity(without_suspects(predictions, [])) == "No test image has a suspected label."
    assert describe_sensitivity(without_suspects(predictions, predictions["path"])) == "The label of every test image is suspected."


def test_each_error_stands_before_its_nearest_images(tmp_path):
    write_images(tmp_path, PATHS)
    errors = pd.DataFrame({"path": ["a/16.png", "b/17.png"], "label": ["a", "b"], "predicted": ["b", "a"], "confidence": [0.9, 0.8]})
    nearest = pd.DataFrame([(path, f"{label}/{n}.png", label, 0.9 - n / 100) for path, label in (("a/16.png", "b"), ("b/17.png", "b")) for n in (1, 3, 5)],
                           columns=["path", "neighbour", "label", "cosine"])
    figure, text = report_costliest(errors, nearest, tmp_path, {"all": {"images": 9}, "without_suspects": None}, marks={"a/16.png": "‡ "})
    labels = [ax.get_xlabel() for ax in figure.drawing.axes if ax.get_visible()]
    assert labels[:4] == ["‡ a/16.png\n→ b 0.900", "b/1.png\ncosine 0.89", "b/3.png\ncosine 0.87", "b/5.png\ncosine 0.85"] and labels[4] == "b/17.png\n→ a 0.800"
    assert figure.caption.startswith("The nearest training image is of the predicted class for 1 of the 2 errors with the highest loss, and of the true class for 1.")
    assert "‡ is a suspected label error" in figure.caption and "a/16.png, taken for b: nearest b/1.png, b/3.png, b/5.png; " in figure.alt and isinstance(text, Text)
    one = describe_neighbours(nearest[:3], errors[:1])
    assert one == "The training image nearest to the only error is of the predicted class."
    assert [type(part) for part in report_costliest(errors[:0], nearest[:0], tmp_path, None, marks={})] == [Text]
    assert isinstance(report_costliest(errors[:1], nearest[:3], tmp_path, None, marks={})[0], Figure)
