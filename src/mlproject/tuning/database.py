"""The database that the processes and machines of a search share, and what one of them may do at a time."""

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy

from mlproject.errors import UserError, one_line
from mlproject.plain_text import without_password

# Optuna's tables on PostgreSQL lie in a schema of their own: MLflow's may share the database, and both call one
# of theirs alembic_version
SCHEMA = "optuna"
_SECONDS_TO_LOCK = 60  # how long sqlite waits for another process's write
# a server that is gone is noticed within a minute, and the locks of a machine that is gone end as soon
_KEEPALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
_ON_SERVER = -1
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.02, 2.0


def parsed(url: str) -> sqlalchemy.URL:
    """The parts of `tune.storage`.

    Raises:
        UserError: another database than a file of sqlite or PostgreSQL, whose locks are the ones that are known here.
    """
    try:
        found = sqlalchemy.make_url(url)
    except sqlalchemy.exc.ArgumentError:
        found = None
    kind = found.get_backend_name() if found else ""
    if found is None or kind not in ("sqlite", "postgresql") or found.database in (None, "", ":memory:"):
        raise UserError(
            f"tune.storage: {without_password(url)!r}; expected sqlite:///<file> for one machine, or "
            "postgresql://<user>@<host>/<database> for several"
        )
    return found


def engine_arguments(url: str) -> dict[str, Any]:
    """Arguments of `sqlalchemy.create_engine` with which every process reaches the database."""
    if parsed(url).get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": _SECONDS_TO_LOCK}}
    session = {"options": f"-csearch_path={SCHEMA}", "application_name": "mlproject tune"}
    return {"pool_pre_ping": True, "connect_args": {**session, **_KEEPALIVE}}


def make_schema(url: str) -> None:
    """The schema of Optuna's tables, where it is not there and the database is PostgreSQL."""
    if parsed(url).get_backend_name() == "sqlite":
        return
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        # asked first: IF NOT EXISTS wants the right to create one even when it is there
        if connection.execute(sqlalchemy.text("SELECT to_regnamespace(:name)"), {"name": SCHEMA}).scalar() is None:
            connection.execute(sqlalchemy.schema.CreateSchema(SCHEMA))


class Locks:
    """Locks that all share who share the database; each ends with the process that holds it.

    On sqlite, which serves one machine, they are files beside the database; on PostgreSQL the server's own (advisory
    locks of a session), so that they hold between machines.
    """

    def __init__(self, url: str) -> None:
        self._url, self._place = url, parsed(url)
        self._held: dict[str, int] = {}  # by name: the open file, or that the server has it
        self._session: sqlalchemy.Connection | None = None

    def take(self, what: str, *, wait: bool = True) -> bool:
        """Take the lock `what`, which this process does not hold yet; False if another has it and we do not wait."""
        assert what not in self._held, f"{what} is held already"
        seconds = _FIRST_WAIT_SECONDS
        of_file = self._place.get_backend_name() == "sqlite"
        while not (self._take_file(what) if of_file else self._take_on_server(what)):
            if not wait:
                return False
            # asked again rather than waited for in the driver, which would not hear Ctrl-C
            time.sleep(seconds)
            seconds = min(2 * seconds, _LONGEST_WAIT_SECONDS)
        return True

    def give(self, what: str) -> None:
        """Give it away; nothing if it is not held."""
        lock = self._held.pop(what, None)
        if lock is None:
            return
        if lock != _ON_SERVER:
            os.close(lock)
        elif self._session is not None:
            try:
                self._session.execute(sqlalchemy.text("SELECT pg_advisory_unlock(:key)"), {"key": _key(what)})
            except sqlalchemy.exc.DBAPIError:
                # a connection that broke has given all its locks away, and SQLAlchemy refuses to go on with it
                self._session = None

    @contextlib.contextmanager
    def held(self, what: str) -> Iterator[None]:
        """Hold a lock in a block, waiting for it."""
        self.take(what)
        try:
            yield
        finally:
            self.give(what)

    def holds(self, what: str) -> bool:
        """Whether this process has taken a lock and not given it away."""
        return what in self._held

    def close(self) -> None:
        """Give everything away."""
        for what in list(self._held):
            self.give(what)
        if self._session is not None:
            self._session.close()
            self._session = None

    def _take_file(self, what: str) -> bool:
        folder = Path(f"{self._place.database}.locks")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(folder / what.replace("/", "-"), os.O_CREAT | os.O_RDWR)
        except OSError as error:
            raise UserError(
                f"tune.storage: cannot write {folder} ({error.strerror or error}); choose a writable place"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._held[what] = lock
        return True

    def _take_on_server(self, what: str) -> bool:
        asked = sqlalchemy.text("SELECT pg_try_advisory_lock(:key)"), {"key": _key(what)}
        try:
            try:
                taken = bool(self._connection().execute(*asked).scalar())
            except sqlalchemy.exc.DBAPIError:
                # the server went away and may be back: what was held is lost, this lock is asked for again
                self._session = None
                taken = bool(self._connection().execute(*asked).scalar())
        except (sqlalchemy.exc.SQLAlchemyError, ImportError) as error:
            raise unusable(self._url, error) from error
        if taken:
            self._held[what] = _ON_SERVER
        return taken

    def _connection(self) -> sqlalchemy.Connection:
        if self._session is None:
            arguments = {"connect_args": engine_arguments(self._url)["connect_args"], "isolation_level": "AUTOCOMMIT"}
            self._session = sqlalchemy.create_engine(self._url, poolclass=sqlalchemy.NullPool, **arguments).connect()
            for name, value in _KEEPALIVE.items():
                # the server's side: that of a machine which lost its network
                self._session.execute(sqlalchemy.text(f"SET tcp_{name} = {value}"))
        return self._session


def _key(what: str) -> int:
    """The whole number, of 64 bits, by which the server knows a lock."""
    return int.from_bytes(hashlib.sha256(what.encode("utf-8")).digest()[:8], "big", signed=True)


def unusable(url: str, error: Exception) -> UserError:
    """One line for a database that cannot be used, without its password."""
    if isinstance(error, ImportError):
        return UserError("tune.storage: PostgreSQL takes a driver; install it with pip install -e '.[postgres]'")
    return UserError(f"tune.storage: {without_password(url)} cannot be opened ({one_line(error, 300)}); check the URL")
