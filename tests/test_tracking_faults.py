"""Tracking when something goes wrong, in a real sqlite store: no metric is lost or doubled, and the user is told."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from mlproject import tracking
from mlproject.config import PROJECT_ROOT, load_config
from mlproject.errors import UserError

CONFIG = load_config(PROJECT_ROOT / "configs" / "smoke.yaml")


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    """A store with its tables: making them takes seconds, copying them none."""
    folder = tmp_path_factory.mktemp("template")
    tracking.MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()
    return folder / "mlflow.db"


@pytest.fixture
def store(tmp_path, monkeypatch, empty_database):
    monkeypatch.chdir(tmp_path)
    # set before open_store sets it, so that it is taken back after the test
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return tracking.open_store("desk")


def history(store, run_id, name):
    return [(metric.step, metric.value) for metric in store.client.get_metric_history(run_id, name)]


def status(store, run_id):
    return store.client.get_run(run_id).info.status


def test_a_relative_store_is_the_same_from_every_folder(store, tmp_path, monkeypatch):
    assert store.uri == f"sqlite:///{tmp_path}/mlflow.db" == os.environ["MLFLOW_TRACKING_URI"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert tracking.open_store("desk").experiment_id == store.experiment_id
    location = store.client.get_experiment(store.experiment_id).artifact_location
    assert location == (tmp_path / "mlruns" / "desk").as_uri()


@pytest.mark.parametrize("kind", ["folder missing", "a folder", "no database"])
def test_a_store_that_cannot_be_opened_is_one_line_and_at_once(tmp_path, monkeypatch, kind):
    path = tmp_path / "store.db"
    if kind == "folder missing":
        path = tmp_path / "none" / "store.db"
    elif kind == "a folder":
        path.mkdir()
    else:
        path.write_text("this is a shopping list, long enough to be no database header")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    begun = time.monotonic()
    with pytest.raises(UserError, match="cannot be opened") as caught:
        tracking.open_store("desk")
    assert "\n" not in str(caught.value)
    assert time.monotonic() - begun < 10  # MLflow alone tries for minutes


def test_a_run_to_adopt_that_is_not_there_is_told(store, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with pytest.raises(UserError, match="not found"):
        tracking.open_store("desk")


def test_telemetry_is_off():
    from mlflow.telemetry import get_telemetry_client

    assert get_telemetry_client() is None


def test_the_first_run_adopts_the_one_of_mlflow_run_and_leaves_its_raw_parameters(store, monkeypatch):
    created = store.client.create_run(store.client.create_experiment("theirs"), run_name="calm-bird-1").info
    store.client.log_param(created.run_id, "gan.learning_rate", "1e-3")
    store.client.log_param(created.run_id, "gan.lambda_gp", "10.0")
    monkeypatch.setenv("MLFLOW_RUN_ID", created.run_id)
    config = load_config(PROJECT_ROOT / "configs" / "smoke.yaml", {"gan.learning_rate": "1e-3", "gan.lambda_gp": 10})
    store = tracking.open_store("desk")
    assert store.experiment_id == created.experiment_id
    with tracking.entry_run(store, "train_gan", config) as run:
        assert run.id == created.run_id
        assert "MLFLOW_RUN_ID" not in os.environ  # a process that this one starts makes a run of its own
    found = store.client.get_run(run.id)
    assert found.info.status == "FINISHED"
    assert found.data.params["gan.learning_rate"] == "1e-3"
    assert found.data.params["resolved.gan.learning_rate"] == "0.001"
    assert found.data.params["gan.lambda_gp"] == "10.0"
    assert "resolved.gan.lambda_gp" not in found.data.params
    assert found.data.params["gan.latent_dim"] == str(config.gan.latent_dim)
    text = Path(store.client.download_artifacts(run.id, "config.yaml")).read_text()
    assert "learning_rate: 0.001" in text


def test_sigterm_ends_the_run_as_killed_and_gives_the_handler_back(store):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), tracking.entry_run(store, "train_gan", CONFIG) as run:
        run.report(1, {"loss": 2.0})
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert status(store, run.id) == "KILLED"
    assert history(store, run.id, "loss") == [(1, 2.0)]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_batch_that_the_store_refuses_is_sent_again(store, monkeypatch):
    sent, send = [], store.client.log_batch

    def busy(run_id, metrics=(), **rest):
        if metrics:
            sent.append(len(metrics))
            if len(sent) <= 2:
                raise MlflowException("database is locked")
        return send(run_id, metrics=metrics, **rest)

    with tracking.entry_run(store, "train_gan", CONFIG) as run:
        monkeypatch.setattr(store.client, "log_batch", busy)
        run.report(1, {"loss": 1.0})
        run.flush()
    assert sent == [1, 1, 1]
    assert history(store, run.id, "loss") == [(1, 1.0)]


def test_metrics_that_cannot_be_stored_are_told_and_the_run_is_failed(store, monkeypatch):
    monkeypatch.setattr(tracking.time, "sleep", lambda seconds: None)
    send = store.client.log_batch

    def full(run_id, metrics=(), **rest):
        if metrics:
            raise MlflowException("database or disk is full")
        return send(run_id, **rest)

    with (
        pytest.raises(UserError, match="1 metrics of run .* disk is full"),
        tracking.entry_run(store, "train_gan", CONFIG) as run,
    ):
        monkeypatch.setattr(store.client, "log_batch", full)
        run.report(1, {"loss": 1.0})
    assert status(store, run.id) == "FAILED"


def test_an_interruption_while_a_batch_is_sent_neither_loses_nor_doubles_it(store, monkeypatch):
    send, interrupted = store.client.log_batch, []

    def interrupt_once(run_id, metrics=(), **rest):
        send(run_id, metrics=metrics, **rest)
        if metrics and not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), tracking.entry_run(store, "train_gan", CONFIG) as run:
        monkeypatch.setattr(store.client, "log_batch", interrupt_once)
        run.report(1, {"loss": 1.0})
        run.flush()
    assert history(store, run.id, "loss") == [(1, 1.0)]
    assert status(store, run.id) == "KILLED"


KILLED = """
import sys, time
import numpy as np, torch
from pathlib import Path
from mlproject import tracking
from mlproject.checkpoint import save_checkpoint
from mlproject.config import load_config

