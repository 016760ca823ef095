"""A real sqlite store in a folder that is thrown away, and a run in it."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from mlproject.config import load_config
from mlproject.tracking import Run, entry_run, open_store


class StoredRun:
    """A run of the project's tracking, and what a plain loop would call on the same store."""

    def __init__(self, run: Run, plain_run: Run) -> None:
        self.run, self.plain_run = run, plain_run

    def journal(self, work: Path) -> AbstractContextManager[Callable[[int, Mapping[str, float]], None]]:
        """The project's report: journal, buffer, batches."""
        return self.run.journal(work)

    def log_one(self, name: str, value: float, step: int) -> None:
        """One metric, one call, as `mlflow.log_metric` does it."""
        self.plain_run.store.client.log_metric(self.plain_run.id, name, value, step=step)


@contextlib.contextmanager
def stored_run(folder: Path) -> Iterator[StoredRun]:
    """A new store in `folder` with one run for ours and one for the reference; the environment is put back."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    # a run that a caller has open stays its own
    outer = os.environ.pop("MLFLOW_RUN_ID", None)
    try:
        config = load_config()
        with entry_run(open_store("bench"), "train_gan", config) as run, run.child("train_gan plain", config) as plain:
            yield StoredRun(run, plain)
    finally:
        for name, value in (("MLFLOW_TRACKING_URI", before), ("MLFLOW_RUN_ID", outer)):
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
