"""Stages train_classifier and eval_classifier: chosen on validation, measured once on test."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlproject import registry, runtime
from mlproject.cards import describe
from mlproject.classifier.inference import load_classifier, save_classifier
from mlproject.classifier.judging import chosen_on_validation
from mlproject.classifier.training import train_classifier as train
from mlproject.config import Configuration, EvaluationConfig
from mlproject.data.balance import balanced
from mlproject.data.crops import Crops
from mlproject.data.manifest import DataSet
from mlproject.errors import UserError
from mlproject.evaluation import figures
from mlproject.evaluation.curves import precision_recall_with_band, roc_with_band
from mlproject.evaluation.intervals import Interval, bootstrap_intervals
from mlproject.evaluation.shortcuts import shortcut_baselines
from mlproject.evaluation.tables import comparison_text
from mlproject.pipeline import stage_key, subjects_digest, work_folder
from mlproject.progress import bar
from mlproject.registry import ModelReference
from mlproject.stages.common import data_identity, decoded_crops, say, training_crops, used_subjects
from mlproject.stages.gan import generator_of
from mlproject.together import helped_classifier
from mlproject.tracking import Run

NAME = registry.CLASSIFIER
Metrics = dict[str, Interval]


def train_classifier(run: Run, config: Configuration, dataset: DataSet, pool: DataSet | None) -> ModelReference:
    """Train and register a classifier, or take the one that a finished run trained.

    Args:
        dataset: real images; training sees the train split, the best step is chosen on validation.
        pool: synthetic images, checked for leaks; None for mix=real.
    """
    settings = config.classifier
    subjects = used_subjects(dataset, settings)
    key = stage_key(
        "train_classifier",
        classifier=dataclasses.asdict(settings),
        evaluation=dataclasses.asdict(config.evaluation),
        data=data_identity(dataset),
        subjects=subjects_digest(subjects),
        synthetic="" if pool is None else pool.digest,
    )
    if config.run.reuse and (finished := run.reusable(key)):
        run.finish_as_reused(finished)
        reference = registry.of_run(run.store, finished, NAME)
        if config.run.aliases:
            registry.update_mix_aliases(run.store, reference.version, settings.mix)
        return reference
    device = runtime.resolve_device(config.run.device)
    runtime.set_threads(config.run.threads)
    workers = config.run.workers
    real = training_crops(dataset, subjects, workers)
    validation = decoded_crops(dataset, "val", workers)
    synthetic = _first_per_class(decoded_crops(pool, "train", workers), settings.synthetic_per_class) if pool else None
    used, synthetic, settings = balanced(real, synthetic, settings)
    tags = {
        "mix": settings.mix,
        "seed": str(settings.seed),
        "data_digest": dataset.digest,
        "data_kind": dataset.data_kind,
        "generator_digest": generator_of(pool).get("digest", ""),
    }
    run.begin_stage(key, tags)
    run.log_dataset(dataset, context="train")
    if pool is not None:
        run.log_dataset(pool, context="synthetic")
    pools = {"real": len(used) if settings.mix != "synthetic" else 0, "synthetic": len(synthetic) if synthetic else 0}
    images = " and ".join(f"{count} {kind}" for kind, count in pools.items() if count)
    say(f"train_classifier: mix={settings.mix}, {images} images, {settings.steps} steps on {device}")
    with work_folder(config.run.outputs, "train_classifier", key) as work, run.journal(work) as report:
        configured = dataclasses.replace(config, classifier=settings)
        with (
            bar(settings.steps, f"classifier ({settings.mix})", "step") as progress,
            helped_classifier(configured, work, real=used, synthetic=synthetic, validation=validation) as world,
        ):
            trained = train(
                used,
                synthetic,
                validation,
                settings,
                work_dir=work,
                device=device,
                report=report,
                report_image=run.report_image,
                progress=lambda done: progress.update(done - progress.n),
                world=world,
            )
        metrics = measure(validation, trained.probabilities, config.evaluation)
        shortcuts = shortcut_figures(real, validation, config.evaluation)
        log_evaluation(run, "val", validation, trained.probabilities, metrics, shortcuts, config.evaluation)
        folder = work / "classifier"
        save_classifier(
            folder,
            trained,
            {
                "preprocessing": dataset.preprocessing,
                "class_names": dataset.info["class_names"],
                "threshold": config.evaluation.threshold,
                **chosen_on_validation(validation.labels, trained.probabilities),
                "data_digest": dataset.digest,
                "data_kind": dataset.data_kind,
                "train_subjects": subjects,
                "label_rule": dataset.label_rule,
                "mix": settings.mix,
                "generator_digest": generator_of(pool).get("digest"),
                "generator_subjects": generator_of(pool).get("train_subjects", []),
                "metrics": {f"val.{name}": dataclasses.asdict(found) for name, found in metrics.items()},
            },
        )
        version = registry.register(run, folder, NAME, tags)
    moved = registry.update_mix_aliases(run.store, version, settings.mix) if config.run.aliases else []
    reference = registry.resolve(run.store, f"models:/{NAME}/{version}", NAME)
    describe(run.store, reference)
    say(comparison_text({settings.mix: metrics}, first="validation"))
    say(f"registered {reference}" + (f", alias {', '.join(moved)}" if moved else ""))
    return reference


def _first_per_class(crops: Crops, per_class: int) -> Crops:
    """At most `per_class` images of each class, in the manifest's order."""
    chosen = np.concatenate([np.flatnonzero(crops.labels == label)[:per_class] for label in (0, 1)])
    return crops.select(np.sort(chosen))


