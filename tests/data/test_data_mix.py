"""The mix: its share, its walk through the pools, and what it refuses."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlproject.data.crops import Crops, empty_crops
from mlproject.data.manifest import DataSet
from mlproject.data.mix import MixedSource, kept_subjects, refuse_leak, refuse_other_preprocessing
from mlproject.errors import UserError


def crops(normal: int, anomalous: int, prefix: str = "s", size: int = 4, per_subject: int = 1) -> Crops:
    labels = np.repeat(np.array([0] * normal + [1] * anomalous, dtype=np.int64), per_subject)
    n = len(labels)
    subjects = np.array([f"{prefix}{number // per_subject}" for number in range(n)], dtype=str)
    images = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None], (n, size, size)).copy()
    return Crops(images, labels, subjects, subjects, subjects, np.full((n, 4), np.nan, np.float32))


def source(real=None, synthetic=None, **changes) -> MixedSource:
    settings = {"mix": "hybrid", "synthetic_fraction": 0.5, "mix_mode": "add", "batch_size": 8, "seed": 0}
    real = crops(6, 4) if real is None else real
    return MixedSource(real, synthetic, **{**settings, **changes})


def test_half_of_every_even_batch_is_synthetic():
    mixed = source(synthetic=crops(5, 5))
    for step in range(20):
        is_synthetic, rows = mixed.batch_indices(step)
        assert is_synthetic.tolist() == [False] * 4 + [True] * 4
        assert len(rows) == 8


@given(st.floats(0, 1), st.integers(1, 40), st.integers(0, 10_000), st.integers(0, 5000))
def test_the_share_is_exact_over_any_number_of_steps(fraction, batch_size, seed, steps):
    mixed = source(synthetic=crops(5, 5), synthetic_fraction=fraction, batch_size=batch_size, seed=seed)
    # floor(r b s + u) with u in [0, 1) is within one image of r b s
    assert abs(mixed.synthetic_before(steps) - fraction * batch_size * steps) <= 1
    in_batch = mixed.synthetic_before(steps + 1) - mixed.synthetic_before(steps)
    assert np.floor(fraction * batch_size - 1e-6) <= in_batch <= np.ceil(fraction * batch_size + 1e-6)
    is_synthetic, rows = mixed.batch_indices(steps)
    assert is_synthetic.sum() == in_batch
    assert len(rows) == batch_size


def test_the_expected_count_over_seeds_is_the_share():
    # r b = 0.3 * 4 = 1.2: a first batch has 1 synthetic image, and 2 with probability 0.2; the standard error over
    # 2,000 seeds is 0.4 / sqrt(2000) = 0.009
    counts = [
        source(synthetic=crops(5, 5), synthetic_fraction=0.3, batch_size=4, seed=seed).synthetic_before(1)
        for seed in range(2000)
    ]
    assert set(counts) == {1, 2}
    assert abs(np.mean(counts) - 1.2) < 0.04


def test_every_image_of_a_pool_comes_once_in_an_epoch():
    mixed = source(real=crops(7, 4), synthetic=crops(3, 2), synthetic_fraction=0.25, batch_size=8)
    drawn: dict[bool, list[int]] = {False: [], True: []}
    for step in range(11):
        is_synthetic, rows = mixed.batch_indices(step)
        for flag in (False, True):
            drawn[flag] += rows[is_synthetic == flag].tolist()
    # 11 steps * 6 real = 6 epochs of 11; 11 steps * 2 synthetic = 4 epochs of 5 and 2 images
    real = np.array(drawn[False]).reshape(6, 11)
    assert (np.sort(real, axis=1) == np.arange(11)).all()
    assert len({tuple(epoch) for epoch in real.tolist()}) == 6, "each epoch has its own order"
    assert (np.sort(np.array(drawn[True][:20]).reshape(4, 5), axis=1) == np.arange(5)).all()


@given(st.lists(st.integers(0, 200), min_size=1, max_size=12), st.integers(0, 99))
def test_a_batch_depends_on_seed_and_step_alone(steps, seed):
    def fresh():
        return source(synthetic=crops(3, 4), synthetic_fraction=0.37, seed=seed)

    one = fresh()
    for step in steps:
        for first, second in zip(one.batch_indices(step), fresh().batch_indices(step), strict=True):
            assert (first == second).all()


def test_real_and_synthetic_are_the_ends_of_the_share():
    pool = crops(5, 5)
    for mix, flag in (("real", False), ("synthetic", True)):
        mixed = source(synthetic=pool, mix=mix)
        assert all((mixed.batch_indices(step)[0] == flag).all() for step in range(5))
    for fraction, flag in ((0, False), (1, True)):
        mixed = source(synthetic=pool, synthetic_fraction=fraction)
        assert all((mixed.batch_indices(step)[0] == flag).all() for step in range(5))
    assert source(synthetic=pool, mix="synthetic").real_subjects == []
    assert len(source(real=empty_crops(4), synthetic=pool, mix="synthetic").batch(0)[0]) == 8


def test_a_real_batch_is_the_same_with_and_without_a_synthetic_pool():
    alone, beside = source(mix="real"), source(mix="real", synthetic=crops(5, 5))
    assert (alone.batch_indices(7)[1] == beside.batch_indices(7)[1]).all()


def test_batches_carry_the_images_and_labels_of_their_rows():
    real, synthetic = crops(6, 4), crops(2, 8)
    mixed = source(real=real, synthetic=synthetic)
    is_synthetic, rows = mixed.batch_indices(3)
    images, labels, flags = mixed.batch(3)
    assert (flags == is_synthetic).all()
    for image, label, flag, row in zip(images, labels, is_synthetic, rows, strict=True):
        pool = synthetic if flag else real
        assert (image == pool.images[row]).all()
        assert label == pool.labels[row]
    # 0.5 * 4/10 + 0.5 * 8/10
    assert mixed.label_shares() == pytest.approx((0.4, 0.6))


def test_replace_keeps_a_stratified_share_of_subjects():
    real = crops(10, 6, per_subject=2)
    # (1 - 0.25) * 10 = 7.5 and * 6 = 4.5: halves go to the even number, 8 and 4
    kept = kept_subjects(real, 0.25, seed=1)
    labels = dict(zip(real.subjects.tolist(), real.labels.tolist(), strict=True))
    assert [sum(labels[subject] == label for subject in kept) for label in (0, 1)] == [8, 4]
    mixed = source(real=real, synthetic=crops(5, 5), synthetic_fraction=0.25, mix_mode="replace", seed=1)
    assert mixed.real_subjects == kept
    assert len(mixed.real) == 24
    assert source(real=real, synthetic=crops(5, 5), mix_mode="add").real is real


def test_replace_is_nested_and_leaves_one_of_each_label():
    real = crops(20, 3)
    kept = [set(kept_subjects(real, fraction, seed=4)) for fraction in (0, 0.3, 0.6, 0.9, 0.99, 1)]
    assert all(less <= more for more, less in itertools.pairwise(kept))
    assert [len(part) for part in kept] == [23, 16, 9, 3, 2, 0]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, "mix=hybrid needs synthetic images"),
        ({"mix": "synthetic"}, "mix=synthetic needs synthetic images"),
        ({"synthetic": empty_crops(4)}, "mix=hybrid needs synthetic images"),
        ({"synthetic": crops(2, 2), "synthetic_fraction": 1.01}, "not between 0 and 1"),
        ({"synthetic": crops(2, 2), "synthetic_fraction": -0.1}, "not between 0 and 1"),
        ({"synthetic": crops(2, 2), "synthetic_fraction": float("nan")}, "not between 0 and 1"),
        ({"synthetic": crops(2, 2), "real": empty_crops(4)}, "needs real training images"),
        ({"synthetic": crops(2, 2, size=8)}, "synthetic crops are 8 px wide, real ones 4 px"),
        ({"mix": "both"}, "none of real, synthetic, hybrid"),
        ({"mix_mode": "swap"}, "neither add nor replace"),
    ],
)
def test_impossible_mixes_are_refused(arguments, expected):
    with pytest.raises(UserError, match=expected):
        source(**arguments)


def real_dataset() -> DataSet:
    table = pd.DataFrame(
        {"subject_id": ["a", "b", "c", "d"], "label": [0, 1, 0, 1], "split": ["train", "train", "val", "test"]}
    )
    return DataSet(Path("x"), table, {"name": "real", "preprocessing": {"crop": "square", "size": 64}})


def test_a_generator_of_training_subjects_is_allowed():
    refuse_leak({"name": "made", "generator": {"train_subjects": ["a", "b", "z"]}}, real_dataset())


@pytest.mark.parametrize(
    ("subjects", "expected"), [(["a", "c"], r"1 val subjects of real \(c\)"), (["d"], r"1 test subjects of real \(d\)")]
)
def test_a_generator_that_saw_validation_or_test_is_refused(subjects, expected):
    # another digest does not help: another fold of the same images has one
    info = {"name": "made", "generator": {"train_subjects": subjects, "data_digest": "other"}}
    with pytest.raises(UserError, match=expected):
        refuse_leak(info, real_dataset())


@pytest.mark.parametrize("info", [{"name": "made"}, {"name": "made", "generator": {"digest": "x"}}])
def test_a_generator_that_hides_its_subjects_is_refused(info):
    with pytest.raises(UserError, match="a leak cannot be excluded"):
        refuse_leak(info, real_dataset())


def test_crops_of_another_kind_are_refused():
    refuse_other_preprocessing({"preprocessing": {"crop": "square", "size": 64, "applied": True}}, real_dataset())
    with pytest.raises(UserError, match="crop 'box' against 'square'"):
        refuse_other_preprocessing({"name": "m", "preprocessing": {"crop": "box", "size": 64}}, real_dataset())
