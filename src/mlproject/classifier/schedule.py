"""What a training step does, as pure functions of its number: the learning rate and the parts that learn."""

import math

from torch import nn

from mlproject.config import ClassifierConfig

# one-cycle: share of the steps that rise, start and end as divisors of the peak (torch's OneCycleLR)
WARMUP_SHARE = 0.3
START_DIVISOR = 25.0
END_DIVISOR = 1e4


def learning_rate(step: int, config: ClassifierConfig) -> float:
    """The rate of the 0-based optimiser step `step` of `config.steps`.

    onecycle: from peak / 25 along a half cosine up to the peak at 30 % of the steps, then down to peak / 250,000
    (Smith & Topin 2018, arXiv:1708.07120, in the two-phase form of torch's OneCycleLR; the momentum stays fixed).
    cosine: half a cosine from the peak towards 0 (Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts).
    """
    peak = config.learning_rate
    if config.schedule == "constant":
        return peak
    if config.schedule == "cosine":
        return _half_cosine(peak, 0.0, step / config.steps)
    start = peak / START_DIVISOR
    top = WARMUP_SHARE * config.steps - 1
    if step <= top:
        return _half_cosine(start, peak, step / top) if top > 0 else peak
    return _half_cosine(peak, start / END_DIVISOR, (step - top) / max(config.steps - 1 - top, 1e-12))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def learning_stages(step: int, freeze_steps: int, stages: int) -> int:
    """How many of `stages`, counted from the head, learn at the 0-based step `step`.

    The head alone learns for `freeze_steps`; the others follow one by one, evenly over the next `freeze_steps`.
    """
    if freeze_steps == 0 or step >= 2 * freeze_steps:
        return stages
    if step < freeze_steps:
        return 1
    return 2 + (step - freeze_steps) * (stages - 1) // freeze_steps


def set_learning(stages: list[list[nn.Module]], learning: int) -> None:
    """Training mode with gradients for the first `learning` stages; the others stand still, statistics included."""
    for number, parts in enumerate(stages):
        for part in parts:
            part.train(number < learning)
            part.requires_grad_(number < learning)
