"""Augmentation of training crops with Albumentations, deterministic in a seed.

The usual list of a photo recipe, item by item, for grey ultrasound:

- horizontal flip: kept. The fetus lies either way round.
- vertical flip, rotation by 90 degrees or more: left out. Depth runs down the image: attenuation, shadow and
  enhancement lie below their cause, and speckle is longer across the beam than along it.
- small shift, scale and rotation: kept, with mirrored borders. Scale stays within 8 % at every level, because the
  thickness of the translucency in pixels is what the label is about.
- brightness, contrast, gamma: kept. They are the machine's gain and grey map.
- multiplicative noise: kept, mild and pixel by pixel, the nearest to speckle after log compression.
- Gaussian noise, blur: in `seed` and `strong` only and mild; blur widens thin bright lines, which are the
  translucency's walls.
- elastic deformation: in `seed` only and mild; a strong one bends the walls apart and with them the label.
- coarse dropout: in `seed` and `strong` only, one small patch, like a shadow; a patch over the translucency removes
  the label.
- hue, saturation, channel shuffling, RGB shift, grey conversion: left out. A grey image has no colour.
- random crop with resizing: left out. It changes the scale at random.

The levels light, medium and strong widen shift, turn, gain and noise, and touch more images; `seed` is light and the
thesis's further items.
"""

import functools
import os

# the library asks the network for a newer version of itself at import, unless told not to
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import cv2
import numpy as np

PIPELINES = ("none", "light", "medium", "strong", "seed")
# by level: shift as a share of the side, turn in degrees, brightness, contrast, gamma in percent, noise, and the
# factor on how often each is applied
_LEVELS = {
    "light": (0.06, 8, 0.12, 0.15, (85, 118), 0.08, 1.0),
    "medium": (0.10, 12, 0.20, 0.25, (75, 133), 0.15, 1.4),
    "strong": (0.15, 18, 0.30, 0.35, (65, 150), 0.25, 1.8),
}


def pipeline(name: str) -> A.Compose:
    """The transforms of one name, for uint8 [height, width, 1] images.

    Raises:
        ValueError: an unknown name; the configuration refuses it earlier.
    """
    if name not in PIPELINES:
        raise ValueError(f"augment {name!r} is none of {', '.join(PIPELINES)}")
    transforms: list[A.BasicTransform] = []
    if name != "none":
        shift, turn, brightness, contrast, gamma, noise, often = _LEVELS.get(name, _LEVELS["light"])
        transforms += [
            A.HorizontalFlip(p=0.5),
            A.Affine(
                translate_percent={"x": (-shift, shift), "y": (-shift, shift)},
                scale=(0.92, 1.08),
                rotate=(-turn, turn),
                border_mode=cv2.BORDER_REFLECT_101,
                p=0.5 * often,
            ),
            A.RandomBrightnessContrast(brightness_limit=brightness, contrast_limit=contrast, p=0.5 * often),
            A.RandomGamma(gamma_limit=gamma, p=0.3 * often),
            A.MultiplicativeNoise(multiplier=(1 - noise, 1 + noise), elementwise=True, p=0.2 * often),
        ]
    if name in ("seed", "strong"):
        transforms += [A.GaussNoise(std_range=(0.01, 0.03), p=0.2), A.GaussianBlur(blur_limit=(3, 3), p=0.1)]
    if name == "seed":
        transforms.append(A.ElasticTransform(alpha=8, sigma=6, border_mode=cv2.BORDER_REFLECT_101, p=0.1))
    if name in ("seed", "strong"):
        transforms.append(
            A.CoarseDropout(
                num_holes_range=(1, 1), hole_height_range=(0.08, 0.16), hole_width_range=(0.08, 0.16), fill=0, p=0.2
            )
        )
    return A.Compose(transforms)


@functools.cache
def _shared(name: str) -> A.Compose:
    # one per process; augment_batch seeds it anew each time, so nothing is carried over
    return pipeline(name)


def augment_batch(images: np.ndarray, name: str, seed: int) -> np.ndarray:
    """Augment a batch; the same images, name and seed give the same result.

    Args:
        images: uint8 [n, height, width]; not changed.
        name: one of `PIPELINES`.
        seed: of this batch, such as `seed_for(config.seed, "augment", step)`.

    Returns:
        uint8 [n, height, width].
    """
    assert images.dtype == np.uint8
    assert images.ndim == 3
    if name == "none" or len(images) == 0:
        return images.copy()
    transform = _shared(name)
    transform.set_random_seed(seed)
    return np.stack([transform(image=image[:, :, None])["image"][:, :, 0] for image in images])
