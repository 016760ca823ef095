"""`mlflow models serve` as a test's own process."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Server:
    """`mlflow models serve` of the champion in a process group of its own."""

    def __init__(self, workshop, log: Path) -> None:
        self.port, self.log = free_port(), log
        command = [str(Path(sys.executable).parent / "mlflow"), "models", "serve", "-m"]
        command += ["models:/nt-classifier@champion", "--env-manager", "local", "--port", str(self.port)]
        with open(log, "wb") as stream:
            self.process = subprocess.Popen(
                command,
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=workshop.folder,
                env=os.environ | workshop.environment,
                start_new_session=True,
            )

    def wait(self, seconds: float = 180) -> bool:
        """Whether the server answers; False when it ended or gave up."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            if "IntegrityError" in self.log.read_text():
                return False
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ping", timeout=5) as answer:
                    return answer.status == 200
            except OSError:
                time.sleep(0.5)
        return False

    def ask(self, request: object) -> tuple[int, dict]:
        status, content = self.send(json.dumps(request).encode())
        return status, json.loads(content)

    def send(self, body: bytes, content_type: str = "application/json") -> tuple[int, str]:
        """Status and text of the answer to any body."""
        url = f"http://127.0.0.1:{self.port}/invocations"
        asked = urllib.request.Request(url, data=body, headers={"Content-Type": content_type})
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
