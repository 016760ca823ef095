"""Does a generator hand out its training images? Copies, authenticity, a membership attack, and their controls.

All take features [n, d] (flattened pixels or a network's), training images, hold-out images of other subjects that
the generator never saw, and synthetic images. What is close is decided by the hold-out set, never by a fixed number.
"""

from typing import Any

import numpy as np

from mlproject.errors import UserError
from mlproject.evaluation.copies import COPY_RATIO, find_copies, nearer_look, plant_copies, real_distances
from mlproject.evaluation.distribution import require_features
from mlproject.evaluation.intervals import Interval, wilson_interval
from mlproject.evaluation.membership import attack_control, membership_attack, nearest

MINIMUM_SYNTHETIC = 50
MINIMUM_SUBJECTS = 10
ATTACK_BOUND = 0.55
PLANTED_SHARE = 0.01
PLANTED_NOISE = 0.01
RULE = (
    "failed: a synthetic image is a copy (its distance to the nearest training image is below {ratio:g} of that to the "
    "nearest hold-out image, and beyond what hold-out images show among themselves), or the membership attack's AUC is "
    "above chance by its lower bound and above {bound:g} by its upper bound. undecided: the attack's upper bound is "
    "above {bound:g}, its control is not at chance, or planted copies are missed. passed: otherwise"
)


def authenticity(distance: np.ndarray, train_index: np.ndarray, train_to_others: np.ndarray, level: float) -> Interval:
    """Share of images that are farther from their nearest training image than that is from other subjects' images.

    Alaa et al. 2022 (ICML), with neighbours of other subjects only. About one half for an independent sample, 0 for
    copies; smooth images are near to everything and lower it without any copying, so it is reported beside the same
    figure of the hold-out images and decides nothing.

    Args:
        distance: of each image to its nearest training image, [m].
        train_index: which one that is, [m].
        train_to_others: distance of each training image to the nearest one of another subject, [n].
        level: confidence level.
    """
    return wilson_interval(int((distance > train_to_others[train_index]).sum()), len(distance), level)


def _quantiles(values: np.ndarray) -> dict[str, float]:
    finite = values[np.isfinite(values)]
    return {name: float(np.quantile(finite, q)) for name, q in (("minimum", 0), ("p01", 0.01), ("median", 0.5))}


