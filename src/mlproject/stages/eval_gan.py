"""Stage eval_gan: is a generator's class right, its texture right, and does it keep its training images to itself?"""

import dataclasses
import json
from typing import Any

import numpy as np

from mlproject import registry, runtime
from mlproject.cards import describe
from mlproject.classifier.feature_space import feature_space
from mlproject.classifier.inference import predict_logits, sigmoid
from mlproject.classifier.training import train_classifier as train
from mlproject.config import Configuration
from mlproject.data import kinds
from mlproject.data.crops import Crops
from mlproject.data.manifest import DataSet
from mlproject.errors import UserError
from mlproject.evaluation.audit import audit_text
from mlproject.evaluation.fidelity import CONDITIONING_KINDS, DIVERSITY_KINDS
from mlproject.evaluation.figures import figure_png
from mlproject.evaluation.generator_evaluation import Judged, evaluate_images
from mlproject.evaluation.generator_figures import closest_pairs_figure, distances_figure, texture_figure
from mlproject.evaluation.generator_report import Sample, Settings, report_text
from mlproject.evaluation.grids import real_beside_synthetic_figure
from mlproject.evaluation.intervals import Interval, auc_interval
from mlproject.evaluation.tables import interval_text
from mlproject.gan.sampling import load_generator
from mlproject.pipeline import stage_key, work_folder
from mlproject.progress import bar
from mlproject.registry import ModelReference
from mlproject.stages.common import data_identity, say
from mlproject.stages.judge import judge
from mlproject.stages.real_images import RealImages, as_crops, real_images, reference_phantom
from mlproject.tracking import Run

FOLDER, REPORT = "evaluation", "generator_evaluation.json"
_SHOWN_PER_CLASS = 16
_AUDIT_TAG = {"passed": "pass", "failed": "fail", "undecided": "undecided"}


