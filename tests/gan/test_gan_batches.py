"""What a critic step sees of a real image: moved by whole pixels, its edges mirrored, and drawn from the generator."""

import torch

from mlproject.gan.batches import jitter


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def test_jitter_moves_by_whole_pixels_and_mirrors_the_edges():
    image = torch.arange(16.0).view(1, 1, 4, 4)
    # every window of the image with its edges mirrored by one pixel: row -1 is row 1, column 4 is column 2
    rows = [1, 0, 1, 2, 3, 2]
    whole = image[0, 0][rows][:, rows]
    possible = [whole[top : top + 4, left : left + 4] for top in range(3) for left in range(3)]
    seen = set()
    for seed in range(60):
        moved = jitter(image, 1, draw(seed))[0, 0]
        found = [number for number, window in enumerate(possible) if torch.equal(moved, window)]
        assert len(found) == 1
        seen.add(found[0])
    assert seen == set(range(9))


def test_each_image_moves_on_its_own_and_the_draw_decides():
    images = torch.rand(1, 1, 16, 16, generator=draw()).expand(32, -1, -1, -1)
    moved = jitter(images, 3, draw(1))
    assert moved.shape == images.shape
    assert torch.equal(moved, jitter(images, 3, draw(1)))
    assert len({image.numpy().tobytes() for image in moved}) > 16


def test_without_a_limit_nothing_is_drawn():
    images, generator = torch.rand(2, 1, 8, 8), draw()
    before = generator.get_state()
    assert jitter(images, 0, generator) is images
    assert torch.equal(generator.get_state(), before)