def privacy_audit(
    train: np.ndarray,
    train_subjects: np.ndarray,
    hold_out: np.ndarray,
    hold_out_subjects: np.ndarray,
    synthetic: np.ndarray,
    *,
    draws: int,
    level: float,
    seed: int,
    mirrored: np.ndarray | None = None,
    attack_bound: float = ATTACK_BOUND,
    pairs: int = 16,
) -> dict[str, Any]:
    """All of it, with a verdict, ready for JSON.

    Args:
        train: features of the training images, [n, d].
        train_subjects: [n].
        hold_out: features of other subjects' images, from the same source, [h, d].
        hold_out_subjects: [h].
        synthetic: features of synthetic images, [m, d].
        draws: bootstrap draws.
        level: confidence level; the attack's bounds are each one-sided at this level, its control's are two-sided.
        seed: of the bootstrap, the planted copies and the control's halves.
        mirrored: features of the same synthetic images, mirrored left to right, [m, d]: whoever looks for training
            images tries these as well, so they count as released.
        attack_bound: highest tolerated upper bound of the attack's AUC.
        pairs: closest pairs that are listed.

    Returns:
        `verdict` (passed, failed, undecided), `passed`, `reasons`, `rule`, `numbers`, `closest_pairs` (synthetic,
        training). The attack's control is `attack_control` of training and hold-out images.

    Raises:
        UserError: too few images or subjects, or a subject on both sides.
    """
    train, hold_out, synthetic = (
        np.asarray(array, dtype=np.float64).reshape(len(array), -1) for array in (train, hold_out, synthetic)
    )
    train_subjects, hold_out_subjects = np.asarray(train_subjects), np.asarray(hold_out_subjects)
    require_features("privacy audit", MINIMUM_SYNTHETIC, synthetic=synthetic)
    require_features("privacy audit", MINIMUM_SUBJECTS, train=train, hold_out=hold_out, synthetic=synthetic)
    for name, subjects in (("training", train_subjects), ("hold-out", hold_out_subjects)):
        if len(np.unique(subjects)) < MINIMUM_SUBJECTS:
            raise UserError(
                f"privacy audit: {len(np.unique(subjects))} {name} subjects; at least {MINIMUM_SUBJECTS} are needed"
            )
    shared = sorted(set(train_subjects.tolist()) & set(hold_out_subjects.tolist()))
    if shared:
        raise UserError(
            f"privacy audit: {len(shared)} subjects are in training and hold-out ({', '.join(map(str, shared[:3]))}); "
            "the hold-out set must be of other subjects"
        )
    looks = [synthetic]
    if mirrored is not None:
        looks.append(np.asarray(mirrored, dtype=np.float64).reshape(len(mirrored), -1))
    real = real_distances(train, hold_out, hold_out_subjects)
    seen = [find_copies(train, hold_out, real, look) for look in looks]
    found = nearer_look(seen)
    planted, where = plant_copies(synthetic, train, PLANTED_SHARE, seed, PLANTED_NOISE)
    planted_found = np.isin(where, find_copies(train, hold_out, real, planted).copies).sum()
    one_sided = 2 * level - 1  # both tails of an interval at this level hold 1 - level each
    options: dict[str, Any] = {"draws": draws, "level": one_sided, "seed": seed}
    released = np.concatenate(looks)
    attack = membership_attack(train, train_subjects, hold_out, hold_out_subjects, released, **options)
    control = attack_control(train, train_subjects, hold_out, hold_out_subjects, draws=draws, level=level, seed=seed)

    failed, undecided = [], []
    if len(found.copies):
        failed.append(f"{len(found.copies)} of {len(synthetic)} synthetic images are copies of training images")
    if attack.high > attack_bound:
        above = f"the attack's AUC is {attack.value:.3f}, its upper bound {attack.high:.3f} is above {attack_bound:g}"
        if attack.low > 0.5:
            failed.append(f"{above} and its lower bound {attack.low:.3f} above chance")
        else:
            undecided.append(f"{above}: more hold-out subjects would narrow it")
    if not control.low <= 0.5 <= control.high:
        undecided.append(
            f"the control's AUC is {control.value:.3f} [{control.low:.3f}, {control.high:.3f}]: training and hold-out "
            "images differ without any generator"
        )
    if planted_found < len(where):
        undecided.append(
            f"{planted_found} of {len(where)} planted copies were found: these features, or near-copies between "
            "training and hold-out, hide copies"
        )
    verdict = "failed" if failed else "undecided" if undecided else "passed"
    train_to_others, _ = nearest(train, train, train_subjects, train_subjects)
    synthetic_authenticity = authenticity(seen[0].to_train, seen[0].train_index, train_to_others, level)
    hold_out_authenticity = authenticity(real.to_train, real.train_index, train_to_others, level)
    return {
        "verdict": verdict,
        "passed": verdict == "passed",
        "reasons": failed + undecided,
        "rule": RULE.format(ratio=COPY_RATIO, bound=attack_bound),
        "numbers": {
            "synthetic": len(synthetic),
            "train": len(train),
            "hold_out": len(hold_out),
            "level": level,
            "copies": len(found.copies),
            "copy_threshold": found.threshold,
            "distance_synthetic_to_train": _quantiles(found.to_train),
            "distance_hold_out_to_train": _quantiles(real.to_train),
            "ratio_synthetic": _quantiles(found.ratio),
            "ratio_hold_out": _quantiles(real.ratio),
            "authenticity": vars(synthetic_authenticity),
            "authenticity_hold_out": vars(hold_out_authenticity),
            "attack_auc": vars(attack),
            "attack_auc_control": vars(control),
            "planted": len(where),
            "planted_found": int(planted_found),
        },
        "closest_pairs": found.closest_pairs(pairs),
    }
