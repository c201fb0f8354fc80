"""Training in 2 processes on two cores, each with one thread, beside 1 process with one and with two threads.

Images a second of an epoch, the start of processes not counted; batches have the same size for all.

    python benchmarks/processes.py --network resnet18 --images 192 --turns 5
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from turns import Row, print_table, ratios, take_turns

from inside.cli.profiles import default_parameters
from inside.data.demo.scenes import write_demo_set
from inside.data.sources import open_dataset
from inside.data.split import Split, split_images
from inside.data.table import decode_images
from inside.training.experiment import Experiment, train


def images_per_second(split: Split, settings: dict, threads: int, folder: Path) -> float:
    """The training images of an epoch by its seconds, which include validation; the best of all epochs."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)  # processes that are started set their own
    try:
        history = train(Experiment(settings, split), folder).history
    finally:
        torch.set_num_threads(before)
    return len(split.parts["train"]) / history["seconds"].min()


def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        images = open_dataset(str(write_demo_set(folder / "scenes", n_images=options.images)))
        images, _ = decode_images(images, cache=folder / "cache")
        split = split_images(images, [0.8, 0.1, 0.1], seed=0)
        settings = default_parameters() | {
            "ARCHITECTURE": options.network, "WEIGHTS": "random", "BATCH_NORM": "frozen",
            "AUGMENTATION": options.augmentation, "IMAGE_SIZE": options.size,
            "BATCH_SIZE": options.batch, "EPOCHS": options.epochs, "DEVICE": "cpu"}
        one, two = settings | {"PROCESSES": 1}, settings | {"PROCESSES": 2}
        found = take_turns({
            "1 process, 1 thread": lambda: images_per_second(split, one, 1, folder),
            "1 process, 2 threads": lambda: images_per_second(split, one, 2, folder),
            "2 processes": lambda: images_per_second(split, two, 1, folder)}, options.turns)
    print_table([Row(f"{options.network}: images a second, 2 processes to {other}", ratios(found, "2 processes", other))
                 for other in found if other != "2 processes"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--augmentation", default="light")
    main(parser.parse_args())
