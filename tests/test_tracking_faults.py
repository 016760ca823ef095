"""Tracking when something goes wrong, in a real sqlite store: no metric is lost or doubled, and the user is told."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from mlflow.exceptions import MlflowException
from stored import history, status

from mlproject import tracking
from mlproject.config import PROJECT_ROOT, load_config
from mlproject.errors import UserError
from mlproject.processes import this_process
from mlproject.tracking import outbox

CONFIG = load_config(PROJECT_ROOT / "configs" / "smoke.yaml")


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
    monkeypatch.setattr(outbox.time, "sleep", lambda seconds: None)
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


def left_open(store) -> str:
    """A run of this work whose process is gone."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    run = store.client.create_run(store.experiment_id, tags={"stage": "train_gan"})
    tags = {"stage.key": "key", "stage.process": f"{socket.gethostname()}:{ended.pid}:0.00", "mix": "of before"}
    for key, value in tags.items():
        store.client.set_tag(run.info.run_id, key, value)
    return run.info.run_id


def test_each_killed_run_is_closed_and_names_the_run_that_continues_it(store):
    killed = [left_open(store), left_open(store)]
    with tracking.entry_run(store, "train_gan", CONFIG) as run:
        run.begin_stage("key", {"seed": "7"})
        own = store.tags_of(run.id)
    for run_id in killed:
        assert store.client.get_run(run_id).info.status == "KILLED"
        assert store.tags_of(run_id)["continued_by"] == run.id
    # its own tags, and none of those of the runs before it
    assert own["seed"] == "7"
    assert own["stage.process"] == this_process()
    assert "continued_by" not in own
    assert "mix" not in own


@pytest.mark.parametrize("at", ["start", "stage"])
def test_a_run_that_ends_while_its_process_is_looked_for_keeps_its_status(store, monkeypatch, at):
    """It says RUNNING when it is found, and its process is gone when that is looked for: it ended in between."""
    found = []

    def ends_now(process: str) -> bool:
        if process == this_process():
            return True
        found.append(process)
        store.client.set_terminated(ending, "FINISHED")
        return False

    if at == "start":
        ending = left_open(store)
        monkeypatch.setattr("mlproject.lost_runs.is_alive", ends_now)
    with tracking.entry_run(store, "train_gan", CONFIG) as run:
        if at == "stage":
            ending = left_open(store)
            monkeypatch.setattr("mlproject.tracking.run.is_alive", ends_now)
        run.begin_stage("key")
    assert found == [store.tags_of(ending)["stage.process"]]
    assert store.client.get_run(ending).info.status == "FINISHED"
    assert "continued_by" not in store.tags_of(ending)
