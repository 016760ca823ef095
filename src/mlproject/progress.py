"""Progress on a terminal as a moving bar, in a log file as a line now and then."""

import os
import sys
from typing import Any

from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 10.0


def bar(total: int, description: str, unit: str, initial: int = 0) -> Any:
    """A tqdm bar on stderr; where its cursor cannot move, in a log file, whole lines, at most one every ten seconds."""
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return tqdm(total=total, desc=description, unit=unit, initial=initial, dynamic_ncols=True)
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        initial=initial,
        ascii=True,
        ncols=100,
        mininterval=_SECONDS_BETWEEN_LINES,
        maxinterval=_SECONDS_BETWEEN_LINES,
        file=_Lines(),
    )


class _Lines:
    """stderr for tqdm with line feeds in place of carriage returns."""

    def write(self, text: str) -> None:
        text = text.replace("\r", "").strip("\n")
        if text.strip():
            sys.stderr.write(text + "\n")

    def flush(self) -> None:
        sys.stderr.flush()
