"""Runs the notebooks in order under a profile, with papermill."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import papermill
from nbclient.exceptions import DeadKernelError
from PIL import Image

from inside.cli.estimate import estimate
from inside.cli.profiles import default_parameters, notebook_parameters, notebooks
from inside.curation.groups import group_near_duplicates
from inside.data.ignore import ignore_images
from inside.data.sources import open_dataset
from inside.data.split import split_images
from inside.data.table import decode_images
from inside.device import choose_device
from inside.files import ROOT, RunFolder, atomic_write, check_writable, put_in_place, why_not_written
from inside.locks import hold_run
from inside.preflight import check
from inside.report.card import write_card
from inside.report.page import export_report
from inside.selection.search import run_search
from inside.settings import split_seed
from inside.text import for_terminal, format_duration, format_share

for name in ("papermill", "asyncio"):  # Ctrl-C stops the kernel while they wait for it; other failures are told below
    logging.getLogger(name).setLevel(logging.CRITICAL)


PATIENCE = 600  # seconds in which a kernel must answer: where many runs start at once, it takes minutes


class NotebookFailed(Exception):
    """A cell of a notebook failed; the text gives the error and the path of the executed notebook."""


def help_search(settings: Mapping[str, Any]) -> None:
    """Work on the trials of the search of notebook 01 until all have finished; leaves the study and cached features behind.

    The images, the split and hence the study are those that notebook 01 makes from the same settings.
    """
    seed = split_seed(settings)
    images = open_dataset(settings["DATASET"], demo_images=settings["DEMO_IMAGES"], seed=seed)
    images, _ = decode_images(images, bad_images=settings["BAD_IMAGES"])
    images, _ = group_near_duplicates(images, settings["NEAR_DUPLICATES"], device=choose_device(settings["DEVICE"]))
    split = ignore_images(split_images(images, settings["SPLIT"], seed=seed), settings["IGNORE"])
    found = run_search(settings, split, folder=RunFolder(settings["RUN"]).folder)
    print(f"all {found.n_trials} trials have finished; best: {format_share(found.ranked[0].value)}")


class Log:
    """Writes to open files, such as the log of the run and the terminal; names in the text are no commands to a terminal."""

    def __init__(self, *files: TextIO):
        self.files = files

    def write(self, text: str) -> None:
        for file in self.files:
            file.write(for_terminal(text))
        self.flush()

    def flush(self) -> None:
        for file in self.files:
            file.flush()


def execute(notebook: Path, folder: Path, parameters: Mapping[str, Any], log: Log) -> None:
    """Run one notebook with papermill. Its executed copy replaces that of the last run once it has ended.

    Raises NotebookFailed where a cell fails; what was executed is then in a file of its own (`failed_copy`).
    """
    declared = notebook_parameters(notebook)
    own = {name: value for name, value in parameters.items() if name in declared}
    log.write(f"\n== {notebook.stem}\n")
    start, running = time.perf_counter(), folder / f".{notebook.name}"
    try:
        papermill.execute_notebook(*(str(path).replace("{", "{{").replace("}", "}}") for path in (notebook, running)), own,
                                   kernel_name="python3", progress_bar=False, stdout_file=log, stderr_file=Log(log.files[0]),
                                   extra_arguments=["--log-level=50"], shutdown_kernel="immediate", start_timeout=PATIENCE)
    except (papermill.PapermillExecutionError, RuntimeError) as error:
        put_in_place(running, failed_copy(folder, notebook))
        raise NotebookFailed(f"{_reason(error)}\nthe notebook as executed so far: {failed_copy(folder, notebook)}") from None
    except BaseException:
        with suppress(OSError):
            running.unlink(missing_ok=True)
        raise
    put_in_place(running, folder / notebook.name)
    failed_copy(folder, notebook).unlink(missing_ok=True)
    log.write(f"== {notebook.stem}: {format_duration(time.perf_counter() - start)}\n")


def _reason(error: Exception) -> str:
    """Why a notebook has not come to its end."""
    if isinstance(error, papermill.PapermillExecutionError):
        return f"a cell of the notebook failed: {error.ename}: {error.evalue}"
    if isinstance(error, DeadKernelError):
        return "the kernel of the notebook died, as when memory runs out: a smaller BATCH_SIZE or IMAGE_SIZE needs less"
    return f"the kernel of the notebook did not start ({error}): the same command tries again"


def failed_copy(folder: Path, notebook: Path) -> Path:
    """Where a run folder has what was executed of a notebook, one of whose cells failed."""
    return folder / f"{notebook.stem}.failed.ipynb"


def run(options: argparse.Namespace, given: Mapping[str, Any], command: str) -> int:
    """Check that the given parameters fit together, estimate, run the notebooks, export the report.

    `command` is what was typed; the notebooks note it in run.json.
    """
    os.environ["INSIDE_COMMAND"] = command
    settings = default_parameters() | dict(given)
    if options.search and not settings["SEARCH_TRIALS"]:
        raise ValueError("--search: there is nothing to search, because SEARCH_TRIALS = 0.")
    books = notebooks()
    chosen = [book for book in books if not options.only or book.name[:2] in options.only]
    numbers = ["01"] if options.search else [book.name[:2] for book in chosen]
    check(settings, numbers)
    if options.publish:
        check_writable(Path(options.publish), "Figures")
    if options.search:
        help_search(settings)
        return 0
    folder = RunFolder(settings["RUN"]).folder
    with _explained(folder), hold_run(folder):
        log = Log(open(folder / "run.log", "a", encoding="utf-8"), sys.stdout)
        log.write(f"run {settings['RUN']}: {folder}\n")
        log.write(estimate(settings, numbers) + "\n")
        report = _run_notebooks(chosen, folder, given, log)
        if options.publish:
            publish(folder, Path(options.publish))
    print(f"report: {report}")
    return 0


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """A full disk or the like in words: papermill, the log and the locks have none of their own."""
    try:
        yield
    except OSError as error:
        raise NotebookFailed(why_not_written(Path(error.filename or folder / "run.log"), error) or str(error)) from None


def _run_notebooks(chosen: Sequence[Path], folder: Path, given: Mapping[str, Any], log: Log) -> Path:
    """Execute the chosen notebooks and export the report of all that the folder has; returns its path."""
    books = notebooks()
    for book in chosen:
        try:
            execute(book, folder, given, log)
        except NotebookFailed as error:
            try:
                whole = [folder / other.name for other in books[:books.index(book)]]
                up_to_there = str(_export(folder, [*whole, failed_copy(folder, book)], "report.failed.html"))
            except ValueError as other:  # must not hide why the notebook failed
                up_to_there = f"none, {other}"
            raise NotebookFailed(f"{error}\nreport up to there: {up_to_there}") from None
    report = _export(folder, [folder / book.name for book in books], "report.html")
    write_card(folder)
    (folder / "report.failed.html").unlink(missing_ok=True)
    return report


def _export(folder: Path, books: Sequence[Path], name: str) -> Path:
    """The report of those of the executed notebooks that a run folder has; ValueError if an old one does not fit."""
    try:
        return export_report([book for book in books if book.exists()], folder / name)
    except KeyError as error:
        raise ValueError(f"the results in {folder} are of an earlier version, without {error}: run all three notebooks "
                         "again, or under another --name.") from None


def publish(folder: Path, target: Path) -> None:
    """Copy the figures that README shows from a run folder to `target`."""
    target.mkdir(parents=True, exist_ok=True)
    for figure in sorted((folder / "figures").glob("*.png")):
        if f"{figure.name}" in (ROOT / "README.md").read_text(encoding="utf-8"):
            picture = Image.open(figure).convert("RGB")  # with 256 colours a third of the size
            picture = picture.quantize(palette=picture.quantize(256), dither=Image.Dither.FLOYDSTEINBERG)
            with atomic_write(target / figure.name) as temporary:
                picture.save(temporary, format="png", optimize=True)
