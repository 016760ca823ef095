"""The folder of a classifier as an MLflow model: built around its payload, and verified before anything is loaded."""

import json
import os
import shutil
import warnings
from importlib.metadata import version as installed_version
from pathlib import Path

from mlproject import environment

environment.quiet()

import mlflow  # noqa: E402 - MLflow reads its environment when it is imported
import yaml  # noqa: E402

from mlproject.checksums import verify_checksums, write_checksums  # noqa: E402
from mlproject.errors import IntegrityError, one_line  # noqa: E402
from mlproject.released import check_released  # noqa: E402
from mlproject.signing import PUBLIC_KEY, check_signature  # noqa: E402

PAYLOAD = "artifacts/classifier"
PINNED_DIGEST = "NT_EXPECTED_SHA256"
ORIGIN = "registered_model_meta"
# the model from code, which MLflow executes from inside the folder
_CODE = Path(__file__).with_name("served.py")
# what a server imports; pinned to the versions of the environment that wrote the model
_REQUIREMENTS = (
    "mlflow",
    "torch",
    "timm",
    "safetensors",
    "numpy",
    "opencv-python-headless",
    "pandas",
    "scipy",
    "scikit-learn",
    "ImageHash",
    "pydantic",
    "PyYAML",
)


def model_folder(payload: str | Path) -> Path:
    """The folder of the whole model from that of its payload."""
    return Path(payload).resolve().parents[len(Path(PAYLOAD).parts) - 1]


def verify_model(folder: Path) -> str:
    """Verify a model folder and return its digest, by all that is known of it.

    Its own manifest, always. `NT_EXPECTED_SHA256`, where it is set: the digest of the folder, pinned by whoever
    started the server. Otherwise, where MLflow's `registered_model_meta` says which registered version the folder is:
    that version's tag `sha256` in the registry that MLflow is set to, and the digest in registry/released.json if the
    version was released and a project folder is at hand (see `released`). Where `NT_PUBLIC_KEY` names a public key, its
    signature as well (see `signing`).

    Raises:
        IntegrityError: anything differs, or the registry that the folder came from does not answer.
    """
    pinned = os.environ.get(PINNED_DIGEST)
    digest = verify_checksums(folder, pinned or None)
    check_signature(folder, os.environ.get(PUBLIC_KEY, ""))
    if pinned or not (folder / ORIGIN).is_file():
        return digest
    name, number, tags, run_id = _registered(folder)
    if tags.get("sha256") != digest:
        raise IntegrityError(
            f"{name} version {number}: {folder} has the digest {digest[:16]}…, registered was "
            f"{tags.get('sha256', 'none')[:16]}…; nothing of it is loaded"
        )
    check_released(name, number, run_id, digest)
    return digest


def _registered(folder: Path) -> tuple[str, str, dict[str, str], str | None]:
    """Name, version, tags and run of the registered version that `folder` was taken from."""
    uri = mlflow.get_registry_uri()
    try:
        if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
            raise FileNotFoundError(f"{uri} does not exist")  # MLflow would make an empty one
        origin = yaml.safe_load((folder / ORIGIN).read_text(encoding="utf-8"))
        found = mlflow.MlflowClient().get_model_version(origin["model_name"], str(origin["model_version"]))
    except Exception as error:  # a registry that is away raises many kinds, and none of them is a pass
        raise IntegrityError(
            f"{folder}: the registry it came from does not answer ({one_line(error, 200)}); set "
            f"MLFLOW_TRACKING_URI, or {PINNED_DIGEST} to the digest that the model must have"
        ) from None
    return found.name, str(found.version), dict(found.tags), found.run_id


def save_served_classifier(payload: Path, folder: Path) -> str:
    """Build the model folder around a classifier's payload, with checksums over every file; returns its digest.

    Raises:
        IntegrityError: the payload does not verify.
    """
    verify_checksums(payload)
    description = json.loads((payload / "classifier.json").read_text(encoding="utf-8"))
    with_payload = folder.with_name("classifier")
    shutil.copytree(payload, with_payload)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(_CODE),
            artifacts={"classifier": str(with_payload)},
            code_paths=[str(_CODE.parent)],
            # given, not inferred: inference would load the model in another process and ask the network
            pip_requirements=[f"{name}=={installed_version(name)}" for name in _REQUIREMENTS],
            metadata={key: description.get(key) for key in ("data_kind", "data_digest", "mix", "seed")},
        )
    shutil.rmtree(with_payload)
    _leave_out_this_machine(folder / "MLmodel")
    _keep_bytecode_out(folder)
    return write_checksums(folder)


def _leave_out_this_machine(description: Path) -> None:
    """Replace the absolute paths that MLflow notes in MLmodel, and does not read again, by those in the folder."""
    content = yaml.safe_load(description.read_text(encoding="utf-8"))
    flavor = content["flavors"]["python_function"]
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]
    description.write_text(yaml.safe_dump(content), encoding="utf-8")


def _keep_bytecode_out(folder: Path) -> None:
    """Put an empty file where Python would keep bytecode.

    The first import from the folder would otherwise add files that the checksums do not list, and bytecode planted
    there would run instead of the source that they do list.
    """
    for cache in list(folder.rglob("__pycache__")):
        shutil.rmtree(cache)
    for parent in {source.parent for source in folder.rglob("*.py")}:
        (parent / "__pycache__").touch()
