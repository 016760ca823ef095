"""The only room that speaks to MLflow's tracking: the store, its runs, what they log, and finding earlier ones.

It works through `MlflowClient` and explicit run ids, so that no hidden "active run" decides where a metric goes.
"""

import contextlib
import fcntl
import io
import json
import os
import re
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from mlproject import environment, plain_text, remote
from mlproject.checkpoint import latest_checkpoint
from mlproject.config import SECTIONS, Configuration, as_nested, as_yaml
from mlproject.data.manifest import DataSet
from mlproject.errors import Stopped, UserError
from mlproject.journal import Entry, Journal
from mlproject.memory import told_as_memory
from mlproject.processes import is_alive, this_process
from mlproject.remote import at_once
from mlproject.system_metrics import sampled

environment.quiet()

from mlflow import MlflowClient  # noqa: E402 - MLflow reads its environment when it is imported
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.store.db.utils import _get_latest_schema_revision  # noqa: E402
from mlflow.tracking.context import registry as context_registry  # noqa: E402
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_IMAGES, MLFLOW_RUN_NOTE  # noqa: E402
from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH, MAX_TAG_VAL_LENGTH  # noqa: E402

from mlproject.lost_runs import PROCESS_TAG, end_lost_runs  # noqa: E402 - it imports MLflow

Report = Callable[[int, Mapping[str, float]], None]

_BATCH = 1000  # metrics in one request, MLflow's limit
_SECONDS_BETWEEN_FLUSHES = 5.0
_SECONDS_OF_A_MIGRATION = 2.0
_SECONDS_BETWEEN_QUESTIONS = 15.0  # to a store that did not take what it was given
_DIGEST_LIMIT = 36  # characters of a dataset digest that MLflow stores; the tag holds all of it
_CONTEXT = "mlflow.data.context"  # MLflow's tag of what a run used a data set for
_RESOLVED = "resolved."  # before a key whose typed value is another spelling
_JOURNAL = "metrics.jsonl"
_ATTEMPTS = 4
_DRAWN_NAME = re.compile(r"[a-z]+-[a-z]+-\d+")  # as MLflow draws for a run that nobody named
_EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.note.content": (
        "Does synthetic ultrasound data help a classifier? Runs of one chain are nested below `main`; compare "
        "`val.*` across `train_classifier` and `test.*` across `eval_classifier`. Sample grids by step are under "
        "Artifacts and Model metrics. `data_kind=phantom_not_clinical` marks everything made from the phantom."
    ),
}
_IMAGE_AT_STEP = re.compile(r".+\+step\+(\d+)\+timestamp\+.+")  # as MLflow names what log_image writes


