"""Atomic writing: a reader, or a restart after a kill, sees the old content or the new, never a part."""

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mlproject.errors import UserError

# The suffix of unfinished files and folders; `sweep_unfinished` removes what a killed process left.
UNFINISHED = ".unfinished"


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
        raise UserError(f"cannot write {path}: {error.strerror or error}; choose a writable place") from error


def atomic_write_text(path: str | Path, text: str) -> None:
    """`atomic_write_bytes` for UTF-8 text."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_json(path: str | Path, value: Any) -> None:
    """`atomic_write_bytes` for readable JSON; NaN and infinities are refused, since JSON has none."""
    atomic_write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary sibling of `path` and rename it into place when the block ends well.

    An existing folder at `path` is replaced only then; when the block raises, it stays as it was.

    Raises:
        UserError: the place cannot be written.
    """
    path = Path(path)
    temporary = _unfinished_sibling(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; choose a writable place") from error
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
        raise UserError(f"cannot write {path}: {error.strerror or error}; choose a writable place") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def sweep_unfinished(parent: str | Path) -> None:
    """Remove what a killed process left half-written directly under `parent`."""
    for leftover in Path(parent).glob(f".*{UNFINISHED}"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
