"""An imbalanced training set filled up: as many images of the smaller class as of the larger."""

import dataclasses

import numpy as np

from mlproject.config import ClassifierConfig
from mlproject.data.crops import Crops
from mlproject.errors import UserError


def repeated_to_balance(crops: Crops) -> Crops:
    """The crops, then images of the smaller class again, in their order and as often as it takes.

    Returns:
        Crops with as many images of either class.

    Raises:
        UserError: a class has no image.
    """
    smaller, missing = _missing(crops)
    rows = np.flatnonzero(crops.labels == smaller)
    return crops.select(np.concatenate([np.arange(len(crops)), rows[np.arange(missing) % len(rows)]]))


def filled_with_synthetic(crops: Crops, pool: Crops) -> tuple[Crops, float]:
    """Synthetic images of the smaller class alone, and their share in a batch that makes both classes equal.

    With n and m < n real images of the classes the share is (n - m) / 2n: the rest of the batch, (n + m) / 2n of it,
    holds a normal real image n times in n + m, which is half of the batch.

    Raises:
        UserError: a class has no real image, or the smaller one no synthetic image.
    """
    smaller, missing = _missing(crops)
    chosen = pool.select(np.flatnonzero(pool.labels == smaller))
    if missing and not len(chosen):
        raise UserError("classifier.oversample: the synthetic images hold none of the smaller class; draw both classes")
    larger = int((crops.labels != smaller).sum())
    return chosen, missing / (2 * larger)


def balanced(
    real: Crops, synthetic: Crops | None, settings: ClassifierConfig
) -> tuple[Crops, Crops | None, ClassifierConfig]:
    """Training images and settings after `settings.oversample`.

    Raises:
        UserError: oversampling with a mix that it does not go with.
    """
    if settings.oversample == "none":
        return real, synthetic, settings
    needed = "real" if settings.oversample == "real" else "hybrid"
    if settings.mix != needed or (needed == "hybrid" and settings.mix_mode != "add"):
        added = "" if needed == "real" else " and mix_mode=add"
        raise UserError(
            f"classifier.oversample={settings.oversample} fills up real images, so it goes with mix={needed}{added}; "
            f"found mix={settings.mix} and mix_mode={settings.mix_mode}"
        )
    if settings.oversample == "real":
        return repeated_to_balance(real), synthetic, settings
    assert synthetic is not None
    chosen, share = filled_with_synthetic(real, synthetic)
    return real, chosen, dataclasses.replace(settings, synthetic_fraction=share)


def _missing(crops: Crops) -> tuple[int, int]:
    """The smaller class and how many images it lacks to be as large as the other."""
    counts = [int((crops.labels == label).sum()) for label in (0, 1)]
    if min(counts) == 0:
        raise UserError(f"classifier.oversample: training holds {counts[0]} normal and {counts[1]} anomalous images")
    smaller = 0 if counts[0] < counts[1] else 1
    return smaller, max(counts) - min(counts)
