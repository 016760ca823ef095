"""The environment that libraries read (no telemetry, no update checks, no noise), changed for a while; git's state."""

import contextlib
import logging
import os
import subprocess
import warnings
from collections.abc import Iterator, Mapping

from mlproject.config import PROJECT_ROOT

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "true",
}


def quiet() -> None:
    """Set what is not set yet. To be called before MLflow or Albumentations is imported."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    for name in ("alembic", "mlflow.store.db.utils", "mlflow.tracking.fluent"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=FutureWarning, module="mlflow")


@contextlib.contextmanager
def changed(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables take these values for a while, also for processes that begin in it."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def git_tags() -> dict[str, str]:
    """git_commit and git_dirty of the project; "unknown" where it is no git checkout."""
    commit, status = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    if commit is None or status is None:
        return {"git_commit": "unknown", "git_dirty": "unknown"}
    return {"git_commit": commit.strip(), "git_dirty": "true" if status.strip() else "false"}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
