"""Ultrasound statistics of images: grey levels, speckle size, power over spatial frequency.

Rows are depth (axial, along the beam), columns are lateral. Images are uint8 [n, height, width].
"""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.stats import norm, wasserstein_distance

from mlproject.errors import UserError
from mlproject.evaluation.intervals import Interval, bootstrap_weights, half_samples, percentile_bounds

# structures wider than this are anatomy, not speckle
HIGH_PASS_SIGMA_PX = 4.0
MINIMUM_N = 20


def _require(what: str, images: np.ndarray, minimum_n: int) -> np.ndarray:
    images = np.asarray(images)
    if images.ndim != 3 or len(images) < minimum_n:
        raise UserError(
            f"{what}: images of shape {images.shape}; expected [n, height, width] with at least {minimum_n} images"
        )
    return images


def half_sample_interval(
    distance: Callable[[np.ndarray, np.ndarray], float],
    real_rows: np.ndarray,
    real_subjects: np.ndarray,
    synthetic_rows: np.ndarray,
    *,
    level: float,
    seed: int,
    halves: int = 200,
) -> Interval:
    """A distance of the mean rows of two sets, with an interval from half-samples of both.

    The value is that of all images; the margin is z standard deviations over random halves (the delete-half jackknife,
    whose variance needs no factor), real halves being of whole subjects. Such a distance is above 0 by chance alone:
    its floor between real sets says by how much.

    Args:
        distance: of two mean rows [d].
        real_rows, synthetic_rows: one row for each image, [n, d] and [m, d].
        real_subjects: [n].
        level: confidence level.
        seed: of the halves.
    """
    generator = np.random.default_rng(seed)
    value = distance(real_rows.mean(axis=0), synthetic_rows.mean(axis=0))
    drawn = []
    for first, second in zip(
        half_samples(real_subjects, halves, generator),
        half_samples(np.arange(len(synthetic_rows)), halves, generator),
        strict=True,
    ):
        drawn.append(distance(first @ real_rows / first.sum(), second @ synthetic_rows / second.sum()))
    margin = float(norm.ppf(0.5 + level / 2) * np.std(drawn, ddof=1))
    return Interval(value, value - margin, value + margin)


def grey_histograms(images: np.ndarray) -> np.ndarray:
    """Share of each grey level in each image, float64 [n, 256]."""
    flat = images.reshape(len(images), -1)
    counts = np.stack([np.bincount(row, minlength=256) for row in flat])
    return counts / flat.shape[1]


def _histogram_distance(first: np.ndarray, second: np.ndarray) -> float:
    levels = np.arange(256)
    return float(wasserstein_distance(levels, levels, first, second))


def grey_histogram_distance(
    real: np.ndarray,
    real_subjects: np.ndarray,
    synthetic: np.ndarray,
    *,
    level: float,
    seed: int,
    minimum_n: int = MINIMUM_N,
) -> Interval:
    """Wasserstein distance of the grey level distributions, in grey levels (0 to 255).

    It is the mean number of levels by which grey has to move to turn one histogram into the other.

    Raises:
        UserError: fewer than `minimum_n` images.
    """
    rows = [grey_histograms(_require("grey histogram", images, minimum_n)) for images in (real, synthetic)]
    return half_sample_interval(_histogram_distance, rows[0], real_subjects, rows[1], level=level, seed=seed)


