"""The environment that libraries read at import: no telemetry, no update checks, no noise; and git's state."""

import logging
import os
import subprocess
import warnings

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
