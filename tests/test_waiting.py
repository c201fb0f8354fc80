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
