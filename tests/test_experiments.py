"""One training from settings, kept features, the comparison, and trackers."""

import contextlib
import json
import os
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import experiments
import helpers
import image_data
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
    return helpers.fit(experiment.model, experiment.loaders["train"], experiment.loaders["val"], experiment.recipe, classes=experiment.classes)


@pytest.mark.parametrize("changes", [
    {}, {"HEAD": "mlp:16:0.0"}, {"ARCHITECTURE": "resnet18"}, {"HEAD": "mlp:16:0.5", "ARCHITECTURE_OPTIONS": {"dropout": 0.5}},
    {"ARCHITECTURE": "mobilenet_v3_small", "IMAGE_SIZE": 48}, {"ARCHITECTURE": "mnasnet0_5", "IMAGE_SIZE": 48}], ids=str)
def test_kept_features_give_what_the_images_give(images, tmp_path, changes):
    """Dropout that the network has before its head acts on kept features, too: with the same seed to the same numbers."""
    chosen = settings(STRATEGY="head", EPOCHS=3, **changes)
    experiment = alive(experiments.Experiment(chosen, *images))
    assert experiment.keeps_features
    trained = experiments.train(experiment, tmp_path)
    weights, history = by_images(alive(experiments.Experiment(chosen, *images)))
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0] - 0.05  # it is a training that is compared
    ours = trained.history.drop(columns=["seconds"])
    pd.testing.assert_frame_equal(ours, history.drop(columns=["seconds"]), rtol=1e-3, atol=1e-3)
    assert set(trained.weights) == set(weights)
    for name, weight in weights.items():
        assert torch.allclose(trained.weights[name].float(), weight.float(), atol=1e-4), name
    assert trained.seconds > trained.history["seconds"].sum()  # the pass over the images counts


class Backbone(nn.Module):
    """A small network whose first layer is frozen in the end, with a way from there to the logits that a test writes."""

    def __init__(self, forward, **layers):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.way = nn.Conv2d(3, 8, 3, stride=2), forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, images):
        return self.way(self, self.first(images))


def classifier(*rates):
    """Linear layers with ReLU and dropout between, as in VGG: the last one is the head."""
    layers = [part for rate in rates for part in (nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Dropout(rate))]
    return nn.Sequential(*layers, nn.Linear(8, 3))


def pooled(maps):
    return maps.mean((2, 3))


CHAINS = {  # the way from the first layer to the logits, the layers, and where the kept features start
    "no dropout": (lambda net, x: net.fc(pooled(x)), {"fc": nn.Linear(8, 3)}, "fc"),
    "dropout of 0": (lambda net, x: net.fc(net.drop(pooled(x))), {"drop": nn.Dropout(0.0), "fc": nn.Linear(8, 3)}, "fc"),
    "dropout": (lambda net, x: net.fc(net.drop(pooled(x))), {"drop": nn.Dropout(0.4), "fc": nn.Linear(8, 3)}, "drop"),
    "dropout of maps": (lambda net, x: net.fc(net.drop(x.mean((2, 3), keepdim=True)).flatten(1)),
                        {"drop": nn.Dropout(0.4), "fc": nn.Linear(8, 3)}, "drop"),
    "two dropouts": (lambda net, x: net.classifier(pooled(x)), {"classifier": classifier(0.3, 0.5)}, "classifier.2"),
    "the first dropout is 0": (lambda net, x: net.classifier(pooled(x)), {"classifier": classifier(0.0, 0.5)}, "classifier.5"),
    "frozen wholly": (lambda net, x: net.fc(net.frozen(pooled(x))), {"frozen": nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)), "fc": nn.Linear(8, 3)}, "fc"),
    # nothing that a chain of layers could stand for
    "a function": (lambda net, x: net.fc(nn.functional.dropout(pooled(x), 0.4, net.training)), {"fc": nn.Linear(8, 3)}, None),
    "around a layer": (lambda net, x: net.fc((lambda y: y + net.inner(y))(net.drop(pooled(x)))),
                       {"drop": nn.Dropout(0.4), "inner": nn.Linear(8, 8), "fc": nn.Linear(8, 3)}, None),
    "noise of its own": (lambda net, x: net.fc(pooled(x) * (1 + torch.rand(8) * net.training)), {"fc": nn.Linear(8, 3)}, None),
    "after the head": (lambda net, x: net.drop(net.fc(pooled(x))), {"drop": nn.Dropout(0.4), "fc": nn.Linear(8, 3)}, None),
    "two heads": (lambda net, x: (net.fc(pooled(x)) + net.other(x.amax((2, 3)))) / 2, {"fc": nn.Linear(8, 3), "other": nn.Linear(8, 3)}, None),
    "batch statistics": (lambda net, x: net.fc(net.norm(pooled(x))), {"norm": nn.BatchNorm1d(8, affine=False), "fc": nn.Linear(8, 3)}, None),
    "dropout twice": (lambda net, x: net.fc(net.drop(net.inner(net.drop(pooled(x))))),
                      {"drop": nn.Dropout(0.4), "inner": nn.Linear(8, 8), "fc": nn.Linear(8, 3)}, None),
}