work = Path("work")
with tracking.entry_run(tracking.open_store("desk"), "train_gan", load_config()) as run:
    run.begin_stage("key")
    with run.journal(work) as report:
        for step in range(1, 11):
            report(step, {"loss": 1 / step})
            if step % 3 == 0:
                run.report_image(step, "grid", np.full((8, 8), step, np.uint8))
            if step == 6:
                save_checkpoint(work / "checkpoints", step, {"w": torch.zeros(1)}, {})
        print(run.id, flush=True)
        time.sleep(600)
"""


def test_a_run_that_goes_on_after_a_kill_has_every_step_once(store, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT / "src")}
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    killed = process.stdout.readline().strip()
    with tracking.entry_run(store, "train_gan", CONFIG) as other:
        other.begin_stage("key")  # it lives: nobody takes it over
    assert status(store, killed) == "RUNNING"
    assert "continued_by" not in store.tags_of(killed)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert status(store, killed) == "RUNNING"  # nobody was left to say otherwise

    with tracking.entry_run(store, "train_gan", CONFIG) as run:
        run.begin_stage("key")
        with run.journal(tmp_path / "work") as report:
            for step in range(7, 13):
                report(step, {"loss": 1 / step})
    assert status(store, killed) == "KILLED"
    assert store.tags_of(killed)["continued_by"] == run.id
    assert history(store, run.id, "loss") == [(step, 1 / step) for step in range(1, 13)]
    # steps 3 and 6 came before the checkpoint; step 9 is drawn again
    images = [item.path for item in store.client.list_artifacts(run.id, "images") if item.path.endswith(".png")]
    assert sorted(int(path.split("+step+")[1].split("+")[0]) for path in images) == [3, 6]
    assert status(store, run.id) == "FINISHED"


def test_a_finished_run_is_continued_by_nobody(store):
    with tracking.entry_run(store, "train_gan", CONFIG) as first:
        first.begin_stage("key")
    with tracking.entry_run(store, "train_gan", CONFIG) as second:
        second.begin_stage("key")
    assert "continued_by" not in store.tags_of(first.id)


def test_a_finished_run_with_the_same_key_stands_for_the_next_one(store, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "w").write_text("weights")
    with tracking.entry_run(store, "train_gan", CONFIG) as first:
        first.begin_stage("key", {"data_kind": "phantom_not_clinical"})
        first.log_metrics({"val.auc": 0.9})
        first.log_artifacts(tmp_path / "model", "model")
        assert first.reusable("key") is None  # not finished yet
    with tracking.entry_run(store, "train_gan", CONFIG) as second:
        assert second.reusable("other") is None
        assert second.reusable("key") == first.id
        second.finish_as_reused(first.id)
    found = store.client.get_run(second.id)
    assert found.data.metrics == {"val.auc": 0.9}
    assert found.data.tags["reused_from"] == first.id
    assert found.data.tags["data_kind"] == "phantom_not_clinical"
    assert (store.download(second.id, "model") / "w").read_text() == "weights"
    with tracking.entry_run(store, "train_gan", CONFIG) as third:
        assert third.reusable("key") == first.id  # the one that did the work
    store.client.delete_run(first.id)
    with tracking.entry_run(store, "train_gan", CONFIG) as fourth:
        assert fourth.reusable("key") is None


@pytest.mark.parametrize("ending", [ValueError, KeyboardInterrupt])
def test_a_run_that_did_not_finish_is_not_reused(store, ending):
    with pytest.raises(ending), tracking.entry_run(store, "train_gan", CONFIG) as run:
        run.begin_stage("key")
        raise ending
    with tracking.entry_run(store, "train_gan", CONFIG) as run:
        assert run.reusable("key") is None


def test_a_tag_that_mlflow_would_cut_is_refused(store):
    with tracking.entry_run(store, "train_gan", CONFIG) as run:
        run.set_tags({"long": "x" * 8000})
        with pytest.raises(UserError, match="tag long: .* 8001"):
            run.set_tags({"long": "x" * 8001})
        with pytest.raises(UserError, match="250 characters of a key"):
            run.set_tags({"k" * 251: "x"})
    assert store.tags_of(run.id)["long"] == "x" * 8000


def test_pictures_tables_and_texts_are_where_the_ui_looks(store):
    with tracking.entry_run(store, "train_gan", CONFIG) as run:
        run.report_image(7, "grid", np.arange(64, dtype=np.uint8).reshape(8, 8))
        run.log_figure_png("roc", b"\x89PNG")
        run.log_table("val_predictions", {"image_path": ["a.png"], "label": [1]})
    (image,) = [item.path for item in store.client.list_artifacts(run.id, "images") if item.path.endswith(".png")]
    assert image.startswith("images/grid+step+7+")
    assert Path(store.client.download_artifacts(run.id, "figures/roc.png")).read_bytes() == b"\x89PNG"
    table = json.loads(Path(store.client.download_artifacts(run.id, "val_predictions.json")).read_text())
    assert table == {"columns": ["image_path", "label"], "data": [["a.png", 1]]}


def test_reporting_costs_little(store):
    """One report of 8 metrics, its share of the batches included, against the 2 % of a step of 250 ms."""
    with tracking.entry_run(store, "train_gan", CONFIG) as run:
        begun = time.process_time()
        for step in range(250):
            run.report(step, {f"m{number}": 0.1 for number in range(8)})
        run.flush()
        assert (time.process_time() - begun) / 250 < 0.005
    assert isinstance(store.client.get_metric_history(run.id, "m0")[0], Metric)
