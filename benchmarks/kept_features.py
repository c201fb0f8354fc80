"""What caching the features saves when only the head is trained, as ratios within one run, without changing the result.

Three things are timed on the same images, in turn: one pass over them (train at the precision of training, and
validation in float32, as the first step of the training does), the whole training of the head for some epochs on cached
features including that pass, and the same training without caching. Then the validation accuracies of both trainings.

    python benchmarks/kept_features.py --images 600 --epochs 10 --rounds 3
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from inside.cli.profiles import NOTEBOOKS, notebook_parameters
from inside.data.demo.scenes import write_demo_set
from inside.data.sources import open_dataset
from inside.data.split import split_images
from inside.data.table import decode_images
from inside.evaluation.predictions import predict
from inside.training.experiment import Experiment, train
from inside.training.loop import fit


def one_pass(experiment: Experiment) -> None:
    """Run the network once over the images of train and validation."""
    predict(experiment.model, experiment.loader("train", learning=False), precision=experiment.precision)
    predict(experiment.model, experiment.loader("val"))


def without_keeping(experiment: Experiment):
    """The history of the same training with the whole network run over the images in every epoch."""
    return fit(experiment.model, experiment.loaders["train"], experiment.loaders["val"], experiment.recipe,
                       classes=experiment.split.classes, precision=experiment.precision)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="efficientnet_lite0")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--folder", help="a folder of class folders (default: scenes drawn for it)")
    options = parser.parse_args()
    book = next(NOTEBOOKS.glob("01_*.ipynb"))
    settings = notebook_parameters(book) | {
        "ARCHITECTURE": options.network, "STRATEGY": "head", "AUGMENTATION": "none", "EPOCHS": options.epochs,
        "IMAGE_SIZE": options.size}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or write_demo_set(Path(temporary) / "scenes", n_images=options.images)
        images, _ = decode_images(open_dataset(str(folder)), cache=Path(temporary) / "cache")
        split = split_images(images, settings["SPLIT"], seed=0)
        def fresh():
            return Experiment(settings, split)
        ratios = []
        for number in range(options.rounds + 1):
            experiment, times = fresh(), {}
            start = time.perf_counter()
            one_pass(experiment)
            times["pass"] = time.perf_counter() - start
            experiment, start = fresh(), time.perf_counter()
            kept = train(experiment, Path(temporary) / f"features-{number}").history
            times["kept"] = time.perf_counter() - start
            label = f"round {number}" if number else "warm-up"
            print(f"{label}: one pass {times['pass']:.1f} s, {options.epochs} epochs on "
                  f"cached features {times['kept']:.1f} s, ratio {times['kept'] / times['pass']:.3f}", flush=True)
            ratios += [times["kept"] / times["pass"]] if number else []
        experiment, start = fresh(), time.perf_counter()
        history = without_keeping(experiment)
        savings = (time.perf_counter() - start) / times["kept"]
    best = [frame["val_mean_class_accuracy"].max() for frame in (kept, history)]
    print(f"{options.network}, {len(split.parts['train'])} + {len(split.parts['val'])} images: {options.epochs} epochs cost "
          f"{statistics.median(ratios):.3f} passes (smallest {min(ratios):.3f}, largest {max(ratios):.3f}); without caching "
          f"the features {savings:.1f} times as much")
    print(f"validation: mean class accuracy {best[0]:.4f} with cached features, {best[1]:.4f} without, a difference of "
          f"{100 * abs(best[0] - best[1]):.2f} points")


if __name__ == "__main__":
    main()
