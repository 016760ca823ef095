"""A threshold chosen on validation, to be applied to test as it is.

On the rows that chose it a threshold promises too much: what it reaches is measured on others.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_curve

from mlproject.errors import UserError
from mlproject.evaluation.metrics import check_predictions


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and what it reached where it was chosen; a row is called anomalous from the threshold on."""

    name: str
    threshold: float
    sensitivity: float
    specificity: float


def _candidates(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every distinct rule: threshold, sensitivity and specificity, from calling nobody to calling all.

    A threshold lies halfway between two neighbouring probabilities, so that a row that comes out a little differently
    elsewhere keeps its side.
    """
    alarms, hits, scores = roc_curve(labels, probabilities, drop_intermediate=False)
    # the first rule calls nobody and the last calls all; a number just above 1 stands above every probability
    lower = scores[1:]
    upper = np.concatenate([[np.nextafter(1.0, 2.0)], lower[:-1]])
    halfway = (upper + lower) / 2
    # of two numbers with none between them, the half is rounded to the lower one, which must not be called
    halfway = np.where(halfway > lower, halfway, upper)
    return np.append(halfway, 0.0), hits, 1 - alarms


def youden_point(labels: np.ndarray, probabilities: np.ndarray) -> OperatingPoint:
    """The threshold with the largest sensitivity + specificity - 1 (Youden 1950, Cancer 3:32).

    Among equals the one with the highest specificity.

    Args:
        labels: 0 or 1, [n]; both classes are present. Validation rows.
        probabilities: of class 1, in [0, 1], [n].
    """
    labels, probabilities = check_predictions(labels, probabilities)
    thresholds, sensitivities, specificities = _candidates(labels, probabilities)
    # rounding must not choose between equals
    best = int(np.argmax(np.round(sensitivities + specificities, 12)))
    return OperatingPoint("youden", *(float(row[best]) for row in (thresholds, sensitivities, specificities)))


def point_at_specificity(labels: np.ndarray, probabilities: np.ndarray, specificity: float = 0.95) -> OperatingPoint:
    """The threshold with the highest sensitivity among those with at least this specificity.

    Arguments as in `youden_point`. Calling nobody reaches every specificity, so there is always one.

    Raises:
        UserError: see `check_predictions`, or a specificity outside [0, 1].
    """
    labels, probabilities = check_predictions(labels, probabilities)
    if not 0 <= specificity <= 1:
        raise UserError(f"operating point: specificity {specificity}; expected a share in [0, 1]")
    thresholds, sensitivities, specificities = _candidates(labels, probabilities)
    allowed = np.flatnonzero(specificities >= specificity - 1e-12)
    # sensitivity only grows down the list: of equals take the first, which has the highest specificity
    best = int(allowed[np.argmax(sensitivities[allowed])])
    name = f"specificity_{100 * specificity:g}"
    return OperatingPoint(name, *(float(row[best]) for row in (thresholds, sensitivities, specificities)))
