"""A membership attack by distance, and its control: can released images tell who was in the training set?"""

import numpy as np

from mlproject.evaluation.intervals import Interval, auc_interval


def nearest(
    queries: np.ndarray,
    references: np.ndarray,
    query_subjects: np.ndarray | None = None,
    reference_subjects: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Euclidean distance to the nearest reference, [n], and its index, [n].

    With subjects of both, references of the query's own subject do not count; without any left, the distance is
    infinite.
    """
    # around a common centre, so that squares of large means do not swallow small distances
    centre = references.mean(axis=0, dtype=np.float64)
    queries, references = queries - centre, references - centre
    squares = (references**2).sum(axis=1)
    distances, indices = np.empty(len(queries)), np.empty(len(queries), dtype=np.int64)
    for start in range(0, len(queries), 512):
        part = queries[start : start + 512]
        # |q|² is the same for all references of a query and plays no part in the choice
        relative = squares - 2 * part @ references.T
        if query_subjects is not None and reference_subjects is not None:
            relative[query_subjects[start : start + 512, None] == reference_subjects] = np.inf
        chosen = relative.argmin(axis=1)
        exact = np.sqrt(((part - references[chosen]) ** 2).sum(axis=1))
        reachable = np.isfinite(relative[np.arange(len(part)), chosen])
        distances[start : start + 512] = np.where(reachable, exact, np.inf)
        indices[start : start + 512] = chosen
    return distances, indices


def distance_ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, where 0 / 0 is 1: a blank image that is in both sets tells nothing."""
    both_zero = (above == 0) & (below == 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(both_zero, 1.0, above / below)


def _first_half(subjects: np.ndarray, seed: int) -> np.ndarray:
    """A random half of the subjects, as a mask over images."""
    names, index = np.unique(subjects, return_inverse=True)
    return np.random.default_rng(seed).permuted(np.arange(len(names)) < len(names) // 2)[index]


def _attack_scores(candidates: np.ndarray, subjects: np.ndarray, released: np.ndarray) -> np.ndarray:
    distance, _ = nearest(candidates, released)
    usual, _ = nearest(candidates, candidates, subjects, subjects)
    # a zero distance to other subjects' images means duplicates; finite numbers keep the ranks defined
    return -np.nan_to_num(distance_ratio(distance, usual), posinf=np.finfo(float).max)


def membership_attack(
    members: np.ndarray,
    member_subjects: np.ndarray,
    others: np.ndarray,
    other_subjects: np.ndarray,
    released: np.ndarray,
    *,
    draws: int,
    level: float,
    seed: int,
) -> Interval:
    """AUC with which distances to the released images tell members from others; chance is 0.5.

    The attacker calls an image a member when a released image is near, measured against its nearest real image of
    another subject, so that plain images do not look like members (the calibration of Watson et al. 2022, ICLR). The
    interval is a bootstrap by subject.
    """
    candidates = np.concatenate([members, others])
    subjects = np.concatenate(
        [[f"member {name}" for name in member_subjects], [f"other {name}" for name in other_subjects]]
    )
    labels = np.repeat([1, 0], [len(members), len(others)])
    return auc_interval(labels, _attack_scores(candidates, subjects, released), subjects, draws, level, seed)


def attack_control(
    members: np.ndarray,
    member_subjects: np.ndarray,
    others: np.ndarray,
    other_subjects: np.ndarray,
    *,
    draws: int,
    level: float,
    seed: int,
) -> Interval:
    """The attack's AUC without any generator: at chance when members and others are alike but for their membership.

    One half of the others, by subject, takes the place of the released images, and the attack runs between members
    and the other half; then the halves change places. Each member is scored in one of the two runs, so that
    all scores are alike in kind and every subject counts once.
    """
    released_half, member_half = _first_half(other_subjects, seed), _first_half(member_subjects, seed + 1)
    labels, scores, subjects = [], [], []
    for released, scored in ((released_half, member_half), (~released_half, ~member_half)):
        names = [
            [f"member {name}" for name in member_subjects],
            [f"other {name}" for name in other_subjects[~released]],
        ]
        found = _attack_scores(np.concatenate([members, others[~released]]), np.concatenate(names), others[released])
        chosen = np.concatenate([scored, np.ones((~released).sum(), dtype=bool)])
        scores.append(found[chosen])
        labels.append(np.repeat([1, 0], [len(members), (~released).sum()])[chosen])
        subjects.append(np.concatenate(names)[chosen])
    return auc_interval(np.concatenate(labels), np.concatenate(scores), np.concatenate(subjects), draws, level, seed)
