"""Tests of inside/cli/waiting.py."""

import os
import subprocess
import sys

import pytest

from inside.cli.waiting import POLICY, let_others_compute
from inside.files import ROOT


@pytest.mark.parametrize("own", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "5"}, {}], ids=str)
def test_what_the_environment_says_is_kept(monkeypatch, own):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "environ", os.environ.copy() | own)
    before = dict(os.environ)
    let_others_compute()
    assert os.environ == before | (POLICY if not own else {})


def test_the_policy_is_set_before_torch_is_loaded():
    """OpenMP reads it once, when it is loaded; what run.py starts inherits it."""
    code = ("import os, sys; from inside.cli import main, waiting; seen = waiting.let_others_compute\n"
            "def look(): seen(); print('torch' in sys.modules, os.environ.get('OMP_WAIT_POLICY')); raise ValueError('stop')\n"
            "main.let_others_compute = look; sys.exit(main.main(['demo']))")
    clean = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=clean)
    assert told.stdout == "False PASSIVE\n" and told.returncode == 2


def test_ctrl_c_ends_a_command_whatever_the_packages_that_it_imports_make_of_it():
    code = """
import os, signal, sys, time
from inside.cli.main import main
class Swallows:
    def find_spec(name, path=None, target=None):
        if name == "inside.cli.run":
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(5)
            except BaseException:
                print("swallowed")
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Swallows)
main(["demo", "-p", "DATASET", "nowhere"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "stopped; the same command goes on from here")
