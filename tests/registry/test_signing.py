"""Signed releases: what was signed loads under the public key, and nothing else does."""

import subprocess
import sys

import mlflow
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from tampered import flip_a_bit

from mlproject import promotion, registry, signing, stages
from mlproject.checksums import write_checksums
from mlproject.config import load_config
from mlproject.errors import IntegrityError, UserError
from mlproject.registry import CLASSIFIER, GENERATOR
from mlproject.served_folder import PAYLOAD
from mlproject.signing import Signer, check_signature, signature_in_registry

pytest.importorskip("model_signing", reason="the extra [sign]")

WEIGHTS = {GENERATOR: "generator.safetensors", CLASSIFIER: f"{PAYLOAD}/classifier.safetensors"}


def write_keys(folder, name, private=None, password=b""):
    """A pair of keys, made here and kept nowhere; returns the paths of the private and the public one."""
    private = private or ec.generate_private_key(ec.SECP256R1())
    locked = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    paths = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    paths[0].write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
    paths[1].write_bytes(
        private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return str(paths[0]), str(paths[1])


@pytest.fixture
def keys(tmp_path):
    return write_keys(tmp_path, "ours")


@pytest.fixture
def shelf(tmp_path):
    return tmp_path / "shelf"


def replace_weights(store, reference, folder, name):
    """Other weights, with manifests and tags to match: what every digest of the store then says is right."""
    flip_a_bit(folder / WEIGHTS[name])
    payload = folder / PAYLOAD if name == CLASSIFIER else folder
    tags = {"payload_sha256": write_checksums(payload), "sha256": write_checksums(folder)}
    for key, value in tags.items():
        store.client.set_model_version_tag(name, reference.split("/")[-1], key, value)


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_signed_release_loads_and_a_replaced_one_does_not(store, registered, stored_files, shelf, keys, released_json,
                                                            name):  # fmt: skip
    reference = registered(name)
    promotion.release(store, name, "1", shelf, keys[0])
    model = registry.resolve(store, reference, name, keys[1])
    assert registry.resolve(store, str(shelf / f"{name}-1"), name, keys[1]).digest == model.digest
    assert [verdict.problem for verdict in registry.verify_all(store, keys[1])] == [""]
    # the attacker rewrites the store, and strikes the release from the list of digests
    replace_weights(store, reference, stored_files(reference), name)
    released_json.write_text("{}")
    for signature in (released_json.parent / "signatures").iterdir():
        digest = store.client.get_model_version(name, "1").tags["sha256"]
        signature.rename(signature_in_registry(released_json.parent, name, digest))
    assert registry.resolve(store, reference, name).version == "1", "no digest finds it"
    with pytest.raises(IntegrityError, match=r"version 1: .*safetensors.* changed\); nothing") as refused:
        registry.resolve(store, reference, name, keys[1])
    assert "\n" not in str(refused.value)
    assert "safetensors" in registry.verify_all(store, keys[1])[0].problem


def test_an_unsigned_model_is_refused_only_where_a_key_is_configured(store, registered, keys):
    reference = registered(GENERATOR)
    model = registry.resolve(store, reference, GENERATOR)
    for asked in (reference, f"runs:/{model.run_id}", str(model.folder)):
        with pytest.raises(IntegrityError, match="has no signature, and a public key is configured"):
            registry.resolve(store, asked, GENERATOR, keys[1])
    with pytest.raises(IntegrityError, match="nt-gan version 1: .*has no signature"):
        promotion.promote(store, GENERATOR, "1", "champion", keys[1])


def test_another_s_signature_and_a_damaged_one_are_refused(store, registered, shelf, keys, tmp_path):
    _, others = write_keys(tmp_path, "theirs")
    folder = promotion.release(store, GENERATOR, registered(GENERATOR)[-1], shelf, keys[0])
    check_signature(folder, keys[1])
    with pytest.raises(IntegrityError, match="nt-gan-1.sig is no signature of it by the key of .*theirs.pub.pem"):
        check_signature(folder, others)
    signature = shelf / "nt-gan-1.sig"
    whole = signature.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole.replace(b'"sig"', b'"gis"')):
        signature.write_bytes(damaged)
        with pytest.raises(IntegrityError, match="is no signature of it"):
            check_signature(folder, keys[1])


