"""One cell of a study: a generator, its images, and every arm's classifiers, all of one seed and number of subjects."""

import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from mlproject.config import Configuration
from mlproject.data.manifest import DataSet, load_dataset
from mlproject.data.mix import refuse_leak, refuse_other_preprocessing
from mlproject.errors import UserError, kind_and_words
from mlproject.evaluation.metrics import binary_metrics, subject_scores
from mlproject.files import atomic_write_json
from mlproject.processes import terminated_like_ctrl_c
from mlproject.registry import ModelReference
from mlproject.stages import classifier as classifier_stages
from mlproject.stages import gan as gan_stages
from mlproject.stages.common import said_to
from mlproject.study.design import Arm, Design, Fit, cell_config, design_of, fits_of_cell, trials_of
from mlproject.tracking import Run, attach_store

Result = TypeVar("Result")
FIT_TAG = "study.fit"  # the key of a fit's configuration, by which a later study knows that it is finished


@dataclass(frozen=True)
class Record:
    """One finished or failed piece of work. `run_id` and `seconds` are those of the run that did it."""

    seed: int
    subjects: int
    arm: str  # "" for the generator and its images, which the arms share
    stage: str
    trial: str  # of an arm that is tuned; for its evaluation, the one that validation chose
    run_id: str
    seconds: float
    reused: int
    digest: str
    error: str = ""


def cell_process(
    uri: str, experiment_id: str, parent_id: str, config: Configuration, seed: int, subjects: int, data: str, out: str
) -> None:
    """`run_cell` in a process of its own: opens the store, writes the records to `<out>.json`."""
    with terminated_like_ctrl_c():
        parent = Run(attach_store(uri, experiment_id), parent_id, "study")
        cell_to_file(parent, config, seed, subjects, load_dataset(data), Path(out))


def cell_to_file(parent: Run, config: Configuration, seed: int, subjects: int, dataset: DataSet, out: Path) -> None:
    """Run a cell, what its stages say going to `<out>.log`, and write its records to `<out>.json`.

    Args:
        parent: the run of the study.
        config: of the study.
        dataset: of the seed.
    """
    terminal = sys.stdout
    own = cell_config(config, seed, subjects)
    with said_to(out.with_suffix(".log")):
        tell = functools.partial(print, file=terminal, flush=True)
        records = _Cell(parent, own, design_of(config), seed, subjects, dataset, tell).run()
    atomic_write_json(out.with_suffix(".json"), [dataclasses.asdict(record) for record in records])


