"""4x4 convolutions of stride 2 in bfloat16 on a CPU, as products of large matrices.

PyTorch's own kernels reach a small part of what a CPU multiplies in bfloat16, least in the derivatives of wide layers,
of which the gradient penalty has many. One product of two matrices comes near to it, so a convolution is written as one
over patches ("im2col", Chellapilla et al. 2006). A transposed convolution is written over patches of its own input,
four outputs at a time, so that nothing has to be summed up afterwards: beside the products there are only copies. Of
the smallest maps alone the patches are mostly border, and there the products are summed.

The three operations that follow from one another - the convolution, its transpose, and the products of maps that are
the derivative by the kernels - are each other's derivatives, so derivatives of any order are here too.

Maps are channels last in memory: [n, channels, height, width] as a view of [n, height, width, channels].
"""

import itertools
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mlproject.gan.autograd import is_wanted

# narrower layers copy for longer than they multiply
LEAST_CHANNELS = 64
KERNEL, STRIDE = 4, 2
# a border around 4x4 maps would be half as much again to multiply; with larger ones the sums cost more than the border
MOST_PLACES_SUMMED = 16


class Kernels(NamedTuple):
    """A weight [o, c, 4, 4] as the two matrices that it is multiplied as; only `rows` has a derivative."""

    rows: Tensor  # [o, 16c]
    taps: Tensor  # [4o, 4c]

    def detach(self) -> "Kernels":
        return Kernels(self.rows.detach(), self.taps)


class _Flattening(nn.Module):
    """Keeps the kernels as matrices until the weight changes: all passes of a step share them, and their derivative."""

    weight: Tensor
    in_channels: int
    out_channels: int
    _kept: tuple[tuple[Any, ...], Kernels] | None = None

    def multiplies(self, maps: Tensor) -> bool:
        """Whether products of matrices are worth their copies: wide layers in bfloat16 on the CPU."""
        return (
            maps.device.type == "cpu"
            and torch.is_autocast_enabled("cpu")
            and torch.get_autocast_dtype("cpu") == torch.bfloat16
            and min(self.in_channels, self.out_channels) >= LEAST_CHANNELS
        )

    def kernels(self) -> Kernels:
        """The weight in bfloat16, with a derivative where one is asked for."""
        wanted = torch.is_grad_enabled() and self.weight.requires_grad
        if torch.is_inference_mode_enabled():
            # such tensors can never take part in a derivative later
            return flat_kernels(self.weight, torch.bfloat16)
        state = (self.weight.data_ptr(), self.weight._version)
        if self._kept is None or self._kept[0] != state or (wanted and not self._kept[1].rows.requires_grad):
            self._kept = state, flat_kernels(self.weight, torch.bfloat16)
        return self._kept[1] if wanted else self._kept[1].detach()

    def __getstate__(self) -> dict[str, Any]:
        # a copy has a weight of its own
        return {**self.__dict__, "_kept": None}


class HalvingConv2d(_Flattening, nn.Conv2d):
    """A convolution with a 4x4 kernel, stride 2 and padding 1, without bias, for maps of even sides."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, KERNEL, STRIDE, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        if self.multiplies(maps):
            return halving_convolution(maps.bfloat16(), self.kernels())
        return super().forward(maps)


class DoublingConv2d(_Flattening, nn.ConvTranspose2d):
    """A transposed convolution with a 4x4 kernel, stride 2 and padding 1, without bias."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, KERNEL, STRIDE, 1, bias=False)

    def forward(self, maps: Tensor, output_size: list[int] | None = None) -> Tensor:
        if self.multiplies(maps):
            return doubling_convolution(maps.bfloat16(), self.kernels())
        return super().forward(maps, output_size)


def flat_kernels(weight: Tensor, dtype: torch.dtype) -> Kernels:
    """The weight [o, c, 4, 4] in `dtype`, channels innermost."""
    rows = weight.to(dtype).permute(0, 2, 3, 1).reshape(len(weight), -1)
    return Kernels(rows, _taps(rows.detach()))


def halving_convolution(maps: Tensor, kernels: Kernels) -> Tensor:
    """`conv2d(maps, weight, stride=2, padding=1)` for 4x4 kernels.

    Args:
        maps: [n, c, height, width], sides even.
        kernels: `flat_kernels` of the weight [o, c, 4, 4], in the precision of the maps.

    Returns:
        [n, o, height / 2, width / 2], differentiable any number of times.
    """
    return _Halving.apply(maps, *kernels, None)


def doubling_convolution(maps: Tensor, kernels: Kernels) -> Tensor:
    """`conv_transpose2d(maps, weight, stride=2, padding=1)` for 4x4 kernels: the other's derivative.

    Args:
        maps: [n, o, height, width].
        kernels: `flat_kernels` of the weight [o, c, 4, 4], in the precision of the maps.

    Returns:
        [n, c, 2 height, 2 width], differentiable any number of times.
    """
    return _Doubling.apply(maps, *kernels)


