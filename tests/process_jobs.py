"""Jobs that the tests of processes start: a child finds them by the name of this module."""

import os
import signal
import time
from pathlib import Path


def write(path: str, text: str) -> None:
    """Write the text and the number of threads that libraries may take here."""
    Path(path).write_text(f"{text} {os.environ['OMP_NUM_THREADS']}")


def fail(path: str, how: str) -> None:
    """Raise, be killed, or write."""
    if how == "raise":
        raise ValueError(how)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, how)


def sleep(path: str) -> None:
    """Say which process this is and stay, longer than any test waits for its end."""
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)
