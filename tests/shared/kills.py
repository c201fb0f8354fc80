"""Small runs of run.py that are killed, and what must be the same afterwards."""

import json
import signal
import subprocess
import sys
import time

import pandas as pd
import psutil

from inside.files import ROOT

TIMES = ("seconds", "per_second", "notebook_seconds", "start", "date")
SETTINGS = {"ARCHITECTURE": "convnet_gap", "ARCHITECTURE_OPTIONS": "{'widths': [6, 8]}", "WEIGHTS": "random", "IMAGE_SIZE": "32", "EPOCHS": "3",
            "SEARCH_TRIALS": "3", "SEARCH_EPOCHS": "1", "SEARCH_IMAGES": "30", "SEARCH_SPACE": "{'lr': [0.001, 0.01, 'log']}", "FINAL_SEEDS": "1",
            "COMPARE": "[]", "BATCH_SIZE": "16", "INTERACTIVE": "false", "N_IMAGES": "12", "RANDOM_DRAWS": "1", "RANDOMISED_IMAGES": "2",
            "OCCLUDED_IMAGES": "2", "RESAMPLES": "20", "TOP_K": "5", "RANKED_CLASSES": "['sea']"}


def start(folder, images, *more):
    """run.py on a folder of images, small."""
    settings = SETTINGS | {"DATASET": str(images)}
    return start_run("demo", "--name", str(folder), *(word for name, value in settings.items() for word in ("-p", name, value)), *more)


def start_run(*words):
    """run.py with these words, in a process of its own, as a user starts it."""
    return subprocess.Popen([sys.executable, str(ROOT / "run.py"), *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process):
    """What a run prints; it must end well."""
    told, _ = process.communicate(timeout=600)
    assert process.returncode == 0, told[-2000:]
    return told


def kill(process):
    """SIGKILL for a process and all that it has started, kernels too; what it had printed."""
    family = [process, *psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []
    for member in family:
        try:
            member.send_signal(signal.SIGKILL)
        except (psutil.NoSuchProcess, ProcessLookupError):
            pass
    return process.communicate()[0]


def stop(process):
    """Ctrl-C: the seconds until a run has ended, and what was wrong with its end."""
    family, began = psutil.Process(process.pid).children(recursive=True), time.time()
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=30)
    seconds, last = time.time() - began, told.strip().splitlines()[-1]
    problems = [f"{seconds:.1f} s"] if seconds > 20 else []  # 5 s on an idle machine; this one may be busy
    wanted = "stopped; the same command goes on from here" if process.returncode else "report: "  # it may have just ended
    problems += [] if process.returncode in (0, 130) and last.startswith(wanted) else [f"exit code {process.returncode}: {last}"]
    problems += [told[-2000:]] if "Traceback" in told or "ignored in" in told else []
    left = psutil.wait_procs(family, timeout=max(0, began + 5 - time.time()))[1]
    return seconds, problems + [f"still there: {' '.join(member.cmdline())}" for member in left]


def phase(folder):
    """How far a run had come: the last lines of its log."""
    log = folder / "run.log"
    lines = log.read_text().strip().splitlines() if log.exists() else []
    return lines[-1][:60] if lines else "before the log"


def progress(folder):
    """How far a run has come, as a number: the lines of its log and its files."""
    log = folder / "run.log"
    lines = log.read_text().count("\n") if log.exists() else 0
    return lines + sum(1 for path in folder.rglob("*") if not path.name.startswith("."))


def contents(folder):
    """{file: content} of results, tables and weights, without times, rates and the name of the run."""
    def timeless(value):
        if isinstance(value, dict):
            return {key: timeless(entry) for key, entry in value.items() if key != "RUN" and not str(key).endswith(TIMES)}
        return [timeless(entry) for entry in value] if isinstance(value, list) else value

    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.relative_to(folder).as_posix().startswith(".")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".json" and name not in ("run.json", "stamps.json"):
            found[name] = timeless(json.loads(path.read_text()))
        elif path.suffix == ".csv":
            table = pd.read_csv(path, keep_default_na=False)
            found[name] = table[[column for column in table if not column.endswith(TIMES) and column != "time"]].to_csv(index=False)
        elif path.suffix in (".safetensors", ".npz"):
            found[name] = path.read_bytes()
    return found


def differences(folder, other):
    """The files that differ between two run folders, or that only one has."""
    first, second = contents(folder), contents(other)
    return sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))


def wait_for(folder, text, process, *, seconds=600):
    """Wait until the log of a run holds a text."""
    end = time.time() + seconds
    while time.time() < end and process.poll() is None:
        if (folder / "run.log").exists() and text in (folder / "run.log").read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"{text!r} did not come: {kill(process)[-2000:]}")
