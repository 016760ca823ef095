"""A card says what the registry knows of a version, and admits what nobody knows."""

import dataclasses
import json
import re

import pytest
from mlflow.entities import Dataset, DatasetInput, InputTag

from mlproject import promotion, registry
from mlproject.card_facts import NO, NOT_APPLICABLE, PART, YES, Facts
from mlproject.card_items import CLAIM, CLAIM_ITEMS, TRIPOD, TRIPOD_ITEMS, judge_items
from mlproject.card_lines import metric_rows
from mlproject.card_rules import RULES
from mlproject.cards import card_facts, card_text, describe
from mlproject.config import load_config
from mlproject.registry import CLASSIFIER, GENERATOR
from mlproject.tracking import entry_run

VALIDATION = {"val.auc": 0.9, "val.auc.ci_low": 0.85, "val.auc.ci_high": 0.94}
SHORTCUTS = {"shortcut.val.grey_mean_sd_auc": 0.6, "shortcut.val.grey_mean_sd_auc.ci_low": 0.5,
             "shortcut.val.grey_mean_sd_auc.ci_high": 0.7}  # fmt: skip
TEST = {"test.auc": 0.87654, "test.auc.ci_low": 0.8, "test.auc.ci_high": 0.92, "test.readings": 3.0,
        "test.brier": 0.1, "test.brier.ci_low": 0.08, "test.brier.ci_high": 0.13}  # fmt: skip


def test_figures_begin_with_those_of_test_and_these_with_the_auc():
    figures = dict.fromkeys(("val.auc", "val.loss", "test.f1", "test.accuracy", "test.auc", "test.auc.ci_low"), 0.5)
    names = [name for name, _, _ in metric_rows(figures)]
    assert names == ["Test AUC", "Test Accuracy", "Test F1", "Validation AUC", "Validation Loss"]


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
    # the version says the same in the registry, the score first: a list of versions shows no more
    assert version.description.splitlines()[:2] == [card.splitlines()[3], card.splitlines()[2]]
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
    assert "| Validation AUC&emsp; | 0.900 (0.850 to 0.940) |" in about
    assert "- It was not evaluated on test: validation chose its step and flatters it." in about
    assert "Card:" not in about, "none was written"
    # a run that measures it on test describes it before it ends
    with entry_run(store, "eval_classifier", load_config()) as run:
        run.log_metrics(TEST)
        describe(store, second, run.id)
    about = store.client.get_model_version(CLASSIFIER, "2").description
    assert "| Test AUC&emsp; | 0.877 (0.800 to 0.920) |" in about
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
    meta = {"data_kind": "phantom_not_clinical", "preprocessing": {"size": 64}, "train_subjects": ["s0"],
            "config": {"class_weighting": "balanced", "weights": "packaged"}, "best_step": 3, "threshold": 0.5,
            "operating_point": {"threshold": 0.4}, "label_rule": {"rule": "drawn", "text": "rule"},
            "data_digest": "d" * 64}  # fmt: skip
    settings = {"generator": False, "meta": meta | changes.pop("meta", {}), "tags": {"git_commit": "c" * 40},
                "metrics": VALIDATION | SHORTCUTS | TEST, "evaluated_on": "d" * 64,
                "counts": {"train": {"images": 4, "subjects": 2, "normal": 2, "anomalous": 2}}}  # fmt: skip
    return Facts(**{**settings, **changes})


def answer_to(number, guideline, given):
    (found,) = [
        verdict
        for verdict in judge_items(given)
        if verdict.guideline == guideline and verdict.item.split()[0] == number
    ]
    assert found.told
    return found.answer


CLINICAL = {"meta": {"data_kind": "clinical_frames"}}
IMPORTED = {"meta": {"data_kind": "user_images", "label_rule": {"rule": "given", "text": "as given"}}}
DRAWING = {"generator": True, "meta": {"config": {"architecture": "compact"}}, "metrics": {"fidelity.a.kid": 0.1}}
UNSEEN = {"metrics": TEST | {"test.unseen_site_C.auc": 0.7}}


