"""Several whole runs at once, and a search shared by whole processes. `python -m pytest tests/soak`: minutes."""

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd

from inside.files import ROOT

TINY = {"ARCHITECTURE": "timm/test_resnet", "WEIGHTS": "random", "IMAGE_SIZE": 32, "EPOCHS": 2, "LEARNING_RATE": 0.01, "BATCH_SIZE": 16,
        "DEMO_IMAGES": 120, "INTERACTIVE": "false"}


def start(folder, *more, **changes):
    words = [word for name, value in ({"RUN": folder} | TINY | changes).items() for word in ("-p", name, str(value))]
    with open(folder.with_suffix(".log"), "a") as log:
        return subprocess.Popen([sys.executable, "run.py", "demo", "--only", "01", *more, *words], cwd=ROOT, stdout=log, stderr=log)


def results(folder):
    """The numbers of a run without what depends on the clock."""
    found = json.loads((folder / "01_results.json").read_text())
    return {name: value for name, value in found.items() if name not in ("seconds", "notebook_seconds", "images_per_second")}


def test_ten_runs_in_ten_folders(tmp_path):
    """They share data/: the drawn set, which one of them makes, and the cache of what was decoded."""
    folders = [tmp_path / f"run {number}" for number in range(10)]
    running = [start(folder, SEED=7) for folder in folders]
    assert [process.wait(1800) for process in running] == [0] * 10, "\n".join(folder.with_suffix(".log").read_text()[-500:] for folder in folders)
    assert all(results(folder) == results(folders[0]) for folder in folders)
    assert all((folder / "report.html").stat().st_size > 100_000 for folder in folders)


def test_a_search_by_four_processes_of_which_two_are_killed(tmp_path):
    """The run itself and three helpers; two helpers are killed at work. The search ends with the number of trials asked for."""
    folder, n = tmp_path / "run", 16
    changes = {"SEARCH_TRIALS": n, "SEARCH_EPOCHS": 2, "FINAL_SEEDS": 0, "SEARCH_SPACE": "{'lr': [0.001, 0.05, 'log']}"}
    running = [start(folder, **changes)]
    while not (folder / "study.log").exists():
        time.sleep(0.1)
    running += [start(folder, "--search", **changes) for _ in range(3)]
    while (folder / "study.log").read_text().count('"worker"') < 4 and running[0].poll() is None:
        time.sleep(0.1)
    for process in running[1:3]:
        os.kill(process.pid, signal.SIGKILL)
    assert running[0].wait(1800) == 0, folder.with_suffix(".log").read_text()[-1000:]
    trials = pd.read_csv(folder / "trials.csv")
    assert trials["number"].tolist() == list(range(n)) and set(trials["state"]) <= {"COMPLETE", "PRUNED", "FAIL"}
    assert running[3].wait(600) == 0
