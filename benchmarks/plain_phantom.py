"""The phantom's image formation as its equations read, in double precision: the reference of `phantom_frames`.

scipy.ndimage along the beam, and across it row by row, since the beam's width changes with depth. Anatomy, settings and
random numbers are the project's, so that the frames can be compared grey level by grey level.
"""

import numpy as np
from scipy import ndimage

from mlproject.data.phantom import imaging
from mlproject.data.phantom.anatomy import Scene, build_scene
from mlproject.data.phantom.latents import draw_body, draw_pose
from mlproject.data.phantom.population import Subject
from mlproject.data.phantom.profiles import build_profiles
from mlproject.data.phantom.sites import SITES, Acquisition, Site, draw_acquisition
from mlproject.data.phantom.streams import Stream, complex_noise, generator


def render_plain(seed: int, subject: Subject, frame_index: int) -> np.ndarray:
    """uint8 [256, 384]: the frame that `render_frame` draws, up to rounding."""
    index, site = subject.index, SITES[subject.site]
    body = draw_body(generator(seed, Stream.ANATOMY, index), subject.crl_mm)
    pose = draw_pose(generator(seed, Stream.POSE, index, frame_index), body)
    acquisition = draw_acquisition(generator(seed, Stream.ACQUISITION, index, frame_index), site)
    texture = generator(seed, Stream.TEXTURE, index, frame_index)
    profiles = build_profiles(texture, body, pose, subject.thickness_mm * pose.thickness_factor, subject.septum)
    scene = build_scene(texture, body, pose, profiles, acquisition.spacing_mm)
    curve_db = imaging.gain_curve_db(texture, acquisition, len(scene.fluid))
    envelope = plain_envelope(generator(seed, Stream.SPECKLE, index, frame_index), scene, site, acquisition)
    return plain_grey(envelope, site, acquisition, curve_db)


def plain_envelope(rng: np.random.Generator, scene: Scene, site: Site, acquisition: Acquisition) -> np.ndarray:
    """Envelope averaged over the site's looks, float64 [rows, columns]."""
    rows, _columns = shape = scene.fluid.shape
    sd_per_fwhm = 1 / np.sqrt(8 * np.log(2))
    axial = _gaussian(site.axial_fwhm_mm * sd_per_fwhm / acquisition.spacing_mm)
    axial /= np.sqrt(np.sum(axial**2))
    lateral = [
        _beam(site.lateral_fwhm_mm * sd_per_fwhm / acquisition.spacing_mm * widening)
        for widening in imaging.beam_widening(acquisition, rows)
    ]
    gain = plain_gain(scene, acquisition)
    depth = np.arange(rows)[:, None] / rows
    haze_level = 10 ** (acquisition.haze_db / 20)
    haze = haze_level * np.exp(-0.5 * ((depth - acquisition.haze_centre) / acquisition.haze_width) ** 2)
    sums = np.array([kernel.sum() for kernel in lateral])[:, None]
    coherent = imaging.LINE_COHERENT / (axial.sum() * sums)

    total = np.zeros(shape)
    for _ in range(site.looks):
        field = complex_noise(rng, shape).astype(np.complex128) * scene.backscatter
        border = complex_noise(rng, shape).astype(np.complex128) * imaging.LINE_DIFFUSE * np.sqrt(2) + coherent
        field = field + border * scene.lines
        field = ndimage.convolve1d(field, axial, axis=0, mode="mirror")
        field = np.stack(
            [ndimage.convolve1d(row, kernel, mode="mirror") for row, kernel in zip(field, lateral, strict=True)]
        )
        field = field * gain
        clutter = ndimage.gaussian_filter(complex_noise(rng, shape).astype(np.complex128), (2.5, 4.0), mode="mirror")
        field += clutter * np.sqrt(4 * np.pi * 2.5 * 4.0) * haze
        field += complex_noise(rng, shape) * 10 ** (imaging.NOISE_DB / 20)
        total += np.abs(field)
    return total / site.looks


def plain_gain(scene: Scene, acquisition: Acquisition) -> np.ndarray:
    """Amplitude left by attenuation, its compensation and shadows, float64 [rows, columns]."""
    rows, columns = scene.fluid.shape
    loss = acquisition.attenuation_db_per_cm * (1 - scene.fluid.astype(float) - acquisition.compensation)
    loss += acquisition.bone_db_per_cm * scene.bone
    gain_db = np.clip(-np.cumsum(loss * acquisition.spacing_mm / 10, axis=0), *imaging.LOSS_LIMITS_DB)
    for centre, sd_mm, depth_db, first_row in acquisition.shadows:
        distance_mm = (np.arange(columns) - centre * columns) * acquisition.spacing_mm
        down = np.clip((np.arange(rows)[:, None] / rows - first_row) / 0.1, 0, 1)
        gain_db -= down * depth_db * np.exp(-0.5 * (distance_mm / sd_mm) ** 2)
    return 10 ** (gain_db / 20)


def plain_grey(envelope: np.ndarray, site: Site, acquisition: Acquisition, curve_db: np.ndarray) -> np.ndarray:
    """Log compression, grey map and edge enhancement, uint8."""
    level_db = 20 * np.log10(np.maximum(envelope, 1e-6)) + curve_db[:, None] + acquisition.gain_db
    floor_db = imaging.TOP_DB - acquisition.dynamic_range_db
    grey = np.clip((level_db - floor_db) / acquisition.dynamic_range_db, 0, 1) ** acquisition.gamma
    if site.unsharp:
        grey = np.clip(grey + site.unsharp * (grey - ndimage.gaussian_filter(grey, 1.2, mode="mirror")), 0, 1)
    return np.floor(255 * grey + 0.5).astype(np.uint8)


def _gaussian(sd_px: float, reach_sd: float = 4.0) -> np.ndarray:
    reach = int(np.ceil(reach_sd * sd_px))
    return np.exp(-0.5 * (np.arange(-reach, reach + 1) / sd_px) ** 2)


def _beam(sd_px: float) -> np.ndarray:
    """The beam across: a Gaussian and, 26 dB below its peak, a second one 4.5 times as wide; unit energy."""
    side = 10 ** (imaging.SIDE_LOBE_DB / 20) * _gaussian(imaging.SIDE_LOBE_WIDENING * sd_px)
    main = _gaussian(sd_px)
    side[(len(side) - len(main)) // 2 : (len(side) + len(main)) // 2] += main
    return side / np.sqrt(np.sum(side**2))
