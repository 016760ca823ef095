"""Do probabilities mean what they say: reliability, calibration error, and one temperature fitted on validation.

Give one row per subject (`subject_scores`) or one per image; intervals count subjects either way.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from mlproject.errors import UserError
from mlproject.evaluation.intervals import (
    wilson_interval,
)
from mlproject.evaluation.metrics import check_predictions

BINS = 10
# a temperature beyond these turns every probability into 0 or 1, or into a half
TEMPERATURE_RANGE = (0.02, 50.0)
# stored probabilities are rounded, and an exact 0 or 1 has no logit
_SMALLEST_PROBABILITY = 1e-7


@dataclass(frozen=True)
class Reliability:
    """The bins of a reliability curve that hold any row, in the order of the predictions."""

    predicted: np.ndarray  # mean probability of each bin, [bins]
    observed: np.ndarray  # share of anomalous rows, [bins]
    low: np.ndarray  # Wilson's bounds of `observed` over subjects, [bins]
    high: np.ndarray
    rows: np.ndarray  # int, [bins]
    subjects: np.ndarray  # int, [bins]


def _bin_of(probabilities: np.ndarray, bins: int) -> np.ndarray:
    """The bin of equal width that holds each probability; 1 belongs to the last."""
    return np.minimum((probabilities * bins).astype(int), bins - 1)


def reliability(
    labels: np.ndarray, probabilities: np.ndarray, subjects: np.ndarray, level: float, bins: int = BINS
) -> Reliability:
    """The reliability curve over bins of equal width in the probability (DeGroot & Fienberg 1983, Statistician 32:12).

    The interval of each bin counts its subjects as trials: images of a subject are not independent.

    Args:
        labels: 0 or 1, [n]; both classes are present.
        probabilities: of class 1, in [0, 1], [n].
        subjects: subject of each row, [n].
        level: confidence level of each bin's interval.
        bins: number of bins in [0, 1]; empty ones are left out.
    """
    labels, probabilities = check_predictions(labels, probabilities)
    subjects, index = np.asarray(subjects), _bin_of(probabilities, bins)
    chosen = [index == number for number in np.unique(index)]
    observed = np.array([labels[rows].mean() for rows in chosen])
    owners = np.array([len(np.unique(subjects[rows])) for rows in chosen])
    bounds = [wilson_interval(round(share * n), n, level) for share, n in zip(observed, owners.tolist(), strict=True)]
    return Reliability(
        predicted=np.array([probabilities[rows].mean() for rows in chosen]),
        observed=observed,
        low=np.minimum([interval.low for interval in bounds], observed),
        high=np.maximum([interval.high for interval in bounds], observed),
        rows=np.array([int(rows.sum()) for rows in chosen]),
        subjects=owners,
    )


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> float:
    """Mean distance of the predicted from the observed share over bins of equal width, weighted by their rows.

    Naeini et al. 2015 (AAAI), for the probability of class 1. 0 is perfect, 1 the worst. With few rows in a bin it is
    above 0 by chance alone, so it compares only numbers of rows that are alike.
    """
    labels, probabilities = check_predictions(labels, probabilities)
    # within a bin, rows x (share - mean probability) is the sum of label - probability
    gaps = np.bincount(_bin_of(probabilities, bins), weights=labels - probabilities)
    return float(np.abs(gaps).sum() / len(labels))


def logits_of(probabilities: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)), float64 [n]; probabilities are kept 1e-7 away from 0 and 1."""
    return logit(np.clip(np.asarray(probabilities, dtype=np.float64), _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY))


def fit_temperature(labels: np.ndarray, logits: np.ndarray) -> float:
    """The temperature T that makes sigmoid(logits / T) most likely (Guo et al. 2017, ICML); fit it on validation.

    Above 1 the probabilities were too extreme, below 1 too timid. The likelihood has one peak in T; where the logits
    part the classes without an error, or point the wrong way, it has none and the end of [0.02, 50] is returned.

    Args:
        labels: 0 or 1, [n]; both classes are present.
        logits: of class 1, [n].

    Raises:
        UserError: see `check_predictions`, or a logit that is not finite.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if not np.isfinite(logits).all():
        raise UserError("temperature: a logit is not finite; expected finite numbers (see logits_of)")
    labels, _ = check_predictions(labels, expit(logits))

    def loss(log_temperature: float) -> float:
        scaled = logits * np.exp(-log_temperature)
        return float(np.mean(np.logaddexp(0.0, scaled) - labels * scaled))

    low, high = np.log(TEMPERATURE_RANGE)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-8})
    # the search stays inside its bounds; where the loss falls all the way, the end itself is the answer
    best = min((float(found.x), float(low), float(high)), key=loss)
    return float(np.exp(best))


def apply_temperature(logits: np.ndarray, temperature: float) -> np.ndarray:
    """sigmoid(logits / temperature), in [0, 1], [n]; the order of the rows, and with it the AUC, stays."""
    if not temperature > 0:
        raise UserError(f"temperature: {temperature}; expected a number above 0")
    return expit(np.asarray(logits, dtype=np.float64) / temperature)
