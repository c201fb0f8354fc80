"""How long a run will take."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from inside.data.loading import TensorImages, make_loader, to_device
from inside.data.sources import list_dataset
from inside.device import choose_device, choose_precision
from inside.evaluation.predictions import predict
from inside.feature_maps.stage_measures import TRAIN_IMAGES, VAL_IMAGES
from inside.models.build import build_network
from inside.models.surgery import freeze, set_train_mode
from inside.names import DATASETS
from inside.text import format_duration
from inside.training.compatible import frozen_backbone, is_random, with_overrides
from inside.training.loop import Trainer
from inside.training.recipe import Recipe


def count_images(settings: Mapping[str, Any]) -> int | None:
    """The number of images in the data set, without opening any; None if it is not known before they are unpacked."""
    if settings["DATASET"] in DATASETS:
        return DATASETS[settings["DATASET"]] or settings["DEMO_IMAGES"]
    listed = list_dataset(settings["DATASET"], labels=False)
    return None if listed is None else len(listed)


def training_seconds(settings: Mapping[str, Any], train: int, val: int) -> tuple[float, float, float]:
    """Seconds of one training on this many images, from a few timed steps; images per second in training and prediction."""
    options = with_overrides(settings, {})
    train_speed, speed = measure_speed(
        options["ARCHITECTURE"], options["IMAGE_SIZE"], options["STRATEGY"], options["DEVICE"], options["PRECISION"],
        options=options["ARCHITECTURE_OPTIONS"])
    once = (train + val) / speed
    if frozen_backbone(options):
        return once, speed, speed
    kept = once if options["HEAD_EPOCHS"] and not is_random(options) else 0
    return kept + options["EPOCHS"] * (train / train_speed + val / speed), train_speed, speed


def estimate(settings: Mapping[str, Any], numbers: Sequence[str]) -> str:
    """One sentence: how long the notebooks `numbers` will take, from a few steps timed on this machine."""
    images = count_images(settings)
    if images is None:
        return "time: unknown until the data set has been read"
    train, val, test = (size if isinstance(size, int) else round(images * size) for size in settings["SPLIT"])
    whole, train_speed, speed = training_seconds(settings, train, val)
    seconds = 12.0 * len(numbers)  # starting a kernel, drawing figures
    if "01" in numbers:
        seconds += images / 300 + (val + test + min(test, 500)) / speed + whole * settings["TRAIN"]
    if "01" in numbers and settings["TRAIN"]:
        trials = (settings["SEARCH_TRIALS"] + 3 * settings["FINAL_SEEDS"]) if settings["SEARCH_TRIALS"] else 0
        seconds += trials * (settings["SEARCH_EPOCHS"] or settings["EPOCHS"]) * (
            min(train, settings["SEARCH_IMAGES"] or train) / train_speed + val / speed)
        for row in settings["COMPARE"]:
            seconds += training_seconds(with_overrides(settings, row), train, val)[0] + (val + test) / speed
    if set(numbers) - {"01"}:  # six scenarios and the random initialisations, measured once for 02 and 03
        passes = 6 + settings["RANDOM_DRAWS"]
        seconds += passes * settings["N_IMAGES"] / speed * (settings["MAP_SIZE"] / settings["IMAGE_SIZE"]) ** 2
    if "03" in numbers:  # stages: three networks, see measure_stages
        seconds += 3 * (min(train, TRAIN_IMAGES) + min(val, VAL_IMAGES)) / speed
    if "02" in numbers:  # explanations: seven networks with a map and two gradients each; four views of what is hidden
        seconds += (49 * settings["RANDOMISED_IMAGES"] + 5 * settings["OCCLUDED_IMAGES"] + 2 * settings["N_IMAGES"]) / speed
    return (f"time: about {format_duration(seconds)} for notebooks {', '.join(numbers)} ({images:,} images, "
            f"{settings['EPOCHS']} epochs at {train_speed:.0f} images per second, measured just now); "
            "less if trials are pruned or finished parts are reused")


def measure_speed(architecture: str, image_size: int, strategy: str = "full", device: str = "auto",
                  precision: str = "auto", *, options: Mapping[str, Any] | None = None,
                  batch: int = 16) -> tuple[float, float]:
    """Images per second in training (at `precision`) and in prediction (float32), from two steps on random images."""
    model, preprocessing = build_network(architecture, 10, weights="random", image_size=image_size, options=options)
    freeze(model, strategy)
    place = choose_device(device)
    dtype = choose_precision(precision, place)
    dataset = TensorImages(torch.rand(batch, preprocessing["channels"], image_size, image_size), [0] * batch)
    loader = make_loader(dataset, batch_size=batch)
    trainer = Trainer(model.to(place), loader, Recipe(epochs=3), 10, dtype)
    images, targets = to_device(dataset.tensors[0], place), dataset.tensors[1].to(place)
    set_train_mode(model)
    seconds: dict[str, list[float]] = {"train": [], "predict": []}
    for _ in range(2):
        for name, work in (("train", lambda: trainer.step(images, targets)), ("predict", lambda: predict(model, loader))):
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    return batch / min(seconds["train"]), batch / min(seconds["predict"])
