"""Atomic writing: a reader, or a restart after a kill, sees the old content or the new, never a part."""

import errno
import fcntl
import glob
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from mlproject.errors import UserError

# The suffix of unfinished files and folders; `sweep_unfinished` removes what a killed process left.
UNFINISHED = ".unfinished"
_UNFINISHED_NAME = re.compile(rf"(?<=/)\.([^/]+)\.[0-9a-f]{{8}}{re.escape(UNFINISHED)}(?=/|$)")
# suffixes of formats that can run code when they are read: nothing of them is ever loaded
PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _unfinished_sibling(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{UNFINISHED}")


def atomic_write_bytes(path: str | Path, content: bytes) -> None:
    """Write `content` to `path` through a synchronised temporary sibling and a rename.

    Raises:
        UserError: the place cannot be written (no permission, a file where a folder is needed, disk full).
    """
    path = Path(path)
    temporary = _unfinished_sibling(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise _refused(path, error) from error


def atomic_write_text(path: str | Path, text: str) -> None:
    """`atomic_write_bytes` for UTF-8 text."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_json(path: str | Path, value: Any) -> None:
    """`atomic_write_bytes` for readable JSON; NaN and infinities are refused, since JSON has none."""
    atomic_write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary sibling of `path` and rename it into place when the block ends well.

    An existing folder at `path` is replaced only then; when the block raises, it stays as it was. Two processes that
    write the same folder do so one after the other, and what a killed one left beside it is removed.

    Raises:
        UserError: the place cannot be written.
    """
    path = Path(path)
    temporary = _unfinished_sibling(path)
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_sole_writer(path))
            temporary.mkdir()
        except OSError as error:
            raise _refused(path, error) from error
        try:
            yield temporary
            if path.exists():
                # rename(2) does not replace a folder that holds files: move the old one aside first
                retired = _unfinished_sibling(path)
                os.replace(path, retired)
                os.replace(temporary, path)
                shutil.rmtree(retired)
            else:
                os.replace(temporary, path)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise _refused(path, error) from error
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


@contextmanager
def _sole_writer(path: Path) -> Iterator[None]:
    """Held by one process of this machine at a time, so that two do not write `path` together; others wait.

    What a killed writer of `path` left beside it is removed.
    """
    lock_path = path.with_name(f".{path.name}.lock")
    lock = _locked(lock_path)
    try:
        sweep_unfinished(path.parent, path.name)
        yield
    finally:
        # under the lock; whoever waits for it sees that its file is gone and begins anew
        lock_path.unlink(missing_ok=True)
        os.close(lock)


def _locked(path: Path) -> int:
    while True:
        lock = os.open(path, os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), os.stat(path)):
                    return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _refused(path: Path, error: OSError) -> UserError:
    mend = "make room there and start again" if error.errno in _FULL else "choose a writable place"
    # what is in a folder that is not finished is told by the name that the folder would have had
    shown = _UNFINISHED_NAME.sub(r"\1", str(path))
    return UserError(f"cannot write {shown}: {error.strerror or error}; {mend}")


def sweep_unfinished(parent: str | Path, name: str = "*") -> None:
    """Remove what a killed process left half-written directly under `parent`, of all names or of one."""
    pattern = name if name == "*" else f"{glob.escape(name)}.*"
    for leftover in Path(parent).glob(f".{pattern}{UNFINISHED}"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
