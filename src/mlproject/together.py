"""A command under torchrun: the first process does all of its work, the others help to train its networks.

Only the first reads data, opens the store, logs and writes. Before a training it sends the others the settings and the
images, so these need neither the data set nor a common file system.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from mlproject import distributed, runtime
from mlproject.classifier.feature_space import lite0_maps
from mlproject.classifier.training import train_classifier
from mlproject.config import SECTIONS, Configuration, as_nested
from mlproject.data.crops import Crops
from mlproject.distributed import World
from mlproject.errors import EXIT_USER_ERROR, UserError
from mlproject.gan.training import train_gan
from mlproject.memory import is_out_of_memory, told_as_memory
from mlproject.terminal import echo

Result = TypeVar("Result")


def run(config: Configuration, work: Callable[[], Result]) -> Result | None:
    """Do `work` in the first process while the others help; these return None.

    Raises:
        UserError: this machine lacks the devices, another process has ended, or what `work` raises.
    """
    device = runtime.resolve_device(config.run.device)
    world = distributed.join(device)
    result = None
    if world.is_first:
        with world.loss_told():
            result = work()
            world.tell()
    else:
        runtime.set_threads(config.run.threads)
        _help(world, device)
    distributed.leave()
    return result


def _help(world: World, device: torch.device) -> None:
    """Do what the first process orders until it has no more to order."""
    try:
        with world.loss_told():
            while (order := world.tell())[0]:
                values, tensors = order
                config = Configuration(**{name: schema(**values["config"][name]) for name, schema in SECTIONS.items()})
                with told_as_memory(values["training"], config):
                    _TRAININGS[values["training"]](world, device, config, values, tensors)
    except UserError as error:
        # every process comes to a mistake, and the first says it; memory runs out in one alone
        if error.__cause__ is not None and is_out_of_memory(error.__cause__):
            echo(f"error: process {world.rank} of {world.size}: {error}", to_stderr=True)
        sys.exit(EXIT_USER_ERROR)


@contextlib.contextmanager
def helped_gan(config: Configuration, work_dir: Path, crops: Crops, surroundings: np.ndarray | None) -> Iterator[World]:
    """The world in which to train a generator; the other processes begin to do the same."""
    tensors = {"images": _tensor(crops.images), "labels": _tensor(crops.labels)}
    if surroundings is not None:
        tensors["surroundings"] = _tensor(surroundings)
    with _helped({"training": "train_gan", "work_dir": str(work_dir)}, config, tensors) as world:
        yield world


@contextlib.contextmanager
def helped_classifier(config: Configuration, work_dir: Path, **crops: Crops | None) -> Iterator[World]:
    """The world in which to train a classifier on crops named as its arguments; the others begin to do the same."""
    given = {name: part for name, part in crops.items() if part is not None}
    tensors = {f"{name}.images": _tensor(part.images) for name, part in given.items()}
    tensors |= {f"{name}.labels": _tensor(part.labels) for name, part in given.items()}
    subjects = {name: part.subjects.tolist() for name, part in given.items()}
    order = {"training": "train_classifier", "work_dir": str(work_dir), "subjects": subjects}
    with _helped(order, config, tensors) as world:
        yield world


@contextlib.contextmanager
def _helped(order: dict[str, Any], config: Configuration, tensors: dict[str, Tensor]) -> Iterator[World]:
    world = World.current()
    with world.loss_told():
        if world.size > 1:
            world.tell(order | {"config": as_nested(config)}, tensors)
        yield world


def _help_gan(
    world: World, device: torch.device, config: Configuration, order: dict[str, Any], tensors: dict[str, Tensor]
) -> None:
    train_gan(
        tensors["images"].numpy(),
        tensors["labels"].numpy(),
        config.gan,
        surroundings=tensors["surroundings"].numpy() if config.gan.cut_anew else None,
        work_dir=order["work_dir"],
        device=device,
        report=_unsaid,
        report_image=_unsaid,
        feature_maps=lite0_maps(config.classifier, device) if config.gan.feature_critic > 0 else None,
        world=world,
    )


def _help_classifier(
    world: World, device: torch.device, config: Configuration, order: dict[str, Any], tensors: dict[str, Tensor]
) -> None:
    crops = {name: received_crops(name, subjects, tensors) for name, subjects in order["subjects"].items()}
    train_classifier(
        crops.get("real"),
        crops.get("synthetic"),
        crops["validation"],
        config.classifier,
        work_dir=Path(order["work_dir"]),
        device=device,
        report=_unsaid,
        report_image=_unsaid,
        world=world,
    )


_TRAININGS = {"train_gan": _help_gan, "train_classifier": _help_classifier}


def _unsaid(*_said: Any) -> None:
    """Where a helper's reports go."""


def _tensor(array: np.ndarray) -> Tensor:
    # torch warns of arrays that it could not write to
    return torch.from_numpy(np.require(array, None, ["C", "W"]))


def received_crops(name: str, subjects: list[str], tensors: dict[str, Tensor]) -> Crops:
    """What training looks at; paths, sites and boxes stay with the first process."""
    unknown = np.full(len(subjects), "")
    return Crops(
        images=tensors[f"{name}.images"].numpy(),
        labels=tensors[f"{name}.labels"].numpy(),
        subjects=np.array(subjects, dtype=str),
        paths=unknown,
        sites=unknown,
        boxes=np.full((len(subjects), 4), np.nan, np.float32),
    )
