"""Tests of inside/training/experiment.py."""

import dataclasses
import json
import os

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from torch import nn

from inside.data.loading import ImageDataset, make_loader
from inside.data.split import Split, proportional_sample
from inside.data.transforms import make_transform
from inside.evaluation.neighbours import features_of, training_features
from inside.evaluation.predictions import predict, saved_predictions
from inside.files import RunFolder, read_json, write_csv, write_json
from inside.models.build import build_network
from inside.models.saved import SavedModel, load_network
from inside.models.surgery import classifier_name
from inside.training.cached import cached_features
from inside.training.compatible import with_overrides
from inside.training.describe import describe_training
from inside.training.experiment import (
    Experiment,
    TrainingResult,
    finish_training,
    load_trained,
    score_unaugmented,
    stored_weights,
    train,
    train_head_alone,
    train_into,
    training_fingerprint,
)
from inside.training.loop import fit
from shared.settings import TINY, settings
from shared.training import CHAINS, CLASSES, Backbone


def test_another_architecture_drops_what_it_has_not():
    base = settings(STRATEGY="head", HEAD="mlp:8", ARCHITECTURE_OPTIONS={"dropout": 0.3})
    own = with_overrides(base, {"ARCHITECTURE": "convnet5"})
    assert (own["STRATEGY"], own["HEAD"], own["ARCHITECTURE_OPTIONS"]) == ("full", "linear", {"dropout": 0.3})
    assert with_overrides(base | {"ARCHITECTURE_OPTIONS": {"dropout": 0.3}}, {"ARCHITECTURE": "resnet18"})["STRATEGY"] == "head"
    assert with_overrides(own | {"ARCHITECTURE_OPTIONS": {"filters": 4}}, {"ARCHITECTURE": "resnet18"})["ARCHITECTURE_OPTIONS"] == {}


def alive(experiment):
    """The experiment with statistics of batch norm from some images: with those of new random weights, features are near 0."""
    norms = [module for module in experiment.model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for module in norms:
        module.momentum = 1.0
    experiment.model.train()
    with torch.no_grad():
        experiment.model(torch.stack([experiment.loaders["val"].dataset[index][0] for index in range(16)]))
    return experiment


def by_images(experiment):
    """The same training as on kept features, with the whole network run in every epoch."""
    return fit(experiment.model, experiment.loaders["train"], experiment.loaders["val"], experiment.recipe, classes=experiment.split.classes)


@pytest.mark.parametrize("changes", [
    {}, {"HEAD": "mlp:16:0.0"}, pytest.param({"ARCHITECTURE": "resnet18"}, marks=pytest.mark.soak), {"HEAD": "mlp:16:0.5", "ARCHITECTURE_OPTIONS": {"dropout": 0.5}},
    {"ARCHITECTURE": "mobilenet_v3_small", "IMAGE_SIZE": 48}, pytest.param({"ARCHITECTURE": "mnasnet0_5", "IMAGE_SIZE": 48}, marks=pytest.mark.soak)], ids=str)
def test_kept_features_give_what_the_images_give(split, tmp_path, changes):
    """Dropout that the network has before its head acts on kept features, too: with the same seed to the same numbers."""
    chosen = settings(STRATEGY="head", EPOCHS=6, **changes)
    experiment = alive(Experiment(chosen, split))
    assert experiment.keeps_features
    trained = train(experiment, tmp_path)
    weights, history = by_images(alive(Experiment(chosen, split)))
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0] - 0.05  # it is a training that is compared
    ours = trained.history.drop(columns=["seconds"])
    pd.testing.assert_frame_equal(ours, history.drop(columns=["seconds"]), rtol=1e-3, atol=1e-3)
    assert set(trained.weights) == set(weights)
    for name, weight in weights.items():
        assert torch.allclose(trained.weights[name].float(), weight.float(), atol=1e-4), name
    assert trained.seconds > trained.history["seconds"].sum()  # the pass over the images counts


