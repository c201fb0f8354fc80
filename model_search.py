"""Search over settings: the space, a study that survives kills and is shared by processes, and what it tells.

A trial is one training (see experiments.py), scored by mean class accuracy on validation.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
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

import matplotlib.pyplot as plt
import numpy as np
import optuna
import pandas as pd
import scipy.stats
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

import helpers
from experiments import COMPARABLE, SEARCHABLE, Experiment, check_network, is_random, readable, suited, tracking, train

optuna.logging.set_verbosity(optuna.logging.ERROR)

# ---------------------------------------------------------------------------------------- the space of a search

ALIASES = {"LR": "LEARNING_RATE", "AUGMENT": "AUGMENTATION"}
OF_PRETRAINED = ("WEIGHTS", "HEAD", "STRATEGY", "HEAD_EPOCHS", "BACKBONE_FACTOR")  # mean nothing for networks from scratch
GRID_VALUES = 3  # of a range, where SEARCH_SAMPLER is "grid"


def check_search(settings: Mapping[str, object]) -> None:
    """Raise ValueError unless STUDY_STORAGE and, where there are SEARCH_TRIALS, SEARCH_SPACE are legal."""
    check_storage(settings["STUDY_STORAGE"])
    if settings["SEARCH_TRIALS"]:
        search_space(settings)


def search_space(settings: Mapping[str, object]) -> dict[str, BaseDistribution]:
    """SEARCH_SPACE as Optuna distributions, by name in lower case; ValueError for what is no option or an empty range.

    A range is two numbers, with "log" as a third entry for a logarithmic one: [1e-5, 1e-2, "log"]. Any other list, and
    two numbers followed by "choice", are choices. Names are training parameters (lr and augment are understood), or
    options of an architecture in play; an option that not all architectures have is drawn for those that do.
    """
    given = settings["SEARCH_SPACE"]
    if not given:
        raise ValueError('SEARCH_SPACE is empty: give options to try, such as {"lr": [1e-4, 1e-2, "log"]}, or set '
                         "SEARCH_TRIALS = 0.")
    names = {_option_name(name): name for name in given}
    if len(names) < len(given):
        raise ValueError(f"SEARCH_SPACE names an option twice: {', '.join(given)}.")
    architectures = [settings["ARCHITECTURE"]]
    if "architecture" in names:
        architectures = values_of(_distribution("architecture", given[names["architecture"]]))
        for architecture in architectures:
            helpers.check_architecture(architecture)
    space = {}
    for option, name in names.items():
        space[option] = _distribution(name, given[name])
        _check_option(option, name, values_of(space[option]), architectures, settings)
    if "epochs" in space and settings["SEARCH_EPOCHS"]:
        raise ValueError("SEARCH_SPACE varies epochs, but SEARCH_EPOCHS fixes them: set SEARCH_EPOCHS = 0.")
    if settings["SEARCH_SAMPLER"] == "grid":
        partial = [name for name in space if not all(applies(name, kind) for kind in architectures)]
        if partial:
            raise ValueError(f"SEARCH_SPACE holds {partial[0]!r}, which not every architecture has: SEARCH_SAMPLER = "
                             "\"grid\" cannot do that, \"tpe\" and \"random\" can.")
    return space


def _option_name(name: str) -> str:
    upper = ALIASES.get(name.upper(), name.upper())
    return (upper if upper in SEARCHABLE else name).lower()


def _distribution(name: str, values: object) -> BaseDistribution:
    """One entry of SEARCH_SPACE."""
    if not isinstance(values, (list, tuple)) or not values:
        raise ValueError(f"SEARCH_SPACE: {name} = {values!r} is empty; it takes a range [low, high], [low, high, \"log\"], "
                         "or a list of choices.")
    numbers = [type(value) in (int, float) for value in values[:2]] == [True, True]
    word = values[2] if len(values) == 3 and numbers and isinstance(values[2], str) else ""
    if word not in ("", "log", "choice"):
        raise ValueError(f"SEARCH_SPACE: {name} = {list(values)} ends in {word!r}; legal there are 'log' and 'choice'.")
    if numbers and (word == "log" or len(values) == 2):
        low, high = values[:2]
        if low >= high or word == "log" and low <= 0:
            raise ValueError(f"SEARCH_SPACE: the range {name} = {list(values)} is empty: the first number must be smaller "
                             "than the second" + (", and above 0 on a logarithmic scale." if word else "."))
        kind = IntDistribution if type(low) is type(high) is int else FloatDistribution
        return kind(low, high, log=word == "log")
    choices = [value if isinstance(value, (str, bool, int, float)) else json.dumps(value)
               for value in (values[:2] if word else values)]
    if len(set(map(repr, choices))) < len(choices):
        raise ValueError(f"SEARCH_SPACE: {name} = {list(values)} names a choice twice.")
    return CategoricalDistribution(choices)


def _check_option(option: str, name: str, values: Sequence, architectures: Sequence[str],
                  settings: Mapping[str, object]) -> None:
    """Raise ValueError unless an architecture in play has the option, and all values are legal for those that have it."""
    fitting = [architecture for architecture in architectures if applies(option, architecture)]
    if not fitting:
        legal = {*map(str.lower, SEARCHABLE), *(key for kind in architectures for key in helpers.legal_options(kind))}
        raise ValueError(f"SEARCH_SPACE names {name!r}, which is no option of {' or '.join(architectures)} or of training: "
                         f"{helpers.nearest(name, sorted(legal))}")
    for value, architecture in itertools.product(values, fitting):
        drawn = {"architecture": architecture, option: value}
        if option.upper() in SEARCHABLE:
            helpers.check_parameters({option.upper(): value})
        check_network(changed(settings, drawn))


def applies(option: str, architecture: str) -> bool:
    """Whether an option of a search means anything for an architecture."""
    if option.upper() in SEARCHABLE:
        return not (helpers.from_scratch(architecture) and option.upper() in OF_PRETRAINED)
    return option in helpers.legal_options(architecture)


def decoded(value: object) -> object:
    """A choice as it stood in SEARCH_SPACE: lists are kept as JSON text in a study."""
    return json.loads(value) if isinstance(value, str) and value[:1] in ("[", "{") else value


def values_of(distribution: BaseDistribution) -> list:
    """All choices of a distribution, or the ends of its range."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    return [distribution.low, distribution.high]


