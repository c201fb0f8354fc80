"""Two trainings at once on one machine, against one after the other; and what the policy for it costs one alone.

Each training is a process of its own with all threads: steps of EfficientNet-Lite0 at 160×160. `inside/cli/waiting.py` sets
the policy for run.py and `make lab`. Then a search of eight trials by one process and by two that share it, as --search.

    python benchmarks/two_at_once.py --turns 5
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from turns import Row, print_table, ratios, take_turns

from inside.cli.profiles import NOTEBOOKS, notebook_parameters
from inside.cli.waiting import POLICY
from inside.data.demo.scenes import write_demo_set
from inside.data.loading import TensorImages, make_loader, to_device
from inside.data.sources import open_dataset
from inside.data.split import split_images
from inside.data.table import decode_images
from inside.device import choose_device, choose_precision
from inside.models.build import build_network
from inside.selection.search import run_search
from inside.training.loop import Trainer
from inside.training.recipe import Recipe


def work(steps: int) -> None:
    """Say "ready", wait for a line, train for so many steps."""
    device = choose_device("cpu")
    model, _ = build_network("efficientnet_lite0", 6, weights="random")
    data = TensorImages(torch.randn(32, 3, 160, 160), [number % 6 for number in range(32)])
    trainer = Trainer(model, make_loader(data, batch_size=32), Recipe(epochs=1000), 6,
                      choose_precision("auto", device))
    images, targets = to_device(data.tensors[0], device), data.tensors[1]
    trainer.step(images, targets)
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(steps):
        trainer.step(images, targets)


def search(folder: str, images: str) -> None:
    """Say "ready", wait for a line, work on a search of eight trials until all have ended."""
    found = decode_images(open_dataset(images), cache=Path(folder))[0]
    split = split_images(found, [0.7, 0.15, 0.15], seed=0)
    settings = notebook_parameters(next(NOTEBOOKS.glob("01_*.ipynb"))) | {
        "IMAGE_SIZE": 96, "EPOCHS": 1, "SEARCH_TRIALS": 8, "SEARCH_EPOCHS": 1, "SEARCH_SAMPLER": "random", "HEAD_EPOCHS": 0,
        "SEARCH_SPACE": {"lr": [1e-4, 1e-2, "log"]}}
    print("ready", flush=True)
    sys.stdin.readline()
    with contextlib.redirect_stdout(sys.stderr):
        run_search(settings, split, folder=Path(folder))


def search_speed(processes: int, images: Path) -> float:
    """Trials a second of a search that so many processes share."""
    with tempfile.TemporaryDirectory() as folder:
        return 8 / until_all_end([["--search", folder, str(images)]] * processes, POLICY)


def speed(processes: int, policy: dict[str, str], steps: int) -> float:
    """Steps a second of all processes together, until the last has ended."""
    return processes * steps / until_all_end([["--work", str(steps)]] * processes, policy)


def until_all_end(words: list[list[str]], policy: dict[str, str]) -> float:
    """Seconds from the moment at which all processes are ready and may begin until the last of them has ended."""
    clean = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    running = [subprocess.Popen([sys.executable, __file__, *own], stdin=subprocess.PIPE, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.DEVNULL, env=clean | policy) for own in words]
    for process in running:
        process.stdout.readline()
    start = time.perf_counter()
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in running:
        process.wait()
    return time.perf_counter() - start


def rows(turns: int, steps: int = 10) -> list[Row]:
    found = take_turns({"two at once": lambda: speed(2, POLICY, steps), "alone": lambda: speed(1, POLICY, steps),
                        "alone, as OpenMP waits": lambda: speed(1, {}, steps)}, turns)
    with tempfile.TemporaryDirectory() as temporary:
        images = write_demo_set(Path(temporary) / "scenes", n_images=240)
        found |= take_turns({"search by two": lambda: search_speed(2, images),
                             "search by one": lambda: search_speed(1, images)}, turns)
    return [Row("a search by two processes, to one", ratios(found, "search by two", "search by one"), at_least=1.15),
            Row("two runs at once, to one after the other", ratios(found, "two at once", "alone"), at_least=1.15),
            Row("one run alone, to one without the policy", ratios(found, "alone", "alone, as OpenMP waits"), at_least=0.98)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--work", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--search", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work)
    elif options.search:
        search(*options.search)
    else:
        print_table(rows(options.turns))
