"""Stage train_judge: a classifier that says which class an image shows, trained on subjects no generator saw."""

import dataclasses

from mlproject import runtime
from mlproject.classifier.inference import Classifier, load_classifier, save_classifier
from mlproject.classifier.training import train_classifier as train
from mlproject.config import Configuration
from mlproject.data.crops import Crops
from mlproject.data.manifest import DataSet
from mlproject.pipeline import stage_key, work_folder
from mlproject.progress import bar
from mlproject.stages.common import data_identity, say
from mlproject.tracking import Run

_ARTIFACT = "judge"


def judge(run: Run, config: Configuration, dataset: DataSet, training: Crops, chosen_on: Crops) -> Classifier:
    """The judge of generators, from a finished run or trained now in a child run.

    Args:
        dataset: where its images come from.
        training: real images of subjects that no generator under test was trained on.
        chosen_on: real images of further subjects, which choose the step.
    """
    settings = dataclasses.replace(
        config.classifier, mix="real", subjects=0, steps=config.fidelity.judge_steps, seed=config.fidelity.seed
    )
    described = {
        "classifier": dataclasses.asdict(settings),
        "data": data_identity(dataset),
        "subjects": sorted(set(training.subjects.tolist())),
    }
    key = stage_key("train_judge", **described)
    finished = run.store.find("train_judge", {"stage.key": key}) if config.run.reuse else []
    if finished and (folder := run.store.download(finished[0], _ARTIFACT)):
        return load_classifier(folder, run.store.tags_of(finished[0])["judge_digest"])
    device = runtime.resolve_device(config.run.device)
    with run.child("train_judge", config) as child:
        child.begin_stage(key, {"data_digest": dataset.digest, "data_kind": dataset.data_kind})
        child.log_dataset(dataset, context="train")
        say(f"train_judge: {len(training)} images of {len(described['subjects'])} subjects, {settings.steps} steps")
        with work_folder(config.run.outputs, "train_judge", key) as work, child.journal(work) as report:
            with bar(settings.steps, "judge", "step") as progress:
                trained = train(
                    training,
                    None,
                    chosen_on,
                    settings,
                    work_dir=work,
                    device=device,
                    report=report,
                    report_image=child.report_image,
                    progress=lambda done: progress.update(done - progress.n),
                )
            folder = work / _ARTIFACT
            meta = {
                "preprocessing": dataset.preprocessing,
                "class_names": dataset.info["class_names"],
                "threshold": config.evaluation.threshold,
                "data_digest": dataset.digest,
                "data_kind": dataset.data_kind,
                "train_subjects": described["subjects"],
            }
            digest = save_classifier(folder, trained, meta)
            child.log_artifacts(folder, _ARTIFACT)
            child.set_tags({"judge_digest": digest})
            return load_classifier(folder, digest)
