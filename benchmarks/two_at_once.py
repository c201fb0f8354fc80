"""Two trainings at once on one machine, against one after the other; and what the policy for it costs one alone.

Each training is a process of its own with all threads: steps of EfficientNet-Lite0 at 160×160. `inside/cli/waiting.py` sets
the policy for run.py and `make lab`.

    python benchmarks/two_at_once.py --turns 5
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from turns import Row, print_table, ratios, take_turns

from inside.cli.waiting import POLICY
from inside.data.loading import TensorImages, make_loader, to_device
from inside.device import choose_precision
from inside.models.build import build_network
from inside.training.loop import Trainer
from inside.training.recipe import Recipe


def work(steps: int) -> None:
    """Say "ready", wait for a line, train for so many steps."""
    model, _ = build_network("efficientnet_lite0", 6, weights="random")
    data = TensorImages(torch.randn(32, 3, 160, 160), [number % 6 for number in range(32)])
    trainer = Trainer(model, make_loader(data, batch_size=32), Recipe(epochs=1000), 6,
                      choose_precision("auto", torch.device("cpu")))
    images, targets = to_device(data.tensors[0], trainer.device), data.tensors[1]
    trainer.step(images, targets)
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(steps):
        trainer.step(images, targets)


def speed(processes: int, policy: dict[str, str], steps: int) -> float:
    """Steps a second of all processes together, until the last has ended."""
    clean = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    running = [subprocess.Popen([sys.executable, __file__, "--work", str(steps)], stdin=subprocess.PIPE, text=True,
                                stdout=subprocess.PIPE, env=clean | policy) for _ in range(processes)]
    for process in running:
        process.stdout.readline()
    start = time.perf_counter()
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in running:
        process.wait()
    return processes * steps / (time.perf_counter() - start)


def rows(turns: int, steps: int = 5) -> list[Row]:
    found = take_turns({"two at once": lambda: speed(2, POLICY, steps), "alone": lambda: speed(1, POLICY, steps),
                        "alone, as OpenMP waits": lambda: speed(1, {}, steps)}, turns)
    return [Row("two runs at once, to one after the other", ratios(found, "two at once", "alone"), at_least=1.15),
            Row("one run alone, to one without the policy", ratios(found, "alone", "alone, as OpenMP waits"), at_least=0.98)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--work", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work)
    else:
        print_table(rows(options.turns))