@pytest.mark.parametrize("name", ["two dropouts", "dropout of maps", "a function"])
def test_the_head_alone_learns_as_in_the_network(split, tmp_path, monkeypatch, name):
    """HEAD_EPOCHS leaves in the network what training its head in place would, and touches no other layer."""
    forward, layers, start = CHAINS[name]
    def build(*arguments, **options):
        return Backbone(forward, **{name: layer for name, layer in layers.items()}), {"mean": [0.5] * 3, "std": [0.2] * 3,
                                                                                       "interpolation": "bilinear", "channels": 3}
    monkeypatch.setattr("inside.training.experiment.build_network", build)
    wide = {label: "abc"[index % 3] for index, label in enumerate(split.classes)}  # three classes are enough
    split = Split(split.table.assign(label=split.table["label"].map(wide)), split.root, ["a", "b", "c"])
    chosen = settings(HEAD_EPOCHS=3, IMAGE_SIZE=16, STRATEGY="full", LEARNING_RATE=0.05)
    first = {name: weight.clone() for name, weight in build()[0].state_dict().items()}
    experiment = Experiment(chosen, split)
    experiment.model.load_state_dict(first)
    train_head_alone(experiment, tmp_path)
    ours = {name: weight.clone() for name, weight in experiment.model.state_dict().items()}
    assert all(weight.requires_grad for weight in experiment.model.parameters()) and len(list(tmp_path.iterdir())) == (2 if start else 0)
    other = Experiment(chosen | {"STRATEGY": "head", "EPOCHS": 3}, split)
    other.model.load_state_dict(first)
    wanted, _ = fit(other.model, other.loaders["train"], other.loaders["val"], other.recipe, classes=["a", "b", "c"])
    head = classifier_name(experiment.model)
    assert all(torch.allclose(ours[name], wanted[name], atol=1e-4) for name in wanted)
    assert {name for name in ours if not torch.equal(ours[name], first[name])} == {f"{head}.weight", f"{head}.bias"}


def test_features_are_kept_and_read_again(split, tmp_path, monkeypatch):
    chosen = settings(STRATEGY="head")
    first = train(Experiment(chosen, split), tmp_path)
    files = {path.name for path in tmp_path.iterdir()}
    assert len(files) == 2 and not [name for name in files if name.startswith(".")]
    monkeypatch.setattr("inside.training.cached.penultimate_features", None)  # would fail if it were called
    again = train(Experiment(chosen | {"LEARNING_RATE": 0.01, "EPOCHS": 2}, split), tmp_path)
    assert first.history.drop(columns="seconds").equals(again.history.drop(columns="seconds"))
    monkeypatch.undo()
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:100])  # cut off: made anew
    assert first.history.drop(columns="seconds").equals(train(Experiment(chosen, split), tmp_path).history.drop(columns="seconds"))
    for changes in ({"SEED": 1}, {"IMAGE_SIZE": 40}, {"ARCHITECTURE": "resnet18"}):
        before = len(list(tmp_path.iterdir()))
        cached_features(Experiment(chosen | changes, split), tmp_path)
        assert len(list(tmp_path.iterdir())) == before + 2, changes


@pytest.mark.parametrize("changes, keeps", [({}, True), ({"AUGMENTATION": "light"}, False), ({"STRATEGY": "last_stage"}, False),
                                            ({"ARCHITECTURE": "squeezenet1_1", "IMAGE_SIZE": 64}, False)])
def test_features_are_kept_only_where_nothing_varies(split, changes, keeps):
    assert Experiment(settings(STRATEGY="head") | changes, split).keeps_features is keeps


def test_the_head_learns_alone_first(split, tmp_path):
    """With ImageNet weights the first epoch starts from a head that has learnt; HEAD_EPOCHS = 0 starts from a drawn one."""
    chosen = settings(ARCHITECTURE="efficientnet_lite0", WEIGHTS="imagenet", IMAGE_SIZE=64, EPOCHS=1, LEARNING_RATE=0.003, PRECISION="auto")
    scores = {epochs: train(Experiment(chosen | {"HEAD_EPOCHS": epochs}, split), tmp_path).history["train_loss"][0]
              for epochs in (0, 15)}
    assert scores[15] < scores[0] - 0.2
    assert len(list(tmp_path.iterdir())) == 2


def test_random_weights_learn_at_the_full_rate(split):
    experiment = Experiment(settings(BACKBONE_FACTOR=0.1), split)
    assert experiment.recipe.backbone_factor == 1 and experiment.recipe.batch_norm == "update"
    own = Experiment(settings(ARCHITECTURE="convnet5", WEIGHTS="imagenet", HEAD_EPOCHS=3), split)
    assert own.settings["WEIGHTS"] == "random" and own.recipe.backbone_factor == 1


