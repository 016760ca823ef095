"""A PostgreSQL and an MLflow server of a test's own, on free ports of the loopback."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from model_server import free_port

PASSWORD = "correct horse"


def _postgres_programs() -> Path:
    """The folder of initdb and postgres, or a skipped test that says what is absent."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = str(debian[-1]) if debian else shutil.which("initdb")
    if not found:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="the driver of PostgreSQL is not installed (pip install -e '.[postgres]')")
    return Path(found).parent


def _as_user() -> dict:
    """PostgreSQL refuses to run as root: then it runs as the user that its package makes."""
    if os.geteuid() != 0:
        return {}
    try:
        account = pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("root cannot run PostgreSQL, and there is no user postgres")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _stop(process: subprocess.Popen, with_signal: int) -> None:
    process.send_signal(with_signal)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """URL, without the password, of an empty database whose every connection takes it."""
    programs, account, port = _postgres_programs(), _as_user(), free_port()
    # not below pytest's folder, which other users may not enter
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        folder = Path(name)
        (folder / "password").write_text(PASSWORD)
        if account:
            for path in (folder, folder / "password"):
                os.chown(path, account["user"], account["group"])
        options = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, **account}
        made = ["--auth=scram-sha-256", "-U", "mlflow", f"--pwfile={folder}/password", "--no-sync", "-D", "data"]
        subprocess.run([programs / "initdb", *made], check=True, **options)
        settings = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", "fsync=off"]
        command = [str(programs / "postgres"), "-D", "data", *(f"-c{setting}" for setting in settings)]
        with open(folder / "log", "wb") as log:
            server = subprocess.Popen(command, **{**options, "stderr": log})
        try:
            url = f"postgresql://mlflow@127.0.0.1:{port}/postgres"
            _wait_until(lambda: _answers(url), server, folder / "log")
            yield url
        finally:
            _stop(server, signal.SIGINT)


def _answers(url: str) -> bool:
    import psycopg

    with contextlib.suppress(psycopg.OperationalError):
        psycopg.connect(url, password=PASSWORD).close()
        return True
    return False


def asked(url: str, query: str) -> list[tuple]:
    """The rows of a query."""
    import psycopg

    with contextlib.closing(psycopg.connect(url, password=PASSWORD)) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


@contextlib.contextmanager
def mlflow_server(backend: str, folder: Path) -> Iterator[str]:
    """URL of a server that keeps its runs in a database and hands artifacts through to `folder`/artifacts."""
    port = free_port()
    command = [
        str(Path(sys.executable).parent / "mlflow"), "server", "--backend-store-uri", backend, "--serve-artifacts",
        "--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1",
    ]  # fmt: skip
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment = os.environ | quiet | {"PGPASSWORD": PASSWORD, "OMP_NUM_THREADS": "1"}
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until(lambda: _is_healthy(url), server, folder / "server.log")
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        _stop(server, signal.SIGTERM)


def _is_healthy(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
        return answer.status == 200
    return False


def _wait_until(true, server: subprocess.Popen, log: Path, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert server.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < end, f"no answer in {seconds} s: {log.read_text()[-3000:]}"
        time.sleep(0.2)
