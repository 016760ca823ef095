"""A run: everything that is logged goes through here."""

import contextlib
import io
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_IMAGES, MLFLOW_RUN_NOTE
from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH, MAX_TAG_VAL_LENGTH

from mlproject.checkpoint import latest_checkpoint
from mlproject.config import SECTIONS, Configuration, as_nested, as_yaml
from mlproject.data import kinds
from mlproject.data.manifest import DataSet
from mlproject.errors import UserError
from mlproject.journal import Entry, Journal
from mlproject.lost_runs import PROCESS_TAG, end_lost_runs, is_left_open
from mlproject.processes import is_alive, terminated_like_ctrl_c, this_process
from mlproject.system_metrics import sampled
from mlproject.tracking.lifetime import create_run, told_by_server, until_its_end
from mlproject.tracking.outbox import Outbox
from mlproject.tracking.store import CONTEXT_TAG, RESOLVED, Store

Report = Callable[[int, Mapping[str, float]], None]

_DIGEST_LIMIT = 36  # characters of a dataset digest that MLflow stores; the tag holds all of it
_JOURNAL = "metrics.jsonl"
_DRAWN_NAME = re.compile(r"[a-z]+-[a-z]+-\d+")  # as MLflow draws for a run that nobody named
_IMAGE_AT_STEP = re.compile(r".+\+step\+(\d+)\+timestamp\+.+")  # as MLflow names what log_image writes


class Run:
    """One run: everything that is logged goes through here. Made by `entry_run` and `Run.child`."""

    def __init__(self, store: Store, run_id: str, stage: str) -> None:
        self.store, self.id, self.stage = store, run_id, stage
        self._outbox = Outbox(store.uri, store.client, run_id)
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
                    if is_alive(earlier.get(PROCESS_TAG, "")) or not is_left_open(self.store.client, run_id):
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
        self._outbox.add(Entry(step, dict(values), time.time_ns() // 1_000_000))

    def note(self, step: int, values: Mapping[str, float]) -> None:
        """As `report`, from any thread: the values wait until the work itself reports something."""
        self._outbox.note(step, values)

    def flush(self) -> None:
        """Hand everything that waits to the store, and wait for it, minutes for a server that is away.

        Raises:
            UserError: the store refuses it, after several attempts.
        """
        self._outbox.flush()

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
                self._outbox.add(entry)
            self._adopt_images(step)

            def report(step: int, values: Mapping[str, float]) -> None:
                self._outbox.add(journal.append(step, values))

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
        self._outbox.add_image(step, name, image)

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
        inputs = [DatasetInput(entity, [InputTag(CONTEXT_TAG, context)])]
        self.store.client.log_inputs(self.id, inputs)
        kind = "synthetic_digest" if dataset.data_kind == kinds.SYNTHETIC else "data_digest"
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
            Param(key if key not in known else f"{RESOLVED}{key}", value)
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
        run_id = create_run(self.store, name, {"mlflow.parentRunId": self.id})
        with until_its_end(Run(self.store, run_id, stage), config) as run:
            yield run


@contextlib.contextmanager
def entry_run(store: Store, stage: str, config: Configuration) -> Iterator[Run]:
    """The run of an entry point: the one that `mlflow run` made for it, or a new one.

    It ends FINISHED, FAILED on an error, or KILLED on Ctrl-C and SIGTERM. Runs that a killed process left behind end
    here as well.
    """
    run_id = os.environ.pop("MLFLOW_RUN_ID", "")
    with told_by_server(store.uri):
        if not run_id:
            run_id = create_run(store, stage, {})
        elif _DRAWN_NAME.fullmatch(store.client.get_run(run_id).info.run_name):
            store.client.update_run(run_id, name=stage)
        store.client.update_run(run_id, status="RUNNING")
        store.client.set_tag(run_id, PROCESS_TAG, this_process())
        end_lost_runs(store.client, store.experiment_id)
    with (
        terminated_like_ctrl_c(),
        until_its_end(Run(store, run_id, stage), config) as run,
        sampled(run.note),
    ):
        yield run