class _Halving(torch.autograd.Function):
    """`known` are the patches of the maps where somebody has them."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, rows: Tensor, taps: Tensor, known: Tensor | None) -> Tensor:
        count, _, height, width = maps.shape
        known = patches(maps, KERNEL, STRIDE) if known is None else known
        ctx.save_for_backward(maps, rows, taps, known)
        return torch.mm(known, rows.t()).view(count, height // 2, width // 2, -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        maps, rows, taps, known = ctx.saved_tensors
        (gradient,) = gradients
        for_maps = _Doubling.apply(gradient, rows, taps) if is_wanted(ctx, 0) else None
        for_rows = _KernelProducts.apply(maps, gradient, known) if is_wanted(ctx, 1) else None
        return for_maps, for_rows, None, None


class _Doubling(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, rows: Tensor, taps: Tensor) -> Tensor:
        ctx.save_for_backward(maps, rows, taps)
        large = maps.shape[2] * maps.shape[3] > MOST_PLACES_SUMMED
        return (_gathered(maps, taps) if large else _summed(maps, rows)).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        maps, rows, taps = ctx.saved_tensors
        (gradient,) = gradients
        known = patches(gradient.detach(), KERNEL, STRIDE)
        for_maps = _Halving.apply(gradient, rows, taps, known) if is_wanted(ctx, 0) else None
        for_rows = _KernelProducts.apply(gradient, maps, known) if is_wanted(ctx, 1) else None
        return for_maps, for_rows, None


class _KernelProducts(torch.autograd.Function):
    """The derivative by the kernels' rows [o, 16c] of `(halved * _Halving(maps, rows)).sum()`."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, halved: Tensor, known: Tensor) -> Tensor:
        ctx.save_for_backward(maps, halved, known)
        # laid out anew, or it is read across its rows, at half the speed
        channels = halved.contiguous().transpose(0, 1).reshape(halved.shape[1], -1)
        return torch.mm(channels, known)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        maps, halved, known = ctx.saved_tensors
        (rows,) = gradients
        taps = _taps(rows.detach())
        for_maps = _Doubling.apply(halved, rows, taps) if is_wanted(ctx, 0) else None
        for_halved = _Halving.apply(maps, rows, taps, known) if is_wanted(ctx, 1) else None
        return for_maps, for_halved, None


def _gathered(maps: Tensor, taps: Tensor) -> Tensor:
    """Four outputs [n, 2 height, 2 width, c] at a time, each from the 2x2 inputs that it is made of."""
    count, _, height, width = maps.shape
    products = torch.mm(patches(maps, 2, 1), taps)
    quarters = products.view(count, height + 1, width + 1, 2, 2, -1)
    outputs = products.new_empty(count, height, 2, width, 2, quarters.shape[-1])
    for row, column in itertools.product(range(2), range(2)):
        # written without the border, so that the norms that follow meet dense memory, on which they are fast
        across, along = slice(row, row + height), slice(column, column + width)
        outputs[:, :, row, :, column] = quarters[:, across, along, 1 - row, 1 - column]
    return outputs.view(count, 2 * height, 2 * width, -1)


def _summed(maps: Tensor, rows: Tensor) -> Tensor:
    """As `_gathered`, each input painting its 4x4 outputs over those of others: no product is spent on a border."""
    count, _, height, width = maps.shape
    places = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
    painted = torch.mm(places, rows).view(count, height, width, 2, 2, 2, 2, -1)
    outputs = painted.new_zeros(count, height + 1, 2, width + 1, 2, painted.shape[-1])
    for row, column in itertools.product(range(2), range(2)):
        across, along = slice(row, row + height), slice(column, column + width)
        outputs[:, across, :, along] += painted[:, :, :, row, :, column].permute(0, 1, 3, 2, 4, 5)
    return outputs.view(count, 2 * height + 2, 2 * width + 2, -1)[:, 1:-1, 1:-1].contiguous()


def _taps(rows: Tensor) -> Tensor:
    """[o, 16c] to [4o, 4c], for a transposed convolution that makes four outputs at a time.

    Output (2p + r, 2q + s) of the padded result sums kernel (2i + r, 2j + s) over the inputs (p - i, q - j).
    """
    kernels = rows.view(len(rows), 2, 2, 2, 2, -1)
    taps = [kernels[:, row, :, column] for row, column in itertools.product((1, 0), (1, 0))]
    return torch.cat(taps).view(4 * len(rows), -1)


def patches(maps: Tensor, side: int, stride: int) -> Tensor:
    """[n, c, h, w], padded with a border of one, to [n rows columns, side side c]: a patch for each place."""
    count, channels, height, width = maps.shape
    padded = maps.new_empty(count, height + 2, width + 2, channels)
    # only the border, where `F.pad` fills everything first
    padded[:, :: height + 1].zero_()
    padded[:, 1:-1, :: width + 1].zero_()
    padded[:, 1:-1, 1:-1] = maps.permute(0, 2, 3, 1)
    windows = padded.unfold(1, side, stride).unfold(2, side, stride).permute(0, 1, 2, 4, 5, 3)
    return windows.reshape(-1, side * side * channels)
