"""Operating points: chosen by hand-worked rules, and what noise makes of them elsewhere."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlproject.errors import UserError
from mlproject.evaluation.metrics import binary_metrics
from mlproject.evaluation.operating_point import OperatingPoint, point_at_specificity, youden_point

# from the top: 0.9 (1), 0.8 (1), 0.7 (0), 0.6 (1), 0.4 (0), 0.3 (1), 0.2 (0), 0.1 (0)
LABELS = np.array([1, 1, 0, 1, 0, 1, 0, 0])
PROBABILITIES = np.array([0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1])


def test_youden_by_hand() -> None:
    # sensitivity + specificity from the top: 0.25 + 1, 0.5 + 1, 0.5 + 0.75, 0.75 + 0.75, 0.75 + 0.5, 1 + 0.5, ...
    # the best, 1.5, occurs three times; the one of highest specificity calls 0.9 and 0.8, so halfway to 0.7
    found = youden_point(LABELS, PROBABILITIES)
    assert found == OperatingPoint("youden", pytest.approx(0.75), 0.5, 1.0)


def test_specificity_by_hand() -> None:
    # at least 3 of 4 normal rows stay uncalled: 0.7 may be called, 0.4 not, and 0.6 is caught on the way
    found = point_at_specificity(LABELS, PROBABILITIES, 0.75)
    assert found == OperatingPoint("specificity_75", pytest.approx(0.5), 0.75, 0.75)
    # 95 % of 4 rows is all of them
    assert point_at_specificity(LABELS, PROBABILITIES).sensitivity == 0.5
    assert point_at_specificity(LABELS, PROBABILITIES).name == "specificity_95"
    assert point_at_specificity(LABELS, PROBABILITIES, 0.0).sensitivity == 1


def test_an_unreachable_specificity_calls_nobody() -> None:
    labels, probabilities = np.array([0, 1, 0, 1]), np.array([1.0, 1.0, 0.2, 0.1])
    found = point_at_specificity(labels, probabilities, 0.95)
    assert (found.sensitivity, found.specificity) == (0, 1)
    assert (probabilities < found.threshold).all()


predictions = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12)), min_size=2, max_size=40).filter(
    lambda rows: len({row[0] for row in rows}) == 2
)


@settings(max_examples=25)
@given(predictions, st.floats(0, 1))
def test_no_rule_is_better_than_the_chosen_one(rows, specificity) -> None:
    labels, probabilities = np.array([row[0] for row in rows]), np.array([row[1] for row in rows]) / 12
    youden = youden_point(labels, probabilities)
    bounded = point_at_specificity(labels, probabilities, specificity)
    for point in (youden, bounded):
        # what the point says it reached is what its threshold reaches
        reached = binary_metrics(labels, probabilities, point.threshold)
        assert point.sensitivity == pytest.approx(reached["recall"])
        assert point.specificity == pytest.approx(reached["specificity"])
    assert bounded.specificity >= specificity - 1e-12
    for threshold in np.unique(np.r_[probabilities, 1.1]):
        other = binary_metrics(labels, probabilities, threshold)
        assert other["recall"] + other["specificity"] <= youden.sensitivity + youden.specificity + 1e-9
        if other["specificity"] >= specificity:
            assert other["recall"] <= bounded.sensitivity + 1e-9


def test_neighbouring_numbers_keep_their_sides() -> None:
    lower = 0.5
    upper = np.nextafter(lower, 1)
    found = youden_point(np.array([0, 1]), np.array([lower, upper]))
    assert lower < found.threshold <= upper


def test_a_threshold_chosen_on_noise_promises_what_it_does_not_keep() -> None:
    """The reason for two splits: Youden on the rows it is scored on finds skill in noise, elsewhere it does not."""
    generator = np.random.default_rng(1)
    own, elsewhere = [], []
    for _ in range(120):
        labels, probabilities = np.arange(40) % 2, generator.random((2, 40))
        point = youden_point(labels, probabilities[0])
        own.append(point.sensitivity + point.specificity - 1)
        reached = binary_metrics(labels, probabilities[1], point.threshold)
        elsewhere.append(reached["recall"] + reached["specificity"] - 1)
    # the largest gap of two empirical distributions of 20
    assert np.mean(own) > 0.14
    # the mean of 120 with a standard deviation of about 0.16
    assert abs(np.mean(elsewhere)) < 0.05


def test_specificity_outside_its_range_is_refused() -> None:
    for wrong in (-0.1, 1.2, float("nan")):
        with pytest.raises(UserError, match=r"share in \[0, 1\]"):
            point_at_specificity(LABELS, PROBABILITIES, wrong)
