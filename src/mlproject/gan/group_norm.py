"""Group norm (Wu and He 2018) with a second derivative of its own, which the gradient penalty needs.

PyTorch differentiates a group norm twice through some forty operations on whole maps. Here are the sums that the
derivative consists of, and then one weighted sum of maps for each of its two parts.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class GroupNorm(nn.GroupNorm):
    """`torch.nn.GroupNorm`, on a CPU to be differentiated at most twice."""

    def forward(self, maps: Tensor) -> Tensor:
        if maps.device.type != "cpu":
            return super().forward(maps)
        return _GroupNorm.apply(maps, self.weight, self.bias, self.num_groups, self.eps)


class _GroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        sizes = (maps.shape[0], maps.shape[1], maps[0, 0].numel(), groups)
        normalised, mean, scale = torch.native_group_norm(maps, weight, bias, *sizes, eps)
        ctx.save_for_backward(maps, weight, mean, scale)
        ctx.sizes = sizes
        return normalised

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return *_Gradients.apply(*gradients, *ctx.saved_tensors, ctx.sizes), None, None


class _Gradients(torch.autograd.Function):
    """The derivatives by maps, weight and bias; the first alone has a derivative again.

    With G the gradient, w the weight, u = w G, r = 1 / standard deviation, x the maps normalised without weight and
    bias, and E the mean over a group, the derivative by the maps is P(u) = r (u - E[u] - x E[u x]). P is symmetric.
    The derivative of the sum of V P(u), for any V, is therefore w P(V) by G, the sum of G P(V) by w, and by the maps

        -r^2 (E[V x] u + E[u x] V - E[V x] E[u] - E[u x] E[V] + x (E[u V] - E[u] E[V] - 3 E[u x] E[V x])).
    """

    @staticmethod
    def forward(
        ctx: Any, gradient: Tensor, maps: Tensor, weight: Tensor, mean: Tensor, scale: Tensor, sizes: tuple[int, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        layout = (
            torch.channels_last if maps.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        )
        maps, gradient = (values.contiguous(memory_format=layout) for values in (maps, gradient))
        ctx.save_for_backward(gradient, maps, weight, mean, scale)
        ctx.groups = sizes[-1]
        ctx.set_materialize_grads(False)
        return torch.ops.aten.native_group_norm_backward(
            gradient, maps, mean, scale, weight, *sizes, [True, True, True]
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, direction: Tensor | None, *others: Tensor | None) -> Any:
        assert others == (None, None), "the derivatives by weight and bias have no derivative"
        if direction is None:
            return (None,) * 6
        gradient, maps, weight, mean, scale = ctx.saved_tensors
        count, channels, height, width = maps.shape
        groups, dtype = ctx.groups, mean.dtype

        def by_places(values: Tensor) -> Tensor:
            return values.permute(0, 2, 3, 1).reshape(count, -1, channels).to(dtype)

        def as_maps(values: Tensor) -> Tensor:
            return values.view(count, height, width, channels).permute(0, 3, 1, 2).to(maps.dtype)

        def to_channels(values: Tensor) -> Tensor:
            return values.repeat_interleave(channels // groups, dim=1)[:, None]

        def group_means(sums: Tensor) -> Tensor:
            return to_channels(sums.view(count, groups, -1).mean(dim=2) / (height * width))

        r = to_channels(scale.view(count, groups))
        g, v = by_places(gradient), by_places(direction)
        x = torch.addcmul(-r * to_channels(mean.view(count, groups)), by_places(maps), r)
        sum_g, sum_v, sum_gx, sum_vx, sum_gv = (each.sum(dim=1) for each in (g, v, g * x, v * x, g * v))
        u_mean, ux_mean, uv_mean = (group_means(sums * weight) for sums in (sum_g, sum_gx, sum_gv))
        v_mean, vx_mean = group_means(sum_v), group_means(sum_vx)

        for_gradient = torch.addcmul(-r * weight * v_mean, v, r * weight).addcmul_(x, -r * weight * vx_mean)
        by_sample = r[:, 0] * (sum_gv - vx_mean[:, 0] * sum_gx - v_mean[:, 0] * sum_g)
        constant = vx_mean * u_mean + ux_mean * v_mean
        slope = uv_mean - u_mean * v_mean - 3 * ux_mean * vx_mean
        for_maps = torch.addcmul(r.square() * constant, g, -r.square() * vx_mean * weight)
        for_maps = for_maps.addcmul_(v, -r.square() * ux_mean).addcmul_(x, -r.square() * slope)
        return as_maps(for_gradient), as_maps(for_maps), by_sample.sum(dim=0), None, None, None
