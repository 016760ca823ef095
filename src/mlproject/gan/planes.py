"""Convolutions to one channel, the last layers of both generators, as one product of matrices and sums of planes.

PyTorch's kernels make whole blocks of channels, of which only one is wanted here. Their derivatives are no slower than
those of the sums, so this is for drawing images on a CPU: where a derivative is recorded, PyTorch's own are taken.
"""

import itertools

import torch
from torch import Tensor, nn


class ToPlane(nn.Conv2d):
    """A 3x3 convolution with bias to one channel, padding 1: [n, c, h, w] to [n, 1, h, w]."""

    def __init__(self, before: int) -> None:
        super().__init__(before, 1, 3, 1, 1)

    def forward(self, maps: Tensor) -> Tensor:
        # in bfloat16 PyTorch's own is as fast, and rounds once instead of nine times
        if not _only_drawn(maps) or torch.is_autocast_enabled("cpu"):
            return super().forward(maps)
        height, width = maps.shape[2:]
        taps = _products(maps, self.weight[0]).unflatten(0, (3, 3))
        plane = taps.new_zeros(len(maps), height + 2, width + 2)
        for row, column in itertools.product(range(3), range(3)):
            plane[:, 2 - row : 2 - row + height, 2 - column : 2 - column + width] += taps[row, column]
        assert self.bias is not None
        return plane[:, None, 1:-1, 1:-1] + self.bias


class ToLargerPlane(nn.ConvTranspose2d):
    """A transposed 4x4 convolution with bias to one channel, stride 2, padding 1: [n, c, h, w] to [n, 1, 2h, 2w]."""

    def __init__(self, before: int) -> None:
        super().__init__(before, 1, 4, 2, 1)

    def forward(self, maps: Tensor, output_size: list[int] | None = None) -> Tensor:
        if not _only_drawn(maps):
            return super().forward(maps, output_size)
        height, width = maps.shape[2:]
        # kernel rows by twos, then their parity, which is that of the rows that they paint; the same of columns
        taps = _products(maps, self.weight[:, 0]).unflatten(0, (2, 2, 2, 2))
        planes = taps.new_zeros(2, 2, len(maps), height + 1, width + 1)
        for row, column in itertools.product(range(2), range(2)):
            planes[..., row : row + height, column : column + width] += taps[row, :, column]
        plane = planes.permute(2, 3, 0, 4, 1).reshape(len(maps), 1, 2 * height + 2, 2 * width + 2)
        assert self.bias is not None
        return plane[..., 1:-1, 1:-1] + self.bias


def _only_drawn(maps: Tensor) -> bool:
    return maps.device.type == "cpu" and not torch.is_grad_enabled()


def _products(maps: Tensor, kernels: Tensor) -> Tensor:
    """Maps [n, c, h, w] by kernels [c, side, side], a plane for each tap: [side * side, n, h, w], at least float32."""
    count, channels, height, width = maps.shape
    places = maps.permute(0, 2, 3, 1).reshape(-1, channels)
    products = kernels.flatten(1).t() @ places.t()
    return products.to(torch.promote_types(products.dtype, torch.float32)).view(-1, count, height, width)
