"""The served classifier: the same answers as the loaded one, and none at all from files that were touched."""

import base64
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import cv2
import mlflow
import numpy as np
import pytest

from mlproject import registry
from mlproject.checksums import verify_checksums, write_checksums
from mlproject.classifier.inference import load_classifier
from mlproject.data.crops import cut_crop
from mlproject.errors import IntegrityError, UserError
from mlproject.registry import CLASSIFIER
from mlproject.served import check_released, model_folder, save_served_classifier, verify_model

WEIGHTS = "artifacts/classifier/classifier.safetensors"


def frame(seed=0, side=120):
    return np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)


def encoded(image):
    return base64.b64encode(cv2.imencode(".png", image)[1].tobytes()).decode()


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.fixture
def served(store, registered):
    reference = registered(CLASSIFIER)
    store.client.set_registered_model_alias(CLASSIFIER, "champion", "1")
    return mlflow.pyfunc.load_model("models:/nt-classifier@champion"), registry.resolve(store, reference, CLASSIFIER)


def test_it_answers_as_the_classifier_does(served):
    model, reference = served
    image, box = frame(), "20,30,60,90"
    answers = model.predict([{"image": encoded(image)}, {"image": encoded(image), "box": box}])
    classifier = load_classifier(reference.folder, reference.digest)
    cut = classifier.meta["preprocessing"]
    crops = np.stack([cut_crop(image, None, cut), cut_crop(image, np.array([20.0, 30.0, 60.0, 90.0]), cut)])
    expected = classifier.probabilities(crops)
    np.testing.assert_allclose([answer["probability"] for answer in answers], expected, rtol=1e-6)
    assert expected[0] != expected[1]
    for answer in answers:
        assert answer["decision"] == int(answer["probability"] >= 0.5)
        assert answer["class_name"] == ["normal", "anomalous"][answer["decision"]]
        assert answer["model_sha256"] == reference.digest


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({}, "image 0: no field"),
        ({"image": "???"}, "not base64"),
        ({"image": base64.b64encode(b"no picture").decode()}, "not a PNG"),
        ({"image": ""}, "not a PNG"),
        ({"image": "IMAGE", "box": "1,2,3"}, "h_min,w_min,h_max,w_max"),
        ({"image": "IMAGE", "box": "1,2,3,x"}, "h_min,w_min,h_max,w_max"),
    ],
)
def test_a_bad_request_names_the_image_and_what_is_expected(served, row, told):
    row = {key: encoded(frame()) if value == "IMAGE" else value for key, value in row.items()}
    with pytest.raises(UserError, match=told):
        served[0].unwrap_python_model().predict(None, [row])


@pytest.mark.parametrize("file", [WEIGHTS, "artifacts/classifier/classifier.json", "code/mlproject/config.py"])
def test_a_flipped_bit_is_refused_at_load(registered, stored_files, file):
    reference = registered(CLASSIFIER)
    flip_a_bit(stored_files(reference) / file)
    with pytest.raises(IntegrityError, match=f"{file} was changed"):
        mlflow.pyfunc.load_model(reference)


def test_files_and_manifests_replaced_together_are_refused_at_load(registered, stored_files):
    reference = registered(CLASSIFIER)
    folder = stored_files(reference)
    flip_a_bit(folder / WEIGHTS)
    write_checksums((folder / WEIGHTS).parent)
    write_checksums(folder)
    with pytest.raises(IntegrityError, match="nt-classifier version 1: .* not the one that was registered"):
        mlflow.pyfunc.load_model(reference)


def test_a_registry_that_cannot_be_asked_is_no_pass_unless_a_digest_is_pinned(tmp_path, store, served, monkeypatch):
    _, reference = served
    folder = model_folder(reference.folder)
    digest = verify_checksums(folder)
    assert (folder / "registered_model_meta").is_file()
    store.client.delete_model_version(CLASSIFIER, "1")
    with pytest.raises(IntegrityError, match="cannot be asked"):
        verify_model(folder)
    monkeypatch.setenv("NT_EXPECTED_SHA256", digest)
    assert verify_model(folder) == digest
    monkeypatch.setenv("NT_EXPECTED_SHA256", "0" * 64)
    with pytest.raises(IntegrityError, match="expected 0000"):
        verify_model(folder)


