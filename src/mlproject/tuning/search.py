"""The search in Optuna's database: made once, resumed under the same question, its lost trials put back."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, Trial, TrialState

from mlproject.runtime import seed_for
from mlproject.tuning.budget import TrialRecord, lost, next_place
from mlproject.tuning.database import engine_arguments, make_schema, unusable
from mlproject.tuning.plan import RETRIES, require_same
from mlproject.tuning.space import Parameter

_FINGERPRINT = "fingerprint"
_GRACE = 3  # heartbeats that may be missed
_FIRST_SHARE = 2  # chosen first trials are at most the budget divided by this


def connect(url: str, heartbeat_seconds: int, *, create: bool) -> RDBStorage:
    """Optuna's database at a URL.

    Args:
        create: make its tables; one process does so before any other connects.

    Raises:
        UserError: it cannot be opened.
    """
    arguments = engine_arguments(url)
    try:
        if create:
            make_schema(url)
        with quiet():
            return RDBStorage(
                url,
                engine_kwargs=arguments,
                heartbeat_interval=heartbeat_seconds,
                grace_period=_GRACE * heartbeat_seconds,
                heartbeat_stale_trial_callback=_begin_again,
                skip_table_creation=not create,
            )
    except Exception as error:  # SQLAlchemy and its drivers raise many kinds
        raise unusable(url, error) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's remarks on what it calls experimental, and its lines for every trial: ours say the same."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def open_search(
    storage: RDBStorage, name: str, mark: Mapping[str, Any], space: Sequence[Parameter], untuned: Mapping[str, Any],
    trials: int,
) -> optuna.Study:  # fmt: skip
    """The stored search of this name, or a new one that begins with the untuned settings.

    One process at a time.

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


def attach_search(storage: RDBStorage, name: str) -> optuna.Study:
    """The stored search, for one worker."""
    with quiet():
        return optuna.load_study(study_name=name, storage=storage)


def seed_draws(study: optuna.Study, trials: Sequence[TrialRecord], seed: int) -> None:
    """Draw the next trial from a seed of its own, which follows from its place in the search.

    So no two trials share their random numbers, whichever process or machine asks for them, and a search that was
    killed draws what it would have drawn.

    Args:
        trials: the `records` of the search as they are now.
        seed: of the search.
    """
    place = next_place(trials)
    with quiet():
        study.sampler = optuna.samplers.TPESampler(seed=seed_for(seed, "tune", place) % 2**32)


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


def put_back_lost(study: optuna.Study, is_alive: Callable[[str], bool]) -> list[int]:
    """Queue the trials again whose process is gone, and return their numbers.

    Optuna does so itself once heartbeats have been missing for a while; on this machine one can know at once. One
    process at a time, and no other begins a trial meanwhile: two would queue a trial twice.

    Args:
        is_alive: whether the process that a trial noted still runs; one on another machine counts as alive.
    """
    before = _repeated(study)
    with quiet():
        optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        # one without settings was killed while it held the right to begin: nobody will ever finish it
        if "settings" not in trial.user_attrs or not is_alive(trial.user_attrs.get("process", "")):
            # its own process may end it at this moment
            with contextlib.suppress(ValueError, optuna.exceptions.UpdateFinishedTrialError):
                study.tell(trial.number, state=TrialState.FAIL)
    trials = {trial.number: trial for trial in study.get_trials()}
    with quiet():
        for found in lost(records(study)):
            _begin_again(study, trials[found.number])
    return sorted(_repeated(study) - before)


def _repeated(study: optuna.Study) -> set[int]:
    return {number for trial in records(study) for number in trial.retries}


def _begin_again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue a trial again, unless it took its process along too often."""
    # what the dead process noted of itself is not true of the next one
    trial.user_attrs = {key: value for key, value in trial.user_attrs.items() if key == "untuned"}
    with quiet():
        RetryHeartbeatStaleTrialCallback(RETRIES)(study, trial)
