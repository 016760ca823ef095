"""The only room that speaks to MLflow's tracking: the store, its runs, what they log, and finding earlier ones.

It works through `MlflowClient` and explicit run ids, so that no hidden "active run" decides where a metric goes.
"""

from mlproject import environment

environment.quiet()

from mlflow.exceptions import MlflowException  # noqa: E402 - MLflow reads its environment when it is imported

from mlproject.tracking.run import Report, Run, entry_run  # noqa: E402
from mlproject.tracking.store import Store, attach_store, open_store  # noqa: E402

__all__ = ["MlflowException", "Report", "Run", "Store", "attach_store", "entry_run", "open_store"]
