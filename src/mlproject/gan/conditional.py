"""What every conditional generator and critic shares.

A generator is `generator(inputs [n, inputs_size], labels int64 [n])`, [n, 1, size, size] in [-1, 1]: the random inputs
hold everything that is drawn, the latent vector first and then the noise planes, so that whoever owns the random
numbers owns the image. A critic is `critic(images, labels) -> [n]`, unbounded.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from mlproject.errors import UserError

if TYPE_CHECKING:
    from mlproject.gan.classes import PixelClasses, TwinClasses
    from mlproject.gan.feature_critic import FeatureCritic

LEAK = 0.2
# sides of images that the networks can draw, in pixels
SIDES = (16, 32, 64, 128, 256, 512)


class ConditionalGenerator(nn.Module):
    """What every generator tells: the width of its random inputs."""

    inputs_size: int


class ConditionalCritic(nn.Module):
    """What every critic may carry beside its score of pixels: a classifier, a critic of features."""

    def __init__(self) -> None:
        super().__init__()
        self.classes: PixelClasses | TwinClasses | None = None
        self.features: FeatureCritic | None = None


def halvings(size: int) -> int:
    """How often `size` halves on its way down to a 4x4 map.

    Raises:
        UserError: the side is not a power of two from 16 to 512.
    """
    if size not in SIDES:
        raise UserError(f"data.size: {size} does not fit the GAN, which doubles a 4x4 map; use 16, 32, 64, 128, ...")
    return int(math.log2(size)) - 2


def label_planes(labels: Tensor, n_classes: int, like: Tensor) -> Tensor:
    """The one-hot label as constant planes [n, n_classes, height, width] with the dtype and size of `like`."""
    one_hot = F.one_hot(labels, n_classes).to(like.dtype)
    return one_hot[:, :, None, None].expand(-1, -1, like.shape[2], like.shape[3])