def eval_gan(run: Run, config: Configuration, generator: ModelReference, dataset: DataSet) -> dict[str, Any]:
    """Evaluate a generator; log and return the report, and tag the registered version with its verdicts.

    On the phantom everything real beside the training images comes from a further phantom of other subjects; on user
    data from the validation split. The test split is not read.

    Args:
        generator: verified.
        dataset: what it was trained on.

    Returns:
        {"fidelity": judge and train-on-synthetic figures, "alarms", "distribution": `generator_report`, "audit"}.

    Raises:
        UserError: the generator was not trained on this data set, or there are too few images.
    """
    if generator.meta["data_digest"] != dataset.digest or generator.meta["preprocessing"] != dataset.preprocessing:
        raise UserError(
            f"{generator} was trained on data {generator.meta['data_digest'][:12]}, not on {dataset.name} "
            f"{dataset.digest[:12]} as it is cut here; name its data set with --data"
        )
    source = reference_phantom(run, config, dataset) if dataset.data_kind == kinds.PHANTOM else dataset
    key = stage_key(
        "eval_gan",
        fidelity=dataclasses.asdict(config.fidelity),
        evaluation=dataclasses.asdict(config.evaluation),
        classifier=dataclasses.asdict(config.classifier),
        data=data_identity(dataset),
        source=data_identity(source),
        generator=generator.digest,
    )
    if config.run.reuse and (finished := run.reusable(key)) and (stored := run.store.download(finished, FOLDER)):
        report: dict[str, Any] = json.loads((stored / REPORT).read_text(encoding="utf-8"))
        run.finish_as_reused(finished)
        _tag_version(run, generator, report)
        say(_text(report))
        return report
    runtime.set_threads(config.run.threads)
    provenance = {"generator_digest": generator.digest, "data_digest": dataset.digest, "data_kind": dataset.data_kind}
    run.begin_stage(key, provenance)
    run.log_dataset(dataset, context="train")
    real = real_images(dataset, source, generator.meta["train_subjects"], config)
    device = runtime.resolve_device(config.run.device)
    classes = judge(run, config, source, real.judge_train, real.judge_choice)
    settings = config.fidelity
    say(f"eval_gan: {generator}, {settings.per_class} synthetic images of each class, {len(real.hold_out)} real ones")
    labels = np.repeat([0, 1], settings.per_class)
    sampler = load_generator(generator.folder, generator.digest)
    drawn = sampler.sample(labels, settings.seed)
    synthetic = as_crops(drawn, labels)
    features = feature_space(settings.features, config.classifier, device)
    sets = {
        name: Sample(crops.images, features(crops.images), crops.labels, crops.subjects)
        for name, crops in (
            ("train", real.train),
            ("hold_out", real.hold_out),
            ("pool", real.pool),
            ("synthetic", synthetic),
        )
    }
    # on user data the judge learned from the hold-out: the generator's training images are what it has not seen
    unseen = real.hold_out if real.hold_out is not real.judge_train else real.train
    judged = {
        "synthetic": Judged(labels, classes.probabilities(drawn)),
        "real": Judged(unseen.labels, classes.probabilities(unseen.images)),
    }
    evaluation = config.evaluation
    options = Settings(evaluation.level, evaluation.bootstrap, evaluation.seed, settings.floor_repeats)
    report = {
        "schema_version": 1,
        "generator": {"sha256": generator.digest, "version": generator.version, "name": generator.name},
        "data_kind": dataset.data_kind,
        "features": settings.features,
        "real_images": real.described(),
        **evaluate_images(
            sets,
            judged,
            evaluation.threshold,
            options,
            space=settings.features,
            further_spaces={
                # a space that no generator was trained against: the default one's critic sees maps of lite0
                "judge": {name: classes.features(sample.images) for name, sample in sets.items()}
            },
        ),
    }
    # as many as a classifier takes in: a fixed number would measure how soon it knows them by heart as well
    lesson = np.repeat([0, 1], settings.judge_steps * config.classifier.batch_size // 2)
    lessons = as_crops(sampler.sample(lesson, settings.seed), lesson)
    report["fidelity"] |= {
        "train_on_synthetic_test_on_real_auc": vars(_taught(run, config, key, None, lessons, real, device)),
        "train_on_training_test_on_real_auc": vars(_taught(run, config, key, real.train, None, real, device)),
    }
    _log(run, config, report, sets)
    _tag_version(run, generator, report)
    say(_text(report))
    return report


def _taught(
    run: Run,
    config: Configuration,
    key: str,
    images: Crops | None,
    synthetic: Crops | None,
    real: RealImages,
    device: Any,
) -> Interval:
    """The AUC on the hold-out of a classifier that learned from real `images`, or from `synthetic` ones, alone.

    Both take the judge's number of steps and choose the best of them on the generator's own training images.
    """
    mix = "synthetic" if images is None else "real"
    settings = dataclasses.replace(
        config.classifier, mix=mix, subjects=0, steps=config.fidelity.judge_steps, seed=config.fidelity.seed
    )
    with (
        work_folder(config.run.outputs, f"eval_gan_{mix}", key) as work,
        bar(settings.steps, f"train on {mix}", "step") as progress,
    ):
        trained = train(
            images,
            synthetic,
            real.train,
            settings,
            work_dir=work,
            device=device,
            report=lambda step, values: None,
            report_image=lambda step, name, image: None,
            progress=lambda done: progress.update(done - progress.n),
        )
    probabilities = sigmoid(predict_logits(trained.module, real.hold_out.images, device, 256))
    evaluation = config.evaluation
    return auc_interval(
        real.hold_out.labels,
        probabilities,
        real.hold_out.subjects,
        evaluation.bootstrap,
        evaluation.level,
        evaluation.seed,
    )


def _log(run: Run, config: Configuration, report: dict[str, Any], sets: dict[str, Sample]) -> None:
    values: dict[str, float] = {}
    figures = {
        f"{space}.{group}.{name}": found
        for space, groups in report["distribution"].items()
        for group, row in groups.items()
        for name, found in row.items()
    }
    for name, found in figures.items():
        if "refused" not in found:
            prefix = f"fidelity.{name}"
            bounds = {f"{prefix}.ci_low": found["low"], f"{prefix}.ci_high": found["high"]}
            values |= {prefix: found["value"], f"{prefix}.floor": found["floor"]["value"]}
            if found["training"] is not None:
                # what the training images themselves would score, and how far chance alone takes it
                values[f"{prefix}.training"] = found["training"]["value"]
                if found["training"]["high"] is not None:
                    values[f"{prefix}.training.ci_high"] = found["training"]["high"]
            values |= {key: bound for key, bound in bounds.items() if bound is not None}
    told = {
        "fidelity.tstr_auc": report["fidelity"]["train_on_synthetic_test_on_real_auc"],
        "fidelity.tstr_auc.training": report["fidelity"]["train_on_training_test_on_real_auc"],
    }
    for kind in ("synthetic", "real"):
        judged = report["fidelity"][f"judge_{kind}"]
        told[f"fidelity.{kind}.auc"] = judged["auc"]
        told |= {f"fidelity.{kind}.recall_{name}": found for name, found in judged["recall"].items()}
    for name, found in told.items():
        values |= {name: found["value"], f"{name}.ci_low": found["low"], f"{name}.ci_high": found["high"]}
    for space, groups in report["audit"]["spaces"].items():
        numbers = groups["all"]["numbers"]
        values |= {
            f"audit.{space}.copies": float(numbers["copies"]),
            f"audit.{space}.attack_auc": numbers["attack_auc"]["value"],
            f"audit.{space}.attack_auc.ci_high": numbers["attack_auc"]["high"],
        }
    run.log_metrics(values)
    run.log_text(REPORT, json.dumps(report, indent=1, sort_keys=True, allow_nan=False), FOLDER)
    run.log_text("summary.txt", _text(report), FOLDER)
    shown = {
        name: np.concatenate([np.flatnonzero(sample.labels == label)[:_SHOWN_PER_CLASS] for label in (0, 1)])
        for name, sample in sets.items()
    }
    real, made = sets["hold_out"].select(shown["hold_out"]), sets["synthetic"].select(shown["synthetic"])
    pictures = {
        "real_beside_synthetic": real_beside_synthetic_figure(real.images, real.labels, made.images, made.labels),
        "texture": texture_figure(sets["hold_out"].images, sets["synthetic"].images),
    }
    for space, groups in report["audit"]["spaces"].items():
        found = groups["all"]
        pictures[f"closest_pairs_{space}"] = closest_pairs_figure(
            sets["synthetic"].images, sets["train"].images, found["closest_pairs"], space
        )
        pictures[f"distances_{space}"] = distances_figure(sets, space)
    for name, figure in pictures.items():
        run.log_figure_png(name, figure_png(figure))


def _tag_version(run: Run, generator: ModelReference, report: dict[str, Any]) -> None:
    """What `promote` reads: the audit's verdict and whether the class asked for is in the images."""
    kinds = sorted({alarm["kind"] for alarm in report["alarms"]})
    tags = {"audit": _AUDIT_TAG[report["audit"]["verdict"]]}
    for tag, known in (("conditioning", CONDITIONING_KINDS), ("diversity", DIVERSITY_KINDS)):
        tags[tag] = ",".join(kind for kind in kinds if kind in known) or "ok"
    run.set_tags(tags)
    if generator.version:
        for key, value in tags.items():
            run.store.client.set_model_version_tag(registry.GENERATOR, generator.version, key, value)
        describe(run.store, generator, run.id)


def _text(report: dict[str, Any]) -> str:
    """The whole report as a page of text."""
    lines = []
    for space, groups in report["distribution"].items():
        beside = "in brackets the same figure of real images, and of the training images, against real ones"
        lines += [f"\n{space}: {beside}", report_text(groups)]
    for kind in ("synthetic", "real"):
        judged = report["fidelity"][f"judge_{kind}"]
        recalls = ", ".join(f"recall {name} {_told(found)}" for name, found in judged["recall"].items())
        lines.append(f"judge on {kind} images: AUC {_told(judged['auc'])}, {recalls}")
    for kind, name in (("synthetic", "synthetic"), ("the generator's training images", "training")):
        found = report["fidelity"][f"train_on_{name}_test_on_real_auc"]
        lines.append(f"trained on {kind}, tested on real: AUC {_told(found)}")
    lines += [f"ALARM {alarm['kind']}: {alarm['text']}" for alarm in report["alarms"]] or ["no alarm"]
    lines.append(audit_text(report["audit"]))
    return "\n".join(lines)


def _told(found: dict[str, float]) -> str:
    return interval_text(Interval(found["value"], found["low"], found["high"]))
