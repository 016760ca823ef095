"""Entry points in processes of their own, forked from one that has imported everything: a start costs no seconds.

They are what a user starts, the scripts of src/ with their options; only the imports are done before.
"""

import multiprocessing
import os
import resource
import runpy
import signal
import sys
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

import psutil
import pytest
from workshops import Workshop

from mlproject.config import PROJECT_ROOT

_IMPORTED = ["pytest", "workshops", "starter", "mlproject.stages", "mlproject.stages.study", "mlproject.stages.tune"]


class Started:
    """A running entry point, with the methods of `subprocess.Popen` that the tests use."""

    def __init__(
        self, workshop: Workshop, entry_point: str, *options: str, memory: int = 0, **environment: str
    ) -> None:
        """
        Args:
            memory: bytes of address space that the process may take beyond what its imports took; 0 sets no limit.
            environment: variables beside those of the workshop.
        """
        _, script, *arguments = workshop.command(entry_point, *options)
        workshop.folder.mkdir(exist_ok=True)
        self.log = workshop.folder / "log.txt"
        self._before = self.log.stat().st_size if self.log.exists() else 0
        variables = dict(os.environ) | workshop.environment | environment
        context = _context()
        target = (script, arguments, str(workshop.folder), variables, str(self.log), memory)
        self._process = context.Process(target=_run, args=target)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float = 300) -> int:
        self._process.join(timeout)
        assert self._process.exitcode is not None, f"still at work after {timeout} s:\n{self.printed()[-2000:]}"
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> bool:
        """SIGKILL; whether the process was still there to be killed."""
        alive = self.poll() is None
        self.send_signal(signal.SIGKILL)
        self._process.join()
        return alive and self._process.exitcode == -signal.SIGKILL

    def printed(self) -> str:
        """What it has printed so far, on stdout and stderr."""
        return self.log.read_bytes()[self._before :].decode()

    def error(self) -> str:
        """The one line of its error, after checking that there is no traceback and no other error."""
        printed = self.printed()
        assert "Traceback" not in printed, printed[-4000:]
        told = [line for line in printed.splitlines() if line.startswith("error: ")]
        assert len(told) == 1, printed[-4000:]
        return told[0].removeprefix("error: ")


def _context() -> ForkServerContext:
    """Of the process that is forked, which finds this checkout's modules and not those that are installed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    with pytest.MonkeyPatch.context() as patch:
        here = Path(__file__).resolve().parent
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (PROJECT_ROOT / "src", here.parent, here))))
        forkserver.ensure_running()
    return context


def _run(script: str, arguments: list[str], folder: str, variables: dict[str, str], log: str, memory: int) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(written, 1)
    os.dup2(written, 2)
    sys.argv = [script, *arguments]
    if memory:
        limit = psutil.Process().memory_info().vms + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    runpy.run_path(script, run_name="__main__")


def leftovers(folder: Path) -> list[str]:
    """Half-written files and folders, and locks of folders that somebody was writing."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob(".*")
        if path.name.endswith((".unfinished", ".lock")) and not path.name.startswith("mlflow.db")
    ]


def versions_without_digest(workshop: Workshop) -> list[str]:
    """Registered versions that carry no SHA-256."""
    client = workshop.client
    found = [client.get_model_version(v.name, v.version) for v in client.search_model_versions(max_results=1000)]
    return [f"{v.name}/{v.version}" for v in found if len(v.tags.get("sha256", "")) != 64]
