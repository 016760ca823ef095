"""Calibration: hand-worked bins, scikit-learn's curve, the likelihood's own condition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from mlproject.errors import UserError
from mlproject.evaluation.calibration import (
    TEMPERATURE_RANGE,
    apply_temperature,
    expected_calibration_error,
    fit_temperature,
    logits_of,
    reliability,
)
from mlproject.evaluation.intervals import wilson_interval

# bins of a half: {0.1, 0.3} holds labels 0, 1 (mean 0.2, share 0.5); {0.5, 0.7, 0.9, 1.0} holds 1, 0, 1, 1
# (mean 0.775, share 0.75)
PROBABILITIES = np.array([0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
LABELS = np.array([0, 1, 1, 0, 1, 1])


def drawn(n: int, seed: int, temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels whose true log odds are known, and the logits that state them `temperature` times too large."""
    generator = np.random.default_rng(seed)
    log_odds = generator.normal(scale=1.5, size=n)
    return (generator.random(n) < expit(log_odds)).astype(int), temperature * log_odds


def test_bins_by_hand() -> None:
    subjects = np.array(["a", "b", "c", "c", "d", "e"])
    found = reliability(LABELS, PROBABILITIES, subjects, 0.95, bins=2)
    assert found.predicted == pytest.approx([0.2, 0.775])
    assert found.observed == pytest.approx([0.5, 0.75])
    assert found.rows.tolist() == [2, 4]
    assert found.subjects.tolist() == [2, 3]  # c has two rows in the upper bin
    # 1 of 2, and 0.75 of 3 subjects, that is round(2.25) = 2 of 3
    assert (found.low[0], found.high[0]) == pytest.approx(
        (wilson_interval(1, 2, 0.95).low, wilson_interval(1, 2, 0.95).high)
    )
    assert found.low[1] == pytest.approx(wilson_interval(2, 3, 0.95).low)


def test_error_by_hand() -> None:
    # 2/6 · |0.5 - 0.2| + 4/6 · |0.75 - 0.775| = 0.1 + 0.016667
    assert expected_calibration_error(LABELS, PROBABILITIES, bins=2) == pytest.approx(0.1 + 0.1 / 6)
    assert expected_calibration_error(np.array([0, 1]), np.array([1.0, 0.0])) == 1
    assert expected_calibration_error(np.array([0, 1]), np.array([0.0, 1.0])) == 0


@given(st.integers(0, 10_000), st.integers(4, 300), st.integers(2, 15))
def test_curve_is_that_of_scikit_learn(seed, n, bins) -> None:
    labels, logits = drawn(n, seed)
    labels[:2] = 0, 1
    found = reliability(labels, expit(logits), np.arange(n), 0.9, bins)
    observed, predicted = calibration_curve(labels, expit(logits), n_bins=bins)
    assert found.observed == pytest.approx(observed)
    assert found.predicted == pytest.approx(predicted)
    assert (found.low <= found.observed).all()
    assert (found.observed <= found.high).all()
    weighted = np.sum(found.rows * np.abs(found.observed - found.predicted)) / n
    assert expected_calibration_error(labels, expit(logits), bins) == pytest.approx(weighted)


def test_the_temperature_that_was_put_in_is_found() -> None:
    labels, logits = drawn(20_000, seed=0, temperature=2.5)
    found = fit_temperature(labels, logits)
    assert found == pytest.approx(2.5, rel=0.05)
    before, after = expit(logits), apply_temperature(logits, found)
    assert expected_calibration_error(labels, after) < expected_calibration_error(labels, before) / 3
    assert (np.argsort(after, kind="stable") == np.argsort(before, kind="stable")).all()


@given(st.integers(0, 10_000), st.integers(30, 200), st.floats(0.3, 4))
def test_the_temperature_solves_the_likelihood(seed, n, temperature) -> None:
    labels, logits = drawn(n, seed, temperature)
    labels[:2] = 0, 1
    found = fit_temperature(labels, logits)
    if TEMPERATURE_RANGE[0] * 1.01 < found < TEMPERATURE_RANGE[1] / 1.01:
        # at the peak the residuals are orthogonal to the logits, and 1 / T is the slope of a logistic regression
        # through the origin
        assert np.mean((expit(logits / found) - labels) * logits) == pytest.approx(0, abs=1e-5)
        slope = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(logits[:, None], labels).coef_[0, 0]
        assert 1 / found == pytest.approx(slope, rel=1e-3)


def test_perfect_and_wrong_logits_end_at_the_bounds() -> None:
    labels, logits = np.array([0, 0, 1, 1]), np.array([-2.0, -1.0, 1.0, 2.0])
    assert fit_temperature(labels, logits) == pytest.approx(TEMPERATURE_RANGE[0])
    assert fit_temperature(1 - labels, logits) == pytest.approx(TEMPERATURE_RANGE[1])


def test_logits_come_back() -> None:
    probabilities = np.array([0.0, 0.2, 0.5, 1.0])
    assert logits_of(probabilities)[2] == 0
    assert np.isfinite(logits_of(probabilities)).all()
    assert apply_temperature(logits_of(probabilities), 1.0) == pytest.approx(probabilities, abs=1e-6)


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match="not finite"):
        fit_temperature(np.array([0, 1]), np.array([np.inf, 0.0]))
    with pytest.raises(UserError, match="above 0"):
        apply_temperature(np.zeros(2), 0.0)
    with pytest.raises(UserError, match="all 2 labels are 1"):
        reliability(np.ones(2, dtype=int), np.array([0.2, 0.9]), np.arange(2), 0.95)
