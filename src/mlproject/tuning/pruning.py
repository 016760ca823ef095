"""Which generators are hopeless, by the cheap figures that are taken while they train."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Check:
    """A generator at one step, measured on validation images.

    `kid` is the kernel distance of its images (lower is better), `tstr_auc` the AUC on real images of a linear model
    fitted to synthetic ones (higher is better).
    """

    kid: float
    tstr_auc: float


def why_hopeless(step: int, found: Check, others: Sequence[Mapping[int, Check]], after: int) -> str:
    """Why a generator is not worth its remaining steps; "" when it is.

    It is Optuna's median rule (a trial stops when it is worse than the median of the others at the same step), asked
    of two figures at once: images that are far from real ones but teach the class, or the other way round, go on.

    Args:
        step: at which it was measured.
        found: its figures there.
        others: the figures of every other generator, by step.
        after: other generators that must have been measured at this step before one is judged.
    """
    measured = [figures[step] for figures in others if step in figures]
    if len(measured) < max(after, 1):
        return ""
    kid = float(np.median([other.kid for other in measured]))
    tstr_auc = float(np.median([other.tstr_auc for other in measured]))
    if not (found.kid > kid and found.tstr_auc < tstr_auc):
        return ""
    return (
        f"hopeless at step {step}: KID {found.kid:.4g} above and TSTR AUC {found.tstr_auc:.3f} below the medians "
        f"{kid:.4g} and {tstr_auc:.3f} of {len(measured)} other generators"
    )
