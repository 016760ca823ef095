"""A 4x4 convolution of stride 2 between few channels, whose second derivative costs what the first one does.

PyTorch writes the derivative of a convolution's derivative by its weight as a convolution with the images for kernels,
which on a CPU takes several times as long as the weight's own derivative, although it is the same sum of products.

The three operations that are each other's derivatives are those of `patches`, here by PyTorch's own kernels: between
few channels, patches are more to copy than to multiply.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlproject.gan.autograd import is_wanted

_STRIDE, _PADDING = [2, 2], [1, 1]


class NarrowConv2d(nn.Conv2d):
    """A convolution with a 4x4 kernel, stride 2 and padding 1, with bias, for maps of even sides."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, 4, 2, 1)

    def forward(self, maps: Tensor) -> Tensor:
        assert self.bias is not None
        if maps.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            return narrow_convolution(maps.to(dtype), self.weight.to(dtype), self.bias.to(dtype))
        return super().forward(maps)


def narrow_convolution(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`conv2d(maps, weight, bias, stride=2, padding=1)` for 4x4 kernels, differentiable any number of times.

    Args:
        maps: [n, c, height, width], sides even.
        weight: [o, c, 4, 4].
        bias: [o].

    Returns:
        [n, o, height / 2, width / 2].
    """
    return _Halving.apply(maps, weight, bias)


class _Halving(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(maps, weight)
        return F.conv2d(maps, weight, bias, 2, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        maps, weight = ctx.saved_tensors
        (gradient,) = gradients
        for_maps = _Doubling.apply(gradient, weight) if is_wanted(ctx, 0) else None
        wanted = is_wanted(ctx, 1) or is_wanted(ctx, 2)
        for_weight, for_bias = _KernelProducts.apply(maps, gradient, weight) if wanted else (None, None)
        return for_maps, for_weight, for_bias if ctx.needs_input_grad[2] else None


class _Doubling(torch.autograd.Function):
    """The other's derivative by its maps."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(maps, weight)
        count, _, height, width = maps.shape
        like = maps.new_empty(()).expand(count, weight.shape[1], 2 * height, 2 * width)
        return _derivative(maps, like, weight, [True, False, False])[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        maps, weight = ctx.saved_tensors
        (gradient,) = gradients
        for_maps = _Halving.apply(gradient, weight, None) if is_wanted(ctx, 0) else None
        for_weight = _KernelProducts.apply(gradient, maps, weight)[0] if is_wanted(ctx, 1) else None
        return for_maps, for_weight


class _KernelProducts(torch.autograd.Function):
    """The derivatives by weight and bias of `(halved * _Halving(maps, weight, bias)).sum()`, shaped as `like`."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, halved: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(maps, halved)
        _, weight, bias = _derivative(halved, maps, like, [False, True, True])
        return weight, bias

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        maps, halved = ctx.saved_tensors
        weight, bias = gradients
        for_maps = _Doubling.apply(halved, weight) if is_wanted(ctx, 0) else None
        for_halved = _Halving.apply(maps, weight, bias) if is_wanted(ctx, 1) else None
        return for_maps, for_halved, None


def _derivative(halved: Tensor, maps: Tensor, weight: Tensor, wanted: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
    return torch.ops.aten.convolution_backward(
        halved, maps, weight, [len(weight)], _STRIDE, _PADDING, [1, 1], False, [0, 0], 1, wanted
    )
