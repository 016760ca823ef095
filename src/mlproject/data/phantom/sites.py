"""Acquisition profiles of the three sites: two that training may see, and C, which tests a shift."""

from dataclasses import dataclass

import numpy as np

from mlproject.errors import UserError

SPEED_OF_SOUND_MM_PER_US = 1.54


@dataclass(frozen=True)
class Site:
    """One machine and its preset.

    `share` weighs the site in a draw; `cycles` are wavelengths in a pulse; `looks` are averaged envelopes (spatial
    compounding); `gamma` bends the grey map; `haze_db` is the level of clutter over mean tissue; `unsharp` weighs the
    edge enhancement, 0 for none. Ranges are intervals from which each frame draws.
    """

    name: str
    share: float
    frequency_mhz: float
    f_number: float
    cycles: float
    looks: int
    dynamic_range_db: float
    gamma: float
    spacing_mm: tuple[float, float]
    haze_db: tuple[float, float]
    unsharp: float

    @property
    def wavelength_mm(self) -> float:
        return SPEED_OF_SOUND_MM_PER_US / self.frequency_mhz

    @property
    def axial_fwhm_mm(self) -> float:
        """Axial resolution: half the length of a pulse of `cycles` wavelengths."""
        return self.cycles * self.wavelength_mm / 2

    @property
    def lateral_fwhm_mm(self) -> float:
        """Lateral resolution at the focus: wavelength times f-number."""
        return self.wavelength_mm * self.f_number


SITES = {
    site.name: site
    for site in (
        Site("A", 0.6, 6.0, 2.6, 2.0, 1, 60.0, 1.00, (0.105, 0.135), (-38.0, -20.0), 0.0),
        Site("B", 0.4, 5.0, 2.8, 2.0, 2, 68.0, 0.90, (0.115, 0.150), (-36.0, -20.0), 0.0),
        Site("C", 1.0, 7.5, 2.4, 1.8, 1, 56.0, 1.10, (0.090, 0.115), (-40.0, -27.0), 0.5),
    )
}


@dataclass(frozen=True)
class Acquisition:
    """The settings of one frame.

    `attenuation_db_per_cm` is two-way, in tissue; `compensation` is the share of it that the machine's time-gain
    compensation assumes everywhere; `focus_row`, `haze_centre` and `haze_width` (an SD) are fractions of the frame's
    height; `defocus` is the greatest width of the beam over that at its focus; `shadows` holds (centre as a fraction of
    the width, SD in mm, depth in dB, first row as a fraction of the height).
    """

    spacing_mm: float
    gain_db: float
    dynamic_range_db: float
    gamma: float
    haze_db: float
    haze_centre: float
    haze_width: float
    attenuation_db_per_cm: float
    compensation: float
    bone_db_per_cm: float
    gain_slope_db_per_cm: float
    focus_row: float
    defocus: float
    shadows: tuple[tuple[float, float, float, float], ...]


def draw_acquisition(rng: np.random.Generator, site: Site) -> Acquisition:
    """Draw the settings of a frame; none of them depends on the subject's thickness or label."""
    return Acquisition(
        spacing_mm=rng.uniform(*site.spacing_mm),
        gain_db=rng.normal(-3.0, 4.0),
        dynamic_range_db=site.dynamic_range_db * rng.uniform(0.93, 1.07),
        gamma=site.gamma * rng.uniform(0.93, 1.07),
        haze_db=rng.uniform(*site.haze_db),
        haze_centre=rng.uniform(0.1, 0.9),
        haze_width=rng.uniform(0.25, 0.6),
        attenuation_db_per_cm=2.0 * rng.uniform(0.45, 0.75) * site.frequency_mhz,
        compensation=rng.uniform(0.55, 0.85),
        bone_db_per_cm=rng.uniform(8.0, 25.0),
        gain_slope_db_per_cm=rng.uniform(-0.8, 0.8),
        focus_row=0.5 + rng.uniform(-0.4, 0.4) / 2,
        defocus=rng.uniform(1.0, 1.5),
        shadows=tuple(
            (rng.uniform(0.0, 1.0), rng.uniform(0.8, 2.8), rng.uniform(3.0, 12.0), rng.uniform(0.0, 0.5))
            for _ in range(rng.integers(0, 3))
        ),
    )


def find_site(name: str) -> Site:
    """The profile called `name`.

    Raises:
        UserError: there is no such site.
    """
    if name not in SITES:
        raise UserError(f"phantom: no site {name!r}; choose from {', '.join(SITES)}")
    return SITES[name]
