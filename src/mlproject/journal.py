"""A journal of metrics that survives a killed process: one line a report, handed to the system at once.

MLflow receives metrics in batches, so a process that is killed has some of them in memory only. The journal has them
all; on resume it is cut back to the checkpoint's step and replayed, so that no step is lost or doubled.
"""

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from mlproject.errors import UserError
from mlproject.files import atomic_write_bytes


@dataclass(frozen=True)
class Entry:
    """One report: `values` at `step`, given at `time_ms` (milliseconds since 1970, UTC)."""

    step: int
    values: dict[str, float]
    time_ms: int


class Journal:
    """Append-only lines of JSON at `path`, each `{"step": int, "time_ms": int, "values": {name: number}}`.

    Every line is one `write` to the operating system, so a kill of this process at any moment leaves whole lines and
    at most one torn at the end, which is never read. (A power cut may lose the last seconds: a checkpoint is
    synchronised to the disk, a line is not.) NaN and infinities are written as text, since JSON has none.

    Raises:
        UserError: the file cannot be written, or a line other than the last is not an entry.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._stream: BinaryIO | None = None

    def append(self, step: int, values: Mapping[str, float], time_ms: int | None = None) -> Entry:
        """Write one entry and return it; the time is now unless given."""
        entry = Entry(
            step=int(step),
            values={name: float(value) for name, value in values.items()},
            time_ms=time.time_ns() // 1_000_000 if time_ms is None else int(time_ms),
        )
        try:
            if self._stream is None:
                self._stream = self._open()
            self._stream.write(_encode(entry))
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror or error}; choose a writable place") from error
        return entry

    def entries(self) -> list[Entry]:
        """Every whole entry, in the order of writing."""
        return [_decode(line, number, self.path) for number, line in enumerate(self._whole_lines(), start=1)]

    def truncate_above(self, step: int) -> list[Entry]:
        """Drop the entries above `step` and a torn last line; return what is kept.

        A run that goes on from the checkpoint of `step` repeats the steps above it and reports them again.
        """
        kept = [entry for entry in self.entries() if entry.step <= step]
        self.close()
        if self.path.exists():
            atomic_write_bytes(self.path, b"".join(_encode(entry) for entry in kept))
        return kept

    def close(self) -> None:
        """Close the file; the next `append` opens it again."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> BinaryIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            # a line torn by a kill would swallow the next one that is written after it
            os.truncate(self.path, sum(len(line) + 1 for line in self._whole_lines()))
        # unbuffered: `write` returns when the operating system has the bytes
        return open(self.path, "ab", buffering=0)

    def _whole_lines(self) -> list[bytes]:
        try:
            return self.path.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(f"cannot read {self.path}: {error.strerror or error}") from error


def _encode(entry: Entry) -> bytes:
    values = {name: value if math.isfinite(value) else str(value) for name, value in entry.values.items()}
    line = {"step": entry.step, "time_ms": entry.time_ms, "values": values}
    return json.dumps(line, allow_nan=False).encode("ascii") + b"\n"


def _decode(line: bytes, number: int, path: Path) -> Entry:
    try:
        content = json.loads(line)
        values = {str(name): float(value) for name, value in content["values"].items()}
        return Entry(step=int(content["step"]), values=values, time_ms=int(content["time_ms"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{path}: line {number} is not an entry of the metric journal; remove the folder it is in to start afresh"
        ) from None
