"""Anatomy in the image plane: maps of backscatter, bright lines, fluid and bone."""

from dataclasses import dataclass

import numpy as np

from mlproject.data.phantom.latents import HEAD_SEMI_AXES_CRL, HEIGHT_PX, WIDTH_PX, Body, Limb, Pose
from mlproject.data.phantom.profiles import REACH_MM, STEP_MM, U_MM, Line, Profiles, specular_factor
from mlproject.data.phantom.streams import smooth_noise

FLUID_DB = -46.0
TEXTURE_SCALES_MM = (1.5, 5.0)
TEXTURE_SD_DB = 2.0


@dataclass(frozen=True)
class Scene:
    """What the beam meets, each [256, 384].

    Attributes:
        backscatter: amplitude of diffuse scattering, float32, 1 at 0 dB.
        lines: amplitude of specular borders, float32.
        fluid: where sound passes without loss, float32 in [0, 1].
        bone: where it loses more, float32 in [0, 1].
        nuchal: the fluid between skin and fascia, bool.
        muscle: the tissue inward of it, bool.
    """

    backscatter: np.ndarray
    lines: np.ndarray
    fluid: np.ndarray
    bone: np.ndarray
    nuchal: np.ndarray
    muscle: np.ndarray


class _Table:
    """Reads tables over u at every pixel: nearest entry, at most half a step of 0.025 mm off."""

    def __init__(self, u: np.ndarray) -> None:
        scaled = (u + np.float32(REACH_MM)) * np.float32(1 / STEP_MM)
        self.index = np.clip(np.rint(scaled), 0, len(U_MM) - 1).astype(np.intp)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return np.take(np.asarray(values, np.float32), self.index)


def build_scene(rng: np.random.Generator, body: Body, pose: Pose, profiles: Profiles, spacing_mm: float) -> Scene:
    """Draw the maps of one frame; `rng` is the frame's texture stream."""
    u, v = body_coordinates(pose, spacing_mm)
    at = _Table(u)
    skin, tissue, ventral = at(profiles.skin), at(profiles.tissue), at(profiles.ventral)
    depth = v - tissue
    skull_mm, skull_cosine = _distance_from_skull(u, v, body, pose, profiles)
    dorsal = u > np.float32(body.head.centre_mm)
    # from the crown the head's outline takes over from the skin of the back
    trunk = dorsal & (depth > 0) & (v < ventral)
    head = (skull_mm < body.scalp_mm) & (~dorsal | (depth > 0))
    flesh = trunk | head
    wall = v < at(profiles.wall)
    beyond = v > np.float32(body.ventral_fluid_mm) + np.float32(0.1) * np.abs(u)
    limbs = np.zeros(u.shape, bool)
    for limb in pose.limbs:
        limbs |= _inside_limb(u, v, limb)
    solid = flesh | wall | beyond | limbs

    level = np.full(u.shape, body.tissue_db - 8, np.float32)
    level[depth < body.middle_depth_mm] = body.tissue_db - 4
    muscle = flesh & (depth < body.muscle_depth_mm)
    level[depth < body.muscle_depth_mm] = body.tissue_db + body.muscle_offset_db
    level[head & ~trunk] = body.tissue_db - 2
    level[skull_mm < 0] = body.tissue_db - 13
    level[limbs & ~flesh] = body.tissue_db - 3
    level[(wall | beyond) & ~flesh] = pose.wall_db
    for scale_mm in TEXTURE_SCALES_MM:
        knots = (int(HEIGHT_PX * spacing_mm / scale_mm) + 2, int(WIDTH_PX * spacing_mm / scale_mm) + 2)
        level += TEXTURE_SD_DB * smooth_noise(rng, knots, (HEIGHT_PX, WIDTH_PX))
    # borders at the fluid are softened over one pixel: thickness differs by less than a pixel between neighbours
    fluid = 1 - solid.astype(np.float32)
    band = _edge(v - skin, spacing_mm) * _edge(tissue - v, spacing_mm) * dorsal
    fluid = np.maximum(fluid, band)
    backscatter = np.exp(level * np.float32(np.log(10) / 20)) * (1 - fluid)
    backscatter += np.float32(10 ** (FLUID_DB / 20)) * fluid

    lines = np.zeros(u.shape, np.float32)
    for line in profiles.lines:
        if line.amplitude.any():
            lines += _draw_line(line, v, at)
    lines += _draw_line(profiles.ventral_line, v, at) * (skull_mm > body.scalp_mm) * dorsal
    skull = _gauss(skull_mm, 0.22) * (~dorsal | (depth > 0))
    # the sides of the skull lie along the beam and drop out
    lines += np.float32(10 ** (body.skull_db / 20)) * skull * (0.08 + 0.92 * np.abs(skull_cosine) ** 6)
    scalp = _gauss(skull_mm - np.float32(body.scalp_mm), body.skin_thickness_mm / 2.355) * (~dorsal | (v > ventral))
    lines += np.float32(10 ** (body.skin_db / 20)) * scalp * specular_factor(skull_cosine)
    lines += _falx(u, v, body, profiles) * (skull_mm < -1.5)
    vertebrae = _vertebrae(u, depth, body) * trunk * (skull_mm > 1.0)
    lines += np.float32(10 ** (body.vertebra_db / 20)) * vertebrae

    return Scene(backscatter, lines, fluid, np.maximum(skull, vertebrae), band > 0.99, muscle & (skull_mm > 0))


