"""Short trainings of each kind, by this process alone or by those of torchrun: `torchrun ... pair.py <folder>`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from gan_tiny import tiny_config, tiny_run

from mlproject import distributed
from mlproject.classifier.training import train_classifier
from mlproject.config import load_config
from mlproject.data.crops import Crops
from mlproject.distributed import ALONE, World

Case = Callable[[Path, World], None]


def torchrun(*command: str, processes: int = 2) -> list[str]:
    """`torchrun`, on a port of its own choice."""
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), *command]


def gan(*lengths: int, **changes: object) -> Case:
    """A generator of so many steps; of several lengths, each continues from the checkpoint of the one before."""

    def case(folder: Path, world: World) -> None:
        # the work folder of the first process alone holds anything
        work = folder if world.is_first else folder / "empty"
        for steps in lengths:
            settings = {"precision": "fp32", "batch_size": 8, "log_every": 2, "penalty_every": 2, **changes}
            tiny_run(work, tiny_config(steps=steps, **settings), report=_into(folder, world), world=world)

    return case


def classifier(**changes: object) -> Case:
    def case(folder: Path, world: World) -> None:
        settings = {
            "backbone": "test_efficientnet",
            "weights": "none",
            "zero_init_head": False,
            "mix": "hybrid",
            "steps": 6,
            "batch_size": 8,
            "eval_every": 3,
            "checkpoint_every": 6,
            "dropout": 0.3,
            **changes,
        }
        config = load_config(None, {f"classifier.{name}": value for name, value in settings.items()}).classifier
        train_classifier(
            _crops(30, 0),
            _crops(30, 1),
            _crops(20, 2),
            config,
            work_dir=folder,
            device=torch.device("cpu"),
            report=_into(folder, world),
            report_image=lambda step, name, image: None,
            world=world,
        )

    return case


TOLD = (
    {"text": "é", "numbers": [1, 0.1, None]},
    {"bytes": torch.arange(5, dtype=torch.uint8), "none": torch.zeros(0, 3), "double": torch.eye(2).double()},
)


def told(folder: Path, world: World) -> None:
    """What the first says, as each process hears it."""
    values, tensors = world.tell(*TOLD) if world.is_first else world.tell()
    heard = {name: [str(tensor.dtype), list(tensor.shape), tensor.tolist()] for name, tensor in tensors.items()}
    (folder / f"heard-{world.rank}.json").write_text(json.dumps([values, heard]))


CASES: dict[str, Case] = {
    "compact": gan(5, minibatch_group=4),
    # few steps and no small groups: where two images look alike to the critic, the derivatives of their deviation
    # magnify rounding
    "feature critic": gan(
        3,
        minibatch_group=4,
        feature_critic=1,
        auxiliary=2,
        mismatched=0.4,
        mirror=True,
        augment="translation_brightness",
    ),
    "twins": gan(3, minibatch_group=4, feature_critic=1, auxiliary=2, auxiliary_kind="twins"),
    "batch norm": gan(4, architecture="dcgan"),
    "resumed": gan(3, 6, checkpoint_every=3),
    "classifier": classifier(),
    "frozen statistics": classifier(freeze_steps=6),
    "told": told,
}


def run(name: str, folder: Path, world: World = ALONE) -> None:
    """One case in a folder of its own."""
    torch.set_num_threads(1)
    (folder / name).mkdir(exist_ok=True)
    CASES[name](folder / name, world)


def _crops(count: int, seed: int) -> Crops:
    labels = np.arange(count) % 2
    images = np.random.default_rng(seed).integers(60, 256, (count, 32, 32), dtype=np.uint8)
    images[labels == 1, 10:16] //= 3
    names = np.array([f"{seed}-{index}" for index in range(count)])
    return Crops(images, labels.astype(np.int64), names, names, names, np.full((count, 4), np.nan, np.float32))


def _into(folder: Path, world: World) -> Callable[[int, dict[str, float]], None]:
    def report(step: int, values: dict[str, float]) -> None:
        with open(folder / f"reports-{world.rank}.jsonl", "a") as stream:
            stream.write(json.dumps([step, values]) + "\n")

    return report


if __name__ == "__main__":
    joined = distributed.join(torch.device("cpu"))
    for case in CASES:
        run(case, Path(sys.argv[1]), joined)
    distributed.leave()
