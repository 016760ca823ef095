"""Shortcut baselines: what a linear model reaches without looking at anatomy.

A classifier's score means something only beside these. A box stretched to a square, for instance, carries its height
in its texture, and labels derived from box heights with it.
"""

import warnings
from typing import TYPE_CHECKING

import cv2
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlproject.errors import UserError
from mlproject.evaluation.intervals import Interval, auc_interval

if TYPE_CHECKING:
    from mlproject.data.crops import Crops

PIXEL_SIDE = 16
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # inverse strength of the L2 penalty on standardised features
FOLDS = 3


def small_pixels(images: np.ndarray) -> np.ndarray:
    """Each image averaged down to 16x16 pixels, float64 [n, 256]; images uint8 [n, height, width]."""
    side = (PIXEL_SIDE, PIXEL_SIDE)
    return np.stack([cv2.resize(image, side, interpolation=cv2.INTER_AREA).ravel() for image in images]).astype(float)


def grey_statistics(images: np.ndarray) -> np.ndarray:
    """Mean and standard deviation of each image's grey levels, [n, 2]."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    return np.stack([flat.mean(axis=1), flat.std(axis=1)], axis=1)


def box_geometry(boxes: np.ndarray) -> np.ndarray:
    """Height, width and centre of each box in pixels of the frame, [n, 4]; boxes (h_min, w_min, h_max, w_max)."""
    height_min, width_min, height_max, width_max = boxes.astype(np.float64).T
    return np.stack(
        [height_max - height_min, width_max - width_min, (height_min + height_max) / 2, (width_min + width_max) / 2],
        axis=1,
    )


def linear_scores(
    train: np.ndarray, train_labels: np.ndarray, train_subjects: np.ndarray, held_out: np.ndarray, seed: int
) -> np.ndarray:
    """Scores of a logistic regression on standardised features, its penalty chosen within the training subjects.

    Args:
        train: features [n, k].
        train_labels: 0 or 1, [n].
        train_subjects: [n]; the folds that choose the penalty are made of whole subjects.
        held_out: features [m, k].
        seed: of the folds.

    Returns:
        Probability of class 1, float64 [m].
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, C=PENALTIES[2]))
    per_class = [len(np.unique(train_subjects[train_labels == label])) for label in (0, 1)]
    if min(per_class) >= FOLDS:
        folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed % 2**32)
        grid = {"logisticregression__C": list(PENALTIES)}
        model = GridSearchCV(model, grid, cv=folds, scoring="neg_log_loss", error_score=-np.inf)
    with warnings.catch_warnings():
        # a loose optimum is good enough for a baseline and for the choice of a penalty
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit_options = {"groups": train_subjects} if isinstance(model, GridSearchCV) else {}
        return model.fit(train, train_labels, **fit_options).predict_proba(held_out)[:, 1]


def shortcut_baselines(
    train: "Crops",
    held_out: "Crops",
    seed: int,
    *,
    draws: int,
    level: float,
) -> dict[str, Interval]:
    """Held-out AUC, with intervals by subject, of logistic regressions on what is no anatomy.

    Args:
        train: crops of the training subjects.
        held_out: crops of other subjects, such as validation.
        seed: of the inner folds and the bootstrap.
        draws: bootstrap draws.
        level: confidence level.

    Returns:
        {name: AUC}: `pixels_16x16`, `grey_mean_sd`, `box_geometry` and `box_width` (left out when any box is missing).

    Raises:
        UserError: one class only, or a subject on both sides.
    """
    shared = sorted(set(train.subjects.tolist()) & set(held_out.subjects.tolist()))
    if shared:
        raise UserError(
            f"shortcut baselines: {len(shared)} subjects are in both sets ({', '.join(map(str, shared[:3]))}); "
            "split by subject"
        )
    if len(np.unique(train.labels)) < 2:
        raise UserError("shortcut baselines: the training crops hold one class only; expected both")
    features = {
        "pixels_16x16": (small_pixels(train.images), small_pixels(held_out.images)),
        "grey_mean_sd": (grey_statistics(train.images), grey_statistics(held_out.images)),
    }
    if np.isfinite(train.boxes).all() and np.isfinite(held_out.boxes).all():
        geometry = (box_geometry(train.boxes), box_geometry(held_out.boxes))
        features["box_geometry"] = geometry
        features["box_width"] = (geometry[0][:, 1:2], geometry[1][:, 1:2])
    found = {}
    for name, (train_features, held_out_features) in features.items():
        scores = linear_scores(train_features, train.labels, train.subjects, held_out_features, seed)
        found[name] = auc_interval(held_out.labels, scores, held_out.subjects, draws, level, seed)
    return found
