"""Stored models that are not what was registered: found by verify_models, refused by every load."""

import base64
import json

import pytest
from model_server import Server
from tampered import flip_a_bit

from mlproject.checksums import write_checksums

WEIGHTS = {"nt-gan": "generator.safetensors", "nt-classifier": "artifacts/classifier/classifier.safetensors"}


def loads(workshop, name: str) -> dict[str, tuple[str, ...]]:
    """Every entry point that loads this model."""
    data = ("--data", str(workshop.folder / "set"))
    if name == "nt-classifier":
        return {"eval_classifier": ("--classifier", "models:/nt-classifier/1", *data)}
    return {
        "generate_synthetic": ("--generator", "models:/nt-gan@champion"),
        "train_classifier": ("--mix", "hybrid", *data),
    }


def assert_refused_everywhere(workshop, name: str, *told: str) -> None:
    verified = workshop.run("verify_models")
    assert verified.code == 1
    for text in (name, "version 1", *told):
        assert text in verified.err, verified.err
    before = {name: len(workshop.client.search_model_versions(f"name = '{name}'")) for name in WEIGHTS}
    for entry_point, options in loads(workshop, name).items():
        done = workshop.run(entry_point, *options)
        assert done.code == 2, done.out
        assert f"{name} version 1" in done.err, done.err
    assert before == {name: len(workshop.client.search_model_versions(f"name = '{name}'")) for name in WEIGHTS}


def test_untouched_models_verify_and_load(finished_workshop):
    verified = finished_workshop.run("verify_models")
    assert verified.code == 0, verified.err
    assert "2 versions, 0 that do not verify" in verified.out
    assert finished_workshop.run("eval_classifier", "--data", str(finished_workshop.folder / "set")).code == 0
    # loading ran code from inside the model folder and left nothing there
    assert finished_workshop.run("verify_models").code == 0


@pytest.mark.parametrize("name", WEIGHTS)
def test_one_flipped_byte_is_found_and_refused(pristine, name):
    flip_a_bit(pristine.model_folder(name) / WEIGHTS[name])
    assert_refused_everywhere(pristine, name, WEIGHTS[name], "was changed")


def test_a_file_that_is_added_or_gone_is_named(pristine):
    folder = pristine.model_folder("nt-gan")
    (folder / "notes.txt").write_text("hello")
    assert_refused_everywhere(pristine, "nt-gan", "notes.txt is not in checksums.json")
    (folder / "notes.txt").unlink()
    (folder / "generator.safetensors").unlink()
    assert_refused_everywhere(pristine, "nt-gan", "generator.safetensors is missing")


def test_a_missing_manifest_or_tag_is_no_pass(pristine):
    manifest = pristine.model_folder("nt-gan") / "checksums.json"
    content = manifest.read_text()
    manifest.unlink()
    assert_refused_everywhere(pristine, "nt-gan", "no checksums.json")
    manifest.write_text(content)
    assert pristine.run("verify_models").code == 0
    pristine.client.delete_model_version_tag("nt-gan", "1", "sha256")
    assert_refused_everywhere(pristine, "nt-gan", "carries no sha256 tag")


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_replaced_together_with_the_manifest_are_refused(pristine, name):
    folder = pristine.model_folder(name)
    flip_a_bit(folder / WEIGHTS[name])
    if name == "nt-classifier":
        write_checksums(folder / "artifacts" / "classifier")
    write_checksums(folder)
    assert_refused_everywhere(pristine, name, "expected")


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_manifest_and_tags_of_a_released_version_replaced_are_refused(pristine, name):
    """The committed digest stands outside the store: whoever rewrites all of the store is still found."""
    pristine.succeed("release", "--name", name, "--version", "1", "--out", str(pristine.folder / "shelf"))
    folder = pristine.model_folder(name)
    flip_a_bit(folder / WEIGHTS[name])
    payload = folder / "artifacts" / "classifier" if name == "nt-classifier" else folder
    tags = {"payload_sha256": write_checksums(payload), "sha256": write_checksums(folder)}
    for key, value in tags.items():
        pristine.client.set_model_version_tag(name, "1", key, value)
    assert_refused_everywhere(pristine, name, "was released")


