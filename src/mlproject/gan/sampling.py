"""Drawing from a trained generator, and keeping it: safetensors and JSON, verified before anything is loaded.

Image i of a class depends on the generator, the seed, the class and i, and on nothing else: its random numbers are
keyed by them, and the network always sees batches of one shape, since convolutions round differently in others.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from mlproject.checksums import verify_checksums, write_checksums
from mlproject.config import GanConfig
from mlproject.errors import UserError
from mlproject.files import PICKLES, atomic_folder, atomic_write_bytes, atomic_write_json
from mlproject.gan.conditional import ConditionalGenerator
from mlproject.gan.networks import build_networks
from mlproject.runtime import spread, torch_generator

if TYPE_CHECKING:
    from mlproject.gan.training import TrainedGan

WEIGHTS_NAME, INFO_NAME = "generator.safetensors", "generator.json"
# images in every pass of the network, whatever was asked for
TILE = 32
# options that generators kept by earlier versions do not name, as they were trained
_BEFORE = {"cut_anew": False, "turn_deg": 0.0, "auxiliary_kind": "pixels"}


@dataclass(frozen=True)
class Generator:
    """A generator that answers with images. `info` is its generator.json and `digest` its checksum, once saved."""

    network: ConditionalGenerator
    size: int
    class_names: tuple[str, ...]
    info: dict[str, Any] = field(default_factory=dict)
    digest: str = ""

    def __post_init__(self) -> None:
        # the layout of training: half the time of a pass, and one way of rounding for one generator
        self.network.to(memory_format=torch.channels_last)

    def sample(self, labels: np.ndarray, seed: int, first_index: int = 0) -> np.ndarray:
        """Images of the given classes: image i is that of index `first_index + i`.

        Args:
            labels: int [n], indices into `class_names`.
            seed: any; the same seed gives the same images.
            first_index: index of the first image.

        Returns:
            uint8 [n, size, size], true grey levels.

        Raises:
            UserError: a label that the generator does not know.
        """
        labels = np.asarray(labels, dtype=np.int64)
        assert labels.ndim == 1, labels.shape
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.class_names):
            raise UserError(f"labels {sorted(set(labels.tolist()))}: the generator knows {', '.join(self.class_names)}")
        device = next(self.network.parameters()).device
        images = np.empty((len(labels), self.size, self.size), dtype=np.uint8)

        @torch.no_grad()
        def draw(start: int) -> None:
            part = torch.from_numpy(labels[start : start + TILE])
            inputs = self._inputs(part, seed, range(first_index + start, first_index + start + len(part)))
            # a full pass, whatever was asked for: an image does not depend on its company
            missing = TILE - len(part)
            inputs, part_labels = F.pad(inputs, (0, 0, 0, missing)), F.pad(part, (0, missing))
            drawn = to_grey_levels(self.network(inputs.to(device), part_labels.to(device)))
            images[start : start + len(part)] = drawn[: len(part)]

        was_training = self.network.training
        self.network.eval()
        try:
            spread(draw, range(0, len(labels), TILE), device)
        finally:
            self.network.train(was_training)
        return images

    def _inputs(self, labels: Tensor, seed: int, indices: range) -> Tensor:
        width = self.network.inputs_size
        inputs = torch.empty(len(labels), width)
        for row, label, index in zip(inputs, labels.tolist(), indices, strict=True):
            torch.randn(width, generator=torch_generator(seed, "sample", label, index), out=row)
        return inputs


def to_grey_levels(images: Tensor) -> np.ndarray:
    """[n, 1, height, width] in [-1, 1] as uint8 [n, height, width]: (x + 1) * 127.5, rounded, no stretching."""
    levels = images.float().add(1).mul(127.5).round().clamp(0, 255)
    return levels.to(torch.uint8)[:, 0].cpu().numpy()


def save_generator(folder: str | Path, trained: "TrainedGan", meta: Mapping[str, Any]) -> str:
    """Write a generator folder atomically and return its digest.

    Args:
        folder: receives generator.safetensors, generator.json and checksums.json.
        trained: what training returned.
        meta: data_digest, data_kind, train_subjects, preprocessing, and whatever else generator.json is to tell.

    Raises:
        UserError: the place cannot be written.
    """
    info = {
        "size": trained.size,
        "class_names": list(trained.class_names),
        "config": dataclasses.asdict(trained.config),
        "step": trained.step,
        "seed": trained.config.seed,
        **meta,
    }
    with atomic_folder(folder) as unfinished:
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in trained.generator.state_dict().items()}
        atomic_write_bytes(unfinished / WEIGHTS_NAME, save(weights))
        atomic_write_json(unfinished / INFO_NAME, info)
        return write_checksums(unfinished)


def load_generator(path: str | Path, expected_digest: str | None = None) -> Generator:
    """The generator in a folder (or in the folder of the given generator.safetensors), verified first.

    Raises:
        UserError: no such path, a pickle, or a checkpoint of another architecture.
        IntegrityError: missing, added or changed files, or another digest than expected.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"generator {path} does not exist; train one with src/train_gan.py")
    if path.is_file():
        if path.suffix.lower() in PICKLES:
            raise UserError(
                f"generator {path} is a pickle, which runs code when it is read; expected {WEIGHTS_NAME} with "
                f"{INFO_NAME} and checksums.json beside it"
            )
        if path.name != WEIGHTS_NAME:
            raise UserError(f"generator {path}: expected a folder, or the {WEIGHTS_NAME} in it")
        path = path.parent
    if not (path / WEIGHTS_NAME).is_file() or not (path / INFO_NAME).is_file():
        raise UserError(f"generator {path}: expected {WEIGHTS_NAME}, {INFO_NAME} and checksums.json in it")
    digest = verify_checksums(path, expected_digest)
    try:
        info = json.loads((path / INFO_NAME).read_text(encoding="utf-8"))
        class_names = tuple(str(name) for name in info["class_names"])
        config = GanConfig(**(_BEFORE | info["config"]))
        size, n_classes = int(info["size"]), len(class_names)
        weights = load_file(path / WEIGHTS_NAME)
        with torch.random.fork_rng(devices=[]):
            # first as shapes without memory: a description larger than its weights is refused before it takes any
            with torch.device("meta"):
                outline, _ = build_networks(config, size=size, n_classes=n_classes)
            outline.load_state_dict(weights, assign=True)
            network, _ = build_networks(config, size=size, n_classes=n_classes)
        network.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError, SafetensorError) as error:
        raise UserError(f"generator {path}: {INFO_NAME} or {WEIGHTS_NAME} cannot be read ({error!r})") from None
    except RuntimeError:
        raise UserError(
            f"generator {path}: the weights are not those of the architecture {info['config']['architecture']!r} that "
            f"{INFO_NAME} names; take the folder that training wrote"
        ) from None
    return Generator(network.eval(), int(info["size"]), class_names, info, digest)
