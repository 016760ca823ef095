"""Differentiable augmentation in front of the critic (DiffAugment, Zhao et al. 2020), for grey images.

Applied to real and synthetic images alike, in the critic's and the generator's step: the critic cannot learn a small
training set by heart, and since the generator's gradient passes through the same transformations they do not leak
into its images. Cutout, which can leak, is left out.
"""

import torch
from torch import Tensor

# a shift of up to an eighth of the side, as in the paper
SHIFT_SHARE = 0.125
# ultrasound gain and dynamic range vary by less than the paper's colour settings
BRIGHTNESS = 0.3
CONTRAST = 0.3


def augment(images: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """Each image [n, 1, height, width] in [-1, 1] with its own draw from `generator` (a CPU generator).

    Args:
        kind: `none`, `translation`, or `translation_brightness` (also contrast).

    Returns:
        The same shape; brightness may leave [-1, 1], as in the paper: clipping would stop the gradient.
    """
    if kind == "none":
        return images
    assert kind in ("translation", "translation_brightness"), kind
    if kind == "translation_brightness":
        draws = (torch.rand(2, images.shape[0], generator=generator) * 2 - 1).to(images.device)
        images = change_grey(images, BRIGHTNESS * draws[0], 1 + CONTRAST * draws[1])
    limit = round(SHIFT_SHARE * images.shape[2])
    shifts = torch.randint(-limit, limit + 1, (2, images.shape[0]), generator=generator).to(images.device)
    return translate(images, shifts[0], shifts[1])


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
