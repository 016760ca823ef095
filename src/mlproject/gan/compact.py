"""Networks that a laptop trains in minutes: bilinear upsampling, noise inputs, grey pictures at every resolution."""

import itertools
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlproject.config import GanConfig
from mlproject.gan.conditional import LEAK, SIDES, ConditionalCritic, ConditionalGenerator, halvings, label_planes
from mlproject.gan.planes import ToPlane


class ModulatedStage(nn.Module):
    """Noise plane, channel norm of each pixel, then scale and shift from latent vector and label, leaky ReLU.

    The norm is over channels alone: no statistic is shared between images or pixels, and one fused kernel computes it.
    The noise comes after the convolution with a strength per channel (Karras et al. 2019): the layer above turns it
    into speckle, which a latent vector is too small to hold.

    `maps` is overwritten, where it can be: the time of a stage goes into moving numbers.
    """

    def __init__(self, channels: int, style_dim: int, normalise: bool, noise: bool) -> None:
        super().__init__()
        self.normalise = normalise
        self.noise_strength = nn.Parameter(torch.full((channels,), 0.1)) if noise else None
        self.style = nn.Linear(style_dim, 2 * channels)
        nn.init.zeros_(self.style.bias)

    def forward(self, maps: Tensor, noise: Tensor, style: Tensor) -> Tensor:
        if self.noise_strength is not None:
            maps.addcmul_(noise.to(maps.dtype), self.noise_strength.to(maps.dtype)[None, :, None, None])
        if self.normalise:
            # channels last in memory, so that the norm runs over contiguous numbers
            maps = F.layer_norm(maps.permute(0, 2, 3, 1), (maps.shape[1],)).permute(0, 3, 1, 2)
        scale, shift = self.style(style).to(maps.dtype)[:, :, None, None].chunk(2, dim=1)
        return F.leaky_relu_(torch.addcmul(shift, maps, 1 + scale), LEAK)


