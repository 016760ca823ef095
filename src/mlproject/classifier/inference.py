"""A stored classifier: written with its checksums, verified before it is read, asked for probabilities."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save as save_safetensors
from torch import nn

from mlproject.checksums import verify_checksums, write_checksums
from mlproject.classifier.network import GreyEfficientNet, NetworkSettings
from mlproject.classifier.weights import load_strictly, parse_safetensors
from mlproject.errors import UserError
from mlproject.files import atomic_folder, atomic_write_bytes, atomic_write_json

if TYPE_CHECKING:
    from mlproject.classifier.training import TrainedClassifier

WEIGHTS = "classifier.safetensors"
DESCRIPTION = "classifier.json"
REQUIRED_META = ("preprocessing", "class_names", "threshold", "data_digest", "data_kind", "train_subjects")


@contextmanager
def modes_kept(module: nn.Module) -> Iterator[None]:
    """Every submodule's mode is as before afterwards, frozen stages included."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; modes are kept."""
    with modes_kept(module), torch.inference_mode():
        module.eval()
        yield


def as_input(images: np.ndarray, device: torch.device) -> torch.Tensor:
    """uint8 [n, s, s] to float [n, 1, s, s] in [-1, 1], channels last."""
    tensor = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    return (tensor.float() / 127.5 - 1).unsqueeze(1).contiguous(memory_format=torch.channels_last)


def predict_logits(module: GreyEfficientNet, images: np.ndarray, device: torch.device, batch_size: int) -> np.ndarray:
    """Logits float64 [n] in evaluation mode of uint8 images [n, s, s]."""
    with eval_mode(module):
        parts = [
            module(as_input(images[start : start + batch_size], device)).double().cpu().numpy()
            for start in range(0, len(images), batch_size)
        ]
    return np.concatenate(parts) if parts else np.zeros(0)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) without overflow."""
    return np.exp(-np.logaddexp(0.0, -logits))


@dataclass(frozen=True)
class Classifier:
    """A verified classifier, ready to answer.

    `meta` is classifier.json; `digest` the SHA-256 of its folder's checksums.
    """

    module: GreyEfficientNet
    meta: dict[str, Any]
    digest: str
    device: torch.device

    @property
    def size(self) -> int:
        """Side, in pixels, of the crops that it takes."""
        return int(self.meta["preprocessing"]["size"])

    def probabilities(self, images: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """Probabilities float64 [n] of the anomalous class for uint8 crops [n, size, size].

        Raises:
            UserError: another type, number of axes, or size than the classifier was trained on.
        """
        self.check(images)
        return sigmoid(predict_logits(self.module, images, self.device, batch_size))

    def features(self, images: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """Pooled features float32 [n, d] of uint8 crops [n, size, size]; raises as `probabilities`."""
        self.check(images)
        with eval_mode(self.module):
            parts = [
                self.module.features(as_input(images[start : start + batch_size], self.device)).float().cpu().numpy()
                for start in range(0, len(images), batch_size)
            ]
        return np.concatenate(parts) if parts else np.zeros((0, self.module.network.num_features), np.float32)

    def check(self, images: np.ndarray) -> None:
        """Refuse what `probabilities` refuses, in its words."""
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (self.size, self.size):
            raise UserError(
                f"this classifier takes grey crops uint8 [n, {self.size}, {self.size}], found {images.dtype} "
                f"{list(images.shape)}; cut them with its preprocessing, or train one with data.size={images.shape[-1]}"
            )


def save_classifier(folder: Path, trained: "TrainedClassifier", meta: Mapping[str, Any]) -> str:
    """Write weights, description and checksums to `folder`, atomically.

    Args:
        meta: what training does not know: at least `REQUIRED_META`; it may add metrics, mix, generator_digest.

    Returns:
        The SHA-256 digest of the folder's checksums.
    """
    missing = [key for key in REQUIRED_META if key not in meta]
    assert not missing, f"classifier.json needs {missing}"
    module = trained.module
    description = {
        **dataclasses.asdict(module.settings),
        "in_channels": 1,
        "normalisation": {"mean": float(module.mean), "std": float(module.std)},
        "seed": trained.config.seed,
        "config": dataclasses.asdict(trained.config),
        "best_step": trained.best_step,
        **meta,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    with atomic_folder(folder) as temporary:
        atomic_write_bytes(temporary / WEIGHTS, save_safetensors(tensors))
        atomic_write_json(temporary / DESCRIPTION, description)
        return write_checksums(temporary)


def load_classifier(folder: Path, expected_digest: str | None = None, device: torch.device | str = "cpu") -> Classifier:
    """Verify `folder`, then read the classifier in it.

    Raises:
        IntegrityError: a file is missing, added or changed, or the digest is not `expected_digest`.
        UserError: the folder holds no classifier, or weights that its description does not fit.
    """
    folder, device = Path(folder), torch.device(device)
    if not folder.is_dir():
        raise UserError(f"classifier {folder}: no such folder; expected one with {WEIGHTS} and {DESCRIPTION}")
    digest = verify_checksums(folder, expected_digest)
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"classifier {folder}: holds no {WEIGHTS}; offer the folder of a classifier")
    try:
        meta = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        settings = NetworkSettings(**{field.name: meta[field.name] for field in dataclasses.fields(NetworkSettings)})
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"classifier {folder}: {DESCRIPTION} is missing or incomplete ({error!r})") from None
    # the initial weights are overwritten at once; the fork keeps them from moving the caller's random state
    with torch.random.fork_rng(devices=[]):
        module = GreyEfficientNet(settings)
    weights = folder / WEIGHTS
    load_strictly(module, parse_safetensors(weights.read_bytes(), weights), str(weights))
    module = module.to(device).to(memory_format=torch.channels_last).eval()
    return Classifier(module, meta, digest, device)