@pytest.mark.parametrize(
    ("guideline", "number", "change", "answer"),
    [
        # a digest is no source
        (CLAIM, "7", {}, YES),
        (CLAIM, "7", CLINICAL, YES),
        (CLAIM, "7", IMPORTED, NO),
        # what a crop shows of the raw image, not which subjects were used
        (CLAIM, "10", {"meta": {"preprocessing": {}}}, NO),
        (CLAIM, "10", CLINICAL, PART),
        (CLAIM, "11", {}, NOT_APPLICABLE),
        (CLAIM, "11", CLINICAL, NO),
        # labels that came with the images are not defined by saying so
        (CLAIM, "14", {}, YES),
        (CLAIM, "14", IMPORTED, NO),
        (CLAIM, "16", CLINICAL, PART),
        (CLAIM, "19", {}, PART),
        (CLAIM, "19", {"counts": {}}, NO),
        # the public release has no patient ids
        (CLAIM, "20", CLINICAL, PART),
        (CLAIM, "22", DRAWING, YES),
        (CLAIM, "24", {"meta": {"config": {"weights": "none"}}}, PART),
        (CLAIM, "26", DRAWING, NO),
        (CLAIM, "26", DRAWING | {"params": {"fidelity.while_training": "256"}}, YES),
        (CLAIM, "29", {}, YES),
        (CLAIM, "29", {"metrics": TEST | {"val.f1": 0.9}}, PART),
        (CLAIM, "29", {"metrics": {"val.auc": 0.9}}, NO),
        # shortcut baselines are other models
        (CLAIM, "30", {}, NO),
        (CLAIM, "30", UNSEEN, YES),
        (CLAIM, "32", {}, PART),
        (CLAIM, "32", {"metrics": VALIDATION}, NO),
        (CLAIM, "32", {"evaluated_on": "e" * 64}, NO),
        (CLAIM, "33", UNSEEN, NO),  # the phantom's unseen site is simulated, too
        (CLAIM, "33", {"evaluated_on": "e" * 64}, PART),
        (CLAIM, "38", DRAWING, NOT_APPLICABLE),
        (CLAIM, "42", {"tags": {"git_commit": "unknown"}}, NO),
        (CLAIM, "44", {}, NO),
        (TRIPOD, "1", {}, PART),
        (TRIPOD, "13", {}, PART),
        (TRIPOD, "13", {"meta": {"config": {"class_weighting": "none", "oversample": "none"}}}, NOT_APPLICABLE),
        (TRIPOD, "13", {"meta": {"config": {"class_weighting": "none", "oversample": "real"}}}, PART),
        (TRIPOD, "15", {}, YES),
        (TRIPOD, "15", {"meta": {"operating_point": None}}, PART),
        (TRIPOD, "16", {"evaluated_on": "e" * 64}, NO),
        (TRIPOD, "17", CLINICAL, NO),
        (TRIPOD, "18d", {}, NO),
        (TRIPOD, "18e", IMPORTED, NO),
        (TRIPOD, "23a", {}, YES),
        (TRIPOD, "23a", CLINICAL, PART),
        (TRIPOD, "23a", {"metrics": VALIDATION}, NO),
    ],
)
def test_an_item_is_answered_by_what_was_recorded_alone(guideline, number, change, answer):
    assert answer_to(number, guideline, facts(**change)) == answer


def test_every_item_has_a_rule_and_every_rule_is_used():
    assert {rule for _, _, rule in (*CLAIM_ITEMS, *TRIPOD_ITEMS)} == set(RULES)
    assert [number for number, _, _ in CLAIM_ITEMS] == [str(number) for number in range(1, 45)]
    # TRIPOD+AI: 27 items, in 52 parts; how many parts each has, where it has any
    parts = {3: 3, 5: 2, 6: 3, 8: 3, 9: 3, 12: 7, 18: 6, 20: 3, 23: 2, 27: 3}
    expected = [
        f"{item}{letter}" for item in range(1, 28) for letter in ("abcdefg"[: parts[item]] if item in parts else [""])
    ]
    assert [number for number, _, _ in TRIPOD_ITEMS] == expected
    assert len(expected) == 52


def test_the_card_counts_what_it_lists(store, registered, tmp_path):
    card = release(store, registered(CLASSIFIER, VALIDATION), tmp_path)
    rows = re.findall(r"\| (CLAIM 2024|TRIPOD\+AI) \| .* \| (yes|in part|no|not applicable) \| ", card)
    for guideline, total in (("CLAIM 2024", 44), ("TRIPOD+AI", 52)):
        given = [answer for name, answer in rows if name == guideline]
        assert len(given) == total
        yes, part, no, other = (given.count(word) for word in (YES, PART, NO, NOT_APPLICABLE))
        assert f"{guideline}: {yes} of {total} items met, {part} in part, {no} not, {other} not applicable" in card
        assert min(yes, part, no, other) > 0


def test_files_that_a_card_points_to_exist():
    from mlproject.config import PROJECT_ROOT

    variants = [
        facts(**change)
        for change in ({}, CLINICAL, IMPORTED, DRAWING, DRAWING | {"meta": {"config": {"architecture": "dcgan"}}})
    ]
    texts = [text for given in variants for text in (*(verdict.told for verdict in judge_items(given)),)]
    named = {path for text in texts for path in re.findall(r"\b(?:[\w-]+/)*[\w-]+\.(?:py|md|yaml)\b", text)}
    assert "src/mlproject/gan/dcgan.py" in named
    for path in named:
        assert (PROJECT_ROOT / path).is_file(), path


def described(card_meta, **changes):
    """Facts of a classifier whose description is the given one and more."""
    return Facts(False, {**card_meta, **changes}, {"sha256": "0" * 64})


