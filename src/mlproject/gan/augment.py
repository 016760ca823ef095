"""Differentiable augmentation in front of the critic (DiffAugment, Zhao et al. 2020), for grey images.

Applied to real and synthetic images alike, in the critic's and the generator's step: the critic cannot learn a small
training set by heart, and since the generator's gradient passes through the same transformations they do not leak
into its images. Cutout, which can leak, is left out.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mlproject.distributed import ALONE, World

# a shift of up to an eighth of the side, as in the paper
SHIFT_SHARE = 0.125
# ultrasound gain and dynamic range vary by less than the paper's colour settings
BRIGHTNESS = 0.3
CONTRAST = 0.3


@dataclass(frozen=True)
class Augmentation:
    """One draw for a batch of n images: shifts in pixels (int64 [n]) and, or None, brightness and contrast [n]."""

    down: Tensor
    right: Tensor
    brightness: Tensor | None
    contrast: Tensor | None


def draw_augmentation(
    kind: str, count: int, size: int, generator: torch.Generator, device: torch.device, world: World = ALONE
) -> Augmentation | None:
    """Draw for `count` images of `size` pixels from a CPU generator; None, and nothing drawn, for the kind `none`.

    Of several processes each draws for all images and keeps its own rows.

    Real image i and synthetic image i of a critic step share a draw. Each still sees the same distribution of
    transformations, but in the difference of the two mean scores, which is all that a Wasserstein critic learns from,
    the shared brightness cancels: drawn apart, it was seen to drown the difference between the images.
    """
    if kind == "none":
        return None
    assert kind in ("translation", "translation_brightness"), kind
    limit = round(SHIFT_SHARE * size)
    shifts = torch.randint(-limit, limit + 1, (2, count), generator=generator).to(device)
    down, right = world.rows(shifts[0]), world.rows(shifts[1])
    if kind == "translation":
        return Augmentation(down, right, None, None)
    grey = (torch.rand(2, count, generator=generator) * 2 - 1).to(device)
    return Augmentation(down, right, world.rows(BRIGHTNESS * grey[0]), world.rows(1 + CONTRAST * grey[1]))


def augment(images: Tensor, augmentation: Augmentation | None) -> Tensor:
    """Images [n, 1, height, width] in [-1, 1], transformed by a draw, differentiably.

    Brightness may leave [-1, 1], as in the paper: clipping would stop the gradient.
    """
    if augmentation is None:
        return images
    if augmentation.brightness is not None and augmentation.contrast is not None:
        images = change_grey(images, augmentation.brightness, augmentation.contrast)
    return translate(images, augmentation.down, augmentation.right)


def change_grey(images: Tensor, brightness: Tensor, contrast: Tensor) -> Tensor:
    """Add `brightness` [n], then stretch by `contrast` [n] around each image's mean."""
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * contrast.view(-1, 1, 1, 1) + mean + brightness.view(-1, 1, 1, 1)


def translate(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Shift image i by down[i] rows and right[i] columns (int64 [n]); the uncovered border is mid-grey, 0."""
    count, _, height, width = images.shape
    rows = torch.arange(height, device=images.device)[None, :] - down[:, None]
    columns = torch.arange(width, device=images.device)[None, :] - right[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    flat = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
    moved = images.flatten(1).gather(1, flat.flatten(1)).view(count, 1, height, width)
    return moved * inside[:, None].to(images.dtype)
