"""Who works on a run folder: locks that the system releases when their process ends, however it ends.

run.py holds the lock "run" of the folder, and each notebook, under run.py or opened by hand, its own, "01" to "03", from
`open_run` to `finish`. So 02 can be opened while the kernel of 01 is still there, and a kernel that outlives a killed run.py
by a second keeps its notebook. Readers and `--search` take no lock.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import filelock

from inside.files import read_json, write_json

NOTEBOOKS = ("01", "02", "03")
PATIENCE = 3  # seconds to wait for what is just ending
_TOKEN = "INSIDE_RUN_FOLDER"  # set by run.py for its kernels: the folder that it holds


class FolderInUse(ValueError):
    """Another process works on the run folder."""


def hold(folder: Path, name: str, *, wait: float | None = None) -> filelock.FileLock:
    """Take the lock `name` of a run folder; FolderInUse says who has it, since when, and what can be done."""
    place, note = folder / ".locks", folder / ".locks" / f"{name}.json"
    place.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(place / f"{name}.lock")
    try:
        lock.acquire(timeout=PATIENCE if wait is None else wait, poll_interval=0.1)
    except filelock.Timeout:
        raise FolderInUse(f"{folder} is in use by {_holder(note)}: wait until it has ended, end it, or give this run "
                          "another name.") from None
    try:
        write_json(note, {"process": os.getpid(), "host": socket.gethostname(),
                          "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}",
                          "command": os.environ.get("INSIDE_COMMAND") or f"notebook {name}, opened by hand"})
    except OSError:
        lock.release()
        raise
    return lock


@contextmanager
def hold_run(folder: Path) -> Iterator[None]:
    """Hold a run folder for run.py and the kernels that it starts; FolderInUse where another process works on it."""
    lock = hold(folder, "run")
    os.environ[_TOKEN] = str(folder.resolve())
    try:
        for number in NOTEBOOKS:
            hold(folder, number).release()
        remove_leftovers(folder)
        yield
        remove_leftovers(folder)
    finally:
        del os.environ[_TOKEN]
        lock.release()


def hold_notebook(folder: Path, number: str) -> filelock.FileLock:
    """Hold notebook `number` of a run folder, in its kernel; FolderInUse where another kernel or run.py has it.

    run.py takes its lock before it looks at those of the notebooks, a notebook its own before it looks at that of run.py: of
    two that start at once, at least one sees the other.
    """
    lock = hold(folder, number)
    if os.environ.get(_TOKEN) != str(folder.resolve()):
        try:
            hold(folder, "run").release()
        except BaseException:
            lock.release()
            raise
    return lock


def remove_leftovers(folder: Path, *, age: float = 60) -> None:
    """Remove what killed processes left in a run folder that run.py holds: notebooks and other files half written.

    Files (see `atomic_write`) of a process that is gone go `age` seconds after their last change, since the number of a
    process on another machine that shares the folder means nothing here.
    """
    for path in folder.glob(".0[123]_*.ipynb"):
        path.unlink(missing_ok=True)
    for path in folder.rglob(".*-*"):
        found = re.match(r"\.(\d+)-", path.name)
        if found and path.is_file() and not _is_alive(int(found[1])) and time.time() - path.stat().st_mtime > age:
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        if os.name == "posix":  # elsewhere this would not only ask
            os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _holder(note: Path) -> str:
    """Who holds a lock, in words; the note is written just after the lock is taken."""
    try:
        return "process {process} on {host} ({command}), since {since}".format(**read_json(note))
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
