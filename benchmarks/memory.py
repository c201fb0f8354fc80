"""Peak memory of a process that collects the statistics of feature maps: many images against few.

resnet18 at 64×64, batches of 32 made on the fly; pooled features are kept (four bytes a channel and image) and told apart.

    python benchmarks/memory.py --few 200 --many 10000
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
import torchvision

from inside.feature_maps.hooks import choose_layers
from inside.feature_maps.statistics import collect_statistics


def random_batches(n: int, size: int = 64) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for start in range(0, n, 32):
        count = min(32, n - start)
        yield torch.randn(count, 3, size, size), torch.arange(count) % 6


def collect(n: int) -> None:
    """Print the peak memory of this process after the statistics of n images, and the features' part of it, in MB."""
    model = torchvision.models.resnet18()
    result = collect_statistics(model, random_batches(n), choose_layers(model))
    assert all(layer.images == n for layer in result.values())
    print(own_peak(), sum(array.nbytes for layer in result.values() for array in layer.pooled) / 2**20)


def own_peak() -> float:
    """Peak resident memory of this process in MB. On Linux VmHWM: ru_maxrss begins with the parent's peak there."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def peak(n: int) -> tuple[float, float]:
    told = subprocess.run([sys.executable, __file__, "--collect", str(n)], check=True, capture_output=True, text=True).stdout
    total, features = map(float, told.split())
    return total, features


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=200)
    parser.add_argument("--many", type=int, default=10_000)
    parser.add_argument("--collect", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.collect:
        collect(options.collect)
    else:
        few, many = peak(options.few), peak(options.many)
        print(f"{options.few:,} images: {few[0]:.0f} MB; {options.many:,} images: {many[0]:.0f} MB, {many[1]:.0f} of them "
              f"features; more beyond the features: {many[0] - few[0] - many[1] + few[1]:+.0f} MB (wanted: at most 50)")
