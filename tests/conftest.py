"""What every test shares: a quiet environment, few threads, and no state outside its temporary folder."""

import os
import sys
from pathlib import Path

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
