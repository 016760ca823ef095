"""All that is said of a set of synthetic images: class fidelity with its alarms, distances to real images, privacy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlproject.evaluation.audit import audit
from mlproject.evaluation.fidelity import class_fidelity, conditioning_alarms, diversity, diversity_alarms
from mlproject.evaluation.generator_report import (
    FEATURE_FIGURES,
    GROUPS,
    IMAGE_FIGURES,
    IMAGES,
    Figure,
    Sample,
    Settings,
    generator_report,
)

_COMPARED = ("hold_out", "synthetic", "pool", "train")


@dataclass(frozen=True)
class Judged:
    """What a judge says of images: labels (asked for or true) and its probabilities of class 1, [n]."""

    labels: np.ndarray
    probabilities: np.ndarray


def evaluate_images(
    sets: Mapping[str, Sample],
    judged: Mapping[str, Judged],
    threshold: float,
    settings: Settings,
    *,
    space: str,
    further_spaces: Mapping[str, Mapping[str, np.ndarray]],
) -> dict[str, Any]:
    """Evaluate synthetic images against real ones.

    Args:
        sets: `train` (what the generator saw), `hold_out` (real images of other subjects), `pool` (real images for
            figures between real sets) and `synthetic`.
        judged: `synthetic` and `real` images in the eyes of a judge that was trained on neither.
        threshold: of the judge's probabilities.
        settings: of intervals and floors.
        space: name of the feature space that the sets carry.
        further_spaces: {name: {set: features [n, d]}} of every set, for the distances alone.

    Returns:
        {"fidelity", "alarms", "distribution" by space (and "images"), "audit"}, ready for JSON.

    Raises:
        UserError: too few images for class fidelity, diversity or the audit.
    """
    found = {
        name: class_fidelity(judge.labels, judge.probabilities, threshold, level=settings.level)
        for name, judge in judged.items()
    }
    spread = {
        group: diversity(
            sets["hold_out"].of_class(group).features, sets["synthetic"].of_class(group).features, seed=settings.seed
        )
        for group in GROUPS[1:]
    }
    alarms = conditioning_alarms(found["synthetic"], found["real"]) + diversity_alarms(spread)
    fidelity: dict[str, Any] = {"diversity": {name: vars(value) for name, value in spread.items()}}
    for name, value in found.items():
        fidelity[f"judge_{name}"] = {
            "auc": vars(value.auc),
            "recall": {label: vars(interval) for label, interval in value.recall.items()},
            "counts": value.counts,
        }
    seen = {space: {kind: sets[kind].features for kind in _COMPARED}, **further_spaces}

    def distances(features: Mapping[str, np.ndarray], figures: Mapping[str, Figure]) -> dict[str, dict[str, Any]]:
        real, synthetic, pool, train = (sets[kind].seen_as(features[kind]) for kind in _COMPARED)
        return generator_report(real, synthetic, pool, train, settings, figures)

    return {
        "fidelity": fidelity,
        "alarms": [vars(alarm) for alarm in alarms],
        "distribution": {
            **{name: distances(features, FEATURE_FIGURES) for name, features in seen.items()},
            IMAGES: distances(seen[space], IMAGE_FIGURES),
        },
        "audit": audit(
            sets["train"],
            sets["hold_out"],
            sets["synthetic"],
            draws=settings.draws,
            level=settings.level,
            seed=settings.seed,
        ),
    }
