"""Reading a study's folder: the declared design, one score per row, one prediction per row."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mlproject.data import kinds
from mlproject.errors import UserError
from mlproject.plain_text import of_cells

DESIGN, SCORES, PREDICTIONS = "design.json", "scores.csv", "predictions.csv"
SCORE_COLUMNS = ("seed", "subjects", "arm", "split", "metric", "value")
PREDICTION_COLUMNS = (
    "seed",
    "subjects",
    "arm",
    "split",
    "image_path",
    "subject_id",
    "site",
    "label",
    "probability",
)
DESIGN_KEYS = ("data_kind", "arms", "subjects", "seeds", "primary", "secondary", "level")
_FIT = ["seed", "subjects", "arm", "split"]


@dataclass(frozen=True)
class Study:
    """A study's files in memory.

    `design` is design.json. `scores` has one row for each seed, subjects, arm, split and metric; `predictions` one for
    each image that an arm was asked about, without the images of the sites that training never saw.
    """

    design: dict[str, Any]
    scores: pd.DataFrame
    predictions: pd.DataFrame
    unseen: pd.DataFrame  # the predictions on sites that training never saw


def _read_csv(path: Path, columns: tuple[str, ...], number: str) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(f"{path}: not found; run the study, or give the folder that it wrote")
    text = dict.fromkeys(("arm", "split", "metric", "image_path", "subject_id", "site"), str)
    try:
        rows = pd.read_csv(path, dtype=text, keep_default_na=False, na_values={number: ["", "nan"]})
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as CSV ({error}); run the study again") from None
    if missing := [column for column in columns if column not in rows.columns]:
        raise UserError(f"{path}: no column {', '.join(missing)}; expected {', '.join(columns)}")
    for column in ("seed", "subjects", number):
        if not pd.api.types.is_numeric_dtype(rows[column]):
            raise UserError(f"{path}: column {column} holds text; expected numbers")
    return of_cells(rows)


def unseen_sites(design: dict[str, Any]) -> tuple[str, ...]:
    """The sites whose test images are a question of their own: site C of the phantom, or what the design names."""
    named = design.get("unseen_sites")
    if named is not None:
        return tuple(str(site) for site in named)
    return ("C",) if design.get("data_kind") == kinds.PHANTOM else ()


def read_study(folder: str | Path) -> Study:
    """The files of a study's folder, checked.

    Raises:
        UserError: a file, key or column is missing, a score stands twice, or a probability is outside [0, 1].
    """
    folder = Path(folder)
    if not (folder / DESIGN).is_file():
        raise UserError(f"{folder / DESIGN}: not found; run the study, or give the folder that it wrote")
    try:
        design = json.loads((folder / DESIGN).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{folder / DESIGN}: not JSON ({error}); run the study again") from error
    if missing := [key for key in DESIGN_KEYS if key not in design]:
        raise UserError(f"{folder / DESIGN}: no {', '.join(missing)}; expected the design that the study writes")
    scores = _read_csv(folder / SCORES, SCORE_COLUMNS, "value")
    twice = scores.duplicated([*_FIT, "metric"])
    if twice.any():
        row = scores[twice].iloc[0]
        raise UserError(
            f"{folder / SCORES}: {row['metric']} of {row['arm']} ({row['split']}, seed {row['seed']}, "
            f"{row['subjects']} subjects) stands twice; expected one row for each"
        )
    predictions = _read_csv(folder / PREDICTIONS, PREDICTION_COLUMNS, "probability")
    outside = ~predictions["probability"].between(0, 1)
    if outside.any():
        raise UserError(
            f"{folder / PREDICTIONS}: probability {predictions['probability'][outside].iloc[0]} in row "
            f"{int(outside.idxmax()) + 2}; expected numbers in [0, 1]"
        )
    away = predictions["site"].isin(unseen_sites(design)) & (predictions["split"] != "val")
    away |= predictions["split"] == "unseen"
    return Study(design, scores, predictions[~away].reset_index(drop=True), predictions[away].reset_index(drop=True))


def subject_average(predictions: pd.DataFrame) -> pd.DataFrame:
    """The mean probability of each subject's images, one row for each fit, split and subject, sorted.

    Args:
        predictions: rows as in predictions.csv.

    Returns:
        Columns seed, subjects, arm, split, subject_id, site, label (1 when any image is anomalous), probability and
        images (their number).
    """
    return (
        predictions.groupby([*_FIT, "subject_id"], sort=True)
        .agg(
            site=("site", "first"),
            label=("label", "max"),
            probability=("probability", "mean"),
            images=("probability", "size"),
        )
        .reset_index()
    )


def fit_rows(averaged: pd.DataFrame, seed: int, subjects: int, arm: str, split: str) -> pd.DataFrame:
    """The rows of one fit and split of `subject_average`, in the order of the subjects; empty if there are none."""
    chosen = (
        (averaged["seed"] == seed)
        & (averaged["subjects"] == subjects)
        & (averaged["arm"] == arm)
        & (averaged["split"] == split)
    )
    return averaged[chosen].sort_values("subject_id").reset_index(drop=True)
