"""The model registry: register with checksums, and hand out nothing that does not verify.

What is registered is a model of the run that made it (MLflow lists it on the run's page), a folder with a manifest over
every file (`checksums.json`); the digest of that manifest is the version's tag `sha256`. A generator's folder is its
payload (safetensors + JSON). A classifier's folder is an MLflow pyfunc from code around its payload, so that the same
version is served, loaded and fine-tuned.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlproject.checksums import is_digest, verify_checksums
from mlproject.errors import IntegrityError, UserError, one_line
from mlproject.files import PICKLES
from mlproject.released import check_released
from mlproject.served_folder import PAYLOAD, model_folder, save_served_classifier
from mlproject.signing import check_signature
from mlproject.tracking import MlflowException, Run, Store

# MLflow reads its environment when it is imported: after tracking, which sets it
from mlflow.artifacts import download_artifacts  # isort: skip
from mlflow.entities import LoggedModelOutput  # isort: skip
from mlflow.entities.model_registry import ModelVersion  # isort: skip

GENERATOR, CLASSIFIER = "nt-gan", "nt-classifier"
_ARTIFACT = "model"
_DESCRIPTION_FILES = {GENERATOR: "generator.json", CLASSIFIER: "classifier.json"}


@dataclass(frozen=True)
class ModelReference:
    """A verified model: the folder to load from, what it says of itself, and where it came from."""

    name: str
    folder: Path  # of the payload: weights, description, checksums
    digest: str  # of the payload
    meta: dict[str, Any]  # generator.json or classifier.json
    version: str = ""
    run_id: str = ""

    def __str__(self) -> str:
        where = f"{self.name} version {self.version}" if self.version else str(self.folder)
        return f"{where} (sha256 {self.digest[:12]})"

    @property
    def registered_folder(self) -> Path:
        """Of a version, all that is registered: the folder of its payload, and for a classifier what serves it."""
        return model_folder(self.folder) if self.name == CLASSIFIER else self.folder

    @property
    def reference(self) -> str:
        """How a command names it: `models:/<name>/<version>`, or its folder."""
        return f"models:/{self.name}/{self.version}" if self.version else str(self.folder)


def register(run: Run, folder: Path, name: str, tags: Mapping[str, str], aliases: bool = True) -> str:
    """Make a model folder a model of the run and a version of `name`; returns the version's number.

    Args:
        folder: the payload, as save_generator or save_classifier wrote it.
        tags: provenance; `sha256`, `payload_sha256` and git's state are added. Version and model carry all of them.
        aliases: a generator becomes the `champion`.

    Raises:
        IntegrityError: the folder does not verify.
    """
    client = run.store.client
    run_tags = run.store.tags_of(run.id)
    all_tags = {key: run_tags.get(key, "unknown") for key in ("git_commit", "git_dirty")} | dict(tags)
    all_tags["payload_sha256"] = verify_checksums(folder)
    with tempfile.TemporaryDirectory() as temporary:
        model = folder
        if name == CLASSIFIER:
            model = Path(temporary) / _ARTIFACT
            save_served_classifier(folder, model)
        all_tags["sha256"] = verify_checksums(model)
        model_id = _log_model(run, model, name, all_tags)
    _ensure_registered_model(run.store, name)
    source = f"models:/{model_id}"
    version = client.create_model_version(name, source, run.id, tags=all_tags, model_id=model_id).version
    run.set_tags({"model_sha256": all_tags["sha256"], "model_version": f"{name}/{version}"})
    if name == GENERATOR and aliases:
        set_alias(run.store, name, "champion", version)
    return str(version)


def _log_model(run: Run, folder: Path, name: str, tags: Mapping[str, str]) -> str:
    """Store a folder as a model of the run; returns the model's id."""
    client = run.store.client
    experiment_id = client.get_run(run.id).info.experiment_id
    model_id = str(client.create_logged_model(experiment_id, name, run.id, dict(tags)).model_id)
    client.log_model_artifacts(model_id, str(folder))
    client.finalize_logged_model(model_id, "READY")
    client.log_outputs(run.id, [LoggedModelOutput(model_id, step=0)])
    return model_id


