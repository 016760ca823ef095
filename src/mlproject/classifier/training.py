"""Training the classifier: one loop over a fixed number of steps that keeps the best weights on validation.

Everything random at a step is keyed by (seed, stream, step), so a run that was killed and started again with the same
work folder continues from its last checkpoint and ends bit-identical to one that was not.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from timm.optim import param_groups_weight_decay
from torch import nn

from mlproject.classifier.inference import as_input, predict_logits, sigmoid
from mlproject.classifier.network import GreyEfficientNet, build_classifier
from mlproject.classifier.schedule import learning_rate, learning_stages, set_learning
from mlproject.classifier.snapshot import Best, copy_weights, identity_of, resume, save_standing
from mlproject.config import ClassifierConfig
from mlproject.data.augment import augment_batch
from mlproject.data.crops import Crops, empty_crops
from mlproject.data.images import image_grid
from mlproject.data.mix import MixedSource
from mlproject.distributed import ALONE, World
from mlproject.errors import UserError
from mlproject.runtime import fused_step, seed_for

# Losses stay on the device and are fetched together: a fetch at every step would stall a GPU.
REPORT_EVERY = 10
VALIDATION_BATCH = 256
GRID_COLUMNS = 8  # of the picture of an augmented batch

Report = Callable[[int, dict[str, float]], None]
ReportImage = Callable[[int, str, np.ndarray], None]


@dataclass(frozen=True)
class TrainedClassifier:
    """The network at its best validation step, in evaluation mode."""

    module: GreyEfficientNet
    config: ClassifierConfig
    best_step: int
    probabilities: np.ndarray  # float64 [n], of the validation crops in their order
    history: list[dict[str, float]]  # for each validation: step, train.loss (mean since the last), val.auc, val.loss


def train_classifier(
    real: Crops | None,
    synthetic: Crops | None,
    validation: Crops,
    config: ClassifierConfig,
    *,
    work_dir: Path,
    device: torch.device,
    report: Report,
    report_image: ReportImage,
    progress: Callable[[int], None] | None = None,
    world: World = ALONE,
) -> TrainedClassifier:
    """Train on a mix of `real` and `synthetic` crops, or continue what `work_dir` holds of this training.

    Args:
        real, synthetic: training crops; one may be None where `config.mix` does without it.
        validation: chooses the step whose weights are kept; never trained on.
        work_dir: keeps the checkpoints.
        report: takes (completed steps, values): `train.loss` and `train.learning_rate` of every step,
            `train.images_per_second` now and then, `val.auc` and `val.loss` at each validation.
        report_image: takes (step, name, uint8 [h, w]): the first augmented batch.
        progress: takes the number of completed steps, first the one that the run starts from.
        world: the processes that train together, each of which calls this with the same crops and settings. The first
            alone reads and writes checkpoints and is to report.

    Raises:
        UserError: the mix lacks its images, sizes differ, validation has one class, weights cannot be had, the work
            folder belongs to another training, the processes cannot share a batch, or the loss is not finite.
    """
    world.require_shares(config.batch_size, "classifier.batch_size")
    source = mixed_source(real, synthetic, validation, config)
    weights_by_class = class_weights(source.label_shares(), config.class_weighting).to(device)

    module = build_classifier(config)
    world.start_as_first(module)
    module.share_batch(world, device)
    module = module.to(device).to(memory_format=torch.channels_last)
    stages = module.stages()
    weights = param_groups_weight_decay(module, config.weight_decay)
    optimizer = torch.optim.AdamW(weights, lr=config.learning_rate, fused=fused_step(device))

    folder = work_dir / "checkpoints"
    identity = identity_of(config, real, synthetic, validation)
    standing = resume(world.latest_checkpoint(folder), module, optimizer, identity)
    step = saved_step = standing.step
    if progress is not None:
        progress(step)

    learning, pending, started = 0, [], time.perf_counter()
    while step < config.steps:
        # Which parts learn, and how fast
        if learning != (now := learning_stages(step, config.freeze_steps, len(stages))):
            learning = now
            module.train()
            set_learning(stages, learning)
        rate = learning_rate(step, config)
        for group in optimizer.param_groups:
            group["lr"] = rate

        # One batch, augmented, of which a process among others then keeps its own rows
        images, labels, _ = source.batch(step)
        images = augment_batch(images, config.augment, seed_for(config.seed, "augment", step))
        if step == 0:
            report_image(0, "augmented_batch", image_grid(images, GRID_COLUMNS))
        inputs = as_input(world.rows(images), device)
        targets = torch.from_numpy(world.rows(labels)).to(device)

        # One optimiser step; dropout draws from a fork of torch's generator at this step's own seed
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed_for(config.seed, "dropout", step))
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.precision == "bf16"):
                logits = module(inputs)
        loss = F.binary_cross_entropy_with_logits(logits.float(), targets.float(), weight=weights_by_class[targets])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        world.average_gradients(module.parameters())
        optimizer.step()
        pending.append((loss.detach(), rate))
        step += 1
        if progress is not None:
            progress(step)

        # Report, before a checkpoint says that these steps are done
        validate = step == config.steps or step % config.eval_every == 0
        save = step == config.steps or step % config.checkpoint_every == 0
        if validate or save or len(pending) == REPORT_EVERY:
            losses = world.mean(torch.stack([value for value, _ in pending])).tolist()
            first = step - len(losses) + 1
            for number, value in enumerate(losses, start=first):
                if not np.isfinite(value):
                    raise _not_finite("the loss", number, folder, saved_step, config)
            for number, (value, (_, used_rate)) in enumerate(zip(losses, pending, strict=True), start=first):
                report(number, {"train.loss": value, "train.learning_rate": used_rate})
            seconds = time.perf_counter() - started
            report(step, {"train.images_per_second": len(losses) * config.batch_size / seconds})
            standing.losses += losses
            pending = []

        # Validation
        if validate:
            scores = predict_logits(module, validation.images, device, VALIDATION_BATCH)
            if not np.isfinite(scores).all():
                raise _not_finite("a logit of the validation", step, folder, saved_step, config)
            auc = float(roc_auc_score(validation.labels, scores))
            validation_loss = log_loss(scores, validation.labels)
            report(step, {"val.auc": auc, "val.loss": validation_loss})
            standing.history.append(
                {
                    "step": step,
                    "train.loss": float(np.mean(standing.losses)),
                    "val.auc": auc,
                    "val.loss": validation_loss,
                }
            )
            standing.losses = []
            if standing.best is None or standing.best.beaten_by(auc, validation_loss):
                standing.best = Best(step, auc, validation_loss, sigmoid(scores), copy_weights(module))

        # Checkpoint; a step with a finite loss can still break the weights, which must not replace good ones
        if save:
            if not all_finite(module):
                raise _not_finite("a weight", step, folder, saved_step, config)
            standing.step = saved_step = step
            if world.is_first:
                save_standing(folder, standing, module, optimizer, identity)
        if not pending:
            started = time.perf_counter()

    best = standing.best
    assert best is not None, "the last step validates"
    module.load_state_dict(best.weights)
    module.requires_grad_(True)
    return TrainedClassifier(module.eval(), config, best.step, best.probabilities, standing.history)


def mixed_source(
    real: Crops | None, synthetic: Crops | None, validation: Crops, config: ClassifierConfig
) -> MixedSource:
    """The training batches of `config`, checked against the validation that will judge them.

    Raises:
        UserError: the mix lacks its images, sizes differ, or training or validation has one class only.
    """
    source = MixedSource(
        empty_crops(validation.images.shape[1]) if real is None else real,
        synthetic,
        mix=config.mix,
        synthetic_fraction=config.synthetic_fraction,
        mix_mode=config.mix_mode,
        batch_size=config.batch_size,
        seed=config.seed,
    )
    images, _, _ = source.batch(0)
    size, expected = images.shape[1], validation.images.shape[1]
    if size != expected:
        raise UserError(f"training crops are {size} px and validation crops {expected} px; prepare both with one size")
    if min(source.label_shares()) == 0:
        raise UserError(f"training images (mix={config.mix}) are all of one class; a classifier needs both")
    if len(np.unique(validation.labels)) != 2:
        raise UserError(f"validation: all {len(validation)} images are of one class; the AUC needs both")
    return source


def class_weights(shares: tuple[float, float], weighting: str) -> torch.Tensor:
    """Loss weights [normal, anomalous] for these expected shares of the two classes.

    Balanced: 0.5 / share, so that both classes weigh the same in expectation and the mean weight is 1.
    """
    if weighting == "none":
        return torch.ones(2)
    return torch.tensor([0.5 / share for share in shares])


def log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean of log(1 + exp(-z)) over images, z being the logit signed by the label; classes unweighted."""
    return float(np.logaddexp(0.0, -logits * (2 * labels - 1)).mean())


def all_finite(module: nn.Module) -> bool:
    """Whether every parameter and buffer is finite."""
    return all(bool(tensor.isfinite().all()) for tensor in module.state_dict().values())


def _not_finite(what: str, step: int, folder: Path, saved_step: int, config: ClassifierConfig) -> UserError:
    kept = f"the last good checkpoint is step {saved_step} in {folder}" if saved_step else "no checkpoint was written"
    fp32 = f", or use classifier.precision=fp32 (now {config.precision})" if config.precision != "fp32" else ""
    return UserError(
        f"classifier: {what} is not finite at step {step}; {kept}; "
        f"lower classifier.learning_rate (now {config.learning_rate:g}){fp32}"
    )
