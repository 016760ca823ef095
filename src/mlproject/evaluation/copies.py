"""Synthetic images that are too near to a training image: found, and planted to see that they would be found.

All take features [n, d] (flattened pixels or a network's). What is close is decided by a hold-out set of other
subjects, never by a fixed number.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from mlproject.evaluation.membership import distance_ratio, nearest

COPY_RATIO = 0.5
CONTROL_MARGIN = 2.5


@dataclass(frozen=True)
class Copies:
    """Nearest training images of the synthetic ones, and which are too near."""

    to_train: np.ndarray  # distance of each synthetic image to its nearest training image, [m]
    train_index: np.ndarray  # which one that is, [m]
    ratio: np.ndarray  # that distance over the distance to the nearest hold-out image, [m]
    threshold: float  # a synthetic image of a lower ratio is a copy
    copies: np.ndarray  # indices of synthetic images that are copies, nearest first

    def closest_pairs(self, count: int) -> list[tuple[int, int]]:
        """(synthetic, training) indices of the pairs of lowest ratio, for a gallery."""
        order = np.lexsort((self.to_train, self.ratio))[:count]
        return [(int(index), int(self.train_index[index])) for index in order]


@dataclass(frozen=True)
class RealDistances:
    """Distances among real images, the control of every look at synthetic ones."""

    to_train: np.ndarray  # distance of each hold-out image to its nearest training image, [h]
    train_index: np.ndarray  # which one that is, [h]
    ratio: np.ndarray  # that distance over the distance to the nearest hold-out image of another subject, [h]


def real_distances(train: np.ndarray, hold_out: np.ndarray, hold_out_subjects: np.ndarray) -> RealDistances:
    """Measure them: once for however many sets of synthetic images."""
    to_train, train_index = nearest(hold_out, train)
    others, _ = nearest(hold_out, hold_out, hold_out_subjects, hold_out_subjects)
    return RealDistances(to_train, train_index, distance_ratio(to_train, others))


def find_copies(train: np.ndarray, hold_out: np.ndarray, real: RealDistances, synthetic: np.ndarray) -> Copies:
    """Synthetic images nearer to a training image than independence explains.

    A synthetic image that knows nothing of the training set is about as near to it as to the hold-out set, however
    plain it is; a copy is not. Hold-out images are independent by construction, so the same ratio on them, each
    against hold-out images of other subjects, shows its spread. The threshold is the lower of `COPY_RATIO` and the
    control's lowest ratio to the power `CONTROL_MARGIN`: 2.5 times as far from 1, on a logarithmic scale, as any of the
    control. In many dimensions ratios stay near 1 and the first decides; in few the second does.

    Args:
        train: [n, d].
        hold_out: [h, d].
        real: `real_distances` of these two.
        synthetic: [m, d].
    """
    to_train, train_index = nearest(synthetic, train)
    ratio = distance_ratio(to_train, nearest(synthetic, hold_out)[0])
    threshold = float(min(COPY_RATIO, real.ratio.min() ** CONTROL_MARGIN))
    # distance 0 is a copy whatever the control says
    found = np.flatnonzero((ratio < threshold) | (ratio == 0))
    return Copies(to_train, train_index, ratio, threshold, found[np.argsort(ratio[found], kind="stable")])


def nearer_look(looks: list[Copies]) -> Copies:
    """Of several looks at the same synthetic images, such as mirrored, for each image the one nearest to training."""
    if len(looks) == 1:
        return looks[0]
    chosen, rows = np.argmin([look.ratio for look in looks], axis=0), np.arange(len(looks[0].ratio))
    to_train, train_index, ratio = (
        np.stack([getattr(look, name) for look in looks])[chosen, rows] for name in ("to_train", "train_index", "ratio")
    )
    copies = np.unique(np.concatenate([look.copies for look in looks]))
    return dataclasses.replace(
        looks[0],
        to_train=to_train,
        train_index=train_index,
        ratio=ratio,
        copies=copies[np.argsort(ratio[copies], kind="stable")],
    )


def plant_copies(
    synthetic: np.ndarray, train: np.ndarray, share: float, seed: int, noise: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """The positive control: synthetic images of which a share are training images.

    Args:
        synthetic: [m, d]; stays as it is.
        train: [n, d].
        share: of synthetic images that are replaced, at least one.
        seed: of the choice and the noise.
        noise: standard deviation of what is added to a copy, as a share of each feature's own.

    Returns:
        The changed copy of `synthetic`, and the indices of the planted ones.
    """
    generator = np.random.default_rng(seed)
    count = max(1, round(share * len(synthetic)))
    where = np.sort(generator.choice(len(synthetic), count, replace=False))
    planted = np.array(synthetic, dtype=np.float64)
    copies = np.asarray(train, dtype=np.float64)[generator.choice(len(train), count, replace=count > len(train))]
    planted[where] = copies + noise * train.std(axis=0) * generator.standard_normal(copies.shape)
    return planted, where
