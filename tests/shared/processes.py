"""Several processes at once, for tests of what they share."""

import multiprocessing
import sys
import traceback

import pytest
import torch

needs_fork = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods() or sys.platform == "darwin",
                                reason="the processes are forked")


def fork(work, *arguments):
    """A process that does work(*arguments): forked, so that it has imported everything already."""
    def run():
        torch.set_num_threads(1)  # the threads of the parent do not come along
        work(*arguments)
    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process


def at_once(work, n):
    """What work(number) gives in each of n processes that begin together; an error of one of them fails the test."""
    context = multiprocessing.get_context("fork")
    results, begin = context.SimpleQueue(), context.Barrier(n)

    def run(number):
        torch.set_num_threads(1)  # the threads of the parent do not come along
        begin.wait()
        try:
            results.put((number, work(number), ""))
        except BaseException:
            results.put((number, None, traceback.format_exc()))
    processes = [context.Process(target=run, args=(number,)) for number in range(n)]
    for process in processes:
        process.start()
    found = sorted((results.get() for _ in processes), key=lambda result: result[0])
    for process in processes:
        process.join()
    assert not [error for *_, error in found if error], "\n".join(error for *_, error in found)
    return [value for _, value, _ in found]