def test_training_into_a_folder_goes_on_and_is_used_again(split, tmp_path):
    chosen = settings(ARCHITECTURE="convnet_gap", ARCHITECTURE_OPTIONS={"widths": [4, 8], "in_channels": 1}, AUGMENTATION="light", EPOCHS=3)
    whole, broken = RunFolder(str(tmp_path / "whole")), RunFolder(str(tmp_path / "broken"))
    def stop(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt
    assert train_into(whole, chosen, split, features=tmp_path) is False
    with pytest.raises(KeyboardInterrupt):
        train_into(broken, chosen, split, features=tmp_path, report=stop)
    assert train_into(broken, chosen, split, features=tmp_path) is False
    first, second = (pd.read_csv(run.path("history.csv")).drop(columns="seconds") for run in (whole, broken))
    assert first.equals(second)
    assert train_into(whole, chosen, split, features=tmp_path) is True
    moved = dataclasses.replace(split, root=tmp_path / "elsewhere")  # the same images in another folder
    assert train_into(whole, chosen, moved, features=tmp_path) is True
    assert load_network(whole)[1].root == str(moved.root) and whole.is_current(training_fingerprint(chosen, split), "model.json")
    model, saved = load_network(whole)
    assert saved.options == chosen["ARCHITECTURE_OPTIONS"] and saved.preprocessing["channels"] == 1
    assert [module.out_channels for module in model.modules() if isinstance(module, nn.Conv2d)] == [4, 8]
    assert saved.seconds == pytest.approx(pd.read_csv(whole.path("history.csv"))["seconds"].sum()) and saved.settings["WEIGHTS"] == "random"


@pytest.mark.parametrize("changes, frozen", [
    pytest.param({"STRATEGY": "full"}, [], marks=pytest.mark.soak), ({"STRATEGY": "last_stage"}, ["conv1", "bn1", "layer1", "layer2", "layer3"]),
    ({"STRATEGY": "head"}, ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4"]),
    pytest.param({"STRATEGY": "from_layer:layer3.1"}, ["conv1", "bn1", "layer1", "layer2", "layer3.0"], marks=pytest.mark.soak)], ids=str)
def test_a_run_tells_what_did_not_learn(split, tmp_path, changes, frozen):
    run = RunFolder(str(tmp_path / "run"))
    chosen = settings(ARCHITECTURE="resnet18", EPOCHS=1, **changes)
    train_into(run, chosen, split, features=tmp_path / "features")
    saved = SavedModel.read(run)
    assert set(saved.frozen) == set(frozen)
    assert saved.first_trainable == {"full": "", "last_stage": "layer4", "head": "fc"}.get(changes["STRATEGY"], "layer3.1")
    start, end = build_network("resnet18", 6, weights="random")[0].state_dict(), load_network(run)[0].state_dict()
    still = {name for name in start if torch.equal(start[name], end[name])}
    assert still == {name for name in start if any(name.startswith(f"{module}.") for module in frozen)}


@pytest.mark.parametrize("changes", [{"AUGMENTATION": "strong"}, {"STRATEGY": "head", "PRECISION": "bfloat16"}], ids=str)
def test_the_training_images_are_scored_once_more_not_augmented(split, tmp_path, changes):
    """By the saved network, in float32, without what varies them; kept with the run, as it is when the run is used again."""
    run = RunFolder(str(tmp_path / "run"))
    chosen = settings(LABEL_SMOOTHING=0.1, **changes)
    train_into(run, chosen, split, features=tmp_path / "features")
    model, saved = load_network(run)
    transform = make_transform(saved.preprocessing, 32)
    loader = make_loader(ImageDataset(split.parts["train"], split.root, split.classes, transform), batch_size=16)
    scores, losses = predict(model, loader)
    hits = scores.argmax(1) == np.array(loader.dataset.targets)
    found = saved.train_unaugmented
    assert found["images"] == found["of"] == len(split.parts["train"]) and found["loss"] == pytest.approx(losses.mean(), rel=1e-4)
    assert found["mean_class_accuracy"] == pytest.approx(hits.mean())  # the classes have the same size
    assert train_into(run, chosen, split, features=tmp_path / "features")
    assert load_network(run)[1].train_unaugmented == found


@pytest.mark.parametrize("changes", [{}, {"HEAD": "mlp:8"}, {"ARCHITECTURE": "squeezenet1_1", "IMAGE_SIZE": 64}], ids=str)
def test_features_of_the_training_images_come_from_the_pass_that_scores_them(split, tmp_path, monkeypatch, changes):
    run = RunFolder(str(tmp_path / "run"))
    train_into(run, settings(EPOCHS=1, **changes), split, features=tmp_path / "features")
    model = load_network(run)[0]
    wanted = features_of(run, model, split, split.parts["train"])
    monkeypatch.setattr("inside.evaluation.neighbours.features_of", None)  # no other pass
    paths, features = training_features(run, model, split, seed=0)
    assert paths == split.parts["train"]["path"].tolist() and np.allclose(features, wanted, rtol=2e-3, atol=1e-4)


def test_scores_that_are_no_numbers_are_not_saved(split, tmp_path):
    run = RunFolder(str(tmp_path / "run"))
    train_into(run, settings(EPOCHS=1), split, features=tmp_path / "features")
    weights = safetensors.torch.load_file(run.path("model.safetensors"))
    safetensors.torch.save_file(weights | {"fc.bias": weights["fc.bias"] * float("nan")}, run.path("model.safetensors"))
    with pytest.raises(ValueError, match=r"gives scores that are NaN for 24 of 24 images of val: set TRAIN = True, with a lower LEARNING_RATE\.$"):
        saved_predictions(run, "val", load_network(run)[0], split)
    assert not run.path("predictions_val.csv").exists()


def test_some_of_many_training_images_are_scored(split):
    experiment = Experiment(settings(), split)
    weights = stored_weights(experiment.model)
    before = score_unaugmented(experiment, weights, at_most=30)
    nn.init.zeros_(experiment.head.weight), nn.init.zeros_(experiment.head.bias)  # the last epoch need not be the best
    found = score_unaugmented(experiment, weights, at_most=30)
    assert (found["images"], found["of"]) == (30, 72) and found == before and found["loss"] != pytest.approx(np.log(6), abs=1e-4)
    chosen = experiment.loader("train", learning=False, at_most=30).dataset
    assert np.bincount(chosen.targets).tolist() == [5] * 6 and chosen.paths == experiment.loader("train", learning=False, at_most=30).dataset.paths
    assert chosen.paths != experiment.loader("train", learning=False).dataset.paths[:30]


@budget(max_examples=50, deadline=None)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8), share=st.floats(0.01, 1.2), seed=st.integers(0, 99))
def test_a_sample_has_the_shares_of_the_whole(sizes, share, seed):
    table = pd.DataFrame({"label": np.repeat([f"c{index}" for index in range(len(sizes))], sizes)}).assign(path=lambda rows: rows.index)
    n = round(share * len(table))
    drawn = proportional_sample(table, n, seed=seed)
    assert len(drawn) == (max(n, len(sizes)) if 0 < n < len(table) else len(table)) and drawn["path"].is_monotonic_increasing
    counts = drawn["label"].value_counts()
    for index, size in enumerate(sizes):
        assert counts[f"c{index}"] >= 1 and abs(counts[f"c{index}"] - max(1, size * len(drawn) / len(table))) <= len(sizes)


