"""A card says what the registry knows of a version, and admits what nobody knows."""

import json
import re

import pytest

from mlproject import promotion, registry
from mlproject.card_items import CLAIM_ITEMS, RULES, TRIPOD_ITEMS, Facts, judge_items
from mlproject.cards import card_facts, card_text, describe
from mlproject.config import load_config
from mlproject.registry import CLASSIFIER, GENERATOR
from mlproject.tracking import entry_run

VALIDATION = {"val.auc": 0.9, "val.auc.ci_low": 0.85, "val.auc.ci_high": 0.94}
SHORTCUTS = {"shortcut.val.grey_mean_sd_auc": 0.6, "shortcut.val.grey_mean_sd_auc.ci_low": 0.5,
             "shortcut.val.grey_mean_sd_auc.ci_high": 0.7}  # fmt: skip
TEST = {"test.auc": 0.87654, "test.auc.ci_low": 0.8, "test.auc.ci_high": 0.92, "test.readings": 3.0,
        "test.brier": 0.1, "test.brier.ci_low": 0.08, "test.brier.ci_high": 0.13}  # fmt: skip


def log_evaluation(store, stage, key, digest, metrics):
    with entry_run(store, stage, load_config()) as run:
        run.set_tags({key: digest})
        run.log_metrics(metrics)


def release(store, reference, tmp_path):
    name, version = reference.removeprefix("models:/").split("/")
    promotion.release(store, name, version, tmp_path / "shelf")
    digest = store.client.get_model_version(name, version).tags["sha256"]
    return (tmp_path / "registry" / "cards" / f"{name}-{digest[:12]}.md").read_text(encoding="utf-8")


def section(card, title):
    return card.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_the_card_of_a_released_classifier(store, registered, tmp_path):
    reference = registered(CLASSIFIER, VALIDATION | SHORTCUTS)
    model = registry.resolve(store, reference, CLASSIFIER)
    log_evaluation(store, "eval_classifier", "classifier_digest", model.digest, TEST)
    card = release(store, reference, tmp_path)
    assert card.startswith("# nt-classifier, real classifier\n")
    assert "| Test AUC | 0.877 | 0.800 to 0.920 |" in section(card, "Metrics")
    assert "| Validation AUC | 0.900 | 0.850 to 0.940 |" in section(card, "Metrics")
    assert "had been read 3 times" in section(card, "Metrics")
    assert "| shortcut.val.grey_mean_sd_auc | 0.600 | 0.500 to 0.700 |" in section(card, "Shortcuts")
    assert "phantom, not clinical" in section(card, "Data")
    assert "Not for diagnosis" in section(card, "Intended use")
    version = store.client.get_model_version(CLASSIFIER, "1")
    assert version.tags["sha256"] in section(card, "Integrity")
    assert model.digest in section(card, "How to load")
    assert "pass better than every shortcut" in section(card, "Gates")
    # the version says the same in the registry
    assert version.description.splitlines()[0] == card.splitlines()[2]
    assert "Test AUC 0.877, interval 0.800 to 0.920." in version.description
    assert "not for clinical use" in version.description
    assert re.search(r"Card: registry/cards/nt-classifier-\w{12}\.md", version.description)


def test_the_card_of_a_generator_tells_its_audit(store, registered, tmp_path):
    reference = registered(GENERATOR, audit="fail", conditioning="ignored", diversity="ok")
    model = registry.resolve(store, reference, GENERATOR)
    found = {"audit.pixels.copies": 2.0, "fidelity.all.kid": 0.01, "loss": 5.0}
    log_evaluation(store, "eval_gan", "generator_digest", model.digest, found)
    card = release(store, reference, tmp_path)
    assert "Privacy audit: fail." in section(card, "Audit")
    assert "in the images: ignored" in section(card, "Audit")
    assert "has not passed a privacy audit" in section(card, "Limits")
    assert "| audit.pixels.copies | 2.000 | - |" in section(card, "Metrics")
    assert "loss" not in section(card, "Metrics")
    assert "load_generator" in section(card, "How to load")
    # a guideline on prediction models does not hold for a generator
    assert "TRIPOD" not in card


def test_a_version_that_was_never_measured_says_so(store, registered, tmp_path):
    card = release(store, registered(CLASSIFIER), tmp_path)
    assert "None was measured." in section(card, "Metrics")
    assert "No score was measured." in card
    assert "not evaluated on test" in section(card, "Limits")
    assert "\n## Shortcuts\n" not in card


def test_the_registry_s_pages_say_what_a_version_is_and_which_one_has_which_alias(store, registered):
    first, second = (registry.resolve(store, registered(CLASSIFIER, VALIDATION), CLASSIFIER) for _ in range(2))
    store.client.set_registered_model_alias(CLASSIFIER, "champion", second.version)
    store.client.set_registered_model_alias(CLASSIFIER, "real", first.version)
    for model in (first, second):
        describe(store, model)
    about = store.client.get_model_version(CLASSIFIER, "2").description
    assert "trained on real images (phantom, not clinical data)." in about
    assert "| Validation AUC | 0.900 | 0.850 to 0.940 |" in about
    assert "- It was not evaluated on test: validation chose its step and flatters it." in about
    assert "Card:" not in about, "none was written"
    # a run that measures it on test describes it before it ends
    with entry_run(store, "eval_classifier", load_config()) as run:
        run.log_metrics(TEST)
        describe(store, second, run.id)
    about = store.client.get_model_version(CLASSIFIER, "2").description
    assert "| Test AUC | 0.877 | 0.800 to 0.920 |" in about
    assert "not evaluated on test" not in about
    lines = store.client.get_registered_model(CLASSIFIER).description.splitlines()
    assert lines[0] == "Tells anomalous from normal ultrasound crops."
    assert [line.split(":")[0] for line in lines[3:]] == ["- **champion**, version 2", "- **real**, version 1"]
    assert "Test AUC 0.877" in lines[3]
    assert "Validation AUC 0.900" in lines[4]


