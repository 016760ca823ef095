"""Stage study: every arm over subjects and seeds, built of the other stages, and one answer with its interval."""

import contextlib
import dataclasses
import datetime
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mlproject import runtime
from mlproject.config import Configuration
from mlproject.data.manifest import DataSet
from mlproject.errors import UserError
from mlproject.files import atomic_write_json, sweep_unfinished
from mlproject.pipeline import work_folder
from mlproject.processes import run_each
from mlproject.stages import study_files
from mlproject.stages.common import say
from mlproject.stages.data import resolve_data
from mlproject.stages.study_cell import FIT_TAG, Record, cell_process, cell_to_file, read_records
from mlproject.stages.study_probe import probe
from mlproject.study.cost import expected_seconds
from mlproject.study.design import Design, all_fits, cell_config, design_of, study_key
from mlproject.study.report import write_report
from mlproject.study.statistics import Analysis, analyse
from mlproject.study.text import study_text
from mlproject.tracking import Run

_PLURALS = {"train_gan": "generators", "train_classifier": "classifiers", "eval_classifier": "evaluations"}


def run_study(run: Run, config: Configuration, out: str = "") -> Analysis:
    """Run the study that `config` declares, or what is left of it; write and log its folder.

    Every fit is a nested run of a stage and is reused by its stage key, so a study that was killed repeats no finished
    fit. Cells (one seed, one number of subjects) run `run.workers` at a time in processes of their own; results do
    not depend on how many, since every fit takes `study.fit_threads` threads.

    Args:
        out: folder of the study; default: study/<key> under run.outputs.

    Raises:
        UserError: a design that cannot be, or fits that failed (after all others are done).
    """
    design = design_of(config)
    key = study_key(design, config)
    folder = Path(out or Path(config.run.outputs) / "study" / key[:12])
    workers = min(workers_of(config), len(design.cells()))
    run.begin_stage(key, {"study.folder": str(folder.resolve())})
    done = run.store.finished_values(FIT_TAG) if config.run.reuse else set()
    expected = announce(design, config, workers, done)
    started = time.monotonic()
    with work_folder(config.run.outputs, "study", key) as work:
        for written in (folder, *(folder / name for name in study_files.PICTURE_FOLDERS)):
            sweep_unfinished(written)
        data = _prepare(run, config, design)
        first = data[design.seeds[0]]
        refuse_too_many(design, data)
        run.set_tags({"data_kind": first.data_kind})
        described = study_files.describe_design(design, config, first)
        atomic_write_json(folder / "design.json", described)
        records = _run_cells(run, config, design, data, workers, work)
        failed = [record for record in records if record.error]
        if failed:
            listed = "; ".join(f"{r.stage} {r.arm} seed {r.seed} at {r.subjects}: {r.error}" for r in failed[:3])
            raise UserError(
                f"study: {len(failed)} of {len(records)} pieces of work failed ({listed}); see {work}; "
                "start the same command again to repeat these alone"
            )
        study_files.remove_optional(folder)
        study_files.write_tables(run, folder, records, described["unseen_sites"], config.evaluation.threshold)
        study_files.write_pictures(run, folder, config, design, records, first)
        study_files.write_audit(run, folder, records)
    analysis = analyse(folder)
    page = write_report(folder, analysis)
    run.log_artifacts(folder, "study")
    _log_answer(run, analysis)
    elapsed = time.monotonic() - started
    run.log_metrics({"study.seconds": elapsed} | ({"study.expected_seconds": expected} if expected else {}))
    say("\n" + study_text(analysis))
    say(f"\nwritten to {folder}: scores.csv, predictions.csv, figures/, tables/, and")
    say(f"the report:  {page}")
    say(f"took {duration(elapsed)}" + (f", {duration(expected)} were expected" if expected else ""))
    say(f"look at the runs:  {run.store.ui_command()}")
    return analysis


