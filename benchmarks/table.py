"""`make bench`: one table of all ratios, each the median of five turns or more taken alternately within one run.

    python benchmarks/table.py [--turns 5]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import feature_map_statistics
import training_speed
import two_at_once
from turns import Row, print_table

TRAININGS = [
    "--network resnet50 --images 96 --expert-goal 1 --fastai-goal 3.3 --share-goal 0.65",
    "--network resnet50 --images 96 --batch-norm frozen --no-peers --share-goal 0.82",
    "--network resnet18 --images 192 --expert-goal 1 --fastai-goal 2.7",
    "--network resnet18 --images 192 --batch-norm frozen --no-peers --share-goal 0.93",
    "--network efficientnet_lite0 --images 192 --batch-norm frozen --expert-goal 1.15",
    # CIFAR-10 by a network from scratch: at most 1.15 of the computation alone
    "--network convnet_gap --images 6000 --side 32 --size 32 --batch 128 --no-peers --memory-goal 0.87",
]
WIDTHS = '{"widths": [64, 128, 256, 256]}'


def all_rows(turns: int) -> list[Row]:
    found = []
    for words in TRAININGS:
        more = ["--options", WIDTHS] if "convnet_gap" in words else []
        found += training_speed.rows(training_speed.parser().parse_args([*words.split(), *more, "--turns", str(turns)]))
    return found + feature_map_statistics.rows(turns) + two_at_once.rows(turns)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    print_table(all_rows(parser.parse_args().turns))
