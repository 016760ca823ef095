"""What the stages share: their run, what they say on the terminal, and how they name data and models."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlproject.data.manifest import DataSet


def say(text: str) -> None:
    """A line on stdout, at once, so that a log shows it in its place."""
    print(text, flush=True)


def data_identity(dataset: DataSet) -> dict[str, Any]:
    """What decides the crops of a data set: content, labels, split (the digest) and how they are cut."""
    return {"digest": dataset.digest, "preprocessing": dataset.preprocessing}
