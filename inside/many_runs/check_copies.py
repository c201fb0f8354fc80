"""Whether two of the runs that are checked together were handed in twice."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence

from inside.files import file_hash
from inside.many_runs.check_files import HandIn
from inside.many_runs.check_notebooks import NUMBERS, own_notebook
from inside.many_runs.check_rows import DIFFERS, UNDECIDED, Row
from inside.text import visible

FREE = {"RUN", "WORKERS", "INTERACTIVE", "PROCESSES", "TRACKERS", "STUDY_STORAGE", "DATASET"}  # they change no number


def check_copies(hand_ins: Sequence[HandIn]) -> Iterator[Row]:
    """A row for each pair with the same weights, predictions or executed notebook, for both of the pair."""
    marks = [_marks(hand_in) for hand_in in hand_ins]
    for (first, ours), (second, theirs) in itertools.combinations(zip(hand_ins, marks, strict=True), 2):
        same = [what for what, mark in ours.items() if theirs.get(what) == mark]
        if not same:
            continue
        executed = [what for what in same if what.endswith(".ipynb")]
        alike = not executed and _settings(first) == _settings(second)
        told = "the same settings give the same on like machines: look at who made it" if alike else \
            "executed at the same moments" if executed else "though their settings differ"
        for one, other in ((first, second), (second, first)):
            yield Row("handed in twice", UNDECIDED if alike else DIFFERS, ", ".join(same), expected="its own",
                      run=visible(one.name), remark=f"the same as in {visible(other.name)}: {told}")


def _settings(hand_in: HandIn) -> dict:
    try:
        return {name: value for name, value in hand_in.settings.items() if name not in FREE}
    except ValueError:
        return {"run.json": hand_in.name}  # like no other


def _marks(hand_in: HandIn) -> dict[str, str]:
    """What tells a run from another: hashes of the weights and of the scores, and the moments at which its cells ran."""
    marks: dict[str, str] = {}
    try:
        marks["weights"] = file_hash(hand_in.path("model.safetensors"))
    except ValueError:
        pass
    try:
        table = hand_in.predictions("test")
        scores = table[[name for name in table if name.startswith("prob_")]]
        marks["predictions"] = hashlib.sha256(scores.round(6).to_csv(index=False).encode()).hexdigest()
    except ValueError:
        pass
    for name in (own_notebook(number).name for number in NUMBERS):
        try:
            cells = hand_in.notebook(name).cells
            moments = [str(cell.metadata.get("papermill", {}).get("start_time")) for cell in cells]
            if any(moment != "None" for moment in moments):
                marks[name] = " ".join(moments)
        except ValueError:
            pass
    return marks