def _ensure_registered_model(store: Store, name: str) -> None:
    """Create the registered model unless it is there; several processes may do so at once."""
    try:
        store.client.get_registered_model(name)
    except MlflowException:
        try:
            store.client.create_registered_model(name)
        except MlflowException:
            # whatever the database said to the one that came second: it is there now, or this raises
            store.client.get_registered_model(name)


def set_alias(store: Store, name: str, alias: str, version: str) -> None:
    """Move an alias to a version; of several processes that do so at once, the last one's holds."""
    try:
        store.client.set_registered_model_alias(name, alias, version)
    except MlflowException:
        # MLflow looks for the alias before it inserts it: to the one that came second the database says that it is
        # there, and the same call then moves it
        store.client.set_registered_model_alias(name, alias, version)


def resolve(store: Store, reference: str, name: str, public_key: str = "") -> ModelReference:
    """A verified model from a folder or a file in it, `runs:/<id>`, or `models:/<name>@<alias>` / `/<version>`.

    Args:
        public_key: file of the key that must have signed it; "": it need not be signed.

    Raises:
        UserError: there is no such model, or it is of another kind.
        IntegrityError: its files are not those that were registered, its version carries no digest, or it is not
            signed as `public_key` asks.
    """
    if reference.startswith("models:/"):
        return _resolve_version(store, reference, name, public_key)
    if reference.startswith("runs:/"):
        return of_run(store, reference.removeprefix("runs:/").split("/")[0], name, public_key)
    path = Path(reference)
    if path.suffix.lower() in PICKLES:
        raise UserError(f"{reference} is a pickle, which runs code when it is read; give a folder with safetensors")
    if not path.exists():
        raise UserError(f"{name}: {reference} does not exist; give a folder, runs:/<id> or models:/{name}@champion")
    folder = path.parent if path.is_file() else path
    check_signature(folder, public_key)
    if (folder / PAYLOAD).is_dir():
        verify_checksums(folder)
        folder = folder / PAYLOAD
    return _reference(name, folder, verify_checksums(folder))


def of_run(store: Store, run_id: str, name: str, public_key: str = "") -> ModelReference:
    """The verified version that a run registered, itself or by reuse of another run's; `public_key` as in `resolve`."""
    try:
        tags = store.tags_of(run_id)
    except MlflowException:
        raise UserError(f"runs:/{run_id}: the store has no such run; `make ui` lists them") from None
    registered, _, version = tags.get("model_version", "").partition("/")
    if registered != name:
        raise UserError(f"runs:/{run_id}: that run registered no {name}; name the run of its training")
    return _resolve_version(store, f"models:/{name}/{version}", name, public_key)


def _resolve_version(store: Store, reference: str, name: str, public_key: str) -> ModelReference:
    given, alias, version = _parse(reference)
    if given != name:
        raise UserError(f"{reference}: expected a version of {name}")
    client = store.client
    try:
        found = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, version)
    except MlflowException:
        command = "train_gan" if name == GENERATOR else "train_classifier"
        raise UserError(
            f"{reference}: the registry has no such version; `mlflow run . -e {command}` registers one"
        ) from None
    return verified(store, found, public_key)


