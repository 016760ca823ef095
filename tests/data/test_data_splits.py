"""Splits by subject: disjoint, complete, stratified, and decided by the seed alone."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlproject.data.manifest import DataSet
from mlproject.data.splits import (
    split_by_fold,
    split_by_fractions,
    stratified_order,
    subject_labels,
    training_subset,
)
from mlproject.errors import UserError


def cohort(normal: int, anomalous: int) -> dict[str, int]:
    return {f"s{number:03d}": int(number >= normal) for number in range(normal + anomalous)}


cohorts = st.builds(cohort, st.integers(6, 60), st.integers(6, 60))


def test_a_subject_with_one_anomalous_image_is_anomalous():
    assert subject_labels(["b", "a", "b"], [0, 0, 1]) == {"a": 0, "b": 1}


def test_fractions_by_hand():
    # of 20 normal: 5 test (0.25), 2 val (0.1); of 12 anomalous: 3 test, 1 val
    split = split_by_fractions(cohort(20, 12), 0.1, 0.25, seed=3)
    counts = pd.Series(split).groupby([cohort(20, 12), split]).size()
    assert counts[0].to_dict() == {"test": 5, "train": 13, "val": 2}
    assert counts[1].to_dict() == {"test": 3, "train": 8, "val": 1}


@given(cohorts, st.floats(0.01, 0.45), st.floats(0, 0.45), st.integers(0, 99))
def test_fractions_are_complete_and_each_part_has_both_labels(labels, val, test, seed):
    split = split_by_fractions(labels, val, test, seed)
    assert set(split) == set(labels)
    for name in ("train", "val", "test") if test > 0 else ("train", "val"):
        assert {labels[subject] for subject in split if split[subject] == name} == {0, 1}
    assert ("test" in split.values()) == (test > 0)
    shuffled = dict(reversed(labels.items()))
    assert split_by_fractions(shuffled, val, test, seed) == split


@given(cohorts, st.integers(3, 6), st.integers(0, 3), st.integers(0, 99))
def test_over_all_folds_each_subject_is_once_test_and_once_validation(labels, folds, repeat, seed):
    splits = [split_by_fold(labels, folds, fold, repeat, seed) for fold in range(folds)]
    for subject in labels:
        roles = [split[subject] for split in splits]
        assert roles.count("test") == 1
        assert roles.count("val") == 1
        # the fold after test is validation
        assert (roles.index("test") - roles.index("val")) % folds == 1
    for split in splits:
        for label in (0, 1):
            members = [subject for subject in labels if labels[subject] == label]
            n_test = sum(split[subject] == "test" for subject in members)
            assert abs(n_test - len(members) / folds) < 1


def test_repeats_and_seeds_reshuffle():
    labels = cohort(30, 30)
    assert split_by_fold(labels, 5, 0, 0, 1) == split_by_fold(labels, 5, 0, 0, 1)
    assert split_by_fold(labels, 5, 0, 0, 1) != split_by_fold(labels, 5, 0, 1, 1)
    assert split_by_fold(labels, 5, 0, 0, 1) != split_by_fold(labels, 5, 0, 0, 2)
    assert split_by_fractions(labels, 0.2, 0.2, 1) != split_by_fractions(labels, 0.2, 0.2, 2)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: split_by_fractions(cohort(20, 2), 0.2, 0.2, 0), "at least 3 anomalous subjects, there are 2"),
        (lambda: split_by_fractions(cohort(20, 20), 0.5, 0.5, 0), "leave nothing for training"),
        (lambda: split_by_fold(cohort(4, 20), 5, 0, 0, 0), "at least 5 normal subjects, there are 4"),
        (lambda: split_by_fold(cohort(9, 9), 5, 5, 0, 0), "fold 5 of 5"),
        (lambda: split_by_fold(cohort(9, 9), 2, 0, 0, 0), "at least 3 folds"),
    ],
)
def test_impossible_splits_are_refused(call, expected):
    with pytest.raises(UserError, match=expected):
        call()


@given(cohorts, st.integers(0, 99))
def test_every_beginning_of_the_order_keeps_the_label_shares(labels, seed):
    order = stratified_order(labels, seed)
    assert sorted(order) == sorted(labels)
    share = np.mean(list(labels.values()))
    anomalous = np.cumsum([labels[subject] for subject in order])
    n = np.arange(1, len(order) + 1)
    assert (np.abs(anomalous - n * share) <= 1).all()
    assert 0 < anomalous[1] < 2


def dataset(labels: dict[str, int]) -> DataSet:
    rows = [(subject, label, split) for subject, label in labels.items() for split in ("train",) * 2]
    rows += [("other", 1, "test")]
    return DataSet(Path("x"), pd.DataFrame(rows, columns=["subject_id", "label", "split"]), {"name": "x"})


def test_training_subsets_are_nested_and_of_training_subjects():
    data = dataset(cohort(30, 10))
    whole = set(training_subset(data, 0, 5))
    assert whole == set(cohort(30, 10))
    before: set[str] = set()
    for n in (2, 3, 10, 39, 40):
        subset = training_subset(data, n, 5)
        assert len(subset) == n
        assert subset == sorted(subset)
        assert before < set(subset) <= whole
        before = set(subset)
    assert training_subset(data, 10, 5) != training_subset(data, 10, 6)


@pytest.mark.parametrize("n", [1, 41, -1])
def test_subsets_that_cannot_be_are_refused(n):
    with pytest.raises(UserError, match="has 40"):
        training_subset(dataset(cohort(30, 10)), n, 0)


def test_an_imposed_imbalance_leaves_out_anomalous_subjects_alone():
    labels = cohort(100, 100)
    data = dataset(labels)
    # 50 of each in the first 100; 0.15 / 0.85 x 50 = 8.8 anomalous remain, which is 9 of 59
    whole, subset = training_subset(data, 100, 5), training_subset(data, 100, 5, 0.15)
    assert sum(labels[subject] for subject in subset) == 9
    assert len(subset) == 59
    assert set(subset) < set(whole)
    assert {subject for subject in whole if not labels[subject]} < set(subset)
    # a share above the data's own leaves out none, and one anomalous subject always remains
    assert training_subset(dataset(cohort(30, 3)), 0, 5, 0.4) == training_subset(dataset(cohort(30, 3)), 0, 5)
    assert sum(labels[subject] for subject in training_subset(data, 4, 5, 0.01)) == 1


@given(st.integers(2, 40), st.integers(2, 40), st.floats(0.01, 0.5), st.floats(0.01, 0.5), st.integers(0, 9))
def test_imbalanced_subsets_are_nested_in_number_and_share(first, second, one, other, seed):
    data = dataset(cohort(25, 15))
    small, large = sorted((first, second))
    low, high = sorted((one, other))
    assert set(training_subset(data, small, seed, low)) <= set(training_subset(data, large, seed, low))
    assert set(training_subset(data, large, seed, low)) <= set(training_subset(data, large, seed, high))