@pytest.mark.parametrize("added", ["notes.txt", ".gitignore", ".git/config"])
def test_an_added_file_is_not_covered(generator_folder, keys, added):
    Signer(keys[0]).sign(generator_folder, generator_folder.with_name("generator.sig"))
    (generator_folder / "registered_model_meta").write_text("written by the registry into what it hands out")
    check_signature(generator_folder, keys[1])
    (generator_folder / added).parent.mkdir(exist_ok=True)
    (generator_folder / added).write_text("planted")
    with pytest.raises(IntegrityError, match="Extra files"):
        check_signature(generator_folder, keys[1])


def test_a_server_asks_for_the_signature_too(store, registered, shelf, keys, monkeypatch):
    reference = registered(CLASSIFIER)
    monkeypatch.setenv("NT_PUBLIC_KEY", keys[1])
    with pytest.raises(IntegrityError, match="has no signature"):
        mlflow.pyfunc.load_model(reference)
    promotion.release(store, CLASSIFIER, "1", shelf, keys[0])
    assert mlflow.pyfunc.load_model(reference) is not None


def test_an_encrypted_key_is_opened_by_its_password(generator_folder, tmp_path, monkeypatch):
    private, public = write_keys(tmp_path, "locked", password=b"open sesame")
    with pytest.raises(UserError, match=r"signing key .*locked.pem: cannot be used"):
        Signer(private)
    monkeypatch.setenv("NT_SIGNING_PASSWORD", "open sesame")
    Signer(private).sign(generator_folder, tmp_path / "generator.sig")
    check_signature(generator_folder, public)


def test_a_key_that_cannot_sign_stops_a_release_before_it_writes(store, registered, shelf, tmp_path):
    registered(GENERATOR)
    wrong, wrong_public = write_keys(tmp_path, "wrong", ed25519.Ed25519PrivateKey.generate())
    (tmp_path / "text.pem").write_text("no key")
    for key in (str(tmp_path / "gone.pem"), str(tmp_path / "text.pem"), wrong):
        with pytest.raises(UserError, match=r"signing key .*\.pem: cannot be used .*P-256, P-384 or P-521") as refused:
            promotion.release(store, GENERATOR, "1", shelf, key)
        assert "\n" not in str(refused.value)
    assert not shelf.exists()
    with pytest.raises(UserError, match="public key .*wrong.pub.pem: cannot be used"):
        registry.resolve(store, "models:/nt-gan/1", GENERATOR, wrong_public)


def test_commands_that_train_what_they_use_refuse_a_key_before_any_work(store, keys):
    config = load_config(None, {"run.public_key": keys[1]})
    for stage in signing.TRAIN_WHAT_THEY_USE:
        with pytest.raises(UserError, match=f"run.public_key: {stage} uses models"), stages.entry_run(config, stage):
            pytest.fail("it began")
    assert store.client.search_runs([store.experiment_id]) == []


def test_without_the_library_a_configured_key_is_no_pass(generator_folder, keys, monkeypatch):
    monkeypatch.setitem(sys.modules, "model_signing", None)
    for act in (lambda: Signer(keys[0]), lambda: check_signature(generator_folder, keys[1])):
        with pytest.raises(UserError, match=r"signatures need model-signing .*\[sign\]"):
            act()
    check_signature(generator_folder, "")


@pytest.mark.slow
def test_others_verify_what_was_published_with_the_library_alone(store, registered, shelf, keys):
    registered(GENERATOR)
    promotion.release(store, GENERATOR, "1", shelf, keys[0])
    command = [sys.executable, "-m", "model_signing", "verify", "key", "nt-gan-1"]
    command += ["--signature", "nt-gan-1.sig", "--public_key", keys[1]]
    assert subprocess.run(command, cwd=shelf, capture_output=True, text=True).returncode == 0
    flip_a_bit(shelf / "nt-gan-1" / "generator.safetensors")
    assert subprocess.run(command, cwd=shelf, capture_output=True, text=True).returncode != 0
