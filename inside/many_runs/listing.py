"""The runs of a folder, with their state and main numbers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from inside import files
from inside.files import read_json, shown_path

COLUMNS = ["run", "state", "notebooks", "data set", "network", "accuracy", "mAP", "MB", "changed"]


def list_runs(folder: Path | None = None) -> pd.DataFrame:
    """COLUMNS, one row for each run of a folder (runs/), the one that changed last first.

    `run`: its name, for a row of a sweep its path. `state`: "finished", "failed" (the last command), "unfinished", or
    "damaged" where its results cannot be read.
    `accuracy`: mean class accuracy on test; `mAP`: mean average precision there; `changed`: when it was last written to.
    """
    folder = files.RUNS if folder is None else folder
    rows = [_row(run, run.name if run.parent == folder else shown_path(run)) for run in _find(folder)]
    return pd.DataFrame(rows, columns=COLUMNS).sort_values("changed", ascending=False, ignore_index=True)


def _find(folder: Path) -> list[Path]:
    """The runs in a folder, and those of its sweeps, one level below."""
    runs = {path.parent for pattern in ("[!.]*/run.json", "[!.]*/[!.]*/run.json") for path in folder.glob(pattern)}
    return sorted(run for run in runs if run.parent not in runs)


def _row(run: Path, name: str) -> tuple[Any, ...]:
    found = [path.stat() for path in run.rglob("*") if path.is_file()]
    changed = datetime.fromtimestamp(max(stat.st_mtime for stat in found)).strftime("%Y-%m-%d %H:%M")
    size = sum(stat.st_size for stat in found) / 1e6
    numbers = " ".join(number for number in ("01", "02", "03") if (run / f"{number}_results.json").exists())
    try:
        results = read_json(run / "01_results.json") if (run / "01_results.json").exists() else {}
    except ValueError:
        return name, "damaged", numbers, "", "", None, None, size, changed
    test: Mapping[str, Any] = results.get("test") or {}
    return (name, _state(run), numbers, results.get("dataset", ""), results.get("architecture", ""),
            test.get("mean_class_accuracy"), test.get("mean_average_precision"), size, changed)


def _state(run: Path) -> str:
    good, bad = (run / name for name in ("report.html", "report.failed.html"))
    if bad.exists() and (not good.exists() or bad.stat().st_mtime > good.stat().st_mtime):
        return "failed"
    return "finished" if good.exists() else "unfinished"
