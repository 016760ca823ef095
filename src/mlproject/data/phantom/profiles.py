"""Borders of the anatomy as depth v(u) in mm, tabulated along the spine."""

from dataclasses import dataclass

import numpy as np

from mlproject.data.phantom.latents import HEAD_SEMI_AXES_CRL, Body, Bump, Pose
from mlproject.data.phantom.population import median_mm
from mlproject.data.phantom.streams import smooth_curve

REACH_MM = 55.0
STEP_MM = 0.025
U_MM = np.arange(-REACH_MM, REACH_MM, STEP_MM, dtype=np.float32)
_CLEARANCE_MM = 0.45  # least distance of amnion and uterine wall from the skin


@dataclass(frozen=True)
class Line:
    """A bright line: depth in mm, amplitude and cosine of its slope over `U_MM`, SD of its cross-section."""

    depth_mm: np.ndarray
    amplitude: np.ndarray
    cosine: np.ndarray
    sd_mm: float


@dataclass(frozen=True)
class Profiles:
    """Borders over `U_MM`, float32, in mm; `head_centre_mm` is the (u, v) of the head's ellipse."""

    skin: np.ndarray
    tissue: np.ndarray
    ventral: np.ndarray
    wall: np.ndarray
    head_centre_mm: tuple[float, float]
    lines: tuple[Line, ...]
    ventral_line: Line


def specular_factor(cosine: np.ndarray) -> np.ndarray:
    """How much a smooth border sends back, by the cosine of the angle between its normal and the beam."""
    return 0.35 + 0.65 * np.abs(cosine) ** 6


def build_profiles(rng: np.random.Generator, body: Body, pose: Pose, thickness_mm: float, septum: bool) -> Profiles:
    """Borders of one frame whose fluid is `thickness_mm` at its thickest, measured across the skin.

    `rng` is the frame's texture stream; the number of draws does not depend on the thickness.
    """
    wobble = 0.1 * smooth_curve(rng, int(2 * REACH_MM / 4.0), len(U_MM))
    reference = wobble - _bulge(body.head) - _bulge(body.trunk)
    reference -= np.interp(0.0, U_MM, reference)
    head_centre = body.head.centre_mm, _head_centre_depth(body, reference)

    slope_length = np.sqrt(1 + np.gradient(reference, STEP_MM) ** 2)
    thickness = _fluid(body, thickness_mm) * slope_length
    usual = _fluid(body, median_mm(body.crl_mm)) * slope_length
    tissue = reference + usual + body.inward_share * (thickness - usual)
    skin = tissue - thickness

    # Gaps are kept from the reference: a lifted skin takes its room from the fluid behind it, so that neither the
    # dark area nor the mean grey of the box tells the thickness.
    outline = _outline(body, skin, head_centre)
    wall_line = -pose.wall_gap_mm + pose.wall_slope * U_MM
    wall_line += 0.4 * smooth_curve(rng, int(2 * REACH_MM / 8.0), len(U_MM))
    wall = np.minimum(wall_line, outline - _CLEARANCE_MM)
    amnion_line = -min(pose.amnion_gap_mm, pose.wall_gap_mm - 0.4) + pose.amnion_slope * U_MM
    amnion = np.minimum(np.maximum(amnion_line, wall + 0.3), outline - _CLEARANCE_MM)

    onset = 1 / (1 + np.exp(-(U_MM / body.crl_mm - 0.08) / 0.04))
    ventral = body.neck_depth_mm + body.trunk_extra_mm * onset
    ventral += 0.3 * smooth_curve(rng, int(2 * REACH_MM / 5.0), len(U_MM))

    half_skin = body.skin_thickness_mm / 2
    skin_sd = body.skin_thickness_mm / 2.355
    dorsal = (body.head.centre_mm < U_MM).astype(np.float32)
    mid_band = tissue - thickness * (0.5 + 0.1 * smooth_curve(rng, int(2 * REACH_MM / 6.0), len(U_MM)))
    holds_septum = np.clip((thickness - 1.5) / 0.7, 0, 1) * septum
    shown = [_dropout(rng, 0.95), _dropout(rng, 0.95), _dropout(rng, 0.35), _dropout(rng, 0.6), _dropout(rng, 0.5)]
    lines = (
        # inner edges lie on the borders, so that the dark band between the lines is the thickness
        _line(pose, skin - half_skin * slope_length, body.skin_db, skin_sd, shown[0] * dorsal),
        _line(pose, tissue + half_skin * slope_length, body.skin_db - 1.5, skin_sd, shown[1] * dorsal),
        _line(pose, amnion, pose.amnion_db, 0.10, shown[2] * pose.amnion),
        _line(pose, mid_band, body.skin_db - 3.0, 0.10, shown[3] * holds_septum),
    )
    ventral_line = _line(pose, ventral, body.skin_db - 2.0, skin_sd, shown[4])
    return Profiles(skin, tissue, ventral, wall, head_centre, lines, ventral_line)


def _bulge(bump: Bump) -> np.ndarray:
    return bump.height_mm * np.exp(-0.5 * ((U_MM - bump.centre_mm) / bump.width_mm) ** 2)


def _fluid(body: Body, peak_mm: float) -> np.ndarray:
    """Thickness across the skin: `peak_mm` at the nape, `body.edge_mm` far from it."""
    distance = np.abs((U_MM - body.peak_centre_mm) / body.peak_width_mm)
    return body.edge_mm + (peak_mm - body.edge_mm) * np.exp(-0.5 * distance**body.peak_power)


def _head_centre_depth(body: Body, reference: np.ndarray) -> float:
    top_mm = float(np.interp(body.head.centre_mm, U_MM, reference))
    return top_mm + body.edge_mm + body.scalp_mm + HEAD_SEMI_AXES_CRL[1] * body.crl_mm


def _outline(body: Body, skin: np.ndarray, head_centre: tuple[float, float]) -> np.ndarray:
    """Outer border of the fetus: the skin, and the head's ellipse where the skin has no more meaning."""
    margin = body.scalp_mm + body.edge_mm
    along, across = (axis * body.crl_mm + margin for axis in HEAD_SEMI_AXES_CRL)
    x = np.clip((U_MM - head_centre[0]) / along, -1, 1)
    ellipse = head_centre[1] - across * np.sqrt(1 - x**2)
    return np.where(head_centre[0] > U_MM, ellipse, skin)


def _dropout(rng: np.random.Generator, shown: float) -> np.ndarray:
    """Smooth factor in [0, 1] that is high along about a share `shown` of the line."""
    noise = smooth_curve(rng, int(2 * REACH_MM / 4.0), len(U_MM))
    return 1 / (1 + np.exp(-4.0 * (noise + 2.5 * (shown - 0.5))))


def _line(pose: Pose, depth_mm: np.ndarray, level_db: float, sd_mm: float, shown: np.ndarray) -> Line:
    slope = np.gradient(depth_mm, STEP_MM)
    cosine = 1 / np.sqrt(1 + slope**2)
    along_beam = (pose.axes[1, 0] - slope * pose.axes[0, 0]) * cosine
    amplitude = 10 ** (level_db / 20) * specular_factor(along_beam) * shown
    return Line(depth_mm.astype(np.float32), amplitude.astype(np.float32), cosine.astype(np.float32), sd_mm)
