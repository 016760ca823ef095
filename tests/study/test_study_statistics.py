"""The answer of a study: paired by seed, no louder than its contrast, from the folder's files alone."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from study_folder import write_study_folder

from mlproject.config import PROJECT_ROOT
from mlproject.errors import UserError
from mlproject.evaluation.metrics import subject_scores
from mlproject.study.folder import PREDICTION_COLUMNS, Study, fit_rows, read_study, subject_average
from mlproject.study.statistics import Analysis, analyse, analyse_study, analysis_tables, holm, paired_contrast

ARMS = ["real", "real_augmented", "synthetic", "hybrid_0.5_add"]
PRIMARY = {"arm": "hybrid_0.5_add", "reference": "real_augmented", "subjects": 50, "metric": "auc"}


def study_of(values: dict[str, list[float]], metric: str = "auc", **design: Any) -> Study:
    """A study in memory with these test scores of each arm, one for each seed; no predictions."""
    seeds = list(range(max(map(len, values.values()))))
    rows = [
        {"seed": seed, "subjects": 50, "arm": arm, "split": "test", "metric": metric, "value": value}
        for arm, scores in values.items()
        for seed, value in enumerate(scores)
        if value is not None
    ]
    declared = {
        "data_kind": "phantom_not_clinical",
        "arms": ARMS,
        "subjects": [50],
        "seeds": seeds,
        "primary": {**PRIMARY, "metric": metric},
        "secondary": [],
        "level": 0.95,
        **design,
    }
    # rows in an order of their own: pairs are found by seed
    scores = pd.DataFrame(rows).sample(frac=1, random_state=0, ignore_index=True)
    nothing = pd.DataFrame(columns=PREDICTION_COLUMNS)
    return Study(declared, scores, nothing, nothing)


BASE = [0.80, 0.82, 0.79, 0.85, 0.81, 0.83]
GAINS = np.array([0.02, 0.03, 0.01, 0.02, 0.04, 0.03])


def test_differences_are_taken_within_seeds() -> None:
    found = analyse_study(study_of({"real_augmented": BASE, "hybrid_0.5_add": list(np.array(BASE) + GAINS)}))
    assert found.primary.seeds == (0, 1, 2, 3, 4, 5)
    assert found.primary.differences == pytest.approx(GAINS)
    # mean 0.025; the squares of -5, 5, -15, -5, 15 and 5 thousandths sum to 550e-6, a fifth of which is sd²
    expected = paired_contrast(GAINS, 0.95)
    assert expected.sd == pytest.approx(np.sqrt(110e-6))
    # t quantile of 5 degrees of freedom 2.5706: 0.025 ± 2.5706 · 0.010488 / √6 = 0.025 ± 0.011007
    assert found.primary.contrast.interval.low == pytest.approx(0.013993, abs=1e-6)
    assert found.primary.contrast.interval.high == pytest.approx(0.036007, abs=1e-6)
    assert found.verdict == "helps"
    assert found.answer == (
        "On the phantom (not clinical data), adding synthetic images helps with 50 real subjects: AUC +0.025 "
        "(95 % interval +0.014 to +0.036; hybrid_0.5_add minus real_augmented, 6 seeds)."
    )
    assert found.notes == ()


def test_the_other_way_round_it_hurts_and_a_lower_brier_score_helps() -> None:
    worse = {"real_augmented": list(np.array(BASE) + GAINS), "hybrid_0.5_add": BASE}
    assert analyse_study(study_of(worse)).verdict == "hurts"
    assert "hurts with 50 real subjects: AUC -0.025" in analyse_study(study_of(worse)).answer
    assert analyse_study(study_of(worse, metric="brier")).verdict == "helps"


def test_zero_subjects_are_told_as_all_of_them() -> None:
    study = study_of({"real_augmented": BASE, "hybrid_0.5_add": [*(np.array(BASE[:5]) + 0.1), None]})
    study.scores["subjects"] = 0
    study.design.update(subjects=[0], primary={**PRIMARY, "subjects": 0})
    found = analyse_study(study)
    assert found.answer.endswith("with all real subjects has 5.")
    assert found.notes[0].startswith("hybrid_0.5_add minus real_augmented (auc, test, all subjects): ")


def test_no_evidence_says_what_could_have_been_seen() -> None:
    spread = list(np.array(BASE) + GAINS * np.array([1, -1, 1, -1, 1, -1]))
    found = analyse_study(study_of({"real_augmented": BASE, "hybrid_0.5_add": spread}))
    assert found.verdict == "no evidence"
    detectable = found.primary.detectable
    assert detectable.low < detectable.value < detectable.high
    assert found.answer.endswith(f"had 80 % power to see is {detectable.value:.3f}.")
    for claim in ("prove", "significant"):
        assert claim not in found.answer


def test_fewer_than_six_pairs_stay_undecided() -> None:
    better = [*(np.array(BASE[:5]) + 0.1), None]
    found = analyse_study(study_of({"real_augmented": BASE, "hybrid_0.5_add": better}))
    assert (found.verdict, found.primary.contrast, found.primary.detectable) == ("undecided", None, None)
    assert "takes at least 6 seeds with both arms" in found.answer
    assert found.answer.endswith("with 50 real subjects has 5.")
    assert len(found.primary.differences) == 5
    assert "no score of both arms in seed 5" in found.notes[0]
    tables = analysis_tables(found)
    assert np.isnan(tables["contrasts"]["mean"].iloc[0])
    assert len(tables["differences"]) == 5


def test_an_arm_whose_fits_all_failed_leaves_the_study_undecided() -> None:
    found = analyse_study(study_of({"real_augmented": BASE}))
    assert (found.verdict, found.primary.seeds) == ("undecided", ())


def test_secondary_contrasts_share_their_error() -> None:
    """Three against one reference; one of them, too short to be tested, keeps its place in the family."""
    reference = np.array(BASE)
    values = {
        "real_augmented": list(reference),
        "hybrid_0.5_add": list(reference + GAINS),
        "real": list(reference - GAINS),
        "synthetic": list(reference + np.array([0.01, 0.05, 0.0, 0.03, 0.01, 0.02])),
        "hybrid_0.25_add": [*(reference[:4] + 0.1), None, None],
    }
    declared = [{**PRIMARY, "arm": arm} for arm in ("real", "synthetic", "hybrid_0.25_add")]
    found = analyse_study(study_of(values, secondary=declared, arms=[*ARMS, "hybrid_0.25_add"]))
    plain = [result.contrast.p_t for result in found.secondary[:2]]
    assert [result.p_holm for result in found.secondary[:2]] == pytest.approx(list(holm([*plain, 1.0])[:2]))
    assert found.secondary[0].p_holm == pytest.approx(3 * plain[0])
    assert (found.secondary[2].p_holm, found.secondary[2].verdict) == (None, "undecided")
    assert found.primary.p_holm is None
    # the second of three is multiplied by 2: from p > 0.025 its interval leaves 0 out, and yet it is no evidence
    lone = found.secondary[1]
    assert 0.05 / 2 < lone.contrast.p_t < 0.05
    assert lone.contrast.interval.low > 0
    assert lone.verdict == "no evidence"


def test_the_same_difference_in_every_seed_is_no_certainty() -> None:
    found = analyse_study(study_of({"real_augmented": BASE, "hybrid_0.5_add": list(np.array(BASE) + 0.125)}))
    assert found.verdict == "no evidence"
    assert "the same in every seed, so without an interval" in found.answer
    assert "80 % power" not in found.answer


def test_disagreeing_tests_are_noted() -> None:
    # one seed far out: the sign flips reach 2/64, the t test does not reach 0.05
    gains = [0.001, 0.001, 0.001, 0.001, 0.001, 0.2]
    found = analyse_study(study_of({"real_augmented": [0.5] * 6, "hybrid_0.5_add": [0.5 + gain for gain in gains]}))
    assert found.primary.contrast.p_sign_flip == pytest.approx(2 / 64)
    assert any(re.search(r"t test .* disagree about 0\.05", note) for note in found.notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arm": "hybrid_0.9_add"}, "arm 'hybrid_0.9_add'; expected one of real, real_augmented"),
        ({"subjects": 51}, "subjects 51; expected one of 50"),
        ({"metric": "roc"}, "metric 'roc'; expected one of auc"),
    ],
)
def test_a_contrast_of_what_was_not_run_is_refused(change, message) -> None:
    study = study_of({"real_augmented": BASE, "hybrid_0.5_add": BASE})
    study.design["primary"] = {**PRIMARY, **change}
    with pytest.raises(UserError, match=re.escape(message)):
        analyse_study(study)


def test_replacing_and_other_data_are_said_as_they_are() -> None:
    values = {"real_augmented": BASE, "hybrid_0.5_replace": list(np.array(BASE) + GAINS)}
    primary = {**PRIMARY, "arm": "hybrid_0.5_replace"}
    found = analyse_study(
        study_of(values, arms=[*ARMS, "hybrid_0.5_replace"], primary=primary, data_kind="clinical_frames")
    )
    assert found.answer.startswith("On clinical frames")
    assert "replacing real by synthetic images helps" in found.answer


# the folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_study_folder(tmp_path_factory.mktemp("study") / "of-8-seeds")


@pytest.fixture(scope="module")
def analysis(folder) -> Analysis:
    return analyse(folder)


def test_a_folder_gives_every_contrast_and_arm(folder, analysis) -> None:
    design = json.loads((folder / "design.json").read_text())
    assert [result.role for result in analysis.contrasts] == ["primary"] + ["secondary"] * len(design["secondary"])
    for result in analysis.contrasts:
        assert result.contrast.n == len(result.seeds) == 8
        assert result.contrast.mean == pytest.approx(np.mean(result.differences))
        assert result.nested.low <= result.nested.value <= result.nested.high
        # the bootstrap is of the same differences that the scores give
        assert result.nested.value == pytest.approx(result.contrast.mean, abs=1e-9)
    scores = pd.read_csv(folder / "scores.csv")
    assert len(analysis.arms) == len(scores.groupby(["arm", "subjects", "split", "metric"]))
    row = next(a for a in analysis.arms if (a.arm, a.subjects, a.split, a.metric) == ("real", 40, "test", "auc"))
    at = scores.query("arm == 'real' and subjects == 40 and split == 'test' and metric == 'auc'")["value"]
    assert row.interval.value == pytest.approx(at.mean())
    assert row.sd == pytest.approx(at.std())
    assert row.seeds == 8


def test_a_large_effect_in_the_predictions_becomes_the_answer(tmp_path) -> None:
    assert analyse(write_study_folder(tmp_path / "up", seeds=6, sizes=(20,), effect=1.5)).verdict == "helps"
    assert analyse(write_study_folder(tmp_path / "down", seeds=6, sizes=(20,), effect=-1.5)).verdict == "hurts"


def test_tables_repeat_and_hold_what_the_analysis_holds(folder, analysis) -> None:
    tables, again = analysis_tables(analysis), analysis_tables(analyse(folder))
    for name in ("contrasts", "differences", "arms"):
        pd.testing.assert_frame_equal(tables[name], again[name], check_exact=True)
    assert len(tables["contrasts"]) == len(analysis.contrasts)
    assert len(tables["differences"]) == 8 * len(analysis.contrasts)
    first = tables["contrasts"].iloc[0]
    assert first["mean"] == analysis.primary.contrast.mean
    assert first["detectable"] == analysis.primary.detectable.value
    assert np.isnan(first["p_holm"])


def test_the_unseen_site_is_set_apart(folder) -> None:
    study = read_study(folder)
    assert set(study.unseen["site"]) == {"C"}
    assert set(study.predictions["site"]) == {"A", "B"}


def test_subject_average_is_the_mean_over_images(folder) -> None:
    study = read_study(folder)
    averaged = subject_average(study.predictions)
    rows = fit_rows(averaged, 3, 20, "real", "test")
    images = study.predictions.query("seed == 3 and subjects == 20 and arm == 'real' and split == 'test'")
    expected = subject_scores(
        images["label"].to_numpy(), images["probability"].to_numpy(), images["subject_id"].to_numpy()
    )
    assert rows["subject_id"].tolist() == expected.subjects.tolist()
    assert rows["label"].tolist() == expected.labels.tolist()
    assert rows["probability"].to_numpy() == pytest.approx(expected.probabilities)
    assert set(rows["images"]) == {2}


def edited(folder: Path, target: Path, file: str, edit) -> Path:
    """A copy of the study's three files with one data frame changed."""
    target.mkdir()
    for name in ("design.json", "scores.csv", "predictions.csv"):
        (target / name).write_bytes((folder / name).read_bytes())
    edit(pd.read_csv(target / file)).to_csv(target / file, index=False, float_format="%.17g")
    return target


