"""Tests of inside/many_runs/clean.py and of its command."""

import builtins
import signal
import subprocess
import sys

import pytest

from inside import files
from inside.cli.main import main
from inside.files import ROOT, write_json
from inside.locks import FolderInUse, hold
from inside.many_runs import clean_run, list_runs
from inside.many_runs.clean import measure_run

AGAIN = ["features/a.pt", "statistics/b.npz", "checkpoint.pt", "comparison/seed-1/checkpoint.pt", "comparison/seed-1/training.json"]
RESULTS = ["report.html", "model.safetensors", "tables/features.csv", "comparison/seed-1/model.safetensors", "train_features.npz"]


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two runs with a megabyte in each file."""
    monkeypatch.setattr(files, "RUNS", tmp_path / "runs")
    for run in ("one", "two"):
        for name in AGAIN + RESULTS:
            (file := tmp_path / "runs" / run / name).parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(bytes(1_000_000))
        write_json(tmp_path / "runs" / run / "run.json", {})
    return tmp_path / "runs"


def left(folder):
    """The files of a run, but for locks."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and ".locks" not in path.parts}


def test_caches_go_and_results_stay(runs):
    assert measure_run("one")[1:] == pytest.approx((5e6, 5e6), abs=1000)
    assert clean_run("one") == 5_000_000
    assert left(runs / "one") == {*RESULTS, "run.json"} and left(runs / "two") == {*AGAIN, *RESULTS, "run.json"}
    assert clean_run("one") == 0


def test_a_whole_run_goes(runs):
    assert clean_run("one", results=True) >= 10_000_000
    assert [path.name for path in runs.iterdir()] == ["two"] and list_runs()["run"].tolist() == ["two"]


def test_what_half_went_is_no_run_and_goes_with_the_next(runs, monkeypatch):
    monkeypatch.setattr("inside.many_runs.clean.shutil.rmtree", lambda *_, **__: None)
    clean_run("one", results=True)
    assert list_runs()["run"].tolist() == ["two"]
    monkeypatch.undo()
    monkeypatch.setattr(files, "RUNS", runs)
    (runs / "two").rename(runs / "one")
    clean_run("one", results=True)
    assert not list(runs.iterdir())


def test_links_are_not_followed(runs, tmp_path):
    (outside := tmp_path / "outside").mkdir()
    (outside / "mine.txt").write_text("mine")
    (runs / "one" / "statistics" / "link").symlink_to(outside)
    files.shutil.rmtree(runs / "one" / "features")
    (runs / "one" / "features").symlink_to(outside)
    (runs / "linked").symlink_to(runs / "two")
    clean_run("one", results=True)
    assert (outside / "mine.txt").exists()
    with pytest.raises(ValueError, match="linked is no run"):
        clean_run("linked", results=True)
    assert (runs / "two" / "report.html").exists()


def test_only_runs_go_and_none_that_is_at_work(runs, tmp_path):
    (tmp_path / "holiday").mkdir()
    for name in ("three", str(tmp_path / "holiday"), str(runs)):
        with pytest.raises(ValueError, match="is no run: python run.py runs lists"):
            clean_run(name, results=True)
    lock = hold(runs / "one", "02")
    with pytest.raises(FolderInUse):
        clean_run("one", results=True)
    lock.release()
    assert left(runs / "one") >= {*AGAIN, *RESULTS}


@pytest.mark.parametrize(("answer", "status", "rest"), [("y", 0, RESULTS), ("", 1, AGAIN + RESULTS), (None, 1, AGAIN + RESULTS)])
def test_the_command_asks_first(runs, monkeypatch, capsys, answer, status, rest):
    def ask(question):
        assert question == "Remove caches and checkpoints; the results stay? [y/N] "
        if answer is None:
            raise EOFError
        return answer
    monkeypatch.setattr(builtins, "input", ask)
    assert main(["clean", "one"]) == status and left(runs / "one") == {*rest, "run.json"}
    told = capsys.readouterr().out
    assert "one: caches and checkpoints 5 MB, results 5 MB\n" in told and ("5 MB are free again." in told) == (status == 0)


def test_the_command_takes_nothing_where_one_name_is_wrong(runs, capsys):
    assert main(["clean", "one", "three", "--all", "--yes"]) == 2
    assert "three is no run" in capsys.readouterr().err and left(runs / "one") >= {*AGAIN, *RESULTS}
    assert main(["clean", "one", "two", "one", "--all", "--yes"]) == 0 and not list(runs.iterdir())


def test_ctrl_c_at_the_question_removes_nothing(runs):
    """A command that keeps nothing of its work does not say that it goes on."""
    process = subprocess.Popen([sys.executable, str(ROOT / "run.py"), "clean", str(runs / "one")], text=True, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    told = ""
    while "[y/N] " not in told:
        told += process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1].strip() == "stopped; the same command begins anew" and process.returncode == 130
    assert left(runs / "one") >= {*AGAIN, *RESULTS}
