"""The answer of a study: its declared contrasts, from the folder's scores and predictions alone.

`analyse(folder)` returns an `Analysis`:

- `answer`: one sentence; `verdict`: helps, hurts, no evidence or undecided.
- `primary` and `secondary`: `ContrastResult`s, in the order of the design. `result.contrast` holds the mean
  difference with its t interval, p values and effect size; it is None below 6 seeds with both arms.
- `arms`: `ArmScore`s, the mean over seeds of every arm, size, split and metric, with a t interval over seeds.
- `notes`: what a reader must know, such as seeds without a score.
- `design`, `level`, `power`: what was declared.

`analysis_tables(analysis)` turns it into data frames: contrasts, differences (one row for each seed) and arms.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from mlproject.errors import UserError
from mlproject.evaluation.intervals import Interval
from mlproject.evaluation.metrics import METRICS
from mlproject.study.answer import answer_of, notes_of
from mlproject.study.contrasts import (
    MINIMUM_SEEDS,
    MINIMUM_SEEDS_OF_BOOTSTRAP,
    Contrast,
    SeedPair,
    detectable_difference,
    detectable_interval,
    holm,
    nested_bootstrap,
    over_seeds,
    paired_contrast,
)
from mlproject.study.folder import Study, fit_rows, read_study, subject_average
from mlproject.study.results import POWER, Analysis, ArmScore, ContrastResult, analysis_tables

__all__ = [
    "Analysis",
    "ArmScore",
    "Contrast",
    "ContrastResult",
    "analyse",
    "analyse_study",
    "analysis_tables",
    "detectable_difference",
    "holm",
    "nested_bootstrap",
    "paired_contrast",
]

LOWER_IS_BETTER = ("brier", "ece", "log_loss")
# the bounds of a nested bootstrap of 8 seeds stand at its 0.6 % and 99.4 % points: about a dozen draws beyond each
LEAST_DRAWS = 2000
# stored probabilities are rounded, which ties a few subjects; the score of other rows is further away than this
_SAME_AUC = 0.005


def analyse(folder: str | Path) -> Analysis:
    """The declared contrasts of the study in `folder`.

    Raises:
        UserError: see `read_study`; a contrast names an arm, size or metric that was not run; or the scores are not
            those of the predictions.
    """
    return analyse_study(read_study(folder))


def analyse_study(study: Study) -> Analysis:
    """`analyse` of files that are in memory."""
    design, level = study.design, float(study.design["level"])
    averaged = subject_average(study.predictions)
    _check_scores(study.scores, averaged)
    settings = design.get("config", {}).get("evaluation", {})
    bootstrap = {
        "draws": max(int(settings.get("bootstrap", 0)), LEAST_DRAWS),
        "seed": int(settings.get("seed", 0)),
        "threshold": float(settings.get("threshold", 0.5)),
    }
    _check_contrasts(design, study.scores)
    primary = _compare(study.scores, averaged, design["primary"], "primary", level, bootstrap)
    secondary = [
        _compare(study.scores, averaged, declared, "secondary", level, bootstrap) for declared in design["secondary"]
    ]
    # a contrast that cannot be tested yet keeps its place in the family, with a p of 1
    adjusted = holm([found.contrast.p_t if found.contrast else 1.0 for found in secondary])
    secondary = [_with_holm(found, float(p), level) for found, p in zip(secondary, adjusted, strict=True)]
    return Analysis(
        answer=answer_of(primary, design),
        verdict=primary.verdict,
        primary=primary,
        secondary=tuple(secondary),
        arms=tuple(_arm_scores(study.scores, level)),
        notes=tuple(notes_of(primary, secondary, design, *_shared_test_subjects(averaged))),
        design=design,
        level=level,
    )


def _check_scores(scores: pd.DataFrame, averaged: pd.DataFrame) -> None:
    """Refuse test AUCs that are not those of the predictions beside them.

    Raises:
        UserError: names the first fit that disagrees.
    """
    stated = scores[(scores["metric"] == "auc") & (scores["split"] == "test")]
    groups = dict(list(averaged[averaged["split"] == "test"].groupby(["seed", "subjects", "arm"])))
    for row in stated.itertuples():
        rows = groups.get((row.seed, row.subjects, row.arm))
        if rows is None or rows["label"].nunique() < 2:
            continue
        found = float(roc_auc_score(rows["label"], rows["probability"]))
        if abs(found - row.value) > _SAME_AUC:
            raise UserError(
                f"scores.csv: test AUC {row.value:.4f} of {row.arm} (seed {row.seed}, {row.subjects} subjects), but "
                f"its rows in predictions.csv give {found:.4f} by subject; run the study again in an empty folder"
            )


def _check_contrasts(design: dict[str, Any], scores: pd.DataFrame) -> None:
    """Refuse contrasts of what was not run; a fit that failed leaves a seed out instead, which the notes say.

    Raises:
        UserError: names the contrast's key, what it says and what there is.
    """
    known = {"arm": design["arms"], "reference": design["arms"], "subjects": design["subjects"]}
    known["metric"] = sorted(set(scores["metric"])) or list(METRICS)
    for declared in (design["primary"], *design["secondary"]):
        for key, values in known.items():
            if declared.get(key) not in values:
                raise UserError(
                    f"design.json: a contrast names {key} {declared.get(key)!r}; expected one of "
                    f"{', '.join(map(str, values))}"
                )


def _verdict(interval: Interval, metric: str) -> str:
    sign = -1 if metric in LOWER_IS_BETTER else 1
    low, high = sorted((sign * interval.low, sign * interval.high))
    return "helps" if low > 0 else "hurts" if high < 0 else "no evidence"


def _compare(
    scores: pd.DataFrame,
    averaged: pd.DataFrame,
    declared: dict[str, Any],
    role: str,
    level: float,
    bootstrap: dict[str, Any],
) -> ContrastResult:
    """One declared contrast; a secondary one waits for its Holm adjustment."""
    arm, reference, metric = declared["arm"], declared["reference"], declared["metric"]
    subjects, split = int(declared["subjects"]), declared.get("split", "test")
    where = (scores["subjects"] == subjects) & (scores["split"] == split) & (scores["metric"] == metric)
    by_seed = {name: scores[where & (scores["arm"] == name)].set_index("seed")["value"] for name in (arm, reference)}
    differences = (by_seed[arm] - by_seed[reference]).dropna().sort_index()
    seeds = tuple(int(seed) for seed in differences.index)
    values = differences.to_numpy(dtype=np.float64)
    contrast = nested = detectable = None
    if len(seeds) >= MINIMUM_SEEDS:
        contrast = paired_contrast(values, level)
        # equal differences do not show how much seeds vary
        detectable = detectable_interval(contrast.sd, contrast.n, POWER, level) if contrast.sd else None
    if len(seeds) >= MINIMUM_SEEDS_OF_BOOTSTRAP and metric in METRICS and split in ("test", "val"):
        pairs = [_pair(averaged, seed, subjects, arm, reference, split) for seed in seeds]
        whole = [pair for pair in pairs if pair is not None]
        if len(whole) == len(seeds):
            nested = nested_bootstrap(whole, metric, level=level, **bootstrap)
    return ContrastResult(
        role=role,
        arm=arm,
        reference=reference,
        subjects=subjects,
        split=split,
        metric=metric,
        seeds=seeds,
        differences=tuple(float(value) for value in values),
        contrast=contrast,
        p_holm=None,
        nested=nested,
        detectable=detectable,
        verdict=_verdict(contrast.interval, metric) if contrast else "undecided",
    )


def _pair(averaged: pd.DataFrame, seed: int, subjects: int, arm: str, reference: str, split: str) -> SeedPair | None:
    """Both arms' subject averages of one seed; None where an arm's predictions are missing or of one class.

    Raises:
        UserError: the two arms were asked about different subjects.
    """
    rows = fit_rows(averaged, seed, subjects, arm, split)
    others = fit_rows(averaged, seed, subjects, reference, split)
    if rows.empty or others.empty or rows["label"].nunique() < 2:
        return None
    if (
        rows["subject_id"].tolist() != others["subject_id"].tolist()
        or rows["label"].tolist() != others["label"].tolist()
    ):
        raise UserError(
            f"predictions.csv: {arm} and {reference} (seed {seed}, {subjects} subjects) were asked about different "
            f"{split} subjects; a pair shares its test set, so run the study again in an empty folder"
        )
    return SeedPair(
        rows["label"].to_numpy(),
        rows["subject_id"].to_numpy(),
        others["probability"].to_numpy(),
        rows["probability"].to_numpy(),
    )


def _with_holm(found: ContrastResult, p_holm: float, level: float) -> ContrastResult:
    """A secondary contrast with its adjusted p; what does not survive the adjustment is no evidence."""
    if found.contrast is None:
        return found
    verdict = found.verdict if p_holm < 1 - level else "no evidence"
    return replace(found, p_holm=p_holm, verdict=verdict)


def _shared_test_subjects(averaged: pd.DataFrame) -> tuple[int, int]:
    """Distinct test subjects of all seeds, and those among them that more than one seed tests on."""
    seeds = averaged[averaged["split"] == "test"].groupby("subject_id")["seed"].nunique()
    return len(seeds), int((seeds > 1).sum())


def _arm_scores(scores: pd.DataFrame, level: float) -> list[ArmScore]:
    """The mean over seeds of everything that was scored, sorted."""
    found = []
    for (arm, subjects, split, metric), rows in scores.groupby(["arm", "subjects", "split", "metric"], sort=True):
        values = rows["value"].dropna().to_numpy(dtype=np.float64)
        if not len(values):
            continue
        sd = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
        interval = over_seeds(values, level, share=True)  # every score lies between 0 and 1
        found.append(ArmScore(arm, int(subjects), split, metric, interval, sd, len(values)))
    return found
