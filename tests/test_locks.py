"""Tests of inside/locks.py."""

import os
import subprocess
import sys
import time

import pytest

from inside.locks import FolderInUse, hold, hold_notebook, hold_run, remove_leftovers

HOLDER = "import sys, time; from pathlib import Path; from inside.locks import hold; lock = hold(Path(sys.argv[1]), sys.argv[2]); print('held', flush=True); time.sleep(60)"


@pytest.fixture
def holder(tmp_path):
    """holder(name): another process that holds a lock of the folder."""
    processes = []

    def make(name):
        processes.append(subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path), name], stdout=subprocess.PIPE, text=True))
        assert processes[-1].stdout.readline() == "held\n"
        return processes[-1]
    yield make
    for process in processes:
        process.kill()
        process.communicate()


def test_a_second_holder_is_told_who_has_it_and_a_killed_one_has_it_no_more(tmp_path, holder):
    process = holder("run")
    with pytest.raises(FolderInUse, match=f"in use by process {process.pid} on .*, since 20.*: wait until it has ended, end it, or give"):
        hold(tmp_path, "run", wait=0)
    process.kill()
    process.wait()
    hold(tmp_path, "run", wait=0).release()


def test_a_lock_without_a_word_on_its_holder(tmp_path, holder):
    holder("run")
    (tmp_path / ".locks" / "run.json").write_text("{")
    with pytest.raises(FolderInUse, match="in use by another process:"):
        hold(tmp_path, "run", wait=0)


def test_notebooks_keep_each_other_out_but_not_other_notebooks(tmp_path, holder, monkeypatch):
    monkeypatch.setattr("inside.locks.PATIENCE", 0)
    holder("01")
    hold_notebook(tmp_path, "02").release()
    with pytest.raises(FolderInUse):
        hold(tmp_path, "01", wait=0)
    with pytest.raises(FolderInUse), hold_run(tmp_path):  # run.py does not start while a notebook is open
        pass
    assert "INSIDE_RUN_FOLDER" not in os.environ


def test_a_notebook_that_run_py_keeps_out_gives_its_lock_back(tmp_path, holder, monkeypatch):
    monkeypatch.setattr("inside.locks.PATIENCE", 0)
    holder("run")
    with pytest.raises(FolderInUse) as raised:  # kept, as IPython keeps the last error, and with it the lock
        hold_notebook(tmp_path, "01")
    hold(tmp_path, "01").release()
    assert "is in use by process" in str(raised.value)


def test_the_kernels_of_a_run_have_its_folder(tmp_path):
    with hold_run(tmp_path):
        hold_notebook(tmp_path, "01").release()
        del os.environ["INSIDE_RUN_FOLDER"]
        with pytest.raises(FolderInUse):
            hold(tmp_path, "run", wait=0)
        os.environ["INSIDE_RUN_FOLDER"] = str(tmp_path.resolve())


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    names = [f".{gone.pid}-old.csv", f".{gone.pid}-new.csv", f".{os.getpid()}-mine.csv", ".hidden-file", "a.csv", "01_a.ipynb"]
    for name in names:
        (tmp_path / name).touch()
    for name in names[:1] + names[2:]:
        os.utime(tmp_path / name, (time.time() - 4000,) * 2)
    (tmp_path / ".01_a.ipynb").touch()
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(names[1:])
