"""One training from settings, kept features, the comparison, and trackers."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import experiments
import helpers
import run as runner

BOOK = sorted(runner.NOTEBOOKS.glob("*.ipynb"))[0]
TINY = {"ARCHITECTURE": "timm/test_resnet", "WEIGHTS": "random", "IMAGE_SIZE": 32, "EPOCHS": 2, "BATCH_SIZE": 16, "LEARNING_RATE": 0.01,
        "PRECISION": "float32", "AUGMENTATION": "none"}


def settings(**changes):
    return runner.notebook_parameters(BOOK) | TINY | changes


# ---------------------------------------------------------------------------------------- settings

@pytest.mark.parametrize("changes, message", [
    ({"ARCHITECTURE": "convnet5", "STRATEGY": "head"}, "set STRATEGY = 'full'"), ({"ARCHITECTURE": "mlp", "HEAD": "mlp:8"}, "set HEAD = 'linear'"),
    ({"ARCHITECTURE_OPTIONS": {"filters": 8}}, "has no option 'filters'"), ({"TRACKERS": ["tensorbord"]}, "did you mean 'tensorboard'"),
    ({"COMPARE": ["head"]}, "takes dictionaries"), ({"COMPARE": [{"STRATEGYS": "head"}]}, "did you mean 'STRATEGY'"),
    ({"COMPARE": [{"SPLIT": [0.5, 0.2, 0.3]}]}, "which it cannot"), ({"COMPARE": [{"STRATEGY": "heads"}]}, "did you mean 'head'"),
    ({"COMPARE": [{"ARCHITECTURE": "convnet5", "STRATEGY": "head"}]}, "set STRATEGY = 'full'"), ({"SAMPLE_GRID": [3]}, "rows and columns"),
    ({"SAMPLE_GRID": [0, 4]}, "rows and columns"), ({"SEARCH_SPACE": []}, "takes a dict"), ({"SEARCH_SAMPLER": "bayes"}, "legal are tpe, random, grid"),
])
def test_settings_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        experiments.check_settings(settings(**changes))
    assert "\n" not in str(error.value)


def test_another_architecture_drops_what_it_has_not():
    base = settings(STRATEGY="head", HEAD="mlp:8", ARCHITECTURE_OPTIONS={"dropout": 0.3})
    own = experiments.suited(base, {"ARCHITECTURE": "convnet5"})
    assert (own["STRATEGY"], own["HEAD"], own["ARCHITECTURE_OPTIONS"]) == ("full", "linear", {"dropout": 0.3})
    assert experiments.suited(base | {"ARCHITECTURE_OPTIONS": {"dropout": 0.3}}, {"ARCHITECTURE": "resnet18"})["STRATEGY"] == "head"
    assert experiments.suited(own | {"ARCHITECTURE_OPTIONS": {"filters": 4}}, {"ARCHITECTURE": "resnet18"})["ARCHITECTURE_OPTIONS"] == {}


def test_a_tracker_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr(experiments.importlib.util, "find_spec", lambda name: None if name == "wandb" else object())
    experiments.check_settings(settings(TRACKERS=["tensorboard"]))
    with pytest.raises(ValueError, match="pip install wandb"):
        experiments.check_settings(settings(TRACKERS=["tensorboard", "wandb"]))


# ---------------------------------------------------------------------------------------- one training

def by_images(experiment):
    """The same training as on kept features, with the whole network run in every epoch."""
    return helpers.fit(experiment.model, experiment.loaders["train"], experiment.loaders["val"], experiment.recipe, classes=experiment.classes)


@pytest.mark.parametrize("changes", [{}, {"HEAD": "mlp:16:0.0"}, {"ARCHITECTURE": "resnet18"}], ids=str)
def test_kept_features_give_what_the_images_give(images, tmp_path, changes):
    chosen = settings(STRATEGY="head", EPOCHS=3, **changes)
    experiment = experiments.Experiment(chosen, *images)
    assert experiment.keeps_features
    trained = experiments.train(experiment, tmp_path)
    weights, history = by_images(experiments.Experiment(chosen, *images))
    ours = trained.history.drop(columns=["seconds"])
    pd.testing.assert_frame_equal(ours, history.drop(columns=["seconds"]), rtol=1e-3, atol=1e-3)
    assert set(trained.weights) == set(weights)
    for name, weight in weights.items():
        assert torch.allclose(trained.weights[name].float(), weight.float(), atol=1e-4), name
    assert trained.seconds > trained.history["seconds"].sum()  # the pass over the images counts


def test_features_are_kept_and_read_again(images, tmp_path, monkeypatch):
    chosen = settings(STRATEGY="head")
    first = experiments.train(experiments.Experiment(chosen, *images), tmp_path)
    files = {path.name for path in tmp_path.iterdir()}
    assert len(files) == 2 and not [name for name in files if name.startswith(".")]
    monkeypatch.setattr(experiments, "head_inputs", None)  # would fail if it were called
    again = experiments.train(experiments.Experiment(chosen | {"LEARNING_RATE": 0.01, "EPOCHS": 2}, *images), tmp_path)
    assert first.history.drop(columns="seconds").equals(again.history.drop(columns="seconds"))
    monkeypatch.undo()
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:100])  # cut off: made anew
    assert first.history.drop(columns="seconds").equals(experiments.train(experiments.Experiment(chosen, *images), tmp_path).history.drop(columns="seconds"))
    for changes in ({"SEED": 1}, {"IMAGE_SIZE": 40}, {"ARCHITECTURE": "resnet18"}):
        before = len(list(tmp_path.iterdir()))
        experiments.kept_features(experiments.Experiment(chosen | changes, *images), tmp_path)
        assert len(list(tmp_path.iterdir())) == before + 2, changes


def test_features_of_a_shuffled_loader_keep_their_targets():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    dataset = helpers.TensorImages(torch.randn(30, 8), [index % 3 for index in range(30)])
    kept = experiments.head_inputs(model, helpers.make_loader(dataset, batch_size=7, shuffle=True))
    with torch.no_grad():
        wanted = model[:2](dataset.tensors[0])
    for feature, target in zip(kept.tensors[0], kept.targets, strict=True):
        nearest = (wanted - feature).abs().sum(1).argmin()
        assert dataset.targets[nearest] == target and torch.allclose(wanted[nearest], feature, atol=1e-6)
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("changes, keeps", [({}, True), ({"AUGMENTATION": "light"}, False), ({"STRATEGY": "last_stage"}, False),
                                            ({"ARCHITECTURE": "squeezenet1_1", "IMAGE_SIZE": 64}, False)])
def test_features_are_kept_only_where_nothing_varies(images, changes, keeps):
    assert experiments.Experiment(settings(STRATEGY="head") | changes, *images).keeps_features is keeps


def test_the_head_learns_alone_first(images, tmp_path):
    """With ImageNet weights the first epoch starts from a head that has learnt; HEAD_EPOCHS = 0 starts from a drawn one."""
    chosen = settings(ARCHITECTURE="efficientnet_lite0", WEIGHTS="imagenet", IMAGE_SIZE=64, EPOCHS=1, LEARNING_RATE=0.003, PRECISION="auto")
    scores = {epochs: experiments.train(experiments.Experiment(chosen | {"HEAD_EPOCHS": epochs}, *images), tmp_path).history["train_loss"][0]
              for epochs in (0, 15)}
    assert scores[15] < scores[0] - 0.2
    assert len(list(tmp_path.iterdir())) == 2


def test_random_weights_learn_at_the_full_rate(images):
    experiment = experiments.Experiment(settings(BACKBONE_FACTOR=0.1), *images)
    assert experiment.recipe.backbone_factor == 1 and experiment.recipe.batch_norm == "update"
    own = experiments.Experiment(settings(ARCHITECTURE="convnet5", WEIGHTS="imagenet", HEAD_EPOCHS=3), *images)
    assert own.settings["WEIGHTS"] == "random" and own.recipe.backbone_factor == 1


def test_training_into_a_folder_goes_on_and_is_used_again(images, tmp_path):
    parts, root, classes = images
    table = pd.concat(parts.values(), ignore_index=True)
    chosen = settings(ARCHITECTURE="convnet_gap", ARCHITECTURE_OPTIONS={"widths": [4, 8], "in_channels": 1}, AUGMENTATION="light", EPOCHS=3)
    whole, broken = helpers.Run(str(tmp_path / "whole")), helpers.Run(str(tmp_path / "broken"))
    def stop(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt
    assert experiments.train_into(whole, chosen, *images, table=table, features=tmp_path) is False
    with pytest.raises(KeyboardInterrupt):
        experiments.train_into(broken, chosen, *images, table=table, features=tmp_path, report=stop)
    assert experiments.train_into(broken, chosen, *images, table=table, features=tmp_path) is False
    first, second = (pd.read_csv(run.path("history.csv")).drop(columns="seconds") for run in (whole, broken))
    assert first.equals(second)
    assert experiments.train_into(whole, chosen, *images, table=table, features=tmp_path) is True
    model, description = helpers.load_network(whole)
    assert description["options"] == chosen["ARCHITECTURE_OPTIONS"] and description["preprocessing"]["channels"] == 1
    assert [module.out_channels for module in model.modules() if isinstance(module, nn.Conv2d)] == [4, 8]
    assert description["seconds"] == pytest.approx(pd.read_csv(whole.path("history.csv"))["seconds"].sum()) and description["settings"]["WEIGHTS"] == "random"


# ---------------------------------------------------------------------------------------- the comparison

def test_comparison(images, tmp_path, capsys):
    parts, root, classes = images
    parts = {split: part.assign(group=part.index // 2) for split, part in parts.items()}  # as if there were copies
    images = parts, root, classes
    table = pd.concat(parts.values(), ignore_index=True)
    run = helpers.Run(str(tmp_path / "run"))
    rows = [{"ARCHITECTURE": "convnet5", "ARCHITECTURE_OPTIONS": {"filters": 4}, "EPOCHS": 3}, {"STRATEGY": "head"}, {}]
    chosen = experiments.check_settings(settings(COMPARE=rows, WEIGHTS="imagenet", ARCHITECTURE="efficientnet_lite0", IMAGE_SIZE=64, EPOCHS=1))
    experiments.train_into(run, chosen, *images, table=table, features=run.path("features"))
    compared, histories = experiments.compare(run, chosen, *images, table=table)
    assert compared["name"].tolist() == list(histories) == [
        "convnet5, from scratch", "efficientnet_lite0, head, pretrained", "efficientnet_lite0, full, pretrained"]
    assert compared["epochs"].tolist() == [3, 1, 1] and not run.path("comparison", "3").exists()  # the third is the run itself
    assert compared["trainable"].is_monotonic_increasing is False and compared.loc[1, "trainable"] == 1280 * 6 + 6
    for number, row in enumerate(compared.to_dict("records"), 1):
        part = run if number == 3 else helpers.Run(str(run.path("comparison", str(number))))
        predictions = pd.read_csv(part.path("predictions_test.csv"))
        hits = predictions["label"] == predictions["predicted"]
        assert row["test"] == pytest.approx(hits.groupby(predictions["label"]).mean().mean())
        assert row["test_accuracy"] == pytest.approx(hits.mean()) and row["test_low"] <= row["test"] <= row["test_high"]
        mean = helpers.class_metrics(predictions, classes, groups=parts["test"]["group"]).iloc[-1]
        assert (row["test_low"], row["test_high"]) == (mean["accuracy_low"], mean["accuracy_high"])
        history = pd.read_csv(part.path("history.csv"))
        assert row["val"] == pytest.approx(history["val_mean_class_accuracy"].max()) and row["seconds"] >= history["seconds"].sum() - 1e-6
    capsys.readouterr()
    again, _ = experiments.compare(run, chosen, *images, table=table)
    pd.testing.assert_frame_equal(again, compared)
    assert capsys.readouterr().out.count("used again") == 3
    shown = experiments.readable_comparison(compared)
    assert shown["network"].tolist() == compared["name"].tolist() and len(shown.columns) == 7
    ax = experiments.plot_comparison(histories)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(histories)


def test_rows_of_the_same_name_are_told_apart():
    chosen = settings(COMPARE=[{"EPOCHS": 2}, {"EPOCHS": 3}, {"STRATEGY": "head"}], WEIGHTS="imagenet", ARCHITECTURE="resnet18")
    assert [experiments.row_name(chosen, row) for row in chosen["COMPARE"]] == [
        "resnet18, full, pretrained (epochs 2)", "resnet18, full, pretrained (epochs 3)", "resnet18, head, pretrained"]


def test_what_is_told_of_a_comparison():
    table = pd.DataFrame({"name": ["convnet5, from scratch", "net, head, pretrained", "net, full, pretrained"], "trainable": [9000, 10, 20000],
                          "epochs": 3, "seconds": [300.0, 30.0, 600.0], "val": [0.6, 0.9, 0.95], "test": [0.61, 0.91, 0.94],
                          "test_low": 0.5, "test_high": 0.99})
    histories = {name: pd.DataFrame({"epoch": [1, 2, 3], "seconds": [10.0, 15.0, 275.0], "val_mean_class_accuracy": [0.3, 0.25, 0.6]}) for name in table["name"]}
    lines = experiments.told_comparison(table, histories)
    assert lines[0].startswith("Best on validation: **net, full, pretrained** (0.950; test 0.940")
    assert "Quickest: **net, head, pretrained**, in 30 s: 5% of the best one's time, and 0.050 below" in lines[1]
    assert "**convnet5, from scratch** stays 0.350 below" in lines[2] and "9,000 weights" in lines[2]
    assert lines[2].endswith("When the quickest was done, with 0.900, it had reached 0.300.")
    assert len(experiments.told_comparison(table.assign(seconds=[300.0, 800.0, 200.0]), histories)) == 2


# ---------------------------------------------------------------------------------------- trackers

def test_tensorboard_gets_settings_and_curves(images, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    table = pd.concat(images[0].values(), ignore_index=True)
    run = helpers.Run(str(tmp_path / "run"))
    experiments.train_into(run, settings(TRACKERS=["tensorboard"]), *images, table=table, features=tmp_path)
    events = EventAccumulator(str(run.path("tensorboard", "run")))
    events.Reload()
    history = pd.read_csv(run.path("history.csv"))
    for name in ("train_loss", "val_loss", "val_mean_class_accuracy"):
        assert [event.value for event in events.Scalars(name)] == pytest.approx(history[name].tolist(), abs=1e-5)
    text = events.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "LEARNING_RATE = 0.01" in text


def test_wandb_offline(images, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)  # offline is the default
    table = pd.concat(images[0].values(), ignore_index=True)
    run = helpers.Run(str(tmp_path / "run"))
    experiments.train_into(run, settings(TRACKERS=["wandb"]), *images, table=table, features=tmp_path)
    files = list(run.path("wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 1
    kept = files[0].read_bytes()
    assert b"val_mean_class_accuracy" in kept and b"LEARNING_RATE" in kept


def test_settings_of_a_run_are_json(images, tmp_path):
    table = pd.concat(images[0].values(), ignore_index=True)
    run = helpers.Run(str(tmp_path / "run"))
    experiments.train_into(run, settings(), *images, table=table, features=tmp_path)
    assert json.loads(run.path("model.json").read_text())["settings"]["ARCHITECTURE"] == TINY["ARCHITECTURE"]
    assert np.isfinite(json.loads(run.path("model.json").read_text())["seconds"])