def measure(crops: Crops, probabilities: np.ndarray, settings: EvaluationConfig) -> Metrics:
    """Every metric with its interval by subject."""
    draws = (settings.bootstrap, settings.level, settings.seed)
    return bootstrap_intervals(crops.labels, probabilities, crops.subjects, settings.threshold, *draws)


def shortcut_figures(train_crops: Crops, held_out: Crops, settings: EvaluationConfig) -> Metrics:
    """What is reached on held-out crops without anatomy, with intervals by subject."""
    return shortcut_baselines(train_crops, held_out, settings.seed, draws=settings.bootstrap, level=settings.level)


def log_evaluation(
    run: Run,
    split: str,
    crops: Crops,
    probabilities: np.ndarray,
    metrics: Mapping[str, Interval],
    shortcuts: Mapping[str, Interval],
    settings: EvaluationConfig,
) -> None:
    """Log scores with intervals, shortcut baselines, figures and the predictions, under the keys of `split`."""
    values: dict[str, float] = {}
    named = {f"{split}.{name}": found for name, found in metrics.items()}
    named |= {f"shortcut.{split}.{name}_auc": found for name, found in shortcuts.items()}
    for name, found in named.items():
        values |= {name: found.value, f"{name}.ci_low": found.low, f"{name}.ci_high": found.high}
    run.log_metrics(values)
    for name, png in evaluation_pictures(split, crops, probabilities, settings).items():
        run.log_figure_png(f"{split}_{name}", png)
    run.log_table(f"{split}_predictions", _prediction_rows(crops, probabilities, settings))


def evaluation_pictures(
    split: str, crops: Crops, probabilities: np.ndarray, settings: EvaluationConfig
) -> dict[str, bytes]:
    """Confusion matrix, ROC and precision-recall curves with bands, and score histogram as PNGs."""
    labels, subjects = crops.labels, crops.subjects
    bands = (labels, probabilities, subjects, settings.bootstrap, settings.level, settings.seed)
    pictures = {
        "confusion_matrix": figures.confusion_matrix_figure(labels, probabilities, settings.threshold),
        "roc_curve": figures.roc_figure({split: roc_with_band(*bands)}, settings.level),
        "precision_recall_curve": figures.precision_recall_figure(
            {split: precision_recall_with_band(*bands)}, settings.level, float(labels.mean())
        ),
        "scores": figures.score_histogram_figure(labels, probabilities, settings.threshold),
    }
    return {name: figures.figure_png(figure) for name, figure in pictures.items()}


def _prediction_rows(crops: Crops, probabilities: np.ndarray, settings: EvaluationConfig) -> dict[str, list[Any]]:
    return {
        "image_path": crops.paths.tolist(),
        "subject_id": crops.subjects.tolist(),
        "site": crops.sites.tolist(),
        "label": crops.labels.tolist(),
        "probability": [round(float(value), 6) for value in probabilities],
        "decision": (probabilities >= settings.threshold).astype(int).tolist(),
    }


