"""The workers of a search: each asks for a trial, fits it as a nested run with its true status, and asks again."""

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import Trial

from mlproject.config import Configuration
from mlproject.data.manifest import DataSet, load_dataset
from mlproject.errors import Stopped, UserError, kind_and_words
from mlproject.pipeline import stage_key
from mlproject.processes import is_alive, terminated_like_ctrl_c, this_process
from mlproject.stages.common import said_to
from mlproject.stages.tune_fit import fit_hybrid, notes_of, temporary_files_removed
from mlproject.stages.tune_runs import end_with_nested
from mlproject.tracking import Run, attach_store
from mlproject.tuning import search
from mlproject.tuning.budget import all_fail, counted, other_generators, verdict_on
from mlproject.tuning.database import Locks
from mlproject.tuning.plan import generator_key, trial_config
from mlproject.tuning.pruning import Check, why_hopeless
from mlproject.tuning.space import Parameter, parse_space

_TAKEN_OVER = "taken over by another process"


@dataclass(frozen=True)
class Place:
    """Where a search is kept: Optuna's database and name, and the folder of the search on this machine."""

    url: str
    name: str
    folder: str

    @property
    def turn(self) -> str:
        """Name of the lock of whoever asks for a trial or puts one back: so no two take the last one of a budget."""
        return f"turn/{self.name}"


def worker_process(
    uri: str, experiment_id: str, parent_id: str, config: Configuration, data: str, place: Place, number: int
) -> None:
    """`work` in a process of its own, with one of the GPUs if there are any."""
    take_gpu(config, number)
    with terminated_like_ctrl_c():
        parent = Run(attach_store(uri, experiment_id), parent_id, "tune")
        work(parent, config, load_dataset(data), place, number)


def take_gpu(config: Configuration, number: int) -> None:
    """Leave this process one of the GPUs, in turn by its number; nothing where there are none."""
    if devices := gpu_count(config):
        visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        names = visible or [str(device) for device in range(devices)]
        os.environ["CUDA_VISIBLE_DEVICES"] = names[number % len(names)]


def gpu_count(config: Configuration) -> int:
    """GPUs that trials may use; asked without touching one, which would bind this process to it."""
    if config.run.device == "cpu":
        return 0
    import torch

    return torch.cuda.device_count()


def work(parent: Run, config: Configuration, dataset: DataSet, place: Place, number: int) -> None:
    """Run trials until the budget is spent; what their stages say goes to `<folder>/worker-<number>.log`.

    Args:
        parent: the run of the search.
        config: of the search.
        number: of the worker, from 0.
    """
    terminal = sys.stdout
    with said_to(Path(place.folder) / f"worker-{number}.log"), search.quiet():
        tell = functools.partial(print, file=terminal, flush=True)
        with contextlib.closing(Locks(place.url)) as locks:
            storage = search.connect(place.url, config.tune.heartbeat_seconds, create=False)
            study = search.attach_search(storage, place.name)
            _Worker(parent, config, dataset, place, study, locks, tell).run()


