"""A study's answer for a terminal: the sentence, the contrasts, the arms."""

import itertools
import math
from collections.abc import Sequence

from mlproject.evaluation.tables import aligned, interval_text, metric_title
from mlproject.study.results import Analysis, ArmScore, ContrastResult

_COLUMNS = ("auc", "f1", "accuracy", "precision", "recall", "brier")


def study_text(analysis: Analysis) -> str:
    """The answer, the declared contrasts with their intervals, and every arm's test scores over seeds."""
    level = f"{analysis.level:.0%}"
    lines = [analysis.answer, *(f"note: {note}" for note in analysis.notes)]
    lines += ["", f"paired differences over seeds, {level} t interval, test"]
    lines += aligned([_CONTRAST_HEAD, *(_contrast_row(found) for found in analysis.contrasts)])
    lines += ["", f"mean over seeds, {level} t interval over seeds, test subjects"]
    lines += arm_lines(analysis.arms, [str(arm) for arm in analysis.design["arms"]])
    return "\n".join(lines)


_CONTRAST_HEAD = ["contrast", "subjects", "metric", "seeds", "difference", "p sign flip", "p Holm", "says"]


def _contrast_row(found: ContrastResult) -> list[str]:
    name = f"{found.arm} - {found.reference}" + (" (primary)" if found.role == "primary" else "")
    contrast = found.contrast
    return [
        name,
        str(found.subjects or "all"),
        metric_title(found.metric),
        str(len(found.seeds)),
        interval_text(contrast.interval) if contrast else "too few seeds",
        f"{contrast.p_sign_flip:.3f}" if contrast else "-",
        "-" if found.p_holm is None else f"{found.p_holm:.3f}",
        found.verdict,
    ]


def arm_lines(arms: Sequence[ArmScore], order: Sequence[str], split: str = "test") -> list[str]:
    """One line for each number of subjects, ascending with 0 (all) last, and each arm of `order`."""
    scores = {(found.subjects, found.arm, found.metric): found for found in arms if found.split == split}
    sizes = sorted({subjects for subjects, _, _ in scores}, key=lambda subjects: subjects or math.inf)
    columns = [name for name in _COLUMNS if any(metric == name for _, _, metric in scores)]
    rows = [["subjects", "arm", "seeds", *(metric_title(name) for name in columns)]]
    for subjects, arm in itertools.product(sizes, order):
        found = [scores.get((subjects, arm, name)) for name in columns]
        if any(found):
            seeds = next(str(score.seeds) for score in found if score)
            cells = ["-" if score is None else _mean_text(score) for score in found]
            rows.append([str(subjects or "all"), arm, seeds, *cells])
    return aligned(rows)


def _mean_text(score: ArmScore) -> str:
    return f"{score.interval.value:.3f}" if math.isnan(score.interval.low) else interval_text(score.interval)
