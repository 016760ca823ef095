"""Gates: what opens them, what does not, and that nothing moves when one stays shut."""

import json
import math

import pytest
import yaml

from mlproject import promotion, registry
from mlproject.checksums import verify_checksums
from mlproject.errors import UserError
from mlproject.promotion import Gate, Rules, check_gates, read_rules
from mlproject.registry import CLASSIFIER, GENERATOR

GOOD = {"val.auc": 0.9, "val.auc.ci_low": 0.85, "shortcut.val.box_height_auc": 0.6, "shortcut.val.mean_grey_auc": 0.55}


def judged(gate, tags=None, metrics=None):
    (outcome,) = check_gates(Rules((), (Gate("g", **gate),)), tags or {}, metrics or {})
    return outcome.passed


@pytest.mark.parametrize(
    ("gate", "metrics", "expected"),
    [
        ({"figure": "a", "at_least": 0.8}, {"a": 0.8}, True),
        ({"figure": "a", "at_least": 0.8}, {"a": 0.7999}, False),
        ({"figure": "a", "at_least": 0.8}, {}, False),  # never measured
        ({"figure": "a", "at_least": 0.8}, {"a": math.nan}, False),
        ({"figure": "a", "above": "b.*"}, {"a": 0.75, "b.x": 0.5, "b.y": 0.74}, True),
        ({"figure": "a", "above": "b.*"}, {"a": 0.75, "b.x": 0.5, "b.y": 0.75}, False),  # the largest, and not above
        ({"figure": "a", "above": "b.*"}, {"a": 0.75}, False),  # nothing to compare with
        ({"figure": "a", "above": "b.*"}, {"a": 0.75, "b.x": math.nan, "b.y": 0.0}, False),
    ],
)
def test_a_numeric_gate(gate, metrics, expected):
    assert judged(gate, metrics=metrics) is expected


def test_a_gate_on_a_verdict_asks_for_the_very_word():
    gate = {"figure": "audit", "equals": "pass"}
    assert judged(gate, tags={"audit": "pass"})
    assert not judged(gate, tags={"audit": "fail"})
    assert not judged(gate)


def test_a_tag_that_is_missing_empty_or_unknown_is_not_carried():
    rules = Rules(("git_commit",), ())
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
        {"name": "g", "figure": "a", "at_least": True},
        "g",
    ],
)
def test_a_gate_that_says_nothing_clear_is_refused(tmp_path, gate):
    path = tmp_path / "models.yaml"
    path.write_text(yaml.safe_dump({"nt-gan": {"gates": [gate]}}))
    with pytest.raises(UserError, match="nt-gan"):
        read_rules(path)


@pytest.mark.parametrize("content", [{"must_carry": ["sha256"]}, {"gates": []}, {"gate": []}, []])
def test_a_model_without_gates_is_refused(tmp_path, content):
    path = tmp_path / "models.yaml"
    path.write_text(yaml.safe_dump({"nt-gan": content}))
    with pytest.raises(UserError, match="nt-gan"):
        read_rules(path)


@pytest.fixture
def with_git(monkeypatch):
    """A checkout's state, wherever the tests run."""
    monkeypatch.setattr("mlproject.environment.git_tags", lambda: {"git_commit": "c" * 40, "git_dirty": "false"})


def number(reference: str) -> str:
    return reference.rsplit("/", 1)[1]


@pytest.mark.usefixtures("with_git")
def test_promotion_moves_the_alias_and_prints_each_gate_with_its_figure(store, registered, capsys):
    model = promotion.promote(store, CLASSIFIER, number(registered(CLASSIFIER, GOOD)), "approved")
    assert str(store.client.get_model_version_by_alias(CLASSIFIER, "approved").version) == model.version
    printed = capsys.readouterr().out
    assert "pass  validation AUC: val.auc.ci_low is 0.850, expected at least 0.6" in printed
    assert "val.auc is 0.900, expected above shortcut.val.*_auc, 0.600" in printed
    assert "FAIL" not in printed
    # an alias names a version, too
    promotion.promote(store, CLASSIFIER, "@approved", "champion")
    assert str(store.client.get_model_version_by_alias(CLASSIFIER, "champion").version) == model.version


@pytest.mark.usefixtures("with_git")
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"val.auc": 0.58}, r"better than every shortcut \(val.auc is 0.580, .*0.600\)"),
        ({"val.auc.ci_low": 0.4}, r"validation AUC \(val.auc.ci_low is 0.400, expected at least 0.6\)"),
    ],
)
def test_a_version_that_fails_a_gate_is_refused_with_the_gate_and_its_figure(store, registered, change, told):
    good = number(registered(CLASSIFIER, GOOD))
    promotion.promote(store, CLASSIFIER, good, "approved")
    bad = number(registered(CLASSIFIER, GOOD | change))
    with pytest.raises(UserError, match=told):
        promotion.promote(store, CLASSIFIER, bad, "approved")
    assert str(store.client.get_model_version_by_alias(CLASSIFIER, "approved").version) == good


@pytest.mark.usefixtures("with_git")
def test_a_generator_needs_its_audit_and_its_conditioning(store, registered):
    with pytest.raises(UserError, match=r"privacy audit \(audit is missing, .*conditioning is missing"):
        promotion.promote(store, GENERATOR, number(registered(GENERATOR)), "approved")
    ignored = number(registered(GENERATOR, audit="pass", conditioning="ignored", diversity="ok"))
    with pytest.raises(UserError, match="conditioning is ignored, expected ok"):
        promotion.promote(store, GENERATOR, ignored, "approved")
    audited = number(registered(GENERATOR, audit="pass", conditioning="ok", diversity="ok"))
    promotion.promote(store, GENERATOR, audited, "approved")


def test_a_version_from_outside_a_checkout_lacks_its_commit(store, registered, monkeypatch):
    unknown = {"git_commit": "unknown", "git_dirty": "unknown"}
    monkeypatch.setattr("mlproject.environment.git_tags", lambda: unknown)
    version = number(registered(CLASSIFIER, GOOD))
    with pytest.raises(UserError, match="carries git_commit"):
        promotion.promote(store, CLASSIFIER, version, "approved")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nt-gam", "1", "champion"), "did you mean nt-gan"),
        ((GENERATOR, "", "champion"), "no version given"),
        ((GENERATOR, "9", "champion"), "no such version"),
        ((GENERATOR, "@best", "champion"), "no such version"),
        ((GENERATOR, "newest", "champion"), "version number"),
        ((GENERATOR, "1", ""), "no alias given"),
    ],
)
def test_what_cannot_be_promoted_is_named(store, arguments, told):
    with pytest.raises(UserError, match=told):
        promotion.promote(store, *arguments)


@pytest.mark.usefixtures("with_git")
def test_a_release_writes_verified_weights_and_the_digest_once(store, registered, released_json, tmp_path):
    reference = registered(CLASSIFIER, GOOD)
    for _ in range(2):
        folder = promotion.release(store, CLASSIFIER, "1", tmp_path / "shelf")
    model = registry.resolve(store, reference, CLASSIFIER)
    assert verify_checksums(folder) == model.digest
    digest = store.client.get_model_version(CLASSIFIER, "1").tags["sha256"]
    entry = {"version": "1", "sha256": digest, "payload_sha256": model.digest}
    assert json.loads(released_json.read_text()) == {CLASSIFIER: {model.run_id: entry}}
    assert digest in (tmp_path / "shelf" / "nt-classifier-1.txt").read_text()
    assert not any(verdict.problem for verdict in registry.verify_all(store))
