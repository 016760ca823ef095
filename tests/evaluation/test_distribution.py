"""KID, Fréchet distance and precision to coverage against naive loops, closed forms and layouts worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlproject.errors import UserError
from mlproject.evaluation.distribution import (
    frechet_distance,
    frechet_from_moments,
    kernel_distance,
    precision_recall_density_coverage,
    real_halves,
    real_or_synthetic_auc,
)

OPTIONS = {"level": 0.95, "seed": 0}


def normal(n: int, d: int, seed: int, mean: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1, size=(n, d))


def naive_kid(x: np.ndarray, y: np.ndarray) -> float:
    """Equation (3) of Gretton et al. 2012, term by term."""

    def k(a, b):
        return (float(a @ b) / len(a) + 1) ** 3

    m, n = len(x), len(y)
    within_x = sum(k(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    within_y = sum(k(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return within_x + within_y - 2 * sum(k(a, b) for a in x for b in y) / (m * n)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(4, 12), st.integers(4, 12), st.integers(1, 5))
def test_kid_is_the_double_loop(seed, m, n, d):
    x, y = normal(m, d, seed), normal(n, d, seed + 1, 0.5)
    found = kernel_distance(x, y, minimum_n=2, halves=4, **OPTIONS)
    assert found.value == pytest.approx(naive_kid(x, y), rel=1e-9, abs=1e-9)


def test_kid_by_hand():
    # d = 1, k(a, b) = (ab + 1)³. x holds zeros: every k is 1. y holds ones: k within is 8, across 1: 1 + 8 - 2 = 7.
    found = kernel_distance(np.zeros((4, 1)), np.ones((4, 1)), minimum_n=2, halves=4, **OPTIONS)
    assert found.value == pytest.approx(7)


def test_kid_interval_covers_the_truth():
    # of N(0, 1) and N(0.5, 1) in one dimension. E k(a, b) over independent a, b with means p, q and second and third
    # moments: E(ab+1)³ = E a³ E b³ + 3 E a² E b² + 3 E a E b + 1. N(0, 1): 0, 1, 0. N(.5, 1): E = .5, E² = 1.25,
    # E³ = .125 + 1.5 = 1.625. within x: 3 + 1 = 4; within y: 2.640625 + 4.6875 + .75 + 1 = 9.078125; across: 3.75 + 1.
    truth = 4 + 9.078125 - 2 * 4.75
    hits = 0
    for seed in range(60):
        found = kernel_distance(normal(150, 1, 2 * seed), normal(150, 1, 2 * seed + 1, 0.5), level=0.95, seed=seed)
        hits += found.low <= truth <= found.high
    assert 50 <= hits <= 60


def test_kid_halves_of_whole_subjects_are_wider():
    subjects = np.repeat(np.arange(40), 5)
    real = normal(40, 3, 0)[subjects] + 0.05 * normal(200, 3, 1)
    by_image = kernel_distance(real, normal(2000, 3, 2, 1.0), **OPTIONS)
    by_subject = kernel_distance(real, normal(2000, 3, 2, 1.0), real_subjects=subjects, **OPTIONS)
    assert by_subject.value == by_image.value
    assert by_subject.high - by_subject.low > 1.3 * (by_image.high - by_image.low)


def test_frechet_closed_forms():
    # commuting covariances: |μ|² + Σ (σ₁ - σ₂)², here 9 + 16 + (1 - 2)² + (3 - 1)² = 30
    found = frechet_from_moments(np.zeros(2), np.diag([1.0, 9.0]), np.array([3.0, 4.0]), np.diag([4.0, 1.0]))
    assert found == pytest.approx(30)
    # not commuting: A = [[2, 1], [1, 2]], B = diag(1, 4). For 2 x 2 matrices tr √(AB) = √(tr AB + 2 √det AB)
    # = √(2 + 8 + 2 √(3 · 4)); tr A + tr B = 9.
    found = frechet_from_moments(np.zeros(2), np.array([[2.0, 1.0], [1.0, 2.0]]), np.zeros(2), np.diag([1.0, 4.0]))
    assert found == pytest.approx(9 - 2 * np.sqrt(10 + 2 * np.sqrt(12)))


def test_frechet_of_samples_and_of_a_set_with_itself():
    real = normal(4000, 3, 0)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(real, 2 * normal(4000, 3, 1) + 1) == pytest.approx(3 * (1 + 1), rel=0.1)
    # a shift changes nothing but the means
    assert frechet_distance(real, real + 2) == pytest.approx(12)


def test_frechet_refuses_as_few_images_as_features():
    with pytest.raises(UserError, match=r"64 real images; at least 65"):
        frechet_distance(normal(64, 64, 0), normal(100, 64, 1))


def test_prdc_on_a_line():
    # k = 1. Real 0, 1, 3: nearest others at 1, 1, 2, so the balls are (-1, 1), (0, 2), (1, 5).
    # Synthetic 0.5, 4, 10: nearest others at 3.5, 3.5, 6, so the balls are (-3, 4), (0.5, 7.5), (4, 16).
    # 0.5 is in balls 1 and 2; 4 in ball 3; 10 in none: precision 2/3, density (2 + 1 + 0) / (1 · 3) = 1.
    # All three real balls hold a synthetic image: coverage 1. 0, 1, 3 are in the first synthetic ball: recall 1.
    real, synthetic = np.array([[0.0], [1.0], [3.0]]), np.array([[0.5], [4.0], [10.0]])
    found = precision_recall_density_coverage(real, synthetic, neighbours=1, minimum_n=3, **OPTIONS)
    assert {name: interval.value for name, interval in found.items()} == pytest.approx(
        {"precision": 2 / 3, "density": 1.0, "coverage": 1.0, "recall": 1.0}
    )
    # far away: nothing is anywhere, and recall and precision exchange their parts when the sets do
    far = precision_recall_density_coverage(real, synthetic + 100, neighbours=1, minimum_n=3, **OPTIONS)
    assert [interval.value for interval in far.values()] == [0, 0, 0, 0]
    turned = precision_recall_density_coverage(synthetic, real, neighbours=1, minimum_n=3, **OPTIONS)
    assert turned["precision"].value == 1.0
    assert turned["recall"].value == pytest.approx(2 / 3)


def test_prdc_tells_few_modes_from_noise():
    real = normal(300, 4, 0)
    same = precision_recall_density_coverage(real, normal(300, 4, 1), **OPTIONS)
    modes = normal(3, 4, 2)[np.arange(300) % 3] * 0.5 + 0.01 * normal(300, 4, 3)
    collapsed = precision_recall_density_coverage(real, modes, **OPTIONS)
    assert same["coverage"].value > 0.9
    assert same["density"].low < 1 < same["density"].high
    assert collapsed["precision"].value == 1
    assert collapsed["coverage"].value < 0.3
    assert collapsed["recall"].value < 0.1


def test_discriminator_is_at_chance_on_the_same_and_sure_on_another_distribution():
    subjects = np.arange(200) // 2
    options = {"draws": 200, **OPTIONS}
    same = real_or_synthetic_auc(normal(200, 5, 0), subjects, normal(200, 5, 1), **options)
    other = real_or_synthetic_auc(normal(200, 5, 0), subjects, normal(200, 5, 1, 2.0), **options)
    assert same.low < 0.55
    assert other.low > 0.95


def test_real_halves_keep_subjects_apart_and_have_one_size():
    subjects = np.repeat(np.arange(100), 3)
    pairs = real_halves(subjects, 60, repeats=4, seed=0)
    assert [(len(first), len(second)) for first, second in pairs] == [(60, 60)] * 4
    assert all(not set(subjects[first]) & set(subjects[second]) for first, second in pairs)
    assert len({tuple(first) for first, _ in pairs}) == 4
    # half of 100 subjects have 150 images
    assert len(real_halves(subjects, 1000, repeats=1, seed=0)[0][0]) == 150


def test_few_images_are_refused_everywhere():
    few, many = normal(49, 2, 0), normal(60, 2, 1)
    for figure in (kernel_distance, precision_recall_density_coverage):
        with pytest.raises(UserError, match="49 real images; at least 50"):
            figure(few, many, **OPTIONS)
    with pytest.raises(UserError, match="49 synthetic images; at least 50"):
        frechet_distance(many, few)
    with pytest.raises(UserError, match="49 synthetic"):
        real_or_synthetic_auc(many, np.arange(60), few, draws=100, **OPTIONS)
    with pytest.raises(UserError, match="would hold 30 of 60"):
        real_halves(np.arange(60), 60, repeats=1, seed=0)
    with pytest.raises(UserError, match="equal width"):
        kernel_distance(many, normal(60, 3, 0), **OPTIONS)
    with pytest.raises(UserError, match="fewer than 4 real subjects"):
        kernel_distance(many, many, real_subjects=np.arange(60) % 3, **OPTIONS)
    with pytest.raises(UserError, match="not all finite"):
        kernel_distance(many, np.where(many > 2, np.nan, many), **OPTIONS)
