"""A tracking server that is away, absent, or asks for a password."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import mlflow
import psutil
import pytest
import requests
from model_server import free_port
from starter import Started
from workshops import Ended, unfinished_runs, wait_until

SECONDS_AWAY = 60
STEPS = 240


class Server:
    """A real `mlflow server` of a folder, which can be killed and started again on its port."""

    def __init__(self, folder: Path, *options: str, **environment: str) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        # without --host: what it listens on is the default
        self._command = [
            *(str(Path(sys.executable).parent / "mlflow"), "server", "--port", str(self.port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")),
            *options,
        ]
        self._variables = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | environment
        self.start()

    def start(self) -> None:
        with open(self.folder / "server.txt", "ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self.folder, env=self._variables, stdout=log, stderr=log, start_new_session=True
            )
        assert wait_until(self._answers, self._process, 120), (self.folder / "server.txt").read_text()[-3000:]

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                return True
        except OSError:
            time.sleep(0.2)
            return False

    def addresses(self) -> set[str]:
        """What its processes listen on."""
        processes = [psutil.Process(self._process.pid), *psutil.Process(self._process.pid).children(recursive=True)]
        found = [connection for process in processes for connection in process.net_connections("inet")]
        return {c.laddr.ip for c in found if c.status == psutil.CONN_LISTEN and c.laddr.port == self.port}

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextlib.contextmanager
def serving(folder: Path, *options: str, **environment: str) -> Iterator[Server]:
    server = Server(folder, *options, **environment)
    try:
        yield server
    finally:
        server.kill()


class Remote:
    """The store behind a server, as `unfinished_runs` asks for it."""

    def __init__(self, uri: str) -> None:
        self.client = mlflow.MlflowClient(uri, uri)


def error_of(done: Ended) -> str:
    """The one line of a command that was refused."""
    assert done.code == 2, done.out + done.err
    assert "Traceback" not in done.err
    (told,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    return told.removeprefix("error: ")


@pytest.mark.slow
def test_the_server_is_away_for_a_minute(prepared, fault):
    """One training is in its middle when the server is killed, another comes to its end while it is away."""
    with serving(prepared.folder / "server") as server:
        assert server.addresses() == {"127.0.0.1"}
        data = ("--data", str(prepared.folder / "set"))
        where = {"MLFLOW_TRACKING_URI": server.uri}
        long = Started(prepared, "train_gan", *data, "--steps", str(STEPS), "--checkpoint_every", "60", **where)
        work = prepared.folder / "outputs" / "work"

        def reported(stage: str) -> int:
            journals = list(work.glob(f"{stage}-*/metrics.jsonl"))
            return journals[0].read_bytes().count(b"\n") if journals else 0

        assert wait_until(lambda: reported("train_gan") > 20, long), long.printed()[-3000:]
        # slowed down, so that it is still in its middle when the server is back
        long.send_signal(signal.SIGSTOP)
        short = Started(prepared, "train_classifier", *data, "--mix", "real", "--steps", "20", **where)
        assert wait_until(lambda: reported("train_classifier") > 5, short), short.printed()[-3000:]
        server.kill()
        began, before = time.monotonic(), reported("train_gan")
        while time.monotonic() - began < SECONDS_AWAY:
            # a step or a few every second
            long.send_signal(signal.SIGCONT)
            so_far = reported("train_gan")
            wait_until(lambda least=so_far + 1: reported("train_gan") >= least, long, 5)
            long.send_signal(signal.SIGSTOP)
            time.sleep(0.9)
        after = reported("train_gan")
        assert long.poll() is None
        assert short.poll() is None
        server.start()
        long.send_signal(signal.SIGCONT)
        assert long.wait(900) == 0, long.printed()[-3000:]
        assert short.wait(900) == 0, short.printed()[-3000:]
        assert before < after < STEPS, "the training stood still, or came to its end meanwhile"
        store = Remote(server.uri)
        assert unfinished_runs(store) == []
        runs = store.client.search_runs([store.client.get_experiment_by_name("nt-synthetic").experiment_id])
        by_stage = {run.data.tags["stage"]: run for run in runs}
        assert {run.info.status for run in runs} == {"FINISHED"}
        assert len(by_stage) == len(runs) == 2
        for stage, metric, steps in (("train_gan", "gan.critic_loss", STEPS), ("train_classifier", "train.loss", 20)):
            history = store.client.get_metric_history(by_stage[stage].info.run_id, metric)
            assert sorted(entry.step for entry in history) == list(range(1, steps + 1))
    fault(
        "the tracking server is killed in the middle of a run and started again after a minute",
        f"training went on ({after - before} steps meanwhile, in the journal on disk); at the end the server had all "
        f"{STEPS} steps, each once",
    )
    fault(
        "the tracking server is away for a minute when a run ends",
        "the run waited and ended with 0 when the server was back; all 20 steps are there, each once",
    )


def test_a_server_that_is_not_there(desk, fault):
    began = time.monotonic()
    uri = f"http://127.0.0.1:{free_port()}"
    told = error_of(desk.run("train_gan", MLFLOW_TRACKING_URI=uri))
    seconds = time.monotonic() - began
    assert f"tracking server {uri} does not answer (Connection refused); start it" in told
    assert seconds < 60
    told = told.replace(uri.rpartition(":")[2], "…")
    fault("no tracking server at the start", f"ended with 2 after {seconds:.0f} s: “{told}”")


@pytest.mark.slow
def test_users_and_passwords(desk, fault):
    pytest.importorskip("flask_wtf", reason="mlflow[auth] is not installed")
    password = "correct horse battery"
    secrets = {"MLFLOW_FLASK_SERVER_SECRET_KEY": "k" * 32, "MLFLOW_AUTH_ADMIN_PASSWORD": password}
    pictures = ("--data.path", str(desk.folder / "pictures"))
    with serving(desk.folder / "server", "--app-name", "basic-auth", **secrets) as server:
        assert server.addresses() == {"127.0.0.1"}
        where = {"MLFLOW_TRACKING_URI": server.uri}
        user = {**where, "MLFLOW_TRACKING_USERNAME": "admin"}
        right = desk.run("prepare_data", *pictures, MLFLOW_TRACKING_PASSWORD=password, **user)
        assert right.code == 0, right.err
        wrong = error_of(desk.run("prepare_data", *pictures, MLFLOW_TRACKING_PASSWORD="wr0ng", **user))
        nobody = error_of(desk.run("prepare_data", *pictures, **where))
        # a user who may read, and no more
        login, reading = ("admin", password), {"username": "reader", "password": "only reads 123"}
        made = requests.post(f"{server.uri}/api/2.0/mlflow/users/create", json=reading, auth=login, timeout=60)
        made.raise_for_status()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
            patch.setenv("MLFLOW_TRACKING_PASSWORD", password)
            client = mlflow.MlflowClient(server.uri, server.uri)
            (run,) = client.search_runs([client.get_experiment_by_name("nt-synthetic").experiment_id])
        reader = {**where, "MLFLOW_TRACKING_USERNAME": "reader", "MLFLOW_TRACKING_PASSWORD": "only reads 123"}
        may_read = error_of(desk.run("prepare_data", *pictures, **reader))
    assert run.info.status == "FINISHED"
    assert not any(password in value for value in run.data.tags.values())
    for told in (wrong, nobody, may_read):
        assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in told
        assert "wr0ng" not in told
    said = wrong.replace(str(server.port), "…")
    fault(
        "no password, a wrong one, and a user without EDIT permission (`mlflow server --app-name basic-auth`)",
        f"with the right one a run is logged; each of the others ended with 2: “{said}”",
    )
