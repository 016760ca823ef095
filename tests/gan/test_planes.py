"""Convolutions to one channel: where no derivative is recorded, sums of planes with PyTorch's numbers."""

import numpy as np
import pytest
import torch
from gan_tiny import bfloat16, tiny_config
from hypothesis import given, settings
from hypothesis import strategies as st

from mlproject.data.checks import CLASS_NAMES
from mlproject.gan.networks import build_networks
from mlproject.gan.planes import ToLargerPlane, ToPlane
from mlproject.gan.sampling import Generator, to_grey_levels

SIDE = st.integers(1, 6)


@pytest.mark.parametrize("kind", [ToPlane, ToLargerPlane])
@given(count=st.integers(1, 3), channels=st.integers(1, 4), height=SIDE, width=SIDE, channels_last=st.booleans())
@settings(max_examples=25, deadline=None)
def test_planes_are_pytorchs(kind, count, channels, height, width, channels_last):
    torch.manual_seed(0)
    layer = kind(channels).double()
    maps = torch.randn(count, channels, height, width, dtype=torch.float64)
    if channels_last:
        maps = maps.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        drawn = layer(maps)
    assert drawn.shape == layer(maps).shape
    assert torch.allclose(drawn, layer(maps), atol=1e-12)


def test_kernels_that_tell_their_places_by_hand():
    def drawn(kind, maps):
        layer = kind(1)
        with torch.no_grad():
            layer.weight.copy_(torch.arange(float(layer.weight.numel())).view_as(layer.weight))
            layer.bias.fill_(100)
            return (layer(torch.tensor([[maps]])) - 100)[0, 0].tolist()

    # the kernel's middle, 4, lies on the place itself; a 1 one place to the right is met by 5, one below by 7
    assert drawn(ToPlane, [[1.0, 0.0], [0.0, 0.0]]) == [[4, 3], [1, 0]]
    assert drawn(ToPlane, [[0.0, 1.0], [0.0, 0.0]]) == [[5, 4], [2, 1]]
    # one input of 1 is painted as the kernel, whose first row and column fall outside
    assert drawn(ToLargerPlane, [[1.0, 0.0], [0.0, 0.0]]) == [[5, 6, 7, 0], [9, 10, 11, 0], [13, 14, 15, 0], [0] * 4]


@pytest.mark.parametrize("kind", [ToPlane, ToLargerPlane])
def test_bfloat16_costs_no_more_than_rounded_products(kind):
    torch.manual_seed(0)
    layer, maps = kind(16), torch.randn(2, 16, 8, 8)
    exact = layer(maps).detach()
    with torch.no_grad(), bfloat16():
        rounded = layer(maps)
    assert ((rounded.float() - exact).norm() / exact.norm()).item() < 0.005


@pytest.mark.parametrize("architecture", ["dcgan", "compact"])
def test_images_are_those_of_the_pass_that_training_makes(architecture):
    torch.manual_seed(0)
    network = build_networks(tiny_config(architecture=architecture), size=32)[0].eval()
    sampler = Generator(network, 32, CLASS_NAMES)
    labels = np.array([0, 1, 1])
    inputs = sampler._inputs(torch.from_numpy(labels), 5, range(3))
    trained = to_grey_levels(network(inputs, torch.from_numpy(labels)).detach())
    assert np.abs(sampler.sample(labels, seed=5).astype(int) - trained).max() <= 1
