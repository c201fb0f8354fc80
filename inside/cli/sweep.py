"""The command line of a sweep: `python run.py sweep demo rates.csv`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from inside.cli.profiles import default_parameters, given_parameters, notebooks
from inside.cli.waiting import let_others_compute
from inside.files import ROOT, RunFolder
from inside.many_runs.sweep.rows import read_rows
from inside.settings import split_seed
from inside.text import errors_of, raise_all, slug

EPILOG = """A row of the table is a run. CSV: the names of parameters, then one row a run;
an empty cell changes nothing. YAML: a list of changed parameters. SEED may be
several seeds, such as 0 1 2. All rows have the same split, unless SPLIT_SEED
is a column.

The same command again uses the rows that have finished, and runs the others;
in a second terminal, or on another machine that sees the folder, it takes part.
Rows that have finished are used as they are, even where images or code have
changed since: remove the folder of a row to run it again."""


def sweep_profile(arguments: Sequence[str]) -> int:
    """Run a profile with the changes of each row of a table; returns 1 where a row has not finished."""
    options = _parser().parse_args(arguments)
    if options.jobs < 1:
        _parser().error("--jobs takes a whole number from 1 on")
    if any(name == "RUN" for name, _ in options.p):
        _parser().error("each row has a folder of its own, below that of --name: leave out -p RUN")
    raise_all(errors_of(given_parameters, options) + errors_of(read_rows, options.settings))
    folder = RunFolder(slug(options.settings.stem) if options.name is None else options.name, make=False).folder
    given, defaults = given_parameters(options), default_parameters()
    given["SPLIT_SEED"] = split_seed(defaults | given)
    let_others_compute()
    from inside.many_runs.sweep.processes import signals
    from inside.many_runs.sweep.run import Sweep, check_sweep, run_sweep

    numbers = options.only or [book.name[:2] for book in notebooks()]
    rows = Sweep(folder, read_rows(options.settings), given, sorted(set(numbers)))
    storage = options.storage if "://" in options.storage or not options.storage else str(Path(options.storage).absolute())
    check_sweep(rows, defaults, storage)
    ends = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    heeded = [end for end in ends if signal.getsignal(end) != signal.SIG_IGN]  # not that of a terminal, under nohup
    with signals(dict.fromkeys(heeded, signal.default_int_handler)):  # the rows must not outlive the sweep
        finished = run_sweep(rows, [sys.executable, str(ROOT / "run.py")], jobs=options.jobs, storage=storage)
    return 0 if finished else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run.py sweep", description="Run a profile once for each row of a table.",
                                     epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", help="a name in profiles/, or a YAML file of parameters")
    parser.add_argument("settings", type=Path, metavar="TABLE", help="a CSV or YAML file: what each run changes")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
                        help="set one parameter of all rows that do not change it")
    parser.add_argument("--name", help="of the folder, runs/NAME (default: that of the table)")
    parser.add_argument("--only", nargs="+", metavar="NN", help="run these notebooks only, such as 01")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="rows at once, each with its share of the cores")
    parser.add_argument("--storage", default="", metavar="FILE",
                        help="a file, or the URL of a database, that several machines share (default: in the folder)")
    return parser
