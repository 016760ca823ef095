"""The rules of a search on made-up trials: what is hopeless, what counts, what is lost, what is the result."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlproject.config import load_config
from mlproject.errors import UserError
from mlproject.stages.tune_result import repeat_commands
from mlproject.tuning import plan
from mlproject.tuning.budget import TrialRecord, all_fail, counted, front, lost, other_generators, ranked, verdict_on
from mlproject.tuning.pruning import Check, why_hopeless
from mlproject.tuning.report import Pair, choose, conclude, counts_text, trials_text
from mlproject.tuning.space import parse_space

OTHERS = [{50: Check(0.2, 0.6)}, {50: Check(0.4, 0.7)}, {50: Check(0.3, 0.8), 100: Check(0.1, 0.9)}]


def test_worse_than_the_median_in_both_figures_is_hopeless() -> None:
    # medians at step 50: KID 0.3, TSTR AUC 0.7
    reason = why_hopeless(50, Check(0.31, 0.69), OTHERS, 2)
    assert all(word in reason for word in ("step 50", "0.31", "0.690", "0.3 ", "0.700", "3 other"))
    assert why_hopeless(50, Check(0.31, 0.7), OTHERS, 2) == "", "it teaches the class as well as half of the others"
    assert why_hopeless(50, Check(0.3, 0.5), OTHERS, 2) == "", "its images are as near as half of the others'"


def test_too_few_others_at_that_step_judge_nobody() -> None:
    assert why_hopeless(50, Check(9, 0), OTHERS, 3)
    assert why_hopeless(50, Check(9, 0), OTHERS, 4) == ""
    assert why_hopeless(100, Check(9, 0), OTHERS, 2) == "", "one other was measured at step 100"
    assert why_hopeless(70, Check(9, 0), OTHERS, 0) == "", "and nobody at step 70"


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8))
def test_the_generator_that_is_best_in_one_figure_is_never_stopped(figures) -> None:
    checks = [Check(*pair) for pair in figures]
    for best in (min(checks, key=lambda check: check.kid), max(checks, key=lambda check: check.tstr_auc)):
        others = [{1: check} for check in checks if check is not best]
        assert why_hopeless(1, best, others, 1) == ""


def trial(number: int, state: str = "COMPLETE", value: float = 0.5, **notes) -> TrialRecord:
    values = (value,) if state == "COMPLETE" else ()
    settings = notes.pop("settings", {"gan.lambda_gp": float(number)})
    return TrialRecord(number, state, settings, values, notes, notes.pop("retries", ()))


def test_every_trial_counts_once_however_often_it_is_begun() -> None:
    died, erred = trial(1, "FAIL"), trial(2, "FAIL", error="not finite")
    assert lost([trial(0), died, erred]) == [died]
    assert counted([trial(0), died, erred]) == 2, "a trial that is lost is done again, one that failed is not"
    again = trial(3, "WAITING", retries=(1,))
    assert lost([trial(0), died, again]) == []
    assert counted([trial(0), died, again]) == 1, "what waits has not begun"
    assert counted([trial(0), died, trial(3, retries=(1,))]) == 2
    assert counted([trial(0, "RUNNING"), trial(1, "PRUNED")]) == 2


def test_a_trial_that_always_takes_its_process_along_is_given_up() -> None:
    history = [trial(number, "FAIL", retries=tuple(range(number))) for number in range(plan.RETRIES + 1)]
    assert lost(history[:-1]) == [history[-2]]
    assert lost(history) == [], "it was begun again as often as may be"
    assert counted(history) == 1, "and counts, so that the search ends"


def test_three_errors_and_no_success_are_one_mistake() -> None:
    errors = [trial(number, "FAIL", error="no weights") for number in range(3)]
    assert all_fail(errors)
    assert not all_fail(errors[:2])
    assert not all_fail([*errors, trial(3)])
    assert not all_fail([trial(number, "FAIL") for number in range(3)]), "those died with their process"


def test_what_the_others_saw_of_their_generators() -> None:
    trials = [
        trial(0, generator="a", checks={"50": [0.2, 0.6]}),
        trial(1, "PRUNED", generator="b", checks={"50": [0.4, 0.5]}, stopped="hopeless at step 50"),
        trial(2, generator="a", checks={"50": [0.2, 0.6], "100": [0.1, 0.7]}),
        trial(3, "RUNNING", generator="c"),
    ]
    assert other_generators(trials, "c") == [{50: Check(0.2, 0.6), 100: Check(0.1, 0.7)}, {50: Check(0.4, 0.5)}]
    assert other_generators(trials, "a") == [{50: Check(0.4, 0.5)}]
    assert verdict_on(trials, "b") == "hopeless at step 50"
    assert verdict_on(trials, "a") == ""
    told = [trial(0, "RUNNING", generator="a", stopped="hopeless at step 50")]
    assert verdict_on(told, "a") == "hopeless at step 50", "known before the database calls the trial pruned"


def test_ranking_and_front() -> None:
    one = [trial(0, value=0.7), trial(1, "PRUNED"), trial(2, value=0.9), trial(3, value=0.9)]
    assert [found.number for found in ranked(one)] == [2, 3, 0]
    assert front(one) == {2, 3}
    # AUC up, KID down: 1 is beaten by 0 in both, 2 trades one for the other
    values = [(0.9, 0.2), (0.8, 0.3), (0.7, 0.1)]
    assert front([TrialRecord(n, "COMPLETE", values=pair) for n, pair in enumerate(values)]) == {0, 2}


def pairs(differences) -> list[Pair]:
    return [Pair(1000 + n, 0.8 + float(d), 0.8, "a", "b") for n, d in enumerate(differences)]


BEST = trial(4, value=0.9)


@pytest.mark.parametrize(
    ("differences", "words"),
    [
        # mean 0.035, sd 0.0187, so the t interval is 0.035 -+ 2.571 * 0.0187 / sqrt(6) = 0.0196
        ([0.01, 0.02, 0.03, 0.04, 0.05, 0.06], ("better than the untuned ones", "+0.035", "+0.015 to +0.055")),
        ([-0.01, -0.02, -0.03, -0.04, -0.05, -0.06], ("worse than the untuned ones", "-0.055 to -0.015")),
        ([0.05, -0.05, 0.04, -0.04, 0.01, -0.01], ("no evidence", "80 % power")),
        ([0.0] * 6, ("no evidence", "+0.000")),
        ([0.01] * 6, ("differs by +0.010", "no interval")),
        ([0.01, 0.02], ("+0.015", "at least 6")),
        ([], ("Not confirmed",)),
    ],
)
def test_the_answer_claims_what_the_fresh_seeds_carry(differences, words) -> None:
    found = conclude(BEST, {}, pairs(differences), 0.95, same_subjects=False)
    assert all(word in found.answer for word in words), found.answer
    assert (found.contrast is None) == (len(differences) < 6 or differences == [0.01] * 6)


def test_the_search_s_own_validation_subjects_are_owned_up_to() -> None:
    assert "flatters" in conclude(BEST, {}, pairs(np.arange(6) / 100), 0.95, same_subjects=True).answer


def test_the_candidate_is_the_best_that_is_not_the_untuned_one() -> None:
    untuned = {"gan.lambda_gp": 10.0}
    trials = [trial(0, value=0.95, settings=untuned), trial(1, value=0.7), trial(2, value=0.8), trial(3, "PRUNED")]
    assert choose(trials, untuned).number == 2
    assert choose(trials[:1], untuned) is None
    assert "No trial" in conclude(None, untuned, [], 0.95, same_subjects=False).answer


def test_tables_name_every_trial_with_its_state() -> None:
    trials = [
        trial(0, value=0.8, generator_reused=False, kid=0.05), trial(1, "PRUNED", stopped="hopeless"),
        trial(2, value=0.9, generator_reused=True), trial(3, "FAIL"), trial(4, "FAIL", error="x", retries=(3,)),
    ]  # fmt: skip
    assert counts_text(trials) == (
        "4 trials: 2 finished (1 with a generator that was there), 1 pruned, 1 failed, "
        "1 begun again after their process ended"
    )
    lines = trials_text(trials, ["gan.lambda_gp"]).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["2*", "0", "1", "3", "4"]
    assert lines[2].split()[1:] == ["2", "0.900", "-", "reused", "finished"]
    assert lines[3].split()[1:] == ["0", "0.800", "0.0500", "own", "finished"]
    assert lines[5].endswith("begun again")
    assert lines[6].endswith("failed")


def test_a_trial_is_hybrid_takes_no_alias_and_is_checked_at_equal_parts() -> None:
    config = load_config()
    own = plan.trial_config(config, {"gan.lambda_gp": 3.0, "classifier.synthetic_fraction": 0.2})
    assert (own.classifier.mix, own.classifier.synthetic_fraction, own.gan.lambda_gp) == ("hybrid", 0.2, 3.0)
    assert (own.gan.steps, own.gan.grid_every, own.gan.checkpoint_every) == (120, 40, 40)
    assert (own.classifier.steps, own.run.aliases, own.run.threads, own.run.workers) == (100, False, 1, 1)
    whole = plan.trial_config(load_config(None, {"tune.gan_steps": 0, "tune.classifier_steps": 0}))
    assert (whole.gan.steps, whole.classifier.steps) == (config.gan.steps, config.classifier.steps)


def test_fresh_seeds_draw_everything_anew_and_of_test_what_holds_both_classes() -> None:
    config = plan.trial_config(load_config())
    fresh = plan.confirm_config(config, 1003, fresh_subjects=True)
    assert {fresh.data.seed, fresh.gan.seed, fresh.classifier.seed, fresh.synthesis.seed} == {1003}
    assert (fresh.data.n_train, fresh.data.n_val, fresh.data.n_test) == (200, 100, 32)
    rare = plan.trial_config(load_config(None, {"data.prevalence": 0.1}))
    assert plan.confirm_config(rare, 1003, fresh_subjects=True).data.n_test == 160
    kept = plan.confirm_config(config, 1003, fresh_subjects=False)
    assert (kept.data, kept.gan.seed) == (config.data, 1003)
    keys = [plan.confirm_key(own, "") for own in (fresh, kept, plan.confirm_config(config, 1004, True), fresh)]
    assert len(set(keys)) == 3
    assert keys[0] == keys[3] != plan.confirm_key(fresh, "digest")


def test_a_seed_of_the_search_is_not_fresh() -> None:
    assert plan.confirm_seeds(load_config()) == (1000, 1001, 1002, 1003, 1004, 1005)
    with pytest.raises(UserError, match=r"gan.seed lies in 1000 to 1005"):
        plan.confirm_seeds(load_config(None, {"gan.seed": 1005}))


def test_generators_are_shared_across_what_the_classifier_alone_sees() -> None:
    config = load_config()

    def key(**settings) -> str:
        return plan.generator_key(
            plan.trial_config(config, {k.replace("__", "."): v for k, v in settings.items()}), "d"
        )

    assert key(classifier__synthetic_fraction=0.1) == key(classifier__synthetic_fraction=0.7)
    assert key(gan__lambda_gp=1.0) != key(gan__lambda_gp=2.0)


def test_a_search_is_the_same_under_the_same_question_alone() -> None:
    def mark(digest="d", **options):
        config = load_config(None, {key.replace("__", "."): value for key, value in options.items()})
        return config, plan.fingerprint(config, parse_space(config.tune.space), digest)

    config, first = mark()
    assert mark(tune__trials=99, tune__workers=3, run__outputs="elsewhere")[1] == first, "more trials go on"
    for changed, word in (
        (mark(tune__space="gan.lambda_gp: grid 1 2"), "another search space"),
        (mark(tune__objective="auc_and_kid"), "maximize, minimize"),
        (mark(gan__beta2=0.9), "fixed settings"),
        (mark("e"), "data"),
    ):
        assert changed[1] != first
        with pytest.raises(UserError, match=word):
            plan.require_same("mine", first, changed[1])
    plan.require_same("mine", first, first)
    assert plan.search_name(config, first) == plan.search_name(*mark(tune__space="gan.lambda_gp: grid 1 2"))
    assert plan.search_name(config, first) != plan.search_name(*mark(gan__beta2=0.9))
    assert plan.search_name(mark(tune__name="mine")[0], first) == "mine"


def test_the_printed_commands_name_a_data_set_that_was_given_and_survive_spaces() -> None:
    train, classify = repeat_commands(Path("/my outputs"), "abc", "/my images")
    assert train.endswith("-P config='/my outputs/best.yaml' -P data='/my images'")
    assert classify.endswith("-P data='/my images' -P generator=runs:/abc")
    assert "data" not in repeat_commands(Path("/outputs"), "abc")[0]
