"""The report's tables by hand: averages over seeds, sites, audits, principal components, words."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mlproject.errors import UserError
from mlproject.study import report_tables as tables
from mlproject.study import report_use as use
from mlproject.study import words
from mlproject.study.contrasts import over_seeds
from mlproject.study.folder import Study


def test_the_mean_over_seeds_by_hand():
    # mean 0.8, sd 0.1, t quantile of 2 degrees of freedom 4.3027: half width 4.3027 * 0.1 / sqrt(3)
    found = over_seeds([0.7, 0.8, 0.9], 0.95)
    assert found.value == pytest.approx(0.8)
    assert found.high - found.value == pytest.approx(4.302653 * 0.1 / np.sqrt(3), abs=1e-6)
    assert over_seeds([0.7, 0.8, 0.9], 0.95, share=True).high == 1.0
    assert np.isnan(over_seeds([0.7], 0.95).low)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=12), st.sampled_from([0.8, 0.95]))
def test_the_interval_is_scipys(values, level):
    found = over_seeds(values, level)
    assert found.low <= found.value <= found.high
    if np.ptp(values) > 1e-6:
        expected = stats.ttest_1samp(values, 0.0).confidence_interval(level)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def rows(site, probabilities, labels, *, arm="real", seed=0, split="test"):
    return pd.DataFrame(
        {
            "seed": seed,
            "subjects": 10,
            "arm": arm,
            "split": split,
            "image_path": [f"{site}{place}.png" for place in range(len(labels))],
            "subject_id": [f"{site}{place}" for place in range(len(labels))],
            "site": site,
            "label": labels,
            "probability": probabilities,
        }
    )


def fits(frame):
    study = Study({"data_kind": "phantom_not_clinical"}, pd.DataFrame(), frame, frame.iloc[:0])
    return {split: tables.fits_at(study, 10, split) for split in ("val", "test")}


def test_auc_by_site_by_hand():
    seen = [rows("A", [0.9, 0.1], [1, 0], seed=0), rows("A", [0.2, 0.4], [1, 0], seed=1)]
    study = Study({}, pd.DataFrame(), pd.concat(seen), rows("C", [0.9, 0.8, 0.7, 0.1], [1, 0, 1, 0]))
    found = tables.site_table(study, 10, 0.95)
    assert found["site"].tolist() == ["A", "C"]
    assert found["unseen"].tolist() == [False, True]
    # at A one seed ranks its pair right, the other wrong; at C three of four pairs are right
    assert found["mean"].tolist() == [0.5, 0.75]
    assert found["test_subjects"].tolist() == [2, 4]


def test_operating_points_are_chosen_on_validation_and_applied_to_test():
    # on validation any threshold between 0.4 and 0.6 is perfect: 0.5; on test it misses one of two and alarms none
    frame = pd.concat(
        [
            rows("A", [0.4, 0.6, 0.3, 0.7], [0, 1, 0, 1], split="val"),
            rows("A", [0.45, 0.8, 0.1, 0.2], [1, 1, 0, 0]),
        ]
    )
    parts = fits(frame)
    found = use.operating_table(parts["val"], parts["test"], ["real"], level=0.95, prevalence=0.1)
    youden = found[found["rule"] == "youden"].set_index("figure")["mean"]
    assert youden["threshold"] == pytest.approx(0.5)
    assert youden["sensitivity"] == 0.5
    assert youden["specificity"] == 1.0
    assert youden["ppv"] == 1.0
    # NPV = 1 * 0.9 / (1 * 0.9 + 0.5 * 0.1)
    assert youden["npv"] == pytest.approx(0.9 / 0.95)


def test_temperature_is_fitted_on_validation_alone():
    # validation is right in 3 of 4 calls of logit 4: the best temperature makes that 0.75, log(3) = 4 / T
    odds = float(1 / (1 + np.exp(-4)))
    calls, labels = [odds] * 4 + [1 - odds] * 4, [1, 1, 1, 0, 0, 0, 0, 1]
    frame = pd.concat([rows("A", calls, labels, split="val"), rows("A", [odds, 1 - odds], [1, 0])])
    parts = fits(frame)
    table = use.calibration_table(parts["val"], parts["test"], ["real"], 0.95).set_index("figure")["mean"]
    assert table["temperature"] == pytest.approx(4 / np.log(3), rel=1e-3)
    assert table["brier_before"] == pytest.approx((1 - odds) ** 2)
    assert table["brier_after"] == pytest.approx(0.25**2, rel=1e-3)


def test_net_benefit_of_a_perfect_arm_is_the_prevalence():
    frame = pd.concat([rows("A", [0.01, 0.99] * 4, [0, 1] * 4, split=split) for split in ("val", "test")])
    parts = fits(frame)
    found, prevalence = use.decision_table(parts["val"], parts["test"], ["real"], 0.05)
    assert prevalence == 0.05
    perfect = found[found["strategy"] == "real"]
    assert perfect["net_benefit"].tolist() == pytest.approx([0.05] * len(perfect))
    everyone = found[found["strategy"] == "all"].set_index("threshold")["net_benefit"]
    # at the prevalence itself calling everyone is worth nothing
    assert everyone[0.05] == pytest.approx(0.0, abs=1e-12)


def test_an_audit_in_several_spaces_shows_what_its_verdict_rests_on(tmp_path):
    numbers = {"copies": 0, "attack_auc": {"value": 0.52, "low": 0.45, "high": 0.59}, "copy_threshold": 0.3}
    spaces = {"pixels": {"all": {"numbers": numbers}, "normal": {"numbers": numbers}, "anomalous": {"refused": "few"}}}
    inner = {"verdict": "passed", "reasons": [], "spaces": spaces}
    (tmp_path / "audit.json").write_text(json.dumps({"audit": inner, "alarms": [{"kind": "x", "text": "a class"}]}))
    found = tables.read_audit(tmp_path)
    assert found["verdict"] == "passed"
    assert found["alarms"][0]["text"] == "a class"
    table = tables.audit_table(found)
    assert len(table) == 6  # three figures of two groups
    shown = table[table["shown"]]
    assert shown["figure"].tolist() == ["copies", "attack_auc"]
    assert shown["where"].tolist() == ["pixels, all"] * 2
    assert shown.iloc[1][["value", "ci_low", "ci_high"]].tolist() == [0.52, 0.45, 0.59]


def test_components_are_those_of_the_real_images(tmp_path):
    """Real images vary along f0 + f1 alone (standardised: 45 degrees); synthetic ones lie far off at a right angle."""
    real = np.array([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    synthetic = np.array([[5.0, -5.0]])
    values = pd.DataFrame(np.concatenate([real, synthetic]), columns=["f0", "f1"])
    values.insert(0, "label", [0, 1, 0, 1, 1])
    values.insert(0, "kind", ["real"] * 4 + ["synthetic"])
    values.to_csv(tmp_path / "features.csv", index=False)
    points, explained = tables.feature_table(tmp_path)
    assert explained[0] == pytest.approx(1.0)
    assert points["class"].tolist() == ["normal", "anomalous", "normal", "anomalous", "anomalous"]
    away = points.iloc[-1]
    assert away["x"] == pytest.approx(0.0, abs=1e-9)
    # each feature has the standard deviation sqrt(1/2): 5 is 7.07 of them, and twice that at a right angle is 10
    assert abs(away["y"]) == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("say", "told"),
    [
        (words.arm_title("hybrid_0.25_replace"), "Hybrid 0.25 replacing"),
        (words.arm_title("real_augmented"), "Augmented real"),
        (words.arm_title("something else"), "something else"),
        (words.signed(-0.0123), "−0.012"),
        (words.signed(0.0123), "+0.012"),
        (words.number(-0.0001), "0.000"),
        (words.number(float("nan")), "–"),
        (words.number(None), "–"),
        (words.bounds(-0.1, 0.2, with_sign=True), "−0.100 to +0.200"),
        (words.p_value(0.0004), "<\N{NO-BREAK SPACE}0.001"),
        (words.p_value(0.04), "0.040"),
        (words.size_text(0), "all subjects"),
        (words.percent(0.5), "50 %"),
    ],
)
def test_words(say, told):
    assert say == told


@pytest.mark.parametrize(
    ("name", "content", "told", "read"),
    [
        ("audit.json", "[]", "verdict", tables.read_audit),
        ("features.csv", "kind,label,f0\nreal,0,1\n", "at least 2 columns", tables.feature_table),
        ("shortcuts.csv", "title,auc\nx,0.5\n", "no column name", lambda folder: tables.shortcut_table(folder, 0.95)),
        ("runs.csv", "seed\n1\n", "no column", tables.run_table),
        ("generators.csv", "", "not readable", tables.generator_table),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(tmp_path, name, content, told, read):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=f"{name}.*{told}"):
        read(tmp_path)


def test_all_subjects_come_last():
    assert sorted([0, 200, 50], key=words.by_size) == [50, 200, 0]
