"""ROC and precision-recall curves with a pointwise band from the bootstrap by subject."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from mlproject.evaluation.intervals import bootstrap_weights
from mlproject.evaluation.metrics import check_predictions

GRID_POINTS = 201


@dataclass(frozen=True)
class Curve:
    """A curve through (x, y), and at each of `grid` the bounds of y over the draws. All values in [0, 1]."""

    x: np.ndarray  # [points]
    y: np.ndarray  # [points]
    grid: np.ndarray  # [GRID_POINTS]
    low: np.ndarray  # [GRID_POINTS]
    high: np.ndarray  # [GRID_POINTS]


def _cumulative_rates(
    labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weight of positives and of negatives at or above each distinct probability, from the highest down, [draws, k]."""
    _, group = np.unique(-probabilities, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    positive = labels[order] == 1
    positives = np.add.reduceat(weights[:, order] * positive, starts, axis=1).cumsum(axis=1)
    negatives = np.add.reduceat(weights[:, order] * ~positive, starts, axis=1).cumsum(axis=1)
    return positives, negatives


def roc_with_band(
    labels: np.ndarray, probabilities: np.ndarray, subjects: np.ndarray, draws: int, level: float, seed: int
) -> Curve:
    """Sensitivity (y) over the false positive rate (x = grid).

    Arguments as in `bootstrap_intervals`.
    """
    labels, probabilities = check_predictions(labels, probabilities)
    x, y, _ = roc_curve(labels, probabilities, drop_intermediate=False)
    grid = np.linspace(0, 1, GRID_POINTS)
    drawn = []
    for weights in bootstrap_weights(labels, subjects, draws, seed):
        positives, negatives = _cumulative_rates(labels, probabilities, weights)
        for hits, alarms in zip(positives / positives[:, -1:], negatives / negatives[:, -1:], strict=True):
            drawn.append(np.interp(grid, np.append(0, alarms), np.append(0, hits)))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Curve(x, y, grid, low, high)


def precision_recall_with_band(
    labels: np.ndarray, probabilities: np.ndarray, subjects: np.ndarray, draws: int, level: float, seed: int
) -> Curve:
    """Precision (y) over recall (x = grid); at a recall stands the precision of the highest threshold that reaches it.

    Arguments as in `bootstrap_intervals`.
    """
    labels, probabilities = check_predictions(labels, probabilities)
    y, x, _ = precision_recall_curve(labels, probabilities)
    grid = np.linspace(0, 1, GRID_POINTS)
    drawn = []
    for weights in bootstrap_weights(labels, subjects, draws, seed):
        positives, negatives = _cumulative_rates(labels, probabilities, weights)
        called = positives + negatives
        precisions = np.divide(positives, called, out=np.ones_like(called), where=called > 0)
        for recall, precision in zip(positives / positives[:, -1:], precisions, strict=True):
            # a draw leaves images out: the first positions may have no weight and are not thresholds of this draw
            reached = np.searchsorted(recall, np.maximum(grid - 1e-12, np.finfo(float).tiny))
            drawn.append(precision[np.minimum(reached, len(recall) - 1)])
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Curve(x, y, grid, low, high)