class CompactGenerator(ConditionalGenerator):
    """Convolutions and bilinear upsampling (Odena et al. 2016), each followed by a `ModulatedStage`.

    The label enters every stage through its embedding, not only the first, where fine structure no longer sees it.
    `base_channels` is the width at half the full resolution, as in the critic; the finest map, where time goes into
    moving numbers and not into multiplying them, has half of it and no norm.

    The image is the sum of a grey picture from each resolution of `picture_sides` (Karras et al. 2020). All but the
    coarsest start at zero, so that anatomy is settled before texture.
    """

    def __init__(self, config: GanConfig, size: int, n_classes: int) -> None:
        super().__init__()
        stages, latent_dim, base_channels = halvings(size), config.latent_dim, config.base_channels
        widths = [base_channels * 2 ** (stages - 1 - index) for index in range(stages)]
        widths.append(base_channels // 2)
        self.sides = [4 * 2**index for index in range(stages + 1)]
        self.picture_sides = picture_sides(size)
        self.latent_dim = latent_dim
        self.inputs_size = latent_dim + sum(side * side for side in self.sides)
        style_dim = 2 * latent_dim
        self.label_embedding = nn.Embedding(n_classes, latent_dim)
        nn.init.normal_(self.label_embedding.weight, 0.0, config.label_scale)
        self.first = nn.Linear(style_dim, widths[0] * 16)
        self.convolutions = nn.ModuleList(_upsampling(before, after) for before, after in itertools.pairwise(widths))
        self.modulations = nn.ModuleList(
            ModulatedStage(width, style_dim, normalise=index < stages, noise=config.noise)
            for index, width in enumerate(widths)
        )
        self.to_grey = nn.ModuleDict(
            {
                str(side): _zeroed(ToPlane(widths[self.sides.index(side)]), index > 0)
                for index, side in enumerate(self.picture_sides)
            }
        )

    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        latent, *planes = inputs.split([self.latent_dim, *(side * side for side in self.sides)], dim=1)
        style = torch.cat([latent, self.label_embedding(labels)], dim=1)
        maps = self.first(style).unflatten(1, (-1, 4, 4)).contiguous(memory_format=torch.channels_last)
        maps = self.modulations[0](maps, planes[0].unflatten(1, (1, 4, 4)), style)
        grey: Tensor | None = None
        for convolution, modulation, plane, own_side in zip(
            self.convolutions, self.modulations[1:], planes[1:], self.sides[1:], strict=True
        ):
            maps = modulation(convolution(maps), plane.unflatten(1, (1, own_side, own_side)), style)
            if own_side in self.picture_sides:
                addition = self.to_grey[str(own_side)](maps).float()
                grey = addition if grey is None else addition + F.interpolate(grey, scale_factor=2, mode="bilinear")
        assert grey is not None
        return torch.tanh(grey)


class CompactCritic(ConditionalCritic):
    """Strided convolutions without any norm; the label as input planes and as a projection (Miyato & Koyama 2018).

    The planes let every layer look for what the class changes; the projection alone was seen to be ignored. The image
    enters at every resolution of `picture_sides`, and finer maps are added to coarser ones from zero.
    """

    def __init__(self, config: GanConfig, size: int, n_classes: int) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.group = config.minibatch_group
        self.sees_planes = config.conditioning != "projection"
        stages, base_channels = halvings(size), config.base_channels
        # the map of side `sides[i]` has widths[i] channels
        self.sides = [size // 2**index for index in range(stages + 1)]
        self.picture_sides = picture_sides(size)
        widths = [
            max(base_channels // 2, 4),
            *(base_channels * 2**index for index in range(stages)),
        ]
        self.entrances = nn.ModuleDict(
            {
                str(side): _rectified(nn.Conv2d(1 + n_classes, widths[self.sides.index(side)], 3, 1, 1))
                for side in self.picture_sides
            }
        )
        self.convolutions = nn.ModuleList(
            _zeroed(_rectified(nn.Conv2d(before, after, 4, 2, 1)), index < len(self.picture_sides) - 1)
            for index, (before, after) in enumerate(itertools.pairwise(widths))
        )
        self.joint = _rectified(nn.Conv2d(widths[-1] + 1, widths[-1], 3, 1, 1))
        self.score = nn.Linear(widths[-1] * 16, 1)
        self.projection = nn.Embedding(n_classes, widths[-1]) if config.conditioning != "planes" else None
        if self.projection is not None:
            nn.init.normal_(self.projection.weight, 0.0, widths[-1] ** -0.5)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        maps: Tensor | None = None
        for index, own_side in enumerate(self.sides):
            if maps is not None:
                maps = F.leaky_relu(self.convolutions[index - 1](maps), LEAK)
            if own_side in self.picture_sides:
                if own_side < images.shape[2]:
                    images = F.avg_pool2d(images, 2)
                planes = label_planes(labels, self.n_classes, images)
                if not self.sees_planes:
                    planes = torch.zeros_like(planes)
                entering = F.leaky_relu(self.entrances[str(own_side)](torch.cat([images, planes], dim=1)), LEAK)
                maps = entering if maps is None else maps + entering
        assert maps is not None
        maps = torch.cat([maps, minibatch_deviation(maps, self.group)], dim=1)
        maps = F.leaky_relu(self.joint(maps), LEAK)
        score = self.score(maps.flatten(1)).float().squeeze(1)
        if self.projection is not None:
            # summed over the 16 places and scaled so that its size at the start is that of the score
            pooled = maps.float().sum(dim=(2, 3)) / 4
            score = score + (pooled * self.projection(labels)).sum(dim=1)
        # averaging 2x2 pixels halves the gradient's length: scaled to start where the penalty will bring it
        return score * (self.sides[0] / self.picture_sides[0])


def _rectified(convolution: nn.Conv2d) -> nn.Conv2d:
    """Weights whose output keeps its variance behind a leaky ReLU (He et al. 2015), and a bias of zero."""
    nn.init.kaiming_normal_(convolution.weight, LEAK)
    nn.init.zeros_(cast(Tensor, convolution.bias))
    return convolution


def _upsampling(before: int, after: int) -> nn.Sequential:
    """A convolution, then twice the side by bilinear interpolation.

    Transposed convolutions left a mesh on every image here and learnt texture before shape; interpolation cannot draw
    a mesh, and convolving before it costs a quarter of convolving after it.
    """
    convolution = _rectified(nn.Conv2d(before, after, 3, 1, 1))
    return nn.Sequential(convolution, nn.Upsample(scale_factor=2, mode="bilinear"))


def _zeroed(convolution: nn.Conv2d, zero: bool) -> nn.Conv2d:
    """The convolution, without weights and bias when `zero`: what it adds grows from nothing."""
    if zero:
        nn.init.zeros_(convolution.weight)
        nn.init.zeros_(cast(Tensor, convolution.bias))
    return convolution


def picture_sides(size: int) -> tuple[int, ...]:
    """The resolutions at which grey pictures leave the generator and enter the critic: 16, 32, ... up to `size`."""
    return tuple(side for side in SIDES if side <= size)


def group_size(count: int, group: int) -> int:
    """Images in each group of a batch of `count`: its largest divisor up to `group`; 1 where groups are turned off."""
    return max(divisor for divisor in range(1, max(group, 1) + 1) if count % divisor == 0)


def minibatch_deviation(maps: Tensor, group: int) -> Tensor:
    """Mean standard deviation of the maps over groups of neighbouring images, as a plane (Karras et al. 2018).

    It shows the critic a generator that repeats itself. Groups are of neighbours in the batch, so a batch that is
    cut between groups, as data-parallel training cuts it, gives the same numbers.

    Args:
        maps: [n, channels, height, width].
        group: images in a group, see `group_size`. 0 gives a plane of zeros.

    Returns:
        [n, 1, height, width], the same value at every place and for every image of a group.
    """
    count, _channels, height, width = maps.shape
    if group == 0:
        return maps.new_zeros(count, 1, height, width)
    size = group_size(count, group)
    # double backward runs through this: the square root keeps clear of zero
    grouped = maps.float().unflatten(0, (count // size, size))
    deviation = (grouped.var(dim=1, correction=0) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    planes = deviation.repeat_interleave(size)[:, None, None, None].expand(-1, 1, height, width)
    return planes.to(maps.dtype)
