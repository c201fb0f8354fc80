"""Images that are decoded and resized by all threads of a process at once: Pillow lets others work meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch.utils.data import get_worker_info

Item = TypeVar("Item")
Result = TypeVar("Result")


def spread(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """function(item) of each item, in their order, by as many threads as PyTorch computes with.

    In a worker process of a loader by one: there are others already.
    """
    each = list(items)
    threads = min(len(each), 1 if get_worker_info() else torch.get_num_threads())
    if threads < 2:
        return list(map(function, each))
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, each))
