"""Several processes that compute as one, by torch.distributed: gloo on processors, NCCL on CUDA GPUs.

`launch` starts them from a notebook, torchrun from a terminal, there on any number of machines. In each, loaders give its
share of the images (see `make_loader`), passes over images gather what all have found, and what may happen only once
is done in `first`. With one process, none of this does anything.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from inside.device import choose_device, count_cores, keep_memory

OWN_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"  # else those that start again look for each other at addresses of the dead
RESTARTS = 3  # times that processes start again after one was killed
PATIENCE = timedelta(days=1)  # for processes that wait while the first trains a head or writes

_state: dict[str, Any] = {"alone": False, "notebook": None}


def world() -> int:
    """How many processes compute together, on all machines."""
    return 1 if _state["alone"] or not dist.is_initialized() else dist.get_world_size()


def rank() -> int:
    """The number of this process among them, from 0."""
    return 0 if world() == 1 else dist.get_rank()


def count_processes(setting: int | str, device: torch.device) -> int:
    """How many processes to start for PROCESSES: "auto" is one a CUDA GPU, else 1; 1 within such a process.

    ValueError: more than there are GPUs, or several on a device that cannot work together.
    """
    if dist.is_initialized():
        return 1
    gpus = torch.cuda.device_count() if device.type == "cuda" else 0
    n = max(1, gpus) if setting == "auto" else int(setting)
    if n > 1 and device.type not in ("cpu", "cuda"):
        raise ValueError(f"PROCESSES = {n} needs processors or CUDA GPUs, and this run computes on {device.type}: set "
                         "PROCESSES = 1.")
    if n > max(1, gpus) and device.type == "cuda":
        raise ValueError(f"PROCESSES = {n} is more than the CUDA GPUs of this machine, {gpus}: set PROCESSES = \"auto\".")
    return n


def gather(value: Any, *, to_all: bool = True) -> list[Any]:
    """The values of all processes, in the order of their ranks; with to_all=False only rank 0 has them, others their own."""
    if world() == 1:
        return [value]
    found = [None] * world()
    if to_all:
        dist.all_gather_object(found, value)
        return found
    dist.gather_object(value, found if rank() == 0 else None)
    return found if rank() == 0 else [value]


def total(values: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over all processes."""
    if world() == 1:
        return values
    values = values.clone()
    dist.all_reduce(values)
    return values


def first(work: Callable[[], Any]) -> Any:
    """What `work` gives on rank 0, on all processes; they wait for it, and an error there is one everywhere.

    Within it, rank 0 is alone: loaders give whole batches, nothing is gathered.
    """
    if world() == 1:
        return work()
    found: list[Any] = [None, None]
    if rank() == 0:
        _state["alone"] = True
        try:
            found[0] = work()
        except Exception as error:
            found[1] = error
        finally:
            _state["alone"] = False
    dist.broadcast_object_list(found, src=0)
    if found[1] is not None:
        raise found[1]
    return found[0]


