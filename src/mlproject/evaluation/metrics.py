"""Scores of a binary classifier: images or subjects, label 0 normal, 1 anomalous."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import brier_score_loss, confusion_matrix, roc_auc_score

from mlproject.errors import UserError

METRICS = ("accuracy", "precision", "recall", "f1", "auc", "specificity", "brier")


def check_predictions(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels as int64 [n] and probabilities as float64 [n], checked.

    Raises:
        UserError: different lengths, nothing at all, a label other than 0 and 1, a probability outside [0, 1]
            or not finite, or only one class.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if labels.ndim != 1 or labels.shape != probabilities.shape or not len(labels):
        raise UserError(
            f"predictions: labels of shape {labels.shape} and probabilities of shape {probabilities.shape}; "
            "expected two lists of the same length, at least one entry long"
        )
    if not np.isin(labels, (0, 1)).all():
        raise UserError(f"predictions: labels {sorted(set(labels.tolist()))[:5]}; expected only 0 and 1")
    if not np.isfinite(probabilities).all() or probabilities.min() < 0 or probabilities.max() > 1:
        row = int(np.flatnonzero(~((probabilities >= 0) & (probabilities <= 1)))[0])
        raise UserError(f"predictions: probability {probabilities[row]} in row {row}; expected a number in [0, 1]")
    labels = labels.astype(np.int64)
    if labels.min() == labels.max():
        raise UserError(
            f"predictions: all {len(labels)} labels are {labels[0]}, so the AUC does not exist; "
            "score images of both classes"
        )
    return labels, probabilities


def binary_metrics(labels: np.ndarray, probabilities: np.ndarray, threshold: float) -> dict[str, float]:
    """Accuracy, precision, recall, F1, AUC, specificity and Brier score.

    Args:
        labels: 0 or 1, [n]; both classes are present.
        probabilities: of class 1, in [0, 1], [n].
        threshold: an image is called anomalous when its probability is at least this.

    Conventions: precision and F1 are 0 when nothing is called anomalous; ties count half in the AUC, which is the
    probability that an anomalous image scores above a normal one (Hanley & McNeil 1982, Radiology 143:29); the Brier
    score is the mean squared error of the probability, so lower is better.

    Raises:
        UserError: see `check_predictions`.
    """
    labels, probabilities = check_predictions(labels, probabilities)
    called = (probabilities >= threshold).astype(np.int64)
    (true_negative, false_positive), (false_negative, true_positive) = confusion_matrix(
        labels, called, labels=[0, 1]
    ).tolist()
    return {
        "accuracy": (true_positive + true_negative) / len(labels),
        "precision": true_positive / max(true_positive + false_positive, 1),
        "recall": true_positive / (true_positive + false_negative),
        "f1": 2 * true_positive / (2 * true_positive + false_positive + false_negative),
        "auc": float(roc_auc_score(labels, probabilities)),
        "specificity": true_negative / (true_negative + false_positive),
        "brier": float(brier_score_loss(labels, probabilities)),
    }


@dataclass(frozen=True)
class SubjectScores:
    """One label and one probability for each subject, in the sorted order of the subjects."""

    subjects: np.ndarray  # str [s]
    labels: np.ndarray  # int64 [s], 1 when any image of the subject is anomalous
    probabilities: np.ndarray  # float64 [s], mean over the subject's images


def subject_scores(labels: np.ndarray, probabilities: np.ndarray, subjects: np.ndarray) -> SubjectScores:
    """The mean probability of each subject's images.

    Args:
        labels: 0 or 1, [n].
        probabilities: of class 1, in [0, 1], [n].
        subjects: subject of each image, [n].
    """
    names, index = np.unique(np.asarray(subjects), return_inverse=True)
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if not len(index) == len(labels) == len(probabilities):
        raise UserError(
            f"predictions: {len(labels)} labels, {len(probabilities)} probabilities and {len(index)} subjects; "
            "expected one of each for every image"
        )
    images = np.bincount(index, minlength=len(names))
    means = np.bincount(index, weights=probabilities, minlength=len(names)) / images
    any_anomalous = np.bincount(index, weights=np.asarray(labels, dtype=np.float64), minlength=len(names)) > 0
    return SubjectScores(names, any_anomalous.astype(np.int64), means)
