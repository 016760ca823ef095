"""The cheap figures of a generator, taken while it trains: seconds, no judge, validation images only."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlproject.data.checks import CLASS_NAMES
from mlproject.evaluation.distribution import MINIMUM_N, kernel_distance


def quick_fidelity(
    real: np.ndarray, real_labels: np.ndarray, synthetic: np.ndarray, synthetic_labels: np.ndarray
) -> dict[str, float]:
    """KID of each class and their mean, and the AUC on real features of a linear model fitted to synthetic ones.

    The mean of the classes' KIDs falls when texture and anatomy come right and when each class gets its own look; a
    KID of all images together would not notice a generator that ignores the class.

    Args:
        real: features of validation images, [n, d].
        real_labels: 0 or 1, [n].
        synthetic: features of synthetic images, [m, d].
        synthetic_labels: the class asked for, [m].

    Returns:
        `quick.kid_normal`, `quick.kid_anomalous`, `quick.kid` (their mean) and `quick.tstr_auc`. {} when a class has
        fewer real or synthetic images than a KID takes.
    """
    counts = [int((labels == label).sum()) for labels in (real_labels, synthetic_labels) for label in (0, 1)]
    if min(counts) < MINIMUM_N:
        return {}
    found = {
        f"quick.kid_{name}": kernel_distance(
            real[real_labels == label], synthetic[synthetic_labels == label], level=0.95, seed=0, halves=2
        ).value
        for label, name in enumerate(CLASS_NAMES)
    }
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    model.fit(synthetic, synthetic_labels)
    return found | {
        "quick.kid": float(np.mean(list(found.values()))),
        "quick.tstr_auc": float(roc_auc_score(real_labels, model.decision_function(real))),
    }
