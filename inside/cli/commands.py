"""Commands on runs that have finished: a first word of run.py that is no profile."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from inside.cli.waiting import let_others_compute
from inside.text import for_terminal, plain_text


def predict(arguments: Sequence[str]) -> int:
    """Predict the classes of the images in a folder, with the network of a finished run."""
    parser = argparse.ArgumentParser(prog="run.py predict", description=predict.__doc__)
    parser.add_argument("run", help="the name of a run, or its folder")
    parser.add_argument("folder", type=Path, help="images, in folders or not; folders named as classes are scored")
    parser.add_argument("--out", type=Path, metavar="FILE.csv",
                        help="where the table goes, and beside it the sheet (default: predicted/ in the run folder)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="where to compute")
    parser.add_argument("--batch", type=int, default=32, metavar="N", help="images at a time (default: 32)")
    options = parser.parse_args(arguments)
    if options.batch < 1:
        parser.error("--batch takes a whole number from 1 on")
    let_others_compute()
    from inside.many_runs.predict import predict_folder
    from inside.many_runs.sheet import write_sheet

    found = predict_folder(options.run, options.folder, options.out, device=options.device, batch_size=options.batch,
                           bar=sys.stderr.isatty())
    for sentence in found.summary:
        print(for_terminal(plain_text(sentence)))
    print(f"table: {found.file}\nsheet: {write_sheet(found, found.file.with_suffix('.html'))}")
    return 0


def runs(arguments: Sequence[str]) -> int:
    """List the runs in runs/, the last one first, with their state and their mean class accuracy and mean AP on test."""
    argparse.ArgumentParser(prog="run.py runs", description=runs.__doc__).parse_args(arguments)
    from inside.many_runs.listing import list_runs

    found = list_runs()
    shown = found.to_string(index=False, na_rep="", formatters={"accuracy": _share, "mAP": _share, "MB": "{:,.0f}".format})
    print(for_terminal(shown) if len(found) else "There are no runs yet: python run.py demo makes the first.")
    return 0


SHOWN = 8  # rows of each of several runs on the terminal, at most: all are in the table of --out


def check(arguments: Sequence[str]) -> int:
    """Check runs that were handed in: their numbers once more from their files, and whether all belongs together.

    Nothing in them is executed. Exit status: 0 if all holds, 1 if something does not, 2 if something cannot be checked.
    """
    parser = argparse.ArgumentParser(prog="run.py check", description=check.__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the name of a run, or its folder")
    parser.add_argument("--against", default="", metavar="REFERENCE", help="a run, or a YAML file of expected values such "
                        "as test.mean_class_accuracy: {value: 0.93, within: 0.02}")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="the images: predictions are computed again from the "
                        "weights, without which those that were invented consistently cannot be found")
    parser.add_argument("--out", type=Path, metavar="FILE.csv", help="where the whole table goes, and beside it the page")
    options = parser.parse_args(arguments)
    let_others_compute()
    from inside.many_runs.check import check_runs, write_table
    from inside.many_runs.check_rows import HOLDS

    found = check_runs(options.runs, against=options.against, images=options.images, bar=sys.stderr.isatty())
    one = len(options.runs) == 1
    shown = found.table if one else found.table[found.table["verdict"] != HOLDS].groupby("run", sort=False).head(SHOWN)
    for row in shown.to_dict("records"):
        print(for_terminal(_line(row, with_run=not one)))
    for sentence in found.summary:
        print(for_terminal(sentence))
    print(for_terminal("\n".join(f"not found: {limit}" for limit in found.limits)))
    if options.out:
        page = write_table(found, options.out)
        print(f"table: {options.out}\npage: {page}")
    return found.status


def _line(row: Mapping[str, str], *, with_run: bool) -> str:
    """A row of the table for a terminal."""
    values = ", ".join(f"{name} {row[name]}" for name in ("told", "recomputed", "expected") if row[name])
    parts = [row["run"] if with_run else "", row["verdict"], row["what"], values, row["remark"]]
    return " | ".join(part for part in parts if part)


def _share(value: float) -> str:
    return "" if value is None or value != value else f"{value:.3f}"


COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {"predict": predict, "check": check, "runs": runs}
