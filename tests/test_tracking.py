"""Runs in a real sqlite store: what is logged is there, once, and a run ends with its true status."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mlproject import tracking
from mlproject.checkpoint import save_checkpoint
from mlproject.config import PROJECT_ROOT, load_config
from mlproject.errors import UserError


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory) -> Path:
    """A store with its tables: making them takes seconds, copying them none."""
    folder = tmp_path_factory.mktemp("template")
    tracking.MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()
    return folder / "mlflow.db"


@pytest.fixture
def store(tmp_path, monkeypatch, empty_database) -> tracking.Store:
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return tracking.open_store("tests")


def history(store: tracking.Store, run_id: str, key: str) -> list[tuple[int, float]]:
    return sorted((entry.step, entry.value) for entry in store.client.get_metric_history(run_id, key))


def status(store: tracking.Store, run_id: str) -> str:
    return store.client.get_run(run_id).info.status


def test_without_a_named_store_it_is_a_file_with_an_absolute_path_here(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    # set and taken away again at the end: open_store tells child processes where the store is
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert tracking.open_store("tests").uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert (tmp_path / "mlflow.db").is_file()


def test_a_store_that_cannot_be_opened_is_one_line(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/absent/folder/mlflow.db")
    with pytest.raises(UserError, match="cannot be opened") as caught:
        tracking.open_store("tests")
    assert "\n" not in str(caught.value)
    (tmp_path / "mlflow.db").write_text("this is no database, but long enough to have a header of its own " * 9)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(UserError, match="cannot be opened"):
        tracking.open_store("tests")


def test_buffered_metrics_arrive_once_each_when_the_run_ends(store) -> None:
    with tracking.entry_run(store, "train_gan", load_config()) as run:
        for step in range(1, 2501):
            run.report(step, {"gan.critic_loss": float(step)})
    assert history(store, run.id, "gan.critic_loss") == [(step, float(step)) for step in range(1, 2501)]
    assert status(store, run.id) == "FINISHED"


def test_resolved_configuration_beside_what_was_typed(store, monkeypatch) -> None:
    typed = store.client.create_run(store.experiment_id)
    store.client.log_param(typed.info.run_id, "lambda_gp", "5e0")
    store.client.log_param(typed.info.run_id, "gan.beta2", "0.90")  # as `mlflow run -P gan.beta2=0.90` does
    monkeypatch.setenv("MLFLOW_RUN_ID", typed.info.run_id)
    with tracking.entry_run(store, "train_gan", load_config(None, {"gan.lambda_gp": "5e0"})) as run:
        assert run.id == typed.info.run_id, "the run that `mlflow run` made is adopted"
    params = store.client.get_run(run.id).data.params
    assert (params["lambda_gp"], params["gan.lambda_gp"], params["gan.beta2"]) == ("5e0", "5.0", "0.90")
    assert store.client.get_run(run.id).info.run_name == "train_gan", "not what MLflow drew"
    assert "config.yaml" in [entry.path for entry in store.client.list_artifacts(run.id)]


@pytest.mark.parametrize(
    ("error", "expected"), [(RuntimeError("x"), "FAILED"), (UserError("x"), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_a_run_that_ends_badly_says_so_and_keeps_its_metrics(store, error, expected) -> None:
    with pytest.raises(type(error)), tracking.entry_run(store, "train_gan", load_config()) as run:
        run.report(1, {"gan.critic_loss": 2.0})
        raise error
    assert status(store, run.id) == expected
    assert history(store, run.id, "gan.critic_loss") == [(1, 2.0)]


def test_children_are_nested_and_end_on_their_own(store) -> None:
    config = load_config()
    with tracking.entry_run(store, "main", config) as run:
        with run.child("train_classifier hybrid", config) as child:
            pass
        assert (status(store, child.id), status(store, run.id)) == ("FINISHED", "RUNNING")
    tags = store.tags_of(child.id)
    assert (tags["mlflow.parentRunId"], tags["stage"]) == (run.id, "train_classifier")
    assert tags["mlflow.runName"] == "train_classifier hybrid"


def test_a_journal_replays_up_to_the_checkpoint_and_no_further(store, tmp_path) -> None:
    config = load_config()
    with (
        pytest.raises(RuntimeError),
        tracking.entry_run(store, "train_gan", config) as killed,
        killed.journal(tmp_path / "work") as report,
    ):
        for step in (1, 2, 3):
            report(step, {"gan.critic_loss": float(step)})
            if step == 2:
                save_checkpoint(tmp_path / "work" / "checkpoints", 2, {"w": torch.zeros(1)}, {})
        raise RuntimeError
    with tracking.entry_run(store, "train_gan", config) as resumed, resumed.journal(tmp_path / "work") as report:
        for step in (3, 4):
            report(step, {"gan.critic_loss": 10.0 * step})
    assert history(store, resumed.id, "gan.critic_loss") == [(1, 1.0), (2, 2.0), (3, 30.0), (4, 40.0)]


def test_reuse_stands_for_the_finished_run(store, tmp_path) -> None:
    config = load_config()
    with tracking.entry_run(store, "train_gan", config) as first:
        first.begin_stage("key-1", {"data_digest": "d"})
        first.log_metrics({"gan.critic_loss": 7.0})
        (tmp_path / "model.txt").write_text("weights")
        first.log_artifact(tmp_path / "model.txt", "model")
    with tracking.entry_run(store, "train_gan", config) as second:
        assert second.reusable("key-2") is None
        assert second.reusable("key-1") == first.id
        second.finish_as_reused(first.id)
    assert store.metrics_of(second.id)["gan.critic_loss"] == 7.0
    assert store.tags_of(second.id)["reused_from"] == first.id
    assert store.tags_of(second.id)["data_digest"] == "d"
    assert (store.download(second.id, "model") / "model.txt").read_text() == "weights"
    assert store.find("train_gan", {"stage.key": "key-1"}) == [first.id], "what was reused is no source of its own"


KILLED = """
import sys, time
from mlproject import tracking
from mlproject.config import load_config
with tracking.entry_run(tracking.open_store("tests"), "train_gan", load_config()) as run:
    run.begin_stage("key-1")
    run.report(1, {"gan.critic_loss": 1.0})
    print(run.id, flush=True)
    time.sleep(60)
