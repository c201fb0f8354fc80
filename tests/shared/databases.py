"""A database that tests of shared work start themselves."""

import os
import shutil
import subprocess
import tempfile

import pytest


@pytest.fixture
def database():
    """The URL of a PostgreSQL server of its own, on a socket in a temporary folder; skipped where it is not installed."""
    pytest.importorskip("psycopg")
    if not shutil.which("initdb") or not shutil.which("pg_ctl"):
        pytest.skip("PostgreSQL (initdb, pg_ctl) is not installed")
    user = {"user": "postgres"} if os.getuid() == 0 else {}  # it refuses to run as root
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        if user:
            shutil.chown(folder, "postgres")
        def run(*command):
            subprocess.run([*command], check=True, capture_output=True, cwd=folder, **user)
        run("initdb", "-D", f"{folder}/data", "-A", "trust", "-U", "tester")
        run("pg_ctl", "-D", f"{folder}/data", "-w", "-l", f"{folder}/log", "-o", f"-k {folder} -c listen_addresses=''", "start")
        try:
            yield f"postgresql+psycopg://tester@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "stop")