def without_column(name: str):
    return lambda rows: rows.drop(columns=name)


def raised(column: str, change: float):
    def edit(rows: pd.DataFrame) -> pd.DataFrame:
        chosen = rows.index[(rows["split"] == "test") & (rows.get("metric", "auc") == "auc")][0]
        rows.loc[chosen, column] += change
        return rows

    return edit


@pytest.mark.parametrize(
    ("file", "edit", "message"),
    [
        ("scores.csv", without_column("metric"), "no column metric"),
        ("predictions.csv", without_column("subject_id"), "no column subject_id"),
        ("scores.csv", lambda rows: pd.concat([rows, rows.head(1)]), "stands twice"),
        ("scores.csv", raised("value", -0.05), "predictions.csv give"),
        ("predictions.csv", raised("probability", 2.0), r"expected numbers in \[0, 1\]"),
        ("scores.csv", lambda rows: rows.assign(value="good"), "column value holds text"),
    ],
)
def test_a_folder_that_contradicts_itself_is_refused(folder, tmp_path, file, edit, message) -> None:
    with pytest.raises(UserError, match=message):
        analyse(edited(folder, tmp_path / "copy", file, edit))


def test_arms_that_were_asked_about_different_subjects_are_refused(folder, tmp_path) -> None:
    def one_subject_renamed(rows: pd.DataFrame) -> pd.DataFrame:
        at = (rows["seed"] == 0) & (rows["subjects"] == 40) & (rows["arm"] == "real_augmented")
        name = rows.loc[at & (rows["split"] == "test"), "subject_id"].iloc[0]
        rows.loc[at & (rows["subject_id"] == name), "subject_id"] = "someone-else"
        return rows

    with pytest.raises(UserError, match="different test subjects"):
        analyse(edited(folder, tmp_path / "copy", "predictions.csv", one_subject_renamed))


