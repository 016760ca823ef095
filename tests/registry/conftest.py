"""A real store and two model folders: a generator of a few bytes, and a classifier that answers."""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch

from mlproject import registry, tracking
from mlproject.checksums import write_checksums
from mlproject.classifier.inference import save_classifier
from mlproject.classifier.network import build_classifier
from mlproject.classifier.training import TrainedClassifier
from mlproject.config import load_config
from mlproject.files import atomic_write_bytes, atomic_write_json

DATA_DIGEST = "d" * 64
TAGS = {"data_digest": DATA_DIGEST, "data_kind": "phantom_not_clinical", "seed": "0"}


@pytest.fixture(scope="session")
def classifier_folder(tmp_path_factory) -> Path:
    config = dataclasses.replace(
        load_config().classifier, backbone="test_efficientnet", weights="none", zero_init_head=False
    )
    meta = {
        "preprocessing": {"crop": "square", "window_px": 64, "size": 32, "clahe_clip": 2.0, "clahe_tiles": 4},
        "class_names": ["normal", "anomalous"],
        "threshold": 0.5,
        "data_digest": DATA_DIGEST,
        "data_kind": "phantom_not_clinical",
        "train_subjects": ["s0"],
        "mix": "real",
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trained = TrainedClassifier(build_classifier(config).eval(), config, 1, np.zeros(0), [])
    folder = tmp_path_factory.mktemp("payload") / "classifier"
    save_classifier(folder, trained, meta)
    return folder


@pytest.fixture
def generator_folder(tmp_path) -> Path:
    folder = tmp_path / "generator"
    atomic_write_bytes(folder / "generator.safetensors", b"weights")
    atomic_write_json(folder / "generator.json", {"data_kind": "phantom_not_clinical", "data_digest": DATA_DIGEST})
    write_checksums(folder)
    return folder


@pytest.fixture
def released_json(tmp_path) -> Path:
    return tmp_path / "registry" / "released.json"


@pytest.fixture
def store(store, tmp_path, monkeypatch, released_json) -> Iterator[tracking.Store]:
    """The store of every test, with a folder of releases beside it."""
    monkeypatch.setenv("NT_PROJECT_ROOT", str(tmp_path))
    released_json.parent.mkdir()
    released_json.write_text("{}")
    # a pyfunc puts its own code on the path; the package of this checkout stays the imported one
    monkeypatch.setattr(sys, "path", list(sys.path))
    mlflow.set_tracking_uri(store.uri)
    yield store
    mlflow.set_tracking_uri(None)


@pytest.fixture
def registered(store, generator_folder, classifier_folder):
    """`registered(name, metrics, **tags)` registers a version from a run with these metrics; returns its reference."""

    def make(name: str, metrics: dict[str, float] | None = None, **tags: str) -> str:
        generator = name == registry.GENERATOR
        config = load_config()
        own = {} if generator else {"mix": "real"}
        with tracking.entry_run(store, "train_gan" if generator else "train_classifier", config) as run:
            run.log_metrics(metrics or {})
            folder = generator_folder if generator else classifier_folder
            version = registry.register(run, folder, name, {**TAGS, **own, **tags})
        return f"models:/{name}/{version}"

    return make


@pytest.fixture
def stored_files(store):
    """`stored_files(reference)` is the folder in which the store keeps a version."""

    def find(reference: str) -> Path:
        name, version = reference.removeprefix("models:/").split("/")
        uri = store.client.get_model_version_download_uri(name, version)
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, tracking_uri=store.uri))

    return find