"""


def _start(tmp_path: Path, store: tracking.Store) -> tuple[subprocess.Popen, str]:
    environment = os.environ | {"MLFLOW_TRACKING_URI": store.uri, "PYTHONPATH": str(PROJECT_ROOT / "src")}
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment
    )
    return process, process.stdout.readline().strip()


def test_a_killed_run_is_closed_by_the_one_that_continues_and_a_living_one_is_not(store, tmp_path) -> None:
    process, run_id = _start(tmp_path, store)
    with tracking.entry_run(store, "train_gan", load_config()) as meanwhile:
        meanwhile.begin_stage("key-1")
    assert status(store, run_id) == "RUNNING", "its process lives"
    process.kill()
    process.wait()
    assert status(store, run_id) == "RUNNING", "nobody could close it"
    with tracking.entry_run(store, "train_gan", load_config()) as run:
        run.begin_stage("key-1")
    assert status(store, run_id) == "KILLED"
    assert store.tags_of(run_id)["continued_by"] == run.id


def test_sigterm_ends_a_run_as_killed_with_its_metrics(store, tmp_path) -> None:
    process, run_id = _start(tmp_path, store)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) != 0
    assert status(store, run_id) == "KILLED"
    assert history(store, run_id, "gan.critic_loss") == [(1, 1.0)]


@pytest.mark.slow
def test_eight_processes_on_a_fresh_store(tmp_path) -> None:
    code = "from mlproject import tracking; tracking.open_store('tests')"
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db", "PYTHONPATH": str(PROJECT_ROOT / "src")
    }  # fmt: skip
    processes = [
        subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, errors


def test_git_state_is_tagged(store) -> None:
    with tracking.entry_run(store, "main", load_config()) as run:
        pass
    tags = store.tags_of(run.id)
    assert tags["git_dirty"] in ("true", "false", "unknown")
    assert len(tags["git_commit"]) == 40 or tags["git_commit"] == "unknown"