def test_samples_are_drawn_by_the_seed():
    table = pd.DataFrame({"label": ["a", "b"] * 50, "path": range(100)})
    first, same, other = (proportional_sample(table, 20, seed=seed)["path"].tolist() for seed in (0, 0, 1))
    assert first == same != other and first != list(range(20))


def test_a_run_of_an_older_version_is_made_anew_but_can_be_read(split, tmp_path, monkeypatch):
    """Its training loss means something else: with TRAIN it is trained again, without it is told as what it is."""
    run, chosen = RunFolder(str(tmp_path / "run")), settings(EPOCHS=1)
    monkeypatch.setattr("inside.training.experiment.TRAINING_VERSION", 1)
    train_into(run, chosen, split, features=tmp_path / "features")
    stamp = training_fingerprint(chosen, split)
    monkeypatch.undo()
    description = read_json(run.path("model.json"))
    write_json(run.path("model.json"), {name: value for name, value in description.items()
                                                if name not in ("first_trainable", "frozen", "train_unaugmented", "precision", "device")})
    write_csv(run.path("history.csv"), pd.read_csv(run.path("history.csv")).drop(columns="train_objective"))
    run.mark(stamp, "history.csv", "model.json")
    _, old, history = load_trained(run, split=split)
    assert "optimised" in describe_training(history, old.train_unaugmented, augmentation="none")[-1]
    assert train_into(run, chosen, split, features=tmp_path / "features") is False
    assert load_network(run)[1].train_unaugmented