def read_records(path: Path) -> list[Record]:
    """The records that `cell_to_file` wrote."""
    return [Record(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


class _Cell:
    """The state of a cell at work: its parts are the project's stages, each a nested run of the study."""

    def __init__(
        self,
        parent: Run,
        config: Configuration,
        design: Design,
        seed: int,
        subjects: int,
        dataset: DataSet,
        tell: Callable[[str], None],
    ) -> None:
        self._parent, self._config, self._design, self._dataset = parent, config, design, dataset
        self._seed, self._subjects, self._tell = seed, subjects, tell
        self._keys = {(fit.stage, fit.arm, fit.trial): fit for fit in fits_of_cell(design, config)}
        self._records: list[Record] = []

    def run(self) -> list[Record]:
        """Every arm; one that fails is recorded and the others go on."""
        pool = self._synthetic() if self._design.needs_generator else None
        for arm in self._design.arms:
            if not arm.needs_generator:
                self._arm(arm, None)
            elif pool is not None:
                self._arm(arm, pool)
            else:
                self._fail("train_classifier", arm.name, "", "there are no synthetic images to train on")
        return self._records

    def _synthetic(self) -> DataSet | None:
        config, dataset = self._config, self._dataset
        generator = self._fit("train_gan", "", "", config, lambda run: gan_stages.train_gan(run, config, dataset))
        if generator is None:
            return None
        per_class = config.classifier.synthetic_per_class
        synthesis = dataclasses.replace(config.synthesis, per_class=per_class, class_name="both")
        drawing = dataclasses.replace(config, synthesis=synthesis)

        def draw(run: Run) -> DataSet:
            pool = gan_stages.generate_synthetic(run, drawing, generator)
            refuse_leak(pool.info, dataset)
            refuse_other_preprocessing(pool.info, dataset)
            return pool

        return self._fit("generate_synthetic", "", "", drawing, draw)

    def _arm(self, arm: Arm, pool: DataSet | None) -> None:
        """Train every trial, choose on validation, evaluate the chosen one on test."""
        trained: dict[str, tuple[ModelReference, Configuration]] = {}
        for trial, settings in trials_of(arm, self._config.classifier, self._config.study.trials).items():
            config = dataclasses.replace(self._config, classifier=settings)
            model = self._train(arm, trial, config, pool)
            if model is None:
                return
            trained[trial] = (model, config)
        try:
            runs = {trial: model.run_id for trial, (model, _) in trained.items()}
            trial = next(iter(runs)) if len(runs) == 1 else self._chosen(runs)
        except Exception as error:
            self._fail("train_classifier", arm.name, "", kind_and_words(error))
            return
        model, config = trained[trial]

        def evaluate(run: Run) -> ModelReference:
            classifier_stages.eval_classifier(run, config, model, self._dataset)
            return model

        self._fit("eval_classifier", arm.name, trial, config, evaluate)

    def _train(self, arm: Arm, trial: str, config: Configuration, pool: DataSet | None) -> ModelReference | None:
        def train(run: Run) -> ModelReference:
            return classifier_stages.train_classifier(run, config, self._dataset, pool)

        return self._fit("train_classifier", arm.name, trial, config, train)

    def _chosen(self, runs: Mapping[str, str]) -> str:
        """The trial that is best on validation: by AUC of subjects, then Brier score, then the order of trials."""
        standing = {}
        for trial, run_id in runs.items():
            table = self._parent.store.table(run_id, "val_predictions")
            if table is None:
                raise UserError(f"run {run_id} has no validation predictions left to choose by")
            scores = subject_scores(
                np.array(table["label"]), np.array(table["probability"]), np.array(table["subject_id"])
            )
            found = binary_metrics(scores.labels, scores.probabilities, 0.5)
            standing[trial] = (found["auc"], -found["brier"])
        best = max(standing, key=lambda trial: standing[trial])
        told = ", ".join(f"{trial} {auc:.3f}" for trial, (auc, _) in standing.items())
        self._tell(f"  {self._name}: chosen on validation {best} (AUC {told})")
        return best

    @property
    def _name(self) -> str:
        return f"seed {self._seed}, {self._subjects or 'all'} subjects"

    def _fit(
        self, stage: str, arm: str, trial: str, config: Configuration, work: Callable[[Run], Result]
    ) -> Result | None:
        """A stage as a nested run of the study; None when it fails, which is recorded and told."""
        label = " ".join(part for part in (stage, arm, trial) if part)
        started = time.monotonic()
        try:
            with self._parent.child(f"{label} seed={self._seed} subjects={self._subjects}", config) as child:
                place = {"study.seed": self._seed, "study.subjects": self._subjects, "study.arm": arm or "shared"}
                fit = self._keys.get((stage, arm, trial)) or self._keys.get((stage, arm, ""))
                child.set_tags({key: str(value) for key, value in place.items()} | _fit_tag(fit))
                result = work(child)
            self._record(child, stage, arm, trial, getattr(result, "digest", ""))
        except Exception as error:  # whatever it is, the other fits are not to go with it
            self._fail(stage, arm, trial, kind_and_words(error))
            return None
        self._tell(f"  {self._name}: {label}, {self._told(child, time.monotonic() - started)}")
        return result

    def _told(self, child: Run, seconds: float) -> str:
        return "reused" if self._records[-1].reused else f"{seconds:.0f} s"

    def _record(self, child: Run, stage: str, arm: str, trial: str, digest: str) -> None:
        store = self._parent.store
        source = store.tags_of(child.id).get("reused_from", child.id)
        self._records.append(
            Record(
                self._seed, self._subjects, arm, stage, trial, source, store.seconds_of(source),
                int(source != child.id), digest,
            )
        )  # fmt: skip

    def _fail(self, stage: str, arm: str, trial: str, reason: str) -> None:
        self._records.append(Record(self._seed, self._subjects, arm, stage, trial, "", 0.0, 0, "", reason))
        self._tell(f"  {self._name}: {' '.join(part for part in (stage, arm, trial) if part)} FAILED: {reason}")


def _fit_tag(fit: Fit | None) -> dict[str, str]:
    return {FIT_TAG: fit.key} if fit else {}
