"""What a critic step sees of a real image: a crop anywhere in its surroundings, drawn from the generator."""

import math

import pytest
import torch
from gan_tiny import tiny_config
from hypothesis import given
from hypothesis import strategies as st

from mlproject.gan.batches import as_float, moved_crops, reach_px


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=draw())


def smooth(side):
    """A plane that rises by 2 along and by 1 across."""
    return (2 * torch.arange(side)[:, None] + torch.arange(side)).to(torch.uint8)[None]


def test_a_crop_is_one_of_those_that_its_surroundings_hold():
    around = torch.arange(36, dtype=torch.uint8).view(1, 6, 6)
    possible = [as_float(around[:, top : top + 4, left : left + 4]) for top in range(3) for left in range(3)]
    seen = set()
    for seed in range(60):
        moved = moved_crops(around, 4, tiny_config(jitter_px=1), draw(seed))
        found = [number for number, window in enumerate(possible) if torch.equal(moved, window)]
        assert len(found) == 1
        seen.add(found[0])
    assert seen == set(range(9))


def test_a_finer_frame_has_places_between_the_pixels_of_the_crop():
    # a reach of one crop's pixel is two of the frame's: five places each way, each with every second pixel
    around = noise(1, 11, 11)
    possible = {
        around[:, top : top + 7 : 2, left : left + 7 : 2].numpy().tobytes() for top in range(5) for left in range(5)
    }
    config = tiny_config(jitter_px=1)
    grey = [(moved_crops(around, 4, config, draw(seed)) + 1) * 127.5 for seed in range(200)]
    assert {crop.round().to(torch.uint8).numpy().tobytes() for crop in grey} == possible


def test_each_image_moves_on_its_own_and_the_draw_decides():
    around = noise(1, 22, 22).expand(32, -1, -1)
    moved = moved_crops(around, 16, tiny_config(jitter_px=3), draw(1))
    assert moved.shape == (32, 1, 16, 16)
    assert torch.equal(moved, moved_crops(around, 16, tiny_config(jitter_px=3), draw(1)))
    assert len({image.numpy().tobytes() for image in moved}) > 16


def test_nothing_is_drawn_for_what_is_turned_off():
    images, generator = noise(2, 8, 8), draw()
    before = generator.get_state()
    config = tiny_config(jitter_px=0)
    assert torch.equal(moved_crops(images, 8, config, generator), as_float(images))
    assert torch.equal(generator.get_state(), before)


def test_a_crop_turns_about_its_middle():
    """Of a plane, which bicubic interpolation gives back, a turn by a leaves the middle and turns the slope by a."""
    config = tiny_config(jitter_px=0, turn_deg=30)
    reach = reach_px(config, 16)
    around = smooth(16 + 2 * reach).expand(64, -1, -1)
    grey = (moved_crops(around, 16, config, draw()) + 1)[:, 0] * 127.5
    middle = around[0].float().mean()
    assert torch.allclose(grey.mean(dim=(1, 2)), middle.expand(64), atol=0.3)
    down = (grey[:, -1] - grey[:, 0]).mean(dim=1) / 15
    right = (grey[:, :, -1] - grey[:, :, 0]).mean(dim=1) / 15
    turned = torch.rad2deg(torch.atan2(right, down)) - math.degrees(math.atan2(1, 2))
    assert torch.allclose(torch.hypot(down, right), torch.tensor(5.0).sqrt().expand(64), atol=0.1)
    assert turned.abs().max() <= 31
    assert turned.min() < -20
    assert turned.max() > 20


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_a_turn_by_next_to_nothing_is_the_crop(scale):
    config = tiny_config(jitter_px=0, turn_deg=1e-6)
    size, reach = 8, reach_px(config, 8)
    around = noise(3, *[scale * (size + 2 * reach - 1) + 1] * 2)
    middle = slice(scale * reach, scale * (reach + size - 1) + 1, scale)
    assert torch.equal(moved_crops(around, size, config, draw()), as_float(around[:, middle, middle]))


@given(st.integers(0, 8), st.floats(0, 45), st.sampled_from([16, 64]))
def test_a_moved_and_turned_crop_stays_within_its_reach(jitter, turn, size):
    config = tiny_config(jitter_px=jitter, turn_deg=turn)
    corner = math.hypot(size - 1, size - 1) / 2
    angle = math.radians(45 - turn)
    assert reach_px(config, size) + (size - 1) / 2 >= jitter + corner * math.cos(angle) - 1e-9
    assert reach_px(config, size) <= jitter + math.ceil(corner - (size - 1) / 2)
