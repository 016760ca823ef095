"""Ultrasound statistics on textures whose answer is known."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.optimize import brentq
from scipy.stats import norm

from mlproject.errors import UserError
from mlproject.evaluation.texture import (
    HIGH_PASS_SIGMA_PX,
    full_width_at_half_maximum,
    grey_histogram_distance,
    radial_power_spectra,
    radial_spectrum_distance,
    speckle_lengths,
    speckle_profiles,
)

OPTIONS = {"draws": 200, "level": 0.95, "seed": 0}


def texture(axial: float, lateral: float, n: int = 40, seed: int = 0, size: int = 64) -> np.ndarray:
    """White noise smoothed with a Gaussian of these standard deviations in pixels, as uint8 around 128."""
    noise = np.random.default_rng(seed).normal(size=(n, size, size))
    smooth = gaussian_filter(noise, sigma=(0, axial, lateral), mode="wrap")
    return np.clip(128 + 30 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def expected_width(sigma: float, high_pass: float) -> float:
    """FWHM along one axis of white noise smoothed by a Gaussian, after the high pass along that axis.

    Smoothing by G_s and subtracting the blur is filtering by G_s - G_t with t² = s² + h². Its autocorrelation is
    G_2s² - 2 G_(s² + t²) + G_2t² (the indices are variances, each Gaussian of area 1).
    """

    def correlation(lag: float) -> float:
        variances = [2 * sigma**2 + times * high_pass**2 for times in (0, 1, 2)]
        parts = [weight * norm.pdf(lag, scale=v**0.5) for weight, v in zip((1, -2, 1), variances, strict=True)]
        return sum(parts)

    return 2 * brentq(lambda lag: correlation(lag) - correlation(0) / 2, 0, 3 * sigma + 1)


@pytest.mark.parametrize(("axial", "lateral"), [(1.0, 2.0), (1.5, 1.5), (0.8, 2.5)])
def test_speckle_lengths_are_those_of_the_theory(axial, lateral):
    found = speckle_lengths(texture(axial, lateral), np.arange(40), **OPTIONS)
    assert found["axial_px"].value == pytest.approx(expected_width(axial, HIGH_PASS_SIGMA_PX), rel=0.06)
    assert found["lateral_px"].value == pytest.approx(expected_width(lateral, HIGH_PASS_SIGMA_PX), rel=0.06)
    for interval in found.values():
        assert interval.low <= interval.value <= interval.high
        assert 0 < interval.high - interval.low < 0.5


def test_lengths_ignore_contrast_brightness_and_slow_structure():
    images = texture(1.0, 2.0).astype(float)
    slow = 25 * np.sin(np.arange(64) / 64 * 2 * np.pi)[:, None]
    changed = np.clip(110 + 0.5 * (images - 128) + slow, 0, 255).astype(np.uint8)
    plain, other = (speckle_lengths(array.astype(np.uint8), np.arange(40), **OPTIONS) for array in (images, changed))
    for name in plain:
        assert other[name].value == pytest.approx(plain[name].value, rel=0.06), name


def test_membranes_across_the_beam_are_no_wide_speckle():
    images = texture(1.0, 2.0).astype(float)
    images[:, 20:23] += 60
    images[:, 40:42] += 60  # two bright lines over the whole width
    plain, lined = (speckle_lengths(array.clip(0, 255).astype(np.uint8), np.arange(40), **OPTIONS)["lateral_px"]
                    for array in (texture(1.0, 2.0), images))  # fmt: skip
    assert lined.value == pytest.approx(plain.value, rel=0.05)


def test_white_noise_is_one_pixel_wide_and_blank_images_do_not_count():
    noise = np.random.default_rng(0).integers(0, 256, size=(30, 64, 64)).astype(np.uint8)
    axial, _ = speckle_profiles(noise)
    # The high pass with weights g (sigma 4: g(0) = 0.0997, g(1) = 0.0967) makes the autocorrelation of white noise
    # 1 - 2 g(0) + (g*g)(0) = 1 - 0.1995 + 0.0705 at lag 0 and -2 g(1) + (g*g)(1) = -0.1933 + 0.0694 at lag 1, a fall
    # from 1 to -0.142: half is reached at 0.5 / 1.142 = 0.438 px.
    assert full_width_at_half_maximum(axial.mean(axis=0)) == pytest.approx(2 * 0.438, abs=0.02)
    blank = np.full((5, 64, 64), 90, dtype=np.uint8)
    together = speckle_lengths(np.concatenate([noise, blank]), np.arange(35), **OPTIONS)
    assert together["axial_px"].value == pytest.approx(full_width_at_half_maximum(axial.mean(axis=0)))


DRAW = {"level": 0.95, "seed": 0}


def test_full_width_by_hand():
    assert full_width_at_half_maximum(np.array([1.0, 0.75, 0.25, 0.0])) == 3.0  # half of 1 lies midway of lags 1 and 2
    assert full_width_at_half_maximum(np.array([2.0, 1.0, 0.0])) == 2.0
    assert full_width_at_half_maximum(np.array([1.0, 0.9, 0.8])) == 4.0  # never: the whole range


def test_grey_distance_by_hand():
    base = np.full((20, 4, 4), 100, dtype=np.uint8)
    assert grey_histogram_distance(base, np.arange(20), base, **DRAW).value == 0
    assert grey_histogram_distance(base, np.arange(20), base + 7, **DRAW).value == pytest.approx(7)
    half = base.copy()
    half[:10] = 110  # half of the pixels move by 10 levels
    found = grey_histogram_distance(base, np.arange(20), half, **DRAW)
    assert found.value == pytest.approx(5)
    # a half-sample of 10 of the 20 images holds k images at 110, k hypergeometric: the distance is k levels, whose
    # standard deviation is sqrt(10 * 0.5 * 0.5 * 10 / 19) = 1.147
    assert (found.high - found.low) / 2 / 1.96 == pytest.approx(1.147, rel=0.15)


def test_power_of_a_wave_is_in_its_ring():
    wave = np.sin(2 * np.pi * 12 * np.arange(64) / 64)
    images = np.tile(128 + 50 * wave, (20, 64, 1)).astype(np.uint8)
    for turned in (images, images.transpose(0, 2, 1)):
        assert radial_power_spectra(turned).mean(axis=0).argmax() == 12 - 1  # rings start at one cycle per image


def test_spectrum_distance_by_hand():
    images = texture(1.0, 1.0).astype(float)
    # twice the amplitude is four times the power at every frequency: 6.02 dB everywhere
    subjects = np.arange(len(images))
    twice = radial_spectrum_distance(images, subjects, 2 * images, **DRAW)
    assert twice.value == pytest.approx(20 * np.log10(2), abs=0.01)
    assert twice.low < twice.value < twice.high
    assert radial_spectrum_distance(images, subjects, images, **DRAW).value == 0
    smooth = radial_spectrum_distance(texture(1, 1), subjects, texture(2, 2, seed=1), **DRAW)
    assert smooth.value > 10 * radial_spectrum_distance(texture(1, 1), subjects, texture(1, 1, seed=1), **DRAW).value


def test_few_and_unfit_images_are_refused():
    few, many = texture(1, 1, n=19), texture(1, 1, n=20)
    with pytest.raises(UserError, match="at least 20"):
        grey_histogram_distance(many, np.arange(20), few, **DRAW)
    with pytest.raises(UserError, match="at least 20"):
        speckle_lengths(few, np.arange(19), **OPTIONS)
    with pytest.raises(UserError, match="0 of 20 images have any fine structure"):
        speckle_lengths(np.zeros((20, 64, 64), np.uint8), np.arange(20), **OPTIONS)
    with pytest.raises(UserError, match="same size"):
        radial_spectrum_distance(many, np.arange(20), many[:, :32], **DRAW)