@pytest.mark.parametrize("name", CHAINS)
def test_where_the_kept_features_start(name):
    """Before the first dropout that acts while the head learns; nowhere, where the rest is more than a chain of layers."""
    forward, layers, start = CHAINS[name]
    model = Backbone(forward, **layers)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    state = torch.random.get_rng_state()
    tail = experiments.find_tail(model, 16)
    assert (tail and tail.start) == start
    assert model.training and all(weight.requires_grad for weight in model.parameters()) and torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    if tail:  # the tail shares the network's layers and gives its logits
        images = helpers.TensorImages(torch.randn(5, 3, 16, 16), [0] * 5)
        kept = experiments.head_inputs(model, helpers.make_loader(images, batch_size=2), start=tail.start).tensors[0]
        with torch.no_grad():
            assert torch.allclose(tail.layers.eval()(kept), model.eval()(images.tensors[0]), atol=1e-6)


@pytest.mark.parametrize("name", ["two dropouts", "dropout of maps", "a function"])
def test_the_head_alone_learns_as_in_the_network(images, tmp_path, monkeypatch, name):
    """HEAD_EPOCHS leaves in the network what training its head in place would, and touches no other layer."""
    forward, layers, start = CHAINS[name]
    def build(*arguments, **options):
        return Backbone(forward, **{name: layer for name, layer in layers.items()}), {"mean": [0.5] * 3, "std": [0.2] * 3,
                                                                                       "interpolation": "bilinear", "channels": 3}
    monkeypatch.setattr(helpers, "build_network", build)
    wide = {label: index % 3 for index, label in enumerate(images[2])}  # three classes are enough
    parts = {part: table.assign(label=table["label"].map(wide).map("abc".__getitem__)) for part, table in images[0].items()}
    chosen = settings(HEAD_EPOCHS=3, IMAGE_SIZE=16, STRATEGY="full", LEARNING_RATE=0.05)
    first = {name: weight.clone() for name, weight in build()[0].state_dict().items()}
    experiment = experiments.Experiment(chosen, parts, images[1], ["a", "b", "c"])
    experiment.model.load_state_dict(first)
    experiments.train_head_alone(experiment, tmp_path)
    ours = {name: weight.clone() for name, weight in experiment.model.state_dict().items()}
    assert all(weight.requires_grad for weight in experiment.model.parameters()) and len(list(tmp_path.iterdir())) == (2 if start else 0)
    other = experiments.Experiment(chosen | {"STRATEGY": "head", "EPOCHS": 3}, parts, images[1], ["a", "b", "c"])
    other.model.load_state_dict(first)
    wanted, _ = helpers.fit(other.model, other.loaders["train"], other.loaders["val"], other.recipe, classes=["a", "b", "c"])
    head = helpers.find_head(experiment.model)
    assert all(torch.allclose(ours[name], wanted[name], atol=1e-4) for name in wanted)
    assert {name for name in ours if not torch.equal(ours[name], first[name])} == {f"{head}.weight", f"{head}.bias"}


def test_features_are_kept_by_pixels_not_by_paths(make_folder, tmp_path):
    """An image that is replaced under its name gives other features; one that is only renamed does not."""
    folder = make_folder({"cats": 6, "dogs": 6})
    chosen = settings(STRATEGY="head", IMAGE_SIZE=16)
    def kept():
        source = image_data.open_dataset(str(folder))
        table, _ = image_data.image_table(source, cache=tmp_path / "cache")
        experiment = experiments.Experiment(chosen, {"train": table, "val": table.head(4)}, source.root, source.classes)
        features = experiments.kept_features(experiment, tmp_path / "features")[0]["train"].tensors[0]
        return features, experiments.head_inputs(experiment.model, experiment.loader("train", learning=False)).tensors[0]
    first, _ = kept()
    Image.fromarray(np.full((10, 12, 3), 200, dtype=np.uint8)).save(folder / "cats" / "0.png")
    again, fresh = kept()
    assert torch.equal(again, fresh) and not torch.allclose(again[0], first[0]) and torch.equal(again[1:], first[1:])
    files = len(list((tmp_path / "features").iterdir()))
    folder.rename(tmp_path / "renamed")
    folder = tmp_path / "renamed"
    assert torch.equal(kept()[0], fresh) and len(list((tmp_path / "features").iterdir())) == files


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


