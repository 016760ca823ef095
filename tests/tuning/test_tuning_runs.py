"""Trials of a hopeless generator in a real store: killed runs with their figures and checkpoints, and no second try."""

import contextlib
import tempfile
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest

from mlproject import stages, tracking
from mlproject.config import load_config
from mlproject.errors import Stopped
from mlproject.stages import tune_fit, tune_trial
from mlproject.stages.tune import tune
from mlproject.stages.tune_fit import Fitted
from mlproject.stages.tune_runs import end_lost_searches, run_lock
from mlproject.tuning import search
from mlproject.tuning.database import Locks

SETTINGS = {
    "run.workers": 1, "run.device": "cpu", "run.threads": 1,
    "data.n_train": 10, "data.n_val": 70, "data.n_test": 6, "data.frames_per_subject": 2, "data.size": 32,
    "gan.steps": 4, "gan.batch_size": 4, "gan.base_channels": 4, "gan.latent_dim": 8, "gan.precision": "fp32",
    "gan.feature_critic": 0, "gan.auxiliary": 0, "gan.checkpoint_every": 1, "synthesis.batch_size": 64,
    "classifier.backbone": "test_efficientnet", "classifier.weights": "none", "classifier.steps": 2,
    "classifier.batch_size": 4, "classifier.eval_every": 2, "classifier.synthetic_per_class": 6,
    "fidelity.while_training": 50, "evaluation.bootstrap": 100,
    "tune.space": "gan.lambda_gp: grid 5 10; classifier.synthetic_fraction: grid 0.25 0.5", "tune.trials": 4,
    "tune.objective": "auc_and_kid", "tune.gan_steps": 0, "tune.classifier_steps": 0, "tune.checks": 2,
    "tune.confirm_seeds": 0, "tune.workers": 1,
}  # fmt: skip


