"""Random streams of the phantom, keyed by counters: no draw depends on the order in which frames are made."""

from enum import IntEnum

import cv2
import numpy as np

# Cubic interpolation between independent knots averages them; this restores unit standard deviation, per axis.
_CUBIC_GAIN = 1.09


class Stream(IntEnum):
    """What a generator draws. Thickness has a stream of its own, so changing it leaves every other draw as it was."""

    THICKNESS = 1
    SITE = 2
    ANATOMY = 3
    POSE = 4
    ACQUISITION = 5
    TEXTURE = 6
    SPECKLE = 7


def generator(seed: int, stream: Stream, subject: int, frame: int = 0) -> np.random.Generator:
    """The generator of one stream of one frame; subject-level streams leave `frame` at 0."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(int(stream), subject, frame))))


def smooth_noise(rng: np.random.Generator, knots: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """Smooth Gaussian noise, float32 [rows, columns], mean 0, SD about 1, cubic between `knots` independent values."""
    values = rng.standard_normal(knots, dtype=np.float32)
    gain = _CUBIC_GAIN ** sum(size > 1 for size in knots)
    return cv2.resize(values, shape[::-1], interpolation=cv2.INTER_CUBIC) * np.float32(gain)


def smooth_curve(rng: np.random.Generator, knots: int, length: int) -> np.ndarray:
    """`smooth_noise` along one axis, float32 [length]."""
    return smooth_noise(rng, (1, knots), (1, length))[0]


def complex_noise(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Circular complex Gaussian noise of unit power, complex64 [rows, columns]: fully developed speckle."""
    pairs = rng.standard_normal((*shape, 2), dtype=np.float32)
    pairs *= np.float32(np.sqrt(0.5))
    return pairs.view(np.complex64)[..., 0]
