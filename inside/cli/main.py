"""Run the notebooks in order under a profile, and export them as one report.

    python run.py demo
    python run.py profiles/course.yaml -p EPOCHS 5 --name mine
    python run.py course --only 03
    python run.py course --search          # in a second terminal: shares the work on the trials

Parameters are checked against the notebooks before anything runs. What a run has finished is used again when neither
its parameters nor its images have changed.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

import papermill

from inside.cli.run import run


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", help="a name in profiles/, or the path of a YAML file of parameters")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set one parameter")
    parser.add_argument("--name", help="the name of the run folder, runs/NAME (default: that of the profile)")
    parser.add_argument("--only", nargs="+", metavar="NN", help="run these notebooks only, such as 01")
    parser.add_argument("--search", action="store_true",
                        help="work on the search of notebook 01 only: as one of several processes that share a study")
    parser.add_argument("--publish", metavar="FOLDER", help="copy the figures that README shows there afterwards")
    options = parser.parse_args(arguments)
    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        return run(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except papermill.PapermillExecutionError as error:
        print(f"\nerror: a cell of the notebook failed: {error.ename}: {error.evalue}", file=sys.stderr)
        return 1
