"""The file of an sqlite store: found from its URI, locked while it is opened, refused if MLflow would change it."""

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from mlflow.store.db.utils import _get_latest_schema_revision, _initialize_tables, create_sqlalchemy_engine

from mlproject import remote
from mlproject.errors import UserError

_PREFIX = "sqlite:///"
_SECONDS_OF_A_MIGRATION = 2.0


def absolute(uri: str) -> str:
    """The same store from every folder: MLflow would look for a relative sqlite file in each process's own."""
    path = uri.removeprefix(_PREFIX)
    return f"{_PREFIX}{(Path.cwd() / path).resolve()}" if uri.startswith(_PREFIX) and path else uri


def database_of(uri: str) -> Path | None:
    """The file of an sqlite store; None for any other."""
    return Path(uri.removeprefix(_PREFIX)) if uri.startswith(_PREFIX) else None


@contextlib.contextmanager
def locked(uri: str) -> Iterator[None]:
    """Held by one process of this machine at a time; only of an sqlite store.

    Raises:
        UserError: the file cannot be written, which MLflow would try for minutes, or has another schema.
    """
    database = database_of(uri)
    if database is None:
        yield
        return
    try:
        lock = os.open(database.with_name(f"{database.name}.lock"), os.O_CREAT | os.O_RDWR)
    except OSError as error:
        raise UserError(
            f"tracking store {uri} cannot be opened ({error.strerror}); check MLFLOW_TRACKING_URI"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not database.exists():
            _make(database)
        with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
            _refuse_other_schema(uri, connection)
        yield
    finally:
        os.close(lock)


def _make(database: Path) -> None:
    """A new file with every table, or none: killed while MLflow makes them, a process would leave an unknown schema."""
    unfinished = database.with_name(f".{database.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    engine = create_sqlalchemy_engine(f"{_PREFIX}{unfinished}")
    try:
        _initialize_tables(engine)
    finally:
        engine.dispose()
    try:
        os.link(unfinished, database)
    except FileExistsError:  # a server, which knows no lock, made the file meanwhile: it keeps its own
        pass
    except OSError:  # a file system without hard links
        unfinished.replace(database)
    unfinished.unlink(missing_ok=True)


def _refuse_other_schema(uri: str, connection: sqlite3.Connection) -> None:
    """MLflow changes some older stores without a word, where a copy should be made first."""
    expected = _get_latest_schema_revision()
    before = ""
    while (found := _schema_of(connection)) not in ("", expected):
        if found == before:
            raise remote.other_schema(uri, f"found schema {found}, expected {expected}")
        # a server that starts on the same file may be making its tables
        before = found
        time.sleep(_SECONDS_OF_A_MIGRATION)


def _schema_of(connection: sqlite3.Connection) -> str:
    """The revision that an sqlite store is at; "" before its tables are made."""
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError:
        return ""
    return row[0] if row else ""
