"""`make lab`: the notebooks in JupyterLab, for this user of this machine only."""

from __future__ import annotations

import secrets

from jupyterlab.labapp import LabApp

from inside.cli.waiting import let_others_compute
from inside.files import ROOT


def main() -> None:
    """Start JupyterLab on 127.0.0.1 with a new token, whatever the user's own configuration says.

    The token is printed, and is no argument of the process: other users of the machine could read that.
    """
    let_others_compute()
    token = secrets.token_hex(24)
    print(f"JupyterLab listens on this machine only; if it asks for a token: {token}", flush=True)
    LabApp.launch_instance([str(ROOT / "notebooks"), "--ServerApp.ip=127.0.0.1",
                            f"--PasswordIdentityProvider.token={token}"])


if __name__ == "__main__":
    main()
