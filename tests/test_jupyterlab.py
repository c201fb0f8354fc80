"""Who may ask the JupyterLab that `make lab` starts; what it shows: tests/soak/test_jupyterlab.py."""

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import psutil

from inside.files import ROOT
from shared.jupyterlab import wait


def test_make_lab_listens_on_this_machine_only_and_wants_a_token(tmp_path):
    """Also for a user whose own configuration has neither."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    open_to_all = {"ip": "0.0.0.0", "port": port, "token": "", "open_browser": False, "allow_root": True}
    settings = {"ServerApp": open_to_all, "IdentityProvider": {"token": ""}, "PasswordIdentityProvider": {"token": ""}}
    (tmp_path / "jupyter_server_config.json").write_text(json.dumps(settings))
    recipe = subprocess.check_output(["make", "--silent", "--dry-run", "--assume-old=.venv/installed", f"PY={sys.executable}", "lab"], cwd=ROOT, text=True)
    server = subprocess.Popen(["sh", "-c", f"exec {recipe.strip()}"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              env=os.environ | {"JUPYTER_CONFIG_DIR": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)})
    try:
        token = server.stdout.readline().split()[-1]
        wait(lambda: status(port, token) == 200, 60, "JupyterLab did not start")
        assert len(token) == 48 and status(port, "") == status(port, "x") == 403
        process = psutil.Process(server.pid)
        assert {found.laddr.ip for found in process.net_connections() if found.status == "LISTEN"} == {"127.0.0.1"}
        assert token not in " ".join(process.cmdline())
    finally:
        server.terminate()
        server.communicate(timeout=20)


def status(port, token):
    """The status with which a server answers who asks for the sessions; None while it gives none."""
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/api/sessions?token={token}", timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None
