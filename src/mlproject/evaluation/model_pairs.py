"""Two models on one test set: DeLong for their AUCs, McNemar for their calls.

These ask whether two *given* models differ on these subjects. Whether one way of training is better than another is
a question over seeds (`mlproject.study.contrasts`), which no test of one pair can answer. Give one row per subject
(`subject_scores`): both tests take their rows as independent.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, norm, rankdata

from mlproject.errors import UserError
from mlproject.evaluation.intervals import Interval


@dataclass(frozen=True)
class AucPair:
    """Two AUCs on the same rows; `difference` is b - a with its normal interval, `covariance` that of (a, b)."""

    auc_a: float
    auc_b: float
    difference: Interval
    z: float
    p: float
    covariance: np.ndarray  # [2, 2]


@dataclass(frozen=True)
class CallPair:
    """How often one model is right where the other is wrong, and the exact p that this is chance."""

    only_a_right: int
    only_b_right: int
    both_right: int
    both_wrong: int
    p: float


def _check_pair(what: str, labels: np.ndarray, *columns: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 1 or any(np.shape(column) != labels.shape for column in columns) or not len(labels):
        shapes = ", ".join(str(np.shape(column)) for column in columns)
        raise UserError(f"{what}: labels of shape {labels.shape}, models of shapes {shapes}; expected one row for each")
    if not np.isin(labels, (0, 1)).all():
        raise UserError(f"{what}: labels {sorted(set(labels.tolist()))[:5]}; expected only 0 and 1")
    return labels.astype(np.int64)


def delong(labels: np.ndarray, scores_a: np.ndarray, scores_b: np.ndarray, level: float = 0.95) -> AucPair:
    """Two correlated AUCs (DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44:837), through midranks.

    The share of normal rows that each anomalous row beats, and of anomalous rows that beat each normal one, are
    differences of midranks (Sun & Xu 2014, IEEE Signal Process Lett 21:1389); their covariances over the rows of each
    class, divided by the numbers of rows, add up to that of the AUCs.

    Args:
        labels: 0 or 1, one row per subject, [n]; at least 2 of each class.
        scores_a: higher is more anomalous, of any range, [n].
        scores_b: of the other model, on the same rows, [n].
        level: confidence level of the difference.

    Raises:
        UserError: different lengths, scores that are not finite, or fewer than 2 rows of a class.
    """
    labels = _check_pair("DeLong", labels, scores_a, scores_b)
    scores = np.stack([np.asarray(scores_a, dtype=np.float64), np.asarray(scores_b, dtype=np.float64)])
    if not np.isfinite(scores).all():
        raise UserError("DeLong: a score is not finite; expected finite numbers")
    positive = labels == 1
    m, n = int(positive.sum()), int((~positive).sum())
    if min(m, n) < 2:
        raise UserError(f"DeLong: {m} anomalous and {n} normal rows; at least 2 of each are needed for a variance")
    everyone = rankdata(scores, axis=1)
    # midranks among all minus those within the class count the rows of the other class below (ties: half)
    beaten = (everyone[:, positive] - rankdata(scores[:, positive], axis=1)) / n
    beating = 1 - (everyone[:, ~positive] - rankdata(scores[:, ~positive], axis=1)) / m
    auc_a, auc_b = (float(auc) for auc in beaten.mean(axis=1))
    covariance = np.cov(beaten) / m + np.cov(beating) / n
    difference = auc_b - auc_a
    spread = float(np.sqrt(max(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], 0.0)))
    if spread < 1e-12:
        # the same order of rows, or two perfect ones: the difference is 0 and nothing speaks against it
        z, p = 0.0, 1.0
    else:
        z = difference / spread
        p = float(2 * norm.sf(abs(z)))
    reach = float(norm.ppf(0.5 + level / 2)) * spread
    return AucPair(auc_a, auc_b, Interval(difference, difference - reach, difference + reach), z, p, covariance)


def mcnemar(labels: np.ndarray, calls_a: np.ndarray, calls_b: np.ndarray) -> CallPair:
    """Exact McNemar test of two models' calls (McNemar 1947, Psychometrika 12:153).

    Only rows where one model is right and the other wrong speak; without a difference each side is as likely, so
    the smaller count is binomial with 1/2.

    Args:
        labels: 0 or 1, one row per subject, [n].
        calls_a: 0 or 1, [n].
        calls_b: of the other model, on the same rows, [n].

    Raises:
        UserError: different lengths, or a call that is not 0 or 1.
    """
    labels = _check_pair("McNemar", labels, calls_a, calls_b)
    calls = np.stack([np.asarray(calls_a), np.asarray(calls_b)])
    if not np.isin(calls, (0, 1)).all():
        raise UserError("McNemar: a call is not 0 or 1; expected decisions, not probabilities")
    right_a, right_b = calls == labels
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    p = float(binomtest(only_a, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0
    return CallPair(only_a, only_b, int((right_a & right_b).sum()), int((~right_a & ~right_b).sum()), p)
