"""How the threads of a computation wait for each other."""

from __future__ import annotations

import os

POLICY = {"OMP_WAIT_POLICY": "PASSIVE"}


def let_others_compute() -> None:
    """Threads that wait sleep, unless the environment says otherwise: OpenMP's spin, and slow a second run down manifold.

    To be called before torch is imported; the kernels of notebooks inherit it.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        os.environ.update(POLICY)
