"""Stage tune: a search over settings of generator and hybrid classifier, judged on validation and on fresh seeds."""

import contextlib
import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import optuna

from mlproject import runtime
from mlproject.config import Configuration
from mlproject.data.manifest import DataSet
from mlproject.errors import UserError
from mlproject.files import sweep_unfinished
from mlproject.pipeline import stage_key, work_folder
from mlproject.plain_text import without_password
from mlproject.processes import is_alive, run_each
from mlproject.stages.common import say
from mlproject.stages.data import data_key, resolve_data
from mlproject.stages.study import duration
from mlproject.stages.tune_confirm import Confirmation
from mlproject.stages.tune_result import FIGURES, listed, log_result, tell_result, write_result
from mlproject.stages.tune_runs import end_lost_searches, end_with_nested, run_lock
from mlproject.stages.tune_trial import Place, gpu_count, work, worker_process
from mlproject.tracking import Run
from mlproject.tuning import search
from mlproject.tuning.budget import all_fail, counted
from mlproject.tuning.database import Locks
from mlproject.tuning.plan import confirm_seeds, fingerprint, search_name, trial_config
from mlproject.tuning.report import TUNED, UNTUNED, Found, choose, conclude
from mlproject.tuning.space import Parameter, parse_space, settings_of, space_text


def tune(run: Run, config: Configuration, data: str = "", out: str = "") -> Found:
    """Run the search that `config` declares, or what is left of it; confirm, write and log its result.

    Trials live in Optuna's database and their fits in the tracking store, so a search that was killed loses neither
    finished trials nor the checkpoints of those at work.

    Args:
        data: data set of the search; default: the one that the data section describes. Its subjects are those of the
            fresh seeds as well; without it the phantom draws other ones for each.
        out: folder of the search; default: tune/<name> under run.outputs.

    Raises:
        UserError: an unusable space, a stored search that asks another question, or trials that all failed.
    """
    started, url = time.monotonic(), storage_url(run, config)
    space, seeds = parse_space(config.tune.space), confirm_seeds(config)
    _require_measured(config)
    # the lock of this run says to all who share the database that its process lives
    with contextlib.closing(Locks(url)) as locks, locks.held(run_lock(run.id)):
        found = _tune(run, config, Question(space, seeds, url, data, out), locks)
    elapsed = time.monotonic() - started
    run.log_metrics({"tune.seconds": elapsed})
    say(f"took {duration(elapsed)}; look at the runs:  {run.store.ui_command()}")
    return found


@dataclasses.dataclass(frozen=True)
class Question:
    """What is asked of `tune`, read once: the space, the fresh seeds, the database, the data and the folder."""

    space: tuple[Parameter, ...]
    seeds: tuple[int, ...]
    url: str
    data: str
    out: str


def _tune(run: Run, config: Configuration, asked: Question, locks: Locks) -> Found:
    space, base, workers = asked.space, trial_config(config), workers_of(config)
    untuned = settings_of(base, space)
    dataset = _data(run, config, asked.data, workers, locks)
    fresh_subjects = not asked.data and config.data.source == "phantom"
    mark = fingerprint(config, space, dataset.digest)
    name = search_name(config, mark)
    folder = Path(asked.out or Path(config.run.outputs) / "tune" / name).resolve()
    place, key = Place(asked.url, name, str(folder)), stage_key("tune", name=name, **mark)
    end_lost_searches(run, key, locks)
    run.begin_stage(key, {"tune.search": name, "tune.storage": without_password(place.url)})
    run.log_dataset(dataset, context="tuning")
    with work_folder(config.run.outputs, "tune", stage_key("tune", name=name)):
        # no other process of this machine is at work on this search, and its folder is this machine's own
        for written in (folder, folder / FIGURES):
            sweep_unfinished(written)
        study = _open(config, place, space, mark, untuned, locks)
        _announce(run, config, space, study, untuned, workers)
        _search(run, config, dataset, place, study, workers, locks)
        trials = search.records(study)
        best = choose(trials, untuned)
        if not any(trial.state == "COMPLETE" for trial in trials):
            errors = [str(trial.notes["error"]) for trial in trials if "error" in trial.notes]
            reason = f"the first error: {errors[0]}" if errors else "all were pruned; tune.prune=false keeps them"
            raise UserError(f"tune: no trial of {name} finished, {reason}; see {folder}")
        pairs = []
        if best is not None and asked.seeds:
            say(f"confirming trial {best.number} on {len(asked.seeds)} fresh seeds, {workers} at a time ...")
            arms = {UNTUNED: dict(untuned), TUNED: dict(best.settings)}
            pairs = Confirmation(run, config, None if fresh_subjects else dataset, arms, place, workers).on(asked.seeds)
    found = conclude(best, untuned, pairs, config.evaluation.level, same_subjects=not fresh_subjects)
    write_result(folder, config, space, study, trials, found)
    log_result(run, config, folder, space, trials, found)
    tell_result(config, folder, space, trials, found, str(dataset.root.resolve()) if asked.data else "")
    return found


