"""Auxiliary classifiers beside the critic (Odena et al. 2017): they tell the generator which class its images show.

They have no part of the critic, which knows the label from its input planes and would read the class off them. Both
kinds offer `losses`, what they learn from in a critic step, and `generator_loss`, what the generator learns from them;
the configuration's `auxiliary_kind` names one.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlproject.distributed import World
from mlproject.gan.augment import Augmentation, augment, draw_augmentation
from mlproject.gan.batches import mirror_some
from mlproject.gan.conditional import LEAK

_CHANNELS = 16  # of the first convolution over pixels
# Of a twin, at each depth. 600 images of 200 phantom subjects, 600 steps: AUC 0.90 and cross-entropy 0.40 on 1,500
# images of others, 0.46 without dropout, 0.55 with 64 channels and without; the convolutions over pixels 0.83 and 0.58.
_TWIN_CHANNELS = 8
_DROPPED = 0.5


class Seen(NamedTuple):
    """A batch as a classifier sees it."""

    images: Tensor  # [n, 1, size, size] in [-1, 1]
    maps: Sequence[Tensor]  # of the feature critic's network, [n, channels, side, side] each; none without that critic
    labels: Tensor  # int64 [n]


class PixelClasses(nn.Module):
    """Small strided convolutions from an image [n, 1, size, size] to class logits [n, n_classes].

    They learn from real images alone, moved about and mirrored: they would soon know the training images by heart and
    have nothing to say.
    """

    def __init__(self, size: int, n_classes: int) -> None:
        super().__init__()
        stages = int(math.log2(size)) - 2
        widths = [1, *(min(_CHANNELS * 2**index, 128) for index in range(stages))]
        self.layers = nn.ModuleList(nn.Conv2d(before, after, 4, 2, 1) for before, after in itertools.pairwise(widths))
        self.logits = nn.Linear(widths[-1], n_classes)

    def forward(self, images: Tensor) -> Tensor:
        for layer in self.layers:
            images = F.leaky_relu(layer(images), LEAK)
        return self.logits(images.mean(dim=(2, 3))).float()

    def losses(self, real: Seen, fake: Seen, draw: torch.Generator, world: World) -> Mapping[str, Tensor]:
        """`class_loss`: cross-entropy on real images. Draws are of the whole batch, of which a process keeps rows."""
        moved = _moves(real.images, draw, world)
        mirrored = mirror_some(real.images, draw, world)
        return {"class_loss": F.cross_entropy(self(augment(mirrored, moved)), real.labels)}

    def generator_loss(self, fake: Seen, draw: torch.Generator, world: World) -> tuple[Tensor, Mapping[str, Tensor]]:
        """What the generator lowers, and what is to be reported: the cross-entropy of its images, both."""
        loss = F.cross_entropy(self(augment(fake.images, _moves(fake.images, draw, world))), fake.labels)
        return loss, {"generator_class_loss": loss}


class TwinClasses(nn.Module):
    """Two classifiers on the frozen maps of the feature critic (twin auxiliary classifiers, Gong et al. 2019).

    One learns the class from real images, its twin from synthetic ones, and the generator lowers the cross-entropy of
    the first less that of the twin. A single classifier asks for images that show their class as clearly as can be, by
    any mark that convinces it; the twin finds such marks, and where it knows the class as well as the first does there
    is nothing to gain: the class is as clear as in real images, by the same marks.
    """

    def __init__(self, channels: Sequence[int], n_classes: int) -> None:
        """See the class.

        Args:
            channels: of the maps of each depth.
            n_classes: number of labels.
        """
        super().__init__()
        self.real, self.synthetic = (_MapClasses(channels, n_classes) for _ in range(2))

    def losses(self, real: Seen, fake: Seen, draw: torch.Generator, world: World) -> Mapping[str, Tensor]:
        """Cross-entropies: `class_loss` on real images and `twin_class_loss`, the twin's, on synthetic ones."""
        kept = self._kept(real, draw, world)
        return {
            "class_loss": F.cross_entropy(self.real(real.maps, kept[0]), real.labels),
            "twin_class_loss": F.cross_entropy(self.synthetic(fake.maps, kept[1]), fake.labels),
        }

    def generator_loss(self, fake: Seen, draw: torch.Generator, world: World) -> tuple[Tensor, Mapping[str, Tensor]]:
        """What the generator lowers, and what is to be reported: both cross-entropies of its images."""
        kept = self._kept(fake, draw, world)
        loss = F.cross_entropy(self.real(fake.maps, kept[0]), fake.labels)
        twin = F.cross_entropy(self.synthetic(fake.maps, kept[1]), fake.labels)
        return loss - twin, {"generator_class_loss": loss, "generator_twin_class_loss": twin}

    def _kept(self, seen: Seen, draw: torch.Generator, world: World) -> Tensor:
        """What dropout leaves of the pooled maps, 0 or 2, for both classifiers: [2, n, features]."""
        features, count = self.real.logits.in_features, len(seen.labels) * world.size
        kept = world.rows(torch.rand(count, 2, features, generator=draw) >= _DROPPED).to(seen.labels.device)
        return kept.transpose(0, 1) / (1 - _DROPPED)


class _MapClasses(nn.Module):
    """From maps at several depths to class logits: two convolutions at each depth, pooled, side by side."""

    def __init__(self, channels: Sequence[int], n_classes: int) -> None:
        super().__init__()
        self.first = nn.ModuleList(nn.Conv2d(count, _TWIN_CHANNELS, 3, 1, 1) for count in channels)
        self.second = nn.ModuleList(nn.Conv2d(_TWIN_CHANNELS, _TWIN_CHANNELS, 3, 1, 1) for _ in channels)
        self.logits = nn.Linear(_TWIN_CHANNELS * len(channels), n_classes)

    def forward(self, maps: Sequence[Tensor], kept: Tensor) -> Tensor:
        """Logits [n, n_classes]; the pooled features [n, features] are multiplied by `kept`."""
        pooled = [
            F.leaky_relu(second(F.leaky_relu(first(part), LEAK)), LEAK).float().mean(dim=(2, 3))
            for part, first, second in zip(maps, self.first, self.second, strict=True)
        ]
        return self.logits(torch.cat(pooled, dim=1) * kept).float()


def _moves(images: Tensor, draw: torch.Generator, world: World) -> Augmentation | None:
    return draw_augmentation("translation", len(images) * world.size, images.shape[-1], draw, images.device, world)