def test_a_stopped_child_ends_killed_with_the_reason(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    config = load_config()
    with stages.entry_run(config, "tune") as run:
        with pytest.raises(Stopped), run.child("tune_trial 0", config) as child:
            child.report(3, {"quick.kid": 0.5})
            raise Stopped("hopeless at step 3")
        store = run.store
        assert store.client.get_run(child.id).info.status == "KILLED"
        assert store.tags_of(child.id)["stopped"] == "hopeless at step 3"
        assert store.history_of(child.id, "quick.kid") == {3: 0.5}
    assert store.client.get_run(run.id).info.status == "FINISHED"


def test_a_trial_given_to_another_process_counts_once_and_a_verdict_is_known_at_once(
    tmp_path, monkeypatch, capsys
) -> None:
    """The fits are made up, the stores are real. The first trial's machine slept: it is failed and queued meanwhile."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    calls, told = [], []

    def stored() -> optuna.Study:
        storage = search.connect(f"sqlite:///{tmp_path}/optuna.db", 30, create=False)
        return optuna.load_study(study_name=optuna.get_all_study_names(storage)[0], storage=storage)

    def fit(run, config, dataset, locks, watch, before) -> Fitted:
        calls.append(config.gan.lambda_gp)
        if len(calls) == 1:
            assert search.put_back_lost(stored(), lambda process: False) == [0]
        before()
        try:
            watch(2, {"quick.kid": 1.0, "quick.tstr_auc": 0.5})
        except Stopped:
            told.extend(t.notes["stopped"] for t in search.records(stored()) if t.state == "RUNNING")
            raise
        return Fitted(0.7, 1.0, "generator", "classifier", False, {})

    monkeypatch.setattr(tune_trial, "fit_hybrid", fit)
    monkeypatch.setattr(tune_trial, "why_hopeless", lambda *_: "hopeless" if calls[-1] == 5.0 else "")
    changed = {"data.n_val": 6, "run.aliases": False, "tune.objective": "auc", "tune.trials": 4}
    config = load_config(None, SETTINGS | changed | {"tune.space": "gan.lambda_gp: grid 5 10"})
    with stages.entry_run(config, "tune") as run:
        tune(run, config)
    trials = stored().get_trials()
    assert [(trial.params["gan.lambda_gp"], trial.state.name) for trial in trials[:3]] == [
        (10.0, "FAIL"), (5.0, "PRUNED"), (10.0, "COMPLETE"),
    ]  # fmt: skip
    assert {t.state.name for t in trials if t.params["gan.lambda_gp"] == 5.0} == {"PRUNED"}
    assert len(trials) == 5, "four, and the one that was begun twice"
    assert told == ["hopeless"], "noted while its generator is still held, and measured once"
    printed = capsys.readouterr().out
    assert "trial 0: taken over by another process" in printed
    assert "4 trials:" in printed
    runs = run.store.client.search_runs([run.store.experiment_id], "tags.stage = 'tune_trial'")
    status = {int(found.data.tags["tune.trial"]): found.info.status for found in runs}
    ends = {"FAIL": "KILLED", "PRUNED": "KILLED", "COMPLETE": "FINISHED"}
    assert status == {trial.number: ends[trial.state.name] for trial in trials}


def test_runs_of_a_machine_that_is_gone_are_ended_by_its_lock(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    url = f"sqlite:///{tmp_path}/optuna.db"
    with stages.entry_run(load_config(), "tune") as run, contextlib.closing(Locks(url)) as mine:
        client = run.store.client

        def begun(stage: str, above: str = "") -> str:
            tags = {"stage": stage, "stage.key": "k", "stage.process": "another-host:1:0.00"}
            tags |= {"mlflow.parentRunId": above} if above else {}
            return client.create_run(run.store.experiment_id, tags=tags).info.run_id

        other = Locks(url)
        search_run = begun("tune")
        below = begun("train_gan", begun("tune_trial", search_run))
        other.take(run_lock(search_run))
        end_lost_searches(run, "k", mine)
        assert client.get_run(search_run).info.status == "RUNNING", "its process lives"
        other.close()
        end_lost_searches(run, "another key", mine)
        assert client.get_run(search_run).info.status == "RUNNING", "of another search"
        end_lost_searches(run, "k", mine)
        assert [client.get_run(each).info.status for each in (search_run, below)] == ["KILLED", "KILLED"]


def test_images_of_another_machine_are_fetched_once_and_what_a_trial_downloads_is_removed(
    tmp_path, monkeypatch
) -> None:
    asked = []

    def resolve(run, config, dataset, reference, generator):
        asked.append(reference)
        return SimpleNamespace(root=Path(reference or tempfile.mkdtemp()))

    monkeypatch.setattr(tune_fit.gan_stages, "resolve_synthetic", resolve)
    config, generator = load_config(), SimpleNamespace(digest="a", folder=tmp_path)
    with tune_fit.temporary_files_removed():
        model = Path(tempfile.mkdtemp())
        first = tune_fit._images(None, config, None, generator)
    assert not model.exists()
    assert first.root.is_dir(), "the next trial takes it"
    with tune_fit.temporary_files_removed():
        assert tune_fit._images(None, config, None, generator).root == first.root
        fewer = load_config(None, {"classifier.synthetic_per_class": 7})
        tune_fit._images(None, fewer, None, generator)
    assert asked == ["", str(first.root), ""]
    monkeypatch.setattr(tune_fit.gan_stages, "resolve_synthetic", lambda *_: SimpleNamespace(root=tmp_path))
    tune_fit._images(None, config, None, SimpleNamespace(digest="b", folder=tmp_path))
    assert str(tmp_path) not in tune_fit._FETCHED.values(), "this machine's own stay where they are"


@pytest.mark.slow
def test_a_hopeless_generator_is_pruned_once_and_for_all(tmp_path, monkeypatch, capsys) -> None:
    """Two goals, which Optuna's own pruning does not know; the verdict is ours to give here: lambda_gp 5 at step 2."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    asked = []

    def verdict(step, found, others, after) -> str:
        asked.append((step, len(others), after))
        return "hopeless at step 2" if others and step == 2 else ""

    monkeypatch.setattr(tune_trial, "why_hopeless", verdict)
    config = load_config(None, SETTINGS)
    with stages.entry_run(config, "tune") as run:
        tune(run, config)
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/optuna.db", skip_table_creation=True)
    (name,) = optuna.get_all_study_names(storage)
    trials = optuna.load_study(study_name=name, storage=storage).get_trials()
    pruned = [trial for trial in trials if trial.params["gan.lambda_gp"] == 5.0]
    complete = [trial for trial in trials if trial.params["gan.lambda_gp"] == 10.0]
    assert pruned
    assert {trial.state.name for trial in pruned} == {"PRUNED"}
    assert {trial.state.name for trial in complete} == {"COMPLETE"}
    # the untuned generator was measured first, at steps 2 and 4; the other one at 2 alone, in one trial
    assert asked == [(2, 0, 2), (4, 0, 2), (2, 1, 2)]
    store = tracking.open_store(config.run.experiment)
    status = {}
    for trial in trials:
        found = store.client.get_run(trial.user_attrs["run"])
        status[trial.number] = found.info.status
        assert found.data.tags["mlflow.parentRunId"] == run.id
    assert {status[trial.number] for trial in pruned} == {"KILLED"}
    assert {status[trial.number] for trial in complete} == {"FINISHED"}
    # its generator's run says what it was judged by, and its checkpoint of the step before is kept
    (stopped,) = list(store.find("train_gan", {"stopped": "hopeless at step 2"}, status="KILLED"))
    assert set(store.history_of(stopped, "quick.kid")) == {2}
    assert list(tmp_path.glob("outputs/work/train_gan-*/checkpoints/*"))
    # the second value is the distance of the step that the generator kept
    run_id = complete[0].user_attrs["generator_run"]
    assert complete[0].values[1] == min(store.history_of(run_id, "quick.kid").values())
    printed = capsys.readouterr().out
    assert "pruned, hopeless at step 2" in printed
    assert f"{len(complete)} finished" in printed
