"""What a classifier's calls would be worth: net benefit over thresholds, predictive values at a given prevalence.

A balanced sample says nothing of predictive values or net benefit in screening, where anomalies are rare; so the
user's prevalence enters, by Bayes' rule, wherever it matters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm

from mlproject.errors import UserError
from mlproject.evaluation.calibration import logits_of
from mlproject.evaluation.intervals import Interval, bootstrap_weights
from mlproject.evaluation.metrics import check_predictions


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit per subject over threshold probabilities, with pointwise bounds; treating nobody has 0.

    A net benefit of 0.05 is worth as much as five true positives in a hundred subjects without a false one.
    """

    thresholds: np.ndarray  # [k]
    net_benefit: np.ndarray  # [k]
    low: np.ndarray  # [k]
    high: np.ndarray  # [k]
    treat_all: np.ndarray  # [k]
    prevalence: float


def _check_prevalence(what: str, prevalence: float) -> None:
    if not 0 < prevalence < 1:
        raise UserError(f"{what}: prevalence {prevalence}; expected a share between 0 and 1")


def at_prevalence(probabilities: np.ndarray, sample_prevalence: float, prevalence: float) -> np.ndarray:
    """Probabilities as they would be at another prevalence: the log odds move by the difference of the prior log odds.

    Bayes' rule with unchanged images of each class (Saerens, Latinne & Decaestecker 2002, Neural Comput 14:21).
    """
    _check_prevalence("probabilities", sample_prevalence)
    _check_prevalence("probabilities", prevalence)
    return expit(logits_of(probabilities) + logit(prevalence) - logit(sample_prevalence))


def _net_benefit(
    labels: np.ndarray, called: np.ndarray, odds: np.ndarray, weights: np.ndarray, prevalence: float
) -> np.ndarray:
    """Net benefit of each weighting at each threshold, [draws, k]; called [n, k], odds [k], weights [draws, n]."""
    positive = (labels == 1).astype(np.float64)
    sensitivity = (weights * positive) @ called / (weights @ positive)[:, None]
    alarms = (weights * (1 - positive)) @ called / (weights @ (1 - positive))[:, None]
    return prevalence * sensitivity - (1 - prevalence) * alarms * odds


def net_benefit(
    labels: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray, prevalence: float | None = None
) -> np.ndarray:
    """The net benefit at each threshold without bounds, [k]; arguments and errors as in `decision_curve`."""
    labels, called, odds, share = _prepared(labels, probabilities, thresholds, prevalence)
    return _net_benefit(labels, called, odds, np.ones((1, len(labels))), share)[0]