def test_a_released_digest_beside_the_server_is_compared(tmp_path):
    path = tmp_path / "released.json"
    check_released(path, "run", "a" * 64, "label")  # nothing released here
    path.write_text(json.dumps({CLASSIFIER: [{"run_id": "run", "sha256": "b" * 64}]}))
    check_released(path, "run", "b" * 64, "label")
    check_released(path, "another", "a" * 64, "label")
    with pytest.raises(IntegrityError, match="label: .* not the one that was released"):
        check_released(path, "run", "a" * 64, "label")


def test_the_model_folder_names_no_path_of_this_machine(tmp_path, classifier_folder):
    folder = tmp_path / "model"
    digest = save_served_classifier(classifier_folder, folder)
    assert verify_checksums(folder, digest) == digest
    for path in folder.glob("*"):
        if path.is_file():
            assert str(tmp_path) not in path.read_text()
            assert str(Path(registry.__file__).parent) not in path.read_text()
    # the payload inside is the one that was trained
    assert verify_checksums(folder / "artifacts" / "classifier") == verify_checksums(classifier_folder)


ALONE = """
import sys, mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
import mlproject
print(mlproject.__file__)
print(model.predict([{"image": sys.argv[2]}])[0]["probability"])
"""


@pytest.mark.slow
def test_it_needs_no_checkout_and_leaves_its_folder_as_it_was(tmp_path, classifier_folder):
    folder = tmp_path / "model"
    digest = save_served_classifier(classifier_folder, folder)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", ALONE, str(folder), encoded(frame())],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[0] == str(folder / "code" / "mlproject" / "__init__.py")
        assert verify_checksums(folder, digest) == digest


class Server:
    """`mlflow models serve`, as a user types it, in the folder of the store."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        scripts = Path(sys.executable).parent
        command = [str(scripts / "mlflow"), "models", "serve", "-m", "models:/nt-classifier@champion"]
        command += ["--env-manager", "local", "--port", str(self.port), "--host", "127.0.0.1"]
        environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
        self.log = folder / "serve.log"
        with open(self.log, "w") as stream:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=stream, stderr=stream, start_new_session=True
            )

    def ask(self, path: str, content: dict | None = None) -> dict | None:
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text.strip() else None

    def wait(self, seconds: float = 120) -> bool:
        """Whether it answers; False as soon as it says that it did not start."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                self.ask("/ping")
                return True
            except (urllib.error.URLError, OSError):
                refused = (
                    "Application startup failed" in self.log.read_text() or "IntegrityError" in self.log.read_text()
                )
                if refused or self.process.poll() is not None:
                    return False
                time.sleep(0.5)
        raise AssertionError(f"no answer and no refusal: {self.log.read_text()[-2000:]}")

    def stop(self) -> None:
        # the session that this test started: the command and the workers it started in turn
        os.killpg(self.process.pid, 15)
        self.process.wait(timeout=60)


@pytest.mark.slow
def test_a_real_server_answers_and_refuses_a_changed_model(tmp_path, store, served, stored_files):
    model, reference = served
    server = Server(tmp_path)
    try:
        assert server.wait(), server.log.read_text()[-2000:]
        answer = server.ask("/invocations", {"inputs": [{"image": encoded(frame())}]})
        (prediction,) = answer["predictions"]
        expected = model.predict([{"image": encoded(frame())}])[0]
        assert prediction["probability"] == pytest.approx(expected["probability"], rel=1e-6)
        assert prediction["model_sha256"] == reference.digest
    finally:
        server.stop()
    folder = stored_files("models:/nt-classifier/1")
    flip_a_bit(folder / WEIGHTS)
    write_checksums((folder / WEIGHTS).parent)
    write_checksums(folder)
    server = Server(tmp_path)
    try:
        assert not server.wait()
        assert "not the one that was registered" in server.log.read_text()
    finally:
        server.stop()
