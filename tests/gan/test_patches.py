"""Convolutions as products of matrices: the same numbers as PyTorch's own, and the same derivatives of any order."""

import copy

import pytest
import torch
import torch.nn.functional as F
from gan_tiny import bfloat16, tiny_config, tiny_run
from hypothesis import given, settings
from hypothesis import strategies as st

from mlproject.gan import patches
from mlproject.gan.dcgan import DcganCritic
from mlproject.gan.losses import gradient_norms, gradient_penalty
from mlproject.gan.narrow import NarrowConv2d, narrow_convolution
from mlproject.gan.patches import (
    DoublingConv2d,
    HalvingConv2d,
    doubling_convolution,
    flat_kernels,
    halving_convolution,
)

SIDES = st.sampled_from([2, 4, 6, 10])


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def halved(maps, weight):
    return halving_convolution(maps, flat_kernels(weight, maps.dtype))


def doubled(maps, weight):
    return doubling_convolution(maps, flat_kernels(weight, maps.dtype))


@given(count=st.integers(1, 3), before=st.integers(1, 5), after=st.integers(1, 5), height=SIDES, width=SIDES)
@settings(max_examples=25, deadline=None)
def test_both_convolutions_are_pytorchs(count, before, after, height, width):
    maps, weight = drawn(count, before, height, width), drawn(after, before, 4, 4, seed=1)
    assert torch.allclose(halved(maps, weight), F.conv2d(maps, weight, stride=2, padding=1), atol=1e-12)
    maps = drawn(count, after, height, width)
    expected = F.conv_transpose2d(maps, weight, stride=2, padding=1)
    found = doubled(maps, weight)
    assert torch.allclose(found, expected, atol=1e-12)
    assert found.is_contiguous(memory_format=torch.channels_last), "norms are slow on maps with gaps"


def test_a_kernel_of_ones_by_hand():
    # one channel of ones, 4 by 4: a corner's kernel covers 3x3 of them, the rest is padding
    outputs = halved(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 4))
    assert outputs.tolist() == [[[[9.0, 9.0], [9.0, 9.0]]]]
    # one input of 1 is painted as the kernel; half of it falls outside: places 0..2 of the kernel's 1..3
    kernel = torch.arange(16.0).view(1, 1, 4, 4)
    painted = doubled(torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]]), kernel)
    assert painted[0, 0].tolist() == [[5.0, 6.0, 7.0, 0.0], [9.0, 10.0, 11.0, 0.0], [13.0, 14.0, 15.0, 0.0], [0.0] * 4]


def test_first_and_second_derivatives():
    maps, weight = drawn(1, 2, 4, 6).requires_grad_(), drawn(2, 2, 4, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(halved, (maps, weight))
    assert torch.autograd.gradgradcheck(halved, (maps, weight))
    for height, width in ((2, 3), (3, 6)):  # their products are summed, and gathered
        maps = drawn(1, 2, height, width).requires_grad_()
        assert (height * width > patches.MOST_PLACES_SUMMED) == (height == 3)
        assert torch.autograd.gradcheck(doubled, (maps, weight))
        assert torch.autograd.gradgradcheck(doubled, (maps, weight))


def test_a_narrow_convolution_is_pytorchs_with_its_first_and_second_derivatives():
    inputs = drawn(2, 3, 4, 6), drawn(2, 3, 4, 4, seed=1), drawn(2, seed=2)
    maps, weight, bias = (tensor.requires_grad_() for tensor in inputs)
    expected = F.conv2d(maps, weight, bias, stride=2, padding=1)
    assert torch.allclose(narrow_convolution(maps, weight, bias), expected, atol=1e-12)
    assert torch.autograd.gradcheck(narrow_convolution, (maps, weight, bias))
    assert torch.autograd.gradgradcheck(narrow_convolution, (maps, weight, bias))


@pytest.mark.parametrize("kind", [HalvingConv2d, DoublingConv2d])
@pytest.mark.parametrize("side", [4, 8])
def test_bfloat16_costs_one_digit_of_its_own_precision_at_most(kind, side):
    torch.manual_seed(0)
    layer = kind(64, 64)
    maps = torch.randn(2, 64, side, side).contiguous(memory_format=torch.channels_last)
    exact = layer(maps)
    with bfloat16():
        rounded = layer(maps)
    assert rounded.dtype == torch.bfloat16
    assert layer._kept is not None, "this layer is wide enough"
    # bfloat16 keeps 8 bits: 2^-9 = 0.002 for each rounding, of maps, kernels and their products
    assert ((rounded.float() - exact).norm() / exact.norm()).item() < 0.01


def test_single_precision_and_narrow_layers_are_left_to_pytorch():
    layer, narrow = HalvingConv2d(64, 64), HalvingConv2d(64, patches.LEAST_CHANNELS - 1)
    layer(torch.randn(1, 64, 4, 4))
    with bfloat16():
        narrow(torch.randn(1, 64, 4, 4))
    assert layer._kept is None
    assert narrow._kept is None


def test_a_narrow_layer_in_bfloat16_is_the_one_in_single_precision():
    torch.manual_seed(0)
    layer, maps = NarrowConv2d(3, 64), torch.randn(2, 3, 16, 16)

    def outputs_and_gradients(*, rounded):
        layer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=rounded):
            outputs = layer(maps)
        outputs.float().square().mean().backward()
        return outputs.dtype, torch.cat([t.float().flatten() for t in (outputs, layer.weight.grad, layer.bias.grad)])

    dtype, exact = outputs_and_gradients(rounded=False)
    rounded_dtype, rounded = outputs_and_gradients(rounded=True)
    assert (dtype, rounded_dtype) == (torch.float32, torch.bfloat16)
    assert ((rounded - exact).norm() / exact.norm()).item() < 0.01