def test_a_device_that_is_absent_stops_an_experiment(split, monkeypatch):
    for name, backend in (("cuda", torch.cuda), ("mps", torch.backends.mps)):
        monkeypatch.setattr(backend, "is_available", lambda: False)
        with pytest.raises(ValueError, match=f"DEVICE = '{name}' is not available here"):
            Experiment(settings(DEVICE=name), split)


@pytest.mark.parametrize("precision, training", [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_training_has_its_precision_and_evaluation_float32(split, tmp_path, precision, training):
    experiment, kinds = Experiment(settings(PRECISION=precision, EPOCHS=1), split), set()
    layer = next(module for module in experiment.model.modules() if isinstance(module, nn.Conv2d))
    layer.register_forward_hook(lambda module, inputs, output: kinds.add((experiment.model.training, output.dtype)))
    train(experiment, tmp_path)
    assert kinds == {(True, training), (False, torch.float32)}
    assert {weight.dtype for weight in experiment.model.parameters()} == {torch.float32}


class Processes(torch.utils.data.Dataset):
    """Each image is the number of the process that loads it."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return os.getpid()


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_load_the_images(split, monkeypatch, workers):
    experiment = Experiment(settings(WORKERS=workers), split)
    assert [loader.num_workers for loader in experiment.loaders.values()] == [workers] * 3
    monkeypatch.setattr("inside.training.experiment.ImageDataset", lambda *arguments: Processes())
    seen = {int(number) for batch in experiment.loader("val") for number in batch}
    assert seen == {os.getpid()} if not workers else os.getpid() not in seen


def test_tensorboard_gets_settings_and_curves(split, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    run = RunFolder(str(tmp_path / "run"))
    train_into(run, settings(TRACKERS=["tensorboard"]), split, features=tmp_path)
    events = EventAccumulator(str(run.path("tensorboard", "run")))
    events.Reload()
    history = pd.read_csv(run.path("history.csv"))
    for name in ("train_loss", "val_loss", "val_mean_class_accuracy"):
        assert [event.value for event in events.Scalars(name)] == pytest.approx(history[name].tolist(), abs=1e-5)
    text = events.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "LEARNING_RATE = 0.01" in text


@pytest.mark.soak
def test_wandb_offline(split, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)  # offline is the default
    run = RunFolder(str(tmp_path / "run"))
    train_into(run, settings(TRACKERS=["wandb"]), split, features=tmp_path)
    files = list(run.path("wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 1
    kept = files[0].read_bytes()
    assert b"val_mean_class_accuracy" in kept and b"LEARNING_RATE" in kept


def test_settings_of_a_run_are_json(split, tmp_path):
    run = RunFolder(str(tmp_path / "run"))
    train_into(run, settings(), split, features=tmp_path)
    assert json.loads(run.path("model.json").read_text())["settings"]["ARCHITECTURE"] == TINY["ARCHITECTURE"]
    assert np.isfinite(json.loads(run.path("model.json").read_text())["seconds"])


SMALL_NETWORK = "timm/test_resnet"
def test_saving_and_loading_give_the_same_network(tmp_path):
    run = RunFolder(str(tmp_path / "run"))
    with pytest.raises(ValueError, match="has no trained network"):
        load_network(run)
    model, preprocessing = build_network(SMALL_NETWORK, 3, weights="random", seed=5)
    table = pd.DataFrame({"path": ["a/1.png"], "label": "a", "split": "test", "sha256": "x"})
    split, other = Split(table, tmp_path, CLASSES), Split(table.assign(split="train"), tmp_path, CLASSES)
    history = pd.DataFrame({"epoch": [1], "val_mean_class_accuracy": 0.5, "val_loss": 1.0, "seconds": 1.0})
    saved = SavedModel(architecture=SMALL_NETWORK, classes=CLASSES, image_size=64, preprocessing=preprocessing,
                       split=split.fingerprint, root=str(tmp_path))
    finish_training(run, TrainingResult(model.state_dict(), history, 1.0), saved, "s")
    again, told, _ = load_trained(run, split=split)
    image = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(model.eval()(image), again(image))
    assert told.preprocessing == preprocessing and set(safetensors.torch.load_file(run.path("model.safetensors"))) == set(model.state_dict())
    for wrong in (other, Split(table, tmp_path, ["a", "b"])):
        with pytest.raises(ValueError, match="a different split or different classes"):
            load_trained(run, split=wrong)
