"""Paired differences over seeds: is there one, how large, and what could have been seen.

A seed draws its own subjects, generator and classifier, and every arm of that seed shares them. So the seeds are the
independent units, and two arms are compared by their difference within each seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from scipy.special import gammaln

from mlproject.errors import UserError
from mlproject.evaluation.intervals import Interval, bootstrap_weights, percentile_bounds, weighted_metrics
from mlproject.evaluation.metrics import METRICS, check_predictions

# with 5 seeds the smallest two-sided p of a sign flip is 2 / 2^5 = 0.0625: no result could reach 0.05
MINIMUM_SEEDS = 6
# a bootstrap of fewer seeds draws too few distinct ones for its tails
MINIMUM_SEEDS_OF_BOOTSTRAP = 8
# up to 2^16 = 65,536 sign patterns are enumerated, beyond that as many are drawn
_EXACT_SEEDS = 16
# scores are proportions near 1: differences that agree to this are one value with rounding
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Contrast:
    """The mean difference of two arms over seeds.

    `interval` is the mean with its t interval, `sd` the standard deviation of the differences (n - 1). `effect_size`
    is Cohen's d_z, mean / sd, times Hedges' correction of its bias in small samples. When every difference is the
    same number other than 0, a spread is not known: bounds and effect size are NaN and `p_t` is the sign flip's.
    """

    interval: Interval
    sd: float
    p_t: float
    p_sign_flip: float
    effect_size: float
    n: int
    level: float

    @property
    def mean(self) -> float:
        """The mean difference."""
        return self.interval.value


def hedges_correction(degrees_of_freedom: int) -> float:
    """Factor that makes a standardised mean unbiased: Γ(m/2) / (√(m/2) Γ((m-1)/2)) (Hedges 1981, J Educ Stat 6:107).

    It is 0.7979 at m = 4, 0.9523 at m = 16 and nears 1 - 3 / (4 m - 1).
    """
    half = degrees_of_freedom / 2
    return float(np.exp(gammaln(half) - np.log(half) / 2 - gammaln(half - 0.5)))


def sign_flip_p(differences: np.ndarray, seed: int = 0) -> float:
    """Two-sided p of the mean under flips of each sign: under no difference, d and -d are equally likely.

    Every one of the 2^n patterns is counted up to n = 16; beyond, as many are drawn from `seed`. At least 2 of them.
    """
    found = stats.permutation_test(
        (np.asarray(differences, dtype=np.float64),),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**_EXACT_SEEDS,
        batch=2**14,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def paired_contrast(differences: np.ndarray, level: float) -> Contrast:
    """The differences of two arms, one for each seed, as a mean with everything that is said of it.

    Args:
        differences: arm minus reference in each seed, [seeds].
        level: confidence level of the t interval, such as 0.95.

    Raises:
        UserError: fewer than 6 seeds, or a difference that is not finite.
    """
    differences = np.asarray(differences, dtype=np.float64)
    n = len(differences)
    if n < MINIMUM_SEEDS:
        raise UserError(
            f"paired contrast: {n} seeds; at least {MINIMUM_SEEDS} are needed, since fewer cannot reach p = 0.05 by "
            "sign flips; run more seeds"
        )
    if not np.isfinite(differences).all():
        raise UserError(f"paired contrast: differences {differences.tolist()}; expected finite numbers")
    mean, sd = float(differences.mean()), float(differences.std(ddof=1))
    flip = sign_flip_p(differences)
    if np.ptp(differences) < _ROUNDING:
        bounds = Interval(mean, mean, mean) if abs(mean) < _ROUNDING else Interval(mean, np.nan, np.nan)
        return Contrast(bounds, 0.0, flip, flip, 0.0 if abs(mean) < _ROUNDING else np.nan, n, level)
    found = stats.ttest_1samp(differences, 0.0)
    low, high = found.confidence_interval(level)
    effect = mean / sd * hedges_correction(n - 1)
    return Contrast(Interval(mean, float(low), float(high)), sd, float(found.pvalue), flip, effect, n, level)


def over_seeds(values: Sequence[float] | np.ndarray, level: float, share: bool = False) -> Interval:
    """The mean with its t interval over seeds; NaN bounds with one seed. Bounds of a share are cut at 0 and 1."""
    values = np.asarray(values, dtype=np.float64)
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, np.nan, np.nan)
    half = float(stats.t.ppf(0.5 + level / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    low, high = mean - half, mean + half
    return Interval(mean, max(0.0, low), min(1.0, high)) if share else Interval(mean, low, high)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's step-down adjusted p values (Holm 1979, Scand J Stat 6:65), in the order given.

    The smallest of k is multiplied by k, the next by k - 1 and so on; none falls below the one before it, and none
    exceeds 1. Rejecting those below 0.05 keeps the chance of any false one at 0.05, whatever their dependence.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not np.all((p >= 0) & (p <= 1)):
        raise UserError(f"Holm: p values {p.tolist()}; expected numbers in [0, 1]")
    order = np.argsort(p, kind="stable")
    stepped = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    adjusted = np.empty_like(p)
    adjusted[order] = stepped
    return adjusted


def power_of_t(difference: float, sd: float, n: int, level: float) -> float:
    """Chance that a two-sided paired t test at 1 - level finds a true mean `difference` (noncentral t)."""
    critical = stats.t.ppf(0.5 + level / 2, n - 1)
    shift = abs(difference) / sd * np.sqrt(n)
    return float(stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift))


def detectable_difference(sd_of_differences: float, n: int, power: float = 0.8, level: float = 0.95) -> float:
    """The smallest true mean difference that a two-sided paired t test over `n` seeds finds with this power.

    The noncentrality is difference / sd * √n (Cohen 1988, chapter 2). 0 when the differences do not vary.

    Raises:
        UserError: fewer than 2 seeds, a negative spread, or a power outside (1 - level, 1).
    """
    if n < 2 or not sd_of_differences >= 0 or not 1 - level < power < 1:
        raise UserError(
            f"detectable difference: sd {sd_of_differences}, {n} seeds, power {power}, level {level}; expected an sd "
            f"of at least 0, at least 2 seeds and a power between {1 - level:.3g} and 1"
        )
    if sd_of_differences == 0:
        return 0.0
    critical = stats.t.ppf(0.5 + level / 2, n - 1)
    # at noncentrality critical + 40 the power is 1 to rounding for every n from 6 on, and above 0.99 for n = 2
    high = 1.0
    while power_of_t(high, 1.0, n, level) < power:
        high *= 2
        if high > 1e6 * critical:
            raise UserError(f"detectable difference: power {power} is out of reach of {n} seeds; run more seeds")
    return sd_of_differences * float(brentq(lambda size: power_of_t(size, 1.0, n, level) - power, 0.0, high))


def detectable_interval(sd_of_differences: float, n: int, power: float = 0.8, level: float = 0.95) -> Interval:
    """`detectable_difference` with what the spread's own uncertainty makes of it.

    The spread is estimated from the same few seeds; (n - 1) sd² / σ² is chi-squared with n - 1 degrees of freedom for
    normal differences, which bounds σ and with it the detectable difference. It leans on that shape more than the t
    interval does: of simulated AUC differences, with longer tails, a 95 % interval holds the truth in about 93 %.
    """
    value = detectable_difference(sd_of_differences, n, power, level)
    quantiles = stats.chi2.ppf([0.5 + level / 2, 0.5 - level / 2], n - 1)
    low, high = value * np.sqrt((n - 1) / quantiles)
    return Interval(value, float(low), float(high))


@dataclass(frozen=True)
class SeedPair:
    """The predictions of two arms on the same test rows of one seed; a row is a subject, or one of its images."""

    labels: np.ndarray  # 0 or 1, [n]
    subjects: np.ndarray  # [n]
    reference: np.ndarray  # probabilities of the reference arm, [n]
    arm: np.ndarray  # probabilities of the arm, [n]


def expanded_level(level: float, n: int) -> float:
    """The share of the draws between the bounds of a bootstrap over n units, so that it reaches as far as a t interval.

    The spread of bootstrap means is √((n-1)/n) of what it should be, and normal quantiles stand where those of t
    belong; percentiles at Φ(∓√(n/(n-1)) t) make up for both (Hesterberg 2015, Am Stat 69:371, section 5.3).
    """
    reach = np.sqrt(n / (n - 1)) * stats.t.ppf(0.5 + level / 2, n - 1)
    return float(1 - 2 * stats.norm.sf(reach))


def nested_bootstrap(
    pairs: Sequence[SeedPair], metric: str, draws: int, level: float, seed: int, threshold: float = 0.5
) -> Interval:
    """The mean difference of a metric with a bootstrap of seeds and, within each seed, of its subjects.

    Each draw takes seeds with replacement and, each time that a seed is taken, subjects with replacement within their
    class, the same subjects for both arms. Seeds that were measured on the same test subjects share one draw of
    subjects, so what is common to them is not averaged away. The differences of the seeds already hold the chance of
    their subjects; drawing these again counts it twice, so the interval is wide rather than narrow (Davison & Hinkley
    1997, Bootstrap Methods, section 3.8). Plain percentiles would be too narrow for few seeds, so the bounds are the
    expanded ones (`expanded_level`).

    Raises:
        UserError: fewer than 8 seeds, an unknown metric, or see `check_predictions`.
    """
    n = len(pairs)
    if n < MINIMUM_SEEDS_OF_BOOTSTRAP:
        raise UserError(f"nested bootstrap: {n} seeds; at least {MINIMUM_SEEDS_OF_BOOTSTRAP} are needed for the tails")
    if metric not in METRICS:
        raise UserError(f"nested bootstrap: unknown metric {metric!r}; expected one of {', '.join(METRICS)}")
    same_test_set: dict[tuple[tuple[str, ...], tuple[int, ...]], list[SeedPair]] = {}
    for pair in pairs:
        key = (tuple(np.asarray(pair.subjects).tolist()), tuple(np.asarray(pair.labels).tolist()))
        same_test_set.setdefault(key, []).append(pair)
    # the order within `pairs` does not matter, so the seeds are counted group by group
    times = np.random.default_rng([seed, 0]).multinomial(n, np.full(n, 1 / n), size=draws)
    observed, drawn, place = 0.0, np.zeros(draws), 0
    for number, group in enumerate(same_test_set.values()):
        stream = int(np.random.SeedSequence([seed, 1, number]).generate_state(1)[0])
        labels, subjects = np.asarray(group[0].labels), group[0].subjects
        taken = times[:, place : place + len(group)]
        # a test set of one seed is drawn anew for each time that the seed was taken; a shared one once for each draw
        of_draw = np.repeat(np.arange(draws), taken[:, 0]) if len(group) == 1 else np.arange(draws)
        counts = np.ones((len(of_draw), 1)) if len(group) == 1 else taken
        observed += sum(float(_difference(pair, metric, threshold, np.ones((1, len(labels))))[0]) for pair in group)
        start = 0
        for weights in bootstrap_weights(labels, subjects, len(of_draw), stream):
            rows = slice(start, start + len(weights))
            found = np.stack([_difference(pair, metric, threshold, weights) for pair in group], axis=1)
            np.add.at(drawn, of_draw[rows], (counts[rows] * found).sum(axis=1))
            start += len(weights)
        place += len(group)
    low, high = percentile_bounds(drawn / n, expanded_level(level, n))
    value = observed / n
    return Interval(value, min(low, value), max(high, value))


def _difference(pair: SeedPair, metric: str, threshold: float, weights: np.ndarray) -> np.ndarray:
    """Arm minus reference of each weighting of the pair's rows, [draws]; weights [draws, n]."""
    labels, reference = check_predictions(pair.labels, pair.reference)
    _, arm = check_predictions(pair.labels, pair.arm)
    of_arm, of_reference = (weighted_metrics(labels, each, threshold, weights)[metric] for each in (arm, reference))
    return of_arm - of_reference
