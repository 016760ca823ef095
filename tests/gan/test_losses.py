"""The WGAN-GP losses against cases that are worked by hand."""

import pytest
import torch

from mlproject.gan.losses import (
    critic_loss,
    drift_penalty,
    generator_loss,
    gradient_norms,
    gradient_penalty,
    interpolates,
)


def test_scores_by_hand():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 0.5])
    # means 2 and 0.25
    assert critic_loss(real, fake).item() == -1.75
    assert generator_loss(fake).item() == -0.25
    # (1 + 9) / 2
    assert drift_penalty(real).item() == 5.0


def test_the_norm_of_a_linear_critic_is_that_of_its_weights():
    # critic(x) = sum(w * x): the gradient is w at every point; 3, 4 and 12 give 13
    weights = torch.zeros(1, 2, 3)
    weights[0, 0, 0], weights[0, 1, 1], weights[0, 1, 2] = 3.0, 4.0, 12.0
    weights.requires_grad_(True)
    images = torch.randn(5, 1, 2, 3, generator=torch.Generator().manual_seed(0))

    norms = gradient_norms(lambda x, y: (x * weights).sum(dim=(1, 2, 3)), images, torch.zeros(5, dtype=torch.long))
    assert norms.tolist() == pytest.approx([13.0] * 5)
    penalty = gradient_penalty(norms)
    assert penalty.item() == pytest.approx(144.0)

    # d/dw (|w| - 1)^2 = 2 (|w| - 1) w / |w|: 24 / 13 of each weight
    penalty.backward()
    assert torch.allclose(weights.grad, 24 / 13 * weights.detach())


def test_the_norm_is_of_each_image_over_all_its_pixels():
    # critic(x) = x_0^2 + label * x_1: the gradient is (2 x_0, label); norms differ from image to image
    def critic(images, labels):
        flat = images.flatten(1)
        return flat[:, 0] ** 2 + labels * flat[:, 1]

    images = torch.tensor([[2.0, 9.0], [0.0, 9.0], [1.5, 9.0]]).view(3, 1, 1, 2)
    norms = gradient_norms(critic, images, torch.tensor([3, 1, 4]))
    assert norms.tolist() == pytest.approx([5.0, 1.0, 5.0])
    assert gradient_penalty(norms).item() == pytest.approx((16 + 0 + 16) / 3)


def test_a_flat_critic_has_penalty_one_and_a_finite_derivative():
    scale = torch.zeros((), requires_grad=True)
    norms = gradient_norms(lambda x, y: (scale * x).sum(dim=(1, 2, 3)), torch.ones(2, 1, 4, 4), torch.zeros(2))
    penalty = gradient_penalty(norms)
    assert penalty.item() == pytest.approx(1.0, abs=1e-5)
    penalty.backward()
    assert torch.isfinite(scale.grad)


def test_the_second_derivative_agrees_with_finite_differences():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2, 1, 3, 3, dtype=torch.float64, generator=generator).requires_grad_(True)
    images = torch.randn(2, 1, 6, 6, generator=generator)
    direction = torch.zeros_like(weight)
    direction[0, 0, 1, 1] = 1

    def penalty_at(shift: float) -> torch.Tensor:
        moved = weight + shift * direction
        norms = gradient_norms(
            lambda x, y: torch.tanh(torch.nn.functional.conv2d(x.double(), moved)).sum(dim=(1, 2, 3)), images, None
        )
        return gradient_penalty(norms)

    penalty_at(0.0).backward()
    # norms are single precision by design, so the step is wide
    numeric = (penalty_at(1e-2) - penalty_at(-1e-2)).item() / 2e-2
    assert weight.grad[0, 0, 1, 1].item() == pytest.approx(numeric, rel=1e-2)


def test_bf16_arithmetic_keeps_a_single_precision_norm():
    layer = torch.nn.Linear(4096, 1)
    with torch.no_grad():
        layer.weight.fill_(1 / 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        norms = gradient_norms(lambda x, y: layer(x.flatten(1)).squeeze(1), torch.zeros(3, 1, 64, 64), None)
    # sqrt(4096 / 64^2) = 1; summing 4096 squares in bfloat16 would stop growing at 256 of them
    assert norms.dtype == torch.float32
    assert norms.tolist() == pytest.approx([1.0] * 3, rel=1e-5)


def test_interpolates_are_on_the_line_between():
    real, fake = torch.full((3, 1, 2, 2), 4.0), torch.zeros(3, 1, 2, 2)
    points = interpolates(real, fake, torch.tensor([1.0, 0.0, 0.25]))
    assert [point.unique().tolist() for point in points] == [[4.0], [0.0], [1.0]]