def _prepared(
    labels: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray, prevalence: float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Labels [n], calls at each threshold [n, k], the threshold's odds [k] and the prevalence, checked."""
    labels, probabilities = check_predictions(labels, probabilities)
    thresholds = np.asarray(thresholds, dtype=np.float64)
    if thresholds.ndim != 1 or not len(thresholds) or not np.all((thresholds > 0) & (thresholds < 1)):
        raise UserError(f"decision curve: thresholds {thresholds.tolist()[:5]}; expected numbers between 0 and 1")
    sample = float(labels.mean())
    if prevalence is not None:
        probabilities = at_prevalence(probabilities, sample, prevalence)
    called = (probabilities[:, None] >= thresholds).astype(np.float64)
    return labels, called, thresholds / (1 - thresholds), sample if prevalence is None else prevalence


def decision_curve(
    labels: np.ndarray,
    probabilities: np.ndarray,
    subjects: np.ndarray,
    draws: int,
    level: float,
    seed: int,
    *,
    thresholds: Sequence[float] | None = None,
    prevalence: float | None = None,
) -> DecisionCurve:
    """Net benefit of acting on probabilities from a threshold on (Vickers & Elkin 2006, Med Decis Making 26:565).

    A threshold probability p says that a missed anomaly weighs (1 - p) / p times a false alarm. Net benefit is
    TP / n - FP / n * p / (1 - p). At a prevalence π it is π * sensitivity - (1 - π) * (1 - specificity) * p / (1 - p),
    which is the same at the sample's own; the probabilities are moved to that prevalence first. The bounds are
    percentiles of the bootstrap by subject.

    Args:
        labels: 0 or 1, [n]; both classes are present.
        probabilities: of class 1, calibrated as well as may be, in [0, 1], [n].
        subjects: subject of each row, [n].
        draws: bootstrap draws.
        level: confidence level.
        seed: of the draws.
        thresholds: probabilities between 0 and 1; 0.01 to 0.99 by default.
        prevalence: share of anomalous subjects where the classifier would be used; the sample's by default.

    Raises:
        UserError: see `check_predictions`, or a threshold or prevalence outside (0, 1).
    """
    grid = np.arange(1, 100) / 100 if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    labels, called, odds, share = _prepared(labels, probabilities, grid, prevalence)
    value = _net_benefit(labels, called, odds, np.ones((1, len(labels))), share)[0]
    drawn = np.concatenate(
        [
            _net_benefit(labels, called, odds, weights, share)
            for weights in bootstrap_weights(labels, subjects, draws, seed)
        ]
    )
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    treat_all = share - (1 - share) * odds
    return DecisionCurve(grid, value, np.minimum(low, value), np.maximum(high, value), treat_all, share)


def predictive_values(
    true_positives: int, positives: int, true_negatives: int, negatives: int, prevalence: float, level: float
) -> dict[str, Interval]:
    """Positive (`ppv`) and negative (`npv`) predictive value at a prevalence, with logit intervals.

    Bayes: PPV = se π / (se π + (1 - sp)(1 - π)) and NPV = sp (1 - π) / (sp (1 - π) + (1 - se) π). On the logit scale
    their variances are (1 - se) / (se n₁) + sp / ((1 - sp) n₀) and se / ((1 - se) n₁) + (1 - sp) / (sp n₀) (Mercaldo,
    Lau & Zhou 2007, Stat Med 26:2170). Where a count is 0 these do not exist, and the bounds come from counts with
    z²/2 added to each (their adjusted interval), widened to hold the value. The prevalence is taken as known.

    Args:
        true_positives: anomalous subjects that were called so.
        positives: anomalous subjects.
        true_negatives: normal subjects that were not called.
        negatives: normal subjects.
        prevalence: share of anomalous subjects where the classifier would be used, between 0 and 1.
        level: confidence level.

    Raises:
        UserError: no subject of a class, a count above its class, or a prevalence outside (0, 1).
    """
    _check_prevalence("predictive values", prevalence)
    if not (0 <= true_positives <= positives and 0 <= true_negatives <= negatives and positives and negatives):
        raise UserError(
            f"predictive values: {true_positives} of {positives} anomalous and {true_negatives} of {negatives} normal "
            "subjects; expected counts within their classes, and at least one subject of each"
        )
    z = float(norm.ppf(0.5 + level / 2))
    sensitivity, specificity = true_positives / positives, true_negatives / negatives
    called = sensitivity * prevalence + (1 - specificity) * (1 - prevalence)
    spared = specificity * (1 - prevalence) + (1 - sensitivity) * prevalence
    # nobody called, or nobody spared: the value does not exist, and by convention is 0 with bounds that say so
    values = {
        "ppv": sensitivity * prevalence / called if called else 0.0,
        "npv": specificity * (1 - prevalence) / spared if spared else 0.0,
    }
    cells = (true_positives, positives - true_positives, true_negatives, negatives - true_negatives)
    if min(cells) == 0:
        hits, misses, quiet, alarms = (cell + z**2 / 2 for cell in cells)
    else:
        hits, misses, quiet, alarms = (float(cell) for cell in cells)
    centres = {
        "ppv": np.log(hits / (hits + misses) * prevalence) - np.log(alarms / (quiet + alarms) * (1 - prevalence)),
        "npv": np.log(quiet / (quiet + alarms) * (1 - prevalence)) - np.log(misses / (hits + misses) * prevalence),
    }
    variances = {
        "ppv": misses / (hits * (hits + misses)) + quiet / (alarms * (quiet + alarms)),
        "npv": hits / (misses * (hits + misses)) + alarms / (quiet * (quiet + alarms)),
    }
    found = {}
    for name, value in values.items():
        reach = z * np.sqrt(variances[name])
        low, high = float(expit(centres[name] - reach)), float(expit(centres[name] + reach))
        found[name] = Interval(value, min(low, value), max(high, value))
    if not called:
        found["ppv"] = Interval(0.0, 0.0, 1.0)
    if not spared:
        found["npv"] = Interval(0.0, 0.0, 1.0)
    return found