class Store:
    """A tracking store and registry, and the experiment that new runs go to."""

    def __init__(self, uri: str, client: MlflowClient, experiment_id: str) -> None:
        self.uri, self.client, self.experiment_id = uri, client, experiment_id

    def ui_command(self) -> str:
        """The command that opens this store in the MLflow UI."""
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
        resolved = {key.removeprefix(_RESOLVED): value for key, value in params.items() if key.startswith(_RESOLVED)}
        return params | resolved

    def split_counts_of(self, run_id: str) -> dict[str, dict[str, int]]:
        """What each split of the data set holds that a run was trained on, see `Run.log_dataset`; {} if unknown."""
        inputs = self.client.get_run(run_id).inputs
        for given in inputs.dataset_inputs if inputs else []:
            if any(tag.key == _CONTEXT and tag.value == "train" for tag in given.tags):
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
        with _store_lock(self.uri, self.database):
            yield

    @property
    def database(self) -> Path | None:
        """The file of an sqlite store."""
        return Path(self.uri.removeprefix("sqlite:///")) if self.uri.startswith("sqlite:///") else None

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
    uri = _absolute(os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db")
    database = Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None
    try:
        # a server that is not there is told in seconds
        with _store_lock(uri, database), at_once(retries=2):
            client = MlflowClient(uri, uri)
            if run_id := os.environ.get("MLFLOW_RUN_ID"):
                experiment_id = client.get_run(run_id).info.experiment_id
            elif (found := client.get_experiment_by_name(experiment)) is not None:
                experiment_id = found.experiment_id
            else:
                # beside the database, wherever the command was typed
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
    database = Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None
    with _store_lock(uri, database):
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


def _absolute(uri: str) -> str:
    """The same store from every folder: MLflow would look for a relative sqlite file in each process's own."""
    prefix, path = "sqlite:///", uri.removeprefix("sqlite:///")
    return f"{prefix}{(Path.cwd() / path).resolve()}" if uri.startswith(prefix) and path else uri


@contextlib.contextmanager
def _store_lock(uri: str, database: Path | None) -> Iterator[None]:
    """Held while an sqlite store is opened; refuses one that cannot be written, which MLflow tries for minutes."""
    if database is None:
        yield
        return
    try:
        lock = os.open(database.with_name(f"{database.name}.lock"), os.O_CREAT | os.O_RDWR)
    except OSError as error:
        raise UserError(
            f"tracking store {uri} cannot be opened ({error.strerror}); check MLFLOW_TRACKING_URI"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
            _refuse_other_schema(uri, connection)
        yield
    finally:
        os.close(lock)


def _refuse_other_schema(uri: str, connection: sqlite3.Connection) -> None:
    """MLflow changes some older stores without a word, where a copy should be made first."""
    expected = _get_latest_schema_revision()
    before = ""
    while (found := _schema_of(connection)) not in ("", expected):
        if found == before:
            raise remote.other_schema(uri, f"found schema {found}, expected {expected}")
        # a server that starts on the same file may be making its tables
        before = found
        time.sleep(_SECONDS_OF_A_MIGRATION)


def _schema_of(connection: sqlite3.Connection) -> str:
    """The revision that an sqlite store is at; "" before its tables are made."""
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError:
        return ""
    return row[0] if row else ""


class Run:
    """One run: everything that is logged goes through here. Made by `entry_run` and `Run.child`."""

    def __init__(self, store: Store, run_id: str, stage: str) -> None:
        self.store, self.id, self.stage = store, run_id, stage
        self._buffer: list[Metric] = []
        self._images: list[tuple[int, str, np.ndarray]] = []
        self._offered = time.monotonic()
        self._refused = False
        self._continues: list[str] = []

    # -- what a stage asks of earlier runs ------------------------------------------------------------------------

    def reusable(self, key: str) -> str | None:
        """The newest finished run of this project with the same stage key, or None."""
        found = self.store.find(self.stage, {"stage.key": key})
        return found[0] if found else None

    def begin_stage(self, key: str, tags: Mapping[str, str] | None = None) -> None:
        """Say what this run is about to do, and close what a killed process left open on the same work.

        Earlier runs of the same work that did not finish get the tag `continued_by`.
        """
        for status in ("RUNNING", "KILLED", "FAILED"):
            for run_id in self.store.find(self.stage, {"stage.key": key}, status=status):
                earlier = self.store.tags_of(run_id)
                if run_id == self.id or "continued_by" in earlier:
                    continue
                if status == "RUNNING":
                    if is_alive(earlier.get(PROCESS_TAG, "")):
                        continue
                    self.store.client.set_terminated(run_id, "KILLED")
                self.store.client.set_tag(run_id, "continued_by", self.id)
                self._continues.append(run_id)
        self.set_tags({"stage.key": key, **(tags or {})})

    def finish_as_reused(self, run_id: str) -> None:
        """Stand for a finished run: its metrics, its tags, and its artifacts by reference."""
        source = self.store.client.get_run(run_id)
        own = self.store.tags_of(self.id)
        kept = {key: value for key, value in source.data.tags.items() if key not in own and key[:7] != "mlflow."}
        note = f"Nothing was computed: metrics and artifacts are those of run {run_id}."
        self.set_tags({**kept, "reused_from": run_id, MLFLOW_RUN_NOTE: note})
        # what the machine did then is not what it does now
        own_metrics = {key: value for key, value in source.data.metrics.items() if not key.startswith("system/")}
        self.log_metrics(own_metrics)
        if source.inputs and source.inputs.dataset_inputs:
            self.store.client.log_inputs(self.id, source.inputs.dataset_inputs)
        print(f"{self.stage}: reused from run {run_id} (--reuse false repeats the work)", flush=True)

    # -- logging --------------------------------------------------------------------------------------------------

    def report(self, step: int, values: Mapping[str, float]) -> None:
        """Metrics of a training step; they reach the store in batches, at the latest when the run ends."""
        self._add(Entry(step, dict(values), time.time_ns() // 1_000_000))

    def note(self, step: int, values: Mapping[str, float]) -> None:
        """As `report`, from any thread: the values wait in the buffer until the work itself reports something."""
        now = time.time_ns() // 1_000_000
        self._buffer += [Metric(key, value, now, step) for key, value in values.items()]

    def _add(self, entry: Entry) -> None:
        self._buffer += [Metric(key, value, entry.time_ms, entry.step) for key, value in entry.values.items()]
        since = time.monotonic() - self._offered
        if self._refused:
            due = since > _SECONDS_BETWEEN_QUESTIONS
        else:
            due = len(self._buffer) >= _BATCH or since > _SECONDS_BETWEEN_FLUSHES
        if due:
            self._offer()

    def _offer(self) -> None:
        """Hand over what is buffered if the store takes it now, and keep it otherwise: the work goes on meanwhile."""
        try:
            with at_once():
                self._send()
        except MlflowException as error:
            if not self._refused:
                reason = remote.one_line(error)[:200]
                print(f"warning: the tracking store takes nothing now, the work goes on ({reason})", file=sys.stderr)
            self._refused = True
        else:
            if self._refused:
                print("the tracking store has taken everything that was kept for it", flush=True)
            self._refused = False
        self._offered = time.monotonic()

    def _send(self) -> None:
        """Everything that is buffered, in its order.

        A batch leaves the buffer when the store has it: an interruption in between sends it again, and MLflow keeps
        an identical metric once.
        """
        while self._buffer:
            batch = self._buffer[:_BATCH]
            self.store.client.log_batch(self.id, metrics=batch)
            del self._buffer[: len(batch)]
        while self._images:
            step, name, image = self._images[0]
            self.store.client.log_image(self.id, image, key=name, step=step)
            del self._images[0]

    def flush(self) -> None:
        """Hand everything that is buffered to the store, and wait for it, minutes for a server that is away.

        Raises:
            UserError: the store refuses it, after several attempts.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._send()
                break
            except MlflowException as error:
                # MLflow itself has tried for minutes
                if remote.gives_no_answer(self.store.uri, error):
                    raise remote.gone(self.store.uri, error) from error
                if attempt == _ATTEMPTS:
                    kept = f"{len(self._buffer)} metrics of run {self.id}"
                    raise UserError(f"{kept} cannot be stored: {remote.one_line(error)[:200]}") from error
                time.sleep(0.2 * 2**attempt)
        self._offered, self._refused = time.monotonic(), False

    @contextlib.contextmanager
    def journal(self, work: Path) -> Iterator[Report]:
        """A `report` that a kill cannot rob: the journal in `work` is replayed up to the newest checkpoint.

        Args:
            work: the stage's work folder; its `checkpoints` are what training resumes from.
        """
        with Journal(work / _JOURNAL) as journal:
            checkpoint = latest_checkpoint(work / "checkpoints")
            step = checkpoint.step if checkpoint else -1
            for entry in journal.truncate_above(step):
                self._add(entry)
            self._adopt_images(step)

            def report(step: int, values: Mapping[str, float]) -> None:
                self._add(journal.append(step, values))

            yield report
        self.flush()

    def _adopt_images(self, step: int) -> None:
        """Copy the pictures up to a step from the run that this one continues; older ones gave it theirs."""
        client = self.store.client
        for run_id in self._continues[:1]:
            for item in client.list_artifacts(run_id, "images"):
                match = _IMAGE_AT_STEP.fullmatch(Path(item.path).name)
                if match and int(match.group(1)) <= step:
                    client.log_artifact(self.id, client.download_artifacts(run_id, item.path), "images")
                    client.set_tag(self.id, MLFLOW_LOGGED_IMAGES, "true")

    def log_metrics(self, values: Mapping[str, float]) -> None:
        """Final values, one each."""
        self.report(0, values)
        self.flush()

    def report_image(self, step: int, name: str, image: np.ndarray) -> None:
        """A picture at a step, uint8 [h, w] or [h, w, 3]; like metrics, it may wait for a store that is away."""
        self._images.append((step, name, np.array(image)))
        if not self._refused:
            self._offer()

    def log_figure_png(self, name: str, png: bytes) -> None:
        """A finished figure, as `figures/<name>.png`."""
        self._log_bytes(f"{name}.png", png, "figures")

    def log_text(self, name: str, text: str, folder: str = "") -> None:
        self._log_bytes(name, text.encode("utf-8"), folder)

    def _log_bytes(self, name: str, content: bytes, folder: str) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / name
            path.write_bytes(content)
            self.store.client.log_artifact(self.id, str(path), folder or None)

    def log_table(self, name: str, columns: Mapping[str, list[Any]]) -> None:
        """A table, which the UI shows and compares, as `<name>.json`."""
        with contextlib.redirect_stdout(io.StringIO()):
            self.store.client.log_table(self.id, dict(columns), f"{name}.json")

    def log_artifact(self, path: str | Path, folder: str = "") -> None:
        self.store.client.log_artifact(self.id, str(path), folder or None)

    def log_artifacts(self, folder: str | Path, path: str = "") -> None:
        self.store.client.log_artifacts(self.id, str(folder), path or None)

    def log_dataset(self, dataset: DataSet, context: str) -> None:
        """The data set as an input of this run, with its digest; the tag holds all 64 digits."""
        entity = Dataset(
            name=dataset.name,
            digest=dataset.digest[:_DIGEST_LIMIT],
            source_type="local",
            source=json.dumps({"uri": dataset.root.resolve().as_posix()}),
            profile=json.dumps(dataset.info["counts"]),
        )
        inputs = [DatasetInput(entity, [InputTag(_CONTEXT, context)])]
        self.store.client.log_inputs(self.id, inputs)
        kind = "synthetic_digest" if dataset.data_kind == "synthetic" else "data_digest"
        self.set_tags({kind: dataset.digest} | ({"data_kind": dataset.data_kind} if kind == "data_digest" else {}))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Tags as text; one that MLflow would cut is refused."""
        for key, value in tags.items():
            if len(key) > MAX_ENTITY_KEY_LENGTH or len(str(value)) > MAX_TAG_VAL_LENGTH:
                raise UserError(
                    f"tag {key[:60]}: MLflow keeps {MAX_ENTITY_KEY_LENGTH} characters of a key and "
                    f"{MAX_TAG_VAL_LENGTH} of a value, found {len(key)} and {len(str(value))}; log it as a file"
                )
        self.store.client.log_batch(self.id, tags=[RunTag(key, str(value)) for key, value in tags.items()])

    def log_config(self, config: Configuration, sections: tuple[str, ...]) -> None:
        """The resolved configuration under dotted keys and as config.yaml.

        `mlflow run` has logged what was typed under the typed keys, and MLflow takes no second value: where the typed
        text is another spelling (`1e-3` of 0.001), the resolved value goes to `resolved.<key>`.
        """
        nested = as_nested(config)
        known = self.store.client.get_run(self.id).data.params
        resolved = {f"{section}.{key}": str(value) for section in sections for key, value in nested[section].items()}
        params = [
            Param(key if key not in known else f"{_RESOLVED}{key}", value)
            for key, value in resolved.items()
            if known.get(key) != value
        ]
        self.store.client.log_batch(self.id, params=params)
        self.log_text("config.yaml", as_yaml(config, tuple(name for name in SECTIONS if name in sections)))

    # -- runs below and the end -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def child(self, name: str, config: Configuration) -> Iterator["Run"]:
        """A nested run for the stage that `name` begins with ("train_classifier hybrid")."""
        stage = name.split()[0]
        run_id = _create(self.store, name, {"mlflow.parentRunId": self.id})
        with _until_its_end(Run(self.store, run_id, stage), config) as run:
            yield run


_SECTIONS_OF = {
    "prepare_data": ("data",),
    "train_gan": ("gan", "fidelity", "data"),
    "generate_synthetic": ("synthesis",),
    "train_judge": ("classifier", "fidelity", "data"),
    "eval_gan": ("fidelity", "evaluation", "data"),
    "train_classifier": ("classifier", "data", "evaluation"),
    "eval_classifier": ("evaluation", "data"),
    "predict": ("predict",),
    "main": ("data", "gan", "synthesis", "classifier", "evaluation"),
    "study": ("study", "data", "gan", "synthesis", "classifier", "evaluation", "fidelity"),
    "tune": ("tune", "data", "gan", "synthesis", "classifier", "evaluation", "fidelity"),
    "tune_trial": ("data", "gan", "synthesis", "classifier", "evaluation", "fidelity"),
    "tune_confirm": ("data", "gan", "synthesis", "classifier", "evaluation", "fidelity"),
}


@contextlib.contextmanager
def entry_run(store: Store, stage: str, config: Configuration) -> Iterator[Run]:
    """The run of an entry point: the one that `mlflow run` made for it, or a new one.

    It ends FINISHED, FAILED on an error, or KILLED on Ctrl-C and SIGTERM. Runs that a killed process left behind end
    here as well.
    """
    run_id = os.environ.pop("MLFLOW_RUN_ID", "")
    if not run_id:
        run_id = _create(store, stage, {})
    elif _DRAWN_NAME.fullmatch(store.client.get_run(run_id).info.run_name):
        store.client.update_run(run_id, name=stage)
    store.client.update_run(run_id, status="RUNNING")
    store.client.set_tag(run_id, PROCESS_TAG, this_process())
    end_lost_runs(store.client, store.experiment_id)
    with (
        terminated_like_ctrl_c(),
        _until_its_end(Run(store, run_id, stage), config) as run,
        sampled(run.note),
    ):
        yield run


@contextlib.contextmanager
def terminated_like_ctrl_c() -> Iterator[None]:
    """SIGTERM unwinds as Ctrl-C does, so that buffers are flushed and the run gets its true status."""
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


@contextlib.contextmanager
def _until_its_end(run: Run, config: Configuration) -> Iterator[Run]:
    status, away = "FAILED", False
    try:
        run.set_tags({"stage": run.stage, **environment.git_tags()})
        run.log_config(config, _SECTIONS_OF[run.stage])
        with told_as_memory(run.stage, config):
            yield run
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    except Stopped as reason:
        status = "KILLED"
        run.set_tags({"stopped": str(reason)[:4000]})
        raise
    except remote.ServerAwayError:
        away = True
        raise
    except MlflowException as error:
        away = remote.gives_no_answer(run.store.uri, error)
        if away:
            raise remote.gone(run.store.uri, error) from error
        raise
    except UserError as error:
        with contextlib.suppress(MlflowException):
            run.set_tags({"error": str(error)[:4000]})
        raise
    finally:
        _end(run, status, away)


def _end(run: Run, status: str, away: bool) -> None:
    """Flush and say how the run ended; where nobody answers, the next start of this machine says it."""
    if away:
        with at_once(), contextlib.suppress(MlflowException, UserError):
            run.store.client.set_terminated(run.id, status)
        return
    try:
        run.flush()
    except BaseException as error:
        status, away = "FAILED", isinstance(error, remote.ServerAwayError)
        raise
    finally:
        if away:
            with at_once(), contextlib.suppress(MlflowException):
                run.store.client.set_terminated(run.id, status)
        else:
            _set_terminated(run, status)


def _set_terminated(run: Run, status: str) -> None:
    try:
        run.store.client.set_terminated(run.id, status)
    except MlflowException as error:
        if remote.gives_no_answer(run.store.uri, error):
            raise remote.gone(run.store.uri, error) from error
        raise


def _create(store: Store, name: str, tags: Mapping[str, str]) -> str:
    known = context_registry.resolve_tags() | {PROCESS_TAG: this_process()}
    created = store.client.create_run(store.experiment_id, tags=known | dict(tags), run_name=name)
    return created.info.run_id
