"""The tables of a study: hand-worked scores, an order of their own, bytes that read back."""

import pandas as pd
import pytest

from mlproject.errors import UserError
from mlproject.stages.study_files import remove_optional
from mlproject.study.assemble import csv_text, lasting_figures, prediction_rows, scores_of, sorted_predictions
from mlproject.study.folder import PREDICTION_COLUMNS, SCORE_COLUMNS


def logged(*rows):
    """A table as a run logs it: (image, subject, site, label, probability)."""
    columns = ("image_path", "subject_id", "site", "label", "probability")
    return dict(zip(columns, zip(*rows, strict=True), strict=True))


TEST = logged(
    # the means of the subjects are 0.2, 0.5, 0.4, 0.9: of 4 pairs of anomalous over normal 3 are in order
    ("a0", "a", "A", 0, 0.1), ("a1", "a", "A", 0, 0.3),
    ("b0", "b", "B", 0, 0.9), ("b1", "b", "B", 0, 0.1),
    ("c0", "c", "A", 1, 0.6), ("c1", "c", "A", 1, 0.2),
    ("d0", "d", "B", 1, 0.9),
)  # fmt: skip


def test_scores_are_of_subjects_and_by_hand() -> None:
    scores = scores_of(prediction_rows(3, 50, "real", "test", TEST), ["C"], threshold=0.5)
    assert list(scores.columns) == list(SCORE_COLUMNS)
    found = scores.set_index("metric")["value"]
    assert found["auc"] == 0.75
    # called: b (0.5) and d; so one true and one false positive, one miss
    assert (found["precision"], found["recall"], found["specificity"], found["accuracy"]) == (0.5, 0.5, 0.5, 0.5)
    assert found["brier"] == pytest.approx((0.2**2 + 0.5**2 + 0.6**2 + 0.1**2) / 4)
    assert set(scores["split"]) == {"test"}


def test_an_unseen_site_is_a_split_of_its_own_and_needs_both_classes() -> None:
    away = logged(("e0", "e", "C", 0, 0.4), ("f0", "f", "C", 1, 0.3))
    rows = [prediction_rows(0, 50, "real", "test", table) for table in (TEST, away)]
    scores = scores_of(sorted_predictions(rows), ["C"], 0.5)
    auc = scores[scores["metric"] == "auc"].set_index("split")["value"]
    assert auc.to_dict() == {"test": 0.75, "unseen": 0.0}
    single = prediction_rows(0, 50, "real", "test", logged(("e0", "e", "C", 0, 0.4)))
    scores = scores_of(sorted_predictions([rows[0], single]), ["C"], 0.5)
    assert set(scores["split"]) == {"test"}
    with pytest.raises(UserError, match="AUC does not exist"):
        scores_of(single, [], 0.5)


def test_the_order_of_the_parts_does_not_show() -> None:
    parts = [
        prediction_rows(seed, size, arm, "test", TEST)
        for seed in (0, 1)
        for size in (50, 200)
        for arm in ("real", "synthetic")
    ]
    there, back = sorted_predictions(parts), sorted_predictions(parts[::-1])
    assert csv_text(there) == csv_text(back)
    assert csv_text(scores_of(there, [], 0.5)) == csv_text(scores_of(back, [], 0.5))
    assert there.head(7)["image_path"].tolist() == ["a0", "a1", "b0", "b1", "c0", "c1", "d0"]
    assert list(sorted_predictions([]).columns) == list(PREDICTION_COLUMNS)


def test_numbers_read_back_to_the_same_numbers(tmp_path) -> None:
    values = [1 / 3, 0.1, 1e-17, 123456.789, 1.0]
    path = tmp_path / "x.csv"
    path.write_text(csv_text(pd.DataFrame({"value": values})))
    assert pd.read_csv(path)["value"].tolist() == values


def test_speed_is_no_result() -> None:
    metrics = {"gan.wasserstein": 2.0, "gan.images_per_second": 90.0, "a.seconds": 3.0, "fidelity.kid": 0.1}
    assert list(lasting_figures(metrics).items()) == [("fidelity.kid", 0.1), ("gan.wasserstein", 2.0)]


def test_what_another_study_left_in_the_folder_is_not_shown(tmp_path) -> None:
    for name in ("images/failures/tp-1.png", "images/synthetic-normal.png", "images/of-someone.png", "features.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    remove_optional(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["of-someone.png"]
    remove_optional(tmp_path / "new")
