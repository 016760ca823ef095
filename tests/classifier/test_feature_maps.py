"""The frozen maps that a generator is trained against are those of the network that they are taken from."""

import torch
from torch import nn

from mlproject.classifier.feature_space import _lite0, lite0_maps
from mlproject.config import load_config


def test_maps_are_those_of_the_network_with_its_batch_norms():
    config = load_config().classifier
    device = torch.device("cpu")
    images = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    module = _lite0(config, device).eval()
    found: list[torch.Tensor] = []
    for index in (1, 2, 4, 6):
        module.network.blocks[index].register_forward_hook(lambda _module, _inputs, output: found.append(output))
    with torch.no_grad():
        module.features(images)
        folded = lite0_maps(config, device)(images)
    assert [tuple(maps.shape[1:]) for maps in folded] == [(24, 16, 16), (40, 8, 8), (112, 4, 4), (320, 2, 2)]
    for maps, expected in zip(folded, found, strict=True):
        assert torch.allclose(maps, expected, atol=1e-4 * float(expected.abs().max()))
    assert any(isinstance(part, nn.BatchNorm2d) for part in module.modules()), "the network compared with has its norms"
