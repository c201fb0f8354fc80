"""The cost of the statistics of notebooks 02 and 03: time relative to a plain forward pass, memory, eigenvalues.

    python benchmarks/feature_map_statistics.py [--threads 2] [--repeats 5]

Everything is a ratio or a difference measured within one run: the compared pieces alternate, and the median of their
ratios is printed, so that other load on the machine affects both alike. Two to five minutes, no files read.
"""

from __future__ import annotations

import argparse
import copy
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision

from inside.feature_maps.hooks import RESNET_LAYERS, choose_layers
from inside.feature_maps.spectra import spectrum
from inside.feature_maps.statistics import collect_statistics


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(work: Callable[[], object], plain: Callable[[], object], repeats: int) -> tuple[float, float, float, float]:
    """Median of the ratios work / plain, its quartiles, and the median seconds of plain; order alternates."""
    work(), plain()
    pairs = []
    for i in range(repeats):
        if i % 2:
            b, a = seconds(plain), seconds(work)
        else:
            a, b = seconds(work), seconds(plain)
        pairs.append((a / b, b))
    low, middle, high = np.quantile([ratio for ratio, _ in pairs], [0.25, 0.5, 0.75])
    return middle, low, high, statistics.median(b for _, b in pairs)


def one_pass(model: torch.nn.Module, batches: list, layers: list[str], precision: torch.dtype) -> tuple[list, float]:
    """For each batch the ratio of its seconds in collect_statistics to those of a plain pass of a copy; and for the
    whole pass, its beginning and end included, the ratio of the processor times."""
    twin, ratios, plain = copy.deepcopy(model), [], 0.0

    def alone(x: torch.Tensor) -> float:
        nonlocal plain
        start = time.process_time()
        result = seconds(lambda: twin(x))  # in the inference mode and under the autocast of collect_statistics
        plain += time.process_time() - start
        return result

    def loader() -> Iterator:
        for i, (x, labels) in enumerate(batches):
            before = alone(x) if i % 2 else None
            start = time.perf_counter()
            yield x, labels
            full = time.perf_counter() - start
            ratios.append(full / (before or alone(x)))

    start = time.process_time()
    collect_statistics(model, loader(), layers, precision=precision)
    return ratios, (time.process_time() - start - plain) / plain


def forward_pass(repeats: int) -> None:
    print("1. One pass with all statistics (counts by channel and class, pooled features, covariance; five layers)\n"
          "   over a plain forward pass: batches of 32 random images of 224 x 224, channels_last, 8 a pass, the two\n"
          "   alternating batch by batch (ABBA). Wanted: at most 1.05. time: median ratio of the batches (quartiles);\n"
          "   processor time: median ratio of whole passes, set-up included.")
    networks = [("efficientnet_lite0", timm.create_model("tf_efficientnet_lite0"), None),
                ("resnet18", torchvision.models.resnet18(), RESNET_LAYERS)]
    images = torch.randn(2, 32, 3, 224, 224)
    two = [(x.contiguous(memory_format=torch.channels_last), torch.arange(32) % 6) for x in images]
    for name, model, layers in networks:
        model = model.eval().to(memory_format=torch.channels_last)
        layers = choose_layers(model, layers)
        for precision in (torch.float32, torch.bfloat16):
            one_pass(model, two, layers, precision)
            passes = [one_pass(model, two * 4, layers, precision) for _ in range(repeats)]
            low, middle, high = np.quantile(sum((ratios for ratios, _ in passes), []), [0.25, 0.5, 0.75])
            processor = statistics.median(ratio for _, ratio in passes)
            print(f"   {name:18s} {str(precision)[6:]:8s}  time {middle:.3f} ({low:.3f} to {high:.3f})  "
                  f"processor time {processor:.3f}", flush=True)


def random_batches(n: int, size: int = 64) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for start in range(0, n, 32):
        count = min(32, n - start)
        yield torch.randn(count, 3, size, size), torch.arange(count) % 6


def peak_memory(n: int) -> float:
    """Peak resident memory in MB of a new process that collects the statistics of n images."""
    command = [sys.executable, __file__, "--collect", str(n), "--threads", str(torch.get_num_threads())]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def collect(n: int) -> None:
    model = torchvision.models.resnet18()
    result = collect_statistics(model, random_batches(n), choose_layers(model))
    assert all(layer.images == n for layer in result.values())
    print(own_peak())


def own_peak() -> float:
    """Peak resident memory of this process in MB. On Linux VmHWM: ru_maxrss begins with the parent's peak there."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def memory() -> None:
    print("2. Peak resident memory of a process that collects all statistics, pooled features kept: resnet18 at\n"
          "   64 x 64, batches of 32 made on the fly. Wanted: 3,000 images at most 100 MB above 200.")
    few, many = peak_memory(200), peak_memory(3000)
    print(f"   200 images {few:.0f} MB, 3,000 images {many:.0f} MB, difference {many - few:+.0f} MB", flush=True)


def eigenvalues(repeats: int) -> None:
    print("3. Eigenvalues of 200 images with 2,048 channels: spectrum(features) over numpy.linalg.eigvalsh of the\n"
          "   2,048 x 2,048 covariance (whose own making is not counted). Wanted: at most 0.05.")
    x = np.random.default_rng(0).standard_normal((200, 2048))
    covariance = np.cov(x, rowvar=False, bias=True)
    ratio, low, high, base = compare(lambda: spectrum(x), lambda: np.linalg.eigvalsh(covariance), repeats)
    print(f"   {ratio:.4f}  ({low:.4f} to {high:.4f}; eigvalsh {base:.2f} s)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, help="threads of PyTorch (default: its own choice)")
    parser.add_argument("--repeats", type=int, default=5, help="repeats of each comparison (default 5)")
    parser.add_argument("--collect", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.collect:
        return collect(options.collect)
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")
    forward_pass(options.repeats)
    memory()
    eigenvalues(options.repeats)


if __name__ == "__main__":
    main()
