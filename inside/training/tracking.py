"""Training curves for TensorBoard and Weights & Biases."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from inside.processes import rank


@contextlib.contextmanager
def tracking(settings: Mapping[str, Any], folder: Path, name: str = "") -> Iterator[Callable[[dict], object]]:
    """A function that passes each row of a history to the TRACKERS of the settings; they are closed when the block ends.

    TensorBoard writes to <folder>/tensorboard/; Weights & Biases to <folder>/wandb/, offline unless the environment sets
    WANDB_MODE=online (`wandb sync` uploads later).
    """
    name = name or folder.name
    plain = {key: value if isinstance(value, (int, float, str, bool)) else json.dumps(value)
             for key, value in settings.items()}
    with contextlib.ExitStack() as stack:
        logs: list[Callable[[dict], object]] = []
        trackers = settings["TRACKERS"] if rank() == 0 else ()
        if "tensorboard" in trackers:
            from torch.utils.tensorboard import SummaryWriter
            writer = stack.enter_context(SummaryWriter(folder / "tensorboard" / name))
            writer.add_text("settings", "\n".join(f"    {key} = {value!r}" for key, value in plain.items()))
            logs.append(lambda row: [writer.add_scalar(key, value, row["epoch"]) for key, value in row.items()])
        if "wandb" in trackers:
            import wandb
            mode = os.environ.get("WANDB_MODE", "offline")
            tracked = stack.enter_context(wandb.init(
                project="inside-an-image-classifier", name=name, dir=folder, config=plain, mode=mode,
                reinit="create_new", settings=wandb.Settings(console="off", silent=True)))
            logs.append(lambda row: tracked.log(row, step=row["epoch"]))
        yield lambda row: [log(row) for log in logs]
