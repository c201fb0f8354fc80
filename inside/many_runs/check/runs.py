"""Checks of runs that were handed in: their numbers once more from their files, and whether all belongs together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from inside.files import write_csv
from inside.many_runs.check.against import Check, read_reference
from inside.many_runs.check.copies import check_copies
from inside.many_runs.check.files import NUMBERS, PARTS, HandIn, Missing, own_notebook
from inside.many_runs.check.images import check_images, check_weights
from inside.many_runs.check.notebooks import check_code, check_shown
from inside.many_runs.check.report import check_report
from inside.many_runs.check.rows import COLUMNS, DIFFERS, HOLDS, NOT_FOUND, STATUS, UNDECIDED, Row
from inside.many_runs.check.scores import check_predictions, check_score_tables, check_scores
from inside.many_runs.check.sentences import check_sentences
from inside.many_runs.check.shares import check_shares
from inside.many_runs.check.spectra import Features, check_spectra, check_spectra_tables
from inside.many_runs.check.split import check_draw, check_split
from inside.many_runs.check.times import check_stamps, check_times
from inside.many_runs.pages import write_page
from inside.text import visible

BLIND = ("Without --images, predictions and hashes of images that were invented consistently, in all files at once, cannot "
         "be found.")
LIMITS = ["Not computed again: the training itself, the search and the comparison of networks, near duplicates, suspected "
          "labels, explanations, dead channels, stages, and the counts and features of the feature maps.",
          "Figures are compared with figures/, not with the numbers that they draw.",
          "A start that is wrong by whole quarters of an hour cannot be told from a time zone."]
SEVERAL = {HOLDS: "hold", DIFFERS: "do not hold"}


@dataclasses.dataclass(frozen=True)
class Checked:
    """The rows of all hand-ins, in their order, and what no row can tell."""

    rows: Sequence[Row]
    limits: Sequence[str] = ()

    @property
    def table(self) -> pd.DataFrame:
        """COLUMNS, one line for each row."""
        return pd.DataFrame([[getattr(row, name) for name in COLUMNS] for row in self.rows], columns=COLUMNS)

    @property
    def status(self) -> int:
        """The exit status: 1 where something does not hold, else 2 where something cannot be checked, else 0."""
        found = {STATUS[row.verdict] for row in self.rows}
        return 1 if 1 in found else max(found, default=2)

    @property
    def summary(self) -> list[str]:
        """One sentence for each hand-in."""
        told = []
        for name in dict.fromkeys(row.run for row in self.rows):
            own = [row for row in self.rows if row.run == name]
            counts = {verdict: sum(row.verdict == verdict for row in own) for verdict in STATUS}
            words = [f"{number:,} {verdict if number == 1 else SEVERAL.get(verdict, verdict)}"
                     for verdict, number in counts.items() if number]
            told.append(f"{name}: {', '.join(words)}")
        return told


def check_runs(runs: Sequence[str], *, against: str = "", images: Path | None = None, bar: bool = False) -> Checked:
    """Check hand-ins, run folders or names in runs/: nothing in them is executed or unpickled, nothing is written there.

    `against`: a run, or a YAML file of expected values; `images`: the folder of the images, from which predictions and
    hashes are computed again. Raises ValueError where these two are not there.
    """
    if images and not images.is_dir():
        raise ValueError(f"There is no folder {visible(str(images))}: give the folder of the images of these runs.")
    expected, rows, hand_ins = read_reference(against) if against else None, list[Row](), list[HandIn]()
    for name in tqdm(runs, disable=not bar, desc="checking", unit=" runs"):
        try:
            hand_in = HandIn.open(name)
        except ValueError as error:
            rows.append(Row("the run folder", UNDECIDED, remark=str(error), run=visible(name)))
            continue
        hand_ins.append(hand_in)
        rows += [dataclasses.replace(row, run=visible(hand_in.name)) for row in _check(hand_in, expected, images)]
    copies = list(check_copies(hand_ins))
    order = list(dict.fromkeys(row.run for row in rows))
    return Checked(sorted([*rows, *copies], key=lambda row: order.index(row.run)), LIMITS if images else [BLIND, *LIMITS])


def _check(hand_in: HandIn, expected: Check | None, images: Path | None) -> Iterator[Row]:
    """All checks of a hand-in."""
    checks: list[tuple[str, Callable[[], Iterable[Row]]]] = [
        ("the split", partial(check_split, hand_in)), ("the draw of the split", partial(check_draw, hand_in)),
        *((f"the predictions of {part}", partial(check_predictions, hand_in, part)) for part in PARTS),
        ("the scores", partial(check_scores, hand_in)), ("the tables of scores", partial(check_score_tables, hand_in)),
        ("stamps", partial(check_stamps, hand_in))]
    for number in NUMBERS:
        if number == "01" or hand_in.has(own_notebook(number).name) or hand_in.has(f"{number}_results.json"):
            checks += [(f"notebook {number}: {what}", partial(check, hand_in, number)) for what, check in (
                ("code", check_code), ("what it shows", check_shown), ("sentences", check_sentences),
                ("times", check_times))]
        else:
            yield Row(f"notebook {number}", NOT_FOUND, remark="it has not run here")
    if hand_in.has("02_results.json"):
        checks.append(("the shares of non-positive values", partial(check_shares, hand_in)))
    if hand_in.has("03_results.json"):
        checks.append(("the spectra", partial(_check_spectra, hand_in)))
    checks.append(("report.html", partial(check_report, hand_in)))
    if images:
        checks += [("the images", partial(check_images, hand_in, images)), *(
            (f"the weights, {part}", partial(check_weights, hand_in, part, images)) for part in PARTS)]
    if expected:
        checks.append(("what is expected", partial(expected, hand_in)))
    for what, check in checks:
        yield from guarded(what, check)


def _check_spectra(hand_in: HandIn) -> Iterator[Row]:
    found = Features.of(hand_in)
    yield from check_spectra(found)
    yield from check_spectra_tables(found)


def guarded(what: str, check: Callable[[], Iterable[Row]]) -> Iterator[Row]:
    """The rows of a check; where it cannot go on, a row says why: whatever a hand-in holds, the table is made."""
    try:
        yield from check()
    except Missing as error:
        yield Row(what, UNDECIDED, remark=str(error))
    except Exception as error:
        kind = "there is no " if isinstance(error, KeyError) else f"{type(error).__name__}: "
        told = str(error) if isinstance(error, ValueError) else f"{kind}{error}"
        yield Row(what, UNDECIDED, remark=(told.splitlines() or [type(error).__name__])[0][:300])


def write_table(found: Checked, file: Path) -> Path:
    """Write the table as CSV, and as a page beside it, whose path is returned."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_csv(file, found.table)
    names = dict.fromkeys(row.run for row in found.rows)
    return write_page(file.with_suffix(".html"), Path(__file__).with_name("check.html.j2"),
                      runs=[(name, [row for row in found.rows if row.run == name]) for name in names],
                      summary=found.summary, limits=found.limits, file=file.name, holds=HOLDS, differs=DIFFERS)
