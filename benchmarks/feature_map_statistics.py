"""The cost of the statistics of notebooks 02 and 03, as ratios within one run.

- a bare pass: one pass with all statistics (counts by channel and class, pooled features, covariance; five layers) over a
  plain forward pass of a copy, batches of 32 random images of 224×224, 8 a pass, the two alternating batch by batch (ABBA);
  in float32, and in bfloat16 where the processor has it.
- delve: covariances of five convolutions of ResNet50, averaged over positions as here, and their eigenvalues, over all
  statistics of one scenario and its spectra; 200 images.
- eigvalsh: eigenvalues of 200 images with 2,048 channels from the features, over numpy.linalg.eigvalsh of their covariance.

Freed memory is kept, as runs of this project keep it (see inside/device.py), for the other side of each ratio, too.

    python benchmarks/feature_map_statistics.py [--turns 5]
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision

sys.path.insert(0, str(Path(__file__).parent))
from turns import Row, print_table, ratios, take_turns

from inside.device import choose_device, choose_precision
from inside.feature_maps.hooks import RESNET_LAYERS, choose_layers
from inside.feature_maps.spectra import spectrum
from inside.feature_maps.statistics import collect_statistics


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def one_pass(model: torch.nn.Module, batches: list, layers: list[str], precision: torch.dtype) -> list[float]:
    """For each batch the ratio of its seconds in collect_statistics to those of a plain pass of a copy."""
    twin, found = copy.deepcopy(model), []

    def loader() -> Iterator:
        for number, (x, labels) in enumerate(batches):
            # in the inference mode and under the autocast of collect_statistics
            before = seconds(partial(twin, x)) if number % 2 else None
            start = time.perf_counter()
            yield x, labels
            full = time.perf_counter() - start
            found.append(full / (before or seconds(partial(twin, x))))
    collect_statistics(model, loader(), layers, precision=precision)
    return found


def bare_pass(turns: int) -> list[Row]:
    networks = [("efficientnet_lite0", timm.create_model("tf_efficientnet_lite0"), None),
                ("resnet18", torchvision.models.resnet18(), RESNET_LAYERS)]
    images, found = torch.randn(2, 32, 3, 224, 224), []
    bounds = {choose_precision("auto", torch.device("cpu")): 1.03} | {torch.float32: 1.02}
    two = [(x.contiguous(memory_format=torch.channels_last), torch.arange(32) % 6) for x in images]
    for name, model, layers in networks:
        model = model.eval().to(memory_format=torch.channels_last)
        chosen = choose_layers(model, layers)
        for precision, bound in bounds.items():
            one_pass(model, two, chosen, precision)
            medians = [float(np.median(one_pass(model, two * 4, chosen, precision))) for _ in range(turns)]
            found.append(Row(f"{name}: statistics in {str(precision)[6:]}, to a bare pass", medians, at_most=bound))
    return found


def delve(turns: int, images: int = 200) -> list[Row]:
    from delve import SaturationTracker
    model = torchvision.models.resnet50().eval().to(memory_format=torch.channels_last)
    layers = choose_layers(model, RESNET_LAYERS)
    convolutions = {"conv1", *(f"layer{stage}-{last}-conv3" for stage, last in zip(range(1, 5), (2, 3, 5, 2), strict=True))}
    batch = torch.randn(25, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    batches = [(batch, torch.arange(25) % 6)] * (images // 25)

    def ours() -> float:
        def work() -> None:
            for layer in collect_statistics(model, batches, layers).values():
                spectrum(layer.features)
        return 1 / seconds(work)

    def theirs() -> float:
        tracked = copy.deepcopy(model)
        with tempfile.TemporaryDirectory() as folder:
            tracker = SaturationTracker(folder, save_to="csv", modules=tracked, stats=["lsat"], conv_method="mean",
                                        device="cpu",
                                        layer_filter=lambda found: {name: found[name] for name in convolutions})
            def work() -> None:
                with torch.inference_mode():
                    for x, _ in batches:
                        tracked(x)
                tracker.add_saturations()
            return 1 / seconds(work)
    found = take_turns({"ours": ours, "delve": theirs}, turns)
    return [Row("resnet50: all statistics of 200 images in float32, to delve", ratios(found, "ours", "delve"), at_least=2.5)]


def eigenvalues(turns: int) -> list[Row]:
    x = np.random.default_rng(0).standard_normal((200, 2048))
    covariance = np.cov(x, rowvar=False, bias=True)
    found = take_turns({"features": lambda: seconds(lambda: spectrum(x)),
                        "covariance": lambda: seconds(lambda: np.linalg.eigvalsh(covariance))}, turns)
    return [Row("seconds of eigenvalues from features, to eigvalsh", ratios(found, "features", "covariance"), at_most=0.05)]


def rows(turns: int) -> list[Row]:
    torch.manual_seed(0)
    choose_device("cpu")
    return bare_pass(turns) + delve(turns) + eigenvalues(turns)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    print_table(rows(parser.parse_args().turns))
