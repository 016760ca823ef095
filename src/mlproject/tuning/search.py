"""The search in Optuna's database: made once, resumed under the same question, its lost trials put back."""

import contextlib
import datetime
import fcntl
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, Trial, TrialState

from mlproject.errors import UserError
from mlproject.runtime import seed_for
from mlproject.tuning.budget import TrialRecord, lost
from mlproject.tuning.plan import RETRIES, require_same
from mlproject.tuning.space import Parameter

_FINGERPRINT = "fingerprint"
_GRACE = 3  # heartbeats that may be missed
_SECONDS_TO_LOCK = 60  # how long sqlite waits for another process's write
_FIRST_SHARE = 2  # chosen first trials are at most the budget divided by this


def connect(url: str, heartbeat_seconds: int, *, create: bool) -> RDBStorage:
    """Optuna's database at a URL.

    Args:
        create: make its tables; one process does so before any other connects.

    Raises:
        UserError: it cannot be opened.
    """
    arguments = {"connect_args": {"timeout": _SECONDS_TO_LOCK}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    try:
        with quiet():
            return RDBStorage(
                url,
                engine_kwargs=arguments,
                heartbeat_interval=heartbeat_seconds,
                grace_period=_GRACE * heartbeat_seconds,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(RETRIES),
                skip_table_creation=not create,
            )
    except Exception as error:  # SQLAlchemy and its drivers raise many kinds
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"tune.storage: {without_password(url)} cannot be opened ({reason}); check the URL") from error


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    scheme, separator, rest = url.partition("://")
    credentials, at, place = rest.rpartition("@")
    return f"{scheme}{separator}{credentials.partition(':')[0]}{at}{place}"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's remarks on what it calls experimental, and its lines for every trial: ours say the same."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def open_search(
    storage: RDBStorage, name: str, mark: Mapping[str, Any], space: Sequence[Parameter], untuned: Mapping[str, Any],
    trials: int,
) -> optuna.Study:  # fmt: skip
    """The stored search of this name, or a new one that begins with the untuned settings.

    Args:
        mark: the `fingerprint`; a stored one must equal it.
        untuned: what the configuration has in the place of each parameter.
        trials: of the budget.

    Raises:
        UserError: the stored search has another direction, space or base.
    """
    with quiet():
        study = optuna.create_study(
            storage=storage, study_name=name, directions=list(mark["directions"]), load_if_exists=True
        )
        # load_if_exists keeps the stored directions without a word
        stored = study.user_attrs.get(_FINGERPRINT)
        begun = any(trial.state != TrialState.WAITING for trial in study.get_trials(deepcopy=False))
        if stored is None and not begun:
            # the mark comes last: without it a killed process left this unfinished, and it is done again
            for settings, notes in first_trials(space, untuned, trials):
                study.enqueue_trial(settings, notes, skip_if_exists=True)
            study.set_user_attr(_FINGERPRINT, dict(mark))
            stored = mark
        directions = [direction.name.lower() for direction in study.directions]
        require_same(name, {**(stored or {}), "directions": directions}, mark)
    return study


def first_trials(
    space: Sequence[Parameter], untuned: Mapping[str, Any], trials: int
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(settings, notes) of the trials that a search begins with.

    First the untuned settings, where the space holds them; then every other value of a generator's grid, one at a
    time, the rest drawn: so every generator is made early, by one trial, and workers do not wait for each other's.
    """
    chosen: list[tuple[dict[str, Any], dict[str, Any]]] = []
    if all(parameter.contains(untuned[parameter.name]) for parameter in space):
        chosen.append((dict(untuned), {"untuned": True}))
    grids = [parameter for parameter in space if parameter.kind == "choice" and parameter.name.startswith("gan.")]
    for grid in grids:
        others = {p.name: untuned[p.name] for p in grids if p is not grid and p.contains(untuned[p.name])}
        chosen += [({**others, grid.name: value}, {}) for value in grid.values if value != untuned[grid.name]]
    return chosen[: max(1, trials // _FIRST_SHARE)]


def attach_search(storage: RDBStorage, name: str, seed: int, worker: int) -> optuna.Study:
    """The search for one worker, whose draws differ from every other's and from those before it was resumed."""
    with quiet():
        before = len(optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False))
        sampler = optuna.samplers.TPESampler(seed=seed_for(seed, "tune", worker, before) % 2**32)
        return optuna.load_study(study_name=name, storage=storage, sampler=sampler)


def suggest(trial: Trial, space: Sequence[Parameter]) -> dict[str, Any]:
    """The settings of a trial, drawn by Optuna."""
    drawn: dict[str, Any] = {}
    for parameter in space:
        if parameter.kind == "choice":
            drawn[parameter.name] = trial.suggest_categorical(parameter.name, parameter.values)
        elif parameter.kind == "integer":
            drawn[parameter.name] = trial.suggest_int(parameter.name, int(parameter.low), int(parameter.high))
        else:
            log = parameter.kind == "log"
            value = trial.suggest_float(parameter.name, parameter.low, parameter.high, log=log)
            drawn[parameter.name] = parameter.rounded(value)
    return drawn


def records(study: optuna.Study) -> list[TrialRecord]:
    """Every trial of the search, by number."""
    return [_record(trial) for trial in study.get_trials(deepcopy=False)]


def _record(trial: FrozenTrial) -> TrialRecord:
    return TrialRecord(
        trial.number,
        trial.state.name,
        dict(trial.user_attrs.get("settings", {})),
        tuple(trial.values or ()) if trial.state == TrialState.COMPLETE else (),
        dict(trial.user_attrs),
        tuple(trial.system_attrs.get("retry_history", ())),
    )


def put_back_lost(study: optuna.Study, is_alive: Callable[[str], bool], heartbeat_seconds: int) -> list[int]:
    """Queue the trials again whose process is gone, and return their numbers.

    Optuna does so itself once heartbeats have been missing for a while; on this machine one can know at once.

    Args:
        is_alive: whether the process that a trial noted still runs; one on another machine counts as alive.
    """
    grace = datetime.timedelta(seconds=_GRACE * heartbeat_seconds)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        process = trial.user_attrs.get("process", "")
        # killed before it could say who it is: nobody will ever finish it
        nameless = not process and datetime.datetime.now() - (trial.datetime_start or datetime.datetime.min) > grace
        if nameless or (process and not is_alive(process)):
            # another process may have seen the same
            with contextlib.suppress(ValueError, optuna.exceptions.UpdateFinishedTrialError):
                study.tell(trial.number, state=TrialState.FAIL)
    again = [trial.number for trial in lost(records(study))]
    trials = {trial.number: trial for trial in study.get_trials()}
    with quiet():
        for number in again:
            found = trials[number]
            # what the dead process noted of itself is not true of the next one
            found.user_attrs = {key: value for key, value in found.user_attrs.items() if key == "untuned"}
            RetryHeartbeatStaleTrialCallback(RETRIES)(study, found)
    return again


class Turn:
    """The right to ask for a trial, held by one process of this machine at a time until the trial exists.

    So no two workers take the last trial of a budget.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, -1

    def take(self) -> None:
        """Wait for the turn."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self._path, os.O_CREAT | os.O_RDWR)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def give(self) -> None:
        """Give it away; nothing if it is not held."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
