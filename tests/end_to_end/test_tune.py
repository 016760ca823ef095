"""The search as a user runs it: trials with their true status, a result on fresh seeds, and nothing lost to a kill."""

import json
import re
import signal
import time
from collections import Counter

import optuna
import pandas as pd
import pytest
from tune_desk import Desk

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Desk:
    """A search run through, one trial at a time; what it printed is in `printed`."""
    desk = Desk(tmp_path_factory.mktemp("desk"))
    desk.printed = desk.run()
    return desk


def test_every_trial_is_a_nested_run_with_its_value(finished) -> None:
    (parent,) = finished.runs(stage="tune")
    nested = finished.runs(**{"mlflow.parentRunId": parent.info.run_id, "stage": "tune_trial"})
    assert len(nested) == 5
    assert {run.info.status for run in nested} == {"FINISHED"}
    values = {int(run.data.tags["tune.trial"]): run.data.metrics["tune.auc"] for run in nested}
    assert values == finished.complete()
    by_trial = {int(run.data.tags["tune.trial"]): run.data.params for run in nested}
    first, second = by_trial[0], by_trial[1]
    assert (first["gan.lambda_gp"], first["classifier.synthetic_fraction"]) == ("10.0", "0.5"), "the untuned settings"
    assert second["gan.lambda_gp"] == "5.0", "the other generator"


def test_generators_are_trained_once_and_test_is_never_read(finished) -> None:
    assert max(finished.fits().values()) == 1
    in_search = [run for run in finished.runs(stage="train_gan") if run.data.params["gan.seed"] == "0"]
    assert Counter("reused_from" in run.data.tags for run in in_search) == {True: 3, False: 2}
    assert finished.runs(stage="eval_classifier") == []


def test_the_result_is_the_paired_interval_on_fresh_seeds(finished) -> None:
    confirmation = json.loads((finished.result / "confirmation.json").read_text())
    assert [pair["seed"] for pair in confirmation["seeds"]] == [1000, 1001, 1002, 1003, 1004, 1005]
    differences = [pair["tuned"] - pair["untuned"] for pair in confirmation["seeds"]]
    assert confirmation["contrast"]["interval"]["value"] == pytest.approx(sum(differences) / 6)
    assert confirmation["answer"] in finished.printed
    assert "tuned - untuned" in finished.printed
    (parent,) = finished.runs(stage="tune")
    assert parent.data.tags["tune.answer"] == confirmation["answer"]
    assert parent.data.metrics["tune.difference"] == pytest.approx(sum(differences) / 6)
    digests = {run.data.tags["data_digest"] for run in finished.runs(stage="prepare_data")}
    assert len(digests) == 7, "the search and every fresh seed draw subjects of their own"


def test_tables_and_pictures_are_logged_and_the_best_models_registered(finished) -> None:
    (parent,) = finished.runs(stage="tune")
    logged = {item.path for item in finished.client.list_artifacts(parent.info.run_id, "tuning")}
    assert {"tuning/trials.csv", "tuning/confirmation.json", "tuning/best.yaml"} <= logged
    pictures = {item.path for item in finished.client.list_artifacts(parent.info.run_id, "figures")}
    assert {"figures/history.png", "figures/parallel_coordinate.png", "figures/contour.png"} <= pictures
    trials = pd.read_csv(finished.result / "trials.csv")
    assert sorted(trials["trial"]) == [0, 1, 2, 3, 4]
    best = json.loads((finished.result / "confirmation.json").read_text())["tuned"]
    version = finished.client.get_model_version_by_alias("nt-classifier", "tuned")
    generator = finished.client.get_model_version_by_alias("nt-gan", "tuned")
    params = {
        **finished.client.get_run(generator.run_id).data.params,
        **finished.client.get_run(version.run_id).data.params,
    }
    assert {name: float(params[name]) for name in best} == best


def test_the_printed_commands_repeat_the_best_trial(finished) -> None:
    commands = re.findall(r"mlflow run \. -e (\w+) --env-manager local (.+)", finished.printed)
    assert [name for name, _ in commands] == ["train_gan", "train_classifier"]
    for name, options in commands:
        given = [word for pair in re.findall(r"-P (\w+)=(\S+)", options) for word in (f"--{pair[0]}", pair[1])]
        assert "reused from run" in finished.run(*given, entry_point=name)


def test_again_nothing_is_repeated_and_the_answer_is_the_same(finished) -> None:
    fits, trials = finished.fits(), finished.complete()
    printed = finished.run()
    assert "5 of the trials are done already" in printed
    assert (finished.fits(), finished.complete()) == (fits, trials)
    assert json.loads((finished.result / "confirmation.json").read_text())["answer"] in printed


def test_another_space_and_a_goal_that_too_few_images_cannot_measure_are_refused(finished) -> None:
    printed = finished.run("--space", "gan.lambda_gp: grid 1 2", code=2)
    assert "error: tune: the stored search" in printed
    assert "another search space" in printed
    printed = finished.run("--objective", "auc_and_kid", "--fidelity.while_training", "50", code=2)
    assert "error: tune: no trial of" in printed
    assert "have 50 validation images of each class" in printed


def test_killed_with_two_workers_and_started_again_it_loses_no_finished_trial(tmp_path) -> None:
    desk = Desk(tmp_path)
    few = ("--trials", "8", "--confirm_seeds", "0", "--workers", "2")
    process = desk.start(*few)
    desk.wait_for_trials(process, done=2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(2)  # the workers see that their parent is gone and end
    before, at_work = desk.complete(), [t.number for t in desk.trials() if t.state == optuna.trial.TrialState.RUNNING]
    assert before
    assert at_work
    printed = desk.run(*few)
    after = desk.complete()
    assert {number: after[number] for number in before} == before, "a finished trial was lost or done again"
    assert len(after) == 8
    assert "are begun again" in printed
    assert {t.system_attrs["failed_trial"] for t in desk.trials() if "failed_trial" in t.system_attrs} == set(at_work)
    assert max(desk.fits().values()) == 1, "a finished fit was repeated"
    assert not [run for run in desk.runs() if run.info.status == "RUNNING" and "stage.key" in run.data.tags]


def test_told_to_end_it_puts_its_trial_back(tmp_path) -> None:
    desk = Desk(tmp_path)
    few = ("--trials", "4", "--confirm_seeds", "0")
    process = desk.start(*few)
    desk.wait_for_trials(process, done=1)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 130
    killed = [run for run in desk.runs(stage="tune_trial") if run.info.status == "KILLED"]
    assert len(killed) == 1
    desk.run(*few)
    assert len(desk.complete()) == 4
    assert [run.info.status for run in desk.runs(stage="tune")].count("RUNNING") == 0


def test_a_mistake_that_fails_every_trial_ends_the_search_early(tmp_path) -> None:
    desk = Desk(tmp_path)
    printed = desk.run("--classifier.weights", str(tmp_path / "none.safetensors"), code=2)
    assert "error: tune: no trial of" in printed
    assert "none.safetensors" in printed
    assert len(desk.trials()) <= 4, "three failures are enough"
    assert {run.info.status for run in desk.runs(stage="tune_trial")} == {"FAILED"}
    assert len([run for run in desk.runs(stage="train_gan") if "reused_from" not in run.data.tags]) <= 2
