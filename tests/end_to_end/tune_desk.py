"""A user's folder in which searches of seconds are run, and what their databases say of them."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import mlflow
import optuna
import sqlalchemy
from optuna.trial import FrozenTrial, TrialState

from mlproject.config import PROJECT_ROOT
from mlproject.tuning import search
from mlproject.tuning.database import SCHEMA

CONFIG = """
run: {workers: 1, device: cpu}
data: {n_train: 10, n_val: 8, n_test: 8, frames_per_subject: 1, size: 32}
gan: {steps: 2, batch_size: 4, base_channels: 4, latent_dim: 8, log_every: 1, grid_every: 2, checkpoint_every: 1,
      precision: fp32, critic_steps: 1, feature_critic: 0, auxiliary: 0}
synthesis: {per_class: 6, batch_size: 8}
classifier: {backbone: test_efficientnet, weights: none, steps: 2, batch_size: 4, eval_every: 1, checkpoint_every: 1,
             synthetic_per_class: 6}
fidelity: {while_training: 0}
evaluation: {bootstrap: 100}
tune: {space: "gan.lambda_gp: grid 5 10; classifier.synthetic_fraction: uniform 0 0.8", trials: 5, gan_steps: 0,
       classifier_steps: 0, confirm_seeds: 6, workers: 1, heartbeat_seconds: 5}
"""


def process_of(trial: FrozenTrial) -> int:
    """The id of the process that a trial runs in."""
    return int(trial.user_attrs["process"].split(":")[-2])


class Desk:
    """A folder with a store of its own, or one of those that share servers.

    Args:
        store: tracking store; default: an sqlite file in the folder.
        storage: Optuna's database; default: the file that `tune` makes beside that store.
    """

    def __init__(
        self, folder: Path, store: str = "", storage: str = "", environment: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "config.yaml").write_text(CONFIG)
        self.store, self.storage = store or f"sqlite:///{folder}/mlflow.db", storage
        self.environment = os.environ | {"MLFLOW_TRACKING_URI": self.store, "OMP_NUM_THREADS": "1"}
        self.environment |= environment or {}
        self.printed = ""

    @property
    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(self.store, self.store)

    def start(self, *options: str, entry_point: str = "tune") -> subprocess.Popen:
        command = [sys.executable, str(PROJECT_ROOT / f"src/{entry_point}.py"), *options]
        if "--config" not in options:
            command += ["--config", str(self.folder / "config.yaml")]
        if self.storage:
            command += ["--storage", self.storage]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def run(self, *options: str, code: int = 0, entry_point: str = "tune") -> str:
        return self.finish(self.start(*options, entry_point=entry_point), code)

    def finish(self, process: subprocess.Popen, code: int = 0) -> str:
        """Wait for the end of a command; returns what it printed."""
        self.printed, _ = process.communicate()
        assert process.returncode == code, self.printed[-5000:]
        return self.printed

    def runs(self, **tags: str) -> list:
        experiments = [found.experiment_id for found in self.client.search_experiments()]
        wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        return list(self.client.search_runs(experiments, wanted, max_results=1000))

    def _has_a_study(self) -> bool:
        """Looked up without Optuna, which would make tables beside the process that is making them."""
        if self.storage:
            engine = sqlalchemy.create_engine(self.storage, poolclass=sqlalchemy.NullPool)
            with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError), engine.connect() as connection:
                return connection.execute(sqlalchemy.text(f"SELECT count(*) FROM {SCHEMA}.studies")).scalar_one() > 0
            return False
        try:
            with contextlib.closing(sqlite3.connect(f"file:{self.folder}/optuna.db?mode=ro", uri=True)) as database:
                return database.execute("SELECT count(*) FROM studies").fetchone()[0] > 0
        except sqlite3.OperationalError:
            return False

    def trials(self) -> list[FrozenTrial]:
        if not self._has_a_study():
            return []
        storage = search.connect(self.storage or f"sqlite:///{self.folder}/optuna.db", 5, create=False)
        try:
            names = optuna.get_all_study_names(storage)
            return optuna.load_study(study_name=names[0], storage=storage).get_trials() if names else []
        finally:
            storage.remove_session()
            storage.engine.dispose()

    def complete(self) -> dict[int, float]:
        return {t.number: t.value for t in self.trials() if t.state == TrialState.COMPLETE}

    def fits(self) -> Counter:
        """How often each generator and classifier was really trained to its end."""
        own = [run for run in self.runs() if run.info.status == "FINISHED" and "reused_from" not in run.data.tags]
        return Counter(
            r.data.tags["stage.key"] for r in own if r.data.tags["stage"] in ("train_gan", "train_classifier")
        )

    @property
    def result(self) -> Path:
        (folder,) = (self.folder / "outputs" / "tune").iterdir()
        return folder

    def wait_for_trials(self, *processes: subprocess.Popen, done: int) -> FrozenTrial:
        """Wait until some trials are finished and another is at work, which is returned.

        Of several processes, the trial is at work in none of them but in a worker of theirs.
        """
        end = time.monotonic() + 900
        while time.monotonic() < end:
            for process in processes:
                assert process.poll() is None, process.communicate()[0][-3000:]
            with contextlib.suppress(Exception):  # the tables are being made
                trials = self.trials()
                at_work = [t for t in trials if t.state == TrialState.RUNNING and "run" in t.user_attrs]
                if len(processes) > 1:
                    own = {process.pid for process in processes}
                    at_work = [t for t in at_work if process_of(t) not in own]
                if sum(trial.state == TrialState.COMPLETE for trial in trials) >= done and at_work:
                    return at_work[-1]
            time.sleep(0.2)
        raise AssertionError("no trial at work in 15 minutes")
