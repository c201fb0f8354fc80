"""The runs of a folder, with their state and main numbers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from inside import files
from inside.files import read_json

COLUMNS = ["run", "state", "notebooks", "data set", "network", "accuracy", "mAP", "MB", "changed"]


def list_runs(folder: Path | None = None) -> pd.DataFrame:
    """COLUMNS, one row for each run of a folder (runs/), the one that changed last first.

    `state`: "finished", "failed" (the last command), "unfinished", or "damaged" where its results cannot be read.
    `accuracy`: mean class accuracy on test; `mAP`: mean average precision there; `changed`: when it was last written to.
    """
    folder = files.RUNS if folder is None else folder
    rows = [_row(run) for run in sorted(folder.glob("[!.]*")) if (run / "run.json").is_file()] if folder.is_dir() else []
    return pd.DataFrame(rows, columns=COLUMNS).sort_values("changed", ascending=False, ignore_index=True)


def _row(run: Path) -> tuple[Any, ...]:
    found = [path.stat() for path in run.rglob("*") if path.is_file()]
    changed = datetime.fromtimestamp(max(stat.st_mtime for stat in found)).strftime("%Y-%m-%d %H:%M")
    size = sum(stat.st_size for stat in found) / 1e6
    numbers = " ".join(number for number in ("01", "02", "03") if (run / f"{number}_results.json").exists())
    try:
        results = read_json(run / "01_results.json") if (run / "01_results.json").exists() else {}
    except ValueError:
        return run.name, "damaged", numbers, "", "", None, None, size, changed
    test: Mapping[str, Any] = results.get("test") or {}
    return (run.name, _state(run), numbers, results.get("dataset", ""), results.get("architecture", ""),
            test.get("mean_class_accuracy"), test.get("mean_average_precision"), size, changed)


def _state(run: Path) -> str:
    good, bad = (run / name for name in ("report.html", "report.failed.html"))
    if bad.exists() and (not good.exists() or bad.stat().st_mtime > good.stat().st_mtime):
        return "failed"
    return "finished" if good.exists() else "unfinished"
