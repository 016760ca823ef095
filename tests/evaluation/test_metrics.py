"""Scores of a classifier against hand-worked answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlproject.errors import UserError
from mlproject.evaluation.metrics import METRICS, binary_metrics, subject_scores


def test_hand_worked_case():
    # called at 0.5: rows 1, 2, 3. True positives 2 (rows 1, 3), false positive 1 (row 2), false negative 1 (row 4),
    # true negative 1 (row 0). AUC: pairs (positive, negative) over negatives 0.1 and 0.6:
    # 0.9 beats both, 0.6 beats 0.1 and ties 0.6, 0.2 beats 0.1 = 2 + 1.5 + 1 = 4.5 of 6.
    labels = np.array([0, 1, 0, 1, 1])
    probabilities = np.array([0.1, 0.9, 0.6, 0.6, 0.2])
    found = binary_metrics(labels, probabilities, 0.5)
    assert tuple(found) == METRICS
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["specificity"] == pytest.approx(1 / 2)
    assert found["auc"] == pytest.approx(4.5 / 6)
    assert found["brier"] == pytest.approx((0.01 + 0.01 + 0.36 + 0.16 + 0.64) / 5)


def test_threshold_itself_is_called_anomalous():
    labels, probabilities = np.array([0, 1]), np.array([0.2, 0.5])
    assert binary_metrics(labels, probabilities, 0.5)["recall"] == 1
    assert binary_metrics(labels, probabilities, np.nextafter(0.5, 1))["recall"] == 0


def test_precision_is_zero_when_nothing_is_called():
    found = binary_metrics(np.array([0, 1]), np.array([0.1, 0.2]), 0.5)
    assert found["precision"] == found["f1"] == found["recall"] == 0
    assert found["specificity"] == 1


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([1, 1], [0.5, 0.6], "AUC does not exist"),
        ([0, 1], [0.5], "same length"),
        ([], [], "at least one entry"),
        ([0, 2], [0.5, 0.6], "only 0 and 1"),
        ([0, 1], [0.5, 1.5], "1.5 in row 1"),
        ([0, 1], [float("nan"), 0.5], "row 0"),
    ],
)
def test_mistakes_are_told(labels, probabilities, message):
    with pytest.raises(UserError, match=message):
        binary_metrics(np.array(labels), np.array(probabilities), 0.5)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20)), min_size=2, max_size=60))
def test_auc_is_the_share_of_ordered_pairs_and_turns_over_with_the_labels(rows):
    labels, scores = np.array([row[0] for row in rows]), np.array([row[1] for row in rows]) / 20
    if labels.min() == labels.max():
        return
    pairs = [(p > n) + (p == n) / 2 for p in scores[labels == 1] for n in scores[labels == 0]]
    auc = binary_metrics(labels, scores, 0.5)["auc"]
    assert auc == pytest.approx(np.mean(pairs))
    assert binary_metrics(1 - labels, scores, 0.5)["auc"] == pytest.approx(1 - auc)


def test_subject_scores_average_the_images_of_a_subject():
    found = subject_scores(np.array([1, 0, 1, 0]), np.array([0.8, 0.1, 0.4, 0.3]), np.array(["b", "a", "b", "c"]))
    assert found.subjects.tolist() == ["a", "b", "c"]
    assert found.labels.tolist() == [0, 1, 0]
    assert found.probabilities == pytest.approx([0.1, 0.6, 0.3])


def test_subject_scores_refuse_missing_subjects():
    with pytest.raises(UserError, match="one of each"):
        subject_scores(np.array([1, 0]), np.array([0.8, 0.1]), np.array(["b"]))
