"""A tracking store that does not answer, refuses or is of another time: how long to wait, and how that is told."""

import contextlib

from mlproject import environment
from mlproject.errors import UserError, one_line
from mlproject.plain_text import without_password

_SECONDS_FOR_AN_ANSWER = 10
# MLflow's words for a request without an answer, and what a proxy in front of a stopped server says
_NO_ANSWER = (
    "failed with exception",
    "failed with timeout exception",
    "too many 50",
    "error code 502",
    "error code 503",
)
_REFUSED = ("error code 401", "error code 403", "Permission denied", "PERMISSION_DENIED")
_OTHER_SCHEMA = "out-of-date database schema"


class ServerAwayError(UserError):
    """The tracking server gave no answer, after MLflow has tried for minutes."""


def at_once(retries: int = 0) -> contextlib.AbstractContextManager[None]:
    """MLflow's requests fail after so many further attempts, a second or two apart, where they would take minutes."""
    return environment.changed(
        {
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(retries),
            "MLFLOW_HTTP_REQUEST_TIMEOUT": str(_SECONDS_FOR_AN_ANSWER),
        }
    )


def gives_no_answer(uri: str, error: Exception) -> bool:
    """Whether MLflow failed because the server at `uri` could not be reached."""
    return uri.startswith("http") and any(words in str(error) for words in _NO_ANSWER)


def refuses(uri: str, error: Exception) -> bool:
    """Whether the server at `uri` answered that this user may not do that."""
    return uri.startswith("http") and any(words in str(error) for words in _REFUSED)


def refused(uri: str, error: Exception) -> UserError:
    """What a user is told who may not do that."""
    return UserError(
        f"tracking server {without_password(uri)} refuses this user ({_brief(one_line(error))}); set "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to those of a user with EDIT permission"
    )


def not_opened(uri: str, error: Exception) -> UserError:
    """Why a store cannot be opened, and what to do about it."""
    shown, reason = without_password(uri), one_line(error)
    if _OTHER_SCHEMA in reason:
        return other_schema(uri, reason.partition("(")[2].partition(")")[0])
    if refuses(uri, error):
        return refused(uri, error)
    if gives_no_answer(uri, error):
        return UserError(
            f"tracking server {shown} does not answer ({_brief(reason)}); start it, or check MLFLOW_TRACKING_URI"
        )
    return UserError(f"tracking store {shown} cannot be opened ({reason[:300]}); check MLFLOW_TRACKING_URI")


def other_schema(uri: str, versions: str) -> UserError:
    """What to do with a store of another schema; `versions` says found and expected."""
    shown = without_password(uri)
    return UserError(
        f"tracking store {shown} was made by another version of MLflow ({versions}); make a copy of the database, then "
        f"run `mlflow db upgrade {shown}`"
    )


def gone(uri: str, error: Exception) -> ServerAwayError:
    """What a run says that waited for its server in vain."""
    cause = _brief(one_line(error))
    return ServerAwayError(
        f"tracking server {without_password(uri)} does not answer any more ({cause}); nothing that was measured is "
        "lost: start the same command again when the server is back, and it goes on from its last "
        "checkpoint"
    )


def _brief(reason: str) -> str:
    """The cause at the end of what requests and urllib3 tell in nested brackets."""
    for cause in ("Connection refused", "Read timed out", "Name or service not known", "timed out"):
        if cause in reason:
            return cause
    return reason.rpartition("failed with ")[2][:120]
