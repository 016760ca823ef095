"""What a search leaves behind: tables, pictures and the best settings as files, in its run, and in words."""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pandas as pd

from mlproject import registry
from mlproject.config import Configuration, as_yaml
from mlproject.files import atomic_write_bytes, atomic_write_json, atomic_write_text
from mlproject.stages.common import say
from mlproject.study.assemble import csv_text
from mlproject.tracking import Run
from mlproject.tuning.budget import TrialRecord, counted
from mlproject.tuning.plan import trial_config
from mlproject.tuning.plots import search_pictures
from mlproject.tuning.report import Found, counts_text, pairs_text, trial_columns, trials_text
from mlproject.tuning.space import Parameter

ALIAS = "tuned"
FIGURES = "figures"  # in the folder of a search
# sections of a trial's configuration that the stages read
_SECTIONS = ("data", "gan", "synthesis", "classifier", "evaluation", "fidelity")


def write_result(
    folder: Path,
    config: Configuration,
    space: Sequence[Parameter],
    study: optuna.Study,
    trials: Sequence[TrialRecord],
    found: Found,
) -> None:
    """trials.csv, confirmation.json, best.yaml and the pictures."""
    names = [parameter.name for parameter in space]
    atomic_write_text(folder / "trials.csv", csv_text(pd.DataFrame(trial_columns(trials, names))))
    atomic_write_json(
        folder / "confirmation.json",
        {
            "answer": found.answer,
            "untuned": found.untuned,
            "tuned": found.best.settings if found.best else None,
            "seeds": [dataclasses.asdict(pair) for pair in found.pairs],
            "contrast": dataclasses.asdict(found.contrast) if found.contrast else None,
        },
    )
    if found.best is not None:
        best = trial_config(config, found.best.settings)
        atomic_write_text(folder / "best.yaml", as_yaml(best, _SECTIONS))
    pictures, missing = search_pictures(study, space)
    for name, png in pictures.items():
        atomic_write_bytes(folder / FIGURES / f"{name}.png", png)
    for name, reason in missing.items():
        say(f"tune: no picture {name}: {reason}")


def log_result(
    run: Run,
    config: Configuration,
    folder: Path,
    space: Sequence[Parameter],
    trials: Sequence[TrialRecord],
    found: Found,
) -> None:
    """Everything to the run of the search; the best trial's models get the alias `tuned`."""
    for name in ("trials.csv", "confirmation.json", "best.yaml"):
        if (folder / name).is_file():
            run.log_artifact(folder / name, "tuning")
    for picture in sorted((folder / FIGURES).glob("*.png")):
        run.log_figure_png(picture.stem, picture.read_bytes())
    run.log_table("trials", trial_columns(trials, [parameter.name for parameter in space]))
    run.set_tags({"tune.answer": found.answer, "mlflow.note.content": f"{counts_text(trials)}. {found.answer}"})
    values = {"tune.trials": float(counted(trials))}
    if found.best is not None:
        values["tune.best.auc"] = found.best.values[0]
    if found.contrast is not None:
        interval = found.contrast.interval
        values |= {"tune.difference": interval.value, "tune.p_sign_flip": found.contrast.p_sign_flip}
        values |= {"tune.difference.ci_low": interval.low, "tune.difference.ci_high": interval.high}
    run.log_metrics(values)
    if found.best is not None and config.run.aliases:
        for name, key in ((registry.GENERATOR, "generator_run"), (registry.CLASSIFIER, "classifier_run")):
            model = registry.of_run(run.store, str(found.best.notes[key]), name)
            registry.set_alias(run.store, name, ALIAS, model.version)


def tell_result(
    config: Configuration,
    folder: Path,
    space: Sequence[Parameter],
    trials: Sequence[TrialRecord],
    found: Found,
    data: str = "",
) -> None:
    """The trials, the fresh seeds, the answer, and how to have the best settings again.

    Args:
        data: folder of the data set, if it is not the one that the configuration describes.
    """
    say(f"\n{counts_text(trials)}")
    say(trials_text(trials, [parameter.name for parameter in space]))
    if found.best is not None:
        say(f"\nuntuned: {listed(found.untuned)}")
        say(f"tuned:   {listed(found.best.settings)} (trial {found.best.number})")
    if found.pairs:
        interval = f", {config.evaluation.level:.0%} paired t interval" if found.contrast else ""
        say(f"\nfresh seeds, validation AUC{interval}")
        say(pairs_text(found))
    say(f"\n{found.answer}")
    if found.best is not None:
        if config.run.aliases:
            say(f"registered: models:/{registry.GENERATOR}@{ALIAS} and models:/{registry.CLASSIFIER}@{ALIAS}")
        say("the tuned settings again (-P reuse=false to repeat the work):")
        for command in repeat_commands(folder, str(found.best.notes["generator_run"]), data):
            say(f"  {command}")
    say(f"written to {folder}: trials.csv, confirmation.json, {'best.yaml, ' if found.best else ''}figures/")


def repeat_commands(folder: Path, generator_run: str, data: str = "") -> list[str]:
    """The commands that repeat the best trial: its generator, then its classifier on that generator's images."""
    again = f"-P config={shlex.quote(str(folder / 'best.yaml'))}"
    if data:
        again += f" -P data={shlex.quote(data)}"
    return [
        f"mlflow run . -e train_gan --env-manager local {again}",
        f"mlflow run . -e train_classifier --env-manager local {again} -P generator=runs:/{generator_run}",
    ]


def listed(settings: Mapping[str, Any]) -> str:
    """`gan.lambda_gp 10.0, classifier.synthetic_fraction 0.5`."""
    return ", ".join(f"{name} {value}" for name, value in settings.items())
