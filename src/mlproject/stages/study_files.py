"""The folder of a study: design, tables and pictures, gathered from the runs of its fits."""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlproject import __version__, environment, registry, runtime
from mlproject.classifier.explain import CASES_FOLDER, write_cases
from mlproject.classifier.feature_space import feature_space
from mlproject.classifier.inference import load_classifier
from mlproject.config import Configuration, as_nested
from mlproject.data import kinds
from mlproject.data.checks import CLASS_NAMES
from mlproject.data.crops import Crops
from mlproject.data.images import encode_png, image_grid
from mlproject.data.manifest import DataSet
from mlproject.data.phantom_set import UNSEEN_SITE
from mlproject.errors import UserError
from mlproject.files import atomic_write_bytes, atomic_write_json, atomic_write_text
from mlproject.stages.common import decoded_crops, training_crops, used_subjects
from mlproject.stages.data import dataset_of_run
from mlproject.stages.study_cell import Record
from mlproject.study.assemble import csv_text, lasting_figures, prediction_rows, scores_of, sorted_predictions
from mlproject.study.design import Design, cell_config
from mlproject.tracking import Run

SCHEMA_VERSION = 1
# those of a study's folder that `write_pictures` fills
PICTURE_FOLDERS = (CASES_FOLDER.parent, CASES_FOLDER)
# files that not every study has
_OPTIONAL = (
    "audit.json", "features.csv",
    *(f"images/{kind}-{name}.png" for kind in ("real", "synthetic") for name in CLASS_NAMES),
)  # fmt: skip
_COLUMNS, _LINES = 8, 4
_IMAGES_OF_FEATURES = 150
# the tables of predictions that a fit logged, by the stage that logged them
_TABLES = {
    "train_classifier": (("val", "val_predictions"),),
    "eval_classifier": (("test", "test_predictions"), ("test", "test_unseen_site_predictions")),
}


def describe_design(design: Design, config: Configuration, dataset: DataSet) -> dict[str, Any]:
    """design.json: everything that was declared before the first fit.

    Args:
        dataset: of the first seed; the others have the same counts.
    """
    training = [
        used_subjects(dataset, cell_config(config, design.seeds[0], size).classifier) for size in design.subjects
    ]
    rows = dataset.rows("train")
    test = dataset.rows("test").drop_duplicates("subject_id")
    unseen = _unseen_sites(dataset)
    away = int(test["site"].isin(unseen).sum()) if "site" in test else 0
    sample = cell_config(config, design.seeds[0], design.subjects[0])
    return {
        "schema_version": SCHEMA_VERSION,
        "data_kind": dataset.data_kind,
        "label_rule": dataset.label_rule["text"],
        "split": dataset.info["split"]["kind"],
        "arms": [arm.name for arm in design.arms],
        "subjects": list(design.subjects),
        "seeds": list(design.seeds),
        "primary": dataclasses.asdict(design.primary),
        "secondary": [dataclasses.asdict(comparison) for comparison in design.secondary],
        "level": config.evaluation.level,
        "counts": {
            "train": {
                "subjects": [len(subjects) for subjects in training],
                "images": [int(rows["subject_id"].isin(subjects).sum()) for subjects in training],
                "anomalous_images": [
                    int(rows.loc[rows["subject_id"].isin(subjects), "label"].sum()) for subjects in training
                ],
            },
            "val_subjects": len(dataset.subjects("val")),
            "test_subjects": len(test) - away,
            "unseen_site_subjects": away,
        },
        "unseen_sites": unseen,
        "steps": sample.classifier.steps,
        "gan_steps": sample.gan.steps,
        "trials": config.study.trials,
        "imbalance": config.study.imbalance,
        "screening_prevalence": config.study.screening_prevalence,
        "config": {name: values for name, values in as_nested(config).items() if name != "run"},
        "git_commit": environment.git_tags()["git_commit"],
        "mlproject_version": __version__,
    }


def _unseen_sites(dataset: DataSet) -> list[str]:
    if dataset.data_kind == kinds.PHANTOM:
        return list(UNSEEN_SITE)
    if "site" not in dataset.table:
        return []
    known = set(dataset.rows("train")["site"].dropna())
    return sorted({str(site) for site in dataset.rows("test")["site"].dropna()} - known)


def remove_optional(folder: Path) -> None:
    """Remove what another study left in the folder and this one may not write: the report would show it."""
    shutil.rmtree(folder / CASES_FOLDER, ignore_errors=True)
    for name in _OPTIONAL:
        (folder / name).unlink(missing_ok=True)


