"""From a scene to grey levels: speckle, point spread, attenuation, clutter, compounding and log compression.

Complex scatterers are convolved with a separable pulse, as COLE does (Gao 2009); beams run down the image's columns.
"""

import cv2
import numpy as np

from mlproject.data.phantom.anatomy import Scene
from mlproject.data.phantom.sites import Acquisition, Site
from mlproject.data.phantom.streams import complex_noise, smooth_curve

SIDE_LOBE_DB = -26.0
SIDE_LOBE_WIDENING = 4.5
NOISE_DB = -44.0
TOP_DB = 21.0  # level, over mean tissue, that is shown white at no gain
LOSS_LIMITS_DB = (-26.0, 9.0)
LINE_COHERENT, LINE_DIFFUSE = 0.45, 0.75
_SD_PER_FWHM = 1 / np.sqrt(8 * np.log(2))
_PAD_PX = 24


def axial_kernel(site: Site, spacing_mm: float) -> np.ndarray:
    """Gaussian pulse along the beam, float32, unit energy so that speckle keeps its power."""
    sd_px = site.axial_fwhm_mm * _SD_PER_FWHM / spacing_mm
    reach = int(np.ceil(4 * sd_px))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sd_px) ** 2)
    return (kernel / np.sqrt(np.sum(kernel**2))).astype(np.float32)


def lateral_transfer(
    site: Site, spacing_mm: float, widening: np.ndarray, columns: int, side_lobe: bool = True
) -> np.ndarray:
    """Fourier transform along the columns of the beam at each row, float32 [rows, columns], unit energy.

    The beam is a Gaussian of the site's width times `widening` [rows] and, if `side_lobe`, a second one 4.5 times as
    wide whose peak lies 26 dB below.
    """
    frequency = 2 * np.pi * np.fft.fftfreq(columns)[None, :]
    sd_px = (site.lateral_fwhm_mm * _SD_PER_FWHM / spacing_mm) * widening[:, None]
    transfer = np.exp(-0.5 * (frequency * sd_px) ** 2)
    if side_lobe:
        weight = 10 ** (SIDE_LOBE_DB / 20) * SIDE_LOBE_WIDENING
        transfer += weight * np.exp(-0.5 * (frequency * SIDE_LOBE_WIDENING * sd_px) ** 2)
    energy = np.mean(transfer**2, axis=1, keepdims=True)
    return (transfer / np.sqrt(energy)).astype(np.float32)


def beam_widening(acquisition: Acquisition, rows: int) -> np.ndarray:
    """Width of the beam over its width at the focus, from 1 to `acquisition.defocus`, float64 [rows]."""
    distance = np.abs(np.arange(rows) / rows - acquisition.focus_row) / 0.7
    return 1 + (acquisition.defocus - 1) * np.minimum(distance, 1)


def convolve(field: np.ndarray, axial: np.ndarray, lateral: np.ndarray) -> np.ndarray:
    """Spread a complex field [rows, columns] axially and, row by row, laterally; complex64.

    `lateral` covers the columns and 24 mirrored ones on either side.
    """
    parts = np.ascontiguousarray(field).view(np.float32).reshape(*field.shape, 2)
    along = cv2.sepFilter2D(parts, -1, np.ones(1, np.float32), axial, borderType=cv2.BORDER_REFLECT_101)
    padded = cv2.copyMakeBorder(along, 0, 0, _PAD_PX, _PAD_PX, cv2.BORDER_REFLECT_101)
    spectrum = np.fft.fft(padded.view(np.complex64)[..., 0], axis=1)
    return np.fft.ifft(spectrum * lateral, axis=1)[:, _PAD_PX:-_PAD_PX]


def path_gain(scene: Scene, acquisition: Acquisition) -> np.ndarray:
    """Amplitude left by attenuation, its compensation and shadows, float32 [rows, columns].

    Fluid absorbs nothing while the compensation goes on, so what lies behind it is enhanced.
    """
    rows, columns = scene.fluid.shape
    per_row_cm = np.float32(acquisition.spacing_mm / 10)
    loss = acquisition.attenuation_db_per_cm * (1 - scene.fluid - np.float32(acquisition.compensation))
    loss += acquisition.bone_db_per_cm * scene.bone
    gain_db = np.clip(-np.cumsum(loss * per_row_cm, axis=0, dtype=np.float32), *LOSS_LIMITS_DB)
    for centre, sd_mm, depth_db, first_row in acquisition.shadows:
        distance_mm = (np.arange(columns) - centre * columns) * acquisition.spacing_mm
        across = depth_db * np.exp(-0.5 * (distance_mm / sd_mm) ** 2)
        down = np.clip((np.arange(rows) / rows - first_row) / 0.1, 0, 1)
        gain_db -= (down[:, None] * across[None, :]).astype(np.float32)
    return np.exp(gain_db * np.float32(np.log(10) / 20))


