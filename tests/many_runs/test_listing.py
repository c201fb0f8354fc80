"""Tests of inside/many_runs/listing.py."""

import os

import pytest

from inside import files
from inside.cli.main import main
from inside.files import write_json
from inside.many_runs import list_runs


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Four runs, from the oldest to the latest: finished, failed after a good one, unfinished, damaged; and a folder that is no run."""
    for age, name in enumerate(["good", "failed", "begun", "damaged"]):
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "run.json", {})
        if name in ("good", "failed"):
            write_json(tmp_path / name / "01_results.json", {
                "dataset": "demo", "architecture": "resnet18", "test": {"mean_class_accuracy": 0.9 - age / 10, "mean_average_precision": 0.95}})
            (tmp_path / name / "report.html").write_text("x" * 2_000_000)
        if name == "damaged":
            (tmp_path / name / "01_results.json").write_text("{")
        for file in (tmp_path / name).iterdir():
            os.utime(file, (1e9 + 1e5 * age,) * 2)
    (tmp_path / "failed" / "report.failed.html").write_text("later")
    (tmp_path / "no run").mkdir()
    monkeypatch.setattr(files, "RUNS", tmp_path)
    return tmp_path


def test_each_run_has_its_state_and_numbers(runs):
    found = list_runs().set_index("run")
    assert found["state"].to_dict() == {"failed": "failed", "damaged": "damaged", "begun": "unfinished", "good": "finished"}
    assert found.index[0] == "failed" and found.index[-1] == "good"  # the last one first
    assert found.loc["good", ["notebooks", "data set", "network", "accuracy", "mAP"]].tolist() == ["01", "demo", "resnet18", 0.9, 0.95]
    assert found.loc["good", "MB"] == pytest.approx(2, abs=0.01) and found.loc["good", "changed"].startswith("2001-09-")


def test_the_command_prints_them(runs, capsys):
    assert main(["runs"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 5 and told[0].split()[:2] == ["run", "state"] and "0.900 0.950  2" in told[-1] and "nan" not in "".join(told).lower()


def test_no_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(files, "RUNS", tmp_path / "runs")
    assert main(["runs"]) == 0 and capsys.readouterr().out == "There are no runs yet: python run.py demo makes the first.\n"