def test_seeds_that_share_test_subjects_are_noted(folder, tmp_path, analysis) -> None:
    def seed_1_tests_on_subjects_of_seed_0(rows: pd.DataFrame) -> pd.DataFrame:
        chosen = (rows["seed"] == 1) & (rows["split"] == "test")
        rows.loc[chosen, "subject_id"] = rows.loc[chosen, "subject_id"].str.replace("s1-", "s0-")
        return rows

    assert not any("more than one seed" in note for note in analysis.notes)
    shared = analyse(edited(folder, tmp_path / "copy", "predictions.csv", seed_1_tests_on_subjects_of_seed_0))
    # 40 test subjects of each of 8 seeds, of which the second has those of the first
    assert shared.notes[0].startswith("40 of 280 test subjects serve more than one seed")


def test_a_folder_without_a_study_says_so(tmp_path) -> None:
    with pytest.raises(UserError, match=r"design\.json: not found; run the study"):
        analyse(tmp_path)
    (tmp_path / "design.json").write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        analyse(tmp_path)
    (tmp_path / "design.json").write_text("{}")
    with pytest.raises(UserError, match="no data_kind, arms"):
        analyse(tmp_path)


def test_the_statistics_need_no_tracker_no_command_line_and_no_network() -> None:
    """They can be run again on a folder by whoever has numpy, scipy, scikit-learn and pandas."""
    code = (
        "import sys; sys.path.insert(0, 'src'); import mlproject.study.statistics, mlproject.evaluation.model_pairs;"
        "import mlproject.evaluation.decision_curve, mlproject.evaluation.operating_point;"
        "print(sorted({'mlflow', 'optuna', 'click', 'torch', 'timm'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT_ROOT)
    assert found.stdout.strip() == "[]"
