"""Signatures of released models: OpenSSF model signing with an elliptic-curve key, offline (the extra `[sign]`).

A digest says that files are the ones that were registered; a signature says who released them. `release` signs where
`run.signing_key` names a private key: the published folder, `<folder>.sig` beside it, and the registered folder, under
`registry/signatures/`. Where `run.public_key`, or for a server NT_PUBLIC_KEY, names a public key, nothing is loaded
without a signature of its private key, over every file of the folder.
"""

import os
import re
from pathlib import Path
from typing import Any

from mlproject.checksums import MANIFEST_NAME, NOT_LISTED, verify_checksums
from mlproject.config import Configuration
from mlproject.errors import IntegrityError, UserError, one_line
from mlproject.files import atomic_write_bytes
from mlproject.released import released_file

FOLDER = "signatures"
PUBLIC_KEY, PASSWORD = "NT_PUBLIC_KEY", "NT_SIGNING_PASSWORD"
# these use models that they have just trained, which nobody has signed
TRAIN_WHAT_THEY_USE = ("main", "study", "tune")
_DIGITS_IN_NAME = 12
_EXPECTED = "expected a PEM file on the curve P-256, P-384 or P-521"


class Signer:
    """A private key, read before any work begins."""

    def __init__(self, key: str) -> None:
        """Read the key; NT_SIGNING_PASSWORD opens an encrypted one.

        Raises:
            UserError: no model-signing, or no such key.
        """
        signing = _library().signing
        password = os.environ.get(PASSWORD, "").encode() or None
        try:
            self._config = signing.Config().use_elliptic_key_signer(private_key=Path(key), password=password)
        except Exception as error:  # the key's file, form, curve and password each raise their own kind
            raise UserError(f"signing key {key}: cannot be used ({one_line(error, 300)}); {_EXPECTED}") from None

    def sign(self, folder: Path, signature: Path) -> None:
        """Write the signature of every file of a folder.

        Raises:
            UserError: the place cannot be written.
        """
        self._config.set_hashing_config(_hashing(folder))
        unfinished = signature.with_name(f".{signature.name}.unfinished")
        signature.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._config.sign(folder, unfinished)
            atomic_write_bytes(signature, unfinished.read_bytes())
        except OSError as error:
            raise UserError(f"cannot write {signature}: {error.strerror or error}; choose a writable place") from error
        finally:
            unfinished.unlink(missing_ok=True)


def signature_in_registry(registry: Path, name: str, digest: str) -> Path:
    """Where the signature of a registered folder lies: versions are numbered by each store anew, digests are not."""
    return registry / FOLDER / f"{name}-{digest[:_DIGITS_IN_NAME]}.sig"


def check_signature(folder: Path, public_key: str) -> None:
    """Refuse a folder without a signature by the private key of `public_key`; with "" nothing is asked.

    The signature is `<folder>.sig`, or that of the folder's digest in registry/signatures/ of the project at hand.

    Raises:
        UserError: no model-signing, or no such key.
        IntegrityError: no signature, one by another key, or files that it does not cover as they are.
    """
    if not public_key:
        return
    verifying = _library().verifying
    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=Path(public_key))
    except Exception as error:  # see Signer
        raise UserError(f"public key {public_key}: cannot be used ({one_line(error, 300)}); {_EXPECTED}") from None
    signature = _signature_of(folder)
    try:
        config.set_hashing_config(_hashing(folder)).verify(folder, signature)
    except Exception as error:  # a signature that is damaged raises whatever its damage leads to
        raise IntegrityError(
            f"{folder}: {signature.name} is no signature of it by the key of {public_key} ({_difference(error)}); "
            "nothing of it is loaded"
        ) from None


def refuse_key(config: Configuration, stage: str) -> None:
    """Refuse `run.public_key` where a stage uses what it trains itself, before any of its work."""
    if config.run.public_key and stage in TRAIN_WHAT_THEY_USE:
        raise UserError(
            f"run.public_key: {stage} uses models that it trains itself, which nobody has signed; leave it empty here, "
            "and give it to the commands that use a released model"
        )


def _signature_of(folder: Path) -> Path:
    folder = folder.resolve()
    beside = folder.with_name(f"{folder.name}.sig")
    if beside.is_file():
        return beside
    released = released_file()
    digest = verify_checksums(folder)
    found = sorted((released.parent / FOLDER).glob(f"*-{digest[:_DIGITS_IN_NAME]}.sig")) if released else []
    if not found:
        raise IntegrityError(
            f"{folder}: has no signature, and a public key is configured, so nothing of it is loaded; `make release` "
            "with a signing key signs a version"
        )
    return found[0]


def _hashing(folder: Path) -> Any:
    """Every file of a folder but the one that MLflow's registry writes into what it downloads."""
    ignored = [folder / name for name in NOT_LISTED - {MANIFEST_NAME}]
    return _library().hashing.Config().set_ignored_paths(paths=ignored, ignore_git_paths=False)


def _library() -> Any:
    """model_signing with the modules that are used here; imported when a key is configured and not before."""
    try:
        import model_signing
        import model_signing.hashing
        import model_signing.signing
        import model_signing.verifying
    except ImportError as error:
        raise UserError(
            f"signatures need model-signing ({one_line(error, 300)}); install it with `pip install -e '.[sign]'`"
        ) from None
    return model_signing


def _difference(error: Exception) -> str:
    """What of a folder is not as it was signed: the library names the files among digests as Python writes them."""
    changed = re.findall(r"Hash mismatch for \\?'([^'\\]+)", str(error))
    return f"{', '.join(changed)[:300]} changed" if changed else one_line(error, 300)