def test_a_description_fits_into_what_mlflow_keeps(store, registered):
    model = registry.resolve(store, registered(GENERATOR), GENERATOR)
    many = {f"fidelity.lite0.{'x' * 150}{number}": 0.5 for number in range(40)}
    log_evaluation(store, "eval_gan", "generator_digest", model.digest, many)
    describe(store, model)
    about = store.client.get_model_version(GENERATOR, "1").description
    assert "28 more are on the pages of its runs." in about
    assert "has not passed a privacy audit" in about


def test_the_newest_evaluation_counts(store, registered):
    model = registry.resolve(store, registered(CLASSIFIER), CLASSIFIER)
    for value in (0.7, 0.8):
        log_evaluation(store, "eval_classifier", "classifier_digest", model.digest, {"test.auc": value})
    log_evaluation(store, "eval_classifier", "classifier_digest", "e" * 64, {"test.auc": 0.99})
    assert card_facts(store, model).metrics["test.auc"] == 0.8


def test_a_card_names_no_place_of_this_machine(store, registered, tmp_path):
    card = release(store, registered(CLASSIFIER, VALIDATION), tmp_path)
    assert str(tmp_path) not in card
    assert not re.search(r"(?<![\w.])/(home|tmp|root|work|Users)/", card)


def test_text_of_a_model_cannot_break_out_of_its_line(store, registered):
    model = registry.resolve(store, registered(CLASSIFIER), CLASSIFIER)
    model.meta["label_rule"] = {"text": "a\n# heading <script>alert(1)</script> | x"}
    card = card_text(model, Facts(False, model.meta, {"sha256": "0" * 64}), ["gate"])
    assert "<script>" not in card
    assert "\n# heading" not in card


def facts(**changes):
    meta = {"data_kind": "phantom_not_clinical", "preprocessing": {"size": 64}, "config": {"class_weighting": "x"},
            "train_subjects": ["s0"], "threshold": 0.5, "label_rule": {"text": "rule"}}  # fmt: skip
    tags = {"data_digest": "d" * 64, "git_commit": "c" * 40}
    settings = {"generator": False, "meta": meta, "tags": tags, "metrics": VALIDATION | SHORTCUTS | TEST}
    return Facts(**{**settings, **changes})


def verdict_on(item, given):
    (found,) = [verdict for verdict in judge_items(given) if verdict.item == item]
    return found


@pytest.mark.parametrize(
    ("item", "change", "met"),
    [
        ("23a Performance with intervals, calibration", {}, True),
        ("23a Performance with intervals, calibration", {"metrics": VALIDATION}, False),
        ("Evaluation on internal data", {"metrics": VALIDATION}, False),
        ("Statistical significance and uncertainty", {"metrics": {"val.auc": 0.9}}, False),
        ("Robustness or sensitivity analysis", {"metrics": TEST}, False),
        ("Data sources", {"tags": {}}, False),
        ("17 Ethical approval", {"meta": {"data_kind": "clinical_frames"}}, False),
        ("18e Data sharing", {"meta": {"data_kind": "user_images"}}, False),
        ("Testing on external data", {}, False),  # the phantom's unseen site is simulated, too
        ("Funding", {}, False),
    ],
)
def test_an_item_is_met_by_what_was_recorded_alone(item, change, met):
    found = verdict_on(item, facts(**change))
    assert found.met is met
    assert found.told


def test_every_item_has_a_rule_and_every_rule_is_used():
    used = {rule for _, rule in (*CLAIM_ITEMS, *TRIPOD_ITEMS)}
    assert used == set(RULES)
    # CLAIM 2024 has 44 items; TRIPOD+AI 27, in 52 parts
    assert len(CLAIM_ITEMS) == 44
    assert len(TRIPOD_ITEMS) == 52
    numbers = [int(re.match(r"\d+", item)[0]) for item, _ in TRIPOD_ITEMS]
    assert sorted(set(numbers)) == list(range(1, 28))
    assert numbers == sorted(numbers)


def test_the_card_counts_what_it_lists(store, registered, tmp_path):
    card = release(store, registered(CLASSIFIER, VALIDATION), tmp_path)
    rows = re.findall(r"\| (CLAIM 2024|TRIPOD\+AI) \| .* \| (yes|no) \| ", card)
    for guideline, total in (("CLAIM 2024", 44), ("TRIPOD+AI", 52)):
        met = [answer for name, answer in rows if name == guideline].count("yes")
        assert f"{guideline}: {met} of {total} items met" in card
        assert 0 < met < total


def test_files_that_a_card_points_to_exist():
    from mlproject.config import PROJECT_ROOT

    for rule in RULES.values():
        for path in re.findall(r"\b(?:src|docs|data)/[\w/]+\.\w+|\bconda\.yaml", rule.where):
            assert (PROJECT_ROOT / path).is_file(), path


def test_the_classifier_s_own_description_is_enough_for_its_card(classifier_folder, store, registered):
    described = json.loads((classifier_folder / "classifier.json").read_text())
    model = registry.resolve(store, registered(CLASSIFIER), CLASSIFIER)
    assert model.meta == described
    card = card_text(model, card_facts(store, model), [])
    assert described["backbone"] in section(card, "Model")
    assert "?" not in section(card, "Model")
