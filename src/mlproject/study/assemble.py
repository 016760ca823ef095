"""The tables of a study's folder, from what its fits logged: the same fits give the same bytes."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mlproject.errors import UserError
from mlproject.evaluation.metrics import binary_metrics
from mlproject.plain_text import as_cells
from mlproject.study.folder import PREDICTION_COLUMNS, SCORE_COLUMNS, subject_average

_FIT = ["seed", "subjects", "arm", "split"]
# what a run logged about its own speed, which is another each time
_SPEED = ("per_second", "seconds")


def prediction_rows(seed: int, subjects: int, arm: str, split: str, table: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """The rows of predictions.csv from one logged table of predictions."""
    names = ("image_path", "subject_id", "site", "label", "probability")
    rows = pd.DataFrame({name: list(table[name]) for name in names})
    rows = rows.assign(seed=seed, subjects=subjects, arm=arm, split=split)
    return rows[list(PREDICTION_COLUMNS)]


def sorted_predictions(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """All of them, in the order of seed, subjects, arm, split and image."""
    if not parts:
        return pd.DataFrame(columns=list(PREDICTION_COLUMNS))
    rows = pd.concat(parts, ignore_index=True)
    return rows.sort_values([*_FIT, "image_path"], ignore_index=True, kind="stable")


def scores_of(predictions: pd.DataFrame, unseen_sites: Sequence[str], threshold: float) -> pd.DataFrame:
    """Every metric of every fit and split, on the mean probability of each subject's images, sorted.

    Test images of the unseen sites make up the split `unseen`; one whose subjects are all of one class has no score.

    Args:
        predictions: rows of predictions.csv.
        threshold: a subject is called anomalous when its mean probability is at least this.
    """
    away = predictions["site"].isin(list(unseen_sites)) & (predictions["split"] == "test")
    averaged = subject_average(predictions.assign(split=predictions["split"].mask(away, "unseen")))
    rows = []
    for (seed, subjects, arm, split), fit in averaged.groupby(_FIT, sort=True):
        try:
            found = binary_metrics(fit["label"].to_numpy(), fit["probability"].to_numpy(), threshold)
        except UserError:
            if split != "unseen":
                raise
            continue
        rows += [[seed, subjects, arm, split, metric, value] for metric, value in sorted(found.items())]
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def lasting_figures(metrics: Mapping[str, float]) -> dict[str, float]:
    """What a run logged of its result, sorted by name, without its speed."""
    return {name: metrics[name] for name in sorted(metrics) if not name.endswith(_SPEED)}


def csv_text(rows: pd.DataFrame) -> str:
    """The rows as CSV, texts as cells; numbers as the shortest text that reads back to the same number."""
    stream = io.StringIO()
    as_cells(rows).to_csv(stream, index=False, lineterminator="\n")
    return stream.getvalue()
