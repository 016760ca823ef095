"""What a GAN run carries from step to step, and what a checkpoint of it holds."""

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from mlproject.checkpoint import Checkpoint, latest_checkpoint, optimizer_tensors, restore_optimizer, tensors_under
from mlproject.config import GanConfig
from mlproject.distributed import World
from mlproject.errors import UserError

# losses that stop the run when they are not finite
GUARDED = ("gan.critic_loss", "gan.gradient_penalty", "gan.generator_loss")


class RunState:
    """What a checkpoint holds: networks, optimisers, average, sums for the next report, the best generator."""

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        average: nn.Module,
        generator_optimizer: torch.optim.Optimizer,
        critic_optimizer: torch.optim.Optimizer,
        device: torch.device,
    ) -> None:
        self.modules = {"generator": generator, "critic": critic, "average": average}
        self.optimizers = {"generator_optimizer": generator_optimizer, "critic_optimizer": critic_optimizer}
        self.device = device
        self.sums: dict[str, Tensor] = {}
        self.first_bad = {name: torch.zeros((), dtype=torch.int64, device=device) for name in GUARDED}
        self.best: float | None = None
        self.best_tensors: dict[str, Tensor] = {}

    def note(self, name: str, step: int, value: Tensor, guard: Tensor) -> None:
        """Add to the mean of the next report, without waiting for the device; remember the first bad step."""
        total = self.sums.setdefault(name, torch.zeros(2, dtype=torch.float64, device=self.device))
        total += torch.stack([value.detach().double(), torch.ones((), dtype=torch.float64, device=self.device)])
        if name in self.first_bad:
            bad = ~torch.isfinite(guard.detach()) & (self.first_bad[name] == 0)
            self.first_bad[name] += bad * step

    def share(self, world: World) -> None:
        """Make the sums the means over all processes, and a bad step of one of them a bad step of all."""
        if world.size == 1:
            return
        for total in self.sums.values():
            total.copy_(world.mean(total))
        for first in self.first_bad.values():
            none = torch.iinfo(first.dtype).max
            earliest = world.smallest(torch.where(first == 0, none, first))
            first.copy_(torch.where(earliest == none, 0, earliest))

    def means(self) -> dict[str, float]:
        """The means since the last call."""
        values = {name: float(total[0] / total[1]) for name, total in sorted(self.sums.items())}
        self.sums = {}
        return values

    def require_finite(self, config: GanConfig, work_dir: str | Path) -> None:
        """Stop the run when a loss or a weight is not finite, before anything of it is saved."""
        bad = [(int(step), name) for name, step in self.first_bad.items() if int(step)]
        if not bad:
            if all(bool(tensor.isfinite().all()) for tensor in self._network_tensors().values()):
                return
            what = "a weight"
        else:
            step, name = min(bad)
            what = f"{name} at step {step}"
        good = latest_checkpoint(work_dir)
        kept = f"the last good checkpoint is {good.path}" if good else "there is no checkpoint yet"
        mends = [f"a lower gan.learning_rate (now {config.learning_rate:g})"]
        mends += [f"gan.precision fp32 (now {config.precision})"] if config.precision != "fp32" else []
        mends += [f"a larger gan.lambda_gp (now {config.lambda_gp:g})"]
        raise UserError(f"GAN training: {what} is not finite; {kept}; try {', '.join(mends[:-1])} or {mends[-1]}")

    def keep_best(self, value: float | None) -> None:
        """Keep the averaged generator when `value` is the highest so far."""
        if value is not None and math.isfinite(value) and (self.best is None or value > self.best):
            self.best = float(value)
            self.best_tensors = {
                name: tensor.detach().clone() for name, tensor in self.modules["average"].state_dict().items()
            }

    def tensors(self) -> dict[str, Tensor]:
        """Everything, as a checkpoint stores it."""
        tensors = self._network_tensors()
        for prefix, optimizer in self.optimizers.items():
            tensors |= optimizer_tensors(optimizer, prefix)
        tensors |= {f"sums.{name}": total for name, total in self.sums.items()}
        return tensors | {f"best.{name}": tensor for name, tensor in self.best_tensors.items()}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Put back what `tensors` and `best` were."""
        for prefix, module in self.modules.items():
            module.load_state_dict(tensors_under(checkpoint.tensors, prefix))
        for prefix, optimizer in self.optimizers.items():
            restore_optimizer(optimizer, checkpoint.tensors, prefix)
        self.sums = {name: total.to(self.device) for name, total in tensors_under(checkpoint.tensors, "sums").items()}
        self.best_tensors = {
            name: value.to(self.device) for name, value in tensors_under(checkpoint.tensors, "best").items()
        }
        self.best = checkpoint.state["best"]

    def _network_tensors(self) -> dict[str, Tensor]:
        return {
            f"{prefix}.{name}": tensor
            for prefix, module in self.modules.items()
            for name, tensor in module.state_dict().items()
        }
