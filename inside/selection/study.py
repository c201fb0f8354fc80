"""A study that survives kills and is shared by processes.

Own code: Optuna looks after trials of dead processes only where the storage has a heartbeat, and its journal has none.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeGuard

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from inside.files import ROOT, NotWritten, check_writable, fingerprint
from inside.selection.journal import mend_journal
from inside.text import visible

optuna.logging.set_verbosity(optuna.logging.ERROR)

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class RepeatableSampler(optuna.samplers.BaseSampler):
    """Draws that follow from the seed, the number of the trial and the trials that have ended, and from nothing else.

    Optuna's samplers go on in one stream of random numbers, which a process that takes over after a kill does not have.
    Here TPE (Bergstra et al. 2011) or random sampling starts anew for each trial and option, so that one process gives
    the same trials with and without kills. `grid` gives its combinations by number instead; `first`, where legal, are
    the values of trial 0.
    """

    def __init__(self, kind: str, seed: int, *, grid: Sequence[Mapping] = (), first: Mapping[str, Any] | None = None):
        self.kind, self.seed, self.grid, self.first = kind, seed, grid, first or {}

    def _seeded(self, trial: FrozenTrial, name: str = "") -> optuna.samplers.BaseSampler:
        seed = int(fingerprint([self.seed, trial.number, name]), 16) % 2**32
        if self.kind == "tpe":
            return optuna.samplers.TPESampler(seed=seed)
        return optuna.samplers.RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {} if self.grid or trial.number == 0 else self._seeded(trial).infer_relative_search_space(study, trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial,
                        search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        return self._seeded(trial).sample_relative(study, trial, search_space) if search_space else {}

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, param_name: str,
                           param_distribution: BaseDistribution) -> object:
        if self.grid:
            return self.grid[trial.number][param_name]
        value = self.first.get(param_name)
        value = json.dumps(value) if isinstance(value, (list, dict)) else value
        if trial.number == 0 and _contains(param_distribution, value):
            return value
        return self._seeded(trial, param_name).sample_independent(study, trial, param_name, param_distribution)


def _contains(distribution: BaseDistribution, value: object) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return any(_same_value(value, choice) for choice in distribution.choices)
    return _is_number(value) and distribution.low <= value <= distribution.high


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _same_value(one: object, other: object) -> bool:
    """Equality of two values of an option: 0 is 0.0 but not False, and a number is one to nine digits."""
    if _is_number(one) and _is_number(other):
        return math.isclose(one, other, rel_tol=1e-9)
    return type(one) is type(other) and one == other


def check_storage(storage: str) -> None:
    """Raise ValueError for a storage that would break (SQLite), show a password in the report, or has no driver."""
    if "://" not in storage:
        return
    kind, _, rest = storage.partition("://")
    if kind.startswith("sqlite"):
        raise ValueError(f"STUDY_STORAGE = {storage!r}: SQLite breaks when several processes write; give a file's path, "
                         "which becomes a journal and does not, or the URL of a PostgreSQL or MySQL database.")
    if re.match(r"[^/@]*:[^/@]*@", rest) or re.search(r"[?&]passw(or)?d=", rest, re.IGNORECASE):
        raise ValueError("STUDY_STORAGE holds a password, which the report would show: take it out of the URL and give it "
                         "by PGPASSWORD or ~/.pgpass (for MySQL by its option file).")
    try:
        import sqlalchemy
        sqlalchemy.create_engine(storage)
    except ImportError as error:
        remedy = 'pip install "psycopg[binary]" and postgresql+psycopg://…' if kind.startswith("postgres") else "install it"
        raise ValueError(f"STUDY_STORAGE = {storage!r} needs the package {error.name}: {remedy}.") from None
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:  # ValueError: a port that is no number
        raise ValueError(f"STUDY_STORAGE = {storage!r} is no URL of a database ({error}); the path of a file will do, "
                         "too.") from None


def require_storage(storage: str) -> None:
    """Raise ValueError unless the database of STUDY_STORAGE answers within 5 s, or its file can be written."""
    if "://" not in storage:
        file = ROOT / Path(storage).expanduser()
        if storage and file.is_dir():
            raise ValueError(f"STUDY_STORAGE = {storage!r} is a folder: name a file in it, such as "
                             f"'{storage.rstrip('/')}/study.log'.")
        if storage:
            check_writable(file.parent, "The study of STUDY_STORAGE")
        return
    import sqlalchemy
    url = sqlalchemy.make_url(storage)
    port = url.port or {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}.get(url.get_backend_name())
    try:
        if url.host and port:
            socket.create_connection((url.host, port), timeout=5).close()
    except OSError as error:
        raise ValueError(f"STUDY_STORAGE = {storage!r}: no database answers at {url.host}:{port} within 5 s ({error}): "
                         "start it or give the path of a file.") from None


def open_storage(storage: str, default: Path) -> BaseStorage:
    """The Optuna storage of STUDY_STORAGE: a database by its URL, else a journal file ("": `default`).

    A last line that a kill or a full disk has cut off is removed from the journal, so that the next one starts a line.
    """
    check_storage(storage)
    if "://" in storage:
        for attempt in range(5):
            try:
                return optuna.storages.RDBStorage(storage)
            except Exception as error:  # drivers raise kinds of their own; two processes that make the tables collide once
                if attempt == 4:
                    raise ValueError(f"STUDY_STORAGE = {storage!r} cannot be opened: {str(error).splitlines()[0]}") from None
                time.sleep(0.5 * (attempt + 1))
    file = ROOT / Path(storage).expanduser() if storage else default
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileOpenLock(str(file), grace_period=BRIEF)
    if file.exists():
        lock.acquire()
        try:
            mend_journal(file)
        finally:
            lock.release()
    try:
        return JournalStorage(JournalFileBackend(str(file), lock_obj=lock))
    except Exception as error:  # entries that do not follow from those before
        raise ValueError(f"{file} is a journal that contradicts itself ({type(error).__name__}): give STUDY_STORAGE another "
                         "file, or delete this one to search anew.") from error


BRIEF = 10  # seconds after which a lock of the journal, or a trial that names no process, is taken for left behind
HEARTBEAT, GRACE_PERIOD = 20, 180  # seconds: a sign of life of a running trial, and when its process is taken for dead


def worker() -> str:
    """Who works here: the machine and the process."""
    return f"{socket.gethostname()}:{os.getpid()}"


@contextlib.contextmanager
def _alive(study: optuna.Study, trial_id: int) -> Iterator[None]:
    """Note who works on a trial, and again and again that the work goes on, while the block runs."""
    stop = threading.Event()

    def note() -> None:
        study._storage.set_trial_user_attr(trial_id, "worker", [worker(), time.time()])

    def beat() -> None:
        while not stop.wait(HEARTBEAT):
            with contextlib.suppress(Exception):  # a trial that another one has ended, a database that is away for a moment
                note()
    note()
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


_at_work: set[int] = set()  # the trials that threads of this process work on


def is_stale(trial: FrozenTrial) -> bool:
    """Whether nobody works on a running trial any more: its process is gone, or has been silent for GRACE_PERIOD seconds."""
    name, heard = trial.user_attrs.get("worker", ("", 0.0))
    if not name:  # killed before it could say who it is, or about to say so
        return (datetime.now() - trial.datetime_start).total_seconds() > BRIEF
    host, _, process = name.rpartition(":")
    if name == worker():
        return trial._trial_id not in _at_work
    if host == socket.gethostname() and os.name == "posix":
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
    return time.time() - heard > GRACE_PERIOD


def run_trials(study: optuna.Study, n_trials: int, objective: Callable[[optuna.Trial], float], *, poll: float = 1.0) -> None:
    """Work on the trials 0, …, n_trials - 1 of a study until all have ended; any number of processes and threads can do so.

    `objective` returns the score, raises optuna.TrialPruned, or another Exception for a trial that fails, which ends that
    trial only. A trial whose process is gone is started again, with the same options, by whoever sees it first.
    """
    storage, waits = study._storage, TrialState.WAITING
    while True:
        trials = study.get_trials(deepcopy=False)
        for trial in trials:
            if trial.state == TrialState.RUNNING and is_stale(trial):
                storage.set_trial_state_values(trial._trial_id, state=waits)
        asked = [trial for trial in study.get_trials(deepcopy=False) if trial.number < n_trials]
        if len(asked) == n_trials and all(trial.state in FINISHED for trial in asked):
            return
        if len(asked) == n_trials and not any(trial.state == waits for trial in asked):
            time.sleep(poll)  # others are at work on the rest
            continue
        trial = study.ask()
        if trial.number >= n_trials:  # two processes have asked for the last one: it waits for a longer search
            storage.set_trial_state_values(trial._trial_id, state=waits)
            continue
        _at_work.add(trial._trial_id)
        try:
            with _alive(study, trial._trial_id):
                state, value = _ended(trial, objective)
        except optuna.exceptions.UpdateFinishedTrialError:
            continue  # another process took this one for dead, and was faster
        except BaseException:
            storage.set_trial_state_values(trial._trial_id, state=waits)
            raise
        else:
            study.tell(trial.number, value, state=state, skip_if_finished=True)
        finally:
            _at_work.discard(trial._trial_id)


def _ended(trial: optuna.Trial, objective: Callable[[optuna.Trial], float]) -> tuple[TrialState, float | None]:
    """Run one trial: how it ended, and its score.

    Whatever a training raises is the reason of a trial that failed, since one impossible setting must not end a search of
    hours; an interrupt, and trouble of the study itself (OptunaError) or of the disk (NotWritten), stop it.
    """
    try:
        with warnings.catch_warnings():  # a trial that is started again reports the same scores for the same epochs
            warnings.filterwarnings("ignore", message="The reported value is ignored")
            value = float(objective(trial))
            if not math.isfinite(value):
                raise ValueError(f"The score is {value}.")
            return TrialState.COMPLETE, value
    except optuna.TrialPruned:
        return TrialState.PRUNED, None
    except (optuna.exceptions.OptunaError, NotWritten):
        raise
    except Exception as error:
        trial.set_user_attr("reason", reason_of(error))
        return TrialState.FAIL, None


def reason_of(error: Exception) -> str:
    """The first line of an error, led by its kind where that is not ValueError, the kind of a setting that is not valid."""
    line = next(iter(str(error).splitlines()), "")
    kind = type(error).__name__
    return line if line and isinstance(error, ValueError) else f"{kind}: {line}" if line else kind


def open_study(settings: Mapping[str, Any], default: Path, stamp: str,
               sampler: optuna.samplers.BaseSampler) -> optuna.Study:
    """The study of a search: one that maximises, pruned at the median of the trials before at the same epoch."""
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=0)
    storage = open_storage(settings["STUDY_STORAGE"], default)
    others = [known.study_name for known in storage.get_all_studies() if not re.search(r" [0-9a-f]{16}$", known.study_name)]
    if others and stamp.startswith("search "):
        print(f"STUDY_STORAGE also holds studies of something else, such as {visible(others[0])}: they stay as they are")
    return optuna.create_study(storage=storage, study_name=stamp, sampler=sampler, pruner=pruner, direction="maximize",
                               load_if_exists=True)


def trial_table(study: optuna.Study, space: Mapping[str, Any], n_trials: int) -> pd.DataFrame:
    """number, state, score, seconds, then one column per option, for the trials 0, …, n_trials - 1 of a study."""
    rows = [{"number": trial.number, "state": trial.state.name, "score": math.nan if trial.value is None else trial.value,
             "seconds": trial.duration.total_seconds() if trial.duration else math.nan,
             **{name: trial.params.get(name) for name in space}}
            for trial in study.get_trials(deepcopy=False) if trial.number < n_trials]
    return pd.DataFrame(rows).sort_values("number", ignore_index=True)
