"""Runs whose process was killed: nobody was left to say how they ended, so the next start on this machine does."""

import time
from collections.abc import Iterator

from mlflow import MlflowClient
from mlflow.entities import Run

from mlproject.processes import is_alive

PROCESS_TAG = "stage.process"
# `mlflow run` makes a run before the process that will say who it is; it may build an environment in between
_HOURS_TO_BE_TAKEN_UP = 24
_ENTRY_POINT_TAG = "mlflow.project.entryPoint"


def end_lost_runs(client: MlflowClient, experiment_id: str) -> list[str]:
    """Give the status KILLED to every run that says RUNNING and whose process is gone; returns their ids.

    Only runs of this machine can be judged, and runs of `mlflow run` that nobody took up within a day. A model whose
    files such a run was still storing becomes FAILED.
    """
    ended = []
    for run in list(_running(client, experiment_id)):
        process = run.data.tags.get(PROCESS_TAG, "")
        hours = (time.time() - run.info.start_time / 1000) / 3600
        never_taken_up = not process and _ENTRY_POINT_TAG in run.data.tags and hours > _HOURS_TO_BE_TAKEN_UP
        is_gone = never_taken_up or (process and not is_alive(process))
        if is_gone and is_left_open(client, run.info.run_id):
            _fail_unfinished_models(client, experiment_id, run.info.run_id)
            client.set_terminated(run.info.run_id, "KILLED")
            ended.append(run.info.run_id)
    return ended


def is_left_open(client: MlflowClient, run_id: str) -> bool:
    """Whether a run whose process is gone still says RUNNING: to be asked after the process was seen to be gone.

    Between the moment when a run was found and the moment when its process was looked for, the process may have said
    how the run ended.
    """
    return bool(client.get_run(run_id).info.status == "RUNNING")


def _running(client: MlflowClient, experiment_id: str) -> Iterator[Run]:
    token = None
    while True:
        page = client.search_runs([experiment_id], "attributes.status = 'RUNNING'", page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _fail_unfinished_models(client: MlflowClient, experiment_id: str, run_id: str) -> None:
    for model in client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'"):
        if model.status == "PENDING":
            client.finalize_logged_model(model.model_id, "FAILED")
