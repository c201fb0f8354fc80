"""Which code made a run: the version of this project, and a hash of its library."""

from __future__ import annotations

import functools
import hashlib
from importlib import metadata

from inside.files import ROOT

PACKAGE = "inside-an-image-classifier"
NOT_OF_NOTEBOOKS = ("cli", "many_runs")  # folders of inside/ on the floors above them


@functools.cache
def release() -> str:
    """The version and a short hash of helpers.py and of what inside/ has for notebooks, such as "0.1.0 3f9a0c21d4b86e57".

    The notebooks are not in it: they are compared themselves. Nor is what no notebook imports (NOT_OF_NOTEBOOKS).
    """
    digest = hashlib.sha256()
    files = [path for path in (ROOT / "inside").rglob("*") if path.suffix in (".py", ".j2", ".css")
             and path.relative_to(ROOT).parts[1] not in NOT_OF_NOTEBOOKS]
    for path in sorted([ROOT / "helpers.py", *files]):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes().replace(b"\r\n", b"\n"))
    try:
        version = metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        version = "unknown"
    return f"{version} {digest.hexdigest()[:16]}"
