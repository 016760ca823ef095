"""Training of the conditional WGAN-GP: one visible loop, whose only state is the step number and what it saves.

Every random number is keyed by (seed, stream, step). So a run that is killed and started again with the same work
folder continues from its newest checkpoint and ends with the same bits as one that was not.
"""

import copy
import dataclasses
import functools
import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mlproject.checkpoint import Checkpoint, save_checkpoint
from mlproject.config import GanConfig
from mlproject.data.checks import CLASS_NAMES
from mlproject.data.images import grid
from mlproject.distributed import ALONE, World, share_statistics
from mlproject.errors import UserError
from mlproject.gan import losses
from mlproject.gan.augment import augment, draw_augmentation
from mlproject.gan.batches import (
    as_float,
    batch_indices,
    mirror_some,
    moved_crops,
    rate_share,
    reach_px,
    with_mismatched,
)
from mlproject.gan.classes import Seen, TwinClasses
from mlproject.gan.compact import group_size
from mlproject.gan.conditional import ConditionalGenerator
from mlproject.gan.feature_critic import FeatureCritic, FeatureMaps, map_gradient_norms
from mlproject.gan.networks import build_networks
from mlproject.gan.run_state import RunState
from mlproject.gan.sampling import Generator, to_grey_levels
from mlproject.runtime import fused_step, seed_for, torch_generator

# the average forgets as fast as a tenth of the images seen so far, until its own half-life is shorter
EMA_RAMP_UP = 0.1
GRID_COLUMNS = 8
# what an `evaluate` callable may return for the best generator, and not the last, to be kept: higher is better
SELECTION = "gan.selection"
# changing these does not change what a step computes, so a run may go on under other values; the first two do when
# the learning rate falls towards the end
_FREE_ON_RESUME = ("steps", "epochs", "grid_every", "checkpoint_every", "subjects")

Report = Callable[[int, dict[str, float]], None]
ReportImage = Callable[[int, str, np.ndarray], None]
Evaluate = Callable[[int, Generator], Mapping[str, float]]


@dataclass(frozen=True)
class TrainedGan:
    """A finished run: the averaged generator in evaluation mode on the CPU, and what describes it."""

    generator: ConditionalGenerator
    config: GanConfig
    size: int
    class_names: tuple[str, ...]
    step: int


def generator_steps(config: GanConfig, n_images: int) -> int:
    """Generator steps of a run: `steps`, or ceil(epochs * ceil(n / batch_size) / critic_steps) when epochs > 0.

    An epoch is one pass of the critic over the images, as the thesis counts it.
    """
    if config.epochs == 0:
        return config.steps
    return math.ceil(config.epochs * math.ceil(n_images / config.batch_size) / config.critic_steps)


