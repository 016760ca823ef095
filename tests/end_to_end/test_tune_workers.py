"""Several workers on one search: no trial is lost or run twice, also when one of them is killed."""

import time

import pytest
from optuna.trial import TrialState
from tune_desk import Desk

pytestmark = pytest.mark.slow


def check(desk: Desk, trials: int, killed: int = 0) -> None:
    """Every trial of the budget once: in Optuna's database, among MLflow's runs, and in what was trained."""
    found = desk.trials()
    states = [trial.state for trial in found]
    assert states.count(TrialState.COMPLETE) == trials
    assert states.count(TrialState.FAIL) == killed
    assert len(found) == trials + killed
    runs = desk.runs(stage="tune_trial")
    assert sorted(run.info.status for run in runs) == ["FINISHED"] * trials + ["KILLED"] * killed
    values = {int(r.data.tags["tune.trial"]): r.data.metrics["tune.auc"] for r in runs if r.info.status == "FINISHED"}
    assert values == desk.complete()
    assert max(desk.fits().values()) == 1, "a fit was made twice"
    generators = [
        run for run in desk.runs(stage="train_gan")
        if run.info.status == "FINISHED" and "reused_from" not in run.data.tags
    ]  # fmt: skip
    assert sorted(run.data.params["gan.lambda_gp"] for run in generators) == ["10.0", "5.0"]
    assert not [run.info.run_id for run in desk.runs() if run.info.status == "RUNNING"]


def rate(desk: Desk, until: float = float("inf")) -> float:
    """Trials per minute, from the end of the first one: without the start of the processes."""
    ends = [trial.datetime_complete for trial in desk.trials() if trial.state == TrialState.COMPLETE]
    ends = sorted(end for end in ends if end.timestamp() <= until)
    return 60 * (len(ends) - 1) / (ends[-1] - ends[0]).total_seconds()


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> float:
    """Trials per minute of one worker."""
    desk = Desk(tmp_path_factory.mktemp("alone"))
    desk.run("--trials", "6", "--confirm_seeds", "0")
    return rate(desk)


def test_two_workers(alone, tmp_path) -> None:
    desk = Desk(tmp_path)
    desk.run("--trials", "12", "--confirm_seeds", "0", "--workers", "2")
    check(desk, 12)
    print(f"\n1 worker: {alone:.1f} trials per minute; 2 workers: {rate(desk):.1f}, {rate(desk) / alone:.2f} times")


def test_four_workers_one_of_which_is_killed(alone, tmp_path) -> None:
    desk = Desk(tmp_path)
    process = desk.start("--trials", "16", "--confirm_seeds", "0", "--workers", "4")
    lost = desk.kill_a_worker(process, done=10)
    until = time.time()
    printed = desk.finish(process)
    check(desk, 16, killed=1)
    assert f"trials {lost.number} ended with their process and are begun again" in printed
    (again,) = [trial for trial in desk.trials() if trial.system_attrs.get("failed_trial") == lost.number]
    assert again.state == TrialState.COMPLETE
    assert again.params == lost.params
    print(f"\n4 workers: {rate(desk, until):.1f} trials per minute, {rate(desk, until) / alone:.2f} times one worker's")
