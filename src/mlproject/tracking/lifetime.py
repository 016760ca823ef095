"""How a run begins and ends: its configuration and tags at the start, its true status at the end."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException
from mlflow.tracking.context import registry as context_registry

from mlproject import environment, remote
from mlproject.config import Configuration
from mlproject.errors import Stopped, UserError
from mlproject.lost_runs import PROCESS_TAG
from mlproject.memory import told_as_memory
from mlproject.processes import this_process
from mlproject.remote import at_once
from mlproject.tracking.store import Store

if TYPE_CHECKING:
    from mlproject.tracking.run import Run

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


def create_run(store: Store, name: str, tags: Mapping[str, str]) -> str:
    """A new run of the store, marked as the work of this process; returns its id."""
    known = context_registry.resolve_tags() | {PROCESS_TAG: this_process()}
    created = store.client.create_run(store.experiment_id, tags=known | dict(tags), run_name=name)
    return created.info.run_id


@contextlib.contextmanager
def told_by_server(uri: str) -> Iterator[None]:
    """Turn a server that does not answer any more, or refuses this user, into the user's one line.

    Raises:
        UserError: says which of them, and what to do about it.
    """
    try:
        yield
    except MlflowException as error:
        if remote.gives_no_answer(uri, error):
            raise remote.gone(uri, error) from error
        if remote.refuses(uri, error):
            raise remote.refused(uri, error) from error
        raise


@contextlib.contextmanager
def until_its_end(run: "Run", config: Configuration) -> Iterator["Run"]:
    """Configuration and tags before the block; after it what it logged, and how it ended."""
    status, away = "FAILED", False
    try:
        with told_by_server(run.store.uri):
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
    except UserError as error:
        with contextlib.suppress(MlflowException):
            run.set_tags({"error": str(error)[:4000]})
        raise
    finally:
        _end(run, status, away)


def _end(run: "Run", status: str, away: bool) -> None:
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


def _set_terminated(run: "Run", status: str) -> None:
    with told_by_server(run.store.uri):
        run.store.client.set_terminated(run.id, status)