@contextlib.contextmanager
def joined(notebook: Connection | None = None) -> Iterator[None]:
    """Join the processes that `launch` or torchrun has started, while the block runs; all but rank 0 are silent.

    What rank 0 prints goes to the notebook, if there is one. On processors, each takes its share of the cores.
    """
    local, here = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if local < torch.cuda.device_count():
        torch.cuda.set_device(local)
    torch.set_num_threads(max(1, count_cores() // here))
    keep_memory()
    both = torch.cuda.is_available() and dist.is_nccl_available()
    dist.init_process_group("cpu:gloo,cuda:nccl" if both else "gloo", timeout=PATIENCE)
    _state["notebook"] = notebook if dist.get_rank() == 0 else None
    quiet = dist.get_rank() > 0
    try:
        with contextlib.ExitStack() as stack:
            if quiet or notebook is not None:
                nowhere = stack.enter_context(open(os.devnull, "w"))
                stack.enter_context(contextlib.redirect_stdout(nowhere if quiet else _Told("stdout")))
                stack.enter_context(contextlib.redirect_stderr(nowhere if quiet else _Told("stderr")))
            yield
    finally:
        dist.destroy_process_group()


class Stopped(Exception):
    """What `launch` was given to answer with has raised: the processes end."""


def ask(question: Any) -> None:
    """Pass something, such as the row of an epoch, to the `answer` of the notebook that has started this process."""
    if (notebook := _state["notebook"]) is not None:
        notebook.send(("answer", (os.getpid(), question)))
        asked_by, go_on = notebook.recv()
        while asked_by != os.getpid():  # an answer to a process that was killed before it came
            asked_by, go_on = notebook.recv()
        if not go_on:
            raise Stopped


def launch(n: int, function: Callable, *arguments: Any, answer: Callable[[Any], object] | None = None) -> Any:
    """What function(*arguments) gives on rank 0 of n new processes on this machine; what it prints appears here.

    Function and arguments are pickled. `answer` is called here with what rank 0 passes to `ask`; where it raises, the
    processes end, and its error is raised here. So is a ValueError of the function. Where a process is killed, all start
    again, RESTARTS times at most. They never outlive this call. They are forked from a server that has imported what the
    first call needed: a start then takes less than a second, where a new interpreter takes several.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher import LaunchConfig, elastic_launch
    os.environ[OWN_STORE] = "1"
    kind = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    multiprocessing.set_forkserver_preload([getattr(one, "func", one).__module__ for one in (function, *arguments)
                                            if callable(one)])
    ours, theirs = multiprocessing.Pipe()
    errors: list[BaseException] = []
    listener = threading.Thread(target=_listen, args=(ours, answer, errors), daemon=True)
    listener.start()
    with tempfile.TemporaryDirectory() as folder, _tidy():
        config = LaunchConfig(
            min_nodes=1, max_nodes=1, nproc_per_node=n, run_id=uuid.uuid4().hex, rdzv_backend="c10d", local_addr="localhost",
            rdzv_endpoint="localhost:0", max_restarts=RESTARTS, start_method=kind, signals_to_handle="SIGTERM",
            logs_specs=DefaultLogsSpecs(folder, redirects=Std.ALL))
        try:
            results = elastic_launch(config, _work)(pickle.dumps((function, arguments)), theirs)
        except ChildFailedError as error:
            raise RuntimeError(f"PROCESSES = {n}: {_reason(error)}") from None
        finally:
            theirs.send(None)
            listener.join()
    value, found = pickle.loads(results[0])
    if found is not None:
        raise errors[0] if errors else found
    return value


def pass_over(work: Callable[[nn.Module], Any], model: nn.Module, processes: int | str, *, batches: int) -> Any:
    """What work(model), a pass over that many batches, gives; in several processes, if PROCESSES asks for that."""
    device = next(model.parameters()).device
    n = min(count_processes(processes, device), batches)
    if n <= 1:
        return work(model)
    return launch(n, _work_on, work, model if device.type == "cpu" else copy.deepcopy(model).cpu(), device.type)


def _work_on(work: Callable[[nn.Module], Any], model: nn.Module, device: str) -> Any:
    return work(model.to(choose_device(device)))


@contextlib.contextmanager
def _tidy() -> Iterator[None]:
    """Leave no process, no handler of signals and no message of the launcher behind."""
    before, silent = set(multiprocessing.active_children()), logging.root.manager.disable
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        for process in set(multiprocessing.active_children()) - before:
            process.kill()
            process.join()
        logging.disable(silent)
        if main:
            signal.signal(signal.SIGTERM, handler)


def _reason(error: Any) -> str:
    """Why processes ended, by the first that did: its exception, or the signal that killed it."""
    number, failure = error.get_first_failure()
    text = failure.message["message"] if isinstance(failure.message, dict) else failure.message
    return f"process {number} ended with {text}"


def _listen(ours: Connection, answer: Callable[[Any], object] | None, errors: list[BaseException]) -> None:
    """Print what rank 0 prints and answer what it asks, until None comes."""
    while (told := ours.recv()) is not None:
        kind, content = told
        if kind != "answer":
            print(content, end="", flush=True, file=getattr(sys, kind))
            continue
        process, question = content
        try:
            if answer is not None and not errors:
                answer(question)
        except BaseException as error:
            errors.append(error)
        ours.send((process, not errors))


class _Told(io.TextIOBase):
    """A stream whose text appears in the notebook that has started this process."""

    def __init__(self, stream: str):
        self.stream = stream

    def write(self, text: str) -> int:
        _state["notebook"].send((self.stream, text))
        return len(text)


def _end_with(parent: Any) -> None:
    """End this process when the one that has started it ends, however it does."""
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _work(work: bytes, notebook: Connection) -> bytes:
    """What each process does; rank 0 gives (value, None) or (None, error), pickled."""
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    function, arguments = pickle.loads(work)
    with joined(notebook):
        try:
            value, error = function(*arguments), None
        except (ValueError, Stopped) as found:
            value, error = None, found
        return pickle.dumps((value, error) if dist.get_rank() == 0 else None)
