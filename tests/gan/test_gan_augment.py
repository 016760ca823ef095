"""Differentiable augmentation by hand and by property."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlproject.gan.augment import augment, change_grey, translate


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


@pytest.mark.parametrize("kind", ["translation", "translation_brightness"])
def test_the_draw_is_the_generators_and_differs_between_images(kind):
    images = torch.rand(1, 1, 32, 32).expand(16, -1, -1, -1)
    first = augment(images, kind, torch.Generator().manual_seed(1))
    again = augment(images, kind, torch.Generator().manual_seed(1))
    other = augment(images, kind, torch.Generator().manual_seed(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({image.numpy().tobytes() for image in first}) > 8


def test_none_returns_the_images_and_draws_nothing():
    images = torch.rand(2, 1, 8, 8)
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert augment(images, "none", generator) is images
    assert torch.equal(generator.get_state(), before)


def test_the_gradient_goes_through_to_the_pixels_that_stay():
    images = torch.rand(4, 1, 16, 16, requires_grad=True)
    moved = augment(images, "translation", torch.Generator().manual_seed(0))
    moved.sum().backward()
    # each pixel has derivative 1 where it stayed inside, else 0
    assert set(images.grad.unique().tolist()) <= {0.0, 1.0}
    assert images.grad.sum().item() == (moved != 0).sum().item()
