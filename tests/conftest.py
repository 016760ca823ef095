"""What every test shares: a quiet environment, repeatable examples, and nothing of a run that started pytest."""

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlproject.tracking import Store

# modules that tests share lie beside this file
sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
# a run of a test holds what the test logged; tests/test_system_metrics.py turns them on
os.environ.setdefault("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")

import pytest
from hypothesis import settings

# timings on a shared machine are noisy: Hypothesis judges results, not speed, and repeats the same examples
settings.register_profile("project", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("project")


@pytest.fixture(autouse=True)
def no_inherited_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test never adopts the run or the store of whoever started pytest."""
    for name in ("MLFLOW_RUN_ID", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with its tables: making them takes seconds, copying them none."""
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("template")
    MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()
    return folder / "mlflow.db"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_database: Path) -> "Store":
    """An empty store in `tmp_path`, which becomes the current folder, opened for the experiment "desk"."""
    from mlproject.tracking import open_store

    monkeypatch.chdir(tmp_path)
    # set before open_store sets it, so that it is taken back after the test
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return open_store("desk")
