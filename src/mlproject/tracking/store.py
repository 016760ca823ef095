"""A tracking store: what it is opened by, and what is asked of the runs in it."""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlproject import plain_text, remote
from mlproject.config import PROJECT_ROOT
from mlproject.errors import UserError
from mlproject.tracking.database import absolute, database_of, locked

CONTEXT_TAG = "mlflow.data.context"  # MLflow's tag of what a run used a data set for
RESOLVED = "resolved."  # before a key whose typed value is another spelling
_EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.note.content": (
        "Does synthetic ultrasound data help a classifier? Runs of one chain are nested below `main`; compare "
        "`val.*` across `train_classifier` and `test.*` across `eval_classifier`. Sample grids by step are under "
        "Artifacts and Model metrics. `data_kind=phantom_not_clinical` marks everything made from the phantom."
    ),
}


class Store:
    """A tracking store and registry, and the experiment that new runs go to."""

    def __init__(self, uri: str, client: MlflowClient, experiment_id: str) -> None:
        self.uri, self.client, self.experiment_id = uri, client, experiment_id

    def ui_command(self) -> str:
        """The command that opens this store in the MLflow UI: `make ui` for the project's own."""
        if self.uri == absolute(f"sqlite:///{PROJECT_ROOT / 'mlflow.db'}") and Path.cwd() == PROJECT_ROOT:
            return "make ui"
        if self.uri.startswith("http"):
            return f"open {plain_text.without_password(self.uri)}"
        return f"{Path(sys.executable).parent / 'mlflow'} ui --backend-store-uri {self.uri}"

    def tags_of(self, run_id: str) -> dict[str, str]:
        return dict(self.client.get_run(run_id).data.tags)

    def metrics_of(self, run_id: str) -> dict[str, float]:
        """The last value of every metric of a run."""
        return dict(self.client.get_run(run_id).data.metrics)

    def params_of(self, run_id: str) -> dict[str, str]:
        """The resolved configuration of a run under dotted keys, see `Run.log_config`."""
        params = dict(self.client.get_run(run_id).data.params)
        resolved = {key.removeprefix(RESOLVED): value for key, value in params.items() if key.startswith(RESOLVED)}
        return params | resolved

    def split_counts_of(self, run_id: str) -> dict[str, dict[str, int]]:
        """What each split of the data set holds that a run was trained on, see `Run.log_dataset`; {} if unknown."""
        inputs = self.client.get_run(run_id).inputs
        for given in inputs.dataset_inputs if inputs else []:
            if any(tag.key == CONTEXT_TAG and tag.value == "train" for tag in given.tags):
                counts: dict[str, dict[str, int]] = json.loads(given.dataset.profile or "{}")
                return counts
        return {}

    def history_of(self, run_id: str, metric: str) -> dict[int, float]:
        """A metric's last value at every step; {} when the run has none."""
        found = self.client.get_metric_history(run_id, metric)
        return {entry.step: entry.value for entry in sorted(found, key=lambda entry: (entry.step, entry.timestamp))}

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Held by one process of this machine at a time, for what must not be made twice; only of an sqlite store."""
        with locked(self.uri):
            yield

    @property
    def database(self) -> Path | None:
        """The file of an sqlite store."""
        return database_of(self.uri)

    def find(self, stage: str, tags: Mapping[str, str], status: str = "FINISHED") -> list[str]:
        """Run ids of a stage that did work of their own and carry these tags, newest first."""
        wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in {"stage": stage, **tags}.items())
        runs = self.client.search_runs([self.experiment_id], f"{wanted} and attributes.status = '{status}'")
        return [run.info.run_id for run in runs if "reused_from" not in run.data.tags]

    def finished_values(self, tag: str) -> set[str]:
        """Every value that a tag has among the finished runs of the experiment."""
        values: set[str] = set()
        token = None
        while True:
            wanted = f"tags.`{tag}` != '' and attributes.status = 'FINISHED'"
            page = self.client.search_runs([self.experiment_id], wanted, page_token=token)
            values |= {run.data.tags[tag] for run in page}
            token = page.token
            if not token:
                return values

    def seconds_of(self, run_id: str) -> float:
        """How long a finished run took."""
        info = self.client.get_run(run_id).info
        return ((info.end_time or info.start_time) - info.start_time) / 1000

    def table(self, run_id: str, name: str) -> dict[str, list[Any]] | None:
        """The columns of a table as `Run.log_table` wrote them, also when another run stands for them; or None."""
        run_id = self.tags_of(run_id).get("reused_from", run_id)
        if f"{name}.json" not in {item.path for item in self.client.list_artifacts(run_id)}:
            return None
        with tempfile.TemporaryDirectory() as temporary:
            path = self.client.download_artifacts(run_id, f"{name}.json", temporary)
            table = json.loads(Path(path).read_text(encoding="utf-8"))
        return {column: [row[place] for row in table["data"]] for place, column in enumerate(table["columns"])}

    def download(self, run_id: str, path: str) -> Path | None:
        """A local folder with the artifacts of a run below `path`; None when there are none."""
        run_id = self.tags_of(run_id).get("reused_from", run_id)
        if not self.client.list_artifacts(run_id, path):
            return None
        return Path(self.client.download_artifacts(run_id, path))


def open_store(experiment: str) -> Store:
    """The store that MLFLOW_TRACKING_URI names, or `mlflow.db` in the current folder.

    The schema is made under a lock: several processes that start on a fresh file would otherwise crash one another.

    Raises:
        UserError: the store cannot be opened.
    """
    uri = absolute(os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db")
    try:
        # a server that is not there is told in seconds
        with locked(uri), remote.at_once(retries=2):
            client = MlflowClient(uri, uri)
            if run_id := os.environ.get("MLFLOW_RUN_ID"):
                experiment_id = client.get_run(run_id).info.experiment_id
            elif (found := client.get_experiment_by_name(experiment)) is not None:
                experiment_id = found.experiment_id
            else:
                # beside the database, wherever the command was typed
                database = database_of(uri)
                place = (database.parent / "mlruns" / quote(experiment, safe="")).as_uri() if database else None
                experiment_id = _create_experiment(client, experiment, place)
            _describe_experiment(client, experiment_id)
    except UserError:
        raise
    except Exception as error:  # MLflow and SQLAlchemy raise many kinds for a store that is not there
        raise remote.not_opened(uri, error) from error
    os.environ["MLFLOW_TRACKING_URI"] = uri
    return Store(uri, client, experiment_id)


def attach_store(uri: str, experiment_id: str) -> Store:
    """The store of a parent process, which has opened it: an absolute URI and the experiment of its runs."""
    os.environ["MLFLOW_TRACKING_URI"] = uri
    with locked(uri):
        client = MlflowClient(uri, uri)
        client.get_experiment(experiment_id)
    return Store(uri, client, experiment_id)


def _create_experiment(client: MlflowClient, name: str, place: str | None) -> str:
    """The experiment, made by this process or at the same moment by another of a server's clients."""
    try:
        return client.create_experiment(name, artifact_location=place)
    except MlflowException:
        if (found := client.get_experiment_by_name(name)) is None:
            raise
        return found.experiment_id


def _describe_experiment(client: MlflowClient, experiment_id: str) -> None:
    """Say what the experiment is: without its kind the UI opens on pages for language models."""
    known = client.get_experiment(experiment_id).tags
    for key, value in _EXPERIMENT_TAGS.items():
        if key in known:
            continue
        try:
            client.set_experiment_tag(experiment_id, key, value)
        except MlflowException:  # set in between by another of a server's clients, which PostgreSQL refuses
            if key not in client.get_experiment(experiment_id).tags:
                raise
