"""Shapes, ranges, conditioning, independence of images, and parameter counts of the networks."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from gan_tiny import tiny_config

from mlproject.errors import UserError
from mlproject.gan.compact import minibatch_deviation
from mlproject.gan.conditional import label_planes
from mlproject.gan.dcgan import MapToScore, VectorToMap
from mlproject.gan.networks import build_networks

ARCHITECTURES = ("dcgan", "compact")


def networks(architecture, size=32, base_channels=8, seed=0, latent_dim=16, **changes):
    torch.manual_seed(seed)
    settings = {"architecture": architecture, "base_channels": base_channels, "latent_dim": latent_dim, **changes}
    return build_networks(tiny_config(**settings), size=size)


def draw(generator, count, seed=0):
    return torch.randn(count, generator.inputs_size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_shapes_and_range(architecture, size):
    generator, critic = networks(architecture, size, base_channels=4)
    labels = torch.tensor([0, 1, 1])
    images = generator(draw(generator, 3), labels)
    assert images.shape == (3, 1, size, size)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1
    assert critic(images, labels).shape == (3,)


def test_a_compact_image_begins_with_its_coarsest_picture_alone():
    generator, _ = networks("compact", size=64)
    inputs, labels = draw(generator, 3), torch.tensor([0, 1, 1])
    finest = 32 * 32 + 64 * 64
    with torch.no_grad():
        image = generator(inputs, labels)
        assert image.std() > 0.01
        other_fine_noise = torch.cat([inputs[:, :-finest], torch.randn(3, finest)], dim=1)
        assert torch.equal(image, generator(other_fine_noise, labels))
        other_latent = torch.cat([torch.randn(3, 8), inputs[:, 8:]], dim=1)
        assert not torch.equal(image, generator(other_latent, labels))


def test_a_fresh_compact_critic_judges_the_coarsest_picture_alone():
    # the layers that would carry finer maps down start at zero
    _, critic = networks("compact", size=32)
    fine = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    blocks = torch.nn.functional.avg_pool2d(fine, 2).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    labels = torch.tensor([0, 1, 0, 1])
    assert torch.allclose(critic(fine, labels), critic(blocks, labels), atol=1e-4)
    assert not torch.allclose(critic(fine, labels), critic(fine.flip(2), labels), atol=1e-4)


@pytest.mark.parametrize("size", [0, 48, 100, 8, 1024])
def test_unusable_sizes_are_refused(size):
    with pytest.raises(UserError, match=r"data\.size"):
        networks("dcgan", size)


def test_an_unknown_architecture_is_refused():
    with pytest.raises(UserError, match=r"gan\.architecture"):
        build_networks(dataclasses.replace(tiny_config(), architecture="biggan"), size=64)


def test_the_seeds_architecture_has_its_parameters():
    generator, critic = networks("dcgan", 64, base_channels=64, latent_dim=100)
    # 4x4 kernels without bias, two numbers for each normalised channel, a bias on the last layer
    by_hand = 16 * (102 * 512 + 512 * 256 + 256 * 128 + 128 * 64 + 64 * 1) + 2 * (512 + 256 + 128 + 64) + 1
    assert sum(parameter.numel() for parameter in generator.parameters()) == by_hand
    by_hand = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512 * 1) + 64 + 2 * (128 + 256 + 512) + 1
    assert sum(parameter.numel() for parameter in critic.parameters()) == by_hand
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in critic.modules())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_label_reaches_image_and_score(architecture):
    generator, critic = networks(architecture)
    inputs = draw(generator, 4)
    normal, anomalous = torch.zeros(4, dtype=torch.long), torch.ones(4, dtype=torch.long)
    images = generator(inputs, normal)
    assert not torch.allclose(images, generator(inputs, anomalous), atol=1e-4)
    assert not torch.allclose(critic(images, normal), critic(images, anomalous), atol=1e-4)


def test_compact_has_no_batch_statistics_in_the_generator():
    generator, _ = networks("compact")
    generator.train()
    inputs, labels = draw(generator, 6), torch.tensor([0, 1, 0, 1, 0, 1])
    together = generator(inputs, labels)
    alone = torch.cat([generator(inputs[i : i + 1], labels[i : i + 1]) for i in range(6)])
    assert torch.allclose(together, alone, atol=1e-5)
    assert not any("running" in name for name in generator.state_dict())


def test_compacts_noise_planes_change_the_image():
    generator, _ = networks("compact")
    inputs = draw(generator, 2)
    other = inputs.clone()
    other[:, generator.latent_dim :] = draw(generator, 2, seed=1)[:, generator.latent_dim :]
    labels = torch.tensor([0, 1])
    assert not torch.equal(generator(inputs, labels), generator(other, labels))


def test_label_planes_by_hand():
    planes = label_planes(torch.tensor([1, 0]), 2, torch.zeros(2, 1, 2, 3))
    assert planes.shape == (2, 2, 2, 3)
    assert planes[0, 0].unique().tolist() == [0.0]
    assert planes[0, 1].unique().tolist() == [1.0]
    assert planes[1, 0].unique().tolist() == [1.0]


def test_minibatch_deviation_by_hand():
    # two groups of two: values 1 and 3 deviate by 1 from their mean, 5 and 5 by nothing
    maps = torch.tensor([1.0, 3.0, 5.0, 5.0]).view(4, 1, 1, 1).expand(-1, 2, 2, 2)
    planes = minibatch_deviation(maps, group=2)
    assert planes.shape == (4, 1, 2, 2)
    assert planes[:, 0, 0, 0].tolist() == pytest.approx([1.0, 1.0, 1e-4, 1e-4], abs=1e-6)


def test_minibatch_deviation_is_the_same_when_the_batch_is_cut_between_groups():
    maps = torch.randn(8, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    whole = minibatch_deviation(maps, group=4)
    assert torch.equal(whole, torch.cat([minibatch_deviation(maps[:4], 4), minibatch_deviation(maps[4:], 4)]))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7])
def test_any_batch_size_goes_through_the_critic(count):
    _, critic = networks("compact")
    scores = critic(torch.zeros(count, 1, 32, 32), torch.zeros(count, dtype=torch.long))
    assert torch.isfinite(scores).all()


def test_a_critic_that_sees_planes_or_the_projection_alone():
    # without the projection a critic has no embedding; without planes the label acts through the embedding alone
    _, planes = networks("compact", conditioning="planes")
    assert planes.projection is None
    _, projection = networks("compact", conditioning="projection")
    images = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    normal, anomalous = torch.zeros(4, dtype=torch.long), torch.ones(4, dtype=torch.long)
    assert not torch.equal(planes(images, normal), planes(images, anomalous))
    assert not torch.equal(projection(images, normal), projection(images, anomalous))
    with torch.no_grad():
        projection.projection.weight.zero_()
    assert torch.equal(projection(images, normal), projection(images, anomalous))


def test_without_noise_the_planes_change_nothing():
    generator, _ = networks("compact", noise=False)
    inputs, labels = draw(generator, 2), torch.tensor([0, 1])
    other = inputs.clone()
    other[:, generator.latent_dim :] += 1
    assert torch.equal(generator(inputs, labels), generator(other, labels))


def test_a_critic_without_minibatch_statistics_judges_each_image_alone():
    _, critic = networks("compact", minibatch_group=0)
    images = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 0, 1])
    alone = torch.cat([critic(images[i : i + 1], labels[i : i + 1]) for i in range(4)])
    assert torch.allclose(critic(images, labels), alone, atol=1e-5)
    _, grouped = networks("compact", minibatch_group=4)
    alone = torch.cat([grouped(images[i : i + 1], labels[i : i + 1]) for i in range(4)])
    assert not torch.allclose(grouped(images, labels), alone, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_auxiliary_classifier_is_there_when_it_has_a_weight(architecture):
    assert networks(architecture)[1].classes is None
    _, critic = networks(architecture, auxiliary=0.5)
    assert critic.classes(torch.zeros(3, 1, 32, 32)).shape == (3, 2)


def test_twins_need_the_feature_critic():
    with pytest.raises(UserError, match="auxiliary_kind: twins .* gan.feature_critic is 0"):
        networks("compact", auxiliary=1, auxiliary_kind="twins")
    # where the classifier has no weight its kind does not matter
    assert networks("compact", auxiliary_kind="twins")[1].classes is None


def test_first_and_last_layer_of_the_thesis_networks_are_convolutions_of_one_place():
    torch.manual_seed(0)
    opening, closing = VectorToMap(5, 3, 4, bias=False).double(), MapToScore(3, 1, 4).double()
    vectors = torch.randn(2, 5, 1, 1, dtype=torch.float64)
    maps = opening(vectors)
    assert torch.allclose(maps, F.conv_transpose2d(vectors, opening.weight), atol=1e-12)
    assert torch.allclose(closing(maps).view(2, 1, 1, 1), F.conv2d(maps, closing.weight, closing.bias), atol=1e-12)
