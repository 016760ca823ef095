"""Runs that a killed process left open are closed by the run that continues them, which keeps tags of its own."""

import socket
import subprocess
import sys

import pytest

from mlproject import tracking
from mlproject.config import load_config

KEY = "k" * 64


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return tracking.open_store("desk")


def left_open(store) -> str:
    """A run of this work whose process is gone."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    run = store.client.create_run(store.experiment_id, tags={"stage": "train_gan"})
    tags = {"stage.key": KEY, "stage.process": f"{socket.gethostname()}:{ended.pid}:0.00", "mix": "of before"}
    for key, value in tags.items():
        store.client.set_tag(run.info.run_id, key, value)
    return run.info.run_id


def test_each_killed_run_is_closed_and_names_the_run_that_continues_it(store):
    killed = [left_open(store), left_open(store)]
    with tracking.entry_run(store, "train_gan", load_config()) as run:
        run.begin_stage(KEY, {"seed": "7"})
        own = store.tags_of(run.id)
    for run_id in killed:
        assert store.client.get_run(run_id).info.status == "KILLED"
        assert store.tags_of(run_id)["continued_by"] == run.id
    # its own tags, and none of those of the runs before it
    assert own["seed"] == "7"
    assert own["stage.process"] == tracking.this_process()
    assert "continued_by" not in own
    assert "mix" not in own
