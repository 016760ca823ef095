"""Augmentation: deterministic, without global state, and harmless to what the label is about."""

import random

import numpy as np
import pytest

from mlproject.data.augment import PIPELINES, augment_batch, pipeline

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 32, 32), dtype=np.uint8)


@pytest.mark.parametrize("name", PIPELINES)
def test_a_seed_decides_the_batch(name):
    before = IMAGES.copy()
    one = augment_batch(IMAGES, name, 3)
    augment_batch(IMAGES, name, 4)
    assert (augment_batch(IMAGES, name, 3) == one).all()
    assert one.shape == IMAGES.shape
    assert one.dtype == np.uint8
    assert (before == IMAGES).all(), "the crops in memory stay as they are"


@pytest.mark.parametrize("name", ["light", "medium", "strong", "seed"])
def test_seeds_and_images_differ(name):
    same = np.repeat(IMAGES[:1], 12, axis=0)
    assert (augment_batch(IMAGES, name, 3) != augment_batch(IMAGES, name, 4)).any()
    assert len({image.tobytes() for image in augment_batch(same, name, 3)}) > 6
    # seed_for gives 63 bits, and all of them count
    assert (augment_batch(IMAGES, name, 2**62 + 1) != augment_batch(IMAGES, name, 1)).any()


def test_none_changes_nothing_and_an_empty_batch_stays_empty():
    assert (augment_batch(IMAGES, "none", 0) == IMAGES).all()
    assert augment_batch(IMAGES, "none", 0) is not IMAGES
    assert augment_batch(IMAGES[:0], "light", 0).shape == (0, 32, 32)


@pytest.mark.parametrize("name", ["light", "medium", "strong", "seed"])
def test_no_global_random_state_is_touched_or_used(name):
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    states = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    one = augment_batch(IMAGES, name, 3)
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    random.seed(2)
    np.random.seed(2)  # noqa: NPY002
    assert (augment_batch(IMAGES, name, 3) == one).all()


def test_the_beam_s_direction_is_kept():
    # bright above, dark below: a vertical flip or a turn would exchange them
    image = np.zeros((200, 32, 32), dtype=np.uint8)
    image[:, :16] = 200
    for name in ("light", "medium", "strong", "seed"):
        result = augment_batch(image, name, 0).astype(float)
        # `strong` shifts and turns so far that some of one half shows in the other
        apart = 10 if name == "strong" else 50
        assert (result[:, :10].mean(axis=(1, 2)) > result[:, 22:].mean(axis=(1, 2)) + apart).all()


def test_the_thickness_stays_within_a_tenth():
    # a dark band 12 pixels wide between bright tissue, the stand-in for the translucency
    image = np.full((200, 64, 64), 180, dtype=np.uint8)
    image[:, 26:38] = 20
    # scale 0.92-1.08 and a turn by up to 8, 12 or 18 degrees (1/cos is 1.01, 1.02, 1.05), half a pixel of edge either
    # side; `strong` also blurs and darkens patches, which moves that edge, so it is left to the turn and the scale
    for name, slant in (("light", 1.01), ("medium", 1.02)):
        result = augment_batch(image, name, 1)
        # gain moves both levels: what lies below their middle is the band
        middle = np.quantile(result, (0.05, 0.95), axis=(1, 2)).mean(axis=0)[:, None, None]
        thickness = (result[:, :, 28:36] < middle).sum(axis=1).mean(axis=1)
        assert thickness.min() > 12 * 0.92 - 1
        assert thickness.max() < 12 * 1.08 * slant + 1


@pytest.mark.filterwarnings("error")
def test_no_argument_is_unknown_or_deprecated():
    for name in PIPELINES:
        pipeline(name)
    with pytest.raises(ValueError, match="none of none, light, medium, strong, seed"):
        pipeline("extreme")


def test_levels_change_more_from_one_to_the_next():
    image = np.tile(np.random.default_rng(1).integers(0, 256, (1, 64, 64), dtype=np.uint8), (200, 1, 1))
    levels = ("none", "light", "medium", "strong")
    change = [np.abs(augment_batch(image, name, 2).astype(float) - image).mean() for name in levels]
    assert change == sorted(change)
    assert change[0] == 0
