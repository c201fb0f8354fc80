"""Whether two of the runs that are checked together were handed in twice."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from functools import partial

from inside.files import file_hash
from inside.many_runs.check.files import NUMBERS, HandIn, own_notebook
from inside.many_runs.check.rows import DIFFERS, UNDECIDED, Row
from inside.text import listed, visible

FREE = {"RUN", "WORKERS", "INTERACTIVE", "PROCESSES", "TRACKERS", "STUDY_STORAGE", "DATASET"}  # they change no number


def check_copies(hand_ins: Sequence[HandIn]) -> Iterator[Row]:
    """A row for each run that has weights, predictions or an executed notebook of others, and what they have in common."""
    marks = [_marks(hand_in) for hand_in in hand_ins]
    for number, hand_in in enumerate(hand_ins):
        found: dict[tuple[str, str, str], list[str]] = {}
        for other, theirs in zip(hand_ins, marks, strict=True):
            same = [what for what, mark in marks[number].items() if theirs.get(what) == mark]
            if other is not hand_in and same:
                found.setdefault((", ".join(same), *_judge(same, hand_in, other)), []).append(visible(other.name))
        for (what, verdict, why), others in found.items():
            yield Row("handed in twice", verdict, what, expected="its own", run=visible(hand_in.name),
                      remark=f"the same as in {listed(others)}: {why}")


def _judge(same: Sequence[str], first: HandIn, second: HandIn) -> tuple[str, str]:
    """The verdict on two runs that have something in common, and why."""
    if any(what.startswith("notebook") for what in same):
        return DIFFERS, "executed at the same moments"
    if _settings(first) == _settings(second):
        return UNDECIDED, "the same settings give the same on like machines: look at who made it"
    return DIFFERS, "though their settings differ"


def _settings(hand_in: HandIn) -> dict:
    with contextlib.suppress(Exception):
        return {name: value for name, value in hand_in.settings.items() if name not in FREE}
    return {"run.json": hand_in.name}  # like no other


def _marks(hand_in: HandIn) -> dict[str, str]:
    """What tells a run from another: hashes of the weights and of the scores, and the moments at which its cells ran.

    A hand-in may hold anything: what cannot be read is left out, and told by the check of that file.
    """
    kinds = {"weights": partial(_weights, hand_in), "predictions": partial(_scores, hand_in),
             **{f"notebook {number}": partial(_moments, hand_in, number) for number in NUMBERS}}
    marks: dict[str, str] = {}
    for kind, mark in kinds.items():
        with contextlib.suppress(Exception):
            marks[kind] = mark()
    return {kind: mark for kind, mark in marks.items() if mark}


def _weights(hand_in: HandIn) -> str:
    return file_hash(hand_in.path("model.safetensors"))


def _scores(hand_in: HandIn) -> str:
    table = hand_in.predictions("test")
    scores = table[[name for name in table if name.startswith("prob_")]]
    return hashlib.sha256(scores.round(6).to_csv(index=False, lineterminator="\n").encode()).hexdigest()


def _moments(hand_in: HandIn, number: str) -> str:
    """When the cells of a notebook began; "" where none has run."""
    cells = hand_in.notebook(own_notebook(number).name).cells
    moments = [str(cell.metadata.get("papermill", {}).get("start_time")) for cell in cells]
    return " ".join(moments) if any(moment != "None" for moment in moments) else ""
