"""What a critic step sees of a real image: a crop anywhere in its surroundings, drawn from the generator."""

import torch

from mlproject.gan.batches import as_float, moved_crops


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_crop_is_one_of_those_that_its_surroundings_hold():
    around = torch.arange(36, dtype=torch.uint8).view(1, 6, 6)
    possible = [as_float(around[:, top : top + 4, left : left + 4]) for top in range(3) for left in range(3)]
    seen = set()
    for seed in range(60):
        moved = moved_crops(around, 4, 1, draw(seed))
        found = [number for number, window in enumerate(possible) if torch.equal(moved, window)]
        assert len(found) == 1
        seen.add(found[0])
    assert seen == set(range(9))


def test_a_finer_frame_is_averaged_down_then_across_to_whole_grey_levels():
    # columns (1, 2) and (2, 4) average to 1.5 and 3, halves to the even 2; 2 and 3 average to 2.5, again to 2
    around = torch.tensor([[[1, 2], [2, 4]]], dtype=torch.uint8)
    assert torch.equal(moved_crops(around, 1, 0, draw()), torch.full((1, 1, 1, 1), 2 / 127.5 - 1))
    # a reach of one crop's pixel is two of the frame's: five places each way
    wide = torch.randint(0, 256, (1, 12, 12), dtype=torch.uint8, generator=draw())
    assert len({moved_crops(wide, 4, 1, draw(seed)).numpy().tobytes() for seed in range(200)}) == 25


def test_each_image_moves_on_its_own_and_the_draw_decides():
    around = torch.randint(0, 256, (1, 22, 22), dtype=torch.uint8, generator=draw()).expand(32, -1, -1)
    moved = moved_crops(around, 16, 3, draw(1))
    assert moved.shape == (32, 1, 16, 16)
    assert torch.equal(moved, moved_crops(around, 16, 3, draw(1)))
    assert len({image.numpy().tobytes() for image in moved}) > 16


def test_without_a_reach_nothing_is_drawn():
    images, generator = torch.zeros(2, 8, 8, dtype=torch.uint8), draw()
    before = generator.get_state()
    assert torch.equal(moved_crops(images, 8, 0, generator), as_float(images))
    assert torch.equal(generator.get_state(), before)
