"""What the machine did while a run ran, for the page "System metrics" of the MLflow UI.

MLflow's own monitors read processor, memory, disk, network and, with `pip install nvidia-ml-py`, GPUs. Its own thread
writes to the store by itself, and at the end of a run waits for a server that is away; here the samples are handed to
the run, which stores them when it stores the rest.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mlproject import environment

environment.quiet()

from mlflow.environment_variables import (  # noqa: E402 - MLflow reads its environment when it is imported
    MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING,
    MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL,
)

SECONDS_BETWEEN_SAMPLES = 10.0


@contextlib.contextmanager
def sampled(note: Callable[[int, Mapping[str, float]], None]) -> Iterator[None]:
    """Call `note` from a thread with (sample, {`system/<name>`: value}) now and then, and when the block ends.

    MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING=false turns it off, MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL sets the seconds.
    """
    if not MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING.get():
        yield
        return
    seconds = MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL.get() or SECONDS_BETWEEN_SAMPLES
    monitors, over = _monitors(), threading.Event()
    for monitor in monitors:
        # what is read for the first time counts from here on, the share of the processor for one
        with contextlib.suppress(Exception):
            monitor.collect_metrics()
            monitor.clear_metrics()

    def sample() -> None:
        number, ended = 0, False
        while not ended:
            ended = over.wait(seconds)
            values: dict[str, float] = {}
            for monitor in monitors:
                # a sensor that fails is no reason to say anything in the middle of a training
                with contextlib.suppress(Exception):
                    monitor.collect_metrics()
                    values |= monitor.aggregate_metrics()
                    monitor.clear_metrics()
            note(number, {f"system/{name}": float(value) for name, value in values.items()})
            number += 1

    thread = threading.Thread(target=sample, name="system metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    monitors = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    with contextlib.suppress(Exception):  # no GPU, or no library that speaks to it
        monitors.append(GPUMonitor())
    return monitors