def speckle_profiles(
    images: np.ndarray, high_pass_sigma_px: float = HIGH_PASS_SIGMA_PX
) -> tuple[np.ndarray, np.ndarray]:
    """Axial and lateral autocorrelation of each image's fine structure, [n, height // 2] and [n, width // 2].

    Along the axis that is measured, an image minus its Gaussian blur is correlated with itself; each lag is divided by
    the number of pairs that it has, and by the value at lag 0. The blur runs along that axis alone: membranes lie
    across the beam, thin in depth and long sideways, and would pass a blur in both directions and count as wide
    speckle. An image without fine structure gives NaN.
    """
    profiles = []
    for axis in (1, 2):
        length = images.shape[axis]
        fine = images.astype(np.float64)
        fine -= gaussian_filter1d(fine, high_pass_sigma_px, axis=axis, mode="reflect")
        fine -= fine.mean(axis=axis, keepdims=True)
        # zero padding to twice the length keeps the ends from meeting
        power = np.abs(np.fft.rfft(fine, n=2 * length, axis=axis)) ** 2
        lags = np.fft.irfft(power, n=2 * length, axis=axis).mean(axis=3 - axis)[:, : length // 2]
        lags /= length - np.arange(length // 2)
        variance = lags[:, :1]
        profiles.append(np.divide(lags, variance, out=np.full_like(lags, np.nan), where=variance > 1e-6))
    return profiles[0], profiles[1]


def full_width_at_half_maximum(profile: np.ndarray) -> float:
    """Twice the lag at which a profile from lag 0 first falls to half of its first value, between lags linearly.

    A profile that never falls so far has the full width of its range, 2 (lags - 1).
    """
    half = profile[0] / 2
    below = np.flatnonzero(profile <= half)
    if not len(below):
        return 2.0 * (len(profile) - 1)
    after = int(below[0])
    before = after - 1
    return 2 * float(before + (profile[before] - half) / (profile[before] - profile[after]))


def speckle_lengths(
    images: np.ndarray,
    subjects: np.ndarray,
    *,
    draws: int,
    level: float,
    seed: int,
    high_pass_sigma_px: float = HIGH_PASS_SIGMA_PX,
    minimum_n: int = MINIMUM_N,
) -> dict[str, Interval]:
    """Axial and lateral width of the speckle in pixels: FWHM of the mean autocorrelation (Wagner et al. 1983).

    Every image counts the same, whatever its contrast. The interval is a bootstrap by subject (of synthetic images,
    each is its own subject).

    Returns:
        {"axial_px", "lateral_px"}.

    Raises:
        UserError: fewer than `minimum_n` images with any fine structure.
    """
    images = _require("speckle lengths", images, minimum_n)
    profiles = speckle_profiles(images, high_pass_sigma_px)
    textured = np.isfinite(profiles[0]).all(axis=1) & np.isfinite(profiles[1]).all(axis=1)
    if textured.sum() < minimum_n:
        raise UserError(
            f"speckle lengths: {int(textured.sum())} of {len(images)} images have any fine structure; "
            f"at least {minimum_n} are needed"
        )
    # one stratum: labels play no part here
    subjects = np.asarray(subjects)[textured]
    weights = np.concatenate(list(bootstrap_weights(np.zeros(len(subjects), dtype=int), subjects, draws, seed)))
    found = {}
    for name, profile in zip(("axial_px", "lateral_px"), profiles, strict=True):
        value = full_width_at_half_maximum(profile[textured].mean(axis=0))
        drawn = weights @ profile[textured] / weights.sum(axis=1, keepdims=True)
        low, high = percentile_bounds(np.array([full_width_at_half_maximum(row) for row in drawn]), level)
        found[name] = Interval(value, min(low, value), max(high, value))
    return found


def radial_power_spectra(images: np.ndarray) -> np.ndarray:
    """Power of each image over the distance from frequency 0, in rings of one cycle per image, [n, side // 2 - 1].

    Each image loses its mean and is tapered with a Hann window, so that its borders do not count as edges. The first
    ring holds one cycle per image; the side is the shorter one.
    """
    height, width = images.shape[1:]
    fine = images.astype(np.float64)
    fine = (fine - fine.mean(axis=(1, 2), keepdims=True)) * np.hanning(height)[:, None] * np.hanning(width)
    power = (np.abs(np.fft.fft2(fine)) ** 2).reshape(len(images), -1)
    side = min(height, width)
    rows, columns = np.fft.fftfreq(height) * side, np.fft.fftfreq(width) * side
    ring = np.rint(np.hypot(rows[:, None], columns)).astype(int).ravel()
    # one column for each ring: its mean over the pixels that belong to it
    members = (ring[:, None] == np.arange(1, side // 2)).astype(np.float64)
    return power @ (members / members.sum(axis=0))


def _decibel_distance(first: np.ndarray, second: np.ndarray) -> float:
    floor = 1e-6  # of constant images, so that their logarithm exists
    decibels = [10 * np.log10(row + floor) for row in (first, second)]
    return float(np.sqrt(np.mean((decibels[0] - decibels[1]) ** 2)))


def radial_spectrum_distance(
    real: np.ndarray,
    real_subjects: np.ndarray,
    synthetic: np.ndarray,
    *,
    level: float,
    seed: int,
    minimum_n: int = MINIMUM_N,
) -> Interval:
    """Root mean square difference of the two mean radial power spectra, in dB.

    Raises:
        UserError: fewer than `minimum_n` images, or images of different sizes.
    """
    real, synthetic = (_require("radial spectrum", images, minimum_n) for images in (real, synthetic))
    if real.shape[1:] != synthetic.shape[1:]:
        raise UserError(
            f"radial spectrum: real images of {real.shape[1:]} and synthetic ones of {synthetic.shape[1:]} pixels; "
            "expected the same size"
        )
    rows = [radial_power_spectra(images) for images in (real, synthetic)]
    return half_sample_interval(_decibel_distance, rows[0], real_subjects, rows[1], level=level, seed=seed)