@pytest.mark.parametrize("changes, frozen", [
    ({"STRATEGY": "full"}, set()), ({"STRATEGY": "last_stage"}, {"conv1", "bn1", "layer1", "layer2", "layer3"}),
    ({"STRATEGY": "head"}, {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}),
    ({"STRATEGY": "from_layer:layer3.1"}, {"conv1", "bn1", "layer1", "layer2", "layer3.0"})], ids=str)
def test_a_run_tells_what_did_not_learn(images, tmp_path, changes, frozen):
    table, run = pd.concat(images[0].values(), ignore_index=True), helpers.Run(str(tmp_path / "run"))
    chosen = settings(ARCHITECTURE="resnet18", EPOCHS=1, **changes)
    experiments.train_into(run, chosen, *images, table=table, features=tmp_path / "features")
    description = helpers.read_json(run.path("model.json"))
    assert set(description["frozen"]) == frozen
    assert description["first_trainable"] == {"full": "", "last_stage": "layer4", "head": "fc"}.get(changes["STRATEGY"], "layer3.1")
    start, end = helpers.build_network("resnet18", 6, weights="random")[0].state_dict(), helpers.load_network(run)[0].state_dict()
    still = {name for name in start if torch.equal(start[name], end[name])}
    assert still == {name for name in start if any(name.startswith(f"{module}.") for module in frozen)}


@pytest.mark.parametrize("changes", [{"AUGMENTATION": "strong"}, {"STRATEGY": "head", "PRECISION": "bfloat16"}], ids=str)
def test_the_training_images_are_scored_once_more_not_augmented(images, tmp_path, changes):
    """By the saved network, in float32, without what varies them; kept with the run, as it is when the run is used again."""
    parts, root, classes = images
    table, run = pd.concat(parts.values(), ignore_index=True), helpers.Run(str(tmp_path / "run"))
    chosen = settings(LABEL_SMOOTHING=0.1, **changes)
    experiments.train_into(run, chosen, *images, table=table, features=tmp_path / "features")
    model, description = helpers.load_network(run)
    transform = image_data.make_transform(description["preprocessing"], 32)
    loader = helpers.make_loader(image_data.ImageDataset(parts["train"], root, classes, transform), batch_size=16)
    scores, losses = helpers.predict(model, loader)
    hits = scores.argmax(1) == np.array(loader.dataset.targets)
    found = description["train_unaugmented"]
    assert found["images"] == found["of"] == len(parts["train"]) and found["loss"] == pytest.approx(losses.mean(), rel=1e-4)
    assert found["mean_class_accuracy"] == pytest.approx(hits.mean())  # the classes have the same size
    assert experiments.train_into(run, chosen, *images, table=table, features=tmp_path / "features")
    assert helpers.load_network(run)[1]["train_unaugmented"] == found


def test_some_of_many_training_images_are_scored(images):
    experiment = experiments.Experiment(settings(), *images)
    weights = experiments.stored_weights(experiment.model)
    before = experiments.score_unaugmented(experiment, weights, at_most=30)
    nn.init.zeros_(experiment.head.weight), nn.init.zeros_(experiment.head.bias)  # the last epoch need not be the best
    found = experiments.score_unaugmented(experiment, weights, at_most=30)
    assert (found["images"], found["of"]) == (30, 72) and found == before and found["loss"] != pytest.approx(np.log(6), abs=1e-4)
    chosen = experiment.loader("train", learning=False, at_most=30).dataset
    assert np.bincount(chosen.targets).tolist() == [5] * 6 and chosen.paths == experiment.loader("train", learning=False, at_most=30).dataset.paths
    assert chosen.paths != experiment.loader("train", learning=False).dataset.paths[:30]


@hypothesis_settings(max_examples=100, deadline=None)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8), share=st.floats(0.01, 1.2), seed=st.integers(0, 99))
def test_a_sample_has_the_shares_of_the_whole(sizes, share, seed):
    table = pd.DataFrame({"label": np.repeat([f"c{index}" for index in range(len(sizes))], sizes)}).assign(path=lambda rows: rows.index)
    n = round(share * len(table))
    drawn = experiments.proportional_sample(table, n, seed=seed)
    assert len(drawn) == (max(n, len(sizes)) if 0 < n < len(table) else len(table)) and drawn["path"].is_monotonic_increasing
    counts = drawn["label"].value_counts()
    for index, size in enumerate(sizes):
        assert counts[f"c{index}"] >= 1 and abs(counts[f"c{index}"] - max(1, size * len(drawn) / len(table))) <= len(sizes)


def test_samples_are_drawn_by_the_seed():
    table = pd.DataFrame({"label": ["a", "b"] * 50, "path": range(100)})
    first, same, other = (experiments.proportional_sample(table, 20, seed=seed)["path"].tolist() for seed in (0, 0, 1))
    assert first == same != other and first != list(range(20))


