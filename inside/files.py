"""The run folder, and atomic writing of files."""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from inside.names import check_run
from inside.text import brief

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).resolve().parents[1]  # the folder that holds inside/, notebooks/ and runs/
RUNS = ROOT / "runs"
DATA = ROOT / "data"


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, renamed to `path` when the block ends without an error.

    A process killed at any moment leaves the old file or the complete new one (the data are on disk before the rename).
    Where the disk is full, or the folder gone or not writable, the error is a NotWritten that says so.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}-{os.urandom(4).hex()}-{path.name}")  # containers share numbers
    try:
        yield temporary
        put_in_place(temporary, path)
    except Exception as error:
        if reason := why_not_written(path, error):
            raise NotWritten(reason) from error
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename a file that is whole, once its data are on disk."""
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


class NotWritten(OSError):
    """A file could not be written, for the disk or the folder; what was there before is whole."""


def why_not_written(path: Path, error: Exception) -> str:
    """Why a file could not be written, and what to do; "" where that is not for the disk or the folder.

    PyTorch and safetensors have kinds of errors of their own for a full disk, without its number.
    """
    if isinstance(error, NotWritten):
        return str(error)
    code, folder = getattr(error, "errno", None), path.parent
    if not folder.is_dir():
        return f"{path} was not written, because its folder is gone: the same command makes it again."
    if code in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error) or shutil.disk_usage(folder).free < 4096:
        return f"{path} was not written, because the disk is full: make room, and the same command goes on from there."
    if code in (errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO):
        return f"{path} was not written ({os.strerror(code)}): make that possible, or give the run another name."
    return ""


@contextlib.contextmanager
def one_at_a_time(made: Path, lock_file: Path | None = None) -> Iterator[None]:
    """Let one process at a time make `made`; another one says once that it is waiting, then finds it made.

    The lock is `lock_file`, or .<name>.lock beside what is made; the system releases it when its process dies.
    """
    lock_file = lock_file or made.with_name(f".{made.name}.lock")
    for path in (made, lock_file):
        path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        print(f"waiting for another process, which is making {made}", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def write_json(path: Path, value: object) -> None:
    """Write `value` as JSON, atomically; NumPy numbers become numbers, NaN becomes null."""
    def plain(item):
        if isinstance(item, Mapping):
            return {str(key): plain(entry) for key, entry in item.items()}
        item = item.tolist() if hasattr(item, "tolist") else item  # NumPy's numbers and arrays
        if isinstance(item, (list, tuple)):
            return [plain(entry) for entry in item]
        return None if isinstance(item, float) and not math.isfinite(item) else item
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(plain(value), indent=1), encoding="utf-8")


def read_json(path: Path) -> dict:
    """The object in a JSON file. ValueError where it holds none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of JSON, of UTF-8
        raise ValueError(f"{path} is damaged ({type(error).__name__}): delete it, and run the notebook again that writes "
                         "it.") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged (it holds no object): delete it, and run the notebook again that writes it.")
    return found


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write `table` without its index, atomically, as `csv_text` has it."""
    with atomic_write(path) as temporary:
        temporary.write_text(csv_text(table), encoding="utf-8", newline="")


def csv_text(table: pd.DataFrame, *, header: bool = True) -> str:
    """`table` as CSV without its index, in which no text is a formula to a spreadsheet; numbers stay numbers.

    Before text that begins with =, +, -, @ or a control character stands an apostrophe, and before one that begins with an
    apostrophe another; `read_csv` takes it away.
    """
    guard = _each_text(lambda text: f"'{text}" if text.startswith(FORMULAS) else text)
    guarded = table.apply(guard).rename(columns=guard)
    text = guarded.to_csv(index=False, header=header, lineterminator="\n")
    return text if "\r" not in text else guarded.to_csv(index=False, header=header, lineterminator="\n",
                                                        quoting=csv.QUOTE_NONNUMERIC)


def read_csv(path: Path, *, texts: Collection[str] = (), dtype: Mapping[str, str] | None = None) -> pd.DataFrame:
    """A table as `write_csv` was given it: columns `texts` are text however they look, empty cells of others are missing."""
    import pandas as pd
    plain = _each_text(lambda text: text.removeprefix("'"))
    others = [name for name in pd.read_csv(path, nrows=0).columns if name not in texts]
    table = pd.read_csv(path, dtype=dict.fromkeys(texts, "str") | dict(dtype or {}), keep_default_na=False,
                        na_values={name: [""] for name in others})
    return table.apply(plain).rename(columns=plain)


FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


def _each_text(change: Callable[[str], str]) -> Callable:
    """A function that changes a text, or each text of a column; numbers stay as they are."""
    def changed(value):
        if isinstance(value, str):
            return change(value)
        return value.map(changed) if getattr(value, "dtype", None) in ("object", "str", "category") else value
    return changed


def fingerprint(*parts: object) -> str:
    """A short hash of settings and tables: equal parts give equal hashes."""
    texts = (part.to_csv(index=False, lineterminator="\n") if hasattr(part, "to_csv") else
             json.dumps(part, sort_keys=True, default=str) for part in parts)
    return hashlib.sha256("".join(texts).encode()).hexdigest()[:16]


def file_hash(path: Path) -> str:
    """A short hash of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def require_reachable(url: str, what: str, size: str, remedy: str, *, timeout: float = 5) -> None:
    """Raise ValueError within `timeout` seconds if `url` does not answer: what is missing, its size, what to do.

    Asked in a thread, because looking up the name of a host keeps to no time limit.
    """
    reasons: list[object] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=timeout).close()
            reasons.append(None)
        except urllib.error.HTTPError:
            reasons.append(None)  # the host answers; the download itself reports the rest
        except Exception as error:  # of the network, or an answer that is not HTTP
            reasons.append(getattr(error, "reason", error))
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout)
    if reasons != [None]:
        raise ValueError(f"{what} is not on this machine, and {url} ({size}) did not answer within {timeout:g} s "
                         f"({reasons[0] if reasons else 'no answer'}). {remedy}")


