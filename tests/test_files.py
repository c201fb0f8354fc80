"""Tests of inside/files.py."""

import errno
import json
import math
import os
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inside import files
from inside.files import (
    FORMULAS,
    ROOT,
    NotWritten,
    RunFolder,
    atomic_write,
    csv_text,
    fingerprint,
    read_csv,
    read_json,
    shown_path,
    write_csv,
    write_json,
)


def test_replacing_leaves_the_old_file_when_the_block_fails(tmp_path):
    file = tmp_path / "kept.txt"
    file.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(file) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert file.read_text() == "old" and os.listdir(tmp_path) == ["kept.txt"]


@pytest.mark.parametrize("error, told", [
    (OSError(errno.ENOSPC, "No space left on device"), "because the disk is full: make room, and the same command goes on from there."),
    (RuntimeError("IoError(Os { code: 28, kind: StorageFull, message: No space left on device })"), "because the disk is full"),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), "because the disk is full"),
    (OSError(errno.EROFS, "Read-only file system"), "(Read-only file system): make that possible, or give the run another name."),
    (PermissionError(errno.EACCES, "Permission denied"), "(Permission denied): make that possible"),
    (OSError(errno.EFBIG, "File too large"), "(File too large): make that possible")])
def test_what_cannot_be_written_says_why_and_leaves_the_old_file(tmp_path, error, told):
    file = tmp_path / "kept.txt"
    file.write_text("old")
    with pytest.raises(NotWritten, match=re.escape(f"{file} was not written") + ".*" + re.escape(told)), atomic_write(file) as temporary:
        temporary.write_text("half")
        raise error
    assert file.read_text() == "old" and os.listdir(tmp_path) == ["kept.txt"]


def test_a_full_disk_is_told_whatever_the_library_says(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=0))
    with pytest.raises(NotWritten, match="because the disk is full"), atomic_write(tmp_path / "x.pt"):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")


def test_a_folder_that_was_removed_is_not_made_again_by_halves(tmp_path):
    run = RunFolder(str(tmp_path / "run"))
    shutil.rmtree(run.folder)
    with pytest.raises(NotWritten, match="x.csv was not written, because its folder is gone: the same command makes it again."):
        write_csv(run.path("x.csv"), pd.DataFrame({"a": [1]}))
    with pytest.raises(NotWritten, match="its folder is gone"):
        run.mark("s", "x.csv")
    assert not run.folder.exists()


@pytest.mark.parametrize("name, reason", [("x" * 300, "File name too long"), ("ü" * 200, "File name too long"), ("file/run", "Not a directory")])
def test_a_run_folder_that_cannot_be_made(tmp_path, name, reason):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=f"the folder {tmp_path}/.* cannot be made \\({reason}\\): give the run another name."):
        RunFolder(f"{tmp_path}/{name}")


def test_json_has_null_for_what_is_no_number(tmp_path):
    write_json(tmp_path / "x.json", {"a": np.float64("nan"), "b": np.int64(3), "c": [np.float32(0.5), math.inf]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": 3, "c": [0.5, None]}


def test_stamps(tmp_path):
    run = RunFolder(str(tmp_path / "run"))
    run.path("x.csv").write_text("1")
    assert not run.is_current("s", "x.csv")
    run.mark("s", "x.csv")
    assert run.is_current("s", "x.csv") and not run.is_current("t", "x.csv") and not run.is_current("s", "x.csv", "y.csv")
    run.path("x.csv").write_text("2")
    assert not run.is_current("s", "x.csv")


@pytest.mark.parametrize("file", ["stamps.json", "x.json"])
def test_an_entry_is_changed_and_the_stamp_stays_valid_at_any_moment(tmp_path, monkeypatch, file):
    """As if the process were killed just before one of its two files is put in place."""
    run = RunFolder(str(tmp_path / "run"))
    write_json(run.path("x.json"), {"a": 1, "b": 2})
    run.mark("s", "x.json")
    run.amend("x.json", {"b": 3})
    assert read_json(run.path("x.json")) == {"a": 1, "b": 3} and run.is_current("s", "x.json") and not run.is_current("t", "x.json")

    def killed(temporary, path, put_in_place=files.put_in_place):
        if path.name == file:
            raise KeyboardInterrupt
        put_in_place(temporary, path)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("inside.files.put_in_place", killed)
        run.amend("x.json", {"b": 4})
    assert read_json(run.path("x.json"))["b"] == 3 and run.is_current("s", "x.json")
    run.amend("x.json", {"b": 4})
    assert read_json(run.path("x.json"))["b"] == 4 and run.is_current("s", "x.json")


def test_an_entry_of_a_file_that_was_changed_by_hand_gives_it_no_stamp(tmp_path):
    run = RunFolder(str(tmp_path / "run"))
    write_json(run.path("x.json"), {"a": 1})
    run.amend("x.json", {"a": 2})
    assert not run.is_current("", "x.json")  # nor one that has never been marked
    run.mark("s", "x.json")
    write_json(run.path("x.json"), {"a": 3})
    run.amend("x.json", {"a": 4})
    assert not run.is_current("s", "x.json") and read_json(run.path("x.json")) == {"a": 4}


def test_run_names():
    with pytest.raises(ValueError, match="RUN = 'a b'"):
        RunFolder("a b")


CELLS = st.one_of(st.sampled_from(["=1+1", "'=1+1", "''x", "-5", "+a", "@sum", "\tq", "\rq", "NA", "nan", "", "1e5", "a,b", 'a"b', "a\nb"]),
                  st.text(st.characters(exclude_categories=["Cs"]), max_size=8))


@given(st.lists(st.tuples(CELLS, st.floats(allow_nan=True, allow_infinity=False)), min_size=1, max_size=6))
def test_tables_are_harmless_to_a_spreadsheet_and_read_back_as_they_were(tmp_path_factory, rows):
    table = pd.DataFrame(rows, columns=["name", "value"]).astype({"name": "str"})
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    write_csv(path, table)
    raw = pd.read_csv(path, keep_default_na=False, dtype=str)["name"]
    assert not [cell for cell in raw if cell.startswith(tuple(set(FORMULAS) - {"'"}))]
    again = read_csv(path, texts=("name",))
    assert list(again["name"]) == list(table["name"])
    np.testing.assert_allclose(again["value"].astype(float), table["value"], rtol=1e-15)


def test_two_writers_with_the_same_process_number_do_not_meet(tmp_path):
    """As in containers, which share a folder and whose first process is number 1 in each."""
    with atomic_write(tmp_path / "a.csv") as first, atomic_write(tmp_path / "a.csv") as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a.csv").read_text() == "first" and len(list(tmp_path.iterdir())) == 1


def test_fingerprints_are_the_same_on_all_systems(monkeypatch):
    table = pd.DataFrame({"path": ["a", "b"], "split": ["train", "val"]})
    here = fingerprint(table, {"a": 1})
    monkeypatch.setattr(os, "linesep", "\r\n")
    assert fingerprint(table, {"a": 1}) == here == "b4359941c8fbb6e2"


def test_numbers_stay_numbers_and_heads_are_guarded():
    assert csv_text(pd.DataFrame({"=a": [-1, 2], "b": [-1.5, float("nan")]})) == "'=a,b\n-1,-1.5\n2,\n"


def test_a_path_in_the_project_is_shown_relative_to_it(tmp_path):
    assert shown_path(ROOT / "data" / "demo") == "data/demo" and shown_path(tmp_path) == str(tmp_path)
