"""Work in processes of their own, a few at a time: one that fails takes no other along; their names; SIGTERM."""

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any

import psutil

from mlproject import environment

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_SECONDS_TO_END = 20.0


def run_each(
    target: Callable[..., None], jobs: Sequence[tuple[Any, ...]], workers: int, threads: int
) -> Generator[tuple[int, int], None, None]:
    """Call `target(*job)` for every job, each in a process of its own, at most `workers` at a time.

    Args:
        target: a function of a module; it hands its result on through a file.
        jobs: arguments, which are pickled to the process.
        threads: of torch and BLAS in each process, set before these libraries are imported.

    Yields:
        (index of the job, exit code) as they end; 0 is a good end, a negative code the signal that killed it.

    When the caller leaves early, or is interrupted, the processes at work are terminated; when it is killed they end
    by themselves.
    """
    # spawn: a forked copy of a process that has run torch may hang in its thread pools
    context = multiprocessing.get_context("spawn")
    waiting = deque(range(len(jobs)))
    running: dict[int, tuple[int, BaseProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                index = waiting.popleft()
                process: BaseProcess = context.Process(target=_guarded, args=(target, jobs[index]))
                # how many threads its libraries may take is read when a process starts
                with environment.changed(dict.fromkeys(_THREAD_VARIABLES, str(threads))):
                    process.start()
                running[process.sentinel] = (index, process)
            for sentinel in connection.wait(list(running)):
                assert isinstance(sentinel, int)
                index, ended = running.pop(sentinel)
                ended.join()
                yield index, ended.exitcode or 0
    finally:
        for _, left in running.values():
            left.terminate()
        for _, left in running.values():
            left.join(_SECONDS_TO_END)
            if left.is_alive():
                left.kill()
                left.join()


def _guarded(target: Callable[..., None], job: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        target(*job)
    except KeyboardInterrupt:
        sys.exit(130)


def _end_with_parent() -> None:
    """End this process at once when its parent is gone: what it works on is resumed from its last checkpoint."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def this_process() -> str:
    """Host, process id and a number of its start: a process id alone is given to others later."""
    return f"{socket.gethostname()}:{os.getpid()}:{_identity(psutil.Process())}"


def _identity(process: psutil.Process) -> int:
    """Of the id and the start on a clock that nobody sets: by the time of day, a start moves as that clock is set."""
    return hash(process)


def is_alive(process: str) -> bool:
    """Whether a process named by `this_process` still runs; one on another host counts as alive."""
    host, _, rest = process.rpartition(":")[0].rpartition(":")
    if host and host != socket.gethostname():
        return True
    try:
        found = psutil.Process(int(rest))
        # a zombie has ended and waits for its parent to notice
        same = str(_identity(found)) == process.rpartition(":")[2]
        return same and found.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, ValueError):
        return False


@contextlib.contextmanager
def terminated_like_ctrl_c() -> Iterator[None]:
    """SIGTERM unwinds as Ctrl-C does, so that buffers are flushed and a run gets its true status."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt
