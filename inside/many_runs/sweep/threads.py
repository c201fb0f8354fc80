"""Threads that Ctrl-C ends in order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial


def in_threads(work: Callable[[int], object], n: int, *, meanwhile: Callable[[], object], stop: Callable[[], object],
               poll: float) -> None:
    """work(0), …, work(n - 1) at once, and `meanwhile` every `poll` seconds; `stop` at the end, or where one has failed.

    `meanwhile` has a thread, too, since Ctrl-C must not cut off a read of the study. Threads are not waited for by join:
    up to Python 3.12 one is taken for ended when Ctrl-C interrupts it (python/cpython issue 90882).
    """
    errors, over, changed = list[BaseException](), threading.Event(), threading.Condition()

    def repeat() -> None:
        while not over.wait(poll):
            meanwhile()
    tasks = {number: partial(work, number) for number in range(n)} | {n: repeat}

    def guarded(number: int, task: Callable[[], object]) -> None:
        try:
            task()
        except BaseException as error:
            errors.append(error)
        finally:
            with changed:
                del tasks[number]
                changed.notify()
    threads = [threading.Thread(target=guarded, args=given, daemon=True) for given in tasks.items()]
    try:
        for thread in threads:
            thread.start()
        with changed:
            while not errors and tasks.keys() - {n}:
                changed.wait(poll)
    finally:
        over.set()
        stop()
        with changed:
            changed.wait_for(lambda: not tasks, timeout=3)  # in which they give back what they have claimed
    if errors:
        raise errors[0]
