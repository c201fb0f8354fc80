"""Tests of what a CUDA GPU does otherwise than a processor; they run where there is one."""

import contextlib

import numpy as np
import pytest
import torch

from inside.data.loading import ImageDataset, TensorImages, make_loader, to_device
from inside.data.sources import open_dataset
from inside.data.transforms import make_transform
from inside.device import choose_device, choose_precision
from inside.evaluation.predictions import predict
from inside.feature_maps.statistics import collect_statistics
from inside.files import RunFolder, read_csv
from inside.models.build import build_network
from inside.training.experiment import train_into
from inside.training.loop import Trainer, fit
from inside.training.recipe import Recipe
from shared.images import GRAY
from shared.settings import settings

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
CLASSES = ["a", "b", "c"]


def network(device="cuda", n_classes=3):
    model, _ = build_network("resnet18", n_classes, weights="random")
    return model.to(choose_device(device))


def random_images(n=24, side=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return TensorImages(torch.randn(n, 3, side, side, generator=generator), [0, 1, 2] * (n // 3))


@contextlib.contextmanager
def little_memory(gigabytes):
    """Only so much memory of the card can be taken while the block runs."""
    torch.cuda.empty_cache()
    taken, whole = torch.cuda.memory_reserved(), torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, (taken + gigabytes * 2**30) / whole))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
def test_steps_never_wait_for_the_card(precision):
    loader = make_loader(random_images(), batch_size=8, shuffle=True)
    trainer = Trainer(network(), loader, Recipe(epochs=40), 3, precision)
    images, targets = to_device(random_images(8 * 3).tensors[0], trainer.device), torch.arange(24, device="cuda") % 3
    for _ in range(2):  # the first steps reserve memory
        trainer.step(images, targets)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(10):
            trainer.step(images, targets)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.isfinite(weight).all() for weight in trainer.model.parameters())


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_network_learns_in_each_precision(precision):
    images, dtype = random_images(), choose_precision(precision, torch.device("cuda"))
    recipe = Recipe(epochs=12, learning_rate=3e-3, label_smoothing=0.0)
    _, history = fit(network(), make_loader(images, batch_size=8, shuffle=True), make_loader(images, batch_size=8), recipe,
                     classes=CLASSES, precision=dtype)
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0] / 2 and history["val_accuracy"].max() > 0.9


def test_float32_is_float32_in_evaluation_and_weights_are_the_same_on_both_devices():
    images = random_images()
    scores = [predict(network(device), make_loader(images, batch_size=8))[0] for device in ("cpu", "cuda")]
    assert np.abs(scores[0] - scores[1]).max() < 1e-5  # TF32 would differ by 1e-3


