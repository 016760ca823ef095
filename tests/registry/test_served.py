"""The served classifier: the same answers as the loaded one, and none at all from files that were touched."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import cv2
import mlflow
import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from tampered import flip_a_bit

from mlproject import registry
from mlproject.checksums import verify_checksums, write_checksums
from mlproject.classifier.inference import load_classifier
from mlproject.data.crops import cut_crop
from mlproject.errors import IntegrityError
from mlproject.registry import CLASSIFIER
from mlproject.released import check_released, record_release
from mlproject.served_folder import model_folder, save_served_classifier, verify_model
from mlproject.served_requests import ImageToJudge

WEIGHTS = "artifacts/classifier/classifier.safetensors"


def frame(seed=0, side=120):
    return np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)


def encoded(image):
    return base64.b64encode(cv2.imencode(".png", image)[1].tobytes()).decode()


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
    np.testing.assert_allclose([answer.probability for answer in answers], expected, rtol=1e-6)
    assert expected[0] != expected[1]
    for answer in answers:
        assert answer.decision == int(answer.probability >= 0.5)
        assert answer.class_name == ["normal", "anomalous"][answer.decision]
        assert answer.model_sha256 == reference.digest


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"image": "???"}, "image 0: `image` is not base64"),
        ({"image": base64.b64encode(b"no picture").decode()}, "image 0: cannot be read as an image"),
        ({"image": ""}, "image 0: the file is empty"),
        ({"image": "IMAGE", "box": "1,2,3"}, "h_min,w_min,h_max,w_max"),
        ({"image": "IMAGE", "box": "1,2,3,x"}, "h_min,w_min,h_max,w_max"),
        ({"image": "IMAGE", "box": "9,9,9,20"}, "is empty"),
        ({"image": "IMAGE", "box": "0,0,500,20"}, "reaches out of the image, 120 high and 120 wide"),
        ({"image": "IMAGE", "box": "0,0,nan,20"}, "is empty or begins outside"),
    ],
)
def test_a_bad_request_names_the_image_and_what_is_expected(served, row, told):
    row = {key: encoded(frame()) if value == "IMAGE" else value for key, value in row.items()}
    with pytest.raises(MlflowException, match=told) as refused:
        served[0].unwrap_python_model().predict([ImageToJudge(**row)])
    assert refused.value.get_http_status_code() == 400


@pytest.mark.parametrize("row", [{}, {"picture": "x"}, {"image": 5}, {"image": None}])
def test_a_row_without_an_image_is_refused_before_the_model_sees_it(served, row):
    with pytest.raises(MlflowException, match="image"):
        served[0].predict([row])


def test_the_signature_says_what_a_request_holds(served):
    signature = served[0].metadata.signature
    # a crop comes as an encoded image or as pixels: either may be left out
    assert "image: string (optional)" in str(signature.inputs)
    assert "box: string (optional)" in str(signature.inputs)
    assert "probability: double (required)" in str(signature.outputs)


@pytest.mark.parametrize("file", [WEIGHTS, "artifacts/classifier/classifier.json", "code/mlproject/config/values.py"])
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
    with pytest.raises(IntegrityError, match="nt-classifier version 1: .* registered was"):
        mlflow.pyfunc.load_model(reference)


def test_a_registry_that_cannot_be_asked_is_no_pass_unless_a_digest_is_pinned(tmp_path, store, served, monkeypatch):
    _, reference = served
    folder = model_folder(reference.folder)
    digest = verify_checksums(folder)
    assert (folder / "registered_model_meta").is_file()
    store.client.delete_model_version(CLASSIFIER, "1")
    with pytest.raises(IntegrityError, match="does not answer"):
        verify_model(folder)
    monkeypatch.setenv("NT_EXPECTED_SHA256", digest)
    assert verify_model(folder) == digest
    monkeypatch.setenv("NT_EXPECTED_SHA256", "0" * 64)
    with pytest.raises(IntegrityError, match="expected 0000"):
        verify_model(folder)


def test_a_released_digest_is_compared(store):
    def check(run_id, digest):
        check_released(CLASSIFIER, "1", run_id, digest)

    check("run", "a" * 64)  # nothing is released yet
    record_release(CLASSIFIER, "1", "run", "b" * 64, "c" * 64)
    check("run", "b" * 64)
    check("another", "a" * 64)
    with pytest.raises(IntegrityError, match="nt-classifier version 1: .* was released"):
        check("run", "a" * 64)


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
print(model.predict([{"image": sys.argv[2]}])[0].probability)
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
