"""The command line: the notebooks under a profile, exported as one report, and commands on runs that have finished."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from inside.cli.commands import COMMANDS
from inside.cli.profiles import given_parameters
from inside.cli.waiting import let_others_compute
from inside.settings import describe_parameters
from inside.text import for_terminal, without_passwords


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status. Imports heavy packages only once all names and values are valid."""
    parser = command_parser()
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments and arguments[0] in COMMANDS:
        return _told(lambda: COMMANDS[arguments[0]](arguments[1:]))
    options = parser.parse_args(arguments)
    if options.parameters:
        print(describe_parameters())
        return 0
    if options.profile is None:
        parser.error("a profile is needed: a name in profiles/, such as demo, or the path of a YAML file of parameters")
    def run_notebooks() -> int:
        given = given_parameters(options)
        let_others_compute()
        with _ended_by_ctrl_c():
            from inside.cli.run import NotebookFailed, run
        try:
            return run(options, given, without_passwords(shlex.join(["python", "run.py", *arguments])))
        except NotebookFailed as error:
            print(f"\nerror: {for_terminal(str(error))}", file=sys.stderr)
            return 1
    return _told(run_notebooks)


def _told(work: Callable[[], int]) -> int:
    """The exit status of some work; what it cannot do is told in one sentence."""
    try:
        return work()
    except ValueError as error:
        print(f"error: {for_terminal(str(error))}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {for_terminal(str(error))}", file=sys.stderr)
        return 1


@contextmanager
def _ended_by_ctrl_c() -> Iterator[None]:
    """Ctrl-C ends this process at once while packages are imported: there, Python may swallow a KeyboardInterrupt.

    It does in the callbacks of its import locks and in packages that catch every exception. Nothing has been written yet.
    """
    def end(*_: object) -> None:
        os.write(2, b"\nstopped; the same command goes on from here\n")
        os._exit(130)
    before = signal.signal(signal.SIGINT, end) if threading.current_thread() is threading.main_thread() else None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


def command_parser() -> argparse.ArgumentParser:
    """The parser of the command line, whose help fits a terminal of 80 by 24 characters."""
    commands = "\n".join(f"  {name:<12}{(work.__doc__ or '').partition('.')[0]}" for name, work in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="run.py", usage="run.py PROFILE [options], or run.py COMMAND ... (run.py COMMAND --help)",
        epilog=f"commands on runs:\n{commands}", formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", nargs="?", help="a name in profiles/, or a YAML file of parameters")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set one parameter")
    parser.add_argument("--parameters", action="store_true", help="print all parameters and their values")
    parser.add_argument("--name", help="of the run folder, runs/NAME (default: the profile's)")
    parser.add_argument("--only", nargs="+", metavar="NN", help="run these notebooks only, such as 01")
    parser.add_argument("--search", action="store_true", help="only share the work on the search of notebook 01")
    parser.add_argument("--publish", metavar="FOLDER", help="copy the figures that README shows to FOLDER")
    return parser
