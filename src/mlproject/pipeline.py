"""What all stages share: the key that tells whether work was done before, and the folder of unfinished work."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlproject.config import Configuration
from mlproject.errors import UserError
from mlproject.files import sweep_unfinished

# Raised by hand when the meaning of a stage changes, so that older results are not taken for its own.
STAGE_VERSIONS = {
    "prepare_data": 1,
    "train_gan": 2,
    "generate_synthetic": 1,
    "train_judge": 1,
    "eval_gan": 2,
    "train_classifier": 2,
    "eval_classifier": 2,
    "study": 1,
    "tune": 1,
}


def stage_key(stage: str, **inputs: Any) -> str:
    """SHA-256 over the stage, its version and everything that decides its result.

    Args:
        stage: a name of `STAGE_VERSIONS`.
        inputs: configuration sections (as dictionaries), digests and subject lists: JSON values.
    """
    text = json.dumps([stage, STAGE_VERSIONS[stage], inputs], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def chosen_by(config: Configuration) -> list[Any]:
    """What chooses a generator's step while it trains: a part of the keys of all work with generators."""
    return [config.fidelity.while_training, config.fidelity.features]


def subjects_digest(subjects: list[str]) -> str:
    """SHA-256 over a set of subject ids, whatever their order."""
    return hashlib.sha256("\n".join(sorted(subjects)).encode("utf-8")).hexdigest()


@contextlib.contextmanager
def work_folder(outputs: str | Path, stage: str, key: str) -> Iterator[Path]:
    """The folder of a stage's unfinished work, held by one process at a time and removed when the work is done.

    It is named by the stage key, so that the same command finds its checkpoints after a kill. When the block
    raises, the folder stays.

    Raises:
        UserError: another process works on the same stage with the same key, or the place is not writable.
    """
    parent = Path(outputs) / "work"
    folder = parent / f"{stage}-{key[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(parent / f"{folder.name}.lock", os.O_CREAT | os.O_RDWR)
    except OSError as error:
        raise UserError(f"cannot write {parent}: {error.strerror or error}; choose another --outputs") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{folder} is in use: another process runs the same {stage}; wait for it or change --outputs"
            ) from None
        sweep_unfinished(folder)
        yield folder
        shutil.rmtree(folder)
    finally:
        os.close(lock)
