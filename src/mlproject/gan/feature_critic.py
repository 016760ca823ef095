"""A second critic that sees an image through the frozen maps of an ImageNet network (projected GAN).

A critic of pixels learns texture within minutes and shape within hours, since it has to learn first what a border is.
Frozen features know that already (Sauer et al. 2021, "Projected GANs converge faster"). It stays a Wasserstein critic:
its gradient penalty is taken in the space it works in, between the maps of real and of synthetic images, so that no
second derivative runs through the frozen network. The critic of pixels stays beside it, because the maps of a network
that was trained on photographs do not tell one speckle from another.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlproject.gan.conditional import LEAK, label_planes

_WIDTH = 64
_MEASURED = 256  # images that give the scale of each channel

FeatureMaps = Callable[[Tensor], Sequence[Tensor]]


class FeatureCritic(nn.Module):
    """A small head on the maps of each resolution; the score of an image is the sum of theirs.

    Each head sees the label as planes beside the maps and as a projection of its pooled output, as the critic of
    pixels does.
    """

    def __init__(self, maps_of: FeatureMaps, real: Tensor, n_classes: int) -> None:
        """See the class.

        Args:
            maps_of: float images [n, 1, size, size] in [-1, 1] to maps [n, channels, side, side], frozen and
                differentiable with respect to the images. It is not part of this module and not saved with it.
            real: training images in [-1, 1]; every channel is put to mean 0 and deviation 1 over the first of them.
            n_classes: number of labels.
        """
        super().__init__()
        self.maps_of = maps_of
        self.n_classes = n_classes
        with torch.no_grad():
            parts = [maps_of(part) for part in real[:_MEASURED].split(64)]
        measured = [torch.cat(maps) for maps in zip(*parts, strict=True)]
        self.scales = [
            (maps.mean(dim=(0, 2, 3), keepdim=True), maps.std(dim=(0, 2, 3), keepdim=True) + 1e-3) for maps in measured
        ]
        self.channels = [maps.shape[1] for maps in measured]
        self.heads = nn.ModuleList(_Head(count, n_classes) for count in self.channels)

    def maps(self, images: Tensor) -> list[Tensor]:
        """The scaled maps of images, in single precision."""
        with torch.autocast(images.device.type, enabled=False):
            return [
                (maps - mean) / deviation
                for maps, (mean, deviation) in zip(self.maps_of(images.float()), self.scales, strict=True)
            ]

    def forward(self, maps: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Scores [n] of images with these maps."""
        scores = [head(part, labels) for head, part in zip(self.heads, maps, strict=True)]
        return torch.stack(scores).sum(dim=0)


class _Head(nn.Module):
    def __init__(self, channels: int, n_classes: int) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.first = nn.Conv2d(channels + n_classes, _WIDTH, 3, 1, 1)
        self.second = nn.Conv2d(_WIDTH, _WIDTH, 3, 1, 1)
        self.score = nn.Conv2d(_WIDTH, 1, 1)
        self.projection = nn.Embedding(n_classes, _WIDTH)
        for convolution in (self.first, self.second):
            nn.init.kaiming_normal_(convolution.weight, LEAK)
        nn.init.normal_(self.projection.weight, 0.0, _WIDTH**-0.5)

    def forward(self, maps: Tensor, labels: Tensor) -> Tensor:
        maps = torch.cat([maps, label_planes(labels, self.n_classes, maps)], dim=1)
        maps = F.leaky_relu(self.second(F.leaky_relu(self.first(maps), LEAK)), LEAK)
        pooled = (maps.float().mean(dim=(2, 3)) * self.projection(labels)).sum(dim=1)
        return self.score(maps).float().mean(dim=(1, 2, 3)) + pooled


def map_gradient_norms(
    critic: FeatureCritic, real: Sequence[Tensor], fake: Sequence[Tensor], labels: Tensor, weights: Tensor
) -> Tensor:
    """The length of d score / d maps between paired images' maps, [n]; all resolutions count together.

    Each map's distances are divided by the root of its number of places, so that a fine map does not outweigh a
    coarse one.

    Args:
        critic: the feature critic.
        real, fake: maps of real and synthetic images, paired.
        labels: int64 [n].
        weights: share of each real image, in [0, 1], [n].
    """
    share = weights.view(-1, 1, 1, 1)
    # the variable is the map over the root of its places: its gradient is that many times longer
    roots = [(part.shape[2] * part.shape[3]) ** 0.5 for part in real]
    between = [
        ((share * first + (1 - share) * second) / root).detach().requires_grad_(True)
        for first, second, root in zip(real, fake, roots, strict=True)
    ]
    with torch.enable_grad():
        scores = critic([part * root for part, root in zip(between, roots, strict=True)], labels)
        gradients = torch.autograd.grad(scores.sum(), between, create_graph=True)
    squares = torch.stack([gradient.square().flatten(1).sum(dim=1) for gradient in gradients]).sum(dim=0)
    return (squares + 1e-12).sqrt()
