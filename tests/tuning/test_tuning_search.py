"""The search in a real sqlite database: made once, resumed, refused, and its lost trials put back."""

import subprocess
import sys
import time

import optuna
import pytest
from optuna.trial import TrialState

from mlproject.config import PROJECT_ROOT
from mlproject.errors import UserError
from mlproject.tuning import search
from mlproject.tuning.budget import counted
from mlproject.tuning.plots import search_pictures
from mlproject.tuning.space import parse_space

SPACE = parse_space("gan.lambda_gp: grid 1 10 100; classifier.synthetic_fraction: uniform 0 0.8")
UNTUNED = {"gan.lambda_gp": 10.0, "classifier.synthetic_fraction": 0.5}
MARK = {"space": "s", "directions": ["maximize"], "base": "b"}


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path}/optuna.db"


def opened(url: str, **changed) -> optuna.Study:
    storage = search.connect(url, 1, create=True)
    return search.open_search(storage, "mine", MARK | changed, SPACE, UNTUNED, 20)


def test_first_trials_are_the_untuned_settings_and_every_other_generator() -> None:
    assert search.first_trials(SPACE, UNTUNED, 20) == [
        (UNTUNED, {"untuned": True}), ({"gan.lambda_gp": 1.0}, {}), ({"gan.lambda_gp": 100.0}, {}),
    ]  # fmt: skip
    assert len(search.first_trials(SPACE, UNTUNED, 4)) == 2, "at most half of the budget"
    outside = search.first_trials(SPACE, UNTUNED | {"gan.lambda_gp": 5.0}, 20)
    assert [settings for settings, _ in outside] == [{"gan.lambda_gp": value} for value in (1.0, 10.0, 100.0)]


def test_resumed_it_is_the_same_search_with_its_trials(url) -> None:
    study = opened(url)
    study.optimize(lambda trial: search.suggest(trial, SPACE)["classifier.synthetic_fraction"], n_trials=5)
    again = opened(url)
    assert [trial.number for trial in again.get_trials()] == [0, 1, 2, 3, 4]
    assert again.get_trials()[0].params == UNTUNED
    assert {trial.params["gan.lambda_gp"] for trial in again.get_trials()[1:3]} == {1.0, 100.0}


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"space": "t"}, "search space"),
        ({"directions": ["maximize", "minimize"]}, "directions"),
        ({"base": "c"}, "data"),
    ],
)
def test_another_question_is_refused(url, changed, word) -> None:
    opened(url)
    with pytest.raises(UserError, match=f"stored search mine has another {word}"):
        opened(url, **changed)


def test_a_stored_search_of_someone_else_is_refused(url) -> None:
    theirs = optuna.create_study(storage=search.connect(url, 1, create=True), study_name="mine", direction="maximize")
    theirs.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(UserError, match="another search space None"):
        opened(url)


def test_a_database_that_cannot_be_opened_is_one_line_without_its_password(tmp_path) -> None:
    with pytest.raises(UserError, match="cannot be opened") as caught:
        search.connect(f"sqlite:///{tmp_path}/absent/optuna.db", 1, create=True)
    assert "\n" not in str(caught.value)
    assert search.without_password("postgresql://me:secret@host/db") == "postgresql://me@host/db"


def test_a_trial_whose_process_is_gone_is_begun_again_with_its_settings(url) -> None:
    study = opened(url)
    for process in ("dead", "alive", "alive"):
        begun = study.ask()
        begun.set_user_attr("process", process)
        search.suggest(begun, SPACE)
    assert search.put_back_lost(study, lambda process: process == "alive", 60) == [0]
    assert search.put_back_lost(study, lambda process: process == "alive", 60) == [], "once"
    states = [trial.state for trial in study.get_trials()]
    assert states == [TrialState.FAIL, TrialState.RUNNING, TrialState.RUNNING, TrialState.WAITING]
    assert counted(search.records(study)) == 2
    again = study.ask()
    assert (again.number, search.suggest(again, SPACE)) == (3, UNTUNED)
    assert again.user_attrs["untuned"] is True
    assert "process" not in again.user_attrs
    assert search.records(study)[3].retries == (0,)


def test_a_trial_that_failed_by_itself_is_not_begun_again(url) -> None:
    study = opened(url)
    failed = study.ask()
    failed.set_user_attr("error", "not finite")
    study.tell(failed, state=TrialState.FAIL)
    assert search.put_back_lost(study, lambda process: True, 60) == []


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_process_killed_on_another_machine_shows_by_its_missing_heartbeat(url, monkeypatch) -> None:
    study = opened(url)
    begun = study.ask()
    search.suggest(begun, SPACE)
    study._storage.record_heartbeat(begun._trial_id)
    optuna.storages.fail_stale_trials(study)
    assert study.get_trials()[0].state == TrialState.RUNNING
    monkeypatch.setattr(study._storage._backend, "grace_period", 1e-9)
    time.sleep(1.1)  # the database's clock counts whole seconds
    optuna.storages.fail_stale_trials(study)
    assert study.get_trials()[0].state == TrialState.FAIL
    assert [trial.retries for trial in search.records(study)][-1] == (0,)


TURNS = """
import sys, pathlib, time
from mlproject.tuning.search import Turn
turn = Turn(pathlib.Path(sys.argv[1]))
for _ in range(50):
    turn.take()
    path = pathlib.Path(sys.argv[2])
    count = int(path.read_text())
    time.sleep(0.001)
    path.write_text(str(count + 1))
    turn.give()
"""


def test_turns_are_taken_one_after_the_other(tmp_path) -> None:
    """Three processes add 50 each by reading and writing: without turns some additions overwrite each other."""
    (tmp_path / "count").write_text("0")
    command = [sys.executable, "-c", TURNS, str(tmp_path / "lock"), str(tmp_path / "count")]
    processes = [subprocess.Popen(command, env={"PYTHONPATH": str(PROJECT_ROOT / "src")}) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "150"


def finished(url: str, directions: list[str]) -> optuna.Study:
    study = opened(url, directions=directions)

    def objective(trial):
        drawn = search.suggest(trial, SPACE)
        value = -((drawn["classifier.synthetic_fraction"] - 0.3) ** 2) - drawn["gan.lambda_gp"] / 1000
        if trial.number == 3:
            raise optuna.TrialPruned
        return value if len(directions) == 1 else (value, drawn["gan.lambda_gp"])

    with search.quiet():
        study.optimize(objective, n_trials=8)
    return study


@pytest.mark.parametrize("directions", [["maximize"], ["maximize", "minimize"]])
def test_pictures_of_a_search(url, directions) -> None:
    study = finished(url, directions)
    pictures, missing = search_pictures(study, SPACE)
    assert missing == {}
    expected = {"history", "parallel_coordinate", "contour", "importance"}
    assert set(pictures) == expected | ({"pareto_front"} if len(directions) > 1 else set())
    assert all(png.startswith(b"\x89PNG") and len(png) > 5000 for png in pictures.values())


def test_too_few_trials_are_said_and_not_drawn(url) -> None:
    pictures, missing = search_pictures(opened(url), SPACE)
    assert pictures == {}
    assert missing["contour"] == "0 finished trials; a picture takes two"
