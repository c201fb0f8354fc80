"""What several processes do in tests; in a module of its own, since new processes import it."""

import os
import time
from pathlib import Path

import torch
from torch import nn

from inside.data.loading import EpochSampler, ImageDataset, TensorImages, make_loader
from inside.data.transforms import make_transform
from inside.evaluation.features import penultimate_features
from inside.evaluation.predictions import predict
from inside.feature_maps.statistics import collect_statistics
from inside.processes import ask, first, gather, rank, world
from inside.training.experiment import Experiment, train
from inside.training.loop import fit
from inside.training.recipe import Recipe
from shared.images import GRAY
from shared.networks import build
from shared.settings import settings
from shared.training import CLASSES, features

SIZES = [60, 35, 33, 18, 1]  # of training sets, in batches of 16: last batches of 12, 3, none (one image is dropped), 2, and a first one of 1
KEPT = {"BATCH_NORM": "frozen", "AUGMENTATION": "light", "OPTIMIZER": "sgd"}  # Adam makes large steps of gradients that are but rounding


def trained(n_images, **options):
    """Weights and history of a small network without dropout, on the first images of a set."""
    images = features(60)
    train_on = TensorImages(images.tensors[0][:n_images], images.targets[:n_images])
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    recipe = Recipe(epochs=3, optimizer="sgd", learning_rate=0.03, label_smoothing=0.1, class_weights=True, seed=4, warmup=0)
    loaders = make_loader(train_on, batch_size=16, shuffle=True), make_loader(features(21, seed=1), batch_size=4)
    weights, history = fit(model, *loaders, recipe, classes=CLASSES, **options)
    return weights, history.drop(columns="seconds")


def passes(split):
    """What passes over images find: scores, losses, statistics, and the input of the head."""
    torch.manual_seed(0)
    images = ImageDataset(split.table.iloc[:21], split.root, split.classes, make_transform(GRAY, 33))
    model, loader = build("resnet18").eval(), make_loader(images, batch_size=4)
    return {"scores": predict(model, loader), "statistics": collect_statistics(model, loader, ["layer1", "layer2"]),
            "inputs": penultimate_features(model, loader)}


def everything(split, folder):
    """All that a test compares between one process and several; rank 0 has it."""
    head = settings(STRATEGY="head", EPOCHS=3)
    found = {"trained": {size: trained(size) for size in SIZES}, "passes": passes(split), "world": world()}
    for name, chosen in (("head", head), ("images", settings(**KEPT)), ("head first", settings(**KEPT, STRATEGY="head", EPOCHS=1))):
        found[name] = train(Experiment(chosen, split), Path(folder) / str(world()))
    found["order"] = [gather(rank()), gather(rank(), to_all=False), first(rank), [len(batch) for batch in shares()]]
    try:
        first(lambda: int("no number"))
    except ValueError as error:
        found["error"] = gather(str(error))
    return found


def shares():
    """The shares that this process has of the batches of 7 images, in 2 batches of 5."""
    loader = make_loader(TensorImages(torch.zeros(7, 1), [0] * 7), batch_size=5, shuffle=True)
    assert isinstance(loader.batch_sampler.sampler, EpochSampler) and len(loader) == 2
    return list(loader.batch_sampler)


def chatty(stop):
    """Prints, asks, and ends with an error, if it is not stopped before."""
    print("from process", rank())
    for number in range(3):
        ask({"epoch": number})
    raise ValueError(f"an error of {stop}")


def endless():
    ask(os.getpid())
    time.sleep(600)