def test_flat_kernels_follow_the_weight():
    torch.manual_seed(0)
    layer = HalvingConv2d(64, 64)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    maps = torch.randn(2, 64, 4, 4)

    def fresh():
        other = HalvingConv2d(64, 64)
        other.load_state_dict(layer.state_dict())
        with bfloat16():
            return other(maps)

    with bfloat16(), torch.no_grad():
        layer(maps)
    for _ in range(2):
        # kept without a derivative, they are made anew when one is asked for
        with bfloat16():
            first, second = layer(maps), layer(maps)
        assert torch.equal(first, second)
        assert torch.equal(first, fresh())
        optimizer.zero_grad()
        (first.float().square().sum() + second.float().sum()).backward()
        assert layer.weight.grad is not None
        optimizer.step()
    layer.load_state_dict(HalvingConv2d(64, 64).state_dict())
    twin = copy.deepcopy(layer)
    with bfloat16():
        assert torch.equal(layer(maps), fresh())
        assert torch.equal(twin(maps), layer(maps))
        with torch.inference_mode():
            layer(maps)
        layer.weight.requires_grad_(False)
        changing = maps.clone().requires_grad_()
        layer(changing).float().sum().backward()
    assert changing.grad is not None
    assert layer.weight.grad is not None


def test_the_critics_penalty_and_its_gradient_agree_with_single_precision():
    """Second derivatives through group norm and the products over patches, against the plain network in fp32."""
    torch.manual_seed(0)
    critic = DcganCritic(32, 64, 2)
    with torch.no_grad():
        for parameter in critic.parameters():
            # the weights of the start are too small for the penalty's gradient to have any size
            if parameter.dim() == 4:
                parameter.mul_(4)
    images, labels = torch.rand(4, 1, 32, 32) * 2 - 1, torch.tensor([0, 1, 0, 1])

    def penalty_gradients(*, rounded):
        critic.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=rounded):
            norms = gradient_norms(critic, images, labels)
        gradient_penalty(norms).backward()
        gradients = [parameter.grad.flatten() for parameter in critic.parameters() if parameter.grad is not None]
        return norms.detach(), torch.cat(gradients)

    norms, gradient = penalty_gradients(rounded=False)
    rounded_norms, rounded_gradient = penalty_gradients(rounded=True)
    assert torch.allclose(rounded_norms, norms, rtol=0.02)
    assert F.cosine_similarity(rounded_gradient, gradient, dim=0).item() > 0.999


def test_a_run_with_products_over_patches_goes_on_to_the_same_bits(tmp_path):
    # wide enough for both networks to take them: 64 to 128 channels in the critic and back in the generator
    def trained(folder, steps):
        config = tiny_config(
            architecture="dcgan",
            base_channels=64,
            precision="bf16",
            steps=steps,
            schedule="constant",
            checkpoint_every=2,
        )
        return tiny_run(tmp_path / folder, config).generator.state_dict()

    trained("stopped", 2)
    at_once, resumed = trained("at once", 4), trained("stopped", 4)
    assert all(torch.equal(at_once[name], resumed[name]) for name in at_once)
