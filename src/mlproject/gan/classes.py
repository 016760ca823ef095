"""An auxiliary classifier beside the critic (Odena et al. 2017): it learns the class from real images only."""

import itertools
import math

import torch.nn.functional as F
from torch import Tensor, nn

_CHANNELS = 16
_LEAK = 0.2


class ClassHead(nn.Module):
    """Small strided convolutions from an image [n, 1, size, size] to class logits [n, n_classes].

    It has no part of the critic, which knows the label from its input planes and would read the class off them.
    """

    def __init__(self, size: int, n_classes: int) -> None:
        super().__init__()
        stages = int(math.log2(size)) - 2
        widths = [1, *(min(_CHANNELS * 2**index, 128) for index in range(stages))]
        self.layers = nn.ModuleList(nn.Conv2d(before, after, 4, 2, 1) for before, after in itertools.pairwise(widths))
        self.logits = nn.Linear(widths[-1], n_classes)

    def forward(self, images: Tensor) -> Tensor:
        for layer in self.layers:
            images = F.leaky_relu(layer(images), _LEAK)
        return self.logits(images.mean(dim=(2, 3))).float()
