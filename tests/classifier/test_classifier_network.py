"""The network: which backbones, which sizes, which range, which random state."""

import pytest
import torch

from mlproject.classifier.network import (
    GreyEfficientNet,
    NetworkSettings,
    build_classifier,
    efficientnets,
    require_efficientnet,
    resize,
)
from mlproject.errors import UserError


def test_a_misspelt_backbone_is_refused_with_the_nearest_efficientnet():
    with pytest.raises(UserError, match=r"'efficientnet_bo' is not a model of timm; did you mean efficientnet_b0\?"):
        require_efficientnet("efficientnet_bo")


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_100", "mnasnet_050"])
def test_other_families_are_refused_even_where_timm_builds_them_from_the_same_blocks(name):
    with pytest.raises(UserError, match=f"'{name}' is not an EfficientNet; did you mean .*efficientnet"):
        require_efficientnet(name)


def test_an_empty_backbone_still_names_one():
    with pytest.raises(UserError, match="did you mean"):
        require_efficientnet("")


def test_the_default_and_the_thesis_backbones_are_known():
    assert {"efficientnet_b0", "tf_efficientnet_lite0"} <= set(efficientnets())


@pytest.mark.parametrize(("stride", "expected"), [(2, 2), (1, 4)])
def test_stem_stride_one_doubles_the_last_maps(stride, expected):
    # five halvings take 64 px to 2; without the stem's, four take it to 4
    module = GreyEfficientNet(NetworkSettings("tf_efficientnet_lite0", stem_stride=stride)).eval()
    with torch.inference_mode():
        maps = module.network.forward_features(torch.zeros(2, 1, 64, 64))
    assert maps.shape == (2, 1280, expected, expected)


def test_logits_are_one_for_each_image_and_features_one_row(tiny_config):
    module = build_classifier(tiny_config()).eval()
    images = torch.rand(3, 1, 32, 32) * 2 - 1
    with torch.inference_mode():
        assert module(images).shape == (3,)
        assert module.features(images).shape == (3, module.network.num_features)


def test_logits_are_the_head_on_the_features(tiny_config):
    module = build_classifier(tiny_config(zero_init_head=False)).eval()
    images = torch.rand(3, 1, 32, 32) * 2 - 1
    with torch.inference_mode():
        torch.testing.assert_close(module.network.classifier(module.features(images)).squeeze(1), module(images))


def test_a_zero_head_answers_zero_and_a_random_head_does_not(tiny_config):
    images = torch.rand(3, 1, 32, 32) * 2 - 1
    with torch.inference_mode():
        assert build_classifier(tiny_config(zero_init_head=True)).eval()(images).abs().max() == 0
        assert build_classifier(tiny_config(zero_init_head=False)).eval()(images).abs().max() > 0


def test_input_size_is_what_the_backbone_sees(tiny_config):
    module = build_classifier(tiny_config(input_size=48)).eval()
    seen = []
    module.network.conv_stem.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0].shape))
    module(torch.zeros(2, 1, 32, 32))
    assert seen == [(2, 1, 48, 48)]


def test_half_and_half_leaves_the_range_as_it_is():
    module = GreyEfficientNet(NetworkSettings("test_efficientnet"))
    images = torch.tensor([-1.0, 0.0, 0.25, 1.0]).view(1, 1, 2, 2)
    torch.testing.assert_close(module.prepare(images), images)


def test_other_means_and_deviations_are_on_the_scale_zero_to_one():
    module = GreyEfficientNet(NetworkSettings("test_efficientnet"))
    module.mean.fill_(0.4)
    module.std.fill_(0.2)
    # -1, 0, 1 are 0, 0.5, 1 there: (0 - 0.4) / 0.2 = -2, 0.1 / 0.2 = 0.5, 0.6 / 0.2 = 3
    prepared = module.prepare(torch.tensor([-1.0, 0.0, 1.0]).view(1, 1, 1, 3))
    torch.testing.assert_close(prepared.flatten(), torch.tensor([-2.0, 0.5, 3.0]))


def test_shrinking_averages_areas_and_growing_interpolates():
    image = torch.tensor([[0.0, 2.0], [4.0, 6.0]]).view(1, 1, 2, 2)
    assert resize(image, 1).item() == 3.0
    # pixel centres of 2 -> 4: -0.25 (clamped), 0.25, 0.75, 1.25 (clamped) of the way
    torch.testing.assert_close(resize(image, 4)[0, 0, 0], torch.tensor([0.0, 0.5, 1.5, 2.0]))
    assert resize(image, 0) is image
    assert resize(image, 2) is image


def test_weights_are_a_function_of_the_seed_and_the_callers_random_state_stays(tiny_config):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = build_classifier(tiny_config(seed=3, zero_init_head=False)).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(10)
    again = build_classifier(tiny_config(seed=3, zero_init_head=False)).state_dict()
    other = build_classifier(tiny_config(seed=4, zero_init_head=False)).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["network.conv_stem.weight"], other["network.conv_stem.weight"])


def test_stages_cover_every_weight_once(tiny_config):
    module = build_classifier(tiny_config())
    listed = [id(p) for parts in module.stages() for part in parts for p in part.parameters()]
    assert sorted(listed) == sorted(id(p) for p in module.parameters())
