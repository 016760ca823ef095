"""4x4 convolutions of stride 2 with 9 products in place of 16, for a CPU, whose time goes into multiplying.

A 4x4 kernel of stride 2 is a 2x2 kernel of stride 1 over pairs of rows and columns. For two neighbouring outputs of a
kernel of two taps, Winograd's F(2, 2) takes three products in place of four (Lavin & Gray 2016, here with taps f, pairs
d of the input and outputs y):

    y0 = d0 f0 + d1 f1 = (d0 - d1) f0 + d1 (f0 + f1)
    y1 = d1 f0 + d2 f1 = d1 (f0 + f1) + (d2 - d1) f1

Done along rows and columns that is 9 in place of 16, as nine matrix products over the channels. The three transforms
are linear with coefficients 0, 1 and -1, so they cost little and lose little in bfloat16. A transform's derivative is
its adjoint, whose derivative is the transform: gradients of gradients, of which the gradient penalty is made, come out
of the same few lines.

Maps are channels last in memory: [n, channels, height, width] as a view of [n, height, width, channels].
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# narrower layers move numbers for longer than they multiply them
LEAST_CHANNELS = 64

Map = Callable[[Tensor], Tensor]


class _Expanding(nn.Module):
    """Keeps the expanded kernels until the weight changes: all passes of a step share them, and their derivative."""

    weight: Tensor
    in_channels: int
    out_channels: int
    _kept: tuple[tuple[Any, ...], Tensor] | None = None

    def expands(self, maps: Tensor) -> bool:
        """Whether nine products are worth their transforms: wide layers in bfloat16 on the CPU."""
        return (
            maps.device.type == "cpu"
            and torch.is_autocast_enabled("cpu")
            and torch.get_autocast_dtype("cpu") == torch.bfloat16
            and min(self.in_channels, self.out_channels) >= LEAST_CHANNELS
        )

    def kernels(self) -> Tensor:
        """The expanded kernels [9, o, 4c] in bfloat16, with a derivative where one is asked for."""
        wanted = torch.is_grad_enabled() and self.weight.requires_grad
        if torch.is_inference_mode_enabled():
            # such tensors can never take part in a derivative later
            return expanded_kernels(self.weight, torch.bfloat16)
        state = (self.weight.data_ptr(), self.weight._version)
        if self._kept is None or self._kept[0] != state or (wanted and not self._kept[1].requires_grad):
            self._kept = state, expanded_kernels(self.weight, torch.bfloat16)
        return self._kept[1] if wanted else self._kept[1].detach()

    def __getstate__(self) -> dict[str, Any]:
        # a copy expands its own weight
        return {**self.__dict__, "_kept": None}


class HalvingConv2d(_Expanding, nn.Conv2d):
    """A convolution with a 4x4 kernel, stride 2 and padding 1, without bias, for maps whose sides divide by 4."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, 4, 2, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        if self.expands(maps):
            return halving_convolution(maps.bfloat16(), self.kernels())
        return super().forward(maps)