def workers_of(config: Configuration) -> int:
    """Cells at a time: `run.workers`, or as many as the cores hold with `study.fit_threads` each."""
    return config.run.workers or max(1, runtime.available_cores() // config.study.fit_threads)


def announce(design: Design, config: Configuration, workers: int, done: set[str]) -> float:
    """Say what is about to be done and how long it is expected to take; returns the seconds, 0 with nothing to do."""
    counts: Counter[str] = Counter()
    left: Counter[str] = Counter()
    for _, _, fits in all_fits(design, config):
        counts.update(fit.stage for fit in fits)
        left.update(fit.stage for fit in fits if fit.key not in done)
    sizes = ", ".join(str(size or "all") for size in design.subjects)
    say(f"study: {len(design.arms)} arms ({', '.join(arm.name for arm in design.arms)})")
    say(f"  {len(design.seeds)} seeds ({design.seeds[0]} to {design.seeds[-1]}) x subjects {sizes}")
    primary = design.primary
    say(
        f"  primary contrast: {primary.arm} - {primary.reference} at {primary.subjects or 'all'} subjects in "
        f"{primary.metric}; {len(design.secondary)} secondary"
    )
    told = ", ".join(f"{counts[stage]} {name}" for stage, name in _PLURALS.items() if counts[stage])
    finished = sum(counts.values()) - sum(left.values())
    say(f"  fits: {told}" + (f"; {finished} of these {sum(counts.values())} are finished" if finished else ""))
    if not left:
        say("  nothing is left to fit")
        return 0.0
    say(f"  measuring this machine with {workers} at a time, {config.study.fit_threads} threads each ...")
    typical = max(design.subjects) or config.data.n_train
    try:
        rates = probe(config, workers, typical)
    except UserError as error:
        # what fails here fails in its fits as well, where it takes no other along
        say(f"  the time cannot be told: {error}")
        return 0.0
    seconds = expected_seconds(design, config, rates, workers, done)
    end = datetime.datetime.now() + datetime.timedelta(seconds=seconds)
    say(f"  expected time: {duration(seconds)}, until about {end:%H:%M}")
    return seconds


def duration(seconds: float) -> str:
    """`1 h 23 min`, `4 min 5 s` or `12 s`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _prepare(run: Run, config: Configuration, design: Design) -> dict[int, DataSet]:
    """The data set of every seed; drawn or imported once, by as many processes as the study may have."""
    data = {}
    for seed in design.seeds:
        own = cell_config(config, seed, design.subjects[0])
        data[seed] = resolve_data(
            run, dataclasses.replace(own, run=dataclasses.replace(own.run, workers=workers_of(config))), ""
        )
    return data


def refuse_too_many(design: Design, data: Mapping[int, DataSet]) -> None:
    """Told before the first fit, not by each of them.

    Raises:
        UserError: a size of the design is more than the training subjects of a seed's data set.
    """
    largest = max(design.subjects)
    for seed, dataset in data.items():
        if largest > (found := len(dataset.subjects("train"))):
            raise UserError(
                f"study.subjects: {largest} training subjects are wanted, {dataset.name} has {found} at seed {seed}; "
                "name fewer, or 0 for all, and the same number or none in study.primary: --subjects 0 --primary "
                f"'{design.primary.arm} - {design.primary.reference}'"
            )


def _run_cells(
    run: Run, config: Configuration, design: Design, data: dict[int, DataSet], workers: int, work: Path
) -> list[Record]:
    """Every cell; the records of all, also of those that failed."""
    cells = design.cells()
    outs = [work / f"seed-{seed}-subjects-{size}" for seed, size in cells]
    for out in outs:
        out.with_suffix(".json").unlink(missing_ok=True)
    started, records = time.monotonic(), []
    for number, (index, code) in enumerate(_ended(run, config, cells, outs, data, workers), start=1):
        seed, size = cells[index]
        result = outs[index].with_suffix(".json")
        if code == 0 and result.is_file():
            records += read_records(result)
        else:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            reason = f"its process ended with {how}; {outs[index].with_suffix('.log')} says more"
            records.append(Record(seed, size, "", "cell", "", "", 0.0, 0, "", reason))
            say(f"  seed {seed}, {size or 'all'} subjects FAILED: {reason}")
        so_far = duration(time.monotonic() - started)
        say(f"[{number}/{len(cells)}] seed {seed}, {size or 'all'} subjects; {so_far} so far")
    order = {cell: place for place, cell in enumerate(sorted(cells))}
    return sorted(records, key=lambda record: order[record.seed, record.subjects])


def _ended(
    run: Run,
    config: Configuration,
    cells: Sequence[tuple[int, int]],
    outs: Sequence[Path],
    data: dict[int, DataSet],
    workers: int,
) -> Iterator[tuple[int, int]]:
    """(index, exit code) of the cells as they end."""
    if workers == 1:
        for index, (seed, size) in enumerate(cells):
            cell_to_file(run, config, seed, size, data[seed], outs[index])
            yield index, 0
        return
    jobs = [
        (run.store.uri, run.store.experiment_id, run.id, config, seed, size, str(data[seed].root), str(out))
        for (seed, size), out in zip(cells, outs, strict=True)
    ]
    with contextlib.closing(run_each(cell_process, jobs, workers, config.study.fit_threads)) as ended:
        yield from ended


def _log_answer(run: Run, analysis: Analysis) -> None:
    """The primary contrast as metrics, the answer as a tag and as the run's description."""
    contrast = analysis.primary.contrast
    if contrast is not None:
        run.log_metrics(
            {
                "study.primary.difference": contrast.mean,
                "study.primary.difference.ci_low": contrast.interval.low,
                "study.primary.difference.ci_high": contrast.interval.high,
                "study.primary.p_sign_flip": contrast.p_sign_flip,
            }
        )
    run.set_tags(
        {"study.verdict": analysis.verdict, "study.answer": analysis.answer, "mlflow.note.content": analysis.answer}
    )
