"""Whether the times that a hand-in notes can all be true, and whether its files are those that its stamps name."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np

from inside.files import file_hash, fingerprint
from inside.many_runs.check.files import NUMBERS, PARTS, HandIn, own_notebook
from inside.many_runs.check.rows import DIFFERS, HOLDS, Row, number_of, word
from inside.text import brief

SLACK = 2.0  # seconds: clocks are set, and times are written a moment after what they are about
ZONE = 15 * 60  # seconds: run.json has the local time, papermill has UTC, and zones differ by quarters of an hour


def check_times(hand_in: HandIn, number: str) -> Iterator[Row]:
    """Whether the times of an executed notebook are in order and hold those of run.json, the results and history.csv."""
    name = own_notebook(number).name
    notebook = hand_in.notebook(name)
    whole = notebook.metadata.get("papermill", {})
    begin, end = _moment(whole.get("start_time")), _moment(whole.get("end_time"))
    cells = [(cell, *(_moment(cell.metadata["papermill"].get(key)) for key in ("start_time", "end_time")))
             for cell in notebook.cells if cell.metadata.get("papermill", {}).get("start_time")]
    problems = [f"the notebook ends {begin - end} before it starts"] if end < begin - timedelta(seconds=SLACK) else []
    moments = [begin, *(moment for _, *both in cells for moment in both), end]
    problems += [f"{later:%H:%M:%S} stands after {earlier:%H:%M:%S}" for earlier, later in pairwise(moments)
                 if later < earlier - timedelta(seconds=SLACK)]
    problems += list(_kernel_problems(cells))
    seconds = (end - begin).total_seconds()
    took = hand_in.results(number).get("notebook_seconds") if hand_in.has(f"{number}_results.json") else None
    if isinstance(took, (int, float)) and not 0 <= took <= seconds + SLACK:
        problems.append(f"{number}_results.json tells of {took:.0f} s, papermill of {seconds:.0f} s")
    yield Row(f"{name}: its times", DIFFERS if problems else HOLDS, f"{begin:%Y-%m-%d %H:%M:%S} UTC, {seconds:.0f} s",
              remark="; ".join(problems[:3]))
    if number == "01":
        yield from _check_start(hand_in, cells)
        yield from _check_training(hand_in, cells)


def _kernel_problems(cells: list[tuple]) -> Iterator[str]:
    """Where the kernel notes another time for a cell than papermill."""
    for cell, begin, end in cells:
        for moment in (cell.metadata.get("execution", {}) or {}).values():
            at = _moment(str(moment))
            if not begin - timedelta(seconds=SLACK) <= at <= end + timedelta(seconds=SLACK):
                yield f"the kernel ran a cell at {at:%H:%M:%S}, papermill from {begin:%H:%M:%S} to {end:%H:%M:%S}"
                return


def _check_start(hand_in: HandIn, cells: list[tuple]) -> Iterator[Row]:
    """Whether the start in run.json, local time, is that of the cell which writes it, in some time zone."""
    told = hand_in.json("run.json").get("start")
    start = datetime.fromisoformat(str(told))
    opened = next(((begin, end) for cell, begin, end in cells if "helpers.open_run(" in cell.source), None)
    if opened is None or start.tzinfo is not None:
        raise ValueError(f"run.json has the start {brief(told)}, and no cell opens the run at a known time.")
    begin, end = ((moment.replace(tzinfo=None) - start).total_seconds() for moment in opened)
    zone = round(begin / ZONE) * ZONE
    fits = begin - SLACK <= zone <= end + SLACK + 1 and abs(zone) <= 15 * 3600
    yield Row("run.json: the start is that of notebook 01", HOLDS if fits else DIFFERS, word(told),
              f"{opened[0]:%Y-%m-%d %H:%M:%S} UTC", remark="" if fits else "they differ by no time zone")


def _check_training(hand_in: HandIn, cells: list[tuple]) -> Iterator[Row]:
    """Whether the epochs that were trained in this execution fit into the time of their cell."""
    seconds = hand_in.csv("history.csv", columns=("epoch", "seconds"))["seconds"]
    for cell, begin, end in cells:
        if "training.train_into(" in cell.source:
            text = "".join(output.get("text", "") for output in cell.get("outputs", []))
            trained = sum(line.startswith("epoch ") for line in text.splitlines())
            told, took = float(seconds.iloc[len(seconds) - trained:].sum()), (end - begin).total_seconds()
            fits = np.isfinite(seconds).all() and (seconds >= 0).all() and told <= took + SLACK
            yield Row("history.csv: the seconds of the epochs", HOLDS if fits else DIFFERS,
                      f"{told:.1f} s for {number_of(trained, 'epoch')}", f"{took:.1f} s for the cell",
                      remark="" if trained else "trained before this execution: its time is not there")


def check_stamps(hand_in: HandIn) -> Iterator[Row]:
    """Whether files are as when their stamps were written, and predictions of these weights and this split."""
    stamps, weights = hand_in.json("stamps.json"), file_hash(hand_in.path("model.safetensors"))
    names = ["history.csv", "model.safetensors", "model.json", *(f"predictions_{part}.csv" for part in PARTS)]
    changed = [name for name in names if name in stamps and file_hash(hand_in.path(name)) not in _hashes(stamps, name)]
    yield Row("stamps.json: the files are as notebook 01 left them", DIFFERS if changed else HOLDS,
              number_of(len(stamps), "stamp"), remark=f"changed since: {', '.join(changed)}" if changed else "")
    described = {key: value for key, value in hand_in.json("model.json").items() if key not in ("temperature", "root")}
    for part in PARTS:
        made = fingerprint(weights, described, hand_in.split.parts[part][["path", "label", "sha256"]])
        told = (stamps.get(f"predictions_{part}.csv") or [None])[0]
        yield Row(f"stamps.json: predictions_{part}.csv is of these weights and images",
                  HOLDS if told == made else DIFFERS, word(told), made)
    for number in NUMBERS:
        if hand_in.has(f"{number}_results.json"):
            told = hand_in.results(number).get("network")
            yield Row(f"{number}_results.json: the network that was measured is model.safetensors",
                      HOLDS if told == weights else DIFFERS, word(told), weights)


def _hashes(stamps: dict[str, Any], name: str) -> list[object]:
    entries = [stamps.get(name), stamps.get(f"{name}, amended")]
    return [entry[1] for entry in entries if isinstance(entry, list) and len(entry) == 2]


def _moment(text: object) -> datetime:
    """A time of papermill or of the kernel, both UTC."""
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        raise ValueError(f"A time of the notebook is {brief(text)}: papermill writes 2026-01-31T12:00:00+00:00.") from None
