"""Paired differences: published examples, exact enumerations by hand, and what a study must refuse."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad

from mlproject.errors import UserError
from mlproject.study.contrasts import (
    MINIMUM_SEEDS,
    SeedPair,
    detectable_difference,
    detectable_interval,
    expanded_level,
    hedges_correction,
    holm,
    nested_bootstrap,
    paired_contrast,
    power_of_t,
    sign_flip_p,
)

# hours of additional sleep under the second drug minus the first, ten patients (Student 1908, Biometrika 6:1)
SLEEP = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])


def test_student_sleep_data() -> None:
    # as published and as every textbook repeats: mean 1.58, t = 4.0621 with 9 degrees of freedom, p = 0.002833,
    # 95 % interval 0.7001 to 2.4599
    found = paired_contrast(SLEEP, 0.95)
    assert found.mean == pytest.approx(1.58)
    assert found.mean / found.sd * np.sqrt(10) == pytest.approx(4.0621, abs=5e-5)
    assert found.p_t == pytest.approx(0.002833, abs=5e-7)
    assert (found.interval.low, found.interval.high) == pytest.approx((0.7001142, 2.4598858), abs=5e-7)
    # no difference is negative and one is 0: only all signs as they are, or all turned, reach the mean, each with
    # either sign of the 0: 4 of 1024 patterns
    assert found.p_sign_flip == pytest.approx(4 / 1024)
    # d_z = 1.58 / 1.2300 = 1.2846, and with 9 degrees of freedom about 1 - 3/35 of it remains
    assert found.effect_size == pytest.approx(1.2846 * hedges_correction(9), abs=1e-4)
    assert (found.n, found.level) == (10, 0.95)


def test_sign_flips_by_hand() -> None:
    # of 1, 2, 3, -1 the sum is 5; |sum| >= 5 for the sign patterns of (1, 2, 3, 1): all plus (7), one of the ones
    # minus (5, twice), and their opposites: 6 of 16
    assert sign_flip_p(np.array([1.0, 2.0, 3.0, -1.0])) == pytest.approx(6 / 16)


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=8))
def test_sign_flips_are_the_enumeration(values) -> None:
    differences = np.array(values, dtype=float)
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product((1, -1), repeat=len(values))]
    assert sign_flip_p(differences) == pytest.approx(np.mean(np.array(sums) >= abs(differences.sum()) - 1e-9))


def test_many_seeds_draw_their_sign_flips_from_the_seed() -> None:
    differences = np.random.default_rng(0).normal(0.4, 1.0, 20)
    drawn = sign_flip_p(differences, seed=1)
    assert drawn == sign_flip_p(differences, seed=1)
    # with 20 normal differences the sign flips and t agree closely; 65,536 draws add an error of 0.001
    assert drawn == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.01)


@given(st.lists(st.floats(-1, 1), min_size=MINIMUM_SEEDS, max_size=10))
def test_a_turned_contrast_turns_its_sign_and_nothing_else(values) -> None:
    differences = np.array(values)
    forth, back = paired_contrast(differences, 0.95), paired_contrast(-differences, 0.95)
    assert back.mean == pytest.approx(-forth.mean)
    assert back.p_t == pytest.approx(forth.p_t)
    assert back.p_sign_flip == pytest.approx(forth.p_sign_flip)
    assert 0 < forth.p_sign_flip <= 1
    if np.isfinite(forth.interval.low) and forth.sd > 0:
        assert forth.interval.low == pytest.approx(-back.interval.high)
        # the interval leaves 0 out exactly when the t test says so; near the border rounding decides
        if abs(forth.p_t - 0.05) > 1e-9:
            assert (forth.interval.low > 0 or forth.interval.high < 0) == (forth.p_t < 0.05)


def test_differences_without_a_spread_claim_no_certainty() -> None:
    same = paired_contrast(np.zeros(6), 0.95)
    assert (same.interval.low, same.interval.high, same.p_t, same.effect_size) == (0, 0, 1, 0)
    constant = paired_contrast(np.full(6, 0.01), 0.95)
    assert constant.mean == pytest.approx(0.01)
    assert np.isnan([constant.interval.low, constant.interval.high, constant.effect_size]).all()
    assert constant.p_t == constant.p_sign_flip == pytest.approx(2 / 64)


def test_too_few_seeds_are_refused() -> None:
    with pytest.raises(UserError, match="5 seeds; at least 6"):
        paired_contrast(np.arange(5.0), 0.95)
    with pytest.raises(UserError, match="finite"):
        paired_contrast(np.array([0, 1, 2, 3, 4, np.nan]), 0.95)


def test_hedges_correction_by_hand() -> None:
    # m = 4: Γ(2) / (√2 Γ(3/2)) = 1 / (1.41421 · 0.886227) = 0.79788; m = 2: Γ(1) / (1 · Γ(1/2)) = 1 / √π
    assert hedges_correction(4) == pytest.approx(0.79788, abs=1e-5)
    assert hedges_correction(2) == pytest.approx(1 / np.sqrt(np.pi))
    # Hedges' own approximation
    assert hedges_correction(50) == pytest.approx(1 - 3 / 199, abs=1e-4)


def test_holm_published_example() -> None:
    # the example of the Holm-Bonferroni article in Wikipedia: 0.005 · 4, 0.01 · 3, 0.03 · 2, and 0.04 · 1 raised to
    # the 0.06 before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]).tolist() == [1, 1]
    assert holm([]).tolist() == []
    with pytest.raises(UserError, match=r"\[0, 1\]"):
        holm([0.5, float("nan")])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_the_plain_and_bonferroni_and_keeps_the_order(p) -> None:
    adjusted, plain = holm(p), np.array(p)
    assert (adjusted >= plain).all()
    assert (adjusted <= np.minimum(plain * len(p), 1) + 1e-15).all()
    assert (np.diff(adjusted[np.argsort(plain, kind="stable")]) >= 0).all()
    assert adjusted[plain.argmin()] == min(plain.min() * len(p), 1)


def test_power_against_numerical_integration() -> None:
    # t = (Z + δ) / (S / σ) with Z normal and (n-1) S²/σ² chi-squared: integrate over S, independent of scipy's nct
    n, effect, level = 8, 1.1, 0.95
    critical = stats.t.ppf(0.975, n - 1)

    def integrand(spread: float) -> float:
        density = stats.chi.pdf(spread * np.sqrt(n - 1), n - 1) * np.sqrt(n - 1)
        reach = critical * spread
        shift = effect * np.sqrt(n)
        return density * (stats.norm.sf(reach - shift) + stats.norm.cdf(-reach - shift))

    assert power_of_t(effect, 1.0, n, level) == pytest.approx(quad(integrand, 0, 8)[0], abs=1e-8)


def test_detectable_difference_of_a_published_sample_size() -> None:
    # the standard table entry: a medium effect of 0.5 standard deviations needs 34 pairs for a power of 0.8, two-sided
    # at 0.05; 33 pairs do not reach it
    assert detectable_difference(1.0, 34) < 0.5 < detectable_difference(1.0, 33)


@given(st.floats(1e-4, 10), st.integers(2, 40), st.floats(0.1, 0.99))
def test_detectable_difference_has_its_power(sd, n, power) -> None:
    assert power_of_t(detectable_difference(sd, n, power), sd, n, 0.95) == pytest.approx(power, abs=1e-6)


def test_detectable_difference_scales_and_its_interval_holds_it() -> None:
    assert detectable_difference(0.02, 8) == pytest.approx(0.02 * detectable_difference(1.0, 8))
    assert detectable_difference(0.0, 8) == 0
    found = detectable_interval(0.02, 6)
    assert found.value == detectable_difference(0.02, 6)
    # with 5 degrees of freedom the 95 % bounds of a standard deviation are 0.6242 and 2.4526 times it:
    # sqrt(5 / 12.8325) and sqrt(5 / 0.83121)
    assert found.low / found.value == pytest.approx(0.62421, abs=1e-5)
    assert found.high / found.value == pytest.approx(2.45262, abs=1e-4)
    for wrong in ({"n": 1}, {"power": 0.01}, {"power": 1.0}, {"sd_of_differences": -1.0}):
        with pytest.raises(UserError, match="detectable difference"):
            detectable_difference(**{"sd_of_differences": 1.0, "n": 8, **wrong})


LABELS = np.array([0, 1] * 10)


def sure_pair(better: bool, name: str) -> SeedPair:
    """A seed whose difference no draw of subjects changes: a perfect arm, or a constant one, against a constant one."""
    constant = np.full(20, 0.5)
    subjects = np.array([f"{name}-{number}" for number in range(20)])
    return SeedPair(LABELS, subjects, constant, np.where(LABELS == 1, 0.9, 0.1) if better else constant)


def test_nested_bootstrap_draws_seeds_as_by_hand() -> None:
    # 3 of 8 seeds differ by 0.5 in the AUC and 5 by 0, whatever the subjects: a draw's mean is 0.5/8 times a
    # binomial count of 8 with 3/8
    pairs = [sure_pair(number < 3, str(number)) for number in range(8)]
    found = nested_bootstrap(pairs, "auc", 20_000, 0.9, seed=0)
    assert found.value == pytest.approx(0.5 * 3 / 8)
    # t of 7 degrees of freedom at 95 % is 1.8946, times √(8/7) is 2.0254, beyond which lie 2.14 % of a normal
    expected = stats.binom.ppf([0.0214, 0.9786], 8, 3 / 8) * 0.5 / 8
    assert (found.low, found.high) == pytest.approx(tuple(expected))


def test_expanded_level() -> None:
    assert expanded_level(0.9, 8) == pytest.approx(1 - 2 * 0.0214, abs=1e-4)
    # with many units t is normal and nothing is left to make up for
    assert expanded_level(0.95, 10_000) == pytest.approx(0.95, abs=1e-4)


def noisy_pairs(shared: bool) -> list[SeedPair]:
    """Eight seeds with the same predictions, on the same subjects or on subjects of their own."""
    generator = np.random.default_rng(3)
    score = generator.normal(size=200)
    labels = np.arange(200) % 2
    first = 1 / (1 + np.exp(-(score + labels)))
    second = 1 / (1 + np.exp(-(0.5 * score + labels + 0.5 * generator.normal(size=200))))
    return [
        SeedPair(labels, np.array([f"{0 if shared else seed}-{number}" for number in range(200)]), first, second)
        for seed in range(8)
    ]


def test_seeds_on_the_same_test_subjects_do_not_average_their_chance_away() -> None:
    own, shared = (nested_bootstrap(noisy_pairs(kind), "auc", 800, 0.95, seed=1) for kind in (False, True))
    # equal differences in every seed leave the subjects as the only chance: eight test sets average it by √8
    assert (shared.high - shared.low) / (own.high - own.low) == pytest.approx(np.sqrt(8), rel=0.15)
    assert own.value == pytest.approx(shared.value)
    assert nested_bootstrap(noisy_pairs(True), "auc", 800, 0.95, seed=1) == shared
    assert nested_bootstrap(noisy_pairs(True), "auc", 800, 0.95, seed=2) != shared


def test_nested_bootstrap_refuses_few_seeds_and_unknown_metrics() -> None:
    pairs = [sure_pair(True, str(number)) for number in range(8)]
    with pytest.raises(UserError, match="7 seeds; at least 8"):
        nested_bootstrap(pairs[:7], "auc", 100, 0.95, seed=0)
    with pytest.raises(UserError, match="unknown metric 'roc'"):
        nested_bootstrap(pairs, "roc", 100, 0.95, seed=0)
    # a perfect arm against a constant 0.5: its recall stays 1 against 1, its specificity rises by 1
    assert nested_bootstrap(pairs, "specificity", 100, 0.95, seed=0).value == 1
    assert nested_bootstrap(pairs, "recall", 100, 0.95, seed=0).value == 0
