"""The rows of a sweep as processes of run.py, each with its share of the cores and GPUs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from inside.files import RunFolder, atomic_write
from inside.locks import FolderInUse, hold

PATIENCE = 1.5  # seconds in which a run that is stopped may end by itself


class Processes:
    """Runs rows by `command`, `jobs` of them at once in slots of their own, until it is stopped."""

    def __init__(self, command: Sequence[str], jobs: int):
        self.command, self.jobs = list(command), jobs
        self.lock, self.children, self.stopped = threading.Lock(), set[subprocess.Popen](), False

    def run(self, run: RunFolder, parameters: Mapping[str, Any], numbers: Sequence[str], slot: int) -> None:
        """Run one row to its end. ValueError tells why it failed, SystemExit that it was stopped.

        parameters.yaml in its folder is the profile that repeats it, output.log what it prints.
        """
        self._wait_until_free(run.folder)
        profile, log = run.path("parameters.yaml"), run.path("output.log")
        with atomic_write(profile) as temporary:
            temporary.write_text(yaml.safe_dump(dict(parameters), allow_unicode=True, sort_keys=False), encoding="utf-8")
        with open(log, "ab") as output:
            start = output.tell()
            child = self._start([*self.command, str(profile), "--only", *numbers], output, slot)
            status = child.wait()
        with self.lock:
            self.children.discard(child)
        if self.stopped:
            raise SystemExit
        if status:
            raise ValueError(reason_in(log, start, status))

    def _wait_until_free(self, folder: Path) -> None:
        """Wait for a run in the folder that has outlived the sweep which started it."""
        while not self.stopped:
            try:
                hold(folder, "run", wait=0).release()
                return
            except FolderInUse:
                time.sleep(0.5)
        raise SystemExit

    def _start(self, words: Sequence[str], output: Any, slot: int) -> subprocess.Popen:
        cores = _share(slot, self.jobs)
        environment = ({"OMP_NUM_THREADS": str(len(cores))} | os.environ | card_of(slot)) if self.jobs > 1 else None
        group = 0 if os.name == "posix" else None  # one of its own: Ctrl-C is for the sweep, which stops its rows
        with self.lock:
            if self.stopped:
                raise SystemExit
            child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                     env=environment, process_group=group)
            self.children.add(child)
        if self.jobs > 1 and hasattr(os, "sched_setaffinity"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(child.pid, cores)
        return child

    def stop(self) -> None:
        """End all rows that run: as by Ctrl-C, and where they have not ended after PATIENCE, at once."""
        with self.lock:
            self.stopped, children = True, list(self.children)
        with signals({signal.SIGINT: signal.SIG_IGN}):  # a second Ctrl-C would leave some of them behind
            for child in children:
                child.send_signal(signal.SIGINT) if os.name == "posix" else child.terminate()
            end = time.monotonic() + PATIENCE
            for child in children:
                try:
                    child.wait(max(0, end - time.monotonic()))
                except subprocess.TimeoutExpired:
                    os.killpg(child.pid, signal.SIGKILL) if os.name == "posix" else child.kill()
                    child.wait()


@contextlib.contextmanager
def signals(handlers: Mapping[signal.Signals, Any]) -> Iterator[None]:
    """Handle signals so while the block runs, where it runs in the main thread."""
    here = handlers if threading.current_thread() is threading.main_thread() else {}
    before = {name: signal.signal(name, handler) for name, handler in here.items()}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler or signal.SIG_DFL)


def _share(slot: int, jobs: int) -> list[int]:
    """The cores of one of several rows that run at once."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    return cores[slot % len(cores)::jobs]


def card_of(slot: int) -> dict[str, str]:
    """The environment that gives one of several rows that run at once a GPU of its own, where there are several."""
    gpus = (os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))).split(",")
    return {"CUDA_VISIBLE_DEVICES": gpus[slot % len(gpus)]} if len(gpus) > 1 else {}


def reason_in(log: Path, start: int, status: int) -> str:
    """Why a run ended with a status: the error that it told last in its log, from `start` on, else its last line."""
    with open(log, "rb") as file:
        file.seek(max(start, log.stat().st_size - 100_000))
        lines = file.read().decode("utf-8", "replace").strip().splitlines()
    if status < 0:
        return f"its process was ended by signal {-status}"
    errors = [place for place, line in enumerate(lines) if line.startswith("error: ")]
    if not errors:
        return lines[-1][:500] if lines else f"run.py ended with status {status}"
    told = [lines[errors[-1]].removeprefix("error: ")]
    told += [line for line in lines[errors[-1] + 1:] if line.startswith("- ")]
    return " ".join(told)[:500]
