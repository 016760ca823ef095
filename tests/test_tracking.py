"""Runs in a real sqlite store: what is logged is there, once, and a run ends with its true status."""

import json
import math
import os
from pathlib import Path

import mlflow.store.db.utils as mlflow_database
import numpy as np
import pytest
from stored import history, status

from mlproject import tracking
from mlproject.config import PROJECT_ROOT, load_config
from mlproject.errors import UserError
from mlproject.tracking import outbox

CONFIG = load_config(PROJECT_ROOT / "configs" / "smoke.yaml")


def test_without_a_named_store_it_is_a_file_with_an_absolute_path_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # set and taken away again at the end: open_store tells child processes where the store is
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert tracking.open_store("tests").uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert (tmp_path / "mlflow.db").is_file()


def test_a_relative_store_is_the_same_from_every_folder(store, tmp_path, monkeypatch):
    assert store.uri == f"sqlite:///{tmp_path}/mlflow.db" == os.environ["MLFLOW_TRACKING_URI"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert tracking.open_store("desk").experiment_id == store.experiment_id
    location = store.client.get_experiment(store.experiment_id).artifact_location
    assert location == (tmp_path / "mlruns" / "desk").as_uri()


def test_telemetry_is_off():
    from mlflow.telemetry import get_telemetry_client

    assert get_telemetry_client() is None


def test_buffered_metrics_arrive_once_each_when_the_run_ends(store):
    with tracking.entry_run(store, "train_gan", load_config()) as run:
        for step in range(1, 2501):
            run.report(step, {"gan.critic_loss": float(step)})
    assert history(store, run.id, "gan.critic_loss") == [(step, float(step)) for step in range(1, 2501)]
    assert status(store, run.id) == "FINISHED"


def test_the_first_run_adopts_the_one_of_mlflow_run_and_leaves_its_raw_parameters(store, monkeypatch):
    created = store.client.create_run(store.client.create_experiment("theirs"), run_name="calm-bird-1").info
    store.client.log_param(created.run_id, "gan.learning_rate", "1e-3")
    store.client.log_param(created.run_id, "gan.lambda_gp", "10.0")
    store.client.log_param(created.run_id, "seed", "07")  # the typed key of gan.seed
    monkeypatch.setenv("MLFLOW_RUN_ID", created.run_id)
    config = load_config(
        PROJECT_ROOT / "configs" / "smoke.yaml", {"gan.learning_rate": "1e-3", "gan.lambda_gp": 10, "gan.seed": "07"}
    )
    store = tracking.open_store("desk")
    assert store.experiment_id == created.experiment_id
    with tracking.entry_run(store, "train_gan", config) as run:
        assert run.id == created.run_id
        assert "MLFLOW_RUN_ID" not in os.environ  # a process that this one starts makes a run of its own
    found = store.client.get_run(run.id)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "train_gan")  # no name that MLflow drew
    assert found.data.params["gan.learning_rate"] == "1e-3"
    assert found.data.params["resolved.gan.learning_rate"] == "0.001"
    assert found.data.params["gan.lambda_gp"] == "10.0"
    assert (found.data.params["seed"], found.data.params["gan.seed"]) == ("07", "7")
    assert "resolved.gan.lambda_gp" not in found.data.params
    assert found.data.params["gan.latent_dim"] == str(config.gan.latent_dim)
    text = Path(store.client.download_artifacts(run.id, "config.yaml")).read_text()
    assert "learning_rate: 0.001" in text


@pytest.mark.parametrize(
    ("error", "expected"), [(RuntimeError("x"), "FAILED"), (UserError("x"), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_a_run_that_ends_badly_says_so_and_keeps_its_metrics(store, error, expected):
    with pytest.raises(type(error)), tracking.entry_run(store, "train_gan", load_config()) as run:
        run.report(1, {"gan.critic_loss": 2.0})
        raise error
    assert status(store, run.id) == expected
    assert history(store, run.id, "gan.critic_loss") == [(1, 2.0)]


def test_children_are_nested_and_end_on_their_own(store):
    config = load_config()
    with tracking.entry_run(store, "main", config) as run:
        with run.child("train_classifier hybrid", config) as child:
            pass
        assert (status(store, child.id), status(store, run.id)) == ("FINISHED", "RUNNING")
    tags = store.tags_of(child.id)
    assert (tags["mlflow.parentRunId"], tags["stage"]) == (run.id, "train_classifier")
    assert tags["mlflow.runName"] == "train_classifier hybrid"


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


def test_reports_reach_the_store_in_batches_of_a_thousand_metrics(store, monkeypatch):
    """Requests are what a report costs (`make bench` has the share of a step): 250 reports of 8 metrics are two."""
    sizes, send = [], store.client.log_batch
    with tracking.entry_run(store, "train_gan", CONFIG) as run:

        def count(run_id, metrics=(), **kinds):
            sizes.append(len(metrics))
            send(run_id, metrics=metrics, **kinds)

        monkeypatch.setattr(store.client, "log_batch", count)
        monkeypatch.setattr(outbox, "_SECONDS_BETWEEN_FLUSHES", math.inf)
        for step in range(250):
            run.report(step, {f"m{number}": 0.1 for number in range(8)})
        run.flush()
        assert sizes == [1000, 1000]
    assert history(store, run.id, "m0") == [(step, 0.1) for step in range(250)]


def test_git_state_is_tagged(store):
    with tracking.entry_run(store, "main", load_config()) as run:
        pass
    tags = store.tags_of(run.id)
    assert tags["git_dirty"] in ("true", "false", "unknown")
    assert len(tags["git_commit"]) == 40 or tags["git_commit"] == "unknown"


def test_the_command_that_opens_a_store(monkeypatch, tmp_path):
    own = tracking.Store(f"sqlite:///{PROJECT_ROOT / 'mlflow.db'}", None, "0")
    monkeypatch.chdir(PROJECT_ROOT)
    assert own.ui_command() == "make ui"
    other = tracking.Store(f"sqlite:///{tmp_path / 'mlflow.db'}", None, "0")
    assert other.ui_command().endswith(f"mlflow ui --backend-store-uri {other.uri}")
    # where there is no Makefile, the command names the store
    monkeypatch.chdir(tmp_path)
    assert own.ui_command().endswith(own.uri)
    assert tracking.Store("http://user:secret@host:5000", None, "0").ui_command() == "open http://user@host:5000"


def test_tables_that_were_half_made_when_a_process_ended_are_made_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")

    def ended_halfway(engine):
        mlflow_database.InitialBase.metadata.create_all(engine)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("mlproject.tracking.database._initialize_tables", ended_halfway)
        tracking.open_store("first")
    assert not (tmp_path / "mlflow.db").exists()
    assert tracking.open_store("first").client.get_experiment_by_name("first") is not None
    assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db", "mlflow.db.lock"}
