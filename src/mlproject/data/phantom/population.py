"""Who is scanned: crown-rump length, nuchal thickness and the label that the population's 95th centile gives.

A phantom, NOT clinical: prevalence is enriched and anomalous thicknesses are deliberately borderline.
"""

import dataclasses
import math
from dataclasses import dataclass

from mlproject.data.phantom.sites import find_site
from mlproject.data.phantom.streams import Stream, generator
from mlproject.errors import UserError

CRL_RANGE_MM = (45.0, 84.0)
THICKNESS_RANGE_MM = (0.6, 7.5)
MEASUREMENT_SD_MM = 0.20  # 95 % repeatability 0.54 mm = 1.96 * sqrt(2) * SD (Pandya 1995)
ENLARGED_MEDIAN_MM, ENLARGED_LOG10_SD = 2.9, 0.15
SEPTUM_FROM_MM, SEPTUM_PROBABILITY = 3.5, 0.30


def median_mm(crl_mm: float) -> float:
    """Median thickness at a crown-rump length: 1.2 mm at 45 mm to 1.9 mm at 84 mm, linear (PMID 16363364)."""
    return 1.2 + 0.7 * (crl_mm - 45.0) / 39.0


def centile_95_mm(crl_mm: float) -> float:
    """95th centile of thickness: 2.1 mm at 45 mm to 2.7 mm at 84 mm, linear (PMID 16363364)."""
    return 2.1 + 0.6 * (crl_mm - 45.0) / 39.0


@dataclass(frozen=True)
class Subject:
    """One fetus. `label` is 1 exactly when the measured thickness reaches the 95th centile for its length."""

    index: int
    site: str
    label: int
    crl_mm: float
    thickness_mm: float
    measured_mm: float
    q95_mm: float
    septum_prone: bool

    @property
    def septum(self) -> bool:
        """A septum shows when the subject is prone to one and the band is thick enough to hold it."""
        return self.septum_prone and self.thickness_mm >= SEPTUM_FROM_MM

    def with_thickness(self, thickness_mm: float) -> "Subject":
        """The same subject, with the same error of measurement, had its thickness been another.

        Raises:
            ValueError: `thickness_mm` lies outside 0.6 to 7.5 mm.
        """
        low, high = THICKNESS_RANGE_MM
        if not low <= thickness_mm <= high:
            raise ValueError(f"thickness_mm must lie in [{low}, {high}], got {thickness_mm}")
        measured = thickness_mm + self.measured_mm - self.thickness_mm
        return dataclasses.replace(
            self, thickness_mm=thickness_mm, measured_mm=measured, label=int(measured >= self.q95_mm)
        )


def draw_subjects(
    seed: int, n: int, sites: tuple[str, ...] = ("A", "B"), prevalence: float = 0.5, first_index: int = 0
) -> list[Subject]:
    """Subjects `first_index` to `first_index + n - 1`.

    A subject depends on the seed, its index, `sites` and `prevalence` alone, so a shorter list is the start of a
    longer one. Sites are drawn by their shares (A 60 %, B 40 %).

    Raises:
        UserError: no site or an unknown one, a prevalence outside [0, 1], or a negative count.
    """
    if n < 0 or first_index < 0:
        raise UserError(f"phantom: n and first_index must not be negative, got {n} and {first_index}")
    if not 0.0 <= prevalence <= 1.0:
        raise UserError(f"phantom: prevalence must lie in [0, 1], got {prevalence}")
    if not sites:
        raise UserError("phantom: name at least one site")
    shares = [find_site(name).share for name in sites]
    cumulative = [sum(shares[: i + 1]) / sum(shares) for i in range(len(shares))]
    return [_draw_subject(seed, index, sites, cumulative, prevalence) for index in range(first_index, first_index + n)]


def _draw_subject(seed: int, index: int, sites: tuple[str, ...], cumulative: list[float], prevalence: float) -> Subject:
    """The label comes first; then thickness and measurement are drawn until the measurement agrees with it.

    So the label says nothing of length, site or nuisance, and label noise is confined to the threshold's zone.
    """
    place = generator(seed, Stream.SITE, index).random()
    site = next((name for name, upper in zip(sites, cumulative, strict=True) if place < upper), sites[-1])
    rng = generator(seed, Stream.THICKNESS, index)
    label = int(rng.random() < prevalence)
    crl_mm = rng.uniform(*CRL_RANGE_MM)
    septum_prone = bool(rng.random() < SEPTUM_PROBABILITY)
    q95_mm = centile_95_mm(crl_mm)
    spread = math.log10(q95_mm / median_mm(crl_mm)) / 1.645
    while True:
        if rng.random() < 0.5:
            thickness_mm = 10.0 ** rng.normal(math.log10(median_mm(crl_mm)), spread)
        else:
            thickness_mm = 10.0 ** rng.normal(math.log10(ENLARGED_MEDIAN_MM), ENLARGED_LOG10_SD)
        measured_mm = thickness_mm + rng.normal(0.0, MEASUREMENT_SD_MM)
        plausible = THICKNESS_RANGE_MM[0] <= thickness_mm <= THICKNESS_RANGE_MM[1]
        if plausible and (measured_mm >= q95_mm) == bool(label):
            return Subject(index, site, label, crl_mm, thickness_mm, measured_mm, q95_mm, septum_prone)
