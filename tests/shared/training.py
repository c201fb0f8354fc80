"""Small networks, histories and tables of predictions that tests of training and evaluation share."""

import copy

import numpy as np
import pandas as pd
import torch
from torch import nn

from inside.data.loading import TensorImages, make_loader
from inside.evaluation.predictions import prediction_table
from inside.training.loop import fit

CLASSES = ["a", "b", "c"]


def features(n=60, seed=0, spread=3.0):
    """Points of three classes in 8 dimensions: a data set that a linear layer learns."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(n) % 3
    centres = torch.randn(3, 8, generator=torch.Generator().manual_seed(9)) * spread
    return TensorImages(centres[targets] + torch.randn(n, 8, generator=generator), targets.tolist())


def small_network(seed=0):
    """Two layers with dropout between: chance enters each step."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))


def train(recipe, model=None, **options):
    model = model or small_network()
    loaders = [make_loader(features(seed=seed), batch_size=16, shuffle=seed == 0) for seed in (0, 1)]
    return fit(model, *loaders, recipe, classes=CLASSES, **options)


def predictions_of(labels, scores, classes):
    table = pd.DataFrame({"path": [f"{index}.png" for index in range(len(labels))], "label": labels})
    scores = np.asarray(scores, dtype=float)
    return prediction_table(table, scores, -np.log(scores.max(1)), classes)


def history_of(train, val, chosen=1, epochs=3, **columns):
    """A history whose chosen epoch has the given losses."""
    rows = [{"epoch": epoch, "train_loss": train + epoch - chosen, "val_loss": val + abs(epoch - chosen), "train_objective": 1.0,
             "val_mean_class_accuracy": 0.8 - 0.1 * abs(epoch - chosen), "train_mean_class_accuracy": 0.7} for epoch in range(1, epochs + 1)]
    return pd.DataFrame(rows).assign(**columns)


def unaugmented_of(loss, images=30, of=30):
    return {"images": images, "of": of, "loss": loss, "mean_class_accuracy": 0.9}


class Backbone(nn.Module):
    """A small network whose first layer is frozen in the end, with a way from there to the logits that a test writes."""

    def __init__(self, forward, **layers):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.way = nn.Conv2d(3, 8, 3, stride=2), forward
        for name, layer in layers.items():
            setattr(self, name, copy.deepcopy(layer))  # a test may freeze it

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