def body_coordinates(pose: Pose, spacing_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """u and v of every pixel in mm, float32 [256, 384]."""
    rows = ((np.arange(HEIGHT_PX) - pose.nape_px[0]) * spacing_mm).astype(np.float32)[:, None]
    columns = ((np.arange(WIDTH_PX) - pose.nape_px[1]) * spacing_mm).astype(np.float32)[None, :]
    axes = pose.axes.astype(np.float32)
    return axes[0, 0] * rows + axes[0, 1] * columns, axes[1, 0] * rows + axes[1, 1] * columns


def _edge(distance_mm: np.ndarray, spacing_mm: float) -> np.ndarray:
    """0 outside, 1 inside, linear over the pixel that the border crosses."""
    return np.clip(distance_mm * np.float32(1 / spacing_mm) + np.float32(0.5), 0, 1)


def _gauss(distance_mm: np.ndarray, sd_mm: float) -> np.ndarray:
    return np.exp(np.float32(-0.5 / sd_mm**2) * distance_mm * distance_mm)


def _draw_line(line: Line, v: np.ndarray, at: _Table) -> np.ndarray:
    return at(line.amplitude) * _gauss((v - at(line.depth_mm)) * at(line.cosine), line.sd_mm)


def _distance_from_skull(
    u: np.ndarray, v: np.ndarray, body: Body, pose: Pose, profiles: Profiles
) -> tuple[np.ndarray, np.ndarray]:
    """Distance outward of the skull's ellipse in mm (to first order) and the cosine of its normal with the beam."""
    along, across = (np.float32(axis * body.crl_mm) for axis in HEAD_SEMI_AXES_CRL)
    x = (u - np.float32(profiles.head_centre_mm[0])) / along
    y = (v - np.float32(profiles.head_centre_mm[1])) / across
    radius = np.sqrt(x * x + y * y) + np.float32(1e-3)
    normal_u, normal_v = x / along, y / across
    steepness = np.sqrt(normal_u**2 + normal_v**2) + np.float32(1e-6)
    axes = pose.axes.astype(np.float32)
    cosine = (axes[0, 0] * normal_u + axes[1, 0] * normal_v) / steepness
    return (radius - 1) * radius / steepness, cosine


def _inside_limb(u: np.ndarray, v: np.ndarray, limb: Limb) -> np.ndarray:
    sine, cosine = np.float32(np.sin(limb.angle_rad)), np.float32(np.cos(limb.angle_rad))
    du, dv = u - np.float32(limb.u_mm), v - np.float32(limb.v_mm)
    x = (du * cosine + dv * sine) * np.float32(1 / limb.length_mm)
    y = (dv * cosine - du * sine) * np.float32(1 / limb.width_mm)
    return x * x + y * y < 1


def _vertebrae(u: np.ndarray, depth: np.ndarray, body: Body) -> np.ndarray:
    """A row of echoes in [0, 1], inward of the muscle, one to each pitch."""
    pitch = np.float32(body.vertebra_pitch_mm)
    along = u - pitch * np.rint(u / pitch)
    return _gauss(along, 0.22 * body.vertebra_pitch_mm) * _gauss(depth - np.float32(body.muscle_depth_mm + 0.6), 0.35)


def _falx(u: np.ndarray, v: np.ndarray, body: Body, profiles: Profiles) -> np.ndarray:
    du = u - np.float32(profiles.head_centre_mm[0])
    distance = v - np.float32(profiles.head_centre_mm[1]) - np.float32(body.falx_slope) * du
    return np.float32(10 ** ((body.tissue_db - 2) / 20)) * _gauss(distance, 0.2)