def form_envelope(
    rng: np.random.Generator, scene: Scene, site: Site, acquisition: Acquisition, side_lobe: bool = True
) -> np.ndarray:
    """Envelope averaged over the site's looks, float32 [rows, columns], about 1 in tissue at 0 dB."""
    rows, columns = shape = scene.fluid.shape
    axial = axial_kernel(site, acquisition.spacing_mm)
    widening = beam_widening(acquisition, rows)
    lateral = lateral_transfer(site, acquisition.spacing_mm, widening, columns + 2 * _PAD_PX, side_lobe)
    gain = path_gain(scene, acquisition)
    haze = 10 ** (acquisition.haze_db / 20) * np.exp(
        -0.5 * ((np.arange(rows) / rows - acquisition.haze_centre) / acquisition.haze_width) ** 2
    )
    haze = haze.astype(np.float32)[:, None]
    # What is in phase adds up under the pulse: undivided, a border would stand 14 dB above its level.
    coherent = np.float32(LINE_COHERENT) / (axial.sum() * lateral[:, :1])
    total = np.zeros(shape, np.float32)
    for _ in range(site.looks):
        field = complex_noise(rng, shape) * scene.backscatter
        # unit power of the noise is 1/2 in each part, hence the root of two
        border = complex_noise(rng, shape) * np.float32(LINE_DIFFUSE * np.sqrt(2)) + coherent
        field = convolve(field + border * scene.lines, axial, lateral) * gain
        field += _low_pass_noise(rng, shape) * haze
        field += complex_noise(rng, shape) * np.float32(10 ** (NOISE_DB / 20))
        total += np.abs(field)
    return total * np.float32(1 / site.looks)


def _low_pass_noise(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Coarse complex noise of unit power: clutter that keeps no trace of the anatomy."""
    parts = complex_noise(rng, shape).view(np.float32).reshape(*shape, 2)
    sd_rows, sd_columns = 2.5, 4.0
    smooth = cv2.GaussianBlur(parts, (0, 0), sigmaX=sd_columns, sigmaY=sd_rows, borderType=cv2.BORDER_REFLECT_101)
    # a Gaussian average of white noise leaves 1 / (4 pi sd_x sd_y) of its power
    return (smooth * np.float32(np.sqrt(4 * np.pi * sd_rows * sd_columns))).view(np.complex64)[..., 0]


def gain_curve_db(rng: np.random.Generator, acquisition: Acquisition, rows: int) -> np.ndarray:
    """Leftover of the time-gain compensation, float32 [rows]: a slope about mid-depth and smooth steps of SD 1.2 dB."""
    depth_cm = (np.arange(rows) - rows / 2) * acquisition.spacing_mm / 10
    return (1.2 * smooth_curve(rng, 6, rows) + acquisition.gain_slope_db_per_cm * depth_cm).astype(np.float32)


def to_grey(envelope: np.ndarray, site: Site, acquisition: Acquisition, curve_db: np.ndarray) -> np.ndarray:
    """Log compression, the site's grey map and edge enhancement, uint8 of the envelope's shape."""
    level = np.float32(20 / np.log(10)) * np.log(np.maximum(envelope, np.float32(1e-6)))
    level += curve_db[:, None] + np.float32(acquisition.gain_db)
    floor_db = TOP_DB - acquisition.dynamic_range_db
    grey = np.clip((level - np.float32(floor_db)) * np.float32(1 / acquisition.dynamic_range_db), 0, 1)
    grey = np.power(grey, np.float32(acquisition.gamma))
    if site.unsharp:
        blurred = cv2.GaussianBlur(grey, (0, 0), 1.2, borderType=cv2.BORDER_REFLECT_101)
        grey = np.clip(grey + np.float32(site.unsharp) * (grey - blurred), 0, 1)
    return np.floor(255 * grey + np.float32(0.5)).astype(np.uint8)
