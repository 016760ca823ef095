"""Differentiable augmentation by hand and by property."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlproject.gan.augment import BRIGHTNESS, CONTRAST, augment, change_grey, draw_augmentation, translate


def test_translation_by_hand():
    image = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 1, 2, 2)
    # one row down, one column left: only 2 stays inside, at row 1, column 0; the border is mid-grey
    moved = translate(image, torch.tensor([1]), torch.tensor([-1]))
    assert moved[0, 0].tolist() == [[0.0, 0.0], [2.0, 0.0]]


@settings(max_examples=30, deadline=None)
@given(down=st.integers(-8, 8), right=st.integers(-8, 8))
def test_a_shift_and_its_opposite_keep_what_stayed_inside(down, right):
    image = torch.arange(1.0, 65.0).view(1, 1, 8, 8)
    there = translate(image, torch.tensor([down]), torch.tensor([right]))
    back = translate(there, torch.tensor([-down]), torch.tensor([-right]))
    kept = back != 0
    assert torch.equal(back[kept], image[kept])
    assert int(kept.sum()) == max(0, 8 - abs(down)) * max(0, 8 - abs(right))


def test_grey_change_by_hand():
    image = torch.tensor([0.0, 0.0, 0.5, 0.5]).view(1, 1, 2, 2)
    # mean 0.25; contrast 2 puts the values at -0.25 and 0.75; brightness adds 0.1
    changed = change_grey(image, torch.tensor([0.1]), torch.tensor([2.0]))
    assert changed.flatten().tolist() == pytest.approx([-0.15, -0.15, 0.85, 0.85])


def drawn(kind, count, size, seed):
    return draw_augmentation(kind, count, size, torch.Generator().manual_seed(seed), torch.device("cpu"))


@pytest.mark.parametrize("kind", ["translation", "translation_brightness"])
def test_the_draw_is_the_generators_and_differs_between_images(kind):
    images = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)).expand(16, -1, -1, -1)
    first = augment(images, drawn(kind, 16, 32, seed=1))
    assert torch.equal(first, augment(images, drawn(kind, 16, 32, seed=1)))
    assert not torch.equal(first, augment(images, drawn(kind, 16, 32, seed=2)))
    assert len({image.numpy().tobytes() for image in first}) > 8


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), size=st.sampled_from([16, 64]))
def test_draws_stay_in_their_ranges(seed, size):
    draw = drawn("translation_brightness", 8, size, seed)
    # an eighth of the side
    assert max(draw.down.abs().max(), draw.right.abs().max()) <= size // 8
    assert draw.brightness.abs().max() <= BRIGHTNESS
    assert (draw.contrast - 1).abs().max() <= CONTRAST


def test_a_shared_draw_cancels_in_the_difference_of_mean_scores():
    # a critic that sees nothing but the mean grey: equal images must differ by exactly nothing
    images = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    draw = drawn("translation_brightness", 8, 16, seed=3)
    assert (augment(images, draw).mean() - augment(images.clone(), draw).mean()).item() == 0.0


def test_none_returns_the_images_and_draws_nothing():
    images = torch.rand(2, 1, 8, 8)
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert augment(images, draw_augmentation("none", 2, 8, generator, torch.device("cpu"))) is images
    assert torch.equal(generator.get_state(), before)


def test_the_gradient_goes_through_to_the_pixels_that_stay():
    images = torch.rand(4, 1, 16, 16).add(0.1).requires_grad_(True)
    moved = augment(images, drawn("translation", 4, 16, seed=0))
    moved.sum().backward()
    # each pixel has derivative 1 where it stayed inside, else 0
    assert set(images.grad.unique().tolist()) == {0.0, 1.0}
    assert images.grad.sum().item() == (moved != 0).sum().item()
