"""Net benefit and predictive values: worked by hand, against counts, and by Bayes from a table."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logit

from mlproject.errors import UserError
from mlproject.evaluation.decision_curve import at_prevalence, decision_curve, net_benefit, predictive_values

LABELS = np.array([1, 1, 0, 1, 0, 0, 0, 0, 0, 0])
PROBABILITIES = np.array([0.9, 0.6, 0.55, 0.3, 0.25, 0.2, 0.1, 0.1, 0.05, 0.02])


def curve(thresholds, **changes):
    return decision_curve(LABELS, PROBABILITIES, np.arange(10), 200, 0.95, 0, thresholds=thresholds, **changes)


def test_net_benefit_by_hand() -> None:
    found = curve([0.2, 0.5])
    # at 0.2: called 0.9 to 0.2, 3 true and 3 false: 0.3 - 0.3 · 0.2/0.8 = 0.225; at 0.5: 2 true, 1 false: 0.2 - 0.1
    assert found.net_benefit == pytest.approx([0.225, 0.1])
    # calling all: 0.3 - 0.7 · 0.25 = 0.125, and 0.3 - 0.7 = -0.4
    assert found.treat_all == pytest.approx([0.125, -0.4])
    assert found.prevalence == pytest.approx(0.3)
    assert (found.low <= found.net_benefit).all()
    assert (found.net_benefit <= found.high).all()


@given(st.integers(0, 10_000), st.floats(0.02, 0.98))
def test_net_benefit_is_the_count_of_vickers_and_elkin(seed, threshold) -> None:
    generator = np.random.default_rng(seed)
    labels = np.r_[0, 1, generator.integers(0, 2, 30)]
    probabilities = generator.random(32)
    found = decision_curve(labels, probabilities, np.arange(32), 100, 0.95, 0, thresholds=[threshold])
    called = probabilities >= threshold
    true, false = (called & (labels == 1)).sum() / 32, (called & (labels == 0)).sum() / 32
    assert found.net_benefit[0] == pytest.approx(true - false * threshold / (1 - threshold))


def test_a_perfect_classifier_is_worth_the_prevalence_and_an_empty_one_as_much_as_calling_all() -> None:
    labels, subjects = np.array([0, 1] * 20), np.arange(40)
    perfect = decision_curve(labels, 0.98 * labels + 0.01, subjects, 100, 0.95, 0, thresholds=[0.1, 0.5, 0.9])
    assert perfect.net_benefit == pytest.approx([0.5] * 3)
    constant = decision_curve(labels, np.full(40, 0.5), subjects, 100, 0.95, 0)
    below = constant.thresholds <= 0.5
    assert constant.net_benefit[below] == pytest.approx(constant.treat_all[below])
    assert constant.net_benefit[~below] == pytest.approx(0)
    assert len(constant.thresholds) == 99


def test_another_prevalence_by_hand() -> None:
    # π = 0.03, threshold 0.05. The log odds move by logit(0.03) - logit(0.3), that is the odds by
    # (3/97) / (3/7) = 7/97: odds 9 become 0.649 (0.394), 1.5 → 0.108 (0.0977), 1.222 → 0.0882 (0.0811),
    # 0.4286 → 0.0309 (0.0300): three rows reach 0.05, two of them anomalous: sensitivity 2/3, false alarms 1/7
    found = curve([0.05], prevalence=0.03)
    assert found.net_benefit[0] == pytest.approx(0.03 * 2 / 3 - 0.97 / 7 * 0.05 / 0.95)
    assert found.treat_all[0] == pytest.approx(0.03 - 0.97 * 0.05 / 0.95)
    assert found.prevalence == 0.03
    assert net_benefit(LABELS, PROBABILITIES, np.array([0.05]), 0.03) == pytest.approx(found.net_benefit)


def test_the_own_prevalence_changes_nothing() -> None:
    # thresholds that are no row's probability, so that rounding moves nobody across
    thresholds = [0.015, 0.085, 0.225, 0.4, 0.7, 0.95]
    plain, stated = curve(thresholds), curve(thresholds, prevalence=0.3)
    assert stated.net_benefit == pytest.approx(plain.net_benefit)


@given(st.floats(0.001, 0.999), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_probabilities_move_by_bayes_and_back(probability, sample, prevalence) -> None:
    moved = at_prevalence(np.array([probability]), sample, prevalence)
    # the likelihood ratio p/(1-p) · (1-π)/π of the image stays what it was
    ratio = [logit(p) - logit(share) for p, share in ((probability, sample), (moved[0], prevalence))]
    assert ratio[0] == pytest.approx(ratio[1], abs=1e-6)
    assert at_prevalence(moved, prevalence, sample)[0] == pytest.approx(probability, rel=1e-5, abs=1e-5)


def test_predictive_values_by_a_table() -> None:
    # 90 of 100 and 160 of 200 at a prevalence of 1 %: of 10,000 subjects 100 are anomalous, 90 of them called, and
    # of 9,900 normal ones 1,980; so 90 of 2,070 called are anomalous, and 7,920 of 7,930 others are normal
    found = predictive_values(90, 100, 160, 200, 0.01, 0.95)
    assert found["ppv"].value == pytest.approx(90 / 2070)
    assert found["npv"].value == pytest.approx(7920 / 7930)
    # logit(PPV) = log(90/1980) = -3.0910; variance 10/(90·100)... (1-se)/(se n) = 0.1/90, sp/((1-sp) n) = 0.8/40
    spread = np.sqrt(0.1 / 90 + 0.8 / 40)
    centre = np.log(90 / 1980)
    assert logit(found["ppv"].low) == pytest.approx(centre - 1.959964 * spread)
    assert logit(found["ppv"].high) == pytest.approx(centre + 1.959964 * spread)
    # of NPV: se/((1-se) n) = 0.9/10, (1-sp)/(sp n) = 0.2/160
    assert logit(found["npv"].high) == pytest.approx(np.log(7920 / 10) + 1.959964 * np.sqrt(0.09 + 0.00125))


def test_apolipoprotein_example() -> None:
    # table VIII of Mercaldo et al. 2007, a case-control study: the e4 allele in 240 of 418 patients, missing in 288 of
    # 375 controls, at a prevalence of 3 %: PPV 0.03 · 0.57416 / (0.03 · 0.57416 + 0.97 · 0.232) = 0.0711
    found = predictive_values(240, 418, 288, 375, 0.03, 0.95)
    assert found["ppv"].value == pytest.approx(0.0711, abs=5e-5)
    assert found["npv"].value == pytest.approx(0.9831, abs=5e-5)


@pytest.mark.parametrize(
    "counts", [(10, 10, 20, 20), (0, 10, 20, 20), (10, 10, 0, 20), (0, 10, 0, 20), (5, 10, 20, 20)]
)
def test_empty_cells_keep_a_width_and_hold_the_value(counts) -> None:
    for interval in predictive_values(*counts, 0.01, 0.95).values():
        assert 0 <= interval.low <= interval.value <= interval.high <= 1
        assert interval.high - interval.low > 1e-4


def test_coverage_of_predictive_values() -> None:
    """Of 4,000 samples of 50 + 100 subjects, about 95 % of the intervals hold the true values."""
    generator = np.random.default_rng(0)
    sensitivity, specificity, prevalence = 0.8, 0.9, 0.02
    called = sensitivity * prevalence + (1 - specificity) * (1 - prevalence)
    truth = {
        "ppv": sensitivity * prevalence / called,
        "npv": specificity * (1 - prevalence) / (1 - called),
    }
    hits = dict.fromkeys(truth, 0)
    for hit, quiet in zip(generator.binomial(50, 0.8, 4000), generator.binomial(100, 0.9, 4000), strict=True):
        for name, interval in predictive_values(int(hit), 50, int(quiet), 100, prevalence, 0.95).items():
            hits[name] += interval.low <= truth[name] <= interval.high
    for name, count in hits.items():
        # the error of the simulation is ± 0.7 %
        assert 0.94 <= count / 4000 <= 0.975, name


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: curve([0.0]), "between 0 and 1"),
        (lambda: curve([]), "between 0 and 1"),
        (lambda: curve([0.5], prevalence=1.0), "prevalence 1.0"),
        (lambda: predictive_values(11, 10, 5, 10, 0.1, 0.95), "within their classes"),
        (lambda: predictive_values(0, 0, 5, 10, 0.1, 0.95), "at least one subject"),
        (lambda: predictive_values(1, 2, 5, 10, 0.0, 0.95), "prevalence 0.0"),
    ],
)
def test_mistakes_are_told(call, message) -> None:
    with pytest.raises(UserError, match=message):
        call()
