"""The search in a real sqlite database: made once, resumed, refused, and its lost trials put back."""

import time

import optuna
import pytest
from optuna.trial import TrialState

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


def test_a_database_that_cannot_be_opened_is_one_line(tmp_path) -> None:
    with pytest.raises(UserError, match="cannot be opened") as caught:
        search.connect(f"sqlite:///{tmp_path}/absent/optuna.db", 1, create=True)
    assert "\n" not in str(caught.value)


def test_a_trial_whose_process_is_gone_is_begun_again_with_its_settings(url) -> None:
    study = opened(url)
    for process in ("dead", "alive", "alive"):
        begun = study.ask()
        begun.set_user_attr("process", process)
        begun.set_user_attr("settings", search.suggest(begun, SPACE))
    assert search.put_back_lost(study, lambda process: process == "alive") == [0]
    assert search.put_back_lost(study, lambda process: process == "alive") == [], "once"
    states = [trial.state for trial in study.get_trials()]
    assert states == [TrialState.FAIL, TrialState.RUNNING, TrialState.RUNNING, TrialState.WAITING]
    assert counted(search.records(study)) == 2
    again = study.ask()
    assert (again.number, search.suggest(again, SPACE)) == (3, UNTUNED)
    assert again.user_attrs == {"untuned": True}, "what the dead process said of itself is gone"
    assert search.records(study)[3].retries == (0,)


def test_a_trial_killed_before_it_had_settings_is_nobody_s(url) -> None:
    study = opened(url)
    study.ask().set_user_attr("process", "elsewhere")
    assert search.put_back_lost(study, lambda process: True) == [0]


def test_a_trial_that_failed_by_itself_is_not_begun_again(url) -> None:
    study = opened(url)
    failed = study.ask()
    failed.set_user_attr("error", "not finite")
    study.tell(failed, state=TrialState.FAIL)
    assert search.put_back_lost(study, lambda process: True) == []


def drawn(url: str, name: str, trials: int, dies_at: tuple[int, ...] = ()) -> list[tuple[object, ...]]:
    """The settings of the finished trials; the process dies after it asked for these trials."""
    storage, asked = search.connect(url, 60, create=True), 0
    study = search.open_search(storage, name, MARK, SPACE, UNTUNED, trials)
    while len(study.get_trials(states=(TrialState.COMPLETE,))) < trials:
        search.put_back_lost(study, lambda process: False)
        search.seed_draws(study, search.records(study), 0)
        trial, asked = study.ask(), asked + 1
        if asked in dies_at:  # before it has drawn its settings, after it has, in turns
            if asked % 2:
                trial.set_user_attr("settings", search.suggest(trial, SPACE))
            study = search.attach_search(search.connect(url, 60, create=False), name)
            continue
        settings = search.suggest(trial, SPACE)
        study.tell(trial, settings["classifier.synthetic_fraction"])
    return sorted(tuple(sorted(trial.params.items())) for trial in study.get_trials(states=(TrialState.COMPLETE,)))


def test_a_search_that_is_killed_draws_what_it_would_have_drawn(url) -> None:
    calm = drawn(url, "calm", 16)
    assert len(set(calm)) == 16, "no two trials share their random numbers"
    assert drawn(url, "killed", 16, dies_at=(1, 2, 5, 6, 7, 15, 16, 17, 18)) == calm


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_process_killed_on_another_machine_shows_by_its_missing_heartbeat(url, monkeypatch) -> None:
    study = opened(url)
    begun = study.ask()
    begun.set_user_attr("process", "elsewhere")
    begun.set_user_attr("settings", search.suggest(begun, SPACE))
    study._storage.record_heartbeat(begun._trial_id)
    assert search.put_back_lost(study, lambda process: True) == []
    assert study.get_trials()[0].state == TrialState.RUNNING
    monkeypatch.setattr(study._storage._backend, "grace_period", 1e-9)
    time.sleep(1.1)  # the database's clock counts whole seconds
    assert search.put_back_lost(study, lambda process: True) == [0]
    assert study.get_trials()[0].state == TrialState.FAIL
    again = search.records(study)[-1]
    assert (again.state, again.retries, again.notes) == ("WAITING", (0,), {"untuned": True})


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
