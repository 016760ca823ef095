"""Several processes that train one network together, as torchrun starts them: what each does and what they share.

Every process draws the random numbers of the whole batch and keeps its own rows of it. Losses are means over rows, so
the mean of the processes' gradients is the gradient of the whole batch, and what comes out does not depend on the
number of processes, but for the order in which floats are added.

Gradients are averaged here, in one flat piece before an optimiser's step, and not by `DistributedDataParallel`: its
hooks expect one forward and one backward pass in turn, a critic with a gradient penalty makes several of each.
"""

import contextlib
import datetime
import json
import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load, save
from torch import Tensor, nn

from mlproject.checkpoint import Checkpoint, latest_checkpoint
from mlproject.errors import UserError

# the others wait while the first prepares data and evaluates; a process that ends is noticed at once, not by this
_PATIENCE = datetime.timedelta(days=1)
_VALUES = "values"  # the name under which a message carries its JSON

Rows = TypeVar("Rows", Tensor, np.ndarray)


@dataclass(frozen=True)
class World:
    """The processes that train together, seen from one of them; of a process by itself nothing is asked or changed."""

    rank: int = 0
    size: int = 1

    @staticmethod
    def current() -> "World":
        """The world of this process: itself alone unless it has called `join`."""
        return World(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else World()

    @property
    def is_first(self) -> bool:
        """Whether this is the process that reads, writes and logs."""
        return self.rank == 0

    def require_shares(self, batch_size: int, name: str, group: int = 1) -> None:
        """Refuse a batch that cannot be cut into equal shares of whole groups of neighbours.

        Args:
            name: the key that sets the batch size, for the message.
        """
        if self.size > 1 and batch_size % (self.size * group):
            groups = f" in groups of {group}" if group > 1 else ""
            raise UserError(
                f"{name}: {batch_size} images cannot be shared out evenly{groups} among {self.size} processes; "
                f"use a multiple of {self.size * group}"
            )

    def rows(self, batch: Rows) -> Rows:
        """This process's rows of a whole batch [n, ...], a view."""
        share = len(batch) // self.size
        return batch[self.rank * share : (self.rank + 1) * share]

    def mean(self, values: Tensor) -> Tensor:
        """The mean over processes, differentiable; the same bits in each of them."""
        return values if self.size == 1 else _Sum.apply(values) / self.size

    def smallest(self, values: Tensor) -> Tensor:
        """The least over processes, element by element."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values, dist.ReduceOp.MIN)
        return values

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the mean over processes in place of every gradient."""
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(part.view(gradient.shape))

    def start_as_first(self, *modules: nn.Module) -> None:
        """Give networks the first process's weights; to be called before their memory layout is changed."""
        if self.size > 1:
            for module in modules:
                for tensor in module.state_dict().values():
                    dist.broadcast(tensor, 0)

    def tell(self, values: Mapping[str, Any] | None = None, tensors: Mapping[str, Tensor] | None = None) -> "Message":
        """What the first process says, in every process; the others give nothing.

        Args:
            values: JSON values.
            tensors: of the CPU, of any dtypes.
        """
        if self.size == 1:
            return dict(values or {}), dict(tensors or {})
        content = torch.zeros(0, dtype=torch.uint8)
        if self.is_first:
            text = torch.frombuffer(bytearray(json.dumps(values or {}).encode()), dtype=torch.uint8)
            content = torch.frombuffer(bytearray(save({**(tensors or {}), _VALUES: text})), dtype=torch.uint8)
        length = torch.tensor([len(content)])
        dist.broadcast(length, 0)
        if not self.is_first:
            content = torch.zeros(int(length), dtype=torch.uint8)
        dist.broadcast(content, 0)
        found = load(content.numpy().tobytes())
        return json.loads(found.pop(_VALUES).numpy().tobytes()), found

    def latest_checkpoint(self, folder: str | Path) -> Checkpoint | None:
        """The first process's newest checkpoint under `folder`, in every process; None when there is none."""
        if self.size == 1:
            return latest_checkpoint(folder)
        found = latest_checkpoint(folder) if self.is_first else None
        known = {} if found is None else {"step": found.step, "state": found.state, "path": str(found.path)}
        values, tensors = self.tell(known, {} if found is None else found.tensors)
        return Checkpoint(values["step"], tensors, values["state"], Path(values["path"])) if values else None

    @contextlib.contextmanager
    def loss_told(self) -> Iterator[None]:
        """A process that ends takes the others with it: this says so in one line in place of a traceback."""
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
                raise
            # torchrun's signal to end follows: it must not tear the end that the run is given now
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            raise UserError(
                f"process {self.rank} of {self.size} stops because another has ended, which says why itself; the same "
                "command goes on from the last checkpoint"
            ) from error


ALONE = World()
Message = tuple[dict[str, Any], dict[str, Tensor]]


class _Sum(torch.autograd.Function):
    """The sum over processes; its derivative is the sum over processes again."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        values = values.clone()
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return _Sum.apply(gradients[0])


def join(device: torch.device) -> World:
    """Meet the other processes that torchrun started: over gloo on CPUs, over NCCL with one GPU for each process.

    Raises:
        UserError: fewer GPUs on this machine than processes.
    """
    if device.type == "cuda":
        processes, count = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
        if processes > count:
            raise UserError(
                f"torchrun: {processes} processes on a machine with {count} CUDA devices, and each needs one; "
                f"use --nproc-per-node {count}, or --device cpu"
            )
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # with GPUs, messages of numbers in memory still go over gloo
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    return World.current()


def leave() -> None:
    """Part from the other processes."""
    dist.destroy_process_group()


def share_statistics(network: nn.Module, world: World, device: torch.device) -> None:
    """Replace the batch norms below a network by ones whose statistics are those of the whole batch.

    To be called before an optimiser takes its parameters. The names in its state stay the same.
    """
    if world.size == 1:
        return
    if device.type == "cuda":
        # timm's conversion knows its own layers, which hold the activation too, and torch's
        from timm.layers import convert_sync_batchnorm

        convert_sync_batchnorm(network)
        return
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, _SharedBatchNorm(child, world))


class _SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the rows of all processes on CPUs: torch's `SyncBatchNorm` runs on GPUs alone."""

    def __init__(self, layer: nn.BatchNorm2d, world: World) -> None:
        super().__init__(layer.num_features, layer.eps, layer.momentum)
        self.load_state_dict(layer.state_dict())
        self.world = world
        self.drop, self.act = getattr(layer, "drop", nn.Identity()), getattr(layer, "act", nn.Identity())

    def forward(self, maps: Tensor) -> Tensor:
        return self.act(self.drop(self._shared(maps) if self.training else super().forward(maps)))

    def _shared(self, maps: Tensor) -> Tensor:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        mean = self.world.mean(maps.float().mean(dim=(0, 2, 3)))
        centred = maps - mean[None, :, None, None]
        variance = self.world.mean(centred.square().mean(dim=(0, 2, 3)))
        with torch.no_grad():
            count = maps.numel() // maps.shape[1] * self.world.size
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()
        return torch.addcmul(self.bias[None, :, None, None], centred, scale[None, :, None, None]).to(maps.dtype)