def verified(store: Store, version: ModelVersion, public_key: str = "") -> ModelReference:
    """The model of a version: its files equal its tag, and the released digest if it was released.

    Args:
        public_key: as in `resolve`.

    Raises:
        IntegrityError: anything differs or is absent; the message names model, version and file.
    """
    name, number = version.name, str(version.version)
    label, digest = f"{name} version {number}", version.tags.get("sha256")
    if not is_digest(digest):
        raise IntegrityError(f"{label}: carries no sha256 tag, so it cannot be verified and is not loaded")
    assert digest is not None
    check_released(name, number, version.run_id, digest)
    try:
        uri = store.client.get_model_version_download_uri(name, number)
        folder = Path(download_artifacts(artifact_uri=uri, tracking_uri=store.uri, registry_uri=store.uri))
    except (MlflowException, OSError) as error:
        raise IntegrityError(f"{label}: its files are gone from the artifact store ({one_line(error, 200)})") from None
    try:
        verify_checksums(folder, digest)
        check_signature(folder, public_key)
        payload = folder / PAYLOAD if (folder / PAYLOAD).is_dir() else folder
        payload_digest = verify_checksums(payload, version.tags.get("payload_sha256"))
    except IntegrityError as error:
        raise IntegrityError(f"{label}: {error}") from None
    return _reference(name, payload, payload_digest, number, version.run_id or "")


@dataclass(frozen=True)
class Verdict:
    """One version of the registry and what is wrong with it; "" when nothing is."""

    name: str
    version: str
    digest: str  # the tag sha256; "" when there is none
    problem: str


def verify_all(store: Store, public_key: str = "") -> list[Verdict]:
    """Every version of both models against manifest, tag and released digest, in the order of their numbers.

    Args:
        public_key: as in `resolve`; a version that nobody signed is then a problem.
    """
    verdicts = []
    for name in (GENERATOR, CLASSIFIER):
        for version in sorted(_versions(store, name), key=lambda found: int(found.version)):
            try:
                verified(store, version, public_key)
                problem = ""
            except UserError as error:
                problem = str(error)
            verdicts.append(Verdict(name, str(version.version), version.tags.get("sha256", ""), problem))
    return verdicts


def _versions(store: Store, name: str) -> Iterator[ModelVersion]:
    token = None
    while True:
        page = store.client.search_model_versions(f"name = '{name}'", page_token=token)
        # a search leaves tags out in some stores: each version is asked for by itself
        yield from (store.client.get_model_version(name, found.version) for found in page)
        token = page.token
        if not token:
            return


def _parse(reference: str) -> tuple[str, str, str]:
    """(name, alias, version) of `models:/name@alias` or `models:/name/version`."""
    rest = reference.removeprefix("models:/")
    name, at, alias = rest.partition("@")
    if not at:
        name, _, version = rest.partition("/")
        if not version.isdigit():
            raise UserError(f"{reference}: expected models:/<name>@<alias> or models:/<name>/<version number>")
        return name, "", version
    return name, alias, ""


def _reference(name: str, folder: Path, digest: str, version: str = "", run_id: str = "") -> ModelReference:
    description = folder / _DESCRIPTION_FILES[name]
    if not description.is_file():
        raise UserError(f"{folder}: holds no {description.name}, so it is no {name}")
    try:
        meta = json.loads(description.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{description}: not readable as JSON ({error})") from None
    return ModelReference(name, folder, digest, meta, version, run_id)


def ensure_champion(store: Store, name: str, version: str) -> None:
    """Give `champion` to a version if no other has it."""
    try:
        store.client.get_model_version_by_alias(name, "champion")
    except MlflowException:
        set_alias(store, name, "champion", version)


def update_mix_aliases(store: Store, version: str, mix: str) -> list[str]:
    """Move the alias of a mix, and `champion`, to a classifier that is better on validation; returns what moved.

    Scores on different validation subjects do not compare: an alias of another data set gives way.
    """
    candidate = store.client.get_model_version(CLASSIFIER, version)
    moved = []
    for alias in (mix, "champion"):
        try:
            holder = store.client.get_model_version_by_alias(CLASSIFIER, alias)
        except MlflowException:
            holder = None
        if (
            holder is not None
            and holder.tags.get("data_digest") == candidate.tags.get("data_digest")
            and _validation_auc(store, holder) >= _validation_auc(store, candidate)
        ):
            continue
        set_alias(store, CLASSIFIER, alias, version)
        moved.append(alias)
    return moved


def _validation_auc(store: Store, version: ModelVersion) -> float:
    return store.metrics_of(str(version.run_id)).get("val.auc", 0.0)
