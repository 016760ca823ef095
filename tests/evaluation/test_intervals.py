"""Intervals: the weighted forms against scikit-learn, the score intervals by hand, coverage by simulation."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from mlproject.errors import UserError
from mlproject.evaluation.intervals import (
    Interval,
    auc_interval,
    auc_score_interval,
    bootstrap_intervals,
    bootstrap_weights,
    weighted_auc,
    weighted_metrics,
    wilson_interval,
)
from mlproject.evaluation.metrics import METRICS, binary_metrics


def example(subjects: int = 60, frames: int = 3, seed: int = 0, separation: float = 1.0, subject_effect: float = 1.0):
    """Labels, probabilities and subjects of a classifier whose errors are shared by the frames of a subject."""
    generator = np.random.default_rng(seed)
    owner = np.repeat(np.arange(subjects), frames)
    labels = owner % 2
    score = separation * (2 * labels - 1) + subject_effect * generator.normal(size=subjects)[owner]
    score = score + 0.5 * generator.normal(size=len(owner))
    return labels, 1 / (1 + np.exp(-score)), owner.astype(str)


def test_wilson_by_hand():
    # 50 of 50: the lower bound is n / (n + z²) = 50 / 53.8415
    found = wilson_interval(50, 50, 0.95)
    assert found.value == found.high == 1
    assert found.low == pytest.approx(50 / (50 + 1.959964**2), abs=1e-6)
    assert wilson_interval(0, 0, 0.95) == Interval(0.0, 0.0, 1.0)


def test_auc_score_interval_by_hand():
    # An AUC of 1 from 2 positives and 2 negatives: N* = 1, so the spread is 1 + (1-t)/(2-t) + t/(1+t) and the lower
    # bound solves (1-t)² = z² t(1-t) spread / 4, that is (1-t)·4 = z² t·spread. At z² = 1 (level 0.6827), t = 0.6893:
    # left 1.2428; spread 1 + 0.3107/1.3107 + 0.6893/1.6893 = 1.6451, right 0.6893·1.6451 = 1.1340. Not yet equal;
    # t = 0.7061: left 1.1756, spread 1 + 0.2939/1.2939 + 0.7061/1.7061 = 1.6410, right 1.1587; t = 0.7085: 1.1660
    # against 0.7085·(1 + 0.2915/1.2915 + 0.7085/1.7085) = 1.1622; t = 0.7095: 1.1620 against 1.1637. So t ≈ 0.7092.
    found = auc_score_interval(1.0, 2, 2, 2 * norm.cdf(1) - 1)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.7092, abs=5e-4)


@given(st.floats(0, 1), st.integers(1, 200), st.integers(1, 200))
def test_auc_score_interval_is_symmetric_and_has_a_width(auc, positives, negatives):
    found = auc_score_interval(auc, positives, negatives, 0.95)
    turned = auc_score_interval(1 - auc, positives, negatives, 0.95)
    assert 0 <= found.low <= auc <= found.high <= 1
    assert found.high - found.low > 1e-4
    assert found.low == pytest.approx(1 - turned.high, abs=1e-6)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(1, 6))
def test_weighted_metrics_are_those_of_repeated_images(seed, n, levels):
    generator = np.random.default_rng(seed)
    labels = np.r_[0, 1, generator.integers(0, 2, n)]
    probabilities = generator.integers(0, levels + 1, n + 2) / levels  # few levels: many ties
    weights = np.r_[1, 1, generator.integers(0, 4, n)]  # both classes keep weight
    found = weighted_metrics(labels, probabilities, 0.5, weights[None].astype(float))
    expected = binary_metrics(labels.repeat(weights), probabilities.repeat(weights), 0.5)
    for metric in METRICS:
        assert found[metric][0] == pytest.approx(expected[metric]), metric
    sklearn_auc = roc_auc_score(labels, probabilities, sample_weight=weights)
    assert weighted_auc(labels, probabilities, weights[None].astype(float))[0] == pytest.approx(sklearn_auc)


def test_draws_keep_subjects_whole_and_strata_full():
    labels, _, subjects = example(subjects=20, frames=3)
    weights = np.concatenate(list(bootstrap_weights(labels, subjects, 50, seed=3)))
    assert weights.shape == (50, 60)
    by_subject = weights.reshape(50, 20, 3)
    assert (by_subject == by_subject[:, :, :1]).all()  # the frames of a subject come together
    assert (by_subject[:, ::2, 0].sum(axis=1) == 10).all()  # as many normal subjects as there are
    assert (by_subject[:, 1::2, 0].sum(axis=1) == 10).all()
    assert len(np.unique(weights, axis=0)) == 50


def test_draws_do_not_depend_on_the_chunk():
    labels, _, subjects = example(subjects=20)
    whole = np.concatenate(list(bootstrap_weights(labels, subjects, 37, seed=1, chunk=37)))
    parts = np.concatenate(list(bootstrap_weights(labels, subjects, 37, seed=1, chunk=5)))
    assert (whole == parts).all()


def test_subjects_with_both_labels_are_a_stratum_of_their_own():
    labels, subjects = np.array([0, 1, 0, 1, 0, 1]), np.array(["a", "a", "b", "b", "c", "d"])
    weights = np.concatenate(list(bootstrap_weights(labels, subjects, 200, seed=0)))
    assert (weights[:, 4] == 1).all()  # alone in their strata
    assert (weights[:, 5] == 1).all()
    assert (weights[:, 0] + weights[:, 2] == 2).all()


def test_bootstrap_finds_the_exact_distribution_of_a_tiny_case():
    # Two normal subjects (0.1, 0.6) and two anomalous (0.5, 0.9), one image each. The 4 x 4 ordered draws are equally
    # likely; their AUCs are worked out one by one and compared with the drawn quantiles.
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.5, 0.9])
    exact = []
    for normal in itertools.product((0.1, 0.6), repeat=2):
        for anomalous in itertools.product((0.5, 0.9), repeat=2):
            exact.append(np.mean([p > n for p in anomalous for n in normal]))
    weights = np.concatenate(list(bootstrap_weights(labels, np.arange(4), 20_000, seed=0)))
    drawn = weighted_auc(labels, scores, weights)
    for value in np.unique(exact):
        assert np.mean(drawn == value) == pytest.approx(np.mean(np.array(exact) == value), abs=0.015)


def test_more_frames_of_the_same_subjects_do_not_narrow_the_interval():
    labels, probabilities, subjects = example(frames=1)
    once = bootstrap_intervals(labels, probabilities, subjects, 0.5, 500, 0.95, seed=0)
    repeated = [array.repeat(5) for array in (labels, probabilities, subjects)]
    copied = bootstrap_intervals(*repeated, 0.5, 500, 0.95, seed=0)
    for metric in METRICS:
        assert copied[metric].low == pytest.approx(once[metric].low), metric
        assert copied[metric].high == pytest.approx(once[metric].high), metric


def test_same_seed_same_interval_other_seed_other_interval():
    data = example()
    assert bootstrap_intervals(*data, 0.5, 200, 0.95, 1) == bootstrap_intervals(*data, 0.5, 200, 0.95, 1)
    assert bootstrap_intervals(*data, 0.5, 200, 0.95, 1) != bootstrap_intervals(*data, 0.5, 200, 0.95, 2)


def test_perfect_classifier_keeps_a_width():
    # 25 subjects of each class with two images: every draw is perfect, and the bounds count subjects, not images
    labels, subjects = np.repeat([0, 1], 50), np.arange(100) // 2
    found = bootstrap_intervals(labels, labels * 0.98 + 0.01, subjects, 0.5, 200, 0.95, 0)
    assert found["recall"] == wilson_interval(25, 25, 0.95)
    assert found["specificity"] == wilson_interval(25, 25, 0.95)
    assert found["precision"] == wilson_interval(25, 25, 0.95)
    assert found["accuracy"] == wilson_interval(50, 50, 0.95)
    assert found["auc"] == auc_score_interval(1.0, 25, 25, 0.95)
    for metric in METRICS:
        assert found[metric].low < found[metric].high, metric
        assert found[metric].low <= found[metric].value <= found[metric].high, metric


def test_useless_constant_score_keeps_a_width():
    labels, subjects = np.array([0, 1] * 10), np.arange(20)
    found = bootstrap_intervals(labels, np.full(20, 0.3), subjects, 0.5, 200, 0.95, 0)
    assert found["auc"] == auc_score_interval(0.5, 10, 10, 0.95)
    assert found["precision"] == Interval(0.0, 0.0, 1.0)  # nothing was called: nothing is known of the precision


def test_a_class_of_one_subject_falls_back_on_score_intervals():
    labels, subjects = np.array([1, 1, 0, 0, 0, 0]), np.array([0, 0, 1, 2, 3, 4])
    found = bootstrap_intervals(labels, np.array([0.9, 0.5, 0.1, 0.7, 0.2, 0.3]), subjects, 0.6, 200, 0.95, 0)
    # positives 0.9 and 0.5 against 0.1, 0.7, 0.2, 0.3: 4 + 3 of 8 pairs
    assert found["auc"] == auc_score_interval(7 / 8, 1, 4, 0.95)


def test_auc_interval_depends_on_the_order_alone():
    labels, probabilities, subjects = example()
    plain = bootstrap_intervals(labels, probabilities, subjects, 0.5, 300, 0.95, 4)["auc"]
    stretched = auc_interval(labels, 1000 * probabilities - 7, subjects, 300, 0.95, 4)
    assert stretched == plain


def test_one_subject_for_each_image_is_demanded():
    with pytest.raises(UserError, match="one of each"):
        bootstrap_intervals(np.array([0, 1]), np.array([0.1, 0.9]), np.array(["a"]), 0.5, 100, 0.95, 0)


@pytest.mark.slow
def test_coverage_by_simulation():
    """95 % intervals hold the true AUC and recall in about 95 % of data sets of 50 + 50 subjects with 3 frames.

    True values are those of the same mechanism with very many subjects. The band allows for the percentile interval's
    known shortfall at this size and for the simulation's own error (300 repeats: ± 2.5 %).
    """
    labels, probabilities, _ = example(subjects=200_000, seed=99)
    truth = binary_metrics(labels, probabilities, 0.5)
    hits = dict.fromkeys(("auc", "recall", "accuracy", "brier"), 0)
    naive = 0
    repeats = 300
    for repeat in range(repeats):
        labels, probabilities, subjects = example(subjects=100, seed=1000 + repeat)
        found = bootstrap_intervals(labels, probabilities, subjects, 0.5, 400, 0.95, repeat)
        for metric in hits:
            hits[metric] += found[metric].low <= truth[metric] <= found[metric].high
        images = bootstrap_intervals(labels, probabilities, np.arange(300), 0.5, 200, 0.95, repeat)
        naive += images["auc"].low <= truth["auc"] <= images["auc"].high
    for metric, count in hits.items():
        assert 0.90 <= count / repeats <= 0.99, metric
    assert naive / repeats < 0.85  # counting images as independent is what the subjects are there to prevent


@pytest.mark.slow
def test_coverage_of_the_score_interval_near_one():
    """At an AUC of 0.98 with 15 subjects of each class, mostly perfect in the sample, coverage stays near its level."""
    shift = np.sqrt(2) * norm.ppf(0.98)
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        scores = generator.normal(np.array([[0.0], [shift]]), 1, size=(2, 15))
        auc = np.mean(scores[1][:, None] > scores[0])
        found = auc_score_interval(float(auc), 15, 15, 0.95)
        hits += found.low <= 0.98 <= found.high
    assert hits / 400 >= 0.93
