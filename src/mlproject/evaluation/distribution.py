"""How far two sets of images are apart in a named feature space: KID, Fréchet distance, precision to coverage.

All take features [n, d]; which features they are belongs in the name under which a number is reported. Every figure
refuses too few images, and means something only beside the same figure of real against other real images
(`real_against_real`).
"""

import numpy as np
from scipy.linalg import eigh
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import pairwise_distances
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlproject.errors import UserError
from mlproject.evaluation.intervals import Interval, auc_interval, half_samples, wilson_interval

MINIMUM_N = 50
# a kernel or distance matrix of this side takes 200 MB; more images hardly move a value
MAXIMUM_N = 5000
NEIGHBOURS = 5


def require_features(what: str, minimum_n: int, **features: np.ndarray) -> None:
    """Refuse features of different width, not finite, or of fewer than `minimum_n` images.

    Raises:
        UserError: names the figure, the set, and what was expected.
    """
    widths = {array.shape[1:] for array in features.values()}
    if len(widths) != 1 or len(next(iter(widths))) != 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in features.items())
        raise UserError(f"{what}: features of shape {shapes}; expected [images, features] of equal width")
    for name, array in features.items():
        if len(array) < minimum_n:
            raise UserError(
                f"{what}: {len(array)} {name} images; at least {minimum_n} are needed for a figure that means anything"
            )
        if not np.isfinite(array).all():
            raise UserError(f"{what}: the {name} features are not all finite")


def _at_most(features: np.ndarray, seed: int) -> np.ndarray:
    if len(features) <= MAXIMUM_N:
        return np.arange(len(features))
    return np.sort(np.random.default_rng(seed).choice(len(features), MAXIMUM_N, replace=False))


def _pair_mean(kernel: np.ndarray, rows: np.ndarray, columns: np.ndarray | None = None) -> np.ndarray:
    """Mean of the kernel over pairs of each indicator; without `columns`, over pairs of different images."""
    if columns is None:
        count = rows.sum(axis=1)
        return (((rows @ kernel) * rows).sum(axis=1) - rows @ np.diag(kernel)) / (count * (count - 1))
    return ((rows @ kernel) * columns).sum(axis=1) / (rows.sum(axis=1) * columns.sum(axis=1))


def kernel_distance(
    real: np.ndarray,
    synthetic: np.ndarray,
    *,
    level: float,
    seed: int,
    real_subjects: np.ndarray | None = None,
    halves: int = 200,
    minimum_n: int = MINIMUM_N,
) -> Interval:
    """KID: the unbiased squared maximum mean discrepancy under the kernel (x·y/d + 1)³ (Bińkowski et al. 2018).

    The value is the U-statistic over all pairs (of at most 5,000 images each), which is what averaging over random
    subsets estimates; it may be negative. The interval is value ± z standard deviations of the statistic over random
    half-samples of both sets (McCarthy 1969; the delete-half jackknife, for which the variance needs no factor).

    Args:
        real: features [n, d].
        synthetic: features [m, d].
        level: confidence level.
        seed: of the half-samples.
        real_subjects: subject of each real image; halves are then made of whole subjects.
        halves: number of half-samples.
        minimum_n: fewest images of each set.

    Raises:
        UserError: fewer than `minimum_n` images, different widths, values that are not finite.
    """
    real, synthetic = np.asarray(real, dtype=np.float64), np.asarray(synthetic, dtype=np.float64)
    require_features("KID", minimum_n, real=real, synthetic=synthetic)
    groups = np.arange(len(real)) if real_subjects is None else np.asarray(real_subjects)
    if len(np.unique(groups)) < 4 or len(synthetic) < 4:
        raise UserError("KID: fewer than 4 real subjects or synthetic images; halves of at least 2 are needed")
    kept = _at_most(real, seed)
    real, groups, synthetic = real[kept], groups[kept], synthetic[_at_most(synthetic, seed + 1)]
    generator = np.random.default_rng(seed)
    # the first row takes every image: the value itself
    rows = np.vstack([np.ones(len(real)), half_samples(groups, halves, generator)])
    columns = np.vstack([np.ones(len(synthetic)), half_samples(np.arange(len(synthetic)), halves, generator)])
    kernel = {"degree": 3, "gamma": None, "coef0": 1}  # gamma None is 1/d
    within = _pair_mean(polynomial_kernel(real, **kernel), rows)
    within = within + _pair_mean(polynomial_kernel(synthetic, **kernel), columns)
    statistic = within - 2 * _pair_mean(polynomial_kernel(real, synthetic, **kernel), rows, columns)
    value = float(statistic[0])
    margin = float(norm.ppf(0.5 + level / 2) * np.sqrt(np.mean((statistic[1:] - value) ** 2)))
    return Interval(value, value - margin, value + margin)


def frechet_from_moments(
    mean_a: np.ndarray, covariance_a: np.ndarray, mean_b: np.ndarray, covariance_b: np.ndarray
) -> float:
    """Squared Fréchet distance of two Gaussians: |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁Σ₂)^½) (Dowson & Landau 1982).

    tr (Σ₁Σ₂)^½ is the sum of the roots of the eigenvalues of Σ₁^½ Σ₂ Σ₁^½, a symmetric matrix: no complex roots and
    no stabilising constant are needed.
    """
    values, vectors = eigh(covariance_a)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    inner = eigh(root @ covariance_b @ root, eigvals_only=True)
    cross = np.sqrt(np.clip(inner, 0, None)).sum()
    shift = np.asarray(mean_a) - np.asarray(mean_b)
    return float(shift @ shift + np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross)


