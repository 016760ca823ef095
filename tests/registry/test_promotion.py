"""Gates: what opens them, what does not, and that nothing moves when one stays shut."""

import json
import math

import pytest
import yaml

from mlproject import promotion, registry
from mlproject.checksums import verify_checksums
from mlproject.errors import UserError
from mlproject.promotion import Gate, ModelRules, check_gates, read_rules
from mlproject.registry import CLASSIFIER, GENERATOR

GOOD = {"val.auc": 0.9, "val.auc.ci_low": 0.85, "shortcut.val.box_height_auc": 0.6, "shortcut.val.mean_grey_auc": 0.55}


def judged(gate, tags=None, metrics=None):
    (outcome,) = check_gates(ModelRules((), (Gate("g", **gate),)), tags or {}, metrics or {})
    return outcome.passed


@pytest.mark.parametrize(
    ("gate", "metrics", "expected"),
    [
        ({"figure": "a", "at_least": 0.8}, {"a": 0.8}, True),
        ({"figure": "a", "at_least": 0.8}, {"a": 0.7999}, False),
        ({"figure": "a", "at_least": 0.8}, {}, False),  # never measured
        ({"figure": "a", "at_least": 0.8}, {"a": math.nan}, False),
        ({"figure": "a", "above": "b.*", "by": 0.25}, {"a": 0.75, "b.x": 0.5, "b.y": 0.25}, True),
        ({"figure": "a", "above": "b.*", "by": 0.25}, {"a": 0.75, "b.x": 0.5, "b.y": 0.5625}, False),  # the largest
        ({"figure": "a", "above": "b.*", "by": 0.25}, {"a": 0.75}, False),  # nothing to compare with
        ({"figure": "a", "above": "b.*", "by": 0.25}, {"a": 0.75, "b.x": math.nan, "b.y": 0.0}, False),
    ],
)
def test_a_numeric_gate(gate, metrics, expected):
    assert judged(gate, metrics=metrics) is expected


def test_a_gate_on_a_verdict_asks_for_the_very_word():
    gate = {"figure": "audit.verdict", "equals": "passed"}
    assert judged(gate, tags={"audit.verdict": "passed"})
    assert not judged(gate, tags={"audit.verdict": "undecided"})
    assert not judged(gate)


def test_a_tag_that_is_missing_empty_or_unknown_is_not_carried():
    rules = ModelRules(("git_commit",), ())
    for tags, expected in [({"git_commit": "abc"}, True), ({"git_commit": "unknown"}, False), ({}, False)]:
        assert check_gates(rules, tags, {})[0].passed is expected


def test_the_declared_rules_are_read_and_cover_both_models():
    rules = read_rules()
    assert set(rules) == {GENERATOR, CLASSIFIER}
    for model in rules.values():
        assert {"sha256", "payload_sha256", "data_digest", "git_commit", "git_dirty"} <= set(model.must_carry)
        assert model.gates


@pytest.mark.parametrize(
    "gate",
    [
        {"name": "g", "figure": "a"},
        {"name": "g", "figure": "a", "at_least": 1, "equals": "x"},
        {"name": "g", "figure": "a", "at_least": "high"},
        {"name": "g", "figure": "a", "at_least": float("nan")},
        {"name": "g", "figure": "a", "at_most": 1},
        {"figure": "a", "at_least": 1},
        "g",
    ],
)
def test_a_gate_that_says_nothing_clear_is_refused(tmp_path, gate):
    path = tmp_path / "models.yaml"
    path.write_text(yaml.safe_dump({"nt-gan": {"gates": [gate]}}))
    with pytest.raises(UserError, match="nt-gan"):
        read_rules(path)


@pytest.fixture
def with_git(monkeypatch):
    """A checkout's state, wherever the tests run."""
    monkeypatch.setattr("mlproject.environment.git_tags", lambda: {"git_commit": "c" * 40, "git_dirty": "false"})


@pytest.mark.usefixtures("with_git")
def test_promotion_moves_the_alias_and_prints_each_gate_with_its_figure(store, registered, capsys):
    model = promotion.promote(store, registered(CLASSIFIER, GOOD), CLASSIFIER, "approved")
    assert store.client.get_model_version_by_alias(CLASSIFIER, "approved").version == model.version
    printed = capsys.readouterr().out
    assert "pass  AUC on validation: val.auc 0.900, at least 0.8 asked" in printed
    assert "shortcut.val.*_auc 0.600 and 0.05 above it asked" in printed
    assert "FAIL" not in printed


@pytest.mark.usefixtures("with_git")
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"val.auc": 0.62}, r"AUC above the best shortcut baseline \(val.auc 0.620, .*0.600 and 0.05"),
        ({"val.auc.ci_low": 0.4}, r"lower end of its interval \(val.auc.ci_low 0.400, at least 0.7"),
    ],
)
def test_a_version_that_fails_a_gate_is_refused_with_the_gate_and_its_figure(store, registered, change, told):
    good = registered(CLASSIFIER, GOOD)
    promotion.promote(store, good, CLASSIFIER, "approved")
    bad = registered(CLASSIFIER, GOOD | change)
    with pytest.raises(UserError, match=told):
        promotion.promote(store, bad, CLASSIFIER, "approved")
    assert str(store.client.get_model_version_by_alias(CLASSIFIER, "approved").version) == good.rsplit("/", 1)[1]


@pytest.mark.usefixtures("with_git")
def test_a_generator_needs_its_audit(store, registered):
    with pytest.raises(UserError, match="audit.verdict is not recorded"):
        promotion.promote(store, registered(GENERATOR), GENERATOR, "approved")
    audited = {"audit.verdict": "passed", "audit.conditioning_auc": "0.91"}
    promotion.promote(store, registered(GENERATOR, **audited), GENERATOR, "approved")


@pytest.mark.usefixtures("with_git")
def test_a_release_writes_verified_weights_and_the_digest_once(store, registered, tmp_path):
    reference = registered(CLASSIFIER, GOOD)
    for _ in range(2):
        folder = promotion.release(store, reference, CLASSIFIER, tmp_path / "released")
    model = registry.resolve(store, reference, CLASSIFIER)
    assert verify_checksums(folder) == model.digest
    content = json.loads(registry.RELEASED.read_text())
    (entry,) = content[CLASSIFIER]
    assert entry["run_id"] == model.run_id
    assert entry["sha256"] == store.client.get_model_version(CLASSIFIER, "1").tags["sha256"]
    assert not any(row.problem for row in registry.verify_all(store))


@pytest.mark.usefixtures("with_git")
def test_a_release_through_a_shut_gate_leaves_nothing(store, registered, tmp_path):
    with pytest.raises(UserError, match="does not pass"):
        promotion.release(store, registered(CLASSIFIER, {"val.auc": 0.5}), CLASSIFIER, tmp_path / "released")
    assert not (tmp_path / "released").exists()
    assert not registry.RELEASED.exists()
