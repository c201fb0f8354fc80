"""The cache of decoded images: the pixels of each, as 8-bit numbers, by the hash of their content.

Nothing in it can be out of date: the image table says which pixels a file has (`examine_images`), the cache has them or
does not. Files of safetensors, mapped into memory, which processes share.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from inside import files
from inside.files import atomic_write, fingerprint, shown_path

LARGEST_SIDE = 512  # pixels; larger images are kept only as evaluation resizes them
SHARD, LIMIT = 256e6, 4e9  # bytes of a file, and of all together
TOLD = 50e6  # bytes from which on a line says that they were kept


def folder_of_pixels() -> Path:
    """Where decoded images are kept."""
    return files.DATA / "cache" / "pixels"


class PixelWriter:
    """Keeps decoded images, or another `kind`, while the block runs; `add` may be called by several threads.

    The cache saves time and nothing else: where it cannot be written, a line says why, and all is computed each time.
    """

    def __init__(self, folder: Path, kind: str = "decoded images"):
        self.folder, self.kind, self.lock = folder, kind, threading.Lock()
        self.kept: dict[str, np.ndarray] = {}
        self.size, self.waiting, self.room = 0, 0, LIMIT

    def __enter__(self) -> PixelWriter:
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.room = min(LIMIT, shutil.disk_usage(self.folder).free / 10)
        return self

    def add(self, key: str, pixels: np.ndarray) -> None:
        """Keep an image (H, W, 3) uint8, or (size, size), under its key, unless the room for this call is used up."""
        with self.lock:
            if key not in self.kept and self.size + pixels.nbytes <= self.room:
                self.kept[key] = pixels
                self.size += pixels.nbytes
                self.waiting += pixels.nbytes
                if self.waiting >= SHARD:
                    self._write()

    def _write(self) -> None:
        try:
            path = self.folder / f"{fingerprint(sorted(self.kept))}.safetensors"
            with atomic_write(path) as temporary:
                save_file(self.kept, temporary)
        except (OSError, SafetensorError) as error:
            self.room = 0
            print(f"The cache of {self.kind} is not written: {error}", flush=True)
        self.kept, self.waiting = {}, 0

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None and self.kept:
            self._write()
        if self.size and self.room:
            total = make_room(self.folder)
            if self.size > TOLD:
                print(f"{self.kind} are kept in {shown_path(self.folder)}: {total / 1e9:.1f} of at most "
                      f"{LIMIT / 1e9:.0f} GB", flush=True)


def make_room(folder: Path) -> float:
    """Remove the files that have not been used for longest until the rest is within LIMIT; the bytes of these."""
    found = []
    for path in folder.glob("*.safetensors"):
        with contextlib.suppress(OSError):
            found.append((path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= LIMIT:
            break
        with contextlib.suppress(OSError):  # in use, where that forbids it
            path.unlink()
            total -= size
    return total


class Pixels:
    """The images that are kept, by their keys; it can be sent to other processes, which map the files anew."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._places: dict[str, Any] | None = None

    def __getstate__(self) -> dict:
        return {"folder": self.folder, "_places": None}

    @property
    def places(self) -> dict[str, Any]:
        """{key: the open file that holds it}."""
        if self._places is None:
            places = dict[str, Any]()
            for path in sorted(self.folder.glob("*.safetensors")):
                try:
                    file = safe_open(path, "pt")
                    places |= dict.fromkeys(file.keys(), file)
                    os.utime(path)
                except FileNotFoundError:  # another process has just made room
                    continue
                except (OSError, SafetensorError) as error:
                    print(f"{path} cannot be read ({type(error).__name__}): its images are decoded again", flush=True)
                    with contextlib.suppress(OSError):
                        path.unlink()
            self._places = places  # whole: several threads may ask at once
        return self._places

    def get(self, key: str) -> torch.Tensor | None:
        """The image (H, W, 3) uint8 under a key, or None."""
        file = self.places.get(key)
        return None if file is None else file.get_tensor(key)
