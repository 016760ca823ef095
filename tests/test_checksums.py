"""Checksums: whatever happens to a folder after its manifest was written is found and named."""

import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlproject.checksums import MANIFEST_NAME, digest_of, file_sha256, is_digest, verify_checksums, write_checksums
from mlproject.errors import IntegrityError

# SHA-256 of "abc": the first example of FIPS 180-2, appendix B.1
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def folder_of(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return path


@pytest.fixture
def model(tmp_path):
    return folder_of(tmp_path / "model", {"weights.safetensors": b"abc", "code/a.py": b"x = 1\n", "empty": b""})


def test_the_digest_of_a_file_is_the_standard_one(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert file_sha256(tmp_path / "f") == ABC


def test_the_digest_of_a_folder_is_that_of_the_canonical_json_of_its_files(model):
    digest = write_checksums(model)
    files = json.loads((model / MANIFEST_NAME).read_text())["files"]
    assert set(files) == {"weights.safetensors", "code/a.py", "empty"}
    assert files["weights.safetensors"] == ABC
    by_hand = "{" + ",".join(f'"{name}":"{files[name]}"' for name in sorted(files)) + "}"
    assert digest == hashlib.sha256(by_hand.encode()).hexdigest() == digest_of(files)
    assert verify_checksums(model) == digest
    assert verify_checksums(model, digest) == digest


def test_writing_again_changes_nothing(model):
    assert write_checksums(model) == write_checksums(model)


def test_the_digest_depends_on_names_and_content_not_on_the_place(tmp_path, model):
    twin = folder_of(tmp_path / "elsewhere", {"code/a.py": b"x = 1\n", "empty": b"", "weights.safetensors": b"abc"})
    assert write_checksums(twin) == write_checksums(model)
    renamed = folder_of(tmp_path / "renamed", {"code/b.py": b"x = 1\n", "empty": b"", "weights.safetensors": b"abc"})
    assert write_checksums(renamed) != write_checksums(model)


def test_what_the_registry_writes_into_the_folder_is_left_out(model):
    digest = write_checksums(model)
    (model / "registered_model_meta").write_text("model_name: nt-gan\n")
    assert verify_checksums(model) == digest
    # only at the top, where the registry puts it
    (model / "code" / "registered_model_meta").write_text("x")
    with pytest.raises(IntegrityError, match="code/registered_model_meta is not in"):
        verify_checksums(model)


names = st.from_regex(r"[a-z]{1,6}(/[a-z]{1,6})?\.bin", fullmatch=True)
contents = st.dictionaries(names, st.binary(min_size=1, max_size=40), min_size=1, max_size=4)


@given(files=contents, data=st.data())
def test_any_change_is_found_and_the_file_named(tmp_path_factory, files, data):
    folder = folder_of(tmp_path_factory.mktemp("model"), files)
    digest = write_checksums(folder)
    assert verify_checksums(folder, digest) == digest
    name = data.draw(st.sampled_from(sorted(files)))
    path = folder / name
    change = data.draw(st.sampled_from(["flip", "remove", "add", "rename", "truncate", "append"]))
    if change == "flip":
        position = data.draw(st.integers(0, len(files[name]) - 1))
        bit = data.draw(st.integers(0, 7))
        content = bytearray(files[name])
        content[position] ^= 1 << bit
        path.write_bytes(bytes(content))
    elif change == "remove":
        path.unlink()
    elif change == "add":
        name = f"{name}.extra"
        (folder / name).write_bytes(b"")
    elif change == "rename":
        path.rename(path.with_suffix(".moved"))
    elif change == "truncate":
        path.write_bytes(files[name][:-1])
    else:
        path.write_bytes(files[name] + b"\0")
    with pytest.raises(IntegrityError) as caught:
        verify_checksums(folder)
    assert name in str(caught.value)


def test_weights_and_manifest_replaced_together_are_found_by_the_expected_digest(model):
    digest = write_checksums(model)
    (model / "weights.safetensors").write_bytes(b"abd")
    other = write_checksums(model)
    assert verify_checksums(model) == other  # consistent in itself
    with pytest.raises(IntegrityError, match=f"{other[:16]}.*expected {digest[:16]}"):
        verify_checksums(model, digest)


def test_no_manifest_is_an_error(model):
    with pytest.raises(IntegrityError, match="no checksums.json"):
        verify_checksums(model)
    with pytest.raises(IntegrityError, match="no such folder"):
        verify_checksums(model / "nowhere")


@pytest.mark.parametrize("link", ["file", "folder", "manifest"])
def test_symbolic_links_are_refused(tmp_path, model, link):
    write_checksums(model)
    outside = tmp_path / "outside"
    outside.mkdir()
    if link == "file":
        (outside / "w").write_bytes(b"abc")
        (model / "weights.safetensors").unlink()
        (model / "weights.safetensors").symlink_to(outside / "w")  # the same content, today
    elif link == "folder":
        (model / "linked").symlink_to(outside, target_is_directory=True)
    else:
        (model / MANIFEST_NAME).rename(outside / "manifest")
        (model / MANIFEST_NAME).symlink_to(outside / "manifest")
    with pytest.raises(IntegrityError):
        verify_checksums(model)
    if link != "manifest":
        with pytest.raises(IntegrityError, match="symbolic link"):
            write_checksums(model)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_refused_and_not_waited_for(model):
    write_checksums(model)
    os.mkfifo(model / "pipe")
    with pytest.raises(IntegrityError, match="pipe is not a regular file"):
        verify_checksums(model)


@pytest.mark.parametrize(
    "name",
    ["../outside", "/etc/passwd", "a/../../b", "a/../b", "./a", "a//b", "", ".", "..", "a\\b", "C:/x", MANIFEST_NAME],
)
def test_a_manifest_path_outside_the_folder_or_not_normalised_is_refused(model, name):
    (model.parent / "outside").write_bytes(b"abc")
    (model / MANIFEST_NAME).write_text(json.dumps({"algorithm": "sha256", "files": {name: ABC}}))
    with pytest.raises(IntegrityError, match="not a relative path inside the folder"):
        verify_checksums(model)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"algorithm": "sha256", "files": {}}',
        '{"algorithm": "md5", "files": {"a": "' + ABC + '"}}',
        '{"algorithm": "sha256", "files": {"a": "' + ABC.upper() + '"}}',
        '{"algorithm": "sha256", "files": {"a": null}}',
        '{"algorithm": "sha256", "files": {"a": "' + ABC + '", "a": "' + ABC + '"}}',
    ],
)
def test_a_malformed_manifest_is_an_error(model, text):
    (model / MANIFEST_NAME).write_text(text)
    with pytest.raises(IntegrityError):
        verify_checksums(model)


def test_many_problems_are_told_in_one_short_line(model):
    write_checksums(model)
    for number in range(20):
        (model / f"extra{number:02}").write_bytes(b"")
    with pytest.raises(IntegrityError) as caught:
        verify_checksums(model)
    assert "\n" not in str(caught.value)
    assert "and 15 more" in str(caught.value)


def test_an_empty_folder_has_no_digest(tmp_path):
    with pytest.raises(IntegrityError, match="no files"):
        write_checksums(tmp_path)


@pytest.mark.parametrize(("text", "good"), [(ABC, True), (ABC[:-1], False), (ABC.upper(), False), (None, False)])
def test_what_is_a_digest(text, good):
    assert is_digest(text) is good
