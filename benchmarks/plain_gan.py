"""The WGAN-GP of the thesis as a user of PyTorch would write it: the reference of `gan_step`.

Single precision, contiguous NCHW, real, synthetic and interpolated images in passes of their own, the penalty at every
critic step, batches from a DataLoader, every loss fetched with `.item()`. What costs nothing to do well is done well:
synthetic images of a critic step are drawn without a graph, and the generator's step computes no critic gradients.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class PlainGenerator(nn.Module):
    """Latent vector and one-hot label to an image; the names of its weights are the project's."""

    def __init__(self, size: int, latent_dim: int, base_channels: int) -> None:
        super().__init__()
        width = base_channels * size // 8
        layers = [nn.ConvTranspose2d(latent_dim + 2, width, 4, 1, 0, bias=False), nn.BatchNorm2d(width), nn.ReLU(True)]
        while width > base_channels:
            layers += [nn.ConvTranspose2d(width, width // 2, 4, 2, 1, bias=False), nn.BatchNorm2d(width // 2)]
            layers += [nn.ReLU(True)]
            width //= 2
        layers += [nn.ConvTranspose2d(width, 1, 4, 2, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, latent: Tensor, labels: Tensor) -> Tensor:
        condition = F.one_hot(labels, 2).float()
        return torch.tanh(self.layers(torch.cat([latent, condition], dim=1)[:, :, None, None]))


class PlainCritic(nn.Module):
    """Image and label planes to a score; the names of its weights are the project's."""

    def __init__(self, size: int, base_channels: int) -> None:
        super().__init__()
        width = base_channels
        layers = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2, True)]
        while width < base_channels * size // 8:
            layers += [nn.Conv2d(width, width * 2, 4, 2, 1, bias=False), nn.GroupNorm(8, width * 2)]
            layers += [nn.LeakyReLU(0.2, True)]
            width *= 2
        layers += [nn.Conv2d(width, 1, 4, 1, 0)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        planes = F.one_hot(labels, 2).float()[:, :, None, None].expand(-1, -1, *images.shape[2:])
        return self.layers(torch.cat([images, planes], dim=1)).flatten()


class PlainTraining:
    """The two networks, their optimisers, and the loop's body."""

    def __init__(
        self,
        generator: PlainGenerator,
        critic: PlainCritic,
        *,
        latent_dim: int,
        learning_rate: float,
        betas: tuple[float, float],
        lambda_gp: float,
        critic_steps: int,
    ) -> None:
        self.generator, self.critic = generator, critic
        self.latent_dim, self.lambda_gp, self.critic_steps = latent_dim, lambda_gp, critic_steps
        self.generator_optimizer = torch.optim.Adam(generator.parameters(), lr=learning_rate, betas=betas)
        self.critic_optimizer = torch.optim.Adam(critic.parameters(), lr=learning_rate, betas=betas)

    def step(self, batches: Iterator[list[Tensor]], draw: torch.Generator) -> dict[str, float]:
        """Some critic steps, then one generator step; the losses of the last of them."""
        for _ in range(self.critic_steps):
            real, labels = next(batches)
            latent = torch.randn(len(real), self.latent_dim, generator=draw)
            logged = self.critic_step(real, labels, latent, torch.rand(len(real), generator=draw))
        latent = torch.randn(len(real), self.latent_dim, generator=draw)
        return logged | self.generator_step(latent, labels)

    def critic_step(self, real: Tensor, labels: Tensor, latent: Tensor, shares: Tensor) -> dict[str, float]:
        """One step of the critic; `shares` [n] are the real images' shares of the interpolates."""
        with torch.no_grad():
            fake = self.generator(latent, labels)
        wasserstein = self.critic(real, labels).mean() - self.critic(fake, labels).mean()
        share = shares[:, None, None, None]
        mixed = (share * real + (1 - share) * fake).requires_grad_(True)
        scores = self.critic(mixed, labels)
        (gradients,) = torch.autograd.grad(scores, mixed, torch.ones_like(scores), create_graph=True)
        penalty = ((gradients.flatten(1).norm(2, dim=1) - 1) ** 2).mean()
        loss = -wasserstein + self.lambda_gp * penalty
        self.critic_optimizer.zero_grad()
        loss.backward()
        self.critic_optimizer.step()
        return {"critic_loss": loss.item(), "wasserstein": wasserstein.item(), "gradient_penalty": penalty.item()}

    def generator_step(self, latent: Tensor, labels: Tensor) -> dict[str, float]:
        """One step of the generator."""
        self.critic.requires_grad_(False)
        loss = -self.critic(self.generator(latent, labels), labels).mean()
        self.generator_optimizer.zero_grad()
        loss.backward()
        self.generator_optimizer.step()
        self.critic.requires_grad_(True)
        return {"generator_loss": loss.item()}


def endless_batches(images: Tensor, labels: Tensor, batch_size: int, seed: int) -> Iterator[list[Tensor]]:
    """Shuffled batches of float images [n, 1, size, size] in [-1, 1] and labels, epoch after epoch."""
    loader = DataLoader(
        TensorDataset(images, labels),
        batch_size,
        shuffle=True,
        drop_last=True,
        generator=torch.Generator().manual_seed(seed),
    )
    while True:
        yield from loader
