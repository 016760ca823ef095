"""Filling up the smaller class: the counts by hand, the shares of batches, and mixes that it does not go with."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlproject.config import load_config
from mlproject.data.balance import balanced, filled_with_synthetic, repeated_to_balance
from mlproject.data.crops import Crops
from mlproject.data.mix import MixedSource
from mlproject.errors import UserError


def crops(normal: int, anomalous: int) -> Crops:
    labels = np.array([0] * normal + [1] * anomalous, dtype=np.int64)
    n = len(labels)
    names = np.array([f"s{number}" for number in range(n)], dtype=str)
    images = np.broadcast_to((np.arange(n) % 256).astype(np.uint8)[:, None, None], (n, 4, 4)).copy()
    return Crops(images, labels, names, names, names, np.full((n, 4), np.nan, np.float32))


def test_repetition_by_hand() -> None:
    # 7 normal, 3 anomalous: 4 more, the three in turn and the first again
    filled = repeated_to_balance(crops(7, 3))
    assert filled.subjects[10:].tolist() == ["s7", "s8", "s9", "s7"]
    assert filled.labels.mean() == 0.5
    assert len(repeated_to_balance(crops(4, 4))) == 8
    assert repeated_to_balance(crops(2, 5)).labels.tolist().count(0) == 5


@given(st.integers(1, 40), st.integers(1, 40))
def test_both_ways_make_the_classes_equal(normal, anomalous) -> None:
    real, pool = crops(normal, anomalous), crops(20, 20)
    assert repeated_to_balance(real).labels.mean() == 0.5
    synthetic, share = filled_with_synthetic(real, pool)
    assert 0 <= share < 0.5
    mixed = MixedSource(
        real, synthetic, mix="hybrid", synthetic_fraction=share, mix_mode="add", batch_size=8, seed=0
    )  # fmt: skip
    assert mixed.label_shares() == pytest.approx((0.5, 0.5))
    assert set(synthetic.labels.tolist()) == {0 if normal < anomalous else 1}


def settings(**changes):
    return dataclasses.replace(load_config().classifier, **changes)


def test_settings_say_which_way() -> None:
    real, pool = crops(8, 2), crops(5, 5)
    plain = settings()
    assert balanced(real, None, plain) == (real, None, plain)
    used, synthetic, same = balanced(real, None, settings(oversample="real"))
    assert (len(used), synthetic, same.synthetic_fraction) == (16, None, plain.synthetic_fraction)
    used, synthetic, filled = balanced(real, pool, settings(mix="hybrid", oversample="synthetic"))
    # 6 missing of 8: 6/16 of a batch
    assert (used, len(synthetic), filled.synthetic_fraction) == (real, 5, 0.375)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"oversample": "real", "mix": "hybrid"}, "goes with mix=real"),
        ({"oversample": "synthetic", "mix": "real"}, "goes with mix=hybrid and mix_mode=add"),
        ({"oversample": "synthetic", "mix": "hybrid", "mix_mode": "replace"}, "mix_mode=add"),
    ],
)
def test_a_mix_that_it_does_not_go_with_is_refused(changes, words) -> None:
    with pytest.raises(UserError, match=words):
        balanced(crops(8, 2), crops(5, 5), settings(**changes))


def test_a_class_without_images_is_refused() -> None:
    with pytest.raises(UserError, match="8 normal and 0 anomalous"):
        repeated_to_balance(crops(8, 0))
    with pytest.raises(UserError, match="hold none of the smaller class"):
        filled_with_synthetic(crops(8, 2), crops(5, 0))
