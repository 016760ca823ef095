"""Checkpoints of a training loop: safetensors and readable JSON, verified when read, exact when resumed."""

import json
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from mlproject.checksums import verify_checksums, write_checksums
from mlproject.errors import UserError
from mlproject.files import atomic_folder, atomic_write_bytes, atomic_write_json, sweep_unfinished
from mlproject.plain_text import escaped

_OPTIMIZER_KEY = re.compile(r"(group)?([0-9]{1,9})\.([A-Za-z_]\w*)")
_FOLDER_NAME = re.compile(r"step-([0-9]{8,18})")


@dataclass(frozen=True)
class Checkpoint:
    """What a loop needs to continue after `step` finished steps."""

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]
    path: Path


def save_checkpoint(
    folder: str | Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any], keep: int = 2
) -> Path:
    """Write `folder/step-<step>` atomically, then remove all but the newest `keep` checkpoints.

    Args:
        step: finished steps, at least 0.
        tensors: any dtypes and devices; stored contiguous on the CPU, so views and shared storage are allowed.
        state: JSON values; NaN and infinities are refused.
        keep: checkpoints left on disk, at least 1; two let a damaged newest one fall back.

    Returns:
        The checkpoint's folder.

    Raises:
        UserError: the place cannot be written.
    """
    assert step >= 0, step
    assert keep >= 1, keep
    folder = Path(folder)
    target = folder / f"step-{step:08d}"
    with atomic_folder(target) as unfinished:
        stored = {name: _detached(tensor) for name, tensor in tensors.items()}
        # not with save_file, which does not synchronise and tells of a full disk in an error of its own
        atomic_write_bytes(unfinished / "tensors.safetensors", save(stored))
        atomic_write_json(unfinished / "state.json", {"step": step, "state": dict(state)})
        write_checksums(unfinished)
    # a checkpoint ahead of this one could not be verified when the loop resumed behind it: it is of no use
    found = _checkpoint_folders(folder)
    kept = [path for known_step, path in found if known_step <= step][-keep:]
    for _, path in found:
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)
    return target


def latest_checkpoint(folder: str | Path) -> Checkpoint | None:
    """The newest checkpoint under `folder` whose checksums hold; None when there is none.

    A damaged one is passed over with a warning on stderr. Leftovers of a killed writer are removed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return None
    sweep_unfinished(folder)
    for step, path in reversed(_checkpoint_folders(folder)):
        try:
            verify_checksums(path)
            content = json.loads((path / "state.json").read_text(encoding="utf-8"))
            tensors = load_file(path / "tensors.safetensors")
            if content["step"] != step:
                raise UserError(f"state.json is of step {content['step']!r}")
            state = content["state"]
            if not isinstance(state, dict):
                raise UserError("state.json holds no state")
        except (UserError, OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
            reason = escaped(str(error))[:200] or type(error).__name__
            print(f"warning: checkpoint {path} is passed over: {reason}", file=sys.stderr)
            continue
        return Checkpoint(step=step, tensors=tensors, state=state, path=path)
    return None


def optimizer_tensors(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """The optimiser's whole state as tensors named `prefix.<parameter index>.<name>`.

    The numbers in its parameter groups (rates and decays, which schedules change) are stored in double precision as
    `prefix.group<index>.<name>`.
    """
    content = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    for index, values in content["state"].items():
        for name, value in values.items():
            tensors[f"{prefix}.{index}.{name}"] = torch.as_tensor(value)
    for index, group in enumerate(content["param_groups"]):
        for name, value in group.items():
            if _is_number(value) or (isinstance(value, (tuple, list)) and name != "params" and _all_numbers(value)):
                tensors[f"{prefix}.group{index}.{name}"] = torch.tensor(value, dtype=torch.float64)
    return tensors


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], prefix: str) -> None:
    """Put back what `optimizer_tensors` stored, in the memory layout that the optimiser's parameters have.

    Raises:
        UserError: the stored state is of other parameters (their number or shapes differ).
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for name, stored in tensors.items():
        if not name.startswith(prefix + "."):
            continue
        found = _OPTIMIZER_KEY.fullmatch(name[len(prefix) + 1 :])
        if found is None:
            raise UserError(f"checkpoint holds {escaped(name)[:100]}, which is no part of an optimiser")
        of_group, index, key = bool(found[1]), int(found[2]), found[3]
        if of_group:
            if index >= len(optimizer.param_groups) or key == "params" or stored.dim() > 1:
                raise UserError(f"checkpoint holds {key} of optimiser group {index} of {prefix}, which this one lacks")
            value = stored.tolist()
            optimizer.param_groups[index][key] = tuple(value) if isinstance(value, list) else value
            continue
        if index >= len(parameters) or (stored.dim() > 0 and stored.shape != parameters[index].shape):
            raise UserError(
                f"checkpoint holds {key} of shape {tuple(stored.shape)} for parameter {index} of {prefix}, which does "
                "not fit this network; use another work folder or the configuration that wrote it"
            )
        if stored.dim() == 0:
            # Adam's step counter stays on the CPU, as Adam itself creates it
            optimizer.state[parameters[index]][key] = stored.clone()
        else:
            parameter = parameters[index]
            layout = torch.empty_like(parameter, dtype=stored.dtype, requires_grad=False)
            optimizer.state[parameter][key] = layout.copy_(stored)


def tensors_under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those of the tensors that are named `prefix.<name>`, by that name."""
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(prefix + ".")}


def _detached(tensor: Tensor) -> Tensor:
    # safetensors refuses shared storage and channels-last strides
    return tensor.detach().to("cpu", copy=True).contiguous()


def _checkpoint_folders(folder: Path) -> list[tuple[int, Path]]:
    found = []
    for path in folder.iterdir():
        match = _FOLDER_NAME.fullmatch(path.name)
        # what a link leads to is not the work folder's, and may be another run's
        if match and path.is_dir() and not path.is_symlink():
            found.append((int(match[1]), path))
    return sorted(found)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _all_numbers(values: tuple[Any, ...] | list[Any]) -> bool:
    return all(_is_number(value) for value in values)