def write_tables(run: Run, folder: Path, records: Sequence[Record], unseen_sites: list[str], threshold: float) -> None:
    """Write predictions.csv, scores.csv, generators.csv, shortcuts.csv and runs.csv.

    Raises:
        UserError: a fit's predictions are no longer in the store.
    """
    chosen = {(r.seed, r.subjects, r.arm): r.trial for r in records if r.stage == "eval_classifier"}
    parts, made, shortcuts = [], [], {}
    for record in records:
        place = (record.seed, record.subjects, record.arm)
        if record.stage == "train_gan":
            figures = lasting_figures(run.store.metrics_of(record.run_id))
            made.append({"seed": record.seed, "subjects": record.subjects, "digest": record.digest, **figures})
        elif record.stage in _TABLES and chosen.get(place) == record.trial:
            for split, name in _TABLES[record.stage]:
                table = run.store.table(record.run_id, name)
                if table is not None:
                    parts.append(prediction_rows(*place, split, table))
                elif "unseen" not in name:
                    raise UserError(
                        f"run {record.run_id} of {record.stage} has no {name}.json left; run with --reuse false"
                    )
            if record.stage == "eval_classifier":
                # the training split as a whole, so every arm of a seed has the same
                metrics = run.store.metrics_of(record.run_id)
                for name in metrics:
                    if name.startswith("shortcut.test.") and name.endswith("_auc"):
                        key = (record.seed, name.removeprefix("shortcut.test.").removesuffix("_auc"))
                        shortcuts[key] = metrics[name]
    predictions = sorted_predictions(parts)
    tables = {
        "predictions": predictions,
        "scores": scores_of(predictions, unseen_sites, threshold),
        "generators": pd.DataFrame(made or None, columns=None if made else ["seed", "subjects", "digest"]),
        "shortcuts": pd.DataFrame(
            [[seed, name, auc] for (seed, name), auc in sorted(shortcuts.items())], columns=["seed", "name", "auc"]
        ),
        "runs": _run_rows(records),
    }
    tables["generators"] = tables["generators"].sort_values(["seed", "subjects"], ignore_index=True)
    for name, rows in tables.items():
        atomic_write_text(folder / f"{name}.csv", csv_text(rows))


def _run_rows(records: Sequence[Record]) -> pd.DataFrame:
    names = ["seed", "subjects", "arm", "stage", "run_id", "seconds", "reused", "trial", "digest"]
    rows = pd.DataFrame([[getattr(record, name) for name in names] for record in records], columns=names)
    return rows.sort_values(["seed", "subjects", "arm", "stage", "trial"], ignore_index=True)


def write_pictures(
    run: Run, folder: Path, config: Configuration, design: Design, records: Sequence[Record], dataset: DataSet
) -> None:
    """Sample grids, features and the gallery of right and wrong calls, of the first seed at its largest size.

    The gallery shows validation images: test is read by its evaluation alone. Real pixels that are not free to be
    shown are left out.

    Args:
        dataset: of the first seed.
    """
    seed, size = design.seeds[0], design.cells()[0][1]
    own = cell_config(config, seed, size)
    here = {(r.stage, r.arm): r for r in records if (r.seed, r.subjects) == (seed, size)}
    subjects = used_subjects(dataset, own.classifier)
    sets = {"real": training_crops(dataset, subjects, own.run.workers)}
    drawn = here.get(("generate_synthetic", ""))
    pool = dataset_of_run(run, drawn.run_id) if drawn else None
    if pool is not None:
        sets["synthetic"] = decoded_crops(pool, "train", own.run.workers)
    for kind, crops in sets.items():
        if kind == "real" and dataset.data_kind not in kinds.OPEN_KINDS:
            continue
        for label, name in enumerate(CLASS_NAMES):
            images = crops.images[_one_of_each_subject(crops, label, _COLUMNS * _LINES)]
            if len(images):
                picture = encode_png(image_grid(images, _COLUMNS))
                atomic_write_bytes(folder / "images" / f"{kind}-{name}.png", picture)
    if len(sets) == 2:
        atomic_write_text(folder / "features.csv", csv_text(_features(own, sets)))
    evaluated = here.get(("eval_classifier", design.primary.arm))
    trained = [r for r in records if evaluated and r.stage == "train_classifier" and r.digest == evaluated.digest]
    if trained and dataset.data_kind in kinds.OPEN_KINDS:
        model = registry.of_run(run.store, trained[0].run_id, registry.CLASSIFIER)
        validation = decoded_crops(dataset, "val", own.run.workers)
        classifier = load_classifier(model.folder, model.digest, runtime.resolve_device(own.run.device))
        asked = {
            "image_path": validation.paths, "subject_id": validation.subjects, "site": validation.sites,
            "label": validation.labels, "probability": np.round(classifier.probabilities(validation.images), 6),
        }  # fmt: skip
        threshold = own.evaluation.threshold
        write_cases(folder, classifier, validation.images, pd.DataFrame(asked), threshold, dataset.data_kind)


def _one_of_each_subject(crops: Crops, label: int, count: int) -> np.ndarray:
    """Rows of the first image of each of the first subjects of a class."""
    rows = np.flatnonzero(crops.labels == label)
    _, first = np.unique(crops.subjects[rows], return_index=True)
    return rows[np.sort(first)[:count]]


def _features(config: Configuration, sets: dict[str, Crops]) -> pd.DataFrame:
    """kind, label and the features of up to 150 images of each kind, both classes in their own shares."""
    features = feature_space("lite0", config.classifier, runtime.resolve_device(config.run.device))
    parts = []
    for kind, crops in sets.items():
        rows = np.unique(np.linspace(0, len(crops) - 1, min(_IMAGES_OF_FEATURES, len(crops))).astype(int))
        found = np.round(features(crops.images[rows]).astype(np.float64), 4)
        table = pd.DataFrame(found, columns=[f"f{place}" for place in range(found.shape[1])])
        table.insert(0, "label", crops.labels[rows])
        table.insert(0, "kind", kind)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def write_audit(run: Run, folder: Path, records: Sequence[Record]) -> None:
    """Write audit.json from the evaluation of one of the study's generators, if any was evaluated."""
    for record in records:
        if record.stage != "train_gan":
            continue
        for found in run.store.find("eval_gan", {"generator_digest": record.digest}):
            stored = run.store.download(found, "evaluation")
            report = stored / "generator_evaluation.json" if stored else None
            if report and report.is_file():
                content = json.loads(report.read_text(encoding="utf-8"))
                audited = {**content["audit"], "seed": record.seed, "subjects": record.subjects}
                audited.setdefault("alarms", content.get("alarms", []))
                atomic_write_json(folder / "audit.json", audited)
                return
