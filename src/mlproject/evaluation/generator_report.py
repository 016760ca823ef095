"""Every figure of a generator's images, for all and for each class, each beside the same figure between real sets.

A figure that cannot be taken (too few images, more features than images) says why in place of a number.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlproject.data.checks import CLASS_NAMES
from mlproject.errors import UserError
from mlproject.evaluation.distribution import (
    MINIMUM_N,
    frechet_distance,
    kernel_distance,
    precision_recall_density_coverage,
    real_halves,
    real_or_synthetic_auc,
)
from mlproject.evaluation.intervals import Interval
from mlproject.evaluation.texture import grey_histogram_distance, radial_spectrum_distance, speckle_lengths

# a logistic regression on more images of each kind takes long and learns little more
_TOLD_APART = 500
GROUPS = ("all", *CLASS_NAMES)


@dataclass(frozen=True)
class Sample:
    """Images of one kind: uint8 [n, size, size], features [n, d], labels [n], subjects [n] (synthetic: one each).

    `features` are those of the primary feature space.
    """

    images: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def select(self, rows: np.ndarray) -> "Sample":
        """The rows of a mask or an index array."""
        return Sample(self.images[rows], self.features[rows], self.labels[rows], self.subjects[rows])

    def seen_as(self, features: np.ndarray) -> "Sample":
        """The same images with the features of another space."""
        return Sample(self.images, features, self.labels, self.subjects)

    def of_class(self, group: str) -> "Sample":
        """The images of `normal` or `anomalous`; `all` of them."""
        return self if group == "all" else self.select(self.labels == GROUPS.index(group) - 1)


@dataclass(frozen=True)
class Settings:
    """What every figure needs: confidence level, bootstrap draws, seed, and the number of real-against-real pairs."""

    level: float
    draws: int
    seed: int
    repeats: int


Figure = Callable[[Sample, Sample, Settings], dict[str, Interval]]


def _kid(real: Sample, synthetic: Sample, settings: Settings) -> dict[str, Interval]:
    options: dict[str, Any] = {"level": settings.level, "seed": settings.seed, "real_subjects": real.subjects}
    return {"kid": kernel_distance(real.features, synthetic.features, **options)}


def _frechet(real: Sample, synthetic: Sample, settings: Settings) -> dict[str, Interval]:
    # no interval: resampling adds to its bias, see frechet_distance
    value = frechet_distance(real.features, synthetic.features)
    return {"frechet": Interval(value, np.nan, np.nan)}


def _neighbourhoods(real: Sample, synthetic: Sample, settings: Settings) -> dict[str, Interval]:
    return precision_recall_density_coverage(
        real.features, synthetic.features, level=settings.level, seed=settings.seed
    )


def _told_apart(real: Sample, synthetic: Sample, settings: Settings) -> dict[str, Interval]:
    generator = np.random.default_rng(settings.seed)
    real, synthetic = (sample.select(generator.permutation(len(sample))[:_TOLD_APART]) for sample in (real, synthetic))
    found = real_or_synthetic_auc(
        real.features,
        real.subjects,
        synthetic.features,
        draws=settings.draws,
        level=settings.level,
        seed=settings.seed,
    )
    return {"real_or_synthetic_auc": found}


def _grey(real: Sample, synthetic: Sample, settings: Settings) -> dict[str, Interval]:
    options: dict[str, Any] = {"level": settings.level, "seed": settings.seed}
    return {
        "grey_histogram_distance": grey_histogram_distance(real.images, real.subjects, synthetic.images, **options),
        "radial_spectrum_distance_db": radial_spectrum_distance(
            real.images, real.subjects, synthetic.images, **options
        ),
    }


def _speckle(real: Sample, synthetic: Sample, settings: Settings) -> dict[str, Interval]:
    """Lengths as a ratio to the real ones; the interval is that of the synthetic length over the real value."""
    options: dict[str, Any] = {"draws": settings.draws, "level": settings.level, "seed": settings.seed}
    beside = speckle_lengths(real.images, real.subjects, **options)
    found = speckle_lengths(synthetic.images, synthetic.subjects, **options)
    ratios = {}
    for name, length in found.items():
        one = beside[name].value
        ratios[f"speckle_{name.removesuffix('_px')}_ratio"] = Interval(
            length.value / one, length.low / one, length.high / one
        )
    return ratios


# of features: taken in every feature space
FEATURE_FIGURES: dict[str, Figure] = {
    "KID": _kid,
    "Fréchet distance": _frechet,
    "precision to coverage": _neighbourhoods,
    "real or synthetic": _told_apart,
}
# of pixels
IMAGE_FIGURES: dict[str, Figure] = {"grey levels": _grey, "speckle": _speckle}
IMAGES = "images"  # stands for a feature space where pixels are measured


def with_floor(
    figure: Figure, real: Sample, synthetic: Sample, pool: Sample, train: Sample, settings: Settings
) -> dict[str, dict[str, Any]]:
    """A figure, and the same one between sets of real images of different subjects at the same n.

    Args:
        real: real images that the generator never saw.
        synthetic: its images.
        pool: real images for the floor; may be or contain `real`.
        train: the generator's training images. In place of the synthetic ones they give what a perfect copy of the
            training set would: the floor of whoever knows no more than these subjects.

    Returns:
        {name: {value, low, high, n, floor: {value (mean), low, high (lowest and highest), n}, training:
        {value, low, high, n}}};
        without bounds they are None, with too few training images `training` is.

    Raises:
        UserError: too few images.
    """
    n = min(len(real), len(synthetic))
    if n < MINIMUM_N:
        raise UserError(
            f"{len(real)} real and {len(synthetic)} synthetic images; at least {MINIMUM_N} of each are needed"
        )
    generator = np.random.default_rng(settings.seed)
    chosen = [sample.select(np.sort(generator.permutation(len(sample))[:n])) for sample in (real, synthetic)]
    found = figure(chosen[0], chosen[1], settings)
    pairs = real_halves(pool.subjects, n, repeats=settings.repeats, seed=settings.seed, minimum_n=MINIMUM_N)
    floors = [figure(pool.select(first), pool.select(second), settings) for first, second in pairs]
    try:
        known = figure(chosen[0], train.select(np.sort(generator.permutation(len(train))[:n])), settings)
    except UserError:
        known = {}
    report = {}
    for name, interval in found.items():
        values = [floor[name].value for floor in floors]
        bounds = {"value": float(np.mean(values)), "low": min(values), "high": max(values), "n": len(pairs[0][0])}
        training = {**as_json(known[name]), "n": min(n, len(train))} if name in known else None
        report[name] = {**as_json(interval), "n": n, "floor": bounds, "training": training}
    return report


def as_json(interval: Interval) -> dict[str, float | None]:
    """value, low, high; None where there is no bound."""
    return {name: None if np.isnan(value) else float(value) for name, value in vars(interval).items()}


def generator_report(
    real: Sample, synthetic: Sample, pool: Sample, train: Sample, settings: Settings, figures: Mapping[str, Figure]
) -> dict[str, dict[str, Any]]:
    """Every figure for all images and for each class: {group: {name: as `with_floor`, or {"refused": why}}}."""
    report: dict[str, dict[str, Any]] = {}
    for group in GROUPS:
        report[group] = {}
        for title, figure in figures.items():
            try:
                report[group] |= with_floor(
                    figure,
                    real.of_class(group),
                    synthetic.of_class(group),
                    pool.of_class(group),
                    train.of_class(group),
                    settings,
                )
            except UserError as error:
                report[group][title] = {"refused": str(error)}
    return report


def report_text(report: Mapping[str, Mapping[str, Any]]) -> str:
    """The report as a table: a row for each figure, a column for each group, behind it the values of
    real images of other subjects and of the generator's training images."""
    names = list(dict.fromkeys(name for group in report.values() for name in group))
    lines = [f"{'figure':28}" + "".join(f"{group:>44}" for group in report)]
    for name in names:
        cells = []
        for group in report.values():
            found = group.get(name, {"refused": ""})
            if "refused" in found:
                cells.append("too few images")
                continue
            bounds = "" if found["low"] is None else f" [{found['low']:.4g}, {found['high']:.4g}]"
            known = found["training"]
            beside = "" if known is None else f", {known['value']:.3g}"
            cells.append(f"{found['value']:.4g}{bounds} ({found['floor']['value']:.3g}{beside})")
        lines.append(f"{name:28}" + "".join(f"{cell:>44}" for cell in cells))
    return "\n".join(lines)
