"""The journal of a study, which may have been cut off by a kill, or be a file of something else."""

from __future__ import annotations

import json
import os
from pathlib import Path


def mend_journal(file: Path) -> None:
    """Remove a last line that is cut off. ValueError, and nothing changed, for a file that is no journal of Optuna's."""
    *lines, last = file.read_bytes().split(b"\n") if file.is_file() else [b"no file", b""]
    start = b'{"op_code":'
    wrong = next((number for number, line in enumerate(lines, 1) if not _is_entry(line)), 0)
    if not wrong and not last.startswith(start[:len(last)]):
        wrong = len(lines) + 1
    if wrong:
        raise ValueError(f"{file} is no journal of a search, or one that is damaged in line {wrong:,}: give STUDY_STORAGE "
                         "another file, or remove that line.")
    if last:
        print(f"{file.name}: the last line was cut off, and is removed", flush=True)
        os.truncate(file, file.stat().st_size - len(last))


def _is_entry(line: bytes) -> bool:
    """Whether a line is an entry of a journal: plain JSON, from which no code can come."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(entry, dict) and isinstance(entry.get("op_code"), int) and isinstance(entry.get("worker_id"), str)
