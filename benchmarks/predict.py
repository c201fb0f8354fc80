"""Images a second of `run.py predict`, from files to the table, to those of a bare forward pass of the same network.

The bare pass has its batches in memory, and keeps freed memory as the product does (see inside/device.py). The two take
turns on the same images; what predict does once (loading the network, distances of the validation images) is not counted.

    python benchmarks/predict.py --run mine --images path/to/folder [--count 320] [--turns 5]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from turns import Row, print_table, ratios, take_turns

from inside.device import choose_device
from inside.files import RunFolder
from inside.many_runs import predict_folder
from inside.many_runs.predict.folder import list_images
from inside.models.saved import load_network


def rows(run: str, folder: Path, count: int, turns: int, batch: int) -> list[Row]:
    model, saved = load_network(RunFolder(run, make=False))
    model = model.to(choose_device("cpu")).eval()
    images = torch.randn(batch, 3, saved.image_size, saved.image_size)
    with tempfile.TemporaryDirectory() as made:
        for path in np.random.default_rng(0).permutation(sorted(list_images(folder)[0]))[:count]:
            (link := Path(made, "images", path)).parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((folder / path).resolve())

        def predict() -> float:
            return predict_folder(run, Path(made, "images"), Path(made, "images.csv"), device="cpu",
                                  batch_size=batch).per_second

        @torch.inference_mode()
        def bare() -> float:
            start = time.perf_counter()
            for _ in range(count // batch):
                model(images)
            return count // batch * batch / (time.perf_counter() - start)
        found = take_turns({"predict": predict, "bare": bare}, turns)
    return [Row(f"{saved.architecture}, {count} images: predict, to a bare forward pass",
                ratios(found, "predict", "bare"), at_least=0.9)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--count", type=int, default=320)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    asked = parser.parse_args()
    print_table(rows(asked.run, asked.images, asked.count, asked.turns, asked.batch))
