"""A run that is killed or stopped goes on with the same command, to the same results; the long form is `make soak`."""

import signal
import time

import psutil
import pytest

from shared.kills import differences, finish, kill, start, wait_for


@pytest.fixture(scope="module")
def whole(scenes, tmp_path_factory):
    """The folder of an undisturbed run of notebook 01."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    finish(start(folder, scenes, "--only", "01"))
    return folder


@pytest.mark.parametrize("moment", ["epoch  2"])
def test_a_killed_run_goes_on_to_the_same_results(whole, scenes, tmp_path, moment):
    folder = tmp_path / "run"
    process = start(folder, scenes, "--only", "01")
    wait_for(folder, moment, process)
    kill(process)
    assert not (folder / "01_split_and_classify.ipynb").exists() and not (folder / "report.html").exists()
    finish(start(folder, scenes, "--only", "01"))
    assert differences(whole, folder) == []


def test_ctrl_c_ends_a_run_at_once_and_a_second_run_is_told_who_has_the_folder(scenes, tmp_path):
    folder = tmp_path / "run"
    process = start(folder, scenes, "--only", "01", "-p", "EPOCHS", "200")
    wait_for(folder, "epoch  2", process)
    second = start(folder, scenes, "--only", "01")
    told, _ = second.communicate(timeout=60)
    assert second.returncode == 2 and f"is in use by process {process.pid} on " in told and "run.py demo" in told and "since 20" in told
    family, began = psutil.Process(process.pid).children(recursive=True), time.time()
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=30)
    assert time.time() - began < 5 and process.returncode == 130
    assert told.strip().splitlines()[-1] == "stopped; the same command goes on from here" and "Traceback" not in told
    assert psutil.wait_procs(family, timeout=3)[1] == []
    assert not [path.name for path in folder.glob("*.ipynb")] and not list(folder.glob(".*.ipynb"))