def frechet_distance(real: np.ndarray, synthetic: np.ndarray, *, minimum_n: int = MINIMUM_N) -> float:
    """Fréchet distance of Gaussians fitted to both feature sets (Heusel et al. 2017); no square root is taken.

    It is biased upwards, more so with fewer images, so only values at equal n compare; it has no interval here, since
    resampling adds to the bias. KID is the primary figure.

    Raises:
        UserError: not more images than features (a covariance would be singular), or fewer than `minimum_n`.
    """
    real, synthetic = np.asarray(real, dtype=np.float64), np.asarray(synthetic, dtype=np.float64)
    require_features("Fréchet distance", max(minimum_n, real.shape[-1] + 1), real=real, synthetic=synthetic)
    return frechet_from_moments(
        real.mean(axis=0),
        np.atleast_2d(np.cov(real, rowvar=False)),
        synthetic.mean(axis=0),
        np.atleast_2d(np.cov(synthetic, rowvar=False)),
    )


def _radii(features: np.ndarray, neighbours: int) -> np.ndarray:
    """Distance of each row to its k-th neighbour among the others."""
    distances = pairwise_distances(features)
    np.fill_diagonal(distances, 0)
    return np.partition(distances, neighbours, axis=1)[:, neighbours]  # position 0 is the row itself


def precision_recall_density_coverage(
    real: np.ndarray,
    synthetic: np.ndarray,
    *,
    level: float,
    seed: int,
    neighbours: int = NEIGHBOURS,
    minimum_n: int = MINIMUM_N,
) -> dict[str, Interval]:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    A ball stands around each image, its radius the distance to the k-th neighbour of its own set.
    precision: share of synthetic images inside any real ball. recall: share of real images inside any synthetic ball.
    density: real balls around a synthetic image, divided by k, on average (1 for the same distribution, may exceed 1).
    coverage: share of real balls with a synthetic image inside.

    The intervals (Wilson's; normal for density) take the balls as given: they cover the sampling of the images that
    are counted, not of the reference set.

    Raises:
        UserError: fewer than `minimum_n` images or than k + 1, different widths, values that are not finite.
    """
    real, synthetic = np.asarray(real, dtype=np.float64), np.asarray(synthetic, dtype=np.float64)
    require_features(
        "precision/recall/density/coverage", max(minimum_n, neighbours + 1), real=real, synthetic=synthetic
    )
    real, synthetic = real[_at_most(real, seed)], synthetic[_at_most(synthetic, seed + 1)]
    distances = pairwise_distances(real, synthetic)
    in_real_ball = distances < _radii(real, neighbours)[:, None]
    in_synthetic_ball = distances < _radii(synthetic, neighbours)[None, :]
    balls = in_real_ball.sum(axis=0) / neighbours
    margin = float(norm.ppf(0.5 + level / 2) * balls.std(ddof=1) / np.sqrt(len(balls)))
    density = float(balls.mean())
    return {
        "precision": wilson_interval(int(in_real_ball.any(axis=0).sum()), len(synthetic), level),
        "recall": wilson_interval(int(in_synthetic_ball.any(axis=1).sum()), len(real), level),
        "density": Interval(density, max(0.0, density - margin), density + margin),
        "coverage": wilson_interval(int(in_real_ball.any(axis=1).sum()), len(real), level),
    }


def real_or_synthetic_auc(
    real: np.ndarray,
    real_subjects: np.ndarray,
    synthetic: np.ndarray,
    *,
    draws: int,
    level: float,
    seed: int,
    minimum_n: int = MINIMUM_N,
) -> Interval:
    """Held-out AUC of a logistic regression that tells synthetic images from real ones; 0.5 is indistinguishable.

    Five folds, each real subject in one of them.

    Raises:
        UserError: fewer than `minimum_n` images, different widths, values that are not finite.
    """
    require_features("real-or-synthetic AUC", minimum_n, real=real, synthetic=synthetic)
    features = np.concatenate([real, synthetic]).astype(np.float64)
    labels = np.repeat([0, 1], [len(real), len(synthetic)])
    groups = np.array([*(f"real {name}" for name in real_subjects), *(f"synthetic {i}" for i in range(len(synthetic)))])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed % 2**32)
    scores = cross_val_predict(model, features, labels, groups=groups, cv=folds, method="predict_proba")[:, 1]
    return auc_interval(labels, scores, groups, draws, level, seed)


def real_halves(
    subjects: np.ndarray, n: int, *, repeats: int, seed: int, minimum_n: int = MINIMUM_N
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of sets of real images of different subjects, of equal size, as indices.

    Args:
        subjects: subject of each image, [m].
        n: images wanted in each set; what half of the subjects give when that is less.
        repeats: pairs.
        seed: of the splits.
        minimum_n: fewest images in each set.

    Raises:
        UserError: half of the subjects give fewer than `minimum_n` images.
    """
    names, index = np.unique(np.asarray(subjects), return_inverse=True)
    generator = np.random.default_rng(seed)
    halves = []
    for _ in range(repeats):
        first = generator.permuted(np.arange(len(names)) < len(names) // 2)[index]
        halves.append((generator.permutation(np.flatnonzero(first)), generator.permutation(np.flatnonzero(~first))))
    size = min([n, *(len(side) for pair in halves for side in pair)])
    if size < minimum_n:
        raise UserError(
            f"real-against-real floor: two sets of different subjects would hold {size} of {len(index)} real images; "
            f"at least {minimum_n} each are needed"
        )
    return [(first[:size], second[:size]) for first, second in halves]
