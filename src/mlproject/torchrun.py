"""What torchrun tells the processes that it starts, and starting them without it. Imports nothing heavy."""

import os
import sys

from mlproject.errors import EXIT_INTERRUPTED


def rank() -> int:
    """The number of this process among all; 0 is the one that reads, writes and logs."""
    return _told("RANK", 0)


def size() -> int:
    """Processes on all machines; 1 where torchrun has not started this one."""
    return _told("WORLD_SIZE", 1)


def local_rank() -> int:
    """The number of this process on its machine."""
    return _told("LOCAL_RANK", 0)


def local_size() -> int:
    """Processes on this machine."""
    return _told("LOCAL_WORLD_SIZE", 1)


def _told(name: str, alone: int) -> int:
    # other launchers set some of these variables and mean other things: torchrun alone sets its run's id as well
    return int(os.environ[name]) if "TORCHELASTIC_RUN_ID" in os.environ else alone


def start_again(processes: int) -> None:
    """Start this command in so many processes on this machine, as torchrun does, and end with their exit code.

    What torchrun adds to the end of a process that failed, a report over many lines, is left out.
    """
    import logging
    import uuid

    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as torchrun does; run.threads says how many torch takes
    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(launch, sys.executable)(*sys.argv)
    except ChildFailedError as failed:
        code = failed.get_first_failure()[1].exitcode
        sys.exit(code if code > 0 else 128 - code)
    except SignalException:
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(0)
