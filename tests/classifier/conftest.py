"""A task that a tiny network learns in seconds: anomalous crops have a dark band in the middle."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mlproject.classifier.training import TrainedClassifier, train_classifier
from mlproject.config import ClassifierConfig, load_config
from mlproject.data.crops import Crops

# timm's smallest EfficientNet, made for tests: 0.3 million weights
TINY = {
    "backbone": "test_efficientnet",
    "weights": "none",
    "steps": 12,
    "batch_size": 8,
    "eval_every": 4,
    "checkpoint_every": 3,
    "learning_rate": 0.005,
}


@pytest.fixture
def tiny_config() -> Callable[..., ClassifierConfig]:
    def build(**changes: Any) -> ClassifierConfig:
        return load_config(None, {f"classifier.{key}": value for key, value in {**TINY, **changes}.items()}).classifier

    return build


@pytest.fixture
def make_crops() -> Callable[..., Crops]:
    def build(n: int, seed: int = 0, size: int = 32, prefix: str = "s") -> Crops:
        generator = np.random.default_rng(seed)
        labels = np.arange(n) % 2
        images = generator.integers(60, 256, (n, size, size), dtype=np.uint8)
        images[labels == 1, size // 3 : size // 2] //= 3
        names = np.array([f"{prefix}{seed}-{index}" for index in range(n)])
        sites, boxes = np.full(n, "A"), np.full((n, 4), np.nan, np.float32)
        return Crops(images, labels.astype(np.int64), names, names, sites, boxes)

    return build


@pytest.fixture
def train(tmp_path: Path, make_crops: Callable[..., Crops]) -> Callable[..., TrainedClassifier]:
    """`train(config, **changes)` on 40 real crops, quietly, on the CPU."""

    def run(config: ClassifierConfig, **changes: Any) -> TrainedClassifier:
        arguments: dict[str, Any] = {
            "real": make_crops(40),
            "synthetic": None,
            "validation": make_crops(20, seed=1),
            "work_dir": tmp_path / "work",
            "device": torch.device("cpu"),
            "report": lambda step, values: None,
            "report_image": lambda step, name, image: None,
        }
        return train_classifier(config=config, **{**arguments, **changes})

    return run