def test_each_mix_says_what_it_was_trained_on(classifier_folder, store, registered):
    model = registry.resolve(store, registered(CLASSIFIER), CLASSIFIER)
    config = model.meta["config"] | {"synthetic_per_class": 7, "synthetic_fraction": 0.25, "mix_mode": "add"}
    drawn = {"generator_digest": "a" * 64, "generator_subjects": ["g0", "g1"]}
    cards = {
        mix: card_text(model, described(model.meta, mix=mix, config=config | {"mix": mix}, **more), [])
        for mix, more in (("real", {}), ("synthetic", drawn), ("hybrid", drawn))
    }
    assert "Training images: real alone." in section(cards["real"], "Model")
    assert "\n## Audit\n" not in cards["real"]
    assert "synthetic alone, at most 7 of each class" in section(cards["synthetic"], "Model")
    assert "none of its own; the 2 of its generator are listed" in section(cards["synthetic"], "Data")
    assert "Training subjects: 1, listed" in section(cards["hybrid"], "Data")
    assert "an expected share of 0.25 synthetic, mode `add`" in section(cards["hybrid"], "Model")
    for mix in ("synthetic", "hybrid"):
        assert "Privacy audit of its generator: not run." in section(cards[mix], "Audit")
        assert "has not passed a privacy audit" in section(cards[mix], "Limits")


def test_a_synthetic_classifier_s_card_tells_the_audit_of_its_generator(store, registered):
    model = registry.resolve(store, registered(CLASSIFIER), CLASSIFIER)
    model.meta["generator_digest"] = "a" * 64
    with entry_run(store, "eval_gan", load_config()) as run:
        run.set_tags({"generator_digest": "a" * 64, "audit": "pass", "conditioning": "ok", "diversity": "ok"})
    card = card_text(model, card_facts(store, model), [])
    assert "Privacy audit of its generator: pass." in section(card, "Audit")
    assert "privacy audit" not in section(card, "Limits")


def test_a_test_on_other_data_is_called_that(store, registered):
    model = registry.resolve(store, registered(CLASSIFIER), CLASSIFIER)
    with entry_run(store, "eval_classifier", load_config()) as run:
        run.set_tags({"classifier_digest": model.digest, "data_digest": "e" * 64})
        run.log_metrics(TEST)
    assert f"another data set than it was trained on, `{'e' * 64}`" in card_text(model, card_facts(store, model), [])


def test_intervals_carry_their_level_and_decisions_their_threshold(store, registered):
    model = registry.resolve(store, registered(CLASSIFIER, VALIDATION), CLASSIFIER)
    model.meta["operating_point"] = {"threshold": 0.3125}
    given = card_facts(store, model)
    assert given.levels == ("0.95",)
    card = card_text(model, given, [])
    assert "| metric | value | 95 % interval |" in section(card, "Metrics")
    assert "from 0.312 on, Youden's point on validation; the metrics below take 0.5" in section(card, "Model")


def test_the_splits_are_those_of_the_data_set_that_the_run_was_given(store, registered):
    reference = registered(GENERATOR)
    model = registry.resolve(store, reference, GENERATOR)
    counts = {
        split: {"images": 4, "subjects": number, "normal": 2, "anomalous": 2}
        for number, split in enumerate(("train", "val", "test"), start=1)
    }
    given = Dataset("made", "d" * 8, "local", "{}", profile=json.dumps(counts))
    store.client.log_inputs(model.run_id, [DatasetInput(given, [InputTag("mlflow.data.context", "train")])])
    found = card_facts(store, model)
    assert found.counts == counts
    data = section(card_text(model, found, []), "Data")
    assert "Split train of the data set, to train on: 1 subjects, 4 images (2 normal, 2 anomalous)." in data
    assert "Split test of the data set, not read: 3 subjects" in data


def test_a_generator_s_card_names_its_architecture_and_how_its_step_was_chosen(store, registered):
    model = registry.resolve(store, registered(GENERATOR), GENERATOR)
    model.meta.update(config={"architecture": "compact", "steps": 9, "ema_images": 10.0}, step=8)
    told = section(card_text(model, card_facts(store, model), []), "Model")
    assert "architecture `compact`" in told
    assert "9 generator steps; the weights are their moving average at step 8, of the lowest KID" in told
    model.meta["config"] |= {"ema_images": 0, "epochs": 3}
    last = dataclasses.replace(card_facts(store, model), params={"fidelity.while_training": "0"})
    assert "3 epochs; the weights are those of step 8, the last." in section(card_text(model, last, []), "Model")


def test_the_classifier_s_own_description_is_enough_for_its_card(classifier_folder, store, registered):
    described = json.loads((classifier_folder / "classifier.json").read_text())
    model = registry.resolve(store, registered(CLASSIFIER), CLASSIFIER)
    assert model.meta == described
    card = card_text(model, card_facts(store, model), [])
    assert described["backbone"] in section(card, "Model")
    assert "?" not in section(card, "Model")
