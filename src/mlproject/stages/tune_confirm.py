"""The confirmation of a search: its best settings and the untuned ones, fitted again on seeds that it never saw."""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlproject import tracking
from mlproject.config import Configuration
from mlproject.data.manifest import DataSet, load_dataset
from mlproject.errors import UserError
from mlproject.files import atomic_write_json
from mlproject.processes import run_each
from mlproject.stages.data import resolve_data
from mlproject.stages.tune_fit import fit_hybrid
from mlproject.stages.tune_trial import take_gpu
from mlproject.tracking import Run
from mlproject.tuning.plan import confirm_config, trial_config
from mlproject.tuning.report import TUNED, UNTUNED, Pair

Arms = Mapping[str, Mapping[str, Any]]


def confirm(
    run: Run,
    config: Configuration,
    dataset: DataSet,
    tuned: Mapping[str, Any],
    untuned: Mapping[str, Any],
    seeds: Sequence[int],
    workers: int,
    folder: Path,
    tell: Callable[[str], None],
) -> list[Pair]:
    """Both settings on every seed, `workers` seeds at a time; fits that are finished are reused.

    Args:
        dataset: of the search; imported data keep it, the phantom draws another one for each seed.
        folder: of the search, for logs and results.

    Raises:
        UserError: seeds that failed, after all others are done.
    """
    arms = {UNTUNED: dict(untuned), TUNED: dict(tuned)}
    outs = [folder / f"confirm-{seed}.json" for seed in seeds]
    for out in outs:
        out.unlink(missing_ok=True)
    jobs = [
        (run.store.uri, run.store.experiment_id, run.id, config, seed, arms, str(dataset.root), str(out), number)
        for number, (seed, out) in enumerate(zip(seeds, outs, strict=True))
    ]
    failures = []
    for index, reason in _ended(run, config, dataset, arms, jobs, workers):
        if reason:
            failures.append(f"seed {seeds[index]}: {reason}")
            tell(f"  seed {seeds[index]} FAILED: {reason}")
        else:
            pair = Pair(**json.loads(outs[index].read_text(encoding="utf-8")))
            tell(f"  seed {pair.seed}: untuned {pair.untuned:.3f}, tuned {pair.tuned:.3f}")
    if failures:
        raise UserError(
            f"tune: {len(failures)} of {len(seeds)} fresh seeds failed ({'; '.join(failures[:3])}); start the same "
            "command again to repeat these alone"
        )
    return [Pair(**json.loads(out.read_text(encoding="utf-8"))) for out in outs]


def _ended(run: Run, config: Configuration, dataset: DataSet, arms: Arms, jobs: list, workers: int):  # type: ignore[no-untyped-def]
    """(index, reason of failure or "") of the seeds as they end."""
    if workers == 1:
        for index, job in enumerate(jobs):
            try:
                _seed_to_file(run, config, job[4], arms, dataset, Path(job[7]))
                yield index, ""
            except Exception as error:
                yield index, _reason(error)
        return
    with contextlib.closing(run_each(confirm_process, jobs, workers, config.tune.fit_threads)) as ended:
        for index, code in ended:
            out = Path(jobs[index][7])
            yield (
                index,
                "" if code == 0 and out.is_file() else f"its process ended with code {code}; {_log(out)} says why",
            )


def confirm_process(
    uri: str,
    experiment_id: str,
    parent_id: str,
    config: Configuration,
    seed: int,
    arms: Arms,
    data: str,
    out: str,
    number: int,
) -> None:
    """One seed in a process of its own; the result goes to `out`."""
    take_gpu(config, number)
    with tracking.terminated_like_ctrl_c():
        parent = Run(tracking.attach_store(uri, experiment_id), parent_id, "tune")
        _seed_to_file(parent, config, seed, arms, load_dataset(data), Path(out))


def _log(out: Path) -> Path:
    return out.with_suffix(".log")


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:500]
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def _seed_to_file(parent: Run, config: Configuration, seed: int, arms: Arms, dataset: DataSet, out: Path) -> None:
    """Fit every arm on a seed, what the stages say going to a log beside `out`."""
    with (
        open(_log(out), "a", encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        found: dict[str, Any] = {"seed": seed}
        for arm, settings in arms.items():
            own = confirm_config(trial_config(config, settings), seed)
            with parent.child(f"tune_confirm {arm} seed={seed}", own) as run:
                run.set_tags({"tune.arm": arm, "tune.seed": str(seed), "data_kind": dataset.data_kind})
                drawn = resolve_data(run, own, "") if own.data.source == "phantom" else dataset
                fitted = fit_hybrid(run, own, drawn)
                run.log_metrics({"tune.auc": fitted.auc})
            found[arm] = fitted.auc
            found[f"{arm}_run"] = fitted.classifier_run
    atomic_write_json(out, found)