def resolve_classifier(run: Run, config: Configuration, reference: str) -> ModelReference:
    """A verified classifier: a folder or file, `runs:/<id>` or `models:/nt-classifier@alias` ("": champion)."""
    model = registry.resolve(run.store, reference or f"models:/{NAME}@champion", NAME, config.run.public_key)
    say(f"classifier: {model}")
    return model


def eval_classifier(run: Run, config: Configuration, model: ModelReference, dataset: DataSet) -> Metrics:
    """Measure a classifier on the test split; nothing else in the project reads it.

    Raises:
        UserError: subjects that trained the classifier or its generator are in the test split, or the crops are cut
            in another way than those it was trained on.
    """
    settings = config.evaluation
    seen = set(model.meta["train_subjects"]) | set(model.meta.get("generator_subjects", []))
    if overlap := sorted(seen & set(dataset.subjects("test"))):
        raise UserError(
            f"{model}: {len(overlap)} of its training subjects are in the test split of {dataset.name} "
            f"({', '.join(overlap[:3])}); evaluate it on the split it was trained with"
        )
    if model.meta["preprocessing"] != dataset.preprocessing:
        raise UserError(
            f"{model} was trained on crops cut as {model.meta['preprocessing']}, {dataset.name} cuts them as "
            f"{dataset.preprocessing}; prepare the data with the same crop"
        )
    key = stage_key(
        "eval_classifier", evaluation=dataclasses.asdict(settings), data=data_identity(dataset), classifier=model.digest
    )
    if config.run.reuse and (finished := run.reusable(key)):
        run.finish_as_reused(finished)
        return logged_metrics(run.store.metrics_of(finished), "test")
    runtime.set_threads(config.run.threads)
    run.begin_stage(
        key,
        {
            "mix": str(model.meta.get("mix", "")),
            "classifier_digest": model.digest,
            "data_digest": dataset.digest,
            "data_kind": dataset.data_kind,
            "test_reading": dataset.digest,
        },
    )
    run.log_dataset(dataset, context="test")
    readings = len(run.store.find("eval_classifier", {"test_reading": dataset.digest})) + 1
    classifier = load_classifier(model.folder, model.digest, runtime.resolve_device(config.run.device))
    test = decoded_crops(dataset, "test", config.run.workers)
    trained = decoded_crops(dataset, "train", config.run.workers)
    known = np.isin(test.sites, sorted(set(trained.sites.tolist())))
    probabilities = classifier.probabilities(test.images)
    metrics = measure(test.select(known), probabilities[known], settings)
    shortcuts = shortcut_figures(trained, test.select(known), settings)
    log_evaluation(run, "test", test.select(known), probabilities[known], metrics, shortcuts, settings)
    run.log_metrics({"test.readings": float(readings)})
    if not known.all():
        unseen = test.select(~known)
        run.log_table("test_unseen_site_predictions", _prediction_rows(unseen, probabilities[~known], settings))
    for site in sorted(set(test.sites[~known].tolist())):
        # a site that training never saw is a question of its own, not part of the headline
        at_site = test.sites == site
        found = measure(test.select(at_site), probabilities[at_site], settings)["auc"]
        name = f"test.unseen_site_{site}.auc"
        run.log_metrics({name: found.value, f"{name}.ci_low": found.low, f"{name}.ci_high": found.high})
    describe(run.store, model, run.id)
    say(f"eval_classifier: reading {readings} of the test split {dataset.digest[:12]}")
    say(comparison_text({str(model.meta.get("mix", "model")): metrics}, first="test"))
    for name, baseline in shortcuts.items():
        say(f"  shortcut {name}: AUC {baseline.value:.3f} [{baseline.low:.3f}, {baseline.high:.3f}]")
    return metrics


def logged_metrics(values: Mapping[str, float], split: str) -> Metrics:
    """Intervals read back from a finished run's metrics."""
    names = [key.removeprefix(f"{split}.").removesuffix(".ci_low") for key in values if key.endswith(".ci_low")]
    return {
        name: Interval(values[f"{split}.{name}"], values[f"{split}.{name}.ci_low"], values[f"{split}.{name}.ci_high"])
        for name in names
        if f"{split}.{name}" in values and "." not in name
    }
