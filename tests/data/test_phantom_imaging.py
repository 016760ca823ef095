"""Image formation against the statistics that theory gives for fully developed speckle, and hand-worked grey levels."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from mlproject.data.phantom.anatomy import Scene
from mlproject.data.phantom.imaging import (
    axial_kernel,
    form_envelope,
    lateral_transfer,
    path_gain,
    to_grey,
)
from mlproject.data.phantom.sites import SITES, Acquisition, draw_acquisition
from mlproject.data.phantom.streams import Stream, generator

SHAPE = (256, 384)
NO_CURVE = np.zeros(2, np.float32)


def plain(site: str) -> Acquisition:
    """Middle of the site's spacing, no loss, no clutter, no defocus, no shadows."""
    drawn = draw_acquisition(generator(0, Stream.ACQUISITION, 0), SITES[site])
    return dataclasses.replace(
        drawn,
        spacing_mm=sum(SITES[site].spacing_mm) / 2,
        gain_db=0.0,
        attenuation_db_per_cm=0.0,
        bone_db_per_cm=0.0,
        haze_db=-200.0,
        defocus=1.0,
        shadows=(),
    )


def tissue(**maps: np.ndarray) -> Scene:
    """Homogeneous tissue at 0 dB."""
    zero, no = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, bool)
    scene = Scene(np.ones(SHAPE, np.float32), lines=zero, fluid=zero, bone=zero, nuchal=no, muscle=no)
    return dataclasses.replace(scene, **maps)


def envelopes(site: str, n: int, side_lobe: bool) -> np.ndarray:
    profile = dataclasses.replace(SITES[site], looks=1)
    return np.stack(
        [form_envelope(generator(1, Stream.SPECKLE, i), tissue(), profile, plain(site), side_lobe) for i in range(n)]
    )


@pytest.fixture(scope="module")
def homogeneous() -> np.ndarray:
    return envelopes("A", 12, side_lobe=False)


def test_speckle_is_rayleigh(homogeneous):
    # Rayleigh: mean / SD = sqrt(pi / (4 - pi)) = 1.913; SD of 20 log10 = 20 / ln 10 * pi / sqrt(24) = 5.57 dB
    assert homogeneous.mean() / homogeneous.std() == pytest.approx(1.913, abs=0.04)
    assert np.std(20 * np.log10(homogeneous)) == pytest.approx(5.57, abs=0.15)
    # unit energy of the pulse keeps the power of the scatterers
    assert np.mean(homogeneous**2) == pytest.approx(1.0, abs=0.02)
    for envelope in homogeneous:
        apart = envelope[8:-8:9, 16:-16:21].ravel().astype(np.float64)  # more than three resolution cells
        scale = np.sqrt(np.mean(apart**2) / 2)
        distance = stats.kstest(apart, stats.rayleigh(scale=scale).cdf).statistic
        # 1.63 is the 1 % point of the Kolmogorov distribution; fitting the scale makes the test stricter still
        assert distance * np.sqrt(len(apart)) < 1.63


def test_compounding_of_independent_looks_raises_the_ratio_by_the_root_of_their_number():
    twice = form_envelope(generator(2, Stream.SPECKLE, 0), tissue(), SITES["B"], plain("B"), side_lobe=False)
    assert twice.mean() / twice.std() == pytest.approx(1.913 * np.sqrt(2), rel=0.06)


def correlation_width(envelope: np.ndarray, axis: int) -> float:
    """Full width at half maximum of the autocovariance of envelopes [n, rows, columns] along `axis`, in pixels."""
    centred = envelope - envelope.mean()
    length = centred.shape[axis]
    lags = range(20)
    covariance = [
        np.mean(
            np.take(centred, range(length - lag), axis) * np.take(centred, range(lag, length), axis), dtype=np.float64
        )
        for lag in lags
    ]
    ratio = np.array(covariance) / covariance[0]
    below = int(np.argmax(ratio < 0.5))
    return 2 * (below - 1 + (ratio[below - 1] - 0.5) / (ratio[below - 1] - ratio[below]))


@pytest.mark.parametrize("site", ["A", "B", "C"])
def test_cells_are_wider_than_deep_as_the_pulse_and_the_beam(site):
    envelope = envelopes(site, 2, side_lobe=True)
    axial, lateral = correlation_width(envelope, 1), correlation_width(envelope, 2)
    profile, spacing_mm = SITES[site], plain(site).spacing_mm
    assert 2.0 <= lateral / axial <= 3.5
    # intensity correlates as the square of the field, whose width is sqrt(2) times the pulse's: the two cancel
    assert axial == pytest.approx(profile.axial_fwhm_mm / spacing_mm, rel=0.12)
    assert lateral == pytest.approx(profile.lateral_fwhm_mm / spacing_mm, rel=0.12)


