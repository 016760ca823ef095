"""Jobs in processes of their own: their ends are told, one that dies harms none, and none outlives its parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from mlproject.processes import is_alive, run_each, this_process

# a child imports its job by name, along the path of its parent
sys.path.insert(0, str(Path(__file__).parent))
import process_jobs


def test_every_job_is_done_with_its_threads(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    jobs = [(str(tmp_path / str(number)), f"job {number}") for number in range(3)]
    assert sorted(run_each(process_jobs.write, jobs, workers=2, threads=1)) == [(0, 0), (1, 0), (2, 0)]
    assert [Path(path).read_text() for path, _ in jobs] == ["job 0 1", "job 1 1", "job 2 1"]
    assert os.environ["OMP_NUM_THREADS"] == "5"


def test_one_that_fails_or_is_killed_takes_no_other_along(tmp_path, capfd) -> None:
    jobs = [(str(tmp_path / how), how) for how in ("raise", "kill", "good")]
    ended = dict(run_each(process_jobs.fail, jobs, workers=1, threads=1))
    assert ended == {0: 1, 1: -signal.SIGKILL, 2: 0}
    assert (tmp_path / "good").read_text() == "good 1"
    assert "ValueError: raise" in capfd.readouterr().err


def test_leaving_early_ends_what_is_at_work(tmp_path) -> None:
    paths = [tmp_path / name for name in ("quick", "slow")]
    ended = run_each(process_jobs.sleep, [(str(path),) for path in paths], workers=2, threads=1)
    assert all(gone(process) for process in left_early(ended, paths))


def left_early(ended, paths) -> list[int]:
    """Start both jobs, kill the first, and leave with the second at work, as an interrupted caller does."""
    numbers: list[int] = []

    def kill_first() -> None:
        numbers.extend(started(path) for path in paths)
        os.kill(numbers[0], signal.SIGKILL)

    watcher = threading.Thread(target=kill_first)
    watcher.start()
    assert next(ended) == (0, -signal.SIGKILL)
    watcher.join()
    ended.close()
    return numbers


def gone(process: int, seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if psutil.Process(process).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def started(path: Path, seconds: float = 120) -> int:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.05)
    raise AssertionError("the job did not start")


PARENT = """
import sys
sys.path[:0] = [{source!r}, {tests!r}]
import process_jobs
from mlproject.processes import run_each
if __name__ == "__main__":
    list(run_each(process_jobs.sleep, [({path!r},)], 1, 1))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_job_ends_with_its_parent(tmp_path, how) -> None:
    source = Path(sys.modules["mlproject"].__file__).parents[1]
    script, path = tmp_path / "parent.py", tmp_path / "pid"
    script.write_text(PARENT.format(source=str(source), tests=str(Path(__file__).parent), path=str(path)))
    parent = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)
    job = started(path)
    os.kill(parent.pid, how)
    parent.wait(60)
    assert gone(job)


@pytest.mark.skipif(not psutil.LINUX, reason="elsewhere the system keeps the moment itself")
def test_a_process_is_known_again_when_the_clock_was_set(monkeypatch):
    """What /proc says of the moment when the machine started moves with the clock."""
    named = this_process()
    assert is_alive(named)
    started = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: started + 1.0)
    assert is_alive(named)
    assert this_process() == named
    assert not is_alive(f"{named}1")
