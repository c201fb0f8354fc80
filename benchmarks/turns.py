"""What the benchmarks share: contenders that take turns in one process, and the table of their ratios.

Compared pieces alternate, and the median of the ratios of neighbouring turns is told, so that other load on the machine
affects both alike.
"""

from __future__ import annotations

import platform
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata

import torch


@dataclass(frozen=True)
class Row:
    """One row of the table: ratios of one to another, turn by turn, and the bound that is wanted: at least, or at most."""

    what: str
    ratios: list[float]
    at_least: float = 0.0
    at_most: float = float("inf")

    def __str__(self) -> str:
        middle, low, high = statistics.median(self.ratios), min(self.ratios), max(self.ratios)
        wanted = f"≥ {self.at_least:g}" if self.at_least else f"≤ {self.at_most:g}" if self.at_most < 1e9 else "–"
        reached = "" if wanted == "–" else "yes" if self.at_least <= middle <= self.at_most else "no"
        return f"| {self.what} | {middle:.3g} | {low:.3g} to {high:.3g} | {len(self.ratios)} | {wanted} | {reached} |"


def take_turns(contenders: Mapping[str, Callable[[], float]], turns: int = 5) -> dict[str, list[float]]:
    """What each contender gives (images a second, say), after a warm-up, in turns whose order alternates."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(turns + 1):
        names = list(contenders) if turn % 2 else list(reversed(contenders))
        for name in names:
            value = contenders[name]()
            print(f"  {'warm-up' if not turn else f'turn {turn}'}: {name} {value:.4g}", flush=True)
            found[name] += [value] if turn else []
    return found


def ratios(found: Mapping[str, list[float]], one: str, other: str) -> list[float]:
    """The ratios of one contender's numbers to another's, turn by turn."""
    return [a / b for a, b in zip(found[one], found[other], strict=True)]


def processor() -> str:
    """The processor's name, as Linux tells it, or as Python does."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.partition(": ")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def print_table(rows: list[Row]) -> None:
    """All rows as one Markdown table, under a line with versions and processor."""
    cards = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "torchvision", "numpy"))
    print(f"\n{processor()}, {torch.get_num_threads()} threads, {cards}; Python {platform.python_version()}, {versions}\n")
    print("| what | median ratio | smallest to largest | turns | wanted | reached |\n|---|---|---|---|---|---|")
    print(*rows, sep="\n", flush=True)
