"""Frames of the phantom: from a subject to an image, its box and its truth."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from mlproject.data.phantom.anatomy import Scene, build_scene
from mlproject.data.phantom.imaging import form_envelope, gain_curve_db, to_grey
from mlproject.data.phantom.latents import Body, Pose, box_px, draw_body, draw_pose
from mlproject.data.phantom.population import Subject
from mlproject.data.phantom.profiles import build_profiles
from mlproject.data.phantom.sites import SITES, Acquisition, draw_acquisition
from mlproject.data.phantom.streams import Stream, generator

PHANTOM_VERSION = 1  # raised when the same seed gives other frames


@dataclass(frozen=True)
class Frame:
    """One image of one subject.

    Attributes:
        image: uint8 [256, 384].
        box: region of interest (h_min, w_min, h_max, w_max) in pixels, max exclusive; independent of the thickness.
        truth: what was drawn, plain values; must never reach a model.
    """

    image: np.ndarray
    box: tuple[int, int, int, int]
    truth: dict[str, Any]


@dataclass(frozen=True)
class FrameParts:
    """What a frame is made of, before log compression.

    Attributes:
        envelope: float32 [256, 384], about 1 in tissue.
        curve_db: leftover of the time-gain compensation, float32 [256].
        frame_thickness_mm: of the fluid at its thickest, as this frame shows it.
    """

    body: Body
    pose: Pose
    acquisition: Acquisition
    scene: Scene
    envelope: np.ndarray
    curve_db: np.ndarray
    frame_thickness_mm: float


def build_frame(seed: int, subject: Subject, frame_index: int, **overrides: Any) -> FrameParts:
    """Everything about one frame up to its envelope; arguments as for `render_frame`."""
    index = subject.index
    site = SITES[subject.site]
    body = draw_body(generator(seed, Stream.ANATOMY, index), subject.crl_mm)
    pose = draw_pose(generator(seed, Stream.POSE, index, frame_index), body)
    acquisition = draw_acquisition(generator(seed, Stream.ACQUISITION, index, frame_index), site)
    acquisition = dataclasses.replace(acquisition, **overrides)
    texture = generator(seed, Stream.TEXTURE, index, frame_index)
    thickness_mm = subject.thickness_mm * pose.thickness_factor
    profiles = build_profiles(texture, body, pose, thickness_mm, subject.septum)
    scene = build_scene(texture, body, pose, profiles, acquisition.spacing_mm)
    curve_db = gain_curve_db(texture, acquisition, len(scene.fluid))
    envelope = form_envelope(generator(seed, Stream.SPECKLE, index, frame_index), scene, site, acquisition)
    return FrameParts(body, pose, acquisition, scene, envelope, curve_db, thickness_mm)


def render_frame(seed: int, subject: Subject, frame_index: int, **overrides: Any) -> Frame:
    """Frame `frame_index` (0 and up) of `subject`; it depends on the arguments alone.

    Args:
        overrides: fields of `Acquisition` to set instead of draw, such as `gain_db=0.0` or `haze_db=-60.0`.

    Raises:
        TypeError: an override names no field of `Acquisition`.
    """
    parts = build_frame(seed, subject, frame_index, **overrides)
    pose, acquisition = parts.pose, parts.acquisition
    truth = {
        "frame_index": frame_index,
        "site": subject.site,
        "crl_mm": subject.crl_mm,
        "t_mm": subject.thickness_mm,
        "t_measured_mm": subject.measured_mm,
        "q95_mm": subject.q95_mm,
        "t_frame_mm": parts.frame_thickness_mm,
        "septum": subject.septum,
        "amnion": pose.amnion,
        "amnion_gap_mm": pose.amnion_gap_mm,
        "wall_gap_mm": pose.wall_gap_mm,
        "nape_up": pose.nape_up,
        "flip": pose.flip,
        "rotation_deg": float(np.rad2deg(pose.rotation_rad)),
        "nape_row_px": pose.nape_px[0],
        "nape_column_px": pose.nape_px[1],
        "spacing_mm": acquisition.spacing_mm,
        "gain_db": acquisition.gain_db,
        "dynamic_range_db": acquisition.dynamic_range_db,
        "gamma": acquisition.gamma,
        "haze_db": acquisition.haze_db,
        "shadows": len(acquisition.shadows),
    }
    image = to_grey(parts.envelope, SITES[subject.site], acquisition, parts.curve_db)
    return Frame(image, box_px(pose, acquisition.spacing_mm), truth)


def render_counterfactual(seed: int, subject: Subject, frame_index: int, thickness_mm: float) -> Frame:
    """The same frame had the fetus another thickness: same anatomy, pose, box, settings and speckle.

    A septum is shown by the same rule as ever: only if the subject is prone to one and the band is 3.5 mm or more.

    Raises:
        ValueError: `thickness_mm` lies outside 0.6 to 7.5 mm.
    """
    return render_frame(seed, subject.with_thickness(thickness_mm), frame_index)


def render_subject(seed: int, subject: Subject, n_frames: int) -> list[Frame]:
    """Frames 0 to `n_frames - 1` of `subject`."""
    return [render_frame(seed, subject, frame_index) for frame_index in range(n_frames)]


def limit_threads() -> None:
    """Keep OpenCV to one thread; to be called at the start of each worker process."""
    cv2.setNumThreads(1)