def _data(run: Run, config: Configuration, reference: str, workers: int, locks: Locks) -> DataSet:
    """The data set of the search: made by one of the machines that begin together, the others take it from the store.

    Pixels drawn on another type of processor could differ by a grey level, and the search with them.
    """
    drawing = dataclasses.replace(config, run=dataclasses.replace(config.run, workers=workers))
    if reference:
        return resolve_data(run, drawing, reference)
    with locks.held(f"data/{data_key(config.data)}"):
        return resolve_data(run, drawing, "")


def workers_of(config: Configuration) -> int:
    """Trials at a time: `tune.workers`, or one for each GPU, or as many as the cores hold."""
    return config.tune.workers or gpu_count(config) or max(1, runtime.available_cores() // config.tune.fit_threads)


def storage_url(run: Run, config: Configuration) -> str:
    """`tune.storage`, or a file beside the tracking store's, or under run.outputs where the store is a server."""
    if config.tune.storage:
        return config.tune.storage
    database = run.store.database
    folder = database.parent if database else Path(config.run.outputs).resolve() / "tune"
    return f"sqlite:///{folder / 'optuna.db'}"


def _require_measured(config: Configuration) -> None:
    if config.fidelity.while_training == 0 and config.tune.objective != "auc":
        raise UserError(
            "tune.objective: auc_and_kid takes the generator's distance, which fidelity.while_training=0 leaves out; "
            "set it to 50 or more images of each class"
        )


def _open(
    config: Configuration,
    place: Place,
    space: tuple[Parameter, ...],
    mark: dict[str, Any],
    untuned: dict[str, Any],
    locks: Locks,
) -> optuna.Study:
    """The stored search, made once before workers connect; trials of dead processes are queued again."""
    with locks.held("tables"):
        storage = search.connect(place.url, config.tune.heartbeat_seconds, create=True)
    with locks.held(place.turn):
        study = search.open_search(storage, place.name, mark, space, untuned, config.tune.trials)
        if again := search.put_back_lost(study, is_alive):
            say(f"tune: trials {', '.join(map(str, again))} ended with their process and are begun again")
    return study


def _announce(
    run: Run,
    config: Configuration,
    space: tuple[Parameter, ...],
    study: optuna.Study,
    untuned: dict[str, Any],
    workers: int,
) -> None:
    tune, base = config.tune, trial_config(config)
    say(f"tune: {tune.trials} trials of {space_text(space)}")
    say(f"  untuned: {listed(untuned)}")
    say(f"  each: {base.gan.steps} generator steps, {base.classifier.steps} classifier steps; {workers} at a time")
    of_generator = [parameter for parameter in space if parameter.name.startswith("gan.")]
    count = math.prod(len(p.values) if p.kind == "choice" else tune.trials for p in of_generator)
    say(f"  generators: at most {min(count, tune.trials)}, each trained once")
    if tune.prune and config.fidelity.while_training == 0:
        say("  no generator is pruned: fidelity.while_training=0 leaves out the figures that judge them")
    if run.store.database is None and not tune.storage:
        say("  other machines do not share this search: tune.storage=postgresql://<user>@<host>/<database> does")
    if done := counted(search.records(study)):
        say(f"  {done} of the trials are done already")


def _search(
    run: Run, config: Configuration, dataset: DataSet, place: Place, study: optuna.Study, workers: int, locks: Locks
) -> None:
    """Trials until the budget is spent, also those that other machines have at work."""
    while True:
        left = config.tune.trials - counted(search.records(study))
        if left > 0:
            _work(run, config, dataset, place, min(workers, left))
        with locks.held(place.turn):
            search.put_back_lost(study, is_alive)
        trials = search.records(study)
        if any(trial.state == "RUNNING" for trial in trials):
            say("tune: waiting for trials that are at work elsewhere")
            time.sleep(config.tune.heartbeat_seconds)
        elif counted(trials) >= config.tune.trials or all_fail(trials):
            break
    for trial in trials:
        # also of those that were given up, or whose machine is gone
        if trial.state == "FAIL" and "error" not in trial.notes and "run" in trial.notes:
            end_with_nested(run.store, str(trial.notes["run"]))


def _work(run: Run, config: Configuration, dataset: DataSet, place: Place, workers: int) -> None:
    if workers == 1:
        work(run, config, dataset, place, 0)
        return
    jobs = [
        (run.store.uri, run.store.experiment_id, run.id, config, str(dataset.root), place, number)
        for number in range(workers)
    ]
    ended = {}
    with contextlib.closing(run_each(worker_process, jobs, workers, config.tune.fit_threads)) as codes:
        for number, code in codes:
            ended[number] = code
            if code:
                say(f"tune: worker {number} ended with code {code}; {place.folder}/worker-{number}.log says more")
    if all(ended.values()):
        raise UserError(
            f"tune: every worker ended early (codes {sorted(set(ended.values()))}); see the logs in {place.folder}, "
            "and start the same command again to go on"
        )