def check_writable(folder: Path, name: str) -> None:
    """Raise ValueError unless files can be written in `folder`, or in the nearest folder above it that exists.

    `name`: what the folder is for, for the sentence. Tried with a file without a name, of which nothing remains.
    """
    try:
        place = nearest_folder(folder)
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise ValueError(f"{name} cannot be written in {brief(str(folder))} ({error.strerror or error}): make that possible "
                         "or choose another folder.") from None


def shown_path(path: Path) -> str:
    """A path for readers: relative to the project where it lies in it."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


def nearest_folder(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists. Raises OSError where a file is in its way."""
    place = folder.absolute()
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.lstat(place)
        if not place.is_dir():
            raise FileExistsError(errno.EEXIST, f"{place} is no folder")
        return place
    return nearest_folder(place.parent)


class RunFolder:
    """One run folder, `runs/<name>/` (or the folder itself, if `name` contains a slash).

    A file that is expensive to make has a stamp, the fingerprint of everything it was made from; `is_current` says whether
    the same work would give the same file, so that a second call can use it. The folder is made, unless `make` is False.
    """

    def __init__(self, name: str, *, make: bool = True):
        check_run(name)
        self.name = name
        self.folder = Path(name) if re.search(r"[/\\]", name) else RUNS / name
        try:
            for part in ("figures", "tables", ".locks") if make else ():
                (self.folder / part).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"RUN = {brief(name)}: the folder {self.folder} cannot be made ({error.strerror}): give "
                             "the run another name.") from None

    def path(self, *parts: str) -> Path:
        """The path of a file of this run."""
        return self.folder.joinpath(*parts)

    def is_current(self, stamp: str, *names: str) -> bool:
        """Whether all files `names` exist, unchanged since `mark`, and were made from `stamp`."""
        stamps = self._stamps()
        return all(self.path(name).is_file() and [stamp, file_hash(self.path(name))] in
                   (stamps.get(name), stamps.get(f"{name}, amended")) for name in names)

    def mark(self, stamp: str, *names: str) -> None:
        """Record that the files `names` were made from `stamp`."""
        with self.briefly():
            new = {name: [stamp, file_hash(self.path(name))] for name in names}
            write_json(self.path("stamps.json"), self._stamps() | new)

    def amend(self, name: str, entries: Mapping[str, object]) -> None:
        """Change entries of a JSON file; its stamp stays valid, at whatever moment the process is killed."""
        path, amended = self.path(name), f"{name}, amended"
        with self.briefly(), atomic_write(path) as temporary:
            write_json(temporary, read_json(path) | dict(entries))
            stamps, old = self._stamps(), file_hash(path)
            known = [entry for entry in map(stamps.get, (name, amended)) if isinstance(entry, list) and entry[1:] == [old]]
            if known:
                new = {name: known[0], amended: [known[0][0], file_hash(temporary)]}
                write_json(self.path("stamps.json"), stamps | new)

    def briefly(self) -> filelock.BaseFileLock:
        """A lock for the moment in which a file that notebooks share, such as stamps.json, is read and written again."""
        if not self.folder.is_dir():  # the lock would make it again, with nothing in it
            raise NotWritten(why_not_written(self.path("stamps.json"), OSError()))
        return filelock.FileLock(self.path(".locks", "shared.lock"))

    def _stamps(self) -> dict:
        file = self.path("stamps.json")
        try:
            return read_json(file) if file.exists() else {}
        except ValueError:
            print(f"{file} cannot be read: what it is about is made anew", flush=True)
            file.unlink(missing_ok=True)
            return {}

    def write_results(self, number: str, results: Mapping) -> None:
        """Write NN_results.json, the numbers of notebook `number`."""
        write_json(self.path(f"{number}_results.json"), results)
