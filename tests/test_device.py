"""Tests of inside/device.py."""

import platform
import subprocess
import sys

import pytest
import torch

from inside.device import choose_device, choose_precision
from inside.files import ROOT


@pytest.mark.parametrize("cuda, mps", [(False, False), (True, False), (False, True), (True, True)])
def test_devices_that_are_there_and_that_are_not(monkeypatch, cuda, mps):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    for name, there in (("cuda", cuda), ("mps", mps), ("cpu", True)):
        if there:
            assert choose_device(name).type == name
        else:
            with pytest.raises(ValueError, match=f"^DEVICE = '{name}' is not available here; DEVICE = \"auto\" takes what is.$"):
                choose_device(name)
    assert choose_device("auto").type == ("cuda" if cuda else "mps" if mps else "cpu")


def test_precisions():
    assert choose_precision("float32", torch.device("cpu")) == torch.float32
    assert choose_precision("bfloat16", torch.device("cpu")) == torch.bfloat16


@pytest.mark.skipif(platform.libc_ver() < ("glibc", "2.35"), reason="the system's library has no such setting")
def test_a_tensor_takes_the_memory_of_a_larger_one_before_it():
    code = ("import resource, torch\nfrom inside.device import choose_device\nchoose_device('cpu')\ntorch.ones(2**25)\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\ntorch.ones(2**24)\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)  # this process may hold free memory
    assert int(done.stdout) < 1000  # of 16,384 pages


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_elsewhere_no_library_of_the_system_is_asked_for(monkeypatch, platform):
    def none(name):
        raise TypeError("argument of type 'NoneType' is not iterable")  # as on Windows
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr("ctypes.CDLL", none)
    assert choose_device("cpu") == torch.device("cpu")
