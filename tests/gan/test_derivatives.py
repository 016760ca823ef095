"""What the penalty's second derivative goes through: no derivative that nobody asked for, and a group norm's own."""

import collections
import math

import pytest
import torch
import torch.nn.functional as F
from gan_tiny import bfloat16, tiny_config, tiny_run
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from mlproject.gan.dcgan import DcganCritic
from mlproject.gan.group_norm import GroupNorm
from mlproject.gan.losses import gradient_norms, gradient_penalty
from mlproject.gan.patches import HalvingConv2d
from mlproject.gan.training import supports_bf16

LABELS = torch.tensor([0, 1])


class Counted(TorchDispatchMode):
    """Counts operations by name."""

    def __init__(self):
        super().__init__()
        self.calls = collections.Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.calls[function.overloadpacket.__name__] += 1
        return function(*args, **(kwargs or {}))


def critic_and_images():
    torch.manual_seed(0)
    return DcganCritic(32, 64, 2), torch.rand(2, 1, 32, 32)


def test_the_derivative_by_the_images_makes_none_by_the_weights():
    critic, images = critic_and_images()
    wide = sum(isinstance(module, HalvingConv2d) for module in critic.modules())
    assert wide == 2
    with Counted() as counted, bfloat16():
        gradient_norms(critic, images, LABELS)
    # each wide layer forth and back, and the score's product back; the narrow layer back
    assert counted.calls["mm"] == 2 * wide + 1
    assert counted.calls["convolution_backward"] == 1


def test_the_derivative_by_the_weights_makes_none_by_the_images():
    critic, images = critic_and_images()
    counts, gradients = [], []
    for inputs in (None, list(critic.parameters())):
        critic.zero_grad()
        with bfloat16():
            norms = gradient_norms(critic, images, LABELS)
        with Counted() as counted:
            gradient_penalty(norms).backward(inputs=inputs)
        counts.append(counted.calls["convolution_backward"])
        gradients.append([weight.grad for weight in critic.parameters() if weight.grad is not None])
    assert counts[1] == counts[0] - 1
    assert len(gradients[0]) == len(gradients[1])
    assert all(torch.equal(first, second) for first, second in zip(*gradients, strict=True))


@pytest.mark.skipif(not supports_bf16(torch.device("cpu")), reason="the layers take their own path in bfloat16 alone")
def test_a_training_step_makes_no_derivative_by_the_images_of_the_critic(tmp_path):
    config = tiny_config(
        architecture="dcgan", base_channels=64, precision="bf16", steps=1, critic_steps=1, penalty_every=1
    )
    with Counted() as counted:
        tiny_run(tmp_path, config)
    # by the first layer's kernels for real and synthetic images, twice for the penalty's, whose pass by the images is
    # the fifth; the generator's step goes back through that layer and through its own last one
    assert counted.calls["convolution_backward"] == 7


def drawn_norm(groups, channels):
    norm = GroupNorm(groups, channels).double()
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
    return norm


def twice_differentiated(normalise, maps, parameters):
    """Outputs, their gradient, and the derivatives of a penalty on that gradient."""
    outputs = normalise(maps)
    (gradient,) = torch.autograd.grad(outputs.tanh().sum(), maps, create_graph=True)
    penalty = (gradient.square().flatten(1).sum(dim=1).sqrt() - 1).square().mean()
    # some of the loss reaches the maps without the gradient, as the critic's own does
    return [outputs, gradient, *torch.autograd.grad(penalty + outputs.square().mean(), [maps, *parameters])]


@given(
    count=st.integers(1, 3),
    groups=st.integers(1, 3),
    width=st.integers(1, 3),
    height=st.integers(2, 4),
    columns=st.integers(2, 4),
    channels_last=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_a_group_norm_is_pytorchs_with_its_first_and_second_derivatives(
    count, groups, width, height, columns, channels_last
):
    torch.manual_seed(0)
    norm = drawn_norm(groups, groups * width)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    maps = torch.randn(count, groups * width, height, columns, dtype=torch.float64).mul(2).add(1)
    maps = maps.contiguous(memory_format=layout).requires_grad_()
    parameters = list(norm.parameters())
    expected = twice_differentiated(
        lambda maps: F.group_norm(maps, groups, norm.weight, norm.bias, norm.eps), maps, parameters
    )
    for found, wanted in zip(twice_differentiated(norm, maps, parameters), expected, strict=True):
        assert torch.allclose(found, wanted, rtol=1e-9, atol=1e-9)


def test_the_second_derivative_of_a_norm_by_hand():
    # -a, 0, a with a^2 = 3/2 have mean 0 and variance 1: they are normalised already
    a = math.sqrt(1.5)
    maps = torch.tensor([-a, 0.0, a], dtype=torch.float64).view(1, 1, 1, 3).requires_grad_()
    norm = GroupNorm(1, 1, eps=0.0).double()
    middle = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64).view(1, 1, 1, 3)
    (gradient,) = torch.autograd.grad((norm(maps) * middle).sum(), maps, create_graph=True)
    # u = (0, 1, 0): u - E[u], for E[u x] = 0
    assert gradient.flatten().tolist() == pytest.approx([-1 / 3, 2 / 3, -1 / 3])
    by_maps, by_weight = torch.autograd.grad((gradient * middle).sum(), [maps, norm.weight])
    # with V = u: -x (E[u V] - E[u] E[V]) = -x (1/3 - 1/9)
    assert by_maps.flatten().tolist() == pytest.approx([2 * a / 9, 0, -2 * a / 9])
    assert by_weight.tolist() == pytest.approx([2 / 3])


def test_a_group_norm_in_bfloat16_keeps_its_layout_and_most_digits():
    torch.manual_seed(0)
    norm = GroupNorm(8, 64)
    maps = torch.randn(4, 64, 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
    exact = twice_differentiated(norm, maps, list(norm.parameters()))
    rounded = twice_differentiated(lambda maps: norm(maps.bfloat16()).float(), maps, list(norm.parameters()))
    assert norm(maps.bfloat16()).is_contiguous(memory_format=torch.channels_last)
    for found, wanted in zip(rounded, exact, strict=True):
        assert ((found - wanted).norm() / wanted.norm()).item() < 0.02


def test_what_has_no_derivative_says_so():
    norm = drawn_norm(1, 2)
    maps = torch.randn(1, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    by_weight, by_bias = torch.autograd.grad(norm(maps).square().sum(), list(norm.parameters()), create_graph=True)
    for once in (by_weight, by_bias):
        with pytest.raises(AssertionError, match="have no derivative"):
            torch.autograd.grad(once.sum(), maps, retain_graph=True)
    (once,) = torch.autograd.grad(norm(maps).square().sum(), maps, create_graph=True)
    (twice,) = torch.autograd.grad(once.square().sum(), maps, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        twice.sum().backward()
