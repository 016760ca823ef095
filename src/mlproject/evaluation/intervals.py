"""Confidence intervals by subject: a stratified bootstrap, and score intervals where it degenerates.

The images of a subject are not independent, so subjects are drawn, each with all of its images. A draw is a vector
of weights (how often each image occurs), and every metric is computed from weights for many draws at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

from mlproject.errors import UserError
from mlproject.evaluation.metrics import METRICS, binary_metrics, check_predictions

# draws computed at once hold at most this many weights (32 MB), whatever the number of images
_WEIGHTS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A value with its confidence bounds; a difference may be negative."""

    value: float
    low: float
    high: float


def wilson_interval(successes: int, trials: int, level: float) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927, J Am Stat Assoc 22:209); [0, 1] without trials."""
    if trials == 0:
        return Interval(0.0, 0.0, 1.0)
    bounds = binomtest(successes, trials).proportion_ci(confidence_level=level, method="wilson")
    return Interval(successes / trials, float(bounds.low), float(bounds.high))


def auc_score_interval(auc: float, positives: int, negatives: int, level: float) -> Interval:
    """Score-type interval of an AUC that keeps a width at 0 and 1.

    The bounds are the AUC values θ whose distance from the observed one is z standard errors *at θ*, with the standard
    error of Hanley & McNeil (1982) under exponential scores and N* = (m + n) / 2 - 1 in place of both m - 1 and
    n - 1 (Newcombe 2006, Stat Med 25:559, method 5):
    SE(θ)² = θ(1-θ) [1 + N*(1-θ)/(2-θ) + N*θ/(1+θ)] / (mn).
    """
    z = norm.ppf(0.5 + level / 2)
    extra = (positives + negatives) / 2 - 1

    def excess(theta: float) -> float:
        spread = 1 + extra * (1 - theta) / (2 - theta) + extra * theta / (1 + theta)
        return abs(theta - auc) - z * np.sqrt(theta * (1 - theta) * spread / (positives * negatives))

    # at θ = auc the excess is at most 0, at θ = 0 and 1 it is at least 0; just beside them it changes sign once
    tiny = 1e-12
    low = 0.0 if auc <= tiny else float(brentq(excess, 0.0, min(auc, 1 - tiny)))
    high = 1.0 if auc >= 1 - tiny else float(brentq(excess, max(auc, tiny), 1.0))
    return Interval(auc, low, high)


def bootstrap_weights(
    labels: np.ndarray, subjects: np.ndarray, draws: int, seed: int, chunk: int | None = None
) -> Iterator[np.ndarray]:
    """How often each image occurs in each draw of subjects, float64 [chunk, n], chunk after chunk.

    Subjects are drawn with replacement within strata (only normal images, only anomalous ones, both), so that each
    draw holds both classes. The numbers depend on seed, draws and the subjects, not on the chunk.
    """
    labels = np.asarray(labels)
    names, index = np.unique(np.asarray(subjects), return_inverse=True)
    if len(index) != len(labels):
        raise UserError(f"bootstrap: {len(labels)} labels and {len(index)} subjects; expected one of each for an image")
    share = np.bincount(index, weights=labels) / np.bincount(index)
    strata = [members for members in (share == 0, share == 1, (share > 0) & (share < 1)) if members.any()]
    generators = np.random.default_rng(seed).spawn(len(strata))
    chunk = chunk or max(1, _WEIGHTS_AT_ONCE // len(labels))
    for start in range(0, draws, chunk):
        rows = min(chunk, draws - start)
        weights = np.empty((rows, len(names)))
        for members, generator in zip(strata, generators, strict=True):
            count = int(members.sum())
            weights[:, members] = generator.multinomial(count, np.full(count, 1 / count), size=rows)
        yield weights[:, index]


def half_samples(groups: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Random halves of the groups as 0/1 indicators over images, float64 [count, n]."""
    names, index = np.unique(groups, return_inverse=True)
    chosen = generator.permuted(np.tile(np.arange(len(names)) < len(names) // 2, (count, 1)), axis=1)
    return chosen[:, index].astype(np.float64)


def weighted_auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUC of each weighting of the same images, [draws]; ties count half.

    Args:
        labels: 0 or 1, [n].
        scores: [n].
        weights: not negative, [draws, n]; every row has weight in both classes.
    """
    # images with the same score form a group: a positive beats the negatives of lower groups, and half of its own
    _, group = np.unique(scores, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    sorted_weights, positive = weights[:, order], labels[order] == 1
    positives = np.add.reduceat(sorted_weights * positive, starts, axis=1)
    negatives = np.add.reduceat(sorted_weights * ~positive, starts, axis=1)
    lower = np.cumsum(negatives, axis=1) - negatives / 2
    return (positives * lower).sum(axis=1) / (positives.sum(axis=1) * negatives.sum(axis=1))


def weighted_metrics(
    labels: np.ndarray, probabilities: np.ndarray, threshold: float, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """`binary_metrics` of each weighting of the same images, {metric: [draws]}; weights as in `weighted_auc`."""
    positive, called = labels == 1, probabilities >= threshold
    columns = np.stack(
        [positive & called, positive & ~called, ~positive & called, ~positive & ~called, (probabilities - labels) ** 2],
        axis=1,
    ).astype(np.float64)
    true_positive, false_negative, false_positive, true_negative, squared = (weights @ columns).T
    total = weights.sum(axis=1)
    called_weight = true_positive + false_positive
    return {
        "accuracy": (true_positive + true_negative) / total,
        "precision": np.divide(true_positive, called_weight, out=np.zeros_like(total), where=called_weight > 0),
        "recall": true_positive / (true_positive + false_negative),
        "f1": 2 * true_positive / (2 * true_positive + false_positive + false_negative),
        "auc": weighted_auc(labels, probabilities, weights),
        "specificity": true_negative / (true_negative + false_positive),
        "brier": squared / total,
    }


def _draw_metrics(
    labels: np.ndarray, probabilities: np.ndarray, subjects: np.ndarray, threshold: float, draws: int, seed: int
) -> dict[str, np.ndarray]:
    """Every metric in every draw, {metric: [draws]}."""
    parts = [
        weighted_metrics(labels, probabilities, threshold, weights)
        for weights in bootstrap_weights(labels, subjects, draws, seed)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in METRICS}


def percentile_bounds(draws: np.ndarray, level: float) -> tuple[float, float]:
    """The central share `level` of the draws."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _is_degenerate(low: float, high: float) -> bool:
    return high - low < 1e-9  # draws that differ by rounding only are one value


def _score_interval(
    metric: str, value: float, labels: np.ndarray, called: np.ndarray, subjects: np.ndarray, level: float
) -> Interval:
    """An interval with a width where the bootstrap has none: every subject counts as one trial.

    Recall, specificity, precision and accuracy are proportions over the subjects with an image in their denominator.
    F1 is taken over the subjects anomalous or called so. The Brier score is a mean of numbers in [0, 1], which varies
    at most as much as a proportion of the same mean, so Wilson's interval is conservative for it.
    """

    def count(images: np.ndarray) -> int:
        return len(np.unique(subjects[images]))

    positive = labels == 1
    if metric == "auc":
        found = auc_score_interval(value, count(positive), count(~positive), level)
    else:
        counted = {
            "recall": positive,
            "specificity": ~positive,
            "precision": called,
            "f1": positive | called,
            "accuracy": np.ones_like(called),
            "brier": np.ones_like(called),
        }
        trials = count(counted[metric])
        found = wilson_interval(round(value * trials), trials, level)
    return Interval(value, min(found.low, value), max(found.high, value))


def bootstrap_intervals(
    labels: np.ndarray,
    probabilities: np.ndarray,
    subjects: np.ndarray,
    threshold: float,
    draws: int,
    level: float,
    seed: int,
) -> dict[str, Interval]:
    """Every metric of `binary_metrics` with its interval.

    The interval is the percentile interval of a stratified bootstrap by subject (Efron & Tibshirani 1993, chapter 13).
    Where all draws agree, as for an AUC or a recall of 1, or where a class has a single subject, the bootstrap knows
    nothing of what was not seen; then the interval is a score interval over subjects instead: `auc_score_interval`
    for the AUC, Wilson's for the others. So a perfect result of few subjects keeps a width.

    Args:
        labels: 0 or 1, [n]; both classes are present.
        probabilities: of class 1, in [0, 1], [n].
        subjects: subject of each image, [n].
        threshold: an image is called anomalous when its probability is at least this.
        draws: number of bootstrap draws.
        level: confidence level, such as 0.95.
        seed: of the draws.

    Raises:
        UserError: see `check_predictions`, or other than one subject for each image.
    """
    labels, probabilities = check_predictions(labels, probabilities)
    subjects = np.asarray(subjects)
    values = binary_metrics(labels, probabilities, threshold)
    drawn = _draw_metrics(labels, probabilities, subjects, threshold, draws, seed)
    single = any(len(np.unique(subjects[labels == label])) < 2 for label in (0, 1))
    intervals = {}
    for metric, value in values.items():
        low, high = percentile_bounds(drawn[metric], level)
        if single or _is_degenerate(low, high):
            intervals[metric] = _score_interval(metric, value, labels, probabilities >= threshold, subjects, level)
        else:
            # on skewed draws of few subjects a percentile may miss the value itself
            intervals[metric] = Interval(value, min(low, value), max(high, value))
    return intervals


def auc_interval(
    labels: np.ndarray, scores: np.ndarray, subjects: np.ndarray, draws: int, level: float, seed: int
) -> Interval:
    """The AUC of scores of any range, with the interval of `bootstrap_intervals`."""
    ranks = np.unique(np.asarray(scores, dtype=np.float64), return_inverse=True)[1]
    # the AUC depends on the order alone, and ranks are in [0, 1] whatever the scores are
    return bootstrap_intervals(labels, ranks / max(int(ranks.max()), 1), subjects, 0.5, draws, level, seed)["auc"]