def test_pulse_and_beam_have_unit_energy_and_the_stated_widths():
    site, spacing_mm = SITES["A"], 0.01
    kernel = axial_kernel(site, spacing_mm)
    assert np.sum(kernel.astype(np.float64) ** 2) == pytest.approx(1.0, abs=1e-5)
    # site A: 2 cycles of 1.54 / 6 mm, halved: 0.2567 mm
    assert np.count_nonzero(kernel >= kernel.max() / 2) * spacing_mm == pytest.approx(0.2567, abs=0.015)
    beam = np.fft.ifft(lateral_transfer(site, spacing_mm, np.array([1.0, 2.0]), 2048, side_lobe=False), axis=1).real
    assert np.sum(beam**2, axis=1) == pytest.approx([1.0, 1.0], abs=1e-5)
    widths = np.count_nonzero(beam >= beam.max(axis=1, keepdims=True) / 2, axis=1) * spacing_mm
    # 2.6 wavelengths of 0.2567 mm, and twice that
    assert widths == pytest.approx([0.667, 1.335], abs=0.015)


def test_side_lobe_stands_26_db_below_the_peak():
    spacing_mm = 0.02
    transfer = lateral_transfer(SITES["A"], spacing_mm, np.ones(1), 4096)
    beam = np.fft.ifft(transfer, axis=1).real[0]
    sd_px = SITES["A"].lateral_fwhm_mm / 2.3548 / spacing_mm
    lag = round(4 * sd_px)  # the main beam has fallen to exp(-8); the side-lobe to exp(-8 / 4.5^2)
    expected = 10 ** (-26 / 20) * np.exp(-8 / 4.5**2) + np.exp(-8)
    assert beam[lag] / beam[0] == pytest.approx(expected / (1 + 10 ** (-26 / 20)), rel=0.02)


def test_attenuation_by_hand():
    # 2 dB/cm in tissue of which half is compensated: -1 dB/cm net; in fluid nothing is lost and +1 dB/cm is added
    settings = dataclasses.replace(plain("A"), spacing_mm=0.1, attenuation_db_per_cm=2.0, compensation=0.5)
    half_fluid = np.zeros(SHAPE, np.float32)
    half_fluid[:, 192:] = 1
    gain_db = 20 * np.log10(path_gain(tissue(fluid=half_fluid), settings))
    assert gain_db[199, 0] == pytest.approx(-2.0, abs=1e-3)  # 200 rows of 0.1 mm: 2 cm
    assert gain_db[199, 300] == pytest.approx(2.0, abs=1e-3)
    steep = dataclasses.replace(settings, attenuation_db_per_cm=100.0)
    limits = 20 * np.log10(path_gain(tissue(fluid=half_fluid), steep))
    assert limits[-1, 0] == pytest.approx(-26.0, abs=1e-3)
    assert limits[-1, 300] == pytest.approx(9.0, abs=1e-3)


def test_bone_costs_more_and_a_shadow_has_its_depth():
    bone = np.zeros(SHAPE, np.float32)
    bone[100:110, 50] = 1  # 10 rows of 0.1 mm: 0.1 cm at 20 dB/cm = 2 dB
    settings = dataclasses.replace(plain("A"), spacing_mm=0.1, bone_db_per_cm=20.0, shadows=((0.5, 1.0, 6.0, 0.0),))
    gain_db = 20 * np.log10(path_gain(tissue(bone=bone), settings))
    assert gain_db[90, 50] == pytest.approx(0.0, abs=1e-3)
    assert gain_db[200, 50] == pytest.approx(-2.0, abs=1e-3)
    assert gain_db[200, 192] == pytest.approx(-6.0, abs=1e-3)
    assert gain_db[200, 202] == pytest.approx(-6.0 * np.exp(-0.5), abs=1e-3)  # one SD of 1 mm away


def test_log_compression_by_hand():
    settings = dataclasses.replace(plain("A"), dynamic_range_db=60.0, gamma=1.0)
    # white at +21 dB, black at 21 - 60 = -39 dB; 0 dB is 39/60 of the way: 165.75, rounded to 166
    levels_db = np.array([[30.0, 21.0, 0.0], [-9.0, -39.0, -60.0]])
    grey = to_grey((10 ** (levels_db / 20)).astype(np.float32), SITES["A"], settings, NO_CURVE)
    assert grey.tolist() == [[255, 255, 166], [128, 0, 0]]  # -9 dB: 30/60 of 255 = 127.5, rounded up
    bent = to_grey(
        np.full((2, 1), 10 ** (-9 / 20), np.float32), SITES["A"], dataclasses.replace(settings, gamma=2.0), NO_CURVE
    )
    assert bent.tolist() == [[64], [64]]  # 0.5^2 * 255 = 63.75


def test_gain_and_curve_shift_the_levels():
    settings = dataclasses.replace(plain("A"), dynamic_range_db=51.0, gamma=1.0, gain_db=1.0)
    # 51 dB over 255 levels: 5 levels to the dB; 0 dB lies at 30/51, with gain 31/51, with 2 dB more 33/51
    grey = to_grey(np.ones((2, 1), np.float32), SITES["A"], settings, np.array([0, 2], np.float32))
    assert grey.tolist() == [[155], [165]]
