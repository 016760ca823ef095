"""A user's folder in which studies and searches of seconds are run, and what its tracking store says of them."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
import yaml

from mlproject.config import PROJECT_ROOT

SETTINGS = """
run: {workers: 1, device: cpu}
data: {n_train: 10, n_val: 8, n_test: 8, frames_per_subject: 1, size: 32}
gan: {steps: 2, batch_size: 4, base_channels: 4, latent_dim: 8, log_every: 1, grid_every: 2, checkpoint_every: 1,
      precision: fp32, critic_steps: 1}
synthesis: {per_class: 6, batch_size: 8}
classifier: {backbone: test_efficientnet, weights: none, steps: 2, batch_size: 4, eval_every: 1, checkpoint_every: 1,
             synthetic_per_class: 6}
fidelity: {while_training: 0}
evaluation: {bootstrap: 100}
"""


class Desk:
    """A folder with a configuration file, and a store of its own or one that it shares.

    Args:
        changes: {section: {key: value}} over `SETTINGS`.
        store: tracking store; default: an sqlite file in the folder.
        environment: further variables of the commands.
    """

    def __init__(
        self,
        folder: Path,
        changes: Mapping[str, Mapping[str, Any]],
        store: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        settings = yaml.safe_load(SETTINGS)
        for section, values in changes.items():
            settings[section] = settings.get(section, {}) | dict(values)
        (folder / "config.yaml").write_text(yaml.safe_dump(settings))
        self.store = store or f"sqlite:///{folder}/mlflow.db"
        self.environment = os.environ | {"MLFLOW_TRACKING_URI": self.store, "OMP_NUM_THREADS": "1"}
        self.environment |= environment or {}

    @property
    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(self.store, self.store)

    def launch(self, entry_point: str, options: Sequence[str]) -> subprocess.Popen:
        """Start a command, with the folder's configuration unless it names another."""
        command = [sys.executable, str(PROJECT_ROOT / f"src/{entry_point}.py"), *options]
        if "--config" not in options:
            command += ["--config", str(self.folder / "config.yaml")]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def finish(self, process: subprocess.Popen, code: int = 0) -> str:
        """Wait for the end of a command; returns what it printed."""
        printed, _ = process.communicate()
        assert process.returncode == code, printed[-5000:]
        return printed

    def runs(self, **tags: str) -> list[mlflow.entities.Run]:
        experiments = [found.experiment_id for found in self.client.search_experiments()]
        wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        return list(self.client.search_runs(experiments, wanted, max_results=1000))

    def done(self) -> list[mlflow.entities.Run]:
        """The finished runs that did work of their own."""
        return [run for run in self.runs() if run.info.status == "FINISHED" and "reused_from" not in run.data.tags]

    @staticmethod
    def counted(runs: Sequence[mlflow.entities.Run]) -> Counter[str]:
        """How often each piece of work was done."""
        return Counter(run.data.tags["stage.key"] for run in runs)
