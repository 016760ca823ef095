"""The critic of frozen features: its scales, its penalty by hand, and what it may and may not change."""

import pytest
import torch
from gan_tiny import tiny_data, tiny_maps
from torch import nn

from mlproject.gan.batches import as_float
from mlproject.gan.feature_critic import FeatureCritic, map_gradient_norms


@pytest.fixture
def critic():
    torch.manual_seed(0)
    return FeatureCritic(tiny_maps, as_float(torch.from_numpy(tiny_data()[0])), 2)


def test_maps_of_training_images_are_standardised(critic):
    maps = critic.maps(as_float(torch.from_numpy(tiny_data()[0])))
    assert [tuple(part.shape[1:]) for part in maps] == [(2, 8, 8), (2, 4, 4)]
    for part in maps:
        assert torch.allclose(part.mean(dim=(0, 2, 3)), torch.zeros(2), atol=1e-4)
        assert torch.allclose(part.std(dim=(0, 2, 3)), torch.ones(2), atol=0.02)


class Linear(nn.Module):
    """Scores whose gradient is known: 3 times the sum of the first map, 2 times that of the second."""

    def forward(self, maps, labels):
        return 3 * maps[0].sum(dim=(1, 2, 3)) + 2 * maps[1].sum(dim=(1, 2, 3))


def test_gradient_norms_by_hand():
    real, fake = [torch.randn(4, 1, 2, 2), torch.randn(4, 5, 1, 1)], [torch.randn(4, 1, 2, 2), torch.randn(4, 5, 1, 1)]
    norms = map_gradient_norms(Linear(), real, fake, torch.zeros(4, dtype=torch.long), torch.rand(4))
    # the first map has 4 places, so distances in it count half: a gradient of 3 becomes 6, at 4 numbers; the second
    # has 1 place and 5 numbers of gradient 2: sqrt(4 * 36 + 5 * 4) = sqrt(164)
    assert norms.tolist() == pytest.approx([164**0.5] * 4)


def test_the_label_and_every_resolution_reach_the_score(critic):
    images = as_float(torch.from_numpy(tiny_data()[0][:4]))
    maps = critic.maps(images)
    normal, anomalous = torch.zeros(4, dtype=torch.long), torch.ones(4, dtype=torch.long)
    scores = critic(maps, normal)
    assert scores.shape == (4,)
    assert not torch.allclose(scores, critic(maps, anomalous))
    for index in range(2):
        changed = [part + 1 if place == index else part for place, part in enumerate(maps)]
        assert not torch.allclose(scores, critic(changed, normal))


def test_the_gradient_reaches_the_image_and_not_the_frozen_network():
    frozen = nn.Conv2d(1, 3, 3, padding=1).requires_grad_(False)
    critic = FeatureCritic(lambda images: [frozen(images)], torch.randn(8, 1, 16, 16), 2)
    images = torch.randn(2, 1, 16, 16, requires_grad=True)
    critic(critic.maps(images), torch.tensor([0, 1])).sum().backward()
    assert images.grad.abs().sum() > 0
    assert frozen.weight.grad is None
    # the frozen network belongs to whoever gave it: it is in no checkpoint
    assert not any("maps_of" in name for name in critic.state_dict())
    assert all(name.startswith("heads.") for name in critic.state_dict())
