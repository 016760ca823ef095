"""The networks of the thesis: a DCGAN generator and a critic with group norm (Radford et al. 2016)."""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlproject.gan.conditional import LEAK, ConditionalCritic, ConditionalGenerator, halvings, label_planes
from mlproject.gan.group_norm import GroupNorm
from mlproject.gan.narrow import NarrowConv2d
from mlproject.gan.patches import DoublingConv2d, HalvingConv2d
from mlproject.gan.planes import ToLargerPlane


class VectorToMap(nn.ConvTranspose2d):
    """A transposed convolution of maps of one pixel, which is one product of matrices: [n, c, 1, 1] to [n, o, k, k]."""

    def forward(self, maps: Tensor, output_size: list[int] | None = None) -> Tensor:
        weight = self.weight.permute(0, 2, 3, 1)
        products = maps.flatten(1) @ weight.flatten(1)
        return products.view(-1, *weight.shape[1:]).permute(0, 3, 1, 2)


class MapToScore(nn.Conv2d):
    """A convolution whose kernel covers the whole map, which is one product of matrices: [n, c, k, k] to [n, o]."""

    def forward(self, maps: Tensor) -> Tensor:
        weight = self.weight.permute(0, 2, 3, 1)
        return F.linear(maps.permute(0, 2, 3, 1).flatten(1), weight.flatten(1), self.bias)


class DcganGenerator(ConditionalGenerator):
    """Radford et al. 2016, conditioned by a one-hot label beside the latent vector; batch norm, tanh."""

    def __init__(self, size: int, latent_dim: int, base_channels: int, n_classes: int) -> None:
        super().__init__()
        self.inputs_size = latent_dim
        self.n_classes = n_classes
        stages = halvings(size)
        widths = [base_channels * 2 ** (stages - 1 - index) for index in range(stages)]
        layers: list[nn.Module] = [
            VectorToMap(latent_dim + n_classes, widths[0], 4, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        ]
        for before, after in itertools.pairwise(widths):
            layers += [
                DoublingConv2d(before, after),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
        layers.append(ToLargerPlane(widths[-1]))
        self.layers = nn.Sequential(*layers)
        _draw_dcgan_weights(self)

    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        condition = F.one_hot(labels, self.n_classes).to(inputs.dtype)
        seed_map = torch.cat([inputs, condition], dim=1)[:, :, None, None]
        return torch.tanh(self.layers(seed_map).float())


class DcganCritic(ConditionalCritic):
    """Strided convolutions with group norm (batch norm would tie the images that the penalty treats one by one)."""

    def __init__(self, size: int, base_channels: int, n_classes: int) -> None:
        super().__init__()
        self.n_classes = n_classes
        widths = [base_channels * 2**index for index in range(halvings(size))]
        layers: list[nn.Module] = [NarrowConv2d(1 + n_classes, widths[0]), nn.LeakyReLU(LEAK, inplace=True)]
        for before, after in itertools.pairwise(widths):
            layers += [
                HalvingConv2d(before, after),
                GroupNorm(math.gcd(8, after), after),
                nn.LeakyReLU(LEAK, inplace=True),
            ]
        layers.append(MapToScore(widths[-1], 1, 4))
        self.layers = nn.Sequential(*layers)
        _draw_dcgan_weights(self)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        planes = label_planes(labels, self.n_classes, images)
        return self.layers(torch.cat([images, planes], dim=1)).float().flatten()


def _draw_dcgan_weights(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
