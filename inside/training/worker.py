"""Trains the network of a run folder in the processes that torchrun has started, on one machine or several.

    torchrun --nnodes 2 --nproc-per-node 8 … -m inside.training.worker RUN

Notebook 01 must have begun to train there, and have been stopped; afterwards it goes on with the trained network. All
machines need the run folder and the images at the same paths.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from inside.data.split import Split
from inside.files import RunFolder, read_json
from inside.locks import hold_notebook
from inside.processes import first, joined, world
from inside.training.experiment import train_into


def work_on(name: str) -> None:
    """Go on with the training of a run, in the processes that are joined. ValueError: notebook 01 has not begun it."""
    run = RunFolder(name)
    if not run.path("training.json").exists():
        raise ValueError(f"The run {run.name!r} has no training that was begun: start notebook 01, and stop it when it "
                         "trains.")
    locks = list[Any]()
    first(lambda: locks.append(hold_notebook(run.folder, "01")))
    order = read_json(run.path("training.json"))
    split = Split.read(run.path("split.csv"), Path(order["root"]))
    train_into(run, order["settings"] | {"PROCESSES": world()}, split, features=Path(order["features"]))
    for lock in locks:
        lock.release()


if __name__ == "__main__":
    with joined():
        try:
            work_on(sys.argv[1])
        except ValueError as error:
            sys.exit(str(error))
