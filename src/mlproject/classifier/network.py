"""The classifier's network: a timm EfficientNet that takes one grey channel and answers with one logit."""

import difflib
from dataclasses import dataclass
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import nn

from mlproject.classifier.weights import load_weights
from mlproject.config import ClassifierConfig
from mlproject.distributed import World, share_statistics
from mlproject.errors import UserError
from mlproject.runtime import seed_for


@dataclass(frozen=True)
class NetworkSettings:
    """What decides the network's shape; kept in classifier.json so that a stored classifier is built again."""

    backbone: str
    stem_stride: int = 2
    input_size: int = 0
    dropout: float = 0.0


class GreyEfficientNet(nn.Module):
    """A timm EfficientNet behind the resizing and the normalisation that its weights expect.

    `mean` and `std` are buffers on the scale 0 to 1, so that they travel with the weights; 0.5 and 0.5 leave the
    range [-1, 1] as it is.
    """

    network: Any  # timm.models.efficientnet.EfficientNet, whose layers torch's type stubs do not know
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, settings: NetworkSettings) -> None:
        """Random weights and the normalisation 0.5, 0.5.

        Raises:
            UserError: `settings.backbone` is no EfficientNet of timm.
        """
        super().__init__()
        require_efficientnet(settings.backbone)
        self.settings = settings
        self.network = timm.create_model(
            settings.backbone, pretrained=False, in_chans=1, num_classes=1, drop_rate=settings.dropout
        )
        # timm builds every EfficientNet with a stem of stride 2; a small crop may need the resolution it drops
        self.network.conv_stem.stride = (settings.stem_stride, settings.stem_stride)
        self.register_buffer("mean", torch.tensor(0.5))
        self.register_buffer("std", torch.tensor(0.5))

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """[n, 1, h, w] in [-1, 1] to the size and normalisation of the backbone."""
        images = resize(images, self.settings.input_size)
        return ((images + 1) / 2 - self.mean) / self.std

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Pooled features [n, d] of float images [n, 1, h, w] in [-1, 1]."""
        maps = self.network.forward_features(self.prepare(images))
        return self.network.forward_head(maps, pre_logits=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [n] of the anomalous class for float images [n, 1, h, w] in [-1, 1]."""
        return self.network(self.prepare(images)).squeeze(1)

    def share_batch(self, world: World, device: torch.device) -> None:
        """Make of this process's rows what they would be among those of the whole batch: in batch norms and dropout.

        To be called before an optimiser takes the parameters, and before `stages`.
        """
        if world.size == 1:
            return
        share_statistics(self, world, device)
        rate, self.network.drop_rate = self.network.drop_rate, 0.0
        if rate == 0:
            return

        def dropped(head: nn.Module, features: tuple[torch.Tensor]) -> torch.Tensor | None:
            if not head.training:
                return None
            # the mask is drawn for all rows, as a process by itself draws it
            whole = features[0].new_ones(len(features[0]) * world.size, features[0].shape[1])
            return features[0] * world.rows(F.dropout(whole, rate))

        self.network.classifier.register_forward_pre_hook(dropped)

    def stages(self) -> list[list[nn.Module]]:
        """The network's parts from the head down to the stem, in the order in which they are unfrozen."""
        net = self.network
        return [
            [net.classifier],
            [net.conv_head, net.bn2],
            *([block] for block in reversed(net.blocks)),
            [net.conv_stem, net.bn1],
        ]


def efficientnets() -> list[str]:
    """The names of timm's EfficientNets."""
    return [name for name in timm.list_models(module="efficientnet") if "efficientnet" in name]


def require_efficientnet(name: str) -> None:
    """Raise a UserError with the nearest known name unless `name` is one of timm's EfficientNets."""
    known = efficientnets()
    if name in known:
        return
    # of equally near names the first, which is the smallest network
    close = max(known, key=lambda other: difflib.SequenceMatcher(None, name, other).ratio())
    what = "is not an EfficientNet" if timm.is_model(name) else "is not a model of timm"
    raise UserError(f"classifier.backbone: {name!r} {what}; did you mean {close}?")


def resize(images: torch.Tensor, size: int) -> torch.Tensor:
    """Images [n, c, h, w] at `size` x `size` pixels (0: as they are).

    Shrinking averages areas, so that speckle is not aliased; growing interpolates bilinearly.
    """
    height, width = images.shape[-2:]
    if size == 0 or (height, width) == (size, size):
        return images
    if size <= min(height, width):
        return F.interpolate(images, size=(size, size), mode="area")
    return F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)


def settings_of(config: ClassifierConfig) -> NetworkSettings:
    """The part of the configuration that decides the network's shape."""
    return NetworkSettings(config.backbone, config.stem_stride, config.input_size, config.dropout)


def build_classifier(config: ClassifierConfig) -> GreyEfficientNet:
    """The network of `config` with its starting weights, on the CPU, a function of `config` alone.

    Args:
        config: `seed` decides the random weights (of the head, or of everything with `weights=none`).

    Raises:
        UserError: no EfficientNet, or weights that cannot be had or do not fit.
    """
    # timm initialises from the global generator: seed a fork of it and leave the caller's state untouched
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(config.seed, "classifier weights"))
        module = GreyEfficientNet(settings_of(config))
    if config.zero_init_head:
        nn.init.zeros_(module.network.classifier.weight)
        nn.init.zeros_(module.network.classifier.bias)
    load_weights(module, config.weights)
    return module
