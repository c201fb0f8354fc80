"""Training speed of this project in images per second, as a ratio to fastai on the same images, within one run.

Both train all layers of the same torchvision network (random weights: speed does not depend on them) with Adam on the
same files, decoded and augmented in each library's usual way, batches of 32 at 224×224, the same number of threads, no
worker processes. The two alternate epoch by epoch, so that changes in the speed of the machine affect both; the result
is the median of the ratios. fastai runs as its users run it, `Learner.fit(1)` in float32 (its mixed precision is for
GPUs), with two images for validation.

    python benchmarks/training_speed.py --network resnet50 --images 192 --rounds 3
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from inside.data.demo.scenes import write_demo_set
from inside.data.loading import ImageDataset, make_loader, make_transform
from inside.data.sources import open_dataset
from inside.device import choose_device, choose_precision
from inside.models.build import build_network
from inside.training.loop import Trainer
from inside.training.recipe import Recipe


def our_epoch(network: str, folder: Path, batch: int, size: int):
    """A function that trains one epoch as notebook 01 does and returns images per second."""
    source = open_dataset(str(folder))
    model, preprocessing = build_network(network, len(source.classes), weights="random")
    device = choose_device()
    transform = make_transform(preprocessing, size, "light")
    loader = make_loader(ImageDataset(source.table, source.root, source.classes, transform),
                                 batch_size=batch, shuffle=True)
    precision = choose_precision("auto", device)
    trainer = Trainer(model.to(device), loader, Recipe(epochs=100), len(source.classes), precision)
    def epoch() -> float:
        start = time.perf_counter()
        trainer.train_epoch(loader, bar=False)
        return len(loader.dataset) / (time.perf_counter() - start)
    return epoch, str(precision).removeprefix("torch.")


def count_images(folder: Path) -> int:
    return len(open_dataset(str(folder)).table)


def fastai_epoch(network: str, folder: Path, batch: int, size: int):
    """A function that trains one epoch with fastai and returns images per second."""
    import torchvision
    from fastai.vision.all import CrossEntropyLossFlat, ImageDataLoaders, Learner, RandomResizedCrop
    loaders = ImageDataLoaders.from_folder(folder, valid_pct=2 / count_images(folder), seed=0, bs=batch, num_workers=0,
                                           item_tfms=RandomResizedCrop(size, min_scale=0.7))
    model = torchvision.models.get_model(network, num_classes=len(loaders.vocab))
    learner = Learner(loaders, model, loss_func=CrossEntropyLossFlat())
    count = len(loaders.train) * batch  # fastai drops the last, smaller batch
    def epoch() -> float:
        with learner.no_bar(), learner.no_logging():
            start = time.perf_counter()
            learner.fit(1)
            return count / (time.perf_counter() - start)
    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--folder", help="a folder of class folders (default: scenes drawn for it)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder) if options.folder else write_demo_set(
            Path(temporary) / "scenes", n_images=options.images)
        ours, precision = our_epoch(options.network, folder, options.batch, options.size)
        theirs = fastai_epoch(options.network, folder, options.batch, options.size)
        ratios = []
        for number in range(options.rounds + 1):
            a, b = ours(), theirs()
            print(f"{'warm-up' if number == 0 else f'round {number}'}: this project {a:.1f} images/s ({precision}), "
                  f"fastai {b:.1f} images/s, ratio {a / b:.2f}", flush=True)
            ratios += [a / b] if number else []
    print(f"{options.network}, {torch.get_num_threads()} threads: median ratio {statistics.median(ratios):.2f} "
          f"(smallest {min(ratios):.2f}, largest {max(ratios):.2f})")


if __name__ == "__main__":
    main()
