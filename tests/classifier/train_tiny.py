"""A tiny training in a process of its own, to be killed: `train_tiny.py <work folder>` prints the weights' digest."""

import hashlib
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from mlproject.classifier.training import train_classifier
from mlproject.config import load_config
from mlproject.data.crops import Crops


def crops(n: int, seed: int) -> Crops:
    generator = np.random.default_rng(seed)
    names = np.array([f"s{seed}-{index}" for index in range(n)])
    images = generator.integers(0, 256, (n, 32, 32), dtype=np.uint8)
    labels = np.arange(n, dtype=np.int64) % 2
    return Crops(images, labels, names, names, np.full(n, "A"), np.full((n, 4), np.nan, np.float32))


def main(work_dir: Path) -> None:
    settings = {
        "backbone": "test_efficientnet",
        "weights": "none",
        "steps": 30,
        "batch_size": 8,
        "eval_every": 5,
        "checkpoint_every": 2,
        "dropout": 0.5,
    }
    config = load_config(None, {f"classifier.{key}": value for key, value in settings.items()}).classifier
    torch.set_num_threads(1)
    trained = train_classifier(
        crops(40, 0),
        None,
        crops(20, 1),
        config,
        work_dir=work_dir,
        device=torch.device("cpu"),
        report=lambda step, values: None,
        report_image=lambda step, name, image: None,
        progress=lambda step: print(step, flush=True),
    )
    digest = hashlib.sha256()
    for _, tensor in sorted(trained.module.state_dict().items()):
        digest.update(tensor.contiguous().numpy().tobytes())
    print(digest.hexdigest())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
