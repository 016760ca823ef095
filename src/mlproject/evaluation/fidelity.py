"""Class fidelity: is a synthetic image of the class that was asked for, in the eyes of an independent judge?

The judge is a classifier trained on real subjects that the generator never saw. Its figures on real images stand
beside those on synthetic ones: they are the ceiling.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import pairwise_distances

from mlproject.data.checks import CLASS_NAMES
from mlproject.errors import UserError
from mlproject.evaluation.intervals import Interval, auc_score_interval, wilson_interval
from mlproject.evaluation.metrics import binary_metrics, check_predictions

MINIMUM_N = 20
# a class that the judge sees this much less often than on real images is not a class worth training on
RECALL_MARGIN = 0.25
# share of the real images' own spread below which a class counts as collapsed, or as a few modes repeated
COLLAPSE_RATIO = 0.5
MODES_RATIO = 0.25
CONDITIONING_KINDS = ("conditioning_ignored", "class_lost")
DIVERSITY_KINDS = ("class_collapsed", "few_modes")
_COMPARED = 500  # images of each set in pairwise distances


@dataclass(frozen=True)
class ClassFidelity:
    """What the judge says of images whose class is known or was asked for."""

    recall: dict[str, Interval]  # by class: share of its images that the judge puts there
    auc: Interval  # of the judge's probability against the class asked for
    counts: dict[str, int]  # images of each class


@dataclass(frozen=True)
class Diversity:
    """Spread of synthetic images of one class over that of as many real ones; 1 is the same, 0 is one image."""

    pairwise_ratio: float  # of the median distances between any two images
    neighbour_ratio: float  # of the median distances to the nearest other image


@dataclass(frozen=True)
class Alarm:
    """A reason not to train on synthetic images: `kind` for a tag, `text` for people."""

    kind: str  # of CONDITIONING_KINDS or DIVERSITY_KINDS
    class_name: str  # "" when it concerns all
    text: str


def class_fidelity(
    asked_labels: np.ndarray,
    judge_probabilities: np.ndarray,
    threshold: float,
    *,
    level: float,
    class_names: tuple[str, str] = CLASS_NAMES,
    minimum_n: int = MINIMUM_N,
) -> ClassFidelity:
    """Recall of each class with Wilson intervals, and the AUC with a score interval, every image being one trial.

    Args:
        asked_labels: class asked for (on real images: the label), 0 or 1, [n].
        judge_probabilities: of class 1, in [0, 1], [n].
        threshold: the judge calls an image class 1 when its probability is at least this.
        level: confidence level.
        class_names: of labels 0 and 1.
        minimum_n: fewest images of each class.

    Raises:
        UserError: fewer than `minimum_n` images of a class; see also `check_predictions`.
    """
    labels, probabilities = check_predictions(asked_labels, judge_probabilities)
    counts = {name: int((labels == label).sum()) for label, name in enumerate(class_names)}
    scarce = [f"{count} of {name}" for name, count in counts.items() if count < minimum_n]
    if scarce:
        raise UserError(f"{' and '.join(scarce)} images; at least {minimum_n} of each are needed for class fidelity")
    called = probabilities >= threshold
    recall = {
        name: wilson_interval(int((called[labels == label] == label).sum()), counts[name], level)
        for label, name in enumerate(class_names)
    }
    auc = binary_metrics(labels, probabilities, threshold)["auc"]
    return ClassFidelity(
        recall, auc_score_interval(auc, int((labels == 1).sum()), int((labels == 0).sum()), level), counts
    )


def conditioning_alarms(synthetic: ClassFidelity, real: ClassFidelity | None = None) -> list[Alarm]:
    """Alarms for a generator that ignores, swaps or loses the class asked for.

    `conditioning_ignored`: the interval of the AUC reaches down to 0.5. `class_lost`: the judge's recall of a class,
    by the upper bound, is below one half, or more than `RECALL_MARGIN` below the judge's recall on real images.
    """
    alarms = []
    if synthetic.auc.low <= 0.5:
        auc = synthetic.auc
        how = "swaps the classes" if auc.high < 0.5 else "ignores the class asked for"
        text = f"the generator {how}: the judge's AUC on it is {auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]"
        alarms.append(Alarm("conditioning_ignored", "", text))
    for name, recall in synthetic.recall.items():
        needed = 0.5 if real is None else max(0.5, real.recall[name].value - RECALL_MARGIN)
        # a judge that does not know a class on real images says nothing about synthetic ones
        if real is not None and real.recall[name].value < 0.5:
            continue
        if recall.high < needed:
            beside = "" if real is None else f", on real images {real.recall[name].value:.2f}"
            text = (
                f"class {name} is lost: the judge finds {recall.value:.2f} [{recall.low:.2f}, {recall.high:.2f}] "
                f"of its images there{beside}"
            )
            alarms.append(Alarm("class_lost", name, text))
    return alarms


def _spreads(features: np.ndarray) -> tuple[float, float]:
    distances = pairwise_distances(features)
    np.fill_diagonal(distances, np.inf)
    return float(np.median(distances[np.isfinite(distances)])), float(np.median(distances.min(axis=1)))


def diversity(real: np.ndarray, synthetic: np.ndarray, *, seed: int, minimum_n: int = MINIMUM_N) -> Diversity:
    """How varied synthetic images of one class are, beside as many real images of that class.

    Args:
        real: features or flattened pixels of real images, one for each subject at best, [n, d].
        synthetic: the same of synthetic images, [m, d].
        seed: of the choice of at most 500 images of each, the same number of both.
        minimum_n: fewest images of each set.

    Raises:
        UserError: fewer than `minimum_n` images.
    """
    size = min(len(real), len(synthetic), _COMPARED)
    if size < minimum_n:
        raise UserError(
            f"diversity: {len(real)} real and {len(synthetic)} synthetic images; at least {minimum_n} are needed"
        )
    generator = np.random.default_rng(seed)
    chosen = [
        features[generator.choice(len(features), size, replace=False)].reshape(size, -1).astype(np.float64)
        for features in (real, synthetic)
    ]
    (real_pairs, real_neighbours), (pairs, neighbours) = _spreads(chosen[0]), _spreads(chosen[1])
    if real_pairs == 0 or real_neighbours == 0:
        raise UserError("diversity: half of the real images are copies of one another; remove the duplicates")
    return Diversity(pairs / real_pairs, neighbours / real_neighbours)


def diversity_alarms(by_class: dict[str, Diversity]) -> list[Alarm]:
    """`class_collapsed`: images of a class hardly differ. `few_modes`: they differ, but each has a near twin."""
    alarms = []
    for name, found in by_class.items():
        if found.pairwise_ratio < COLLAPSE_RATIO:
            text = (
                f"class {name} has collapsed: its images differ {found.pairwise_ratio:.2f} times as much as real ones"
            )
            alarms.append(Alarm("class_collapsed", name, text))
        elif found.neighbour_ratio < MODES_RATIO:
            text = (
                f"class {name} repeats a few images: the nearest other image is at {found.neighbour_ratio:.2f} of the "
                "distance among real ones"
            )
            alarms.append(Alarm("few_modes", name, text))
    return alarms
