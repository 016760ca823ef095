"""A small, plausible study folder for tests: the files of the contract, with predictions drawn from a seed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from mlproject.evaluation.metrics import binary_metrics
from mlproject.study.folder import subject_average

ARMS = ("real", "real_augmented", "synthetic", "hybrid_0.5_add")
UNSEEN_SITE = "C"
# how far apart the classes lie on the logit scale, in standard deviations of a subject
SEPARATION = {"real": 1.6, "real_augmented": 1.8, "synthetic": 1.0, "hybrid_0.5_add": 1.8}


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as CSV with numbers that read back exactly."""
    pd.DataFrame(rows).to_csv(path, index=False, float_format="%.17g", lineterminator="\n")


def draw_predictions(
    seeds: Sequence[int],
    sizes: Sequence[int],
    arms: Sequence[str],
    *,
    val_subjects: int,
    test_subjects: int,
    unseen_subjects: int,
    frames: int,
    effect: float,
) -> pd.DataFrame:
    """Predictions of every fit: arms of a seed share its subjects, and subjects differ in how hard they are.

    `effect` is added to the separation of the hybrid arms.
    """
    rows = []
    splits = (("val", val_subjects, "AB"), ("test", test_subjects, "AB"), ("test", unseen_subjects, UNSEEN_SITE))
    for seed in seeds:
        for part, (split, count, sites) in enumerate(splits):
            generator = np.random.default_rng([seed, part])
            labels = np.arange(count) % 2
            hardness = generator.normal(size=count)
            for size in sizes:
                for number, arm in enumerate(arms):
                    noise = np.random.default_rng([seed, part, size, number])
                    separation = SEPARATION.get(arm, 1.8) + 0.1 * np.log(size) + 0.1 * noise.normal()
                    separation += effect if arm.startswith("hybrid") else 0.0
                    own = hardness + 0.5 * noise.normal(size=count)
                    for subject in range(count):
                        site = sites[subject // 2 % len(sites)]
                        score = separation * (labels[subject] - 0.5) + own[subject]
                        for frame in range(frames):
                            logit = 1.5 * (score + 0.3 * noise.normal())
                            name = f"s{seed}-{site}{subject:03d}"
                            rows.append(
                                {
                                    "seed": seed,
                                    "subjects": size,
                                    "arm": arm,
                                    "split": split,
                                    "image_path": f"images/{split}/{name}-{frame}.png",
                                    "subject_id": name,
                                    "site": site,
                                    "label": int(labels[subject]),
                                    "probability": float(1 / (1 + np.exp(-logit))),
                                }
                            )
    return pd.DataFrame(rows).sort_values(["seed", "subjects", "arm", "split", "image_path"], ignore_index=True)


def scores_of(predictions: pd.DataFrame, threshold: float = 0.5) -> list[dict[str, Any]]:
    """Rows of scores.csv: every metric of every fit, on probabilities averaged over each subject's images."""
    split = predictions["split"].where(predictions["site"] != UNSEEN_SITE, "unseen")
    averaged = subject_average(predictions.assign(split=split))
    rows = []
    for (seed, subjects, arm, part), fit in averaged.groupby(["seed", "subjects", "arm", "split"], sort=True):
        metrics = binary_metrics(fit["label"].to_numpy(), fit["probability"].to_numpy(), threshold)
        rows += [
            {
                "seed": seed,
                "subjects": subjects,
                "arm": arm,
                "split": part,
                "metric": name,
                "value": value,
                "run_id": run_id_of(seed, subjects, arm),
            }
            for name, value in sorted(metrics.items())
        ]
    return rows


def run_id_of(seed: int, subjects: int, arm: str) -> str:
    """A run id that only looks like one."""
    return f"{seed:08x}{subjects:08x}{abs(hash_of(arm)):016x}"


def hash_of(text: str) -> int:
    """A stable number for a text."""
    return sum(ord(letter) * 31**place for place, letter in enumerate(text)) % 2**60


def write_study_folder(
    folder: Path,
    *,
    seeds: int = 8,
    sizes: Sequence[int] = (20, 40),
    arms: Sequence[str] = ARMS,
    val_subjects: int = 20,
    test_subjects: int = 40,
    unseen_subjects: int = 12,
    frames: int = 2,
    effect: float = 0.0,
    data_kind: str = "phantom_not_clinical",
    audit: bool = True,
) -> Path:
    """Write the files of a finished study into `folder` and return it.

    The primary contrast is hybrid_0.5_add minus real_augmented at the largest size; every other arm against
    real_augmented is secondary. `effect` moves the hybrid arms' separation, so that the answer can be turned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = list(range(seeds))
    largest = max(sizes)
    predictions = draw_predictions(
        numbers,
        sizes,
        arms,
        val_subjects=val_subjects,
        test_subjects=test_subjects,
        unseen_subjects=unseen_subjects,
        frames=frames,
        effect=effect,
    )
    if data_kind != "phantom_not_clinical":
        predictions = predictions[predictions["site"] != UNSEEN_SITE].reset_index(drop=True)
    others = [arm for arm in arms if arm not in ("hybrid_0.5_add", "real_augmented")]
    design = {
        "schema_version": 1,
        "data_kind": data_kind,
        "label_rule": "phantom: nuchal translucency above its 95th percentile",
        "arms": list(arms),
        "subjects": list(sizes),
        "seeds": numbers,
        "primary": {
            "arm": "hybrid_0.5_add",
            "reference": "real_augmented",
            "subjects": largest,
            "metric": "auc",
        },
        "secondary": [
            *({"arm": arm, "reference": "real_augmented", "subjects": largest, "metric": "auc"} for arm in others),
            *(
                {"arm": "hybrid_0.5_add", "reference": "real_augmented", "subjects": size, "metric": "auc"}
                for size in sizes
                if size != largest
            ),
        ],
        "level": 0.95,
        "counts": {
            "train": {"subjects": list(sizes), "images": [size * frames for size in sizes]},
            "val_subjects": val_subjects,
            "test_subjects": test_subjects,
            "unseen_site_subjects": unseen_subjects,
        },
        "steps": 200,
        "gan_steps": 600,
        "trials": 3,
        "config": {
            "evaluation": {"bootstrap": 200, "level": 0.95, "threshold": 0.5, "seed": 0},
            "classifier": {"backbone": "tf_efficientnet_lite0", "steps": 200, "augment": "light"},
            "gan": {"architecture": "compact", "steps": 600},
        },
        "git_commit": "0" * 40,
        "mlproject_version": "0.1.0",
    }
    (folder / "design.json").write_text(json.dumps(design, indent=2) + "\n", encoding="utf-8")
    predictions.to_csv(folder / "predictions.csv", index=False, float_format="%.17g", lineterminator="\n")
    write_csv(folder / "scores.csv", scores_of(predictions))
    cells = [(seed, size) for seed in numbers for size in sizes]
    write_csv(
        folder / "generators.csv",
        [
            {
                "seed": seed,
                "subjects": size,
                "digest": f"{hash_of(f'{seed}-{size}'):064x}",
                "run_id": run_id_of(seed, size, "generator"),
                "seconds": 60.0 + seed,
                "kid": 0.01 + 0.001 * seed,
            }
            for seed, size in cells
        ],
    )
    write_csv(
        folder / "runs.csv",
        [
            {
                "seed": seed,
                "subjects": size,
                "arm": arm,
                "stage": stage,
                "run_id": run_id_of(seed, size, arm + stage),
                "seconds": 12.5,
                "reused": seed % 2,
            }
            for seed, size in cells
            for arm in arms
            for stage in ("train_classifier", "eval_classifier")
        ],
    )
    write_pictures(folder / "images", data_kind)
    if audit:
        report = {"verdict": "pass", "numbers": {"membership_auc": 0.51, "nearest_distance_ratio": 0.98}, "alarms": []}
        (folder / "audit.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return folder


def write_pictures(folder: Path, data_kind: str, side: int = 16) -> None:
    """The 8 x 4 grids as PNG, of noise; none of real images other than the phantom's."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for kind in ("real", "synthetic"):
        if kind == "real" and data_kind != "phantom_not_clinical":
            continue
        for name in ("normal", "anomalous"):
            grid = generator.integers(0, 256, (4 * side, 8 * side), dtype=np.uint8)
            (folder / f"{kind}-{name}.png").write_bytes(cv2.imencode(".png", grid)[1].tobytes())
