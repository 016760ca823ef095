"""What differs between fetuses (`Body`) and between frames of one fetus (`Pose`); nothing here knows the thickness.

Lengths in units of the crown-rump length (CRL) are scaled to mm where they are drawn. Body axes: u runs along the
spine with the head at negative u, v inward from the skin, both from the nape on the reference skin.
"""

from dataclasses import dataclass

import numpy as np

HEIGHT_PX, WIDTH_PX = 256, 384
HEAD_SEMI_AXES_CRL = (0.178, 0.133)


@dataclass(frozen=True)
class Bump:
    """A Gaussian outward bulge of the skin, in mm; `width_mm` is its SD."""

    height_mm: float
    centre_mm: float
    width_mm: float


@dataclass(frozen=True)
class Limb:
    """An ellipse of tissue in the ventral fluid, in body axes; `length_mm` and `width_mm` are its semi-axes."""

    u_mm: float
    v_mm: float
    length_mm: float
    width_mm: float
    angle_rad: float


@dataclass(frozen=True)
class Body:
    """Anatomy and lie of one fetus; lengths in mm, levels in dB."""

    crl_mm: float
    head: Bump
    trunk: Bump
    edge_mm: float  # thickness of the fluid far from its greatest
    peak_centre_mm: float
    peak_width_mm: float
    peak_power: float
    inward_share: float  # of excess fluid: what presses the tissue in; the rest lifts the skin
    tissue_db: float
    muscle_offset_db: float
    muscle_depth_mm: float
    middle_depth_mm: float
    scalp_mm: float
    neck_depth_mm: float
    trunk_extra_mm: float
    ventral_fluid_mm: float
    skin_thickness_mm: float
    skin_db: float
    skull_db: float
    vertebra_pitch_mm: float
    vertebra_db: float
    falx_slope: float
    rotation_rad: float
    nape_up: bool


@dataclass(frozen=True)
class Pose:
    """How one frame shows its fetus: position, the fluid and membranes around it, and the drawn box."""

    rotation_rad: float
    flip: bool
    nape_up: bool
    nape_px: tuple[float, float]  # row, column of the nape on the reference skin
    thickness_factor: float
    wall_db: float
    wall_gap_mm: float
    wall_slope: float
    amnion: bool
    amnion_gap_mm: float
    amnion_slope: float
    amnion_db: float
    limbs: tuple[Limb, ...]
    box_shift_mm: tuple[float, float]  # along u, along v
    box_size_mm: tuple[float, float]  # height, width

    @property
    def axes(self) -> np.ndarray:
        """Directions of u and v in the image as rows of (row, column), float64 [2, 2], orthonormal."""
        sine, cosine = np.sin(self.rotation_rad), np.cos(self.rotation_rad)
        right, down = (-1 if self.flip else 1), (1 if self.nape_up else -1)
        return np.array([[right * sine, right * cosine], [down * cosine, -down * sine]])


def draw_body(rng: np.random.Generator, crl_mm: float) -> Body:
    """Draw the anatomy of a fetus of length `crl_mm`."""

    def crl(low: float, high: float) -> float:
        return crl_mm * rng.uniform(low, high)

    muscle_depth_mm = crl(0.035, 0.060)
    return Body(
        crl_mm=crl_mm,
        head=Bump(crl(0.03, 0.07), -crl(0.20, 0.26), crl(0.095, 0.135)),
        trunk=Bump(crl(0.008, 0.045), crl(0.22, 0.32), crl(0.12, 0.18)),
        edge_mm=rng.uniform(0.20, 0.40),
        peak_centre_mm=crl(-0.025, 0.025),
        peak_width_mm=crl(0.055, 0.10),
        peak_power=rng.uniform(2.0, 3.2),
        inward_share=rng.uniform(0.10, 0.35),
        tissue_db=rng.uniform(-3.0, 3.0),
        muscle_offset_db=rng.uniform(-9.0, 1.0),
        muscle_depth_mm=muscle_depth_mm,
        middle_depth_mm=muscle_depth_mm + crl(0.03, 0.05),
        scalp_mm=crl(0.015, 0.025),
        neck_depth_mm=crl(0.12, 0.16),
        trunk_extra_mm=crl(0.07, 0.12),
        ventral_fluid_mm=crl(0.30, 0.48),
        skin_thickness_mm=rng.uniform(0.3, 0.5),
        skin_db=rng.uniform(4.0, 10.0),
        skull_db=rng.uniform(5.0, 11.0),
        vertebra_pitch_mm=crl(0.017, 0.023),
        vertebra_db=rng.uniform(8.0, 14.0),
        falx_slope=rng.uniform(-0.1, 0.1),
        rotation_rad=np.deg2rad(rng.uniform(-24.0, 24.0)),
        nape_up=bool(rng.random() < 0.4),
    )


def draw_pose(rng: np.random.Generator, body: Body) -> Pose:
    """Draw the pose of one frame; the nape lies 0.10 frame heights towards the side it faces."""
    crl_mm = body.crl_mm
    row = 0.5 + (-0.10 if body.nape_up else 0.10) + rng.uniform(-0.08, 0.08)
    column = 0.5 + rng.uniform(-0.10, 0.10)
    scale, stretch = rng.normal(0.0, 0.08), rng.normal(0.0, 0.05)
    return Pose(
        rotation_rad=body.rotation_rad + np.deg2rad(rng.normal(0.0, 5.0)),
        flip=bool(rng.random() < 0.5),
        nape_up=body.nape_up,
        nape_px=(row * HEIGHT_PX, column * WIDTH_PX),
        thickness_factor=1.0 + rng.normal(0.0, 0.04),
        wall_db=rng.uniform(-5.0, 4.0),
        wall_gap_mm=rng.uniform(1.2, 9.0),
        wall_slope=rng.uniform(-0.12, 0.12),
        amnion=bool(rng.random() < 0.7),
        amnion_gap_mm=rng.uniform(0.8, 4.5),
        amnion_slope=rng.uniform(-0.10, 0.10),
        amnion_db=rng.uniform(-3.0, 8.0),
        limbs=tuple(_draw_limb(rng, body) for _ in range(rng.integers(0, 3))),
        box_shift_mm=(crl_mm * rng.normal(0.0, 0.022), crl_mm * rng.normal(0.0, 0.020)),
        box_size_mm=(0.165 * crl_mm * np.exp(scale - stretch), 0.20 * crl_mm * np.exp(scale + stretch)),
    )


def _draw_limb(rng: np.random.Generator, body: Body) -> Limb:
    return Limb(
        u_mm=body.crl_mm * rng.uniform(-0.05, 0.35),
        v_mm=body.crl_mm * rng.uniform(0.26, 0.42),
        length_mm=body.crl_mm * rng.uniform(0.04, 0.10),
        width_mm=body.crl_mm * rng.uniform(0.015, 0.03),
        angle_rad=rng.uniform(0.0, np.pi),
    )


def box_px(pose: Pose, spacing_mm: float) -> tuple[int, int, int, int]:
    """Box (h_min, w_min, h_max, w_max) around the nape in whole pixels, max exclusive, cut to the frame.

    It is centred on the reference skin and sized by the crown-rump length, so it says nothing of the thickness.
    """
    centre = np.array(pose.nape_px) + np.array(pose.box_shift_mm) @ pose.axes / spacing_mm
    half = np.array(pose.box_size_mm) / spacing_mm / 2
    low = np.maximum(np.rint(centre - half), 0).astype(int)
    high = np.minimum(np.rint(centre + half), (HEIGHT_PX, WIDTH_PX)).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])