def test_release_writes_weights_and_digest(pristine):
    shelf = pristine.folder / "shelf"
    out = pristine.succeed("release", "--name", "nt-gan", "--version", "1", "--out", str(shelf))
    version = pristine.client.get_model_version("nt-gan", "1")
    assert {path.name for path in shelf.iterdir()} == {"nt-gan-1", "nt-gan-1.txt"}
    weights = shelf / "nt-gan-1" / "generator.safetensors"
    assert weights.read_bytes() == (pristine.model_folder("nt-gan") / "generator.safetensors").read_bytes()
    entry = json.loads((pristine.folder / "registry" / "released.json").read_text())["nt-gan"][version.run_id]
    assert entry == {
        "version": "1",
        "sha256": version.tags["sha256"],
        "payload_sha256": version.tags["payload_sha256"],
    }
    assert version.tags["sha256"] in out
    assert "FAIL  privacy audit: audit is missing" in out
    # and what was released serves as a generator
    assert pristine.run("generate_synthetic", "--generator", str(shelf / "nt-gan-1")).code == 0


def test_a_damaged_version_is_not_released(pristine):
    flip_a_bit(pristine.model_folder("nt-gan") / "generator.safetensors")
    done = pristine.run("release", "--name", "nt-gan", "--version", "1", "--out", str(pristine.folder / "shelf"))
    assert done.code == 2
    assert not (pristine.folder / "shelf").exists()
    assert json.loads((pristine.folder / "registry" / "released.json").read_text()) == {}


def test_two_released_versions_and_an_unreadable_list(pristine):
    for name in WEIGHTS:
        pristine.succeed("release", "--name", name, "--version", "1", "--out", str(pristine.folder / "shelf"))
    released = pristine.folder / "registry" / "released.json"
    assert set(json.loads(released.read_text())) == set(WEIGHTS)
    assert pristine.run("verify_models").code == 0
    released.write_text("{")
    assert_refused_everywhere(pristine, "nt-gan", "released.json")


@pytest.mark.slow
def test_the_server_answers_and_refuses_after_a_flipped_byte(pristine, tmp_path):
    image = base64.b64encode((pristine.folder / "pictures/normal/N0_0.png").read_bytes()).decode()
    server = Server(pristine, tmp_path / "first.log")
    try:
        assert server.wait(), server.log.read_text()[-3000:]
        status, answer = server.ask({"inputs": [{"image": image}, {"image": image, "box": "4,4,40,40"}]})
        assert status == 200, answer
        assert len(answer["predictions"]) == 2
        first = answer["predictions"][0]
        assert 0 <= first["probability"] <= 1
        assert first["class_name"] == ("normal", "anomalous")[first["decision"]]
        version = pristine.client.get_model_version("nt-classifier", "1")
        assert first["model_sha256"] == version.tags["payload_sha256"]
        for request, told in {
            "nothing in base64": "image 0: `image` is not base64",
            base64.b64encode(b"no picture").decode(): "image 0: cannot be read as an image",
        }.items():
            status, answer = server.ask({"inputs": [{"image": request}]})
            assert status == 400
            assert told in json.dumps(answer)
        status, answer = server.ask({"inputs": [{"picture": image}]})
        assert status == 400
        assert "image" in json.dumps(answer)
    finally:
        server.stop()

    flip_a_bit(pristine.model_folder("nt-classifier") / WEIGHTS["nt-classifier"])
    server = Server(pristine, tmp_path / "second.log")
    try:
        assert not server.wait(), "a changed model is served"
        assert "classifier.safetensors was changed" in server.log.read_text()
    finally:
        server.stop()


@pytest.mark.slow
def test_the_server_refuses_a_released_version_whose_weights_and_manifests_were_replaced(pristine, tmp_path):
    pristine.succeed("release", "--name", "nt-classifier", "--version", "1", "--out", str(pristine.folder / "shelf"))
    folder = pristine.model_folder("nt-classifier")
    flip_a_bit(folder / WEIGHTS["nt-classifier"])
    tags = {"payload_sha256": write_checksums(folder / "artifacts" / "classifier"), "sha256": write_checksums(folder)}
    for key, value in tags.items():
        pristine.client.set_model_version_tag("nt-classifier", "1", key, value)
    server = Server(pristine, tmp_path / "replaced.log")
    try:
        assert not server.wait(), "a replaced model is served"
        assert "was released" in server.log.read_text()
    finally:
        server.stop()
