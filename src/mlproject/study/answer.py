"""The answer in one sentence, and what a reader must know beside it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlproject.data import kinds
from mlproject.evaluation.tables import metric_title
from mlproject.study.contrasts import MINIMUM_SEEDS
from mlproject.study.results import POWER, ContrastResult
from mlproject.study.words import size_text

_DATA = {
    kinds.PHANTOM: "On the phantom (not clinical data)",
    kinds.CLINICAL: "On clinical frames (proxy label)",
    kinds.USER: "On the imported images",
}


def _deed(arm: str) -> str:
    """What the arm does with synthetic images, as the subject of the sentence."""
    if arm.startswith("hybrid") and arm.endswith("_replace"):
        return "replacing real by synthetic images"
    return "training on synthetic images alone" if arm == "synthetic" else "adding synthetic images"


def answer_of(primary: ContrastResult, design: dict[str, Any]) -> str:
    """One sentence that claims no more than the primary contrast carries."""
    where = _DATA.get(str(design["data_kind"]), f"On data of kind {design['data_kind']}")
    pair, size = f"{primary.arm} minus {primary.reference}", f"with {size_text(primary.subjects, 'real subjects')}"
    if primary.contrast is None:
        return (
            f"{where}, the study does not answer yet: an answer takes at least {MINIMUM_SEEDS} seeds with both arms, "
            f"and {pair} {size} has {len(primary.seeds)}."
        )
    found = primary.contrast
    interval = f"{100 * found.level:g} % interval {found.interval.low:+.3f} to {found.interval.high:+.3f}"
    if not np.isfinite(found.interval.low):
        interval = "the same in every seed, so without an interval"
    figures = f"{metric_title(primary.metric)} {found.mean:+.3f} ({interval}; {pair}, {found.n} seeds)"
    if primary.verdict == "no evidence":
        told = f"{where}, there is no evidence that {_deed(primary.arm)} helps or hurts {size}: {figures}"
        if primary.detectable is None:
            return f"{told}."
        return (
            f"{told}; the smallest true difference that these seeds had {100 * POWER:g} % power to see is "
            f"{primary.detectable.value:.3f}."
        )
    return f"{where}, {_deed(primary.arm)} {primary.verdict} {size}: {figures}."


def notes_of(
    primary: ContrastResult,
    secondary: Sequence[ContrastResult],
    design: dict[str, Any],
    test_subjects: int,
    shared_test_subjects: int,
) -> list[str]:
    """What weakens a contrast: test subjects that seeds share, missing seeds, tests that disagree.

    Args:
        primary: the primary contrast.
        secondary: the others.
        design: design.json.
        test_subjects: distinct test subjects of all seeds.
        shared_test_subjects: those among them that more than one seed tests on.
    """
    notes = []
    if shared_test_subjects:
        notes.append(
            f"{shared_test_subjects} of {test_subjects} test subjects serve more than one seed: the seeds are not "
            "independent draws of subjects, so the intervals over seeds are too narrow for other subjects."
        )
    for found in (primary, *secondary):
        name = f"{found.arm} minus {found.reference} ({found.metric}, {found.split}, {size_text(found.subjects)})"
        if missing := [str(seed) for seed in design["seeds"] if seed not in found.seeds]:
            plural = "s" if len(missing) > 1 else ""
            notes.append(f"{name}: no score of both arms in seed{plural} {', '.join(missing)}.")
        if found.contrast and (found.contrast.p_t < 1 - found.contrast.level) != (
            found.contrast.p_sign_flip < 1 - found.contrast.level
        ):
            notes.append(
                f"{name}: the t test (p = {found.contrast.p_t:.3g}) and the sign flips "
                f"(p = {found.contrast.p_sign_flip:.3g}) disagree about {1 - found.contrast.level:.2g}."
            )
    return notes
