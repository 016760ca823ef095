"""A GAN run of a second, also as a script that another process kills: `python gan_tiny.py <work folder>`."""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from mlproject.config import GanConfig, load_config
from mlproject.gan.training import TrainedGan, train_gan


def tiny_config(**changes: object) -> GanConfig:
    settings = {
        "architecture": "compact",
        "steps": 24,
        "batch_size": 4,
        "latent_dim": 8,
        "base_channels": 4,
        "critic_steps": 2,
        "feature_critic": 0,
        "auxiliary": 0,
        "schedule": "constant",
        "penalty_every": 3,
        "ema_images": 40,
        "log_every": 5,
        "grid_every": 12,
        "checkpoint_every": 4,
        **changes,
    }
    return load_config(None, {f"gan.{name}": value for name, value in settings.items()}).gan


def tiny_data() -> tuple[np.ndarray, np.ndarray]:
    """14 images of 32 pixels: class 0 dark above, class 1 bright above; a compact run passes through 16 pixels."""
    labels = np.arange(14) % 2
    images = np.random.default_rng(0).integers(0, 80, (14, 32, 32), dtype=np.uint8)
    images[labels == 1, :16] += 150
    return images, labels


def tiny_maps(images: torch.Tensor) -> list[torch.Tensor]:
    """Stands for a frozen network: blurred pixels and their squares at two resolutions."""
    coarse = torch.nn.functional.avg_pool2d(images, 8)
    fine = torch.nn.functional.avg_pool2d(images, 4)
    return [torch.cat([maps, maps.square()], dim=1) for maps in (fine, coarse)]


def bfloat16() -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def tiny_run(work_dir: Path, config: GanConfig, report=None, **options: object) -> TrainedGan:
    torch.set_num_threads(1)
    return train_gan(
        *tiny_data(),
        config,
        work_dir=work_dir,
        device="cpu",
        report=report or (lambda step, values: None),
        report_image=options.pop("report_image", lambda step, name, image: None),
        feature_maps=tiny_maps,
        **options,
    )


if __name__ == "__main__":
    folder = Path(sys.argv[1])

    def announce(step: int, values: dict[str, float]) -> None:
        print(json.dumps([step, values]), flush=True)

    tiny_run(folder, tiny_config(**json.loads(sys.argv[2])), report=announce)
