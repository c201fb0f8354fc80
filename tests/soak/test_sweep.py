"""A sweep of twelve runs that is killed twice and stopped once: the same results, and no row that has finished is run again."""

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd

from inside.files import ROOT
from shared.kills import SETTINGS, contents, kill, stop

SMALL = SETTINGS | {"EPOCHS": "2", "SEARCH_TRIALS": "0", "PRECISION": "float32", "NEAR_DUPLICATES": "off", "LABEL_ISSUES": "false"}
TABLE = "LEARNING_RATE,SEED\n0.01,0 1 2 3 4 5\n0.03,0 1 2 3 4 5\n"


def start(folder, table, images):
    settings = SMALL | {"DATASET": str(images)}
    words = ["sweep", "demo", str(table), "--only", "01", "--name", str(folder), "--jobs", "2",
             *(word for name, value in settings.items() for word in ("-p", name, value))]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, str(ROOT / "run.py"), *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env=environment)


def done(folder):
    return sorted(path.parent.name for path in folder.glob("*/report.html"))


def wait_for(process, folder, n):
    while len(done(folder)) < n and process.poll() is None:
        time.sleep(0.2)
    assert process.poll() is None, process.communicate()[0][-3000:]


def test_a_sweep_goes_on_after_kills(scenes, tmp_path):
    folder, table, few = tmp_path / "sweep", tmp_path / "rates.csv", tmp_path / "few.csv"
    table.write_text(TABLE)
    process = start(folder, table, scenes)
    wait_for(process, folder, 2)
    kill(process)  # with its rows and their kernels
    process = start(folder, table, scenes)
    wait_for(process, folder, 5)
    process.send_signal(signal.SIGKILL)  # it alone: its rows go on, and the next one waits for them
    process.communicate()
    process = start(folder, table, scenes)
    wait_for(process, folder, 8)
    seconds, problems = stop(process)
    print(f"Ctrl-C: {seconds:.1f} s")
    assert problems == []
    finished = [name for name in done(folder) if "report.html" in json.loads((folder / name / "stamps.json").read_text())]
    made = {name: (folder / name / "report.html").stat().st_mtime_ns for name in finished}
    process = start(folder, table, scenes)
    told, _ = process.communicate(timeout=3600)
    print(told)
    assert process.returncode == 0, told[-3000:]

    summary = pd.read_csv(folder / "summary.csv")
    assert len(summary) == 12 and set(summary["state"]) == {"finished"} and summary["test accuracy"].between(0, 1).all()
    assert (folder / "compare.html").stat().st_size > 10_000
    assert len(made) >= 5 and made == {name: (folder / name / "report.html").stat().st_mtime_ns for name in made}
    rows = {name: contents(folder / name) for name in summary["run"]}
    assert len({row["split.csv"] for row in rows.values()}) == 1 and len({row["model.safetensors"] for row in rows.values()}) == 12
    few.write_text("LEARNING_RATE,SEED\n0.01,0\n0.03,5\n")  # of them, some without kills
    calm = start(tmp_path / "calm", few, scenes)
    told, _ = calm.communicate(timeout=3600)
    assert calm.returncode == 0, told[-3000:]
    for name in ("learning_rate-0.01+seed-0", "learning_rate-0.03+seed-5"):
        assert rows[name] == contents(tmp_path / "calm" / name)