class DoublingConv2d(_Expanding, nn.ConvTranspose2d):
    """A transposed convolution with a 4x4 kernel, stride 2 and padding 1, without bias, for maps of even sides."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, 4, 2, 1, bias=False)

    def forward(self, maps: Tensor, output_size: list[int] | None = None) -> Tensor:
        if self.expands(maps):
            return doubling_convolution(maps.bfloat16(), self.kernels())
        return super().forward(maps, output_size)


def halving_convolution(maps: Tensor, kernels: Tensor) -> Tensor:
    """`conv2d(maps, weight, stride=2, padding=1)` for 4x4 kernels.

    Args:
        maps: [n, channels, height, width], sides divisible by 4.
        kernels: `expanded_kernels` of the weight [outputs, channels, 4, 4].

    Returns:
        [n, outputs, height / 2, width / 2] in the precision of the maps, differentiable any number of times.
    """
    count, _, height, width = maps.shape
    expanded = _linear(maps, expand_pairs, partial(collect_pairs, count=count, height=height, width=width))
    products = torch.bmm(expanded, kernels.transpose(1, 2))
    return _linear(products, partial(merge_outputs, count=count, height=height // 2, width=width // 2), split_outputs)


def doubling_convolution(maps: Tensor, kernels: Tensor) -> Tensor:
    """`conv_transpose2d(maps, weight, stride=2, padding=1)` for 4x4 kernels: the other's derivative.

    Args:
        maps: [n, inputs, height, width], sides even.
        kernels: `expanded_kernels` of the weight [inputs, channels, 4, 4].

    Returns:
        [n, channels, 2 height, 2 width] in the precision of the maps, differentiable any number of times.
    """
    count, _, height, width = maps.shape
    split = _linear(maps, split_outputs, partial(merge_outputs, count=count, height=height, width=width))
    products = torch.bmm(split, kernels)
    collect = partial(collect_pairs, count=count, height=2 * height, width=2 * width)
    return _linear(products, collect, expand_pairs)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, argument: Tensor, apply: Map, adjoint: Map) -> Tensor:
        ctx.maps = apply, adjoint
        return apply(argument)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        apply, adjoint = ctx.maps
        return _linear(gradients[0], adjoint, apply), None, None


def _linear(argument: Tensor, apply: Map, adjoint: Map) -> Tensor:
    """A linear map whose derivative is `adjoint`, and whose second derivative is `apply` again."""
    return _Linear.apply(argument, apply, adjoint)


def expanded_kernels(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """`expand_kernels` with its derivative."""
    return _linear(weight, partial(expand_kernels, dtype=dtype), partial(collect_kernels, dtype=weight.dtype))


def expand_pairs(maps: Tensor) -> Tensor:
    """[n, c, h, w] to [9, n h/4 w/4, 4c]: for each tile of 2x2 outputs d0 - d1, d1, d2 - d1 along rows and columns."""
    count, channels, height, width = maps.shape
    padded = F.pad(maps.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    # rows and columns of pairs, a pair of columns side by side in memory
    pairs = padded.view(count, height // 2 + 1, 2, width // 2 + 1, 2 * channels)
    rows = maps.new_empty(3, count, height // 4, 2, width // 2 + 1, 2 * channels)
    _differences(pairs[:, 0:-1:2], pairs[:, 1::2], pairs[:, 2::2], list(rows))
    tiles = maps.new_empty(3, 3, count, height // 4, width // 4, 2, 2 * channels)
    columns = list(tiles.transpose(4, 5).unbind(1))
    _differences(rows[..., 0:-1:2, :], rows[..., 1::2, :], rows[..., 2::2, :], columns)
    return tiles.view(9, -1, 4 * channels)


def _differences(first: Tensor, middle: Tensor, last: Tensor, out: list[Tensor]) -> None:
    torch.sub(first, middle, out=out[0])
    out[1].copy_(middle)
    torch.sub(last, middle, out=out[2])


def collect_pairs(tiles: Tensor, count: int, height: int, width: int) -> Tensor:
    """The adjoint of `expand_pairs`, [9, n h/4 w/4, 4c] to [n, c, h, w]."""
    channels = tiles.shape[2] // 4
    columns = tiles.view(3, 3, count, height // 4, width // 4, 2, 2 * channels).transpose(4, 5)
    rows = tiles.new_empty(3, count, height // 4, 2, width // 2 + 1, 2 * channels)
    _collect(columns.unbind(1), rows, dim=4)
    pairs = tiles.new_empty(count, height // 2 + 1, 2, width // 2 + 1, 2 * channels)
    _collect(rows.unbind(0), pairs, dim=1)
    padded = pairs.view(count, height + 2, width + 2, channels)
    return padded[:, 1:-1, 1:-1].permute(0, 3, 1, 2)


def _collect(parts: tuple[Tensor, ...], out: Tensor, dim: int) -> None:
    first, middle, last = parts
    half = first.shape[dim]

    def every_other(start: int, length: int) -> Tensor:
        index = [slice(None)] * out.dim()
        index[dim] = slice(start, start + 2 * length - 1, 2)
        return out[tuple(index)]

    # a pair of even number is the first of one tile and the last of the one before
    inner = every_other(2, half - 1)
    torch.add(first.narrow(dim, 1, half - 1), last.narrow(dim, 0, half - 1), out=inner)
    every_other(0, 1).copy_(first.narrow(dim, 0, 1))
    every_other(2 * half, 1).copy_(last.narrow(dim, half - 1, 1))
    odd = every_other(1, half)
    torch.sub(middle, first, out=odd)
    odd.sub_(last)


def merge_outputs(products: Tensor, count: int, height: int, width: int) -> Tensor:
    """[9, n h/2 w/2, c] to the outputs [n, c, h, w]: m0 + m1 and m1 + m2 along rows and columns."""
    channels = products.shape[2]
    tiles = products.view(3, 3, count, height // 2, width // 2, channels)
    columns = products.new_empty(3, count, height // 2, width // 2, 2, channels)
    torch.add(tiles[:, 0], tiles[:, 1], out=columns[..., 0, :])
    torch.add(tiles[:, 1], tiles[:, 2], out=columns[..., 1, :])
    outputs = products.new_empty(count, height // 2, 2, width // 2, 2, channels)
    torch.add(columns[0], columns[1], out=outputs[:, :, 0])
    torch.add(columns[1], columns[2], out=outputs[:, :, 1])
    return outputs.view(count, height, width, channels).permute(0, 3, 1, 2)


def split_outputs(outputs: Tensor) -> Tensor:
    """The adjoint of `merge_outputs`, [n, c, h, w] to [9, n h/2 w/2, c]."""
    count, channels, height, width = outputs.shape
    maps = outputs.permute(0, 2, 3, 1).contiguous().view(count, height // 2, 2, width // 2, 2, channels)
    rows = outputs.new_empty(3, count, height // 2, width // 2, 2, channels)
    rows[0].copy_(maps[:, :, 0])
    torch.add(maps[:, :, 0], maps[:, :, 1], out=rows[1])
    rows[2].copy_(maps[:, :, 1])
    tiles = outputs.new_empty(3, 3, count, height // 2, width // 2, channels)
    tiles[:, 0].copy_(rows[..., 0, :])
    torch.add(rows[..., 0, :], rows[..., 1, :], out=tiles[:, 1])
    tiles[:, 2].copy_(rows[..., 1, :])
    return tiles.view(9, -1, channels)


def expand_kernels(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """[o, c, 4, 4] to [9, o, 4c] in `dtype`: f0, f0 + f1, f1 along rows and columns."""
    outputs, channels = weight.shape[:2]
    taps = weight.permute(0, 2, 3, 1).reshape(outputs, 2, 2, 2, 2 * channels)
    rows = weight.new_empty(3, outputs, 2, 2, 2 * channels)
    rows[0].copy_(taps[:, 0])
    torch.add(taps[:, 0], taps[:, 1], out=rows[1])
    rows[2].copy_(taps[:, 1])
    kernels = weight.new_empty(3, 3, outputs, 2, 2 * channels, dtype=dtype)
    kernels[:, 0].copy_(rows[:, :, :, 0])
    torch.add(rows[:, :, :, 0], rows[:, :, :, 1], out=kernels[:, 1])
    kernels[:, 2].copy_(rows[:, :, :, 1])
    return kernels.view(9, outputs, 4 * channels)


def collect_kernels(kernels: Tensor, dtype: torch.dtype) -> Tensor:
    """The adjoint of `expand_kernels`, [9, o, 4c] to [o, c, 4, 4] in `dtype`."""
    outputs, channels = kernels.shape[1], kernels.shape[2] // 4
    tiles = kernels.view(3, 3, outputs, 2, 2 * channels)
    rows = kernels.new_empty(3, outputs, 2, 2, 2 * channels, dtype=dtype)
    torch.add(tiles[:, 0], tiles[:, 1], out=rows[:, :, :, 0])
    torch.add(tiles[:, 1], tiles[:, 2], out=rows[:, :, :, 1])
    taps = kernels.new_empty(outputs, 2, 2, 2, 2 * channels, dtype=dtype)
    torch.add(rows[0], rows[1], out=taps[:, 0])
    torch.add(rows[1], rows[2], out=taps[:, 1])
    return taps.view(outputs, 4, 4, channels).permute(0, 3, 1, 2)
