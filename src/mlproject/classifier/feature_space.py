"""Named feature spaces in which sets of images are compared."""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from mlproject.classifier.inference import as_input, eval_mode
from mlproject.classifier.network import GreyEfficientNet, build_classifier
from mlproject.config import ClassifierConfig
from mlproject.errors import UserError, one_line

_BATCH = 128
# the last blocks at each side of the maps
_MAP_BLOCKS = (1, 2, 4, 6)
Features = Callable[[np.ndarray], np.ndarray]


def feature_space(name: str, config: ClassifierConfig, device: torch.device) -> Features:
    """Images uint8 [n, size, size] to features float32 [n, d] of a network that no data of the user trained.

    `lite0`: the 1,280 pooled features of EfficientNet-Lite0 with the ImageNet weights that a Python package carries.
    `inception`: the 2,048 of Inception-v3 as torch-fidelity computes them, which needs that package and its weights.

    Raises:
        UserError: an unknown name, or weights that cannot be had.
    """
    if name == "lite0":
        module = _lite0(config, device)

        def lite0(images: np.ndarray) -> np.ndarray:
            with eval_mode(module):
                return _batched(images, lambda part: module.features(as_input(part, device)))

        return lite0
    if name == "inception":
        return _inception(device)
    raise UserError(f"fidelity.features: {name!r} is unknown; use lite0 or inception")


def lite0_maps(config: ClassifierConfig, device: torch.device) -> Callable[[torch.Tensor], list[torch.Tensor]]:
    """The maps of EfficientNet-Lite0 at four depths (1/4, 1/8, 1/16 and 1/32 of the side), frozen.

    Images float [n, 1, size, size] in [-1, 1]; gradients run through to the images.

    Raises:
        UserError: weights that cannot be had.
    """
    module = _lite0(config, device).requires_grad_(False).eval()
    network = module.network
    _fold_batch_norms(network)

    def maps(images: torch.Tensor) -> list[torch.Tensor]:
        found = []
        images = module.prepare(images).contiguous(memory_format=torch.channels_last)
        current = network.bn1(network.conv_stem(images))
        for index, block in enumerate(network.blocks):
            current = block(current)
            if index in _MAP_BLOCKS:
                found.append(current)
        return found

    return maps


def _fold_batch_norms(network: nn.Module) -> None:
    """Put each frozen batch norm into the convolution before it: the same function in a third less time."""
    for parent in list(network.modules()):
        before: nn.Module | None = None
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
                assert child.running_mean is not None
                assert child.running_var is not None
                before.weight, before.bias = fuse_conv_bn_weights(
                    before.weight,
                    before.bias,
                    child.running_mean,
                    child.running_var,
                    child.eps,
                    child.weight,
                    child.bias,
                )
                # timm's layer holds the activation too
                setattr(parent, name, getattr(child, "act", nn.Identity()))
            before = child if not isinstance(child, nn.Identity) else before


def _lite0(config: ClassifierConfig, device: torch.device) -> GreyEfficientNet:
    settings = dataclasses.replace(
        config, backbone="tf_efficientnet_lite0", weights="packaged", stem_stride=2, input_size=0
    )
    return build_classifier(settings).to(device).to(memory_format=torch.channels_last)


def _inception(device: torch.device) -> Features:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        extractor = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).to(device)
    except ImportError:
        raise UserError("fidelity.features=inception needs torch-fidelity: pip install torch-fidelity") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"fidelity.features=inception: its weights cannot be had ({one_line(error, 200)}); "
            "use fidelity.features=lite0"
        ) from None

    def inception(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return _batched(
                images,
                lambda part: extractor(torch.from_numpy(part).to(device)[:, None].expand(-1, 3, -1, -1).contiguous())[
                    0
                ],
            )

    return inception


def _batched(images: np.ndarray, network: Callable[[np.ndarray], torch.Tensor]) -> np.ndarray:
    parts = [
        network(np.ascontiguousarray(images[start : start + _BATCH])).float().cpu().numpy()
        for start in range(0, len(images), _BATCH)
    ]
    return np.concatenate(parts)
