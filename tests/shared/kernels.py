"""Kernels of whole runs that start at once: forked from a process that has imported the library already.

Real kernels, but for the seconds that each would spend on its imports; tests in processes of their own start them as users do.
"""

import contextlib
import multiprocessing
import os
import runpy
import signal
import sys

import pytest
from jupyter_client.provisioning import local_provisioner

from inside.files import ROOT

LIBRARY = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted((ROOT / "inside").rglob("*.py"))
           if path.name != "__init__.py" and path.parent.name != "cli"]


class ForkedKernel:
    """What jupyter_client asks of a `subprocess.Popen`."""

    stdin = stdout = stderr = None

    def __init__(self, command, *, env, cwd=None, **_):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["helpers", "ipykernel.kernelapp", "ipykernel.inprocess", *LIBRARY])
        ready, started = context.Pipe(duplex=False)
        self.process = context.Process(target=run_kernel, args=(command, env, cwd, started))
        self.process.start()
        ready.recv()  # a group of its own, to which signals go
        self.pid = self.process.pid

    def poll(self):
        return self.process.exitcode

    def wait(self):
        self.process.join()
        return self.process.exitcode

    def send_signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def terminate(self):
        self.send_signal(signal.SIGTERM)


def run_kernel(command, env, cwd, started):
    """Be the process that a kernel's command (python -m module arguments) starts."""
    os.setsid()
    os.environ.clear()
    os.environ.update({name: value for name, value in env.items() if name != "JPY_PARENT_PID"})
    os.chdir(cwd or os.getcwd())
    place = command.index("-m")
    sys.argv = command[place + 1:]
    started.send(True)
    runpy.run_module(command[place + 1], run_name="__main__", alter_sys=True)


@contextlib.contextmanager
def forked():
    """Kernels that are started here are forked."""
    with pytest.MonkeyPatch.context() as patch:
        if sys.platform != "win32":
            patch.setattr(local_provisioner, "launch_kernel", lambda command, **options: ForkedKernel(command, **options))
        yield


@pytest.fixture(scope="module", autouse=True)
def forked_kernels():
    """Kernels of the tests of a file that imports this are forked."""
    with forked():
        yield
