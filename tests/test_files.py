"""Tests of inside/files.py."""

import json
import math
import os

import numpy as np
import pytest

from inside.files import RunFolder, atomic_write, write_json


def test_replacing_leaves_the_old_file_when_the_block_fails(tmp_path):
    file = tmp_path / "kept.txt"
    file.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(file) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert file.read_text() == "old" and os.listdir(tmp_path) == ["kept.txt"]


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


def test_run_names():
    with pytest.raises(ValueError, match="RUN = 'a b'"):
        RunFolder("a b")
