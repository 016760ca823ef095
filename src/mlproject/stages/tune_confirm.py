"""The confirmation of a search: its best settings and the untuned ones, fitted again on seeds that it never saw."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlproject.config import Configuration
from mlproject.data.manifest import DataSet, load_dataset
from mlproject.errors import UserError, kind_and_words
from mlproject.files import atomic_write_json
from mlproject.processes import run_each, terminated_like_ctrl_c
from mlproject.stages.common import said_to, say
from mlproject.stages.data import resolve_data
from mlproject.stages.tune_fit import fit_hybrid, temporary_files_removed
from mlproject.stages.tune_trial import Place, take_gpu
from mlproject.tracking import Run, attach_store
from mlproject.tuning.database import Locks
from mlproject.tuning.plan import confirm_config, confirm_key, trial_config
from mlproject.tuning.report import Pair

_ELSEWHERE = "at work elsewhere"


@dataclass(frozen=True)
class Confirmation:
    """Both settings on fresh seeds.

    Attributes:
        run: of the search.
        dataset: the data set that is kept; None when the phantom draws another one for each seed.
        arms: {name of the arm: its settings}.
        place: of the search; its folder takes logs and results.
        workers: seeds at a time.
    """

    run: Run
    config: Configuration
    dataset: DataSet | None
    arms: Mapping[str, Mapping[str, Any]]
    place: Place
    workers: int

    def on(self, seeds: Sequence[int]) -> list[Pair]:
        """The pair of every seed; fits that are finished are reused, seeds that another machine has at work come last.

        Raises:
            UserError: seeds that failed, after all others are done.
        """
        for seed in seeds:
            self._out(seed).unlink(missing_ok=True)
        failures, elsewhere = [], list(seeds)
        for wait in (False, True):
            waiting, elsewhere = elsewhere, []
            for seed, reason in self._ended(waiting, wait):
                if reason == _ELSEWHERE:
                    elsewhere.append(seed)
                elif reason:
                    failures.append(f"seed {seed}: {reason}")
                    say(f"  seed {seed} FAILED: {reason}")
                else:
                    pair = self._pair(seed)
                    say(f"  seed {seed}: untuned {pair.untuned:.3f}, tuned {pair.tuned:.3f}")
        if failures:
            raise UserError(
                f"tune: {len(failures)} of {len(seeds)} fresh seeds failed ({'; '.join(failures[:3])}); start the same "
                "command again to repeat these alone"
            )
        return [self._pair(seed) for seed in seeds]

    def _out(self, seed: int) -> Path:
        return Path(self.place.folder) / f"confirm-{seed}.json"

    def _pair(self, seed: int) -> Pair:
        return Pair(**json.loads(self._out(seed).read_text(encoding="utf-8")))

    def _ended(self, seeds: Sequence[int], wait: bool) -> Iterator[tuple[int, str]]:
        """(seed, reason of failure or "") of the seeds as they end."""
        if self.workers == 1:
            for seed in seeds:
                reason = ""
                try:
                    self.one(seed, wait)
                except Exception as error:
                    reason = kind_and_words(error)
                yield seed, reason or self._elsewhere(seed)
            return
        store = self.run.store
        root = "" if self.dataset is None else str(self.dataset.root)
        jobs = [
            (store.uri, store.experiment_id, self.run.id, self.config, root, self.arms, self.place, seed, wait, number)
            for number, seed in enumerate(seeds)
        ]
        with contextlib.closing(run_each(confirm_process, jobs, self.workers, self.config.tune.fit_threads)) as ended:
            for index, code in ended:
                seed = seeds[index]
                log = self._out(seed).with_suffix(".log")
                yield seed, f"its process ended with code {code}; {log} says why" if code else self._elsewhere(seed)

    def _elsewhere(self, seed: int) -> str:
        return "" if self._out(seed).is_file() else _ELSEWHERE

    def one(self, seed: int, wait: bool) -> None:
        """Fit both arms on a seed, or take what is known of them; the result goes to a file, what is said to a log.

        Args:
            wait: for another process that has this seed at work; otherwise it is left to it and nothing is written.
        """
        out = self._out(seed)
        with said_to(out.with_suffix(".log")), contextlib.closing(Locks(self.place.url)) as locks:
            if locks.take(f"confirm/{self.place.name}/{seed}", wait=wait):
                found: dict[str, Any] = {"seed": seed}
                for arm, settings in self.arms.items():
                    found[arm], found[f"{arm}_run"] = self._fit(seed, arm, settings, locks)
                atomic_write_json(out, found)

    def _fit(self, seed: int, arm: str, settings: Mapping[str, Any], locks: Locks) -> tuple[float, str]:
        """(validation AUC, run of the classifier) of an arm on a seed."""
        config, store = confirm_config(trial_config(self.config, settings), seed, self.dataset is None), self.run.store
        key = confirm_key(config, "" if self.dataset is None else self.dataset.digest)
        known = store.find("tune_confirm", {"stage.key": key}) if config.run.reuse else []
        if known:
            return store.metrics_of(known[0])["tune.auc"], store.tags_of(known[0])["tune.classifier_run"]
        with self.run.child(f"tune_confirm {arm} seed={seed}", config) as run, temporary_files_removed():
            run.begin_stage(key, {"tune.search": self.place.name, "tune.arm": arm, "tune.seed": str(seed)})
            drawn = resolve_data(run, config, "") if self.dataset is None else self.dataset
            fitted = fit_hybrid(run, config, drawn, locks)
            run.set_tags({"data_kind": drawn.data_kind, "tune.classifier_run": fitted.classifier_run})
            run.log_metrics({"tune.auc": fitted.auc})
        return fitted.auc, fitted.classifier_run


def confirm_process(
    uri: str,
    experiment_id: str,
    parent_id: str,
    config: Configuration,
    data: str,
    arms: Mapping[str, Mapping[str, Any]],
    place: Place,
    seed: int,
    wait: bool,
    number: int,
) -> None:
    """One seed in a process of its own."""
    take_gpu(config, number)
    with terminated_like_ctrl_c():
        run = Run(attach_store(uri, experiment_id), parent_id, "tune")
        dataset = load_dataset(data) if data else None
        Confirmation(run, config, dataset, arms, place, 1).one(seed, wait)
