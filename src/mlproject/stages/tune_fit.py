"""What a trial and a fresh seed of a search fit: a generator, its images and a hybrid classifier, from the stages."""

import contextlib
import dataclasses
import functools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlproject.config import Configuration
from mlproject.data.manifest import DataSet
from mlproject.errors import UserError
from mlproject.registry import ModelReference
from mlproject.stages import classifier as classifier_stages
from mlproject.stages import gan as gan_stages
from mlproject.tracking import Run
from mlproject.tuning.database import Locks
from mlproject.tuning.plan import generator_key
from mlproject.tuning.pruning import Check

# folders of images that were fetched from the store, by what decides them; removed when the process ends
_FETCHED: dict[Any, str] = {}
# not the folder of the trial that happens to fetch first
_TEMPORARY = tempfile.gettempdir()


@dataclass(frozen=True)
class Fitted:
    """What was fitted and how good it is on validation.

    `kid` is that of the step that the generator kept; None when it was not measured while it trained. The runs are
    those that did the work, also when they were reused; `checks` are the generator's figures by step.
    """

    auc: float
    kid: float | None
    generator_run: str
    classifier_run: str
    generator_reused: bool
    checks: dict[int, Check]


def fit_hybrid(
    run: Run,
    config: Configuration,
    dataset: DataSet,
    locks: Locks,
    watch: gan_stages.Watch | None = None,
    before: Callable[[], None] | None = None,
) -> Fitted:
    """Train the generator and the hybrid classifier that `config` describes, or take those that exist.

    Args:
        run: the stages are its nested runs.
        config: of a trial.
        locks: of the search; a generator that another process makes is waited for and reused.
        watch: see `train_gan`.
        before: called once no other process trains the same generator; may raise `Stopped`.
    """
    store = run.store
    with locks.held(f"generator/{generator_key(config, dataset.digest)}"):
        if before is not None:
            before()
        with run.child("train_gan", config) as child:
            generator = gan_stages.train_gan(child, config, dataset, watch)
        reused = generator.run_id != child.id
        pool = _images(run, config, dataset, generator)
    with run.child("train_classifier hybrid", config) as child:
        model = classifier_stages.train_classifier(child, config, dataset, pool)
    auc = store.metrics_of(model.run_id).get("val.auc")
    if auc is None:
        raise UserError(f"run {model.run_id} of train_classifier has no val.auc; run with --reuse false")
    checks = logged_checks(run, generator.run_id)
    # the step of the smallest distance is the one that training keeps
    kid = min((check.kid for check in checks.values()), default=None)
    return Fitted(auc, kid, generator.run_id, model.run_id, reused, checks)


def logged_checks(run: Run, generator_run: str) -> dict[int, Check]:
    """The figures that a generator's run logged at its sample grids."""
    kid = run.store.history_of(generator_run, "quick.kid")
    tstr_auc = run.store.history_of(generator_run, "quick.tstr_auc")
    return {step: Check(kid[step], tstr_auc[step]) for step in sorted(kid.keys() & tstr_auc.keys())}


def _images(run: Run, config: Configuration, dataset: DataSet, generator: ModelReference) -> DataSet:
    """The generator's images; those that came from another machine are fetched once for each worker."""
    key = (generator.digest, config.synthesis, config.classifier.synthetic_per_class)
    kept = Path(_kept_folder().name)
    with _temporary_files_in(str(kept)):
        pool = gan_stages.resolve_synthetic(run, config, dataset, _FETCHED.get(key, ""), str(generator.folder))
    assert pool is not None
    if kept in pool.root.parents:
        _FETCHED[key] = str(pool.root)
    return pool


@functools.cache
def _kept_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="tune-images-", dir=_TEMPORARY)


@contextlib.contextmanager
def temporary_files_removed() -> Iterator[None]:
    """Remove at the end what is downloaded in a block: models of other machines, trial after trial."""
    with tempfile.TemporaryDirectory(prefix="tune-") as folder, _temporary_files_in(folder):
        yield


@contextlib.contextmanager
def _temporary_files_in(folder: str) -> Iterator[None]:
    before = tempfile.tempdir
    tempfile.tempdir = folder
    try:
        yield
    finally:
        tempfile.tempdir = before


def notes_of(fitted: Fitted) -> dict[str, object]:
    """What a trial's database entry says of it."""
    notes = dataclasses.asdict(fitted)
    notes["checks"] = {str(step): [check.kid, check.tstr_auc] for step, check in fitted.checks.items()}
    return notes
