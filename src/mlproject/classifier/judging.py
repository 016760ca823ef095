"""What a classifier says of an image: probability, calibrated probability and decision, the same wherever it is asked.

Both the temperature and the operating point are chosen on validation when the classifier is trained, and stored in
classifier.json. Serving and predict decide at the operating point; the metrics of runs and reports keep
`evaluation.threshold`, which is the same for every classifier and so compares them.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlproject.classifier.inference import Classifier
from mlproject.evaluation.calibration import TEMPERATURE_RANGE, apply_temperature, fit_temperature, logits_of
from mlproject.evaluation.operating_point import youden_point

# a temperature this near to an end of its range was not found: the likelihood rose all the way there
_NEAR_AN_END = 1.1


@dataclass(frozen=True)
class Judgements:
    """Row for row what a classifier says of n crops.

    Attributes:
        probabilities: of the anomalous class, as the network gives it, float64 [n].
        calibrated: the same at the classifier's temperature, float64 [n]; None for a classifier without one.
        decisions: 0 or 1, int64 [n]: whether the probability is at least `threshold`.
        threshold: of the decision, on `probabilities`.
    """

    probabilities: np.ndarray
    calibrated: np.ndarray | None
    decisions: np.ndarray
    threshold: float


def chosen_on_validation(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """`temperature` and `operating_point` of classifier.json.

    Args:
        labels: 0 or 1, [n]; both classes are present. Validation images.
        probabilities: of class 1, [n].

    Returns:
        temperature: None where validation determines none, because the classifier parts its classes without an error
            or finds them no better than the wrong way round; then there is no calibrated probability.
        operating_point: name, threshold, sensitivity and specificity of Youden's point on validation, which flatter
            what the threshold reaches on other images.
    """
    temperature = fit_temperature(labels, logits_of(probabilities))
    low, high = TEMPERATURE_RANGE
    found = low * _NEAR_AN_END < temperature < high / _NEAR_AN_END
    return {
        "temperature": temperature if found else None,
        "operating_point": dataclasses.asdict(youden_point(labels, probabilities)),
    }


def decision_threshold(meta: Mapping[str, Any]) -> float:
    """The threshold that decisions are made at: the operating point, or what an older classifier has in its place."""
    return float(meta.get("operating_point", meta)["threshold"])


def judge(classifier: Classifier, crops: np.ndarray) -> Judgements:
    """Ask a classifier about uint8 crops [n, size, size]; raises as `Classifier.probabilities`."""
    probabilities = classifier.probabilities(crops)
    threshold, temperature = decision_threshold(classifier.meta), classifier.meta.get("temperature")
    calibrated = None if temperature is None else apply_temperature(logits_of(probabilities), float(temperature))
    return Judgements(probabilities, calibrated, (probabilities >= threshold).astype(np.int64), threshold)