def grid_of(space: Mapping[str, BaseDistribution]) -> list[dict[str, object]]:
    """All combinations of the choices; a range stands for GRID_VALUES values, its ends and evenly between them."""
    columns = []
    for distribution in space.values():
        if isinstance(distribution, CategoricalDistribution):
            columns.append(distribution.choices)
            continue
        spaced = np.geomspace if distribution.log else np.linspace
        values = spaced(distribution.low, distribution.high, GRID_VALUES).clip(distribution.low, distribution.high)
        whole = isinstance(distribution, IntDistribution)
        columns.append(list(dict.fromkeys(int(value.round()) if whole else float(value) for value in values)))
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*columns)]


# ---------------------------------------------------------------------------------------- the study

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class RepeatableSampler(optuna.samplers.BaseSampler):
    """Draws that follow from the seed, the number of the trial and the trials that have ended, and from nothing else.

    Optuna's samplers go on in one stream of random numbers, which a process that takes over after a kill does not have.
    Here TPE (Bergstra et al. 2011) or random sampling starts anew for each trial and option, so that one process gives
    the same trials with and without kills. `grid` gives its combinations by number instead; `first`, where legal, are
    the values of trial 0.
    """

    def __init__(self, kind: str, seed: int, *, grid: Sequence[Mapping] = (), first: Mapping[str, object] | None = None):
        self.kind, self.seed, self.grid, self.first = kind, seed, grid, first or {}

    def _seeded(self, trial: FrozenTrial, name: str = "") -> optuna.samplers.BaseSampler:
        seed = int(helpers.fingerprint([self.seed, trial.number, name]), 16) % 2**32
        if self.kind == "tpe":
            return optuna.samplers.TPESampler(seed=seed)
        return optuna.samplers.RandomSampler(seed=seed)

    def infer_relative_search_space(self, study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {} if self.grid or trial.number == 0 else self._seeded(trial).infer_relative_search_space(study, trial)

    def sample_relative(self, study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, object]:
        return self._seeded(trial).sample_relative(study, trial, search_space) if search_space else {}

    def sample_independent(self, study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> object:
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


def _is_number(value: object) -> bool:
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
    if re.match(r"[^/@]*:[^/@]*@", rest):
        raise ValueError("STUDY_STORAGE holds a password, which the report would show: take it out of the URL and give it "
                         "by PGPASSWORD or ~/.pgpass (for MySQL by its option file).")
    try:
        import sqlalchemy
        sqlalchemy.create_engine(storage)
    except ImportError as error:
        remedy = 'pip install "psycopg[binary]" and postgresql+psycopg://…' if kind.startswith("postgres") else "install it"
        raise ValueError(f"STUDY_STORAGE = {storage!r} needs the package {error.name}: {remedy}.") from None
    except sqlalchemy.exc.ArgumentError as error:
        raise ValueError(f"STUDY_STORAGE = {storage!r} is no URL of a database ({error}); the path of a file will do, "
                         "too.") from None


def open_storage(storage: str, default: Path):
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
    file = helpers.ROOT / Path(storage).expanduser() if storage else default
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileOpenLock(str(file), grace_period=10)
    if file.exists():
        lock.acquire()
        try:
            whole = file.read_bytes()
            if whole and not whole.endswith(b"\n"):
                os.truncate(file, whole.rfind(b"\n") + 1)
        finally:
            lock.release()
    return JournalStorage(JournalFileBackend(str(file), lock_obj=lock))


HEARTBEAT, SILENCE = 20, 180  # seconds: a sign of life of a running trial, and when its process is taken for dead


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


def abandoned(trial: FrozenTrial) -> bool:
    """Whether nobody works on a running trial any more: its process is gone, or has been silent for SILENCE seconds."""
    name, heard = trial.user_attrs.get("worker", ("", 0.0))
    if not name:  # killed before it could say who it is, or about to say so
        return (datetime.now() - trial.datetime_start).total_seconds() > 10
    host, _, process = name.rpartition(":")
    if name == worker():
        return True  # this process works on one trial at a time, and now on none
    if host == socket.gethostname() and os.name == "posix":
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
    return time.time() - heard > SILENCE


def run_trials(study: optuna.Study, n_trials: int, objective: Callable[[optuna.Trial], float], *, poll: float = 1.0) -> None:
    """Work on the trials 0, …, n_trials - 1 of a study until all have ended; any number of processes can do so at once.

    `objective` returns the score, raises optuna.TrialPruned, or another Exception for a trial that fails, which ends that
    trial only. A trial whose process is gone is started again, with the same options, by whoever sees it first.
    """
    storage, waits = study._storage, TrialState.WAITING
    while True:
        trials = study.get_trials(deepcopy=False)
        for trial in trials:
            if trial.state == TrialState.RUNNING and abandoned(trial):
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
        try:
            with _alive(study, trial._trial_id):
                state, value = _ended(trial, objective)
        except optuna.exceptions.UpdateFinishedTrialError:
            continue  # another process took this one for dead, and was faster
        except BaseException:
            storage.set_trial_state_values(trial._trial_id, state=waits)
            raise
        study.tell(trial.number, value, state=state, skip_if_finished=True)


def _ended(trial: optuna.Trial, objective: Callable[[optuna.Trial], float]) -> tuple[TrialState, float | None]:
    """Run one trial: how it ended, and its score.

    Whatever a training raises is the reason of a trial that failed, since one impossible setting must not end a search of
    hours; an interrupt, and trouble of the study itself (OptunaError), stop it.
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
    except optuna.exceptions.OptunaError:
        raise
    except Exception as error:
        trial.set_user_attr("reason", reason_of(error))
        return TrialState.FAIL, None


def reason_of(error: Exception) -> str:
    """The first line of an error, led by its kind where that is not ValueError, the kind of a setting that is not legal."""
    line = next(iter(str(error).splitlines()), "")
    kind = type(error).__name__
    return line if line and isinstance(error, ValueError) else f"{kind}: {line}" if line else kind


# ---------------------------------------------------------------------------------------- the search

@dataclasses.dataclass(frozen=True)
class Search:
    """A finished search: its study, the space, and the settings that it started from.

    `apart` is the training of the settings as they stand where no trial of the study has them.
    """

    study: optuna.Study
    space: dict[str, BaseDistribution]
    settings: dict[str, object]
    n_trials: int
    apart: FrozenTrial | None = None

    @property
    def trials(self) -> pd.DataFrame:
        """number, state, score, seconds, then a column an option; a row a trial (see trials.csv)."""
        return trial_table(self.study, self.space, self.n_trials)

    @property
    def ranked(self) -> list[FrozenTrial]:
        """The complete trials, best first, each setting once. ValueError when there is none."""
        done = self._ended(TrialState.COMPLETE)
        if not done:
            reasons = [trial.user_attrs["reason"] for trial in self.study.trials if "reason" in trial.user_attrs]
            raise ValueError("No trial of the search came to an end" + (f": {reasons[0]}" if reasons else "."))
        best: dict[str, FrozenTrial] = {}
        for trial in done:
            best.setdefault(json.dumps(trial.params, sort_keys=True), trial)
        return list(best.values())

    @property
    def base(self) -> FrozenTrial | None:
        """How the settings as they stand did: the trial that has them and was not pruned, else `apart`."""
        own = changed(self.settings, {})
        ended = self._ended(TrialState.COMPLETE) + self._ended(TrialState.FAIL)
        return next((trial for trial in ended if same_settings(self.settings_of(trial), own)), self.apart)

    def _ended(self, state: TrialState) -> list[FrozenTrial]:
        """The trials of the search that ended in a state, by score."""
        trials = [trial for trial in self.study.get_trials(deepcopy=False)
                  if trial.number < self.n_trials and trial.state == state]
        return sorted(trials, key=lambda trial: (-(trial.value or 0), trial.number))

    @property
    def candidates(self) -> dict[str, FrozenTrial]:
        """{"best", "runner-up", "as they stand": trial}; the last where it is neither of the others."""
        named = dict(zip(("best", "runner-up"), self.ranked, strict=False))
        return named if self.base is None or self.base_name else named | {"as they stand": self.base}

    @property
    def base_name(self) -> str:
        """"best" or "runner-up" where the settings as they stand are one of these, else ""."""
        own = changed(self.settings, {})
        return next((name for name, trial in zip(("best", "runner-up"), self.ranked, strict=False)
                     if same_settings(self.settings_of(trial), own)), "")

    def settings_of(self, trial: FrozenTrial) -> dict[str, object]:
        """The settings with the options of a trial, for the full training."""
        return changed(self.settings, trial.params)


def same_settings(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether two settings are those of the same training; an option that is not given has its default."""
    def flat(settings):
        plain = {name: settings[name] for name in COMPARABLE if name != "ARCHITECTURE_OPTIONS"}
        return plain | helpers.legal_options(settings["ARCHITECTURE"]) | settings["ARCHITECTURE_OPTIONS"]
    one, other = flat(one), flat(other)
    return one.keys() == other.keys() and all(_same_value(one[name], other[name]) for name in one)


def changed(settings: Mapping[str, object], params: Mapping[str, object]) -> dict[str, object]:
    """Settings with the options that a trial has drawn, those of its architecture among the ARCHITECTURE_OPTIONS."""
    settings = suited(settings, {name.upper(): value for name, value in params.items() if name.upper() in SEARCHABLE})
    own = {name: decoded(value) for name, value in params.items() if name.upper() not in SEARCHABLE}
    return settings | {"ARCHITECTURE_OPTIONS": settings["ARCHITECTURE_OPTIONS"] | own}


def suggest(trial: optuna.Trial, space: Mapping[str, BaseDistribution], architecture: str) -> dict[str, object]:
    """Draw the options of a trial: the architecture first, then those that mean anything for it."""
    drawn = {}
    for name in sorted(space, key=lambda name: name != "architecture"):
        if applies(name, drawn.get("architecture", architecture)):
            distribution = space[name]
            if isinstance(distribution, CategoricalDistribution):
                drawn[name] = trial.suggest_categorical(name, distribution.choices)
            else:
                draw = trial.suggest_int if isinstance(distribution, IntDistribution) else trial.suggest_float
                drawn[name] = draw(name, distribution.low, distribution.high, log=distribution.log)
    return drawn


def subset(part: pd.DataFrame, n_images: int, *, seed: int) -> pd.DataFrame:
    """n_images of a part, drawn with its class shares, in its order (0, or as many as there are: all).

    Each class keeps at least one image: with fewer n_images than classes there is one of each.
    """
    if not 0 < n_images < len(part):
        return part
    rng = np.random.default_rng(seed)
    sizes = part["label"].value_counts().sort_index()
    chosen = [rng.choice(part.index[part["label"] == label], count, replace=False)
              for label, count in class_shares(sizes, n_images).items()]
    return part.loc[np.sort(np.concatenate(chosen))].reset_index(drop=True)


def class_shares(sizes: pd.Series, n_images: int) -> pd.Series:
    """How many of n_images each class gets, by its size: largest remainders, at least one and at most all of a class."""
    exact = sizes * (n_images / sizes.sum())
    counts = exact.astype(int).clip(lower=1)
    while counts.sum() != max(n_images, len(sizes)):
        step = 1 if counts.sum() < n_images else -1
        free = (counts > 1) | (step > 0)
        counts[((exact - counts) * step)[free].idxmax()] += step
    return counts


def base_values(settings: Mapping[str, object], space: Mapping[str, BaseDistribution]) -> dict[str, object]:
    """The values that the settings themselves have for the options of a space: those of trial 0, where the space holds
    them."""
    values = {}
    for name in space:
        if name.upper() in SEARCHABLE:
            values[name] = settings[name.upper()]
        else:
            values[name] = (helpers.legal_options(settings["ARCHITECTURE"]) | settings["ARCHITECTURE_OPTIONS"]).get(name)
    return values


def open_study(settings: Mapping[str, object], default: Path, stamp: str,
               sampler: optuna.samplers.BaseSampler) -> optuna.Study:
    """The study of a search: one that maximises, pruned at the median of the trials before at the same epoch."""
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=0)
    return optuna.create_study(storage=open_storage(settings["STUDY_STORAGE"], default), study_name=stamp, sampler=sampler,
                               pruner=pruner, direction="maximize", load_if_exists=True)


def search(settings: Mapping[str, object], parts: Mapping[str, pd.DataFrame], root: Path, classes: Sequence[str], *,
           folder: Path) -> Search:
    """Try SEARCH_TRIALS settings of SEARCH_SPACE, scored by the best mean class accuracy on validation.

    A trial trains for SEARCH_EPOCHS on SEARCH_IMAGES images (0: as in the full training) and is pruned when it is below
    the median. Trial 0 has the settings as they stand where the space holds them; where no trial has them (a value outside
    of the space, a grid) they are trained once more, apart from the study. The study is study.log in `folder`, or
    STUDY_STORAGE; trials that it holds of the same settings, space and split count, so that more can be added.
    """
    space = search_space(settings)
    grid = grid_of(space) if settings["SEARCH_SAMPLER"] == "grid" else []
    n_trials = min(settings["SEARCH_TRIALS"], len(grid) or settings["SEARCH_TRIALS"])
    if 0 < len(grid) < settings["SEARCH_TRIALS"]:
        print(f"the grid has {len(grid)} combinations: {len(grid)} trials instead of {settings['SEARCH_TRIALS']}")
    for architecture in (settings["ARCHITECTURE"], *values_of(space["architecture"])) if "architecture" in space else ():
        if not is_random(changed(settings, {"architecture": architecture})):
            helpers.build_network(architecture, len(classes))  # weights that cannot be had stop here, not in the middle
    parts = search_parts(settings, parts)
    if 0 < settings["SEARCH_IMAGES"] < len(parts["train"]):  # fewer than there are classes
        n_classes = len(parts["train"])
        print(f"a trial takes {n_classes} training images, one of each class, instead of {settings['SEARCH_IMAGES']}")
    fixed = {name: settings[name] for name in COMPARABLE if name.lower() not in space}  # all that bears on a score
    images = pd.concat([part[["path", "label", "sha256"]] for part in parts.values()])
    stamp = "search " + helpers.fingerprint(fixed, settings["SEARCH_SPACE"], settings["SEARCH_SAMPLER"],
                                            settings["SEARCH_EPOCHS"], images)
    sampler = RepeatableSampler(settings["SEARCH_SAMPLER"], settings["SEED"], grid=grid, first=base_values(settings, space))
    study = open_study(settings, folder / "study.log", stamp, sampler)

    def objective(trial: optuna.Trial) -> float:
        drawn = suggest(trial, space, settings["ARCHITECTURE"])
        name = f"trial {trial.number} of 0 to {n_trials - 1}"
        return score(changed(settings, drawn), parts, root, classes, folder, trial, name)

    run_trials(study, n_trials, objective)
    found = Search(study, space, dict(settings), n_trials)
    return found if found.base else dataclasses.replace(found, apart=as_they_stand(settings, parts, root, classes, folder))


def search_parts(settings: Mapping[str, object], parts: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The images of a trial: SEARCH_IMAGES training images, all validation images."""
    return {"train": subset(parts["train"], settings["SEARCH_IMAGES"], seed=settings["SEED"]), "val": parts["val"]}


def as_they_stand(settings: Mapping[str, object], parts: Mapping[str, pd.DataFrame], root: Path, classes: Sequence[str],
                  folder: Path) -> FrozenTrial:
    """The settings as they stand, trained with the budget of a trial: the only trial of a study of its own.

    It is not one of the trials, since its values can lie where the distributions of their study have no place for them.
    """
    own = changed(settings, {})
    images = pd.concat([part[["path", "label", "sha256"]] for part in parts.values()])
    fixed = {name: own[name] for name in COMPARABLE}
    stamp = f"as they stand {helpers.fingerprint(fixed, settings['SEARCH_EPOCHS'], images)}"
    study = open_study(settings, folder / "study.log", stamp, RepeatableSampler("random", 0))
    run_trials(study, 1, lambda trial: score(own, parts, root, classes, folder, trial, "settings as they stand"))
    return study.get_trials(deepcopy=False)[0]


def score(settings: Mapping[str, object], parts: Mapping[str, pd.DataFrame], root: Path, classes: Sequence[str],
          folder: Path, trial: optuna.Trial, name: str) -> float:
    """Train with the budget of the search; the best mean class accuracy on validation, reported epoch by epoch."""
    settings = {**settings, **({"EPOCHS": settings["SEARCH_EPOCHS"]} if settings["SEARCH_EPOCHS"] else {})}
    start, best = time.perf_counter(), -math.inf

    def report(row: Mapping) -> None:
        nonlocal best
        if not math.isfinite(row["val_mean_class_accuracy"]):
            raise ValueError(f"The score on validation is {row['val_mean_class_accuracy']} in epoch {row['epoch']}.")
        best = max(best, row["val_mean_class_accuracy"])
        trial.report(best, row["epoch"])
        if trial.should_prune():
            _print_trial(trial, name, f"pruned after epoch {row['epoch']} at {best:.3f}", start)
            raise optuna.TrialPruned
    try:
        with tracking(settings, folder, re.sub(r"[^\w-]+", "-", name)) as track:
            train(Experiment(settings, parts, root, classes), folder / "features",
                  after_epoch=lambda row: (track(row), report(row)))
    except optuna.exceptions.OptunaError:
        raise
    except Exception as error:
        _print_trial(trial, name, f"failed: {reason_of(error)}", start)
        raise
    _print_trial(trial, name, f"{best:.3f}", start)
    return best


def _print_trial(trial: optuna.Trial, name: str, text: str, start: float) -> None:
    seconds = helpers.duration(time.perf_counter() - start)
    print(f"{name}: {text} ({'; '.join(filter(None, (seconds, readable_params(trial))))})", flush=True)


def readable_params(trial: FrozenTrial | optuna.Trial) -> str:
    """The options of a trial in a row: learning_rate 0.001, strategy full."""
    return ", ".join(f"{name} {readable(value)}" for name, value in trial.params.items())


def trial_table(study: optuna.Study, space: Mapping[str, object], n_trials: int) -> pd.DataFrame:
    """number, state, score, seconds, then a column an option, for the trials 0, …, n_trials - 1 of a study."""
    rows = [{"number": trial.number, "state": trial.state.name, "score": math.nan if trial.value is None else trial.value,
             "seconds": trial.duration.total_seconds() if trial.duration else math.nan,
             **{name: trial.params.get(name) for name in space}}
            for trial in study.get_trials(deepcopy=False) if trial.number < n_trials]
    return pd.DataFrame(rows).sort_values("number", ignore_index=True)


def noise_band(found: Search, parts: Mapping[str, pd.DataFrame], root: Path, classes: Sequence[str], *,
               folder: Path) -> pd.DataFrame:
    """The candidates of a search, trained on FINAL_SEEDS new seeds each with the budget of a trial.

    Columns: setting ("best", "runner-up", and "as they stand" where that is neither of the two), trial (None for settings
    that no trial has), seed, score (NaN: the training failed), trial_score (NaN: none). The seed moves new weights, order
    and augmentation; split and images stay. It is a study of its own in the same storage, which a kill does not harm.
    """
    settings, candidates, parts = found.settings, found.candidates, search_parts(found.settings, parts)
    seeds = [settings["SEED"] + 1 + number for number in range(settings["FINAL_SEEDS"])]
    space = {"setting": CategoricalDistribution(list(candidates)), "seed": CategoricalDistribution(seeds)}
    chosen = {name: found.settings_of(trial) for name, trial in candidates.items()}
    stamp = f"noise band {helpers.fingerprint(found.study.study_name, seeds, chosen)}"
    study = open_study(settings, folder / "study.log", stamp, RepeatableSampler("grid", 0, grid=grid_of(space)))
    study.pruner = optuna.pruners.NopPruner()
    n_trials = len(candidates) * len(seeds)

    def objective(trial: optuna.Trial) -> float:
        drawn = {name: trial.suggest_categorical(name, entry.choices) for name, entry in space.items()}
        tried = chosen[drawn["setting"]] | {"SEED": drawn["seed"]}
        return score(tried, parts, root, classes, folder, trial, f"noise band, {trial.number + 1} of {n_trials}")

    run_trials(study, n_trials, objective)
    table = trial_table(study, space, n_trials)
    numbers = {name: None if trial is found.apart else trial.number for name, trial in candidates.items()}
    scores = {name: math.nan if trial.value is None else trial.value for name, trial in candidates.items()}
    kind = object if None in numbers.values() else int
    return table.assign(trial=pd.Series([numbers[name] for name in table["setting"]], dtype=kind),
                        trial_score=table["setting"].map(scores))[["setting", "trial", "seed", "score", "trial_score"]]


CALLED = {"best": "the best setting", "runner-up": "the runner-up", "as they stand": "the settings as they stand"}


@dataclasses.dataclass(frozen=True)
class Difference:
    """The mean of n differences between two settings, a seed each, and its 95 % interval; rounded to three digits."""

    n: int
    gap: float
    low: float
    high: float

    @classmethod
    def of(cls, one: Sequence[float], other: Sequence[float]) -> Difference:
        """By the paired t test (Student 1908): scores in the same order of seeds; a seed that lacks one (NaN) is left out.

        Paired, since the settings share their seeds, which move them alike (four settings, 14 seeds: correlations from 0.26
        to 0.89); Welch's test would tell equal settings apart too seldom and find less. The limits stay within -1 and 1, as
        shares do; they are NaN, and nothing can be told, with fewer than two seeds or where all differences are the same.
        """
        pairs = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
        both = np.isfinite(pairs[0]) & np.isfinite(pairs[1])
        one, other = (scores[both] for scores in pairs)
        if not len(one):
            return cls(0, math.nan, math.nan, math.nan)
        low = high = math.nan
        if len(one) > 1 and np.ptp(one - other) > 1e-9:
            low, high = np.clip(scipy.stats.ttest_rel(one, other).confidence_interval(0.95), -1, 1)
        return cls(len(one), *(round(float(value), 3) + 0.0 for value in ((one - other).mean(), low, high)))

    @property
    def told(self) -> bool:
        """Whether the two are told apart: the interval, as it is shown, does not hold 0."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        interval = f" (95 % interval {self.low:+.3f} to {self.high:+.3f})" if math.isfinite(self.low) else ""
        return f"a difference of {self.gap:+.3f}{interval}"


def told_noise(band: pd.DataFrame) -> str:
    """What the new seeds say of each candidate, and whether they tell the best from the others (see Difference)."""
    groups = dict(iter(band.groupby("setting", sort=False)))
    scores = band.pivot(index="seed", columns="setting", values="score")
    told = "; ".join(f"{CALLED[name]}{_numbered(part)} {_spread(scores[name])}" for name, part in groups.items())
    lines = [f"With {_counted(len(scores), 'new seed')}: {told}."]
    lines += [f"The best setting less {CALLED[name]}: {_verdict(scores['best'], scores[name])}."
              for name in groups if name != "best"]
    if len(groups) == 1:
        lines.append("There is no other setting to compare it with.")
    own = groups["best"]["trial_score"].iloc[0]
    if round(own, 3) > round(scores["best"].max(), 3):
        lines.append(f"In the search the best setting had {own:.3f}, more than with any new seed: the highest of several "
                     "scores is optimistically biased.")
    return " ".join(lines)


def _numbered(part: pd.DataFrame) -> str:
    number = part["trial"].iloc[0]
    return "" if pd.isna(number) else f" (trial {number})"


def _spread(scores: pd.Series) -> str:
    """Mean and range of the scores of some seeds, and how many failed."""
    known = scores.dropna()
    if known.empty:
        return "no score (every seed failed)"
    failed = [f"{len(scores) - len(known)} of {len(scores)} seeds failed"] if len(known) < len(scores) else []
    ranged = [f"{known.min():.3f} to {known.max():.3f}"] if len(known) > 1 else []
    inside = "; ".join(ranged + failed)
    return f"{known.mean():.3f}" + (f" ({inside})" if inside else "")


def _verdict(one: pd.Series, other: pd.Series, better: str = "it is better", worse: str = "it is worse",
             undecided: str = "these seeds do not tell them apart") -> str:
    """The difference of two settings in words, or why it cannot be told."""
    difference = Difference.of(one, other)
    if not difference.n:
        return "unknown, since no seed has a score of both"
    over = f" over the {difference.n} with scores of both" if difference.n < len(one) else ""
    if math.isnan(difference.low):
        why = "from a single seed" if difference.n == 1 else "since it is the same with every seed"
        return f"{difference}{over}, which cannot be told from chance {why}"
    verdict = (better if difference.gap > 0 else worse) if difference.told else undecided
    return f"{difference}{over}: {verdict}"


def describe_trials(found: Search) -> str:
    """How the trials ended, which one was best, how the settings as they stand did, and why trials failed."""
    best, trials = found.ranked[0], found.trials
    ends = ", ".join(f"{n} {state.lower()}" for state, n in trials["state"].value_counts().items())
    told = (f"Best of {_counted(len(trials), 'trial')} ({ends}): trial {best.number} with {best.value:.3f} on validation "
            f"({readable_params(best)}). {describe_base(found)}")
    failed = {trial.number: _reason(trial)
              for trial in found._ended(TrialState.FAIL)}
    for reason in dict.fromkeys(failed.values()):
        numbers = ", ".join(str(number) for number, why in failed.items() if why == reason)
        told += f" Trial {numbers} failed: {reason}."
    return told


def _reason(trial: FrozenTrial) -> str:
    return trial.user_attrs.get("reason", "no reason is known").rstrip(".")


def describe_base(found: Search) -> str:
    """One sentence: the score of the settings as they stand, and where it comes from."""
    base = found.base
    where = "trained apart, since no finished trial has them" if base is found.apart else f"trial {base.number}"
    if base.value is None:
        return f"The settings as they stand ({where}) failed: {_reason(base)}."
    return f"The settings as they stand ({where}) have {base.value:.3f}."


def describe_search(found: Search | None, noise: pd.DataFrame | None) -> list[str]:
    """Whether the search helped: the verdict of the new seeds; without them, that nothing was verified. [] for no search."""
    if found is None:
        return []
    best, n_scores = found.ranked[0], int((found.trials["state"] == "COMPLETE").sum())
    unverified = "; nothing was verified with new seeds (FINAL_SEEDS = 0)."
    seeds = "" if noise is None else f"With {_counted(noise['seed'].nunique(), 'new seed')}"
    scores = {} if noise is None else noise.pivot(index="seed", columns="setting", values="score")
    if found.base_name == "best":
        told = (f"No trial of the search scored higher than the settings as they stand (trial {best.number}, "
                f"{best.value:.3f})")
        return [told + unverified if noise is None else f"{told}. {seeds} they have {_spread(scores['best'])}."]
    biased = f"{best.value:.3f}, " + (
        f"the highest of {n_scores} noisy scores, is optimistically biased" if n_scores > 1 else "the only one, is noisy")
    if noise is None:
        higher = (f" The settings as they stand, which no trial has, scored higher ({found.base.value:.3f})."
                  if found.base.value is not None and round(found.base.value, 3) > round(best.value, 3) else "")
        return [f"The search's own score of its best setting, {biased}{unverified}{higher}"]
    base = scores[found.base_name or "as they stand"]
    verdict = _verdict(scores["best"], base, "the search helped", "the search chose a worse setting",
                       "these seeds do not tell whether the search helped")
    return [f"Did the search help? {seeds} the setting that it chose has {_spread(scores['best'])}, the settings as they "
            f"stand have {_spread(base)}: {verdict}. Its own score of that setting, {biased}."]


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")


PERMUTATIONS = 200  # of the scores, for the chance level of a correlation


def importances(found: Search) -> pd.DataFrame:
    """option, importance, correlation, chance, measure: how much each option mattered among the complete trials.

    importance: the share of the variance of the score (fANOVA: Hutter, Hoos and Leyton-Brown 2014), unknown (NaN) for
    options that not all trials have. The shares add up to one whatever the scores are; they have no chance level, since
    some hundred forests would take minutes. correlation: Spearman's rank correlation with the score, for choices of words
    the correlation ratio η from 0 to 1, the root of the share of the variance between the choices. chance: what its
    absolute value stays below in 95 of 100 permutations of the scores.
    """
    done = found.trials[found.trials["state"] == "COMPLETE"]
    shares: dict[str, float] = {}
    if len(done) >= 4 and done["score"].nunique() > 1:
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        with warnings.catch_warnings(), contextlib.suppress(ValueError, RuntimeError):
            warnings.simplefilter("ignore")
            shares = optuna.importance.get_param_importances(finished_part(found), evaluator=evaluator)
    rows = []
    for name in found.space:
        value, measure = correlation(done[name], done["score"])
        rows.append({"option": name, "importance": shares.get(name, math.nan), "correlation": value,
                     "chance": chance_level(done[name], done["score"]), "measure": measure})
    return pd.DataFrame(rows).sort_values("importance", ascending=False, ignore_index=True, na_position="last")


def describe_importances(table: pd.DataFrame) -> str:
    """Which correlations with the score are above their chance level, as shown with two digits, and which are not."""
    shown = table.assign(value=table["correlation"].round(2), level=table["chance"].round(2))
    known = shown["value"].notna() & shown["level"].notna()
    above = known & (shown["value"].abs() > shown["level"])
    groups = (("Above", above), ("Not above", known & ~above))
    told = [f"{start} their chance level: " + ", ".join(
        f"{row['option']} ({row['measure']} {row['value']:.2f}, chance {row['level']:.2f})"
        for row in shown[chosen].to_dict("records")) for start, chosen in groups if chosen.any()]
    if not known.all():
        told.append(f"Unknown, from too few trials or values that do not vary: {', '.join(shown[~known]['option'])}")
    if above.any() and known.sum() > 1:
        told.append(f"Of {known.sum()} options without any effect, one in twenty would be above by chance")
    return ". ".join(told) + "."


def finished_part(found: Search) -> optuna.Study:
    """A study in memory that holds only the trials asked for (the storage can hold more)."""
    study = optuna.create_study(direction="maximize")
    study.add_trials([trial for trial in found.study.trials
                      if trial.number < found.n_trials and trial.state == TrialState.COMPLETE])
    return study


def correlation(values: pd.Series, scores: pd.Series) -> tuple[float, str]:
    """Spearman's ρ for numbers, the correlation ratio η for words and truth values; NaN where nothing varies."""
    found, measure = _correlations(values, scores.to_numpy(float)[None])
    return float(found[0]), measure


def chance_level(values: pd.Series, scores: pd.Series, *, n_permutations: int = PERMUTATIONS, seed: int = 0) -> float:
    """The 95 % quantile of the absolute correlation over permutations of the scores; NaN where there is no correlation."""
    known = values.notna()
    drawn = np.tile(scores[known].to_numpy(float), (n_permutations, 1))
    found, _ = _correlations(values[known], np.random.default_rng(seed).permuted(drawn, axis=1))
    return float(np.quantile(np.abs(found), 0.95))


def _correlations(values: pd.Series, scores: np.ndarray) -> tuple[np.ndarray, str]:
    """The correlation of n values with each row of the scores (P,n), and the name of the measure; see `correlation`."""
    known = values.notna().to_numpy()
    values, scores = values[known], scores[:, known]
    if len(values) < 3 or values.nunique() < 2 or np.ptp(scores[0]) == 0:
        return np.full(len(scores), math.nan), ""
    if all(type(value) in (int, float) for value in values.tolist()):
        ranks, of_scores = scipy.stats.rankdata(values.to_numpy(float)), scipy.stats.rankdata(scores, axis=1)
        ranks, of_scores = ranks - ranks.mean(), of_scores - of_scores.mean(1, keepdims=True)
        return of_scores @ ranks / (np.linalg.norm(ranks) * np.linalg.norm(of_scores, axis=1)), "Spearman ρ"
    centred = scores - scores.mean(1, keepdims=True)
    member = pd.get_dummies(values.astype(str)).to_numpy(float)
    between = ((centred @ member) ** 2 / member.sum(0)).sum(1)
    return np.sqrt((between / (centred ** 2).sum(1)).clip(0, 1)), "ratio η"


# ---------------------------------------------------------------------------------------- plots

STATES = {"COMPLETE": ("o", "#0072b2"), "PRUNED": ("X", "#888888"), "FAIL": ("s", "#d55e00")}


def plot_trials(trials: pd.DataFrame, *, base: float | None = None, ax: plt.Axes | None = None) -> plt.Axes:
    """Score by number of the trial, with the best so far; pruned trials at the score at which they were stopped.

    `base`: the score of the settings as they stand, a line across.
    """
    ax = ax or plt.subplots(figsize=(7, 3.6), layout="constrained")[1]
    for state, (marker, color) in STATES.items():
        part = trials[(trials["state"] == state) & trials["score"].notna()]
        if len(part):
            label = f"{state.lower()} ({len(part)})"
            ax.plot(part["number"], part["score"], marker, color=color, markersize=7, label=label, alpha=0.85)
    best = trials["score"].where(trials["state"] == "COMPLETE").cummax().ffill()
    if base is not None and math.isfinite(base):
        ax.axhline(base, color="#cc79a7", linestyle="--", linewidth=1.2, label="settings as they stand")
    ax.step(trials["number"], best, where="post", color="black", linewidth=1.2, label="best so far")
    ax.set(xlabel="trial", ylabel="mean class accuracy on validation")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def _positions(values: pd.Series, distribution: BaseDistribution) -> tuple[np.ndarray, list[float], list[str]]:
    """Values of an option on a scale from 0 to 1, and the ticks of that scale with their labels."""
    if isinstance(distribution, CategoricalDistribution):
        choices = list(distribution.choices)
        places = np.linspace(0, 1, len(choices)) if len(choices) > 1 else np.array([0.5])
        lookup = {repr(choice): place for choice, place in zip(choices, places, strict=True)}
        heights = np.array([lookup.get(repr(value), math.nan) for value in values])
        return heights, list(places), [readable(choice) for choice in choices]
    change = math.log if distribution.log else float
    low, high = change(distribution.low), change(distribution.high)
    places = np.array([math.nan if pd.isna(value) else (change(value) - low) / (high - low) for value in values])
    ticks = np.linspace(low, high, 4)
    shown = np.exp(ticks) if distribution.log else ticks
    whole = isinstance(distribution, IntDistribution)
    return places, list(np.linspace(0, 1, 4)), [readable(round(value) if whole else float(value)) for value in shown]


def plot_parallel_coordinates(found: Search) -> plt.Figure:
    """A line a complete trial through its options and its score, coloured by the score; a gap: the option was not drawn."""
    trials = found.trials[found.trials["state"] == "COMPLETE"].sort_values(["score", "number"], ascending=[True, False])
    names, n = list(found.space), len(found.space) + 1
    columns = [_positions(trials[name].astype(object), found.space[name]) for name in names]
    low, high = trials["score"].min(), trials["score"].max()
    low, high = (low - 0.01, high + 0.01) if high - low < 1e-9 else (low, high)
    ticks = np.linspace(low, high, 5)
    scores = (trials["score"].to_numpy() - low) / (high - low)
    columns.append((scores, list(np.linspace(0, 1, 5)), [f"{tick:.3f}" for tick in ticks]))
    fig, ax = plt.subplots(figsize=(max(7.0, 1.75 * n), 4.4), layout="constrained")
    colors = plt.get_cmap("viridis")
    spread = np.linspace(-0.03, 0.03, len(trials)) if len(trials) > 1 else [0.0]  # apart where many chose the same word
    words = [isinstance(found.space[name], CategoricalDistribution) for name in names] + [False]
    for row in range(len(trials)):
        height = [column[0][row] + spread[row] * word for column, word in zip(columns, words, strict=True)]
        last = row == len(trials) - 1
        ax.plot(range(n), height, "o-", color=colors(columns[-1][0][row]), markersize=4, linewidth=3 if last else 1.2,
                alpha=1 if last else 0.75)
    for place, (_, at, labels) in enumerate(columns):
        ax.axvline(place, color="#444444", linewidth=0.8, zorder=0)
        for height, label in zip(at, labels, strict=True):
            ax.annotate(label, (place, height), (5, 0), textcoords="offset points", fontsize=8, va="center", zorder=5,
                        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8})
    ax.set_xticks(range(n), [*(name.replace("_", "\n") for name in names), "score"])
    ax.set(yticks=[], ylim=(-0.06, 1.06), xlim=(-0.15, n - 0.45))
    ax.spines[:].set_visible(False)
    ax.tick_params(axis="x", length=0)
    return fig


def plot_importances(table: pd.DataFrame) -> plt.Figure:
    """Importance of each option beside its correlation with the score, whose chance level is grey; unknown ones say so."""
    fig, axes = plt.subplots(1, 2, figsize=(10.5, 0.42 * len(table) + 1.3), layout="constrained", sharey=True)
    for ax, column, color in zip(axes, ("importance", "correlation"), ("#0072b2", "#009e73"), strict=True):
        ax.barh(table["option"], table[column].fillna(0), color=color, alpha=0.8)
        ax.axvline(0, color="black", linewidth=0.8)
        for place, (value, measure) in enumerate(table[[column, "measure"]].to_numpy()):
            text = f"{value:.2f}  {measure if column == 'correlation' else ''}" if math.isfinite(value) else "unknown"
            end = 1 if column == "correlation" else value if math.isfinite(value) else 0
            ax.annotate(text, (end, place), (4, 0), textcoords="offset points", va="center", fontsize=9)
    low = table["chance"].fillna(0).where(table["measure"] == "Spearman ρ", 0)  # η has no sign
    axes[1].barh(table["option"], table["chance"].fillna(0) + low, left=-low, height=0.96, color="#dddddd", zorder=0,
                 label="what 95 of 100 permutations of the scores stay below")
    fig.legend(*axes[1].get_legend_handles_labels(), loc="outside lower right", frameon=False, fontsize=9)
    largest = table["importance"].max() if table["importance"].notna().any() else 1
    axes[0].set(xlabel="importance (share of the variance, fANOVA)", xlim=(0, 1.2 * largest))
    axes[1].set(xlabel="correlation with the score", xlim=(-1.05, 2.05))
    axes[1].set_xticks([-1, -0.5, 0, 0.5, 1])
    axes[0].invert_yaxis()
    return fig


def plot_slices(found: Search) -> plt.Figure:
    """The score over each option, a panel an option; pruned trials at the score at which they were stopped."""
    names = list(found.space)
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    fig, axes = plt.subplots(rows, columns, figsize=(3.9 * columns, 2.9 * rows), squeeze=False, layout="constrained",
                             sharey=True)
    trials = found.trials
    for ax in axes.flat[len(names):]:
        ax.set_visible(False)
    for name, ax in zip(names, axes.flat, strict=False):
        places, at, labels = _positions(trials[name].astype(object), found.space[name])
        category = isinstance(found.space[name], CategoricalDistribution)
        shift = np.random.default_rng(0).uniform(-0.03, 0.03, len(places)) if category else 0
        for state, (marker, color) in STATES.items():
            chosen = (trials["state"] == state).to_numpy()
            ax.plot((places + shift)[chosen], trials["score"].to_numpy()[chosen], marker, color=color, markersize=6,
                    alpha=0.8, label=state.lower() if chosen.any() else None)
        crowded = max(map(len, labels)) * len(labels) > 34
        ax.set_xticks(at, labels, rotation=20 if crowded else 0, ha="right" if crowded else "center")
        ax.set(xlabel=name + (" (log)" if not category and found.space[name].log else ""), xlim=(-0.12, 1.12))
    for ax in axes[:, 0]:
        ax.set_ylabel("score")
    handles, texts = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, texts, loc="outside upper right", ncols=3, frameon=False)
    return fig


def plot_noise_band(band: pd.DataFrame, *, ax: plt.Axes | None = None) -> plt.Axes:
    """A point a seed for each setting, their means, and the score that the setting had in the search."""
    names = list(dict.fromkeys(band["setting"]))
    ax = ax or plt.subplots(figsize=(7, 0.9 + 0.5 * len(names)), layout="constrained")[1]
    for place, name in enumerate(names):
        part = band[band["setting"] == name]
        ax.plot(part["score"], [place] * len(part), "o", color="#0072b2", markersize=8, alpha=0.75,
                label="one new seed" if not place else None)
        ax.plot([part["score"].mean()] * 2, [place - 0.25, place + 0.25], color="black", label="mean" if not place else None)
        ax.plot(part["trial_score"].iloc[0], place, "D", color="#d55e00", markersize=7, fillstyle="none",
                label="score in the search" if not place else None)
    ax.set_yticks(range(len(names)), [f"{name}{_numbered(band[band['setting'] == name])}" for name in names])
    ax.set(xlabel="mean class accuracy on validation", ylim=(len(names) - 0.5, -0.5))
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return ax
