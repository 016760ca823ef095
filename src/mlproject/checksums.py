"""SHA-256 manifests: a folder of files, its digest, and the proof that nothing in it changed.

`checksums.json` holds `{"algorithm": "sha256", "files": {relative posix path: hex digest}}` over every file of the
folder except itself and `registered_model_meta`, which MLflow's registry writes into what it downloads. The digest of
the folder is the SHA-256 of the canonical JSON of `files`, so it depends on names and content and on nothing else.
"""

import hashlib
import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mlproject.errors import IntegrityError
from mlproject.files import atomic_write_json

MANIFEST_NAME = "checksums.json"
# Files at the top of the folder that the manifest leaves out.
NOT_LISTED = frozenset({MANIFEST_NAME, "registered_model_meta"})
_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAMED_IN_ERRORS = 5


def file_sha256(path: str | Path) -> str:
    """The SHA-256 of a file's content, 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of(files: dict[str, str]) -> str:
    """The digest of a folder whose files have these SHA-256 digests, 64 hexadecimal digits."""
    canonical = json.dumps(files, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def is_digest(text: object) -> bool:
    """Whether `text` is 64 lower-case hexadecimal digits."""
    return isinstance(text, str) and _HEX_DIGEST.fullmatch(text) is not None


def _listed_files(folder: Path) -> list[str]:
    """Relative posix paths of the files that a manifest of `folder` covers.

    Raises:
        IntegrityError: a symbolic link or anything else that is neither file nor folder, whose content could change
            behind the manifest's back.
    """
    found = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise IntegrityError(f"{folder}: {relative} is a symbolic link; a model folder holds plain files only")
        if path.is_dir():
            continue
        if not path.is_file():
            raise IntegrityError(f"{folder}: {relative} is not a regular file; a model folder holds plain files only")
        if relative not in NOT_LISTED:
            found.append(relative)
    return found


def write_checksums(folder: str | Path) -> str:
    """Write `checksums.json` over every file of `folder` and return the folder's digest.

    Raises:
        IntegrityError: no folder, an empty one, or one with symbolic links in it.
        UserError: the manifest cannot be written.
    """
    folder = Path(folder)
    names = _listed_files(folder)
    if not names:
        raise IntegrityError(f"{folder}: no files to write checksums of")
    files = {name: file_sha256(folder / name) for name in names}
    atomic_write_json(folder / MANIFEST_NAME, {"algorithm": "sha256", "files": files})
    return digest_of(files)


def read_manifest(folder: str | Path) -> dict[str, str]:
    """The `files` of a folder's manifest, checked for form; the files themselves are not read.

    Raises:
        IntegrityError: no manifest, not the form described above, or a path that leaves the folder.
    """
    path = Path(folder) / MANIFEST_NAME
    if path.is_symlink() or not path.is_file():
        raise IntegrityError(f"{folder}: no {MANIFEST_NAME}, so nothing in it can be verified and it is not loaded")
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_without_repeats)
    except (OSError, ValueError, RecursionError) as error:
        raise IntegrityError(f"{path}: not readable as JSON ({error})") from None
    files = content.get("files") if isinstance(content, dict) else None
    if not isinstance(files, dict) or not files or content.get("algorithm") != "sha256":
        raise IntegrityError(f'{path}: expected {{"algorithm": "sha256", "files": {{path: digest}}}}')
    for name, digest in files.items():
        if not _stays_inside(name):
            raise IntegrityError(f"{path}: {name!r} is not a relative path inside the folder")
        if not is_digest(digest):
            raise IntegrityError(f"{path}: the entry of {name!r} is not a SHA-256 in lower-case hexadecimal")
    return files


def verify_checksums(folder: str | Path, expected_digest: str | None = None) -> str:
    """Compare every file of `folder` with its manifest, and the manifest with `expected_digest`; return the digest.

    Raises:
        IntegrityError: missing or malformed manifest, a file missing, added or changed, a symbolic link, or another
            digest than `expected_digest`. The message names the files.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise IntegrityError(f"{folder}: no such folder, expected a model folder with {MANIFEST_NAME}")
    listed = read_manifest(folder)
    present = set(_listed_files(folder))
    problems = [f"{name} is missing" for name in sorted(listed.keys() - present)]
    problems += [f"{name} is not in {MANIFEST_NAME}" for name in sorted(present - listed.keys())]
    problems += [
        f"{name} was changed" for name in sorted(listed.keys() & present) if file_sha256(folder / name) != listed[name]
    ]
    if problems:
        more = f" and {len(problems) - _NAMED_IN_ERRORS} more" if len(problems) > _NAMED_IN_ERRORS else ""
        raise IntegrityError(f"{folder}: {', '.join(problems[:_NAMED_IN_ERRORS])}{more}; nothing of it is loaded")
    digest = digest_of(listed)
    if expected_digest is not None and digest != expected_digest:
        raise IntegrityError(
            f"{folder}: its digest is {digest[:16]}…, expected {expected_digest[:16]}…; these are not the files that "
            "were registered"
        )
    return digest


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys stand once: of a repeated one, two readers may take different values."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice")
    return result


def _stays_inside(name: str) -> bool:
    """Whether a manifest's path is relative, normalised, posix, and not one of the files it leaves out."""
    if not name or "\\" in name or "\0" in name or ":" in name.split("/")[0] or name in NOT_LISTED:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path.as_posix() == name and name != "."
