"""`gan_step` and `gan_step_lazy`: a generator step of the thesis's networks with its critic steps; and `synthesis`."""

import contextlib
import dataclasses
import tempfile

import numpy as np
import torch
from plain_gan import PlainCritic, PlainGenerator, PlainTraining, endless_batches
from sizes import Sizes
from timing import Budget, Enough, OperationCount, Row, Turns, in_turns, rate_row, seconds_row

from mlproject.config import PROJECT_ROOT, GanConfig, load_config
from mlproject.data.checks import CLASS_NAMES
from mlproject.gan.networks import build_networks
from mlproject.gan.sampling import Generator, to_grey_levels
from mlproject.gan.training import train_gan
from mlproject.runtime import seed_for, torch_generator

LAZY_PENALTY_EVERY = 4


def thesis_config(sizes: Sizes) -> GanConfig:
    """The settings of the thesis, at these sizes and without an end."""
    thesis = load_config(PROJECT_ROOT / "configs" / "thesis.yaml").gan
    return dataclasses.replace(
        thesis,
        batch_size=sizes.gan_batch,
        base_channels=sizes.gan_base_channels,
        steps=1_000_000,
        epochs=0,
        log_every=10,
        grid_every=1_000_000,
        checkpoint_every=1_000_000,
    )


def plain_training(config: GanConfig, size: int) -> PlainTraining:
    """The reference with the weights that `train_gan` starts from under this configuration."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(config.seed, "weights"))
        networks = build_networks(config, size=size)
    generator = PlainGenerator(size, config.latent_dim, config.base_channels)
    critic = PlainCritic(size, config.base_channels)
    generator.load_state_dict(networks[0].state_dict())
    critic.load_state_dict(networks[1].state_dict())
    return PlainTraining(
        generator,
        critic,
        latent_dim=config.latent_dim,
        learning_rate=config.learning_rate,
        betas=(config.beta1, config.beta2),
        lambda_gp=config.lambda_gp,
        critic_steps=config.critic_steps,
    )


def gan_step(sizes: Sizes, penalty_every: int = 1) -> Row:
    """Seconds of a generator step: the project's loop in bf16 against the plain loop in fp32."""
    config = dataclasses.replace(thesis_config(sizes), precision="bf16", penalty_every=penalty_every)
    images, labels = random_images(sizes)
    plain = plain_training(config, sizes.gan_size)
    pixels = torch.from_numpy(images).float().div(127.5).sub(1)[:, None]
    batches = endless_batches(pixels, torch.from_numpy(labels), config.batch_size, seed=0)
    draw = torch.Generator().manual_seed(0)
    # the lazy penalty falls on every 4th critic step: 4 steps hold the same number of them, wherever they begin
    turns = Turns(lambda: plain.step(batches, draw), sizes.budget, steps=penalty_every)
    with tempfile.TemporaryDirectory() as work, contextlib.suppress(Enough):
        train_gan(
            images,
            labels,
            config,
            work_dir=work,
            device="cpu",
            report=lambda step, values: None,
            report_image=lambda step, name, image: None,
            progress=turns,
        )
    ours, reference = turns.medians()
    return seconds_row(ours / penalty_every, reference, "s/step")


def gan_step_lazy(sizes: Sizes) -> Row:
    """As `gan_step`, the penalty at every 4th critic step with four times its weight."""
    return gan_step(sizes, LAZY_PENALTY_EVERY)


def gan_step_operations(sizes: Sizes) -> int:
    """Floating-point operations in the convolutions of one step with the penalty at every critic step."""
    config = thesis_config(sizes)
    images, labels = random_images(sizes)
    pixels = torch.from_numpy(images).float().div(127.5).sub(1)[:, None]
    batches = endless_batches(pixels, torch.from_numpy(labels), config.batch_size, seed=0)
    with OperationCount() as count:
        plain_training(config, sizes.gan_size).step(batches, torch.Generator().manual_seed(0))
    return count.total


def synthesis(sizes: Sizes) -> Row:
    """Images a second of the default generator: `Generator.sample` against one image at a time."""
    config = load_config().gan
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ours, _ = build_networks(config, size=sizes.gan_size)
    ours.eval()
    generator = Generator(ours, sizes.gan_size, CLASS_NAMES)
    labels = np.arange(sizes.synthetic_images) % 2

    @torch.no_grad()
    def one_at_a_time() -> np.ndarray:
        drawn = []
        for index, label in enumerate(labels.tolist()):
            inputs = torch.randn(1, ours.inputs_size, generator=torch_generator(0, "sample", label, index))
            drawn.append(to_grey_levels(ours(inputs, torch.tensor([label])))[0])
        return np.stack(drawn)

    budget = Budget(sizes.budget.turns, sizes.budget.seconds / 3)
    seconds = in_turns(lambda: generator.sample(labels, seed=0), one_at_a_time, budget)
    return rate_row(*(len(labels) / time for time in seconds), "images/s")


def random_images(sizes: Sizes) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images [n, size, size] of noise with labels in turn: a step's cost does not depend on what they show."""
    count = 4 * sizes.gan_batch
    shape = (count, sizes.gan_size, sizes.gan_size)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8), np.arange(count) % 2
