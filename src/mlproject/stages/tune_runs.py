"""The runs of processes that are gone: closed by those that are still there, wherever they ran."""

from mlproject.lost_runs import is_left_open
from mlproject.tracking import Run, Store
from mlproject.tuning.database import Locks


def run_lock(run_id: str) -> str:
    """Name of the lock that the process of a search holds while it lives."""
    return f"run/{run_id}"


def end_lost_searches(run: Run, key: str, locks: Locks) -> None:
    """End the earlier runs of the same search whose process is gone, on any machine.

    A process id says nothing on another machine, the lock of the process does.

    Args:
        key: stage key of the search.
    """
    for run_id in run.store.find("tune", {"stage.key": key}, status="RUNNING"):
        if run_id != run.id and locks.take(run_lock(run_id), wait=False):
            end_with_nested(run.store, run_id)
            locks.give(run_lock(run_id))


def end_with_nested(store: Store, run_id: str) -> None:
    """End a run that is still RUNNING as KILLED, and before it everything below it."""
    nested = f"tags.`mlflow.parentRunId` = '{run_id}' and attributes.status = 'RUNNING'"
    for found in store.client.search_runs([store.experiment_id], nested):
        end_with_nested(store, found.info.run_id)
    if is_left_open(store.client, run_id):
        store.client.set_terminated(run_id, "KILLED")
