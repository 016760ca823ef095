"""Shortcut baselines on crops whose shortcut is known."""

from types import SimpleNamespace

import numpy as np
import pytest

from mlproject.errors import UserError
from mlproject.evaluation.shortcuts import box_geometry, grey_statistics, shortcut_baselines, small_pixels

OPTIONS = {"draws": 200, "level": 0.95}


def crops(n: int, seed: int, *, bright: float = 0.0, wide: float = 0.0, corner: float = 0.0) -> SimpleNamespace:
    """Noise of two frames a subject; class 1 is brighter overall, wider in its box, or brighter in one corner only."""
    generator = np.random.default_rng(seed)
    subjects = np.repeat(np.arange(n // 2), 2)
    labels = subjects % 2
    images = generator.normal(120, 25, size=(n, 32, 32)) + bright * labels[:, None, None]
    # the opposite corner darkens as much, so that mean and spread say nothing
    images[:, :8, :8] += corner * labels[:, None, None]
    images[:, -8:, -8:] -= corner * labels[:, None, None]
    top, left = generator.integers(0, 50, n), generator.integers(0, 50, n)
    boxes = np.stack([top, left, top + 30, left + 90 + wide * labels + generator.integers(-20, 20, n)], axis=1)
    return SimpleNamespace(
        images=images.clip(0, 255).astype(np.uint8),
        labels=labels,
        subjects=np.array([f"{seed}-{subject}" for subject in subjects]),
        boxes=boxes.astype(np.float32),
    )


def test_features_by_hand():
    image = np.zeros((1, 32, 32), dtype=np.uint8)
    image[0, :2, :2] = [[10, 20], [30, 40]]
    assert small_pixels(image)[0, 0] == 25  # 2 x 2 pixels become their mean
    assert small_pixels(image).shape == (1, 256)
    assert grey_statistics(np.array([[[0, 200]]], dtype=np.uint8)).tolist() == [[100, 100]]
    assert box_geometry(np.array([[10, 20, 40, 100]], dtype=np.float32)).tolist() == [[30, 80, 25, 60]]


@pytest.mark.parametrize(
    ("shortcut", "finds", "does_not"),
    [
        ({"bright": 12.0}, {"grey_mean_sd"}, {"box_geometry", "box_width"}),
        ({"wide": 30.0}, {"box_geometry", "box_width"}, {"pixels_16x16", "grey_mean_sd"}),
        ({"corner": 25.0}, {"pixels_16x16"}, {"box_geometry", "box_width"}),
    ],
)
def test_a_shortcut_is_found_by_the_baseline_that_sees_it(shortcut, finds, does_not):
    found = shortcut_baselines(crops(160, 1, **shortcut), crops(160, 2, **shortcut), 0, **OPTIONS)
    assert set(found) == {"pixels_16x16", "grey_mean_sd", "box_geometry", "box_width"}
    for name in finds:
        assert found[name].low > 0.7, name
    for name in does_not:
        assert found[name].low < 0.55, name


def test_same_seed_same_result():
    train, held_out = crops(80, 1, bright=5), crops(80, 2, bright=5)
    assert shortcut_baselines(train, held_out, 3, **OPTIONS) == shortcut_baselines(train, held_out, 3, **OPTIONS)


def test_missing_boxes_leave_the_row_out():
    train, held_out = crops(40, 1), crops(40, 2)
    held_out.boxes[3] = np.nan
    assert set(shortcut_baselines(train, held_out, 0, **OPTIONS)) == {"pixels_16x16", "grey_mean_sd"}


def test_a_handful_of_subjects_works_without_inner_folds():
    found = shortcut_baselines(crops(8, 1, bright=40), crops(8, 2, bright=40), 0, **OPTIONS)
    assert found["grey_mean_sd"].value > 0.9


def test_shared_subjects_and_single_classes_are_refused():
    train, held_out = crops(40, 1), crops(40, 2)
    held_out.subjects[0] = train.subjects[0]
    with pytest.raises(UserError, match="1 subjects are in both"):
        shortcut_baselines(train, held_out, 0, **OPTIONS)
    train.labels = np.zeros_like(train.labels)
    with pytest.raises(UserError, match="one class only"):
        shortcut_baselines(train, crops(40, 3), 0, **OPTIONS)
