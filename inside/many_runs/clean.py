"""Room on the disk: what a run can make again goes before its results."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from inside.files import RunFolder
from inside.locks import hold_run
from inside.text import visible

CACHES = ("features", "statistics")  # folders of features and statistics, which the same command makes again
CHECKPOINTS = ("checkpoint.pt", "training.json")  # of trainings that have not ended, also those of networks side by side


class Room(NamedTuple):
    """Bytes of one run: what it can make again, and its results."""

    name: str
    again: int
    results: int


def measure_run(name: str) -> Room:
    """How much room a run takes. ValueError where it is no run."""
    run = _open(name)
    again = sum(map(_size, _made_again(run.folder)))
    return Room(name, again, _size(run.folder) - again)


def clean_run(name: str, *, results: bool = False) -> int:
    """Remove caches and checkpoints of a run, or with `results` its whole folder; returns the bytes that were freed.

    ValueError where it is no run, FolderInUse where a process works on it. A run that has not ended trains from the
    beginning afterwards; one that has ended keeps its network, tables, figures and report.
    """
    run = _open(name)
    with hold_run(run.folder):
        parts = _made_again(run.folder)
        freed = sum(map(_size, parts))
        for part in parts:
            shutil.rmtree(part) if part.is_dir() else part.unlink()
    if results:
        folder = run.folder.resolve()
        freed += _size(folder)
        gone = folder.with_name(f".removed-{folder.name}")  # first out of sight: half a folder would look whole
        shutil.rmtree(gone, ignore_errors=True)
        os.replace(folder, gone)
        shutil.rmtree(gone)
    return freed


def _open(name: str) -> RunFolder:
    run = RunFolder(name, make=False)
    if not run.path("run.json").is_file() or run.folder.is_symlink():
        raise ValueError(f"{visible(str(run.folder))} is no run: python run.py runs lists those that there are.")
    return run


def _made_again(folder: Path) -> Sequence[Path]:
    """Folders and files that a run can make again; never what a link leads to."""
    caches = [folder / name for name in CACHES if (folder / name).is_dir() and not (folder / name).is_symlink()]
    return caches + [path for name in CHECKPOINTS for path in sorted(folder.rglob(name)) if path.is_file()]


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.is_symlink() or file.is_file())
