"""Temperature and operating point come from validation; classifiers from before either still decide."""

import math

import numpy as np
import pytest

from mlproject.classifier.judging import chosen_on_validation, decision_threshold, judge


class Answering:
    """A classifier that gives these probabilities."""

    def __init__(self, probabilities, **meta):
        self.given, self.meta = np.array(probabilities), meta

    def probabilities(self, crops):
        return self.given[: len(crops)]


def test_the_temperature_and_the_threshold_by_hand():
    """Of 4 rows at p, 3 are positive, of 4 at 1 - p, 1: the likeliest sigmoid(logit(p) / T) is 3/4, so
    T = log(p / (1 - p)) / log 3. At p = 0.9 that is log 9 / log 3 = 2. Youden's threshold lies halfway between.
    """
    labels = np.array([1, 1, 1, 0, 1, 0, 0, 0])
    found = chosen_on_validation(labels, np.array([0.9] * 4 + [0.1] * 4))
    assert found["temperature"] == pytest.approx(2, rel=1e-5)
    assert found["operating_point"] == {
        "name": "youden",
        "threshold": pytest.approx(0.5),
        "sensitivity": 0.75,
        "specificity": 0.75,
    }


@pytest.mark.parametrize("flipped", [False, True])
def test_where_validation_determines_no_temperature_there_is_none(flipped):
    """Classes parted without an error are likelier the colder it gets, those the wrong way round the hotter."""
    labels = np.array([0, 0, 0, 1, 1, 1])
    probabilities = np.array([0.01, 0.2, 0.4, 0.6, 0.7, 0.99])
    assert chosen_on_validation(labels, probabilities[::-1] if flipped else probabilities)["temperature"] is None


def test_a_saturated_classifier_without_an_error_has_no_temperature_either():
    assert chosen_on_validation(np.array([0, 0, 1, 1]), np.array([0.0, 0.0, 1.0, 1.0]))["temperature"] is None


def test_an_image_is_judged_at_the_operating_point_and_calibrated():
    point = {"name": "youden", "threshold": 0.8, "sensitivity": 1.0, "specificity": 1.0}
    classifier = Answering([0.9, 0.8, 0.5, 0.1], threshold=0.5, operating_point=point, temperature=2.0)
    found = judge(classifier, np.zeros((4, 8, 8), np.uint8))
    assert found.decisions.tolist() == [1, 1, 0, 0]
    assert found.threshold == 0.8
    # half of log 9 is log 3
    np.testing.assert_allclose(found.calibrated, [0.75, 1 / (1 + math.sqrt(0.2 / 0.8)), 0.5, 0.25], rtol=1e-12)


def test_an_older_classifier_decides_at_its_threshold_and_is_not_calibrated():
    found = judge(Answering([0.65, 0.55], threshold=0.6), np.zeros((2, 8, 8), np.uint8))
    assert found.decisions.tolist() == [1, 0]
    assert found.calibrated is None
    assert decision_threshold({"threshold": 0.6}) == 0.6
