"""Commands on runs: a first word of run.py that is no profile."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from inside.cli.waiting import let_others_compute
from inside.text import for_terminal, format_bytes, plain_text


def predict(arguments: Sequence[str]) -> int:
    """Predict the classes of new images with the network of a run."""
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
    _require_csv(parser, options.out)
    let_others_compute()
    from inside.many_runs.predict.folder import predict_folder
    from inside.many_runs.predict.sheet import write_sheet

    found = predict_folder(options.run, options.folder, options.out, device=options.device, batch_size=options.batch,
                           bar=sys.stderr.isatty())
    for sentence in found.summary:
        print(for_terminal(plain_text(sentence)))
    print(f"table: {found.file}\nsheet: {write_sheet(found, found.file.with_suffix('.html'))}")
    return 0


def _require_csv(parser: argparse.ArgumentParser, out: Path | None) -> None:
    if out and out.suffix.lower() != ".csv":
        parser.error(f"--out {plain_text(str(out))}: a name that ends in .csv is needed, beside which the page goes")


def runs(arguments: Sequence[str]) -> int:
    """List the runs in runs/ with their state and main numbers.

    The last one first; accuracy is the mean class accuracy on test, mAP the mean average precision there.
    """
    argparse.ArgumentParser(prog="run.py runs", description=runs.__doc__).parse_args(arguments)
    from inside.many_runs.listing import list_runs

    found = list_runs()
    shown = found.to_string(index=False, na_rep="", formatters={"accuracy": _share, "mAP": _share, "MB": "{:,.0f}".format})
    print(for_terminal(shown) if len(found) else "There are no runs yet: python run.py demo makes the first.")
    return 0


def compare(arguments: Sequence[str]) -> int:
    """Compare runs on one HTML page, differences paired by image."""
    parser = argparse.ArgumentParser(prog="run.py compare", description=compare.__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the names of runs, or their folders")
    parser.add_argument("--out", type=Path, metavar="FILE.html", help="where the page goes (default: compare.html in runs/)")
    options = parser.parse_args(arguments)
    let_others_compute()
    from inside.files import RUNS
    from inside.many_runs.compare.page import Comparison, write_comparison

    compared = Comparison.of(options.runs)
    for sentence in compared.verdict():
        print(for_terminal(plain_text(sentence)))
    print(f"page: {write_comparison(compared, options.out or RUNS / 'compare.html')}")
    return 0


def clean(arguments: Sequence[str]) -> int:
    """Remove caches of runs, or whole runs; asks first."""
    parser = argparse.ArgumentParser(prog="run.py clean", description=clean.__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the name of a run, or its folder")
    parser.add_argument("--all", action="store_true", help="remove the results and the folder, too; this cannot be undone")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    options = parser.parse_args(arguments)
    from inside.many_runs.clean import clean_run, measure_run

    rooms = [measure_run(name) for name in dict.fromkeys(options.runs)]
    for room in rooms:
        print(for_terminal(f"{room.name}: caches and checkpoints {format_bytes(room.again)}, "
                           f"results {format_bytes(room.results)}"))
    what = "the whole folders, results included" if options.all else "caches and checkpoints; the results stay"
    if not options.yes and not _agreed(f"Remove {what}? [y/N] "):
        print("Nothing was removed.")
        return 1
    freed = sum(clean_run(room.name, results=options.all) for room in rooms)
    print(f"{format_bytes(freed)} are free again.")
    return 0


def sweep(arguments: Sequence[str]) -> int:
    """Run a profile once for each row of a table."""
    from inside.cli.sweep import sweep_profile  # which reads profiles, whose names must not be those of commands

    return sweep_profile(arguments)


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


SHOWN = 8  # rows of each of several runs on the terminal, at most: all are in the table of --out


def check(arguments: Sequence[str]) -> int:
    """Check runs that were handed in: numbers, code, notebooks, report.

    What the files allow is computed once more, and nothing in them is executed. Exit status: 0 if all holds, 1 if
    something does not, 2 if something cannot be checked.
    """
    parser = argparse.ArgumentParser(prog="run.py check", description=check.__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the name of a run, or its folder")
    parser.add_argument("--against", default="", metavar="REFERENCE", help="a run, or a YAML file of expected values such "
                        "as test.mean_class_accuracy: {value: 0.93, within: 0.02}")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="the images: predictions are computed again from the "
                        "weights, without which those that were invented consistently cannot be found")
    parser.add_argument("--out", type=Path, metavar="FILE.csv", help="where the whole table goes, and beside it the page")
    options = parser.parse_args(arguments)
    _require_csv(parser, options.out)
    let_others_compute()
    from inside.many_runs.check.rows import HOLDS
    from inside.many_runs.check.runs import check_runs, write_table

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


COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "sweep": sweep, "compare": compare, "check": check, "predict": predict, "runs": runs, "clean": clean}
