"""A user's folder in which searches of seconds are run, and what their databases say of them."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import desks
import optuna
import sqlalchemy
from optuna.trial import FrozenTrial, TrialState

from mlproject.tuning import search
from mlproject.tuning.database import SCHEMA

CHANGES = {
    "gan": {"feature_critic": 0, "auxiliary": 0},
    "tune": {
        "space": "gan.lambda_gp: grid 5 10; classifier.synthetic_fraction: uniform 0 0.8",
        "trials": 5,
        "gan_steps": 0,
        "classifier_steps": 0,
        "confirm_seeds": 6,
        "workers": 1,
        "heartbeat_seconds": 5,
    },
}


def process_of(trial: FrozenTrial) -> int:
    """The id of the process that a trial runs in."""
    return int(trial.user_attrs["process"].split(":")[-2])


class Desk(desks.Desk):
    """A folder for searches, with a store of its own or one of those that share servers.

    Args:
        store: as for every desk.
        storage: Optuna's database; default: the file that `tune` makes beside that store.
    """

    def __init__(
        self, folder: Path, store: str = "", storage: str = "", environment: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(folder, CHANGES, store, environment)
        self.storage, self.printed = storage, ""

    def start(self, *options: str, entry_point: str = "tune") -> subprocess.Popen:
        return self.launch(entry_point, [*options, *(["--storage", self.storage] if self.storage else [])])

    def run(self, *options: str, code: int = 0, entry_point: str = "tune") -> str:
        return self.finish(self.start(*options, entry_point=entry_point), code)

    def finish(self, process: subprocess.Popen, code: int = 0) -> str:
        """As for every desk; what was printed last stays in `printed`."""
        self.printed = super().finish(process, code)
        return self.printed

    def _has_a_study(self) -> bool:
        """Looked up without Optuna, which would make tables beside the process that is making them."""
        if self.storage:
            engine = sqlalchemy.create_engine(self.storage, poolclass=sqlalchemy.NullPool)
            with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError), engine.connect() as connection:
                return connection.execute(sqlalchemy.text(f"SELECT count(*) FROM {SCHEMA}.studies")).scalar_one() > 0
            return False
        try:
            with contextlib.closing(sqlite3.connect(f"file:{self.folder}/optuna.db?mode=rw", uri=True)) as database:
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
        return self.counted([run for run in self.done() if run.data.tags["stage"] in ("train_gan", "train_classifier")])

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

    def kill_a_worker(self, *processes: subprocess.Popen, done: int) -> FrozenTrial:
        """Kill the process of a trial at work, as `wait_for_trials` finds one; it is stopped before, or might end."""
        while True:
            found = self.wait_for_trials(*processes, done=done)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_of(found), signal.SIGSTOP)
                with contextlib.suppress(Exception):  # stopped while it writes, it may hold the database
                    if self.trials()[found.number].state == TrialState.RUNNING:
                        os.kill(process_of(found), signal.SIGKILL)
                        return found
                os.kill(process_of(found), signal.SIGCONT)