def test_statistics_are_those_of_a_processor():
    batches = [random_images(8, seed=seed).tensors[0] for seed in range(3)]
    layers = ["layer1", "layer2.0.relu", "layer4"]
    on_cpu, on_card = (collect_statistics(network(device), batches, layers) for device in ("cpu", "cuda"))
    for layer in layers:
        (one, _, values), (other, _, _) = on_cpu[layer].counts.total, on_card[layer].counts.total
        assert np.abs(one - other).max() <= 2e-3 * values.max()  # values that are 0 but for rounding
        wanted = on_cpu[layer].covariance.covariance()
        assert np.abs(on_card[layer].covariance.covariance() - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_loading_never_waits_for_the_card(scenes):
    source = open_dataset(str(scenes))
    dataset = ImageDataset(source.table, source.root, source.classes, make_transform(GRAY, 64, "light"))
    loader = make_loader(dataset, batch_size=16, shuffle=True, workers=2, device=torch.device("cuda"))
    n_classes = len(source.classes)
    trainer = Trainer(network(n_classes=n_classes), loader, Recipe(epochs=40), n_classes, torch.bfloat16)
    with contextlib.ExitStack() as at_end:
        for place, (images, targets) in enumerate(loader):
            trainer.step(to_device(images, trainer.device), targets)
            if place == 1:
                torch.cuda.set_sync_debug_mode("error")
                at_end.callback(torch.cuda.set_sync_debug_mode, "default")
    assert place == 7


def test_where_memory_runs_out_the_batch_is_taken_in_parts(capsys):
    images = torch.randn(192, 3, 224, 224)
    model = network()
    whole = predict(model, make_loader(TensorImages(images, [0] * 192), batch_size=16))[0]
    with little_memory(1.2):
        scores = predict(model, make_loader(TensorImages(images, [0] * 192), batch_size=192))[0]
        assert "batches in parts of" in capsys.readouterr().out
        assert np.abs(scores - whole).max() < 1e-4
        statistics = collect_statistics(model, [images], ["layer1", "layer4"])
        assert "batches in parts of" in capsys.readouterr().out and statistics["layer4"].images == 192
        loader = make_loader(TensorImages(images, [0, 1, 2] * 64), batch_size=192)
        trainer = Trainer(model, loader, Recipe(epochs=1), 3, torch.float32)
        trainer.step(to_device(images, trainer.device), torch.tensor([0, 1, 2] * 64, device="cuda"))
        assert trainer.micro_batch < 192 and "micro-batches of" in capsys.readouterr().out


def test_a_training_goes_on_on_another_device(tmp_path):
    images, recipe = random_images(), Recipe(epochs=4, learning_rate=1e-3)
    def train(device, checkpoint, stop=False):
        def after(row):
            if stop and row["epoch"] == 2:
                raise KeyboardInterrupt
        loaders = make_loader(images, batch_size=8, shuffle=True), make_loader(images, batch_size=8)
        return fit(network(device), *loaders, recipe, classes=CLASSES, checkpoint=checkpoint, stamp="s", after_epoch=after)
    _, whole = train("cpu", tmp_path / "whole.pt")
    for first, second in (("cuda", "cpu"), ("cpu", "cuda")):
        checkpoint = tmp_path / f"{first}.pt"
        with pytest.raises(KeyboardInterrupt):
            train(first, checkpoint, stop=True)
        _, history = train(second, checkpoint)
        assert list(history["epoch"]) == [1, 2, 3, 4]
        assert np.allclose(history["train_loss"], whole["train_loss"], atol=0.02)


def test_a_loss_that_is_no_number_reaches_no_checkpoint(tmp_path):
    images = random_images()
    images.tensors[0][5] = float("inf")
    loaders = make_loader(images, batch_size=8, shuffle=True), make_loader(random_images(), batch_size=8)
    with pytest.raises(ValueError, match="LEARNING_RATE|initial weights"):
        fit(network(), *loaders, Recipe(epochs=2), classes=CLASSES, checkpoint=tmp_path / "c.pt", stamp="s")
    assert not (tmp_path / "c.pt").exists()


def test_processes_load_the_images_and_a_whole_training_ends(scenes, split, tmp_path):
    source = open_dataset(str(scenes))
    dataset = ImageDataset(source.table, source.root, source.classes, make_transform(GRAY, 64, "light"))
    auto, none = (make_loader(dataset, batch_size=32, shuffle=True, workers=workers) for workers in ("auto", 0))
    assert auto.num_workers > 0 or torch.get_num_threads() == 1
    on_card = make_loader(ImageDataset(source.table, source.root, source.classes, dataset.transform), batch_size=32,
                          shuffle=True, workers="auto", device=torch.device("cuda"))
    for (one, _), (other, _), (third, _) in zip(auto, none, on_card, strict=True):
        assert torch.equal(one, other) and third.is_cuda and (third.cpu() - other).abs().mean() * 255 / 2 < 0.4
    run = RunFolder(str(tmp_path / "run"))
    train_into(run, settings(DEVICE="cuda", PRECISION="auto", WORKERS="auto", EPOCHS=2, AUGMENTATION="strong"), split,
               features=tmp_path / "features")
    assert read_csv(run.path("history.csv"))["epoch"].tolist() == [1, 2]
