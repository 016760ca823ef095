"""What a classifier training keeps beside its weights, and how a killed one finds all of it again."""

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mlproject.checkpoint import Checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint, tensors_under
from mlproject.config import ClassifierConfig
from mlproject.data.crops import Crops
from mlproject.errors import UserError

Weights = dict[str, torch.Tensor]
Identity = dict[str, Any]


@dataclass(frozen=True)
class Best:
    """The validation that is kept: highest AUC, at equal AUC the lowest loss, then the earliest."""

    step: int
    auc: float
    loss: float
    probabilities: np.ndarray  # float64 [n], of the validation crops in their order
    weights: Weights  # on the CPU

    def beaten_by(self, auc: float, loss: float) -> bool:
        """Whether a later validation with these scores takes its place."""
        return (auc, -loss) > (self.auc, -self.loss)


@dataclass
class Standing:
    """How far the training is. Randomness is keyed by the step, so no generator's state belongs to it."""

    step: int = 0  # completed optimiser steps
    best: Best | None = None
    history: list[dict[str, float]] = field(default_factory=list)  # one entry for each validation
    losses: list[float] = field(default_factory=list)  # of the steps since the last validation


def copy_weights(module: nn.Module) -> Weights:
    """The module's parameters and buffers as copies on the CPU."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in module.state_dict().items()}


def identity_of(config: ClassifierConfig, *parts: Crops | None) -> Identity:
    """What a checkpoint must share with the training that continues it: configuration, pixels and labels."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"none" if part is None else repr(part.images.shape).encode())
        if part is not None:
            digest.update(np.ascontiguousarray(part.images).tobytes())
            digest.update(np.ascontiguousarray(part.labels, dtype=np.int64).tobytes())
    return {"config": dataclasses.asdict(config), "images": digest.hexdigest()}


def save_standing(
    folder: Path, standing: Standing, module: nn.Module, optimizer: torch.optim.Optimizer, identity: Identity
) -> None:
    """Write a checkpoint of everything that the next step depends on."""
    tensors = {f"model.{name}": tensor for name, tensor in module.state_dict().items()}
    tensors |= optimizer_tensors(optimizer, "optimizer")
    state: dict[str, Any] = {
        "identity": identity,
        "history": standing.history,
        "losses": standing.losses,
        "best": None,
    }
    if (best := standing.best) is not None:
        tensors |= {f"best.{name}": tensor for name, tensor in best.weights.items()}
        tensors["probabilities"] = torch.from_numpy(best.probabilities)
        state["best"] = {"step": best.step, "auc": best.auc, "loss": best.loss}
    save_checkpoint(folder, standing.step, tensors, state)


def resume(
    checkpoint: Checkpoint | None, module: nn.Module, optimizer: torch.optim.Optimizer, identity: Identity
) -> Standing:
    """Fill `module` and `optimizer` from a checkpoint; a fresh standing when there is none.

    Raises:
        UserError: the checkpoint was written by a training with another configuration or other images.
    """
    if checkpoint is None:
        return Standing()
    _refuse_other_training(checkpoint, identity)
    module.load_state_dict(tensors_under(checkpoint.tensors, "model"))
    restore_optimizer(optimizer, checkpoint.tensors, "optimizer")
    state, best = checkpoint.state, None
    if state["best"] is not None:
        probabilities = checkpoint.tensors["probabilities"].numpy()
        best = Best(**state["best"], probabilities=probabilities, weights=tensors_under(checkpoint.tensors, "best"))
    return Standing(checkpoint.step, best, state["history"], state["losses"])


def _refuse_other_training(checkpoint: Checkpoint, identity: Identity) -> None:
    found = checkpoint.state["identity"]
    changed = [key for key, value in identity["config"].items() if found["config"].get(key) != value]
    if found["images"] != identity["images"]:
        changed.append("the images")
    if changed:
        raise UserError(
            f"work folder {checkpoint.path.parent} holds another training (different: {', '.join(changed)}); "
            "give another folder, or remove it"
        )
