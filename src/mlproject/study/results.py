"""What a study found, as plain values and as tables."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from mlproject.evaluation.intervals import Interval
from mlproject.study.contrasts import Contrast

POWER = 0.8


@dataclass(frozen=True)
class ContrastResult:
    """One declared contrast, arm minus reference, on `split` at one number of real subjects.

    `seeds` are those with a score of both arms and `differences` theirs, in the same order. `contrast` and
    `detectable` are None with fewer than 6 of them; `detectable`, which takes differences that vary, is the smallest
    difference seen with 80 % power, with the interval that the spread's own uncertainty gives it. `nested` is the
    bootstrap of seeds and subjects, from 8 seeds on. `p_holm` is the t test's p among the secondary contrasts; None
    for the primary one. `verdict` says helps, hurts, no evidence or undecided, from the t interval of the primary
    contrast and from `p_holm` of the others.
    """

    role: str
    arm: str
    reference: str
    subjects: int
    split: str
    metric: str
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    contrast: Contrast | None
    p_holm: float | None
    nested: Interval | None
    detectable: Interval | None
    verdict: str


@dataclass(frozen=True)
class ArmScore:
    """The mean score of an arm over `seeds` seeds with its t interval; bounds and `sd` are NaN with one seed."""

    arm: str
    subjects: int
    split: str
    metric: str
    interval: Interval
    sd: float
    seeds: int


@dataclass(frozen=True)
class Analysis:
    """What a study found; the docstring of `mlproject.study.statistics` says what each field holds."""

    answer: str
    verdict: str
    primary: ContrastResult
    secondary: tuple[ContrastResult, ...]
    arms: tuple[ArmScore, ...]
    notes: tuple[str, ...]
    design: dict[str, Any]
    level: float
    power: float = POWER

    @property
    def contrasts(self) -> tuple[ContrastResult, ...]:
        """The primary contrast, then the secondary ones."""
        return (self.primary, *self.secondary)


def analysis_tables(analysis: Analysis) -> dict[str, pd.DataFrame]:
    """`contrasts` and `arms`, one row each, and `differences`, one row for each contrast and seed."""
    contrasts, differences = [], []
    for found in analysis.contrasts:
        key = {name: getattr(found, name) for name in ("role", "arm", "reference", "subjects", "split", "metric")}
        row: dict[str, Any] = {**key, "seeds": len(found.seeds), "verdict": found.verdict}
        if found.contrast:
            row |= {
                "mean": found.contrast.mean,
                "ci_low": found.contrast.interval.low,
                "ci_high": found.contrast.interval.high,
                "sd": found.contrast.sd,
                "p_t": found.contrast.p_t,
                "p_sign_flip": found.contrast.p_sign_flip,
                "p_holm": found.p_holm,
                "effect_size": found.contrast.effect_size,
            }
        for name, interval in (("nested", found.nested), ("detectable", found.detectable)):
            if interval:
                row |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
        contrasts.append(row)
        differences += [
            {**key, "seed": seed, "difference": value}
            for seed, value in zip(found.seeds, found.differences, strict=True)
        ]
    numbers = ["mean", "ci_low", "ci_high", "sd", "p_t", "p_sign_flip", "p_holm", "effect_size"]
    numbers += [f"{name}{bound}" for name in ("nested", "detectable") for bound in ("", "_low", "_high")]
    columns = ["role", "arm", "reference", "subjects", "split", "metric", "seeds", "verdict", *numbers]
    arms = [
        {
            "arm": found.arm,
            "subjects": found.subjects,
            "split": found.split,
            "metric": found.metric,
            "mean": found.interval.value,
            "ci_low": found.interval.low,
            "ci_high": found.interval.high,
            "sd": found.sd,
            "seeds": found.seeds,
        }
        for found in analysis.arms
    ]
    return {
        "contrasts": pd.DataFrame(contrasts).reindex(columns=columns).astype(dict.fromkeys(numbers, float)),
        "differences": pd.DataFrame(differences, columns=[*columns[:6], "seed", "difference"]),
        "arms": pd.DataFrame(
            arms, columns=["arm", "subjects", "split", "metric", "mean", "ci_low", "ci_high", "sd", "seeds"]
        ),
    }