class _Worker:
    """One process's share of the search."""

    def __init__(
        self,
        parent: Run,
        config: Configuration,
        dataset: DataSet,
        place: Place,
        study: optuna.Study,
        locks: Locks,
        tell: Callable[[str], None],
    ) -> None:
        self._parent, self._config, self._dataset, self._study, self._tell = parent, config, dataset, study, tell
        self._space: tuple[Parameter, ...] = parse_space(config.tune.space)
        self._locks, self._place = locks, place
        self._number = -1  # of the trial at work

    def run(self) -> None:
        while True:
            self._number = -1
            self._locks.take(self._place.turn)
            try:
                if again := search.put_back_lost(self._study, is_alive):
                    self._tell(f"  trials {', '.join(map(str, again))} ended with their process and are begun again")
                trials = search.records(self._study)
                if all_fail(trials) or counted(trials) >= self._config.tune.trials:
                    return
                search.seed_draws(self._study, trials, self._config.tune.seed)
                # heartbeats are Optuna's: they come with `optimize`, one trial at a time
                self._study.optimize(self._objective, n_trials=1, catch=(Exception,))
            except KeyboardInterrupt:
                # told to end: what was begun is tried again, from its checkpoint, when the search goes on
                if not self._locks.holds(self._place.turn):
                    self._locks.take(self._place.turn)
                search.put_back_lost(self._study, is_alive)
                raise
            except Exception:
                # Optuna has no one kind for it: without heartbeats for long, such as of a machine that slept, a trial
                # is given to another process, and what this one found of it counts no more
                if not self._was_taken_over():
                    raise
                self._tell(f"  trial {self._number}: {_TAKEN_OVER}")
            finally:
                self._locks.give(self._place.turn)

    def _was_taken_over(self) -> bool:
        return any(self._number in trial.retries for trial in search.records(self._study))

    def _objective(self, trial: Trial) -> float | tuple[float, ...]:
        """A trial: its run ends FINISHED, FAILED with the error, or KILLED when its generator is hopeless."""
        self._number = trial.number
        trial.set_user_attr("process", this_process())
        settings = search.suggest(trial, self._space)
        config = trial_config(self._config, settings)
        trial.set_user_attr("generator", generator_key(config, self._dataset.digest))
        # the last thing before others may begin: who holds the turn and finds a trial without it, knows it for lost
        trial.set_user_attr("settings", settings)
        self._locks.give(self._place.turn)
        label = f"trial {trial.number}: {', '.join(f'{name} {value}' for name, value in settings.items())}"
        print(label, flush=True)
        try:
            with self._parent.child(f"tune_trial {trial.number}", config) as run, temporary_files_removed():
                trial.set_user_attr("run", run.id)
                try:
                    values = self._fit(trial, run, config, settings)
                except optuna.exceptions.UpdateFinishedTrialError as error:
                    raise Stopped(_TAKEN_OVER) from error
        except Stopped as reason:
            if str(reason) != _TAKEN_OVER:
                self._tell(f"  {label}: pruned, {reason}")
            raise optuna.TrialPruned(str(reason)) from reason
        except Exception as error:
            told = kind_and_words(error)
            trial.set_user_attr("error", told)
            self._tell(f"  {label}: FAILED: {told}")
            raise
        reused = ", generator reused" if trial.user_attrs["generator_reused"] else ""
        kid = f", KID {values[1]:.4g}" if len(values) > 1 else ""
        self._tell(f"  {label}: validation AUC {values[0]:.3f}{kid}{reused}")
        return values if len(values) > 1 else values[0]

    def _fit(self, trial: Trial, run: Run, config: Configuration, settings: Mapping[str, Any]) -> tuple[float, ...]:
        # a trial that is tried again continues its run, whose number is the first one's
        known = {record.number: record for record in search.records(self._study)}
        retries = known[trial.number].retries
        for number in retries:
            if earlier := known[number].notes.get("run"):
                end_with_nested(run.store, str(earlier))
        first = retries[0] if retries else trial.number
        key = stage_key("tune", search=self._place.name, trial=first, settings=dict(settings))
        run.begin_stage(key, {"tune.search": self._place.name, "tune.trial": str(trial.number)})
        run.set_tags({"data_kind": self._dataset.data_kind})
        seen: dict[str, list[float]] = {}
        generator = trial.user_attrs["generator"]
        # the untuned settings are what everything is compared with, so they are always measured
        judged = self._config.tune.prune and not trial.user_attrs.get("untuned", False)

        def stop(reason: str) -> None:
            # noted while this process still holds the generator: who comes next reads it
            trial.set_user_attr("stopped", reason)
            raise Stopped(reason)

        def refuse_known() -> None:
            if judged and (reason := verdict_on(search.records(self._study), generator)):
                stop(f"its generator is known as {reason}" if reason.startswith("hopeless") else reason)

        def watch(step: int, values: Mapping[str, float]) -> None:
            found = Check(values["quick.kid"], values["quick.tstr_auc"])
            seen[str(step)] = [found.kid, found.tstr_auc]
            trial.set_user_attr("checks", seen)
            others = other_generators(search.records(self._study), generator)
            reason = why_hopeless(step, found, others, self._config.tune.prune_after)
            if judged and reason and (config.gan.epochs or step < config.gan.steps):
                stop(reason)

        fitted = fit_hybrid(run, config, self._dataset, self._locks, watch, refuse_known)
        for name, value in notes_of(fitted).items():
            trial.set_user_attr(name, value)
        if self._config.tune.objective == "auc":
            values: tuple[float, ...] = (fitted.auc,)
        elif fitted.kid is None:
            raise UserError(
                "tune.objective: auc_and_kid, but the generator's distance was not measured while it trained; set "
                "fidelity.while_training to 50 or more and have 50 validation images of each class"
            )
        else:
            values = (fitted.auc, fitted.kid)
        kid = {} if fitted.kid is None else {"tune.kid": fitted.kid}
        run.log_metrics({"tune.auc": fitted.auc, **kid})
        return values
