"""The losses of a conditional WGAN-GP (Gulrajani et al. 2017): pure functions of tensors."""

from collections.abc import Callable

import torch
from torch import Tensor


def critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """E[critic(fake)] - E[critic(real)] for scores [n]: minimal when the critic rates real images highest."""
    return fake_scores.mean() - real_scores.mean()


def generator_loss(fake_scores: Tensor) -> Tensor:
    """-E[critic(fake)] for scores [n]."""
    return -fake_scores.mean()


def drift_penalty(real_scores: Tensor) -> Tensor:
    """E[critic(real)^2]: keeps the scores, which the loss fixes only up to a constant, near 0 (Karras et al. 2018)."""
    return real_scores.square().mean()


def gradient_norms(critic: Callable[[Tensor, Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """The length of d critic / d image for each image, over all its pixels, in single precision.

    Args:
        critic: (images, labels) -> scores [n].
        images: [n, channels, height, width].
        labels: int64 [n].

    Returns:
        [n], differentiable with respect to the critic's parameters.
    """
    images = images.detach().float().requires_grad_(True)
    with torch.enable_grad():
        scores = critic(images, labels)
        (gradients,) = torch.autograd.grad(scores.float().sum(), images, create_graph=True)
    # the small constant keeps the derivative of the root finite where a gradient is exactly zero
    return (gradients.float().square().flatten(1).sum(dim=1) + 1e-12).sqrt()


def gradient_penalty(norms: Tensor) -> Tensor:
    """E[(|gradient| - 1)^2] for norms [n]: the critic is to change by one unit for each unit of distance."""
    return (norms - 1).square().mean()


def interpolates(real: Tensor, fake: Tensor, weights: Tensor) -> Tensor:
    """Points between paired images: `weights` [n] in [0, 1] is each real image's share.

    Taken from augmented images, so that an augmentation is applied once.
    """
    share = weights.view(-1, 1, 1, 1)
    return share * real + (1 - share) * fake