def test_a_run_of_an_older_version_is_made_anew_but_can_be_read(images, tmp_path, monkeypatch):
    """Its training loss means something else: with TRAIN it is trained again, without it is told as what it is."""
    parts, root, classes = images
    table, run, chosen = pd.concat(parts.values(), ignore_index=True), helpers.Run(str(tmp_path / "run")), settings(EPOCHS=1)
    monkeypatch.setattr(helpers, "TRAINING_VERSION", 1)
    experiments.train_into(run, chosen, *images, table=table, features=tmp_path / "features")
    stamp = helpers.training_stamp(chosen, table)
    monkeypatch.undo()
    description = helpers.read_json(run.path("model.json"))
    helpers.write_json(run.path("model.json"), {name: value for name, value in description.items()
                                                if name not in ("first_trainable", "frozen", "train_unaugmented", "precision", "device")})
    helpers.write_csv(run.path("history.csv"), pd.read_csv(run.path("history.csv")).drop(columns="train_objective"))
    run.mark(stamp, "history.csv", "model.json")
    _, old, history = helpers.load_trained(run, classes=classes, split=image_data.split_stamp(table))
    assert "optimised" in helpers.describe_training(history, old.get("train_unaugmented"), augmentation="none")[-1]
    assert experiments.train_into(run, chosen, *images, table=table, features=tmp_path / "features") is False
    assert "first_trainable" in helpers.load_network(run)[1]


# ---------------------------------------------------------------------------------------- where and how it computes

class Seen(Exception):
    """Raised by a hook that has seen enough."""


def first_batch(model, work):
    """What arrives at a network's first call during `work`, which ends there."""
    seen = []
    def look(module, inputs):
        seen.append(inputs[0])
        raise Seen
    handle = model.register_forward_pre_hook(look)
    with pytest.raises(Seen):
        work()
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("chosen, kind", [("cuda", "meta"), ("cpu", "cpu")])
def test_everything_is_on_the_device_that_is_chosen(images, monkeypatch, chosen, kind):
    """A device without memory stands for one that this machine lacks: whatever is left on the processor is seen."""
    monkeypatch.setattr(helpers, "choose_device", lambda device: torch.device("meta" if device == "cuda" else device))
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: contextlib.nullcontext())  # which knows no such device
    experiment = experiments.Experiment(settings(DEVICE=chosen), *images)
    model, loaders = experiment.model, experiment.loaders
    assert {tensor.device.type for tensor in (*model.parameters(), *model.buffers())} == {experiment.device.type} == {kind}
    trainer = helpers.Trainer(model, loaders["train"], experiment.recipe, 6, torch.float32)
    assert {trainer.class_weights.device.type, trainer.device.type} == {kind}
    for work in (lambda: trainer.train_epoch(loaders["train"], False), lambda: helpers.predict(model, loaders["val"]),
                 lambda: experiments.head_inputs(model, loaders["val"])):
        assert first_batch(model, work).device.type == kind


def test_a_device_that_is_absent_stops_an_experiment(images, monkeypatch):
    for name, backend in (("cuda", torch.cuda), ("mps", torch.backends.mps)):
        monkeypatch.setattr(backend, "is_available", lambda: False)
        with pytest.raises(ValueError, match=f"DEVICE = '{name}' is not available here"):
            experiments.Experiment(settings(DEVICE=name), *images)


@pytest.mark.parametrize("precision, training", [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_training_has_its_precision_and_evaluation_float32(images, tmp_path, precision, training):
    experiment, kinds = experiments.Experiment(settings(PRECISION=precision, EPOCHS=1), *images), set()
    layer = next(module for module in experiment.model.modules() if isinstance(module, nn.Conv2d))
    layer.register_forward_hook(lambda module, inputs, output: kinds.add((experiment.model.training, output.dtype)))
    experiments.train(experiment, tmp_path)
    assert kinds == {(True, training), (False, torch.float32)}
    assert {weight.dtype for weight in experiment.model.parameters()} == {torch.float32}


class Processes(torch.utils.data.Dataset):
    """Each image is the number of the process that loads it."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return os.getpid()


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_load_the_images(images, monkeypatch, workers):
    experiment = experiments.Experiment(settings(WORKERS=workers), *images)
    assert [loader.num_workers for loader in experiment.loaders.values()] == [workers] * 3
    monkeypatch.setattr(experiments.image_data, "ImageDataset", lambda *arguments: Processes())
    seen = {int(number) for batch in experiment.loader("val") for number in batch}
    assert seen == {os.getpid()} if not workers else os.getpid() not in seen


# ---------------------------------------------------------------------------------------- the comparison

def test_comparison(images, tmp_path, capsys):
    parts, root, classes = images
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
