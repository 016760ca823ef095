"""Stages train_gan and generate_synthetic: a generator from the training split, images from a generator."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlproject import registry, runtime
from mlproject.cards import describe
from mlproject.classifier.feature_space import feature_space, lite0_maps
from mlproject.config import ClassifierConfig, Configuration
from mlproject.data import kinds
from mlproject.data.crops import load_crops, load_surroundings
from mlproject.data.manifest import DataSet
from mlproject.data.mix import refuse_leak, refuse_other_preprocessing
from mlproject.errors import UserError
from mlproject.evaluation.figures import figure_png
from mlproject.evaluation.grids import real_beside_synthetic_figure
from mlproject.evaluation.quick_fidelity import quick_fidelity
from mlproject.gan.batches import reach_px
from mlproject.gan.sampling import Generator, load_generator, save_generator
from mlproject.gan.synthesis import write_synthetic
from mlproject.gan.training import SELECTION, Evaluate, generator_steps
from mlproject.gan.training import train_gan as train
from mlproject.pipeline import chosen_by, stage_key, subjects_digest, work_folder
from mlproject.progress import bar
from mlproject.registry import ModelReference
from mlproject.stages.common import data_identity, describe_dataset, say, training_crops, used_subjects
from mlproject.stages.data import dataset_of_run, resolve_data
from mlproject.together import helped_gan
from mlproject.tracking import Report, Run

NAME = registry.GENERATOR
# told the figures of each sample grid, such as quick.kid, once they are logged; raises `Stopped` to end the training
Watch = Callable[[int, Mapping[str, float]], None]
_SHOWN_PER_CLASS = 16


def _provenance(dataset: DataSet, subjects: list[str]) -> dict[str, str]:
    """The tags by which later stages find a generator that saw the same data and subjects."""
    return {
        "data_digest": dataset.digest,
        "data_kind": dataset.data_kind,
        "inputs_digest": stage_key("train_gan", data=data_identity(dataset), subjects=subjects_digest(subjects)),
    }


def train_gan(run: Run, config: Configuration, dataset: DataSet, watch: Watch | None = None) -> ModelReference:
    """Train and register a generator on the training split, or take the one that a finished run trained.

    Args:
        watch: may end the training at a sample grid; its checkpoints stay, so that the same command goes on from them.
    """
    subjects = used_subjects(dataset, config.gan)
    key = stage_key(
        "train_gan",
        gan=dataclasses.asdict(config.gan),
        chosen_by=chosen_by(config),
        data=data_identity(dataset),
        subjects=subjects_digest(subjects),
    )
    if config.run.reuse and (finished := run.reusable(key)):
        run.finish_as_reused(finished)
        generator = registry.of_run(run.store, finished, NAME)
        if config.run.aliases:
            registry.ensure_champion(run.store, NAME, generator.version)
        return generator
    device = runtime.resolve_device(config.run.device)
    runtime.set_threads(config.run.threads)
    crops = training_crops(dataset, subjects, config.run.workers)
    around = None
    if config.gan.cut_anew:
        reach = reach_px(config.gan, crops.images.shape[1])
        around = load_surroundings(dataset, crops, reach, workers=config.run.workers)
    run.begin_stage(key, _provenance(dataset, subjects) | {"seed": str(config.gan.seed)})
    run.log_dataset(dataset, context="train")
    total = generator_steps(config.gan, len(crops))
    say(f"train_gan: {len(crops)} images of {len(subjects)} subjects, {total} generator steps on {device}")
    with work_folder(config.run.outputs, "train_gan", key) as work, run.journal(work) as report:
        checkpoints = work / "checkpoints"
        with bar(total, "generator", "step") as progress, helped_gan(config, checkpoints, crops, around) as world:
            trained = train(
                crops.images,
                crops.labels,
                config.gan,
                surroundings=around,
                work_dir=checkpoints,
                device=device,
                report=_watched(report, watch),
                report_image=run.report_image,
                evaluate=_quick_evaluation(config, dataset, device),
                feature_maps=lite0_maps(config.classifier, device) if config.gan.feature_critic > 0 else None,
                progress=lambda done, _: progress.update(done - progress.n),
                world=world,
            )
        folder = work / "generator"
        save_generator(
            folder,
            trained,
            {
                "data_digest": dataset.digest,
                "data_kind": dataset.data_kind,
                "train_subjects": subjects,
                "preprocessing": dataset.preprocessing,
                "label_rule": dataset.label_rule,
            },
        )
        tags = _provenance(dataset, subjects) | {"seed": str(config.gan.seed)}
        version = registry.register(run, folder, NAME, tags, config.run.aliases)
        drawing = load_generator(folder)
    labels = np.repeat([0, 1], _SHOWN_PER_CLASS)
    drawn = drawing.sample(labels, seed=0)
    shown = np.concatenate([np.flatnonzero(crops.labels == label)[:_SHOWN_PER_CLASS] for label in (0, 1)])
    figure = real_beside_synthetic_figure(crops.images[shown], crops.labels[shown], drawn, labels)
    run.log_figure_png("real_beside_synthetic", figure_png(figure))
    reference = registry.resolve(run.store, f"models:/{NAME}/{version}", NAME)
    describe(run.store, reference)
    say(f"registered {reference}")
    return reference


def _watched(report: Report, watch: Watch | None) -> Report:
    """Reports as before; what a sample grid showed is then told to `watch`."""
    if watch is None:
        return report
    tell = watch

    def watched(step: int, values: Mapping[str, float]) -> None:
        report(step, values)
        if "quick.kid" in values:
            tell(step, values)

    return watched


def _quick_evaluation(config: Configuration, dataset: DataSet, device: torch.device) -> Evaluate | None:
    """What is measured at every sample grid, and chooses the step that is kept: on validation images."""
    per_class = config.fidelity.while_training
    if per_class == 0:
        return None
    features = feature_space(config.fidelity.features, config.classifier, device)
    validation = load_crops(dataset, "val", workers=config.run.workers)
    real = features(validation.images)
    labels = np.repeat([0, 1], per_class)

    def evaluate(_step: int, generator: Generator) -> dict[str, float]:
        found = quick_fidelity(real, validation.labels, features(generator.sample(labels, seed=0)), labels)
        return found | ({SELECTION: -found["quick.kid"]} if found else {})

    return evaluate


def resolve_generator(
    run: Run,
    config: Configuration,
    reference: str,
    dataset: DataSet | None = None,
    beside: ClassifierConfig | None = None,
) -> ModelReference:
    """A verified generator.

    Args:
        reference: a folder or file, `runs:/<id>` or `models:/nt-gan@alias`; "" takes the newest one that was trained
            on the same data set, crop and training subjects.
        dataset: the data set it must fit; default: the one that `config.data` describes.
        beside: the classifier whose training subjects it must have seen; default: those of `config.gan`.

    Raises:
        UserError: there is none (the message names the command that makes one), or it does not verify.
    """
    if reference:
        return registry.resolve(run.store, reference, NAME, config.run.public_key)
    dataset = dataset or resolve_data(run, config, "")
    seen = used_subjects(dataset, config.gan if beside is None else beside)
    found = run.store.find("train_gan", {"inputs_digest": _provenance(dataset, seen)["inputs_digest"]})
    if not found:
        raise UserError(
            f"no generator was trained on {len(seen)} subjects of data set {dataset.name} {dataset.digest[:12]}; make "
            "one with `mlflow run . -e train_gan` and the same data options, or name one with --generator"
        )
    generator = registry.of_run(run.store, found[0], NAME, config.run.public_key)
    say(f"generator: {generator}")
    return generator


def generate_synthetic(run: Run, config: Configuration, generator: ModelReference, out: str = "") -> DataSet:
    """Write a synthetic data set folder, or take the one that a finished run wrote."""
    key = _synthesis_key(config, generator)
    if config.run.reuse and not out and (finished := run.reusable(key)):
        made = dataset_of_run(run, finished)
        if made is not None:
            run.finish_as_reused(finished)
            return made
    run.begin_stage(key, _tags_of(generator) | {"seed": str(config.synthesis.seed)})
    folder = Path(out) if out else Path(config.run.outputs) / "synthetic" / f"{generator.digest[:8]}-{key[:12]}"
    settings = config.synthesis
    dataset = write_synthetic(
        load_generator(generator.folder, generator.digest),
        folder,
        settings.per_class,
        settings.class_name,
        settings.seed,
        settings.batch_size,
        workers=config.run.workers,
    )
    run.set_tags({"dataset_path": str(folder.resolve())})
    run.log_dataset(dataset, context="synthetic")
    run.log_artifacts(folder, "dataset")
    run.log_artifact(folder / "grid.png", "samples")
    say(f"synthetic: {describe_dataset(dataset)}")
    return dataset


def _synthesis_key(config: Configuration, generator: ModelReference) -> str:
    return stage_key("generate_synthetic", synthesis=dataclasses.asdict(config.synthesis), generator=generator.digest)


def _tags_of(generator: ModelReference) -> dict[str, str]:
    return {
        "generator_digest": generator.digest,
        "data_digest": generator.meta["data_digest"],
        "data_kind": generator.meta["data_kind"],
    }


def resolve_synthetic(
    run: Run, config: Configuration, dataset: DataSet, reference: str, generator: str
) -> DataSet | None:
    """The synthetic pool of a classifier; None for mix=real.

    Args:
        dataset: the real data set; a pool whose generator saw its validation or test subjects is refused.
        reference: a folder or `runs:/<id>`; "" draws `synthetic_per_class` images of each class, or takes those
            that a finished run drew.
        generator: as in `resolve_generator`.
    """
    settings = config.classifier
    if settings.mix == "real":
        return None
    if reference:
        pool = resolve_data(run, config, reference)
        if pool.data_kind != kinds.SYNTHETIC:
            raise UserError(f"synthetic: {reference} holds {pool.data_kind}, not synthetic images")
    else:
        model = resolve_generator(run, config, generator, dataset, beside=settings)
        refuse_leak({"name": f"the images of {model}", "generator": model.meta}, dataset)
        synthesis = dataclasses.replace(config.synthesis, per_class=settings.synthetic_per_class, class_name="both")
        drawing = dataclasses.replace(config, synthesis=synthesis)
        key = _synthesis_key(drawing, model)
        found = run.store.find("generate_synthetic", {"stage.key": key}) if config.run.reuse else []
        made = dataset_of_run(run, found[0]) if found else None
        if made is None:
            with run.child("generate_synthetic", drawing) as child:
                made = generate_synthetic(child, drawing, model)
        pool = made
    refuse_leak(pool.info, dataset)
    refuse_other_preprocessing(pool.info, dataset)
    return pool


def generator_of(pool: DataSet | None) -> dict[str, Any]:
    """What a synthetic pool says of its generator; {} without a pool."""
    return {} if pool is None else dict(pool.info["generator"])
