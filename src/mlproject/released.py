"""What was released: digests that are committed beside the code, so that no change in a store can rewrite them.

`registry/released.json` holds {model name: {run id: {"version", "sha256", "payload_sha256"}}}. Versions are named by
the run that made them: a run id belongs to one store, while every store counts its versions from 1.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlproject.checksums import is_digest
from mlproject.config import PROJECT_ROOT
from mlproject.errors import IntegrityError, UserError
from mlproject.files import atomic_write_json

# names another project folder than the one that the code lies in; a server's code lies in its model folder
ROOT_VARIABLE = "NT_PROJECT_ROOT"
Released = dict[str, dict[str, dict[str, str]]]


def released_file() -> Path | None:
    """registry/released.json of NT_PROJECT_ROOT, of the project of this code, or of the current folder; None if none.

    Raises:
        IntegrityError: NT_PROJECT_ROOT is set and there is no such file in it.
    """
    if named := os.environ.get(ROOT_VARIABLE):
        path = Path(named) / "registry" / "released.json"
        if not path.is_file():
            raise IntegrityError(f"{path} does not exist, so released models cannot be verified; mend {ROOT_VARIABLE}")
        return path
    for root in (PROJECT_ROOT, Path.cwd()):
        path = root / "registry" / "released.json"
        if path.is_file():
            return path
    return None


def released_digests() -> Released:
    """Everything that was released; {} where no project is at hand.

    Raises:
        IntegrityError: the file is not of the form described above.
    """
    path = released_file()
    return {} if path is None else _read(path)


def check_released(name: str, version: str, run_id: str | None, digest: str) -> None:
    """Compare the digest of a version with the released one, if it was released.

    Raises:
        IntegrityError: another digest was released, or what was released cannot be read.
    """
    try:
        entry = released_digests().get(name, {}).get(run_id or "")
    except IntegrityError as error:
        raise IntegrityError(f"{name} version {version}: {error}") from None
    if entry is not None and entry["sha256"] != digest:
        raise IntegrityError(
            f"{name} version {version}: its digest is {digest[:16]}…, but {entry['sha256'][:16]}… was released: these "
            "are other files under the name of a released model"
        )


def record_release(name: str, version: str, run_id: str, digest: str, payload_digest: str) -> Path:
    """Add a digest to registry/released.json; returns the file.

    Raises:
        UserError: there is no project folder, or another digest stands there for the same run.
    """
    path = released_file()
    if path is None:
        raise UserError(f"no registry/released.json here; run this in the project's folder, or set {ROOT_VARIABLE}")
    with _locked(path):
        content = _read(path)
        known = content.setdefault(name, {}).get(run_id)
        if known is not None and known["sha256"] != digest:
            raise IntegrityError(f"{path}: run {run_id} was released as {known['sha256'][:16]}…, found {digest[:16]}…")
        content[name][run_id] = {"version": version, "sha256": digest, "payload_sha256": payload_digest}
        atomic_write_json(path, content)
    return path


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Two releases at once would otherwise lose one of the two lines."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _read(path: Path) -> Released:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        for versions in content.values():
            for entry in versions.values():
                if not (is_digest(entry["sha256"]) and is_digest(entry["payload_sha256"]) and entry["version"]):
                    raise ValueError(f"entry {entry!r}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(f"{path}: not readable as released digests ({error!r})") from None
    return content
