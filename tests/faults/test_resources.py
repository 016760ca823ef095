"""Worker processes that die."""

import os
import signal

import psutil
import pytest
from starter import Started, leftovers, unfinished_runs
from workshops import wait_until

pytestmark = pytest.mark.slow


def test_a_process_that_draws_the_phantom_dies(desk, fault):
    sizes = [option for split in ("train", "val", "test") for option in (f"--n_{split}", "40")]
    phantom = ("--source", "phantom", *sizes, "--run.workers", "2")
    started = Started(desk, "prepare_data", *phantom)

    def drawing() -> list[psutil.Process]:
        if not list(desk.folder.glob("outputs/data/.*.unfinished/images/*/*.png")):
            return []
        children = psutil.Process(started.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]

    assert wait_until(drawing, started), started.printed()[-3000:]
    os.kill(drawing()[0].pid, signal.SIGKILL)
    assert started.wait() == 2, started.printed()[-3000:]
    told = started.error()
    assert "one of the 2 processes that draw it died" in told
    assert "fewer run.workers" in told
    assert leftovers(desk.folder) == []
    assert unfinished_runs(desk) == []
    fault("kill -9 of a worker process that draws images", f"ended with 2: “{told}”; nothing half-written is left")