def train_gan(
    images: np.ndarray,
    labels: np.ndarray,
    config: GanConfig,
    *,
    surroundings: np.ndarray | None = None,
    work_dir: str | Path,
    device: torch.device | str,
    report: Report,
    report_image: ReportImage,
    evaluate: Evaluate | None = None,
    feature_maps: FeatureMaps | None = None,
    progress: Callable[[int, int], None] | None = None,
    world: World = ALONE,
) -> TrainedGan:
    """Train a generator on crops, resuming from `work_dir` when it holds a checkpoint of the same run.

    Args:
        images: uint8 [n, size, size].
        labels: int [n], 0 normal, 1 anomalous; both present.
        surroundings: what lies around each crop as far as `reach_px` (`load_surroundings`), uint8
            [n, side, side]; default: the crop's own edges, mirrored.
        work_dir: folder for checkpoints.
        report: receives `gan.critic_loss`, `gan.wasserstein`, `gan.gradient_penalty`, `gan.gradient_norm`,
            `gan.generator_loss` and, of the parts that are on, `gan.feature_wasserstein`, `gan.feature_gradient_norm`,
            `gan.class_loss`, `gan.twin_class_loss`, `gan.generator_class_loss` and `gan.generator_twin_class_loss`
            (means since the last report); `gan.images_per_second` (real images).
        report_image: receives the grid `samples` from fixed noise: rows of normal over anomalous from the same noise.
        evaluate: called with each grid; what it returns is reported. With a `gan.selection` among it, the averaged
            generator of the highest value is returned instead of the last one.
        feature_maps: what the feature critic sees; needed when `config.feature_critic` is above 0.
        progress: called with (finished steps, all steps).
        world: the processes that train together, each of which calls this with the same images and settings. The
            first alone reads and writes checkpoints and is to report and evaluate.

    Raises:
        UserError: unusable images or labels, a work folder of another run, a batch that the processes cannot share,
            or a loss that is not finite.
    """
    images, labels = _checked(images, labels)
    if surroundings is None:
        reach = reach_px(config, images.shape[1])
        surroundings = np.pad(images, ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
    device = torch.device(device)
    size, total = images.shape[1], generator_steps(config, len(images))
    bf16 = config.precision == "bf16" and supports_bf16(device)
    autocast = functools.partial(torch.autocast, device.type, dtype=torch.bfloat16, enabled=bf16)
    identity = _identity(config, surroundings, labels, bf16)
    grouped = config.minibatch_group if config.architecture == "compact" else 0
    world.require_shares(config.batch_size, "gan.batch_size", group_size(config.batch_size, grouped))

    # networks, drawn from the seed without touching the state of anyone else's draws
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_for(config.seed, "weights"))
        generator, critic = build_networks(config, size=size, n_classes=len(CLASS_NAMES))
        if config.feature_critic > 0:
            assert feature_maps is not None, "a feature critic needs feature maps"
            sample = torch.from_numpy(images[:: max(1, len(images) // 256)]).to(device)
            critic.features = FeatureCritic(feature_maps, as_float(sample), len(CLASS_NAMES))
            if config.auxiliary > 0 and config.auxiliary_kind == "twins":
                critic.classes = TwinClasses(critic.features.channels, len(CLASS_NAMES))
    world.start_as_first(generator, critic)
    share_statistics(generator, world, device)
    generator = generator.to(device).to(memory_format=torch.channels_last).train()
    critic = critic.to(device).to(memory_format=torch.channels_last).train()
    average = copy.deepcopy(generator).requires_grad_(False).eval()
    generator_optimizer, critic_optimizer = (_adam(network, config, device) for network in (generator, critic))
    sampler = Generator(average, size=size, class_names=CLASS_NAMES)

    # resume
    run = RunState(generator, critic, average, generator_optimizer, critic_optimizer, device)
    checkpoint = world.latest_checkpoint(work_dir)
    start = 0
    if checkpoint is not None:
        _require_same_run(checkpoint, identity, total)
        run.restore(checkpoint)
        start = checkpoint.step

    around = torch.from_numpy(surroundings).to(device)
    classes = torch.from_numpy(labels).to(device)
    grid_inputs, grid_labels = _grid_draw(config.seed, generator.inputs_size)
    clock, clock_step = time.perf_counter(), start
    if progress is not None:
        progress(start, total)

    # they stay empty without a critic of features
    real_maps: Sequence[Tensor] = ()
    fake_maps: Sequence[Tensor] = ()
    for step in range(start + 1, total + 1):
        rate = config.learning_rate * rate_share(config.schedule, step, total)
        for group in (*generator_optimizer.param_groups, *critic_optimizer.param_groups):
            group["lr"] = rate

        # critic steps: real images against synthetic ones of the same labels. What is drawn is drawn for the whole
        # batch, of which a process among others then keeps its own rows
        for turn in range((step - 1) * config.critic_steps, step * config.critic_steps):
            draw = torch_generator(config.seed, "critic", turn)
            chosen = torch.from_numpy(batch_indices(config.seed, len(images), config.batch_size, turn)).to(device)
            seen, labels_of_all = around[chosen], classes[chosen]
            if config.mirror:
                seen = mirror_some(seen, draw)
            real = moved_crops(seen, size, config, draw)
            inputs = world.rows(torch.randn(config.batch_size, generator.inputs_size, generator=draw)).to(device)
            real_labels = world.rows(labels_of_all)
            with torch.no_grad(), autocast():
                fake = generator(inputs, real_labels)
            fake = with_mismatched(fake, real, labels_of_all, config.mismatched, world)
            real = world.rows(real)
            shared = draw_augmentation(config.augment, config.batch_size, size, draw, device, world)
            real, fake = augment(real, shared), augment(fake, shared)

            with autocast():
                real_scores, fake_scores = critic(real, real_labels), critic(fake, real_labels)
            loss = losses.critic_loss(real_scores, fake_scores) + config.drift * losses.drift_penalty(real_scores)
            run.note("gan.wasserstein", step, real_scores.mean() - fake_scores.mean(), loss)
            # the lazy penalty: every k-th step with k times the weight
            if turn % config.penalty_every == 0:
                weights = world.rows(torch.rand(config.batch_size, generator=draw)).to(device)
                with autocast():
                    norms = losses.gradient_norms(critic, losses.interpolates(real, fake, weights), real_labels)
                penalty = losses.gradient_penalty(norms)
                run.note("gan.gradient_penalty", step, penalty, penalty)
                run.note("gan.gradient_norm", step, norms.mean(), penalty)
                loss = loss + config.penalty_every * config.lambda_gp * penalty
            if critic.features is not None:
                with torch.no_grad():
                    real_maps, fake_maps = critic.features.maps(real), critic.features.maps(fake)
                with autocast():
                    real_scores, fake_scores = (critic.features(maps, real_labels) for maps in (real_maps, fake_maps))
                feature_loss = losses.critic_loss(real_scores, fake_scores)
                feature_loss = feature_loss + config.drift * losses.drift_penalty(real_scores)
                if turn % config.penalty_every == 0:
                    weights = world.rows(torch.rand(config.batch_size, generator=draw)).to(device)
                    with autocast():
                        norms = map_gradient_norms(critic.features, real_maps, fake_maps, real_labels, weights)
                    run.note("gan.feature_gradient_norm", step, norms.mean(), norms.mean())
                    penalty = losses.gradient_penalty(norms)
                    feature_loss = feature_loss + config.penalty_every * config.lambda_gp * penalty
                run.note("gan.feature_wasserstein", step, real_scores.mean() - fake_scores.mean(), feature_loss)
                loss = loss + feature_loss
            if critic.classes is not None:
                with autocast():
                    class_losses = critic.classes.losses(
                        Seen(real, real_maps, real_labels), Seen(fake, fake_maps, real_labels), draw, world
                    )
                for name, value in class_losses.items():
                    run.note(f"gan.{name}", step, value, value)
                    loss = loss + value
            critic_optimizer.zero_grad(set_to_none=True)
            # else the penalty's derivative by the images would be computed too
            loss.backward(inputs=list(critic.parameters()))
            world.average_gradients(critic.parameters())
            critic_optimizer.step()
            run.note("gan.critic_loss", step, loss, loss)

        # generator step, labels drawn with the share that the data has
        draw = torch_generator(config.seed, "generator", step)
        inputs = world.rows(torch.randn(config.batch_size, generator.inputs_size, generator=draw)).to(device)
        fake_labels = classes[world.rows(torch.randint(len(images), (config.batch_size,), generator=draw)).to(device)]
        transformation = draw_augmentation(config.augment, config.batch_size, size, draw, device, world)
        critic.requires_grad_(False)
        with autocast():
            fake = augment(generator(inputs, fake_labels), transformation)
            fake_scores = critic(fake, fake_labels)
        loss = losses.generator_loss(fake_scores)
        if critic.features is not None:
            fake_maps = critic.features.maps(fake)
            with autocast():
                fake_scores = critic.features(fake_maps, fake_labels)
            loss = loss + config.feature_critic * losses.generator_loss(fake_scores)
        if critic.classes is not None:
            with autocast():
                class_loss, class_losses = critic.classes.generator_loss(
                    Seen(fake, fake_maps, fake_labels), draw, world
                )
            for name, value in class_losses.items():
                run.note(f"gan.{name}", step, value, value)
            loss = loss + config.auxiliary * class_loss
        generator_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        world.average_gradients(generator.parameters())
        generator_optimizer.step()
        critic.requires_grad_(True)
        run.note("gan.generator_loss", step, loss, loss)

        # the averaged generator
        average_weights(average, generator, ema_decay(config.ema_images, config.batch_size, step))

        # report, then checkpoint, so that a journal cut at a checkpoint lacks nothing
        last = step == total
        if last or step % config.log_every == 0 or step % config.checkpoint_every == 0:
            run.share(world)
            run.require_finite(config, work_dir)
        if last or step % config.log_every == 0:
            now = time.perf_counter()
            count = (step - clock_step) * config.critic_steps * config.batch_size
            report(step, {**run.means(), "gan.images_per_second": count / max(now - clock, 1e-9)})
            clock, clock_step = now, step
        if world.is_first and (last or step % config.grid_every == 0):
            with torch.no_grad():
                drawn = average(grid_inputs.to(device), grid_labels.to(device))
            report_image(step, "samples", grid(to_grey_levels(drawn), GRID_COLUMNS))
            if evaluate is not None:
                values = dict(evaluate(step, sampler))
                if values:
                    report(step, values)
                run.keep_best(values.get(SELECTION))
        if world.is_first and (last or step % config.checkpoint_every == 0):
            save_checkpoint(Path(work_dir), step, run.tensors(), {"identity": identity, "best": run.best})
        if progress is not None:
            progress(step, total)

    if run.best_tensors:
        average.load_state_dict(run.best_tensors)
    return TrainedGan(average.cpu(), config, size, CLASS_NAMES, total)


def ema_decay(half_life_images: float, batch_size: int, step: int) -> float:
    """The averaged generator's decay at a step: 0.5 to the power (batch / half-life), Karras et al. 2020.

    The half-life ramps up with the images seen, so that the average does not drag the first steps along.
    """
    half_life = min(half_life_images, EMA_RAMP_UP * step * batch_size)
    return 0.5 ** (batch_size / half_life) if half_life > 0 else 0.0


@torch.no_grad()
def average_weights(average: nn.Module, network: nn.Module, decay: float) -> None:
    """average = decay * average + (1 - decay) * network for parameters; buffers are copied."""
    targets: list[Tensor] = list(average.parameters())
    sources: list[Tensor] = list(network.parameters())
    torch._foreach_lerp_(targets, sources, 1 - decay)
    for target, source in zip(average.buffers(), network.buffers(), strict=True):
        target.copy_(source)


def supports_bf16(device: torch.device) -> bool:
    """Whether convolutions run in bfloat16 on this device without falling back to slow emulation."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _grid_draw(seed: int, inputs_size: int) -> tuple[Tensor, Tensor]:
    """Four rows: normal over anomalous from the same noise, twice."""
    rows = torch.randn(2, 1, GRID_COLUMNS, inputs_size, generator=torch_generator(seed, "grid"))
    inputs = rows.expand(-1, len(CLASS_NAMES), -1, -1).reshape(-1, inputs_size)
    labels = torch.arange(len(CLASS_NAMES))[None, :, None].expand(2, -1, GRID_COLUMNS).reshape(-1)
    return inputs, labels


def _adam(network: nn.Module, config: GanConfig, device: torch.device) -> torch.optim.Adam:
    """Adam as configured."""
    parameters = list(network.parameters())
    betas = config.beta1, config.beta2
    adam = torch.optim.Adam(parameters, lr=config.learning_rate, betas=betas, fused=fused_step(device))
    # the fused step does not say that it wrote to the weights, and what is kept of them would be thought fresh
    adam.register_step_post_hook(lambda *_: torch.autograd.graph.increment_version(parameters))
    return adam


def _checked(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # torch warns of arrays that it could not write to
    images, labels = np.require(images, None, ["C", "W"]), np.require(labels, np.int64, ["C", "W"])
    assert images.dtype == np.uint8, images.dtype
    assert images.ndim == 3, images.shape
    if images.shape[1] != images.shape[2] or len(images) != len(labels):
        raise UserError(f"GAN training: expected n square images with n labels, found {images.shape}, {labels.shape}")
    missing = [name for index, name in enumerate(CLASS_NAMES) if not (labels == index).any()]
    if missing or not np.isin(labels, range(len(CLASS_NAMES))).all():
        raise UserError(
            f"GAN training: labels {sorted(set(labels.tolist()))} of {len(labels)} images; expected both 0 (normal) "
            "and 1 (anomalous): use more training subjects"
        )
    return images, labels


def _identity(config: GanConfig, images: np.ndarray, labels: np.ndarray, bf16: bool) -> dict[str, Any]:
    """What makes two runs the same run: settings that a step depends on, the data, the arithmetic."""
    free = _FREE_ON_RESUME if config.schedule == "constant" else _FREE_ON_RESUME[2:]
    settings = {name: value for name, value in dataclasses.asdict(config).items() if name not in free}
    content = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    return {**settings, "bf16": bf16, "images_sha256": content}


def _require_same_run(checkpoint: Checkpoint, identity: dict[str, Any], total: int) -> None:
    if checkpoint.step > total:
        raise UserError(f"{checkpoint.path} is past the {total} steps asked for; ask for more, or for another folder")
    known = checkpoint.state.get("identity", {})
    differing = sorted(key for key in known.keys() | identity.keys() if known.get(key) != identity.get(key))
    if differing:
        listed = ", ".join(f"{key} {known.get(key)!r} -> {identity.get(key)!r}" for key in differing)
        raise UserError(f"{checkpoint.path} belongs to another run ({listed}); use another work folder or remove it")
