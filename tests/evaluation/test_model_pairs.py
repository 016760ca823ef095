"""Two models on one test set: DeLong by its definition and on published data, McNemar by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from mlproject.errors import UserError
from mlproject.evaluation.model_pairs import delong, mcnemar

# 43 patients with ovarian cancer: albumin, total protein, K-G score, benefit of surgery (DeLong, DeLong &
# Clarke-Pearson 1988, Biometrics 44:837; the complete records)
_RECORDS = """3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1
    3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0
    2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1
    3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1  3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0
    3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1
    3.3 5.7 6 1  3.7 6.9 5 1  3.6 6.6 5 1"""
OVARIAN = np.array(_RECORDS.split(), dtype=float).reshape(-1, 4)


def by_definition(labels: np.ndarray, *scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUCs and their covariance from every pair of rows, as the paper's equations 2, 4 and 5 write them."""
    kernels = []
    for score in scores:
        positive, negative = score[labels == 1][:, None], score[labels == 0][None]
        kernels.append((positive > negative) + (positive == negative) / 2)
    areas = np.array([kernel.mean() for kernel in kernels])
    m, n = kernels[0].shape
    of_positives = np.array([kernel.mean(axis=1) for kernel in kernels]) - areas[:, None]
    of_negatives = np.array([kernel.mean(axis=0) for kernel in kernels]) - areas[:, None]
    covariance = of_positives @ of_positives.T / (m - 1) / m + of_negatives @ of_negatives.T / (n - 1) / n
    return areas, covariance


def test_ovarian_cancer() -> None:
    albumin, protein, score, benefit = OVARIAN.T
    labels, score = benefit.astype(int), 10 - score  # a low K-G score speaks for surgery
    assert (len(labels), labels.sum()) == (43, 31)
    found = delong(labels, score, protein)
    # areas and standard errors as statistical packages print them for these records: 0.7258 (0.1028) for the K-G score
    # and 0.6478 (0.1000) for total protein
    assert found.auc_a == pytest.approx(0.7258, abs=5e-5)
    assert found.auc_b == pytest.approx(0.6478, abs=5e-5)
    assert np.sqrt(np.diag(found.covariance)) == pytest.approx([0.1028, 0.1000], abs=5e-5)
    for other in (protein, albumin):
        found = delong(labels, score, other)
        areas, covariance = by_definition(labels, score, other)
        assert found.covariance == pytest.approx(covariance)
        assert (found.auc_a, found.auc_b) == pytest.approx(tuple(areas))
        spread = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
        assert found.z == pytest.approx((areas[1] - areas[0]) / spread)
        assert found.p == pytest.approx(2 * norm.sf(abs(found.z)))
        assert found.difference.high - found.difference.low == pytest.approx(2 * 1.959964 * spread)


def test_delong_by_hand() -> None:
    # positives 3, 1 and negatives 2, 0. Model a orders them 3 > 2 > 1 > 0: shares beaten 1 and 1/2, beating 1/2 and 1
    # (of negative 2 and 0), AUC 3/4. Each pair of shares has variance (1/4)²·2 / 1 = 1/8, over 2 rows 1/16: 1/8 in all
    labels = np.array([1, 1, 0, 0])
    first, second = np.array([3.0, 1.0, 2.0, 0.0]), np.array([3.0, 2.0, 1.0, 0.0])
    found = delong(labels, first, second)
    assert (found.auc_a, found.auc_b) == (0.75, 1.0)
    assert found.covariance == pytest.approx(np.array([[1 / 8, 0], [0, 0]]))
    assert found.z == pytest.approx(0.25 / np.sqrt(1 / 8))
    assert found.difference.value == 0.25


@given(st.integers(0, 10_000), st.integers(2, 15), st.integers(2, 15), st.integers(1, 8))
def test_midranks_are_the_pairs(seed, positives, negatives, values) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.repeat([1, 0], [positives, negatives]))
    first, second = generator.integers(0, values + 1, (2, positives + negatives)).astype(float)  # many ties
    found = delong(labels, first, second)
    areas, covariance = by_definition(labels, first, second)
    assert (found.auc_a, found.auc_b) == pytest.approx(tuple(areas))
    assert found.covariance == pytest.approx(covariance, abs=1e-12)
    turned = delong(labels, second, first)
    assert turned.difference.value == pytest.approx(-found.difference.value)
    assert turned.p == pytest.approx(found.p)


def test_models_of_the_same_order_do_not_differ() -> None:
    labels, scores = np.array([0, 1, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    found = delong(labels, scores, scores**3)
    assert (found.difference.value, found.z, found.p) == (0, 0, 1)


def test_delong_keeps_its_level() -> None:
    """1,200 pairs of equally good, correlated models: 5 % of the p values fall below 0.05 (error ± 1.3 %)."""
    generator = np.random.default_rng(0)
    labels = np.repeat([1, 0], [40, 60])
    low = 0
    for _ in range(1200):
        shared = labels + generator.normal(size=100)
        low += delong(labels, *(shared + 0.7 * generator.normal(size=(2, 100)))).p < 0.05
    assert 0.035 <= low / 1200 <= 0.068


def test_mcnemar_by_hand() -> None:
    # both right 3, only a 1, only b 6, both wrong 2. Of 7 the smaller side has 1: 2 · (1 + 7) / 128 = 0.125
    labels = np.array([1, 0] * 6)
    right_a = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0], dtype=bool)
    right_b = np.array([1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0, 0], dtype=bool)
    found = mcnemar(labels, np.where(right_a, labels, 1 - labels), np.where(right_b, labels, 1 - labels))
    assert (found.both_right, found.only_a_right, found.only_b_right, found.both_wrong) == (3, 1, 6, 2)
    assert found.p == pytest.approx(0.125)


def test_mcnemar_without_a_disagreement() -> None:
    labels = np.array([0, 1, 1])
    assert mcnemar(labels, labels, labels).p == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: delong(np.array([0, 1]), np.zeros(2), np.zeros(2)), "at least 2 of each"),
        (lambda: delong(np.array([0, 1, 0]), np.zeros(3), np.zeros(2)), "one row for each"),
        (lambda: delong(np.array([0, 1, 0, 1]), np.full(4, np.nan), np.zeros(4)), "not finite"),
        (lambda: delong(np.array([0, 2, 0, 1]), np.zeros(4), np.zeros(4)), "only 0 and 1"),
        (lambda: mcnemar(np.array([0, 1]), np.array([0.5, 1]), np.array([0, 1])), "decisions, not probabilities"),
    ],
)
def test_mistakes_are_told(call, message) -> None:
    with pytest.raises(UserError, match=message):
        call()
