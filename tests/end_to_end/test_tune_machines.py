"""Two machines on one search: folders that share nothing but a PostgreSQL and an MLflow server, both real."""

import contextlib
import json
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from optuna.trial import TrialState
from servers import PASSWORD, asked, mlflow_server, postgres
from tune_desk import Desk

from mlproject.config import PROJECT_ROOT
from mlproject.tuning.database import Locks

pytestmark = pytest.mark.slow
TRIALS, SEEDS = 10, (1000, 1001)
ANSWERED = "HTTP/1.1"  # once in the server's log for each request


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> SimpleNamespace:
    """Both servers on one database."""
    with postgres() as storage:
        folder = tmp_path_factory.mktemp("server")
        with mlflow_server(storage, folder) as tracking:
            yield SimpleNamespace(
                storage=storage, tracking=tracking, artifacts=folder / "artifacts", log=folder / "server.log"
            )


@pytest.fixture(scope="module")
def searched(server, tmp_path_factory) -> SimpleNamespace:
    """A search by two machines, of two workers and of one, started at the same moment; a worker is killed midway."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSWORD", PASSWORD)
        for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
            patch.delenv(name, raising=False)
        folders = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
        desks = [Desk(folder, server.tracking, server.storage) for folder in folders]
        options = ("--trials", str(TRIALS), "--confirm_seeds", str(len(SEEDS)))
        processes = [desk.start(*options, "--workers", count) for desk, count in zip(desks, "21", strict=True)]
        desks[0].wait_for_trials(*processes, done=3)
        query = (
            "SELECT application_name, count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' GROUP BY 1"
        )
        connections = dict(asked(server.storage, query))
        trials_began, began = len(desks[0].complete()), server.log.read_text().count(ANSWERED)
        lost = desks[0].kill_a_worker(*processes, done=3)
        while len(desks[0].complete()) < TRIALS and any(process.poll() is None for process in processes):
            time.sleep(0.5)
        requests = server.log.read_text().count(ANSWERED) - began
        per_trial = requests / (TRIALS - trials_began)
        for desk, process in zip(desks, processes, strict=True):
            desk.finish(process)
        yield SimpleNamespace(desks=desks, lost=lost, connections=connections, requests=per_trial)


def test_no_trial_is_lost_or_run_twice(searched) -> None:
    one = searched.desks[0]
    trials = one.trials()
    assert Counter(trial.state for trial in trials) == {TrialState.COMPLETE: TRIALS, TrialState.FAIL: 1}
    (again,) = [trial for trial in trials if "failed_trial" in trial.system_attrs]
    assert (again.system_attrs["failed_trial"], again.state) == (searched.lost.number, TrialState.COMPLETE)
    runs = one.runs(stage="tune_trial")
    assert Counter(run.info.status for run in runs) == {"FINISHED": TRIALS, "KILLED": 1}
    finished = [run for run in runs if run.info.status == "FINISHED"]
    assert {int(run.data.tags["tune.trial"]): run.data.metrics["tune.auc"] for run in finished} == one.complete()
    assert len({run.data.tags["mlflow.parentRunId"] for run in finished}) == 2, "both machines took part"
    assert max(one.fits().values()) == 1, "a generator or classifier was trained on both machines"
    assert not [run.info.run_id for run in one.runs() if run.info.status == "RUNNING"]
    assert Counter(run.info.status for run in one.runs(stage="tune")) == {"FINISHED": 2}
    print(f"\n{searched.requests:.0f} requests to the MLflow server for each trial")
    print(f"connections of two machines with three workers, and of the server and this test: {searched.connections}")


def test_the_machines_share_out_the_fresh_seeds_and_agree(searched) -> None:
    confirmed = searched.desks[0].runs(stage="tune_confirm")
    fits = Counter((run.data.tags["tune.seed"], run.data.tags["tune.arm"], run.info.status) for run in confirmed)
    assert fits == {(str(seed), arm, "FINISHED"): 1 for seed in SEEDS for arm in ("tuned", "untuned")}
    results = [json.loads((desk.result / "confirmation.json").read_text()) for desk in searched.desks]
    assert results[0] == results[1]
    for desk in searched.desks:
        assert results[0]["answer"] in desk.printed
    made = [r for r in searched.desks[0].runs(stage="prepare_data") if "reused_from" not in r.data.tags]
    assert len(made) == 1 + len(SEEDS), "one machine draws the data of the search, the other takes it from the server"


def test_artifacts_go_through_the_server(server, searched) -> None:
    desk = searched.desks[0]
    assert all(run.info.artifact_uri.startswith("mlflow-artifacts:") for run in desk.runs())
    assert list(server.artifacts.rglob("real_beside_synthetic.png"))
    for own in searched.desks:
        assert not list(own.folder.rglob("mlruns"))
        assert not list(own.folder.rglob("*.db"))


def test_both_have_tables_of_their_own_in_one_database(server, searched) -> None:
    rows = asked(server.storage, "SELECT table_schema, table_name FROM information_schema.tables")
    tables = {schema: {name for found, name in rows if found == schema} for schema in ("public", "optuna")}
    assert {"experiments", "runs", "alembic_version"} <= tables["public"]
    assert {"studies", "trials", "trial_heartbeats", "alembic_version"} <= tables["optuna"]
    assert "studies" not in tables["public"]


def test_the_password_is_nowhere(searched) -> None:
    for desk in searched.desks:
        assert PASSWORD not in desk.printed
        told = [str([run.data.params, run.data.tags]) for run in desk.runs()]
        assert not [text for text in told if PASSWORD in text]
        written = [path for path in desk.folder.rglob("*") if path.suffix in (".yaml", ".json", ".log", ".csv")]
        assert written
        assert not [path for path in written if PASSWORD in path.read_text()]


def test_locks_hold_between_the_server_s_clients_and_end_with_their_process(server, tmp_path) -> None:
    count = tmp_path / "count"
    count.write_text("0")
    turns = PROJECT_ROOT / "tests" / "tuning" / "turns.py"
    command = [sys.executable, str(turns), server.storage, str(count)]
    environment = {"PYTHONPATH": str(PROJECT_ROOT / "src"), "PGPASSWORD": PASSWORD}
    running = [subprocess.Popen(command, env=environment) for _ in range(3)]
    assert [process.wait() for process in running] == [1, 1, 1]
    assert count.read_text() == "90", "two at a time overwrite each other"


def test_a_lock_is_given_away_and_taken_after_the_connection_broke(server, monkeypatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with contextlib.closing(Locks(server.storage)) as one, contextlib.closing(Locks(server.storage)) as other:
        one.take("generator/a")
        sessions = "FROM pg_stat_activity WHERE application_name = 'mlproject tune'"
        assert asked(server.storage, f"SELECT pg_terminate_backend(pid) {sessions}") == [(True,)]
        assert other.take("generator/a", wait=False), "it ended with the connection"
        one.give("generator/a")
        assert one.take("turn", wait=False)
        assert not other.take("turn", wait=False)


def test_a_wrong_password_is_one_line(server, tmp_path) -> None:
    desk = Desk(tmp_path, server.tracking, server.storage, {"PGPASSWORD": "wrong"})
    printed = desk.run(code=2)
    (line,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert re.search(r"tune\.storage: postgresql://mlflow@127\.0\.0\.1:\d+/postgres cannot be opened", line)
    assert "password authentication failed" in line
    assert Path(desk.folder / "outputs" / "data").exists() is False, "told before any work"
