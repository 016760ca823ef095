"""The registry hands out nothing that is not, byte for byte, what was registered."""

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy
import sqlalchemy.orm
from tampered import flip_a_bit

from mlproject import registry
from mlproject.checksums import write_checksums
from mlproject.config import load_config
from mlproject.errors import IntegrityError, UserError
from mlproject.registry import CLASSIFIER, GENERATOR
from mlproject.released import record_release
from mlproject.tracking import entry_run

NAMES = [GENERATOR, CLASSIFIER]
WEIGHTS = {GENERATOR: "generator.safetensors", CLASSIFIER: "artifacts/classifier/classifier.safetensors"}


@pytest.mark.parametrize("name", NAMES)
def test_a_version_carries_its_digests_and_is_found_by_every_kind_of_reference(store, registered, name):
    reference = registered(name)
    model = registry.resolve(store, reference, name)
    version = store.client.get_model_version(name, model.version)
    assert version.tags["payload_sha256"] == model.digest
    assert version.tags["data_kind"] == "phantom_not_clinical"
    assert {"git_commit", "git_dirty", "data_digest", "seed"} <= version.tags.keys()
    assert registry.resolve(store, f"runs:/{model.run_id}", name) == model
    store.client.set_registered_model_alias(name, "best", model.version)
    assert registry.resolve(store, f"models:/{name}@best", name) == model
    assert registry.resolve(store, str(model.folder), name).digest == model.digest
    # the same tags on the model that the UI lists beside the run
    (logged,) = store.client.search_logged_models([store.experiment_id])
    assert logged.status == "READY"
    assert logged.source_run_id == model.run_id
    assert logged.tags["sha256"] == version.tags["sha256"]
    assert version.source == f"models:/{logged.model_id}"


@pytest.mark.parametrize("name", NAMES)
def test_no_pickle_is_stored(registered, stored_files, name):
    suffixes = {path.suffix for path in stored_files(registered(name)).rglob("*") if path.is_file()}
    assert not suffixes & {".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib"}


@pytest.mark.parametrize("name", NAMES)
def test_one_flipped_bit_is_refused_with_model_version_and_file(store, registered, stored_files, name):
    good, bad = registered(name), registered(name)
    flip_a_bit(stored_files(bad) / WEIGHTS[name])
    with pytest.raises(IntegrityError, match=rf"{name} version 2: .*{WEIGHTS[name]} was changed"):
        registry.resolve(store, bad, name)
    rows = registry.verify_all(store)
    assert [(row.name, row.version, bool(row.problem)) for row in rows] == [(name, "1", False), (name, "2", True)]
    assert WEIGHTS[name] in rows[1].problem
    assert registry.resolve(store, good, name).version == "1"


@pytest.mark.parametrize("name", NAMES)
def test_weights_and_manifest_replaced_together_are_refused_by_the_version_s_tag(store, registered, stored_files, name):
    reference = registered(name)
    folder = stored_files(reference)
    flip_a_bit(folder / WEIGHTS[name])
    payload = (folder / WEIGHTS[name]).parent
    write_checksums(payload)
    write_checksums(folder)
    with pytest.raises(IntegrityError, match=rf"{name} version 1: .*not the files that were registered"):
        registry.resolve(store, reference, name)


def test_a_released_version_is_held_to_the_committed_digest_even_when_its_tags_are_replaced(
    store, registered, stored_files
):
    reference = registered(GENERATOR)
    model = registry.resolve(store, reference, GENERATOR)
    record_release(GENERATOR, "1", model.run_id, model.digest, model.digest)
    assert registry.resolve(store, reference, GENERATOR) == model
    folder = stored_files(reference)
    flip_a_bit(folder / WEIGHTS[GENERATOR])
    changed = write_checksums(folder)
    for tag in ("sha256", "payload_sha256"):
        store.client.set_model_version_tag(GENERATOR, "1", tag, changed)
    with pytest.raises(IntegrityError, match="nt-gan version 1: .*was released"):
        registry.resolve(store, reference, GENERATOR)
    # another run's version of this store is not meant
    assert registry.resolve(store, registered(GENERATOR), GENERATOR).version == "2"
    # and what was released stays what was released
    with pytest.raises(IntegrityError, match="was released as"):
        record_release(GENERATOR, "1", model.run_id, changed, changed)


def test_a_project_that_is_named_and_absent_is_no_pass(store, registered, monkeypatch, tmp_path):
    reference = registered(GENERATOR)
    monkeypatch.setenv("NT_PROJECT_ROOT", str(tmp_path / "elsewhere"))
    with pytest.raises(IntegrityError, match="nt-gan version 1: .*does not exist"):
        registry.resolve(store, reference, GENERATOR)


@pytest.mark.parametrize("content", ["[]", "{", '{"nt-gan": [{"sha256": "x"}]}', '{"nt-gan": {"1": "x"}}'])
def test_an_unreadable_list_of_released_digests_is_no_pass(store, registered, released_json, content):
    reference = registered(GENERATOR)
    released_json.write_text(content)
    with pytest.raises(IntegrityError, match="released digests"):
        registry.resolve(store, reference, GENERATOR)


@pytest.mark.parametrize("tag", [None, "", "abc", "A" * 64])
def test_a_version_without_a_digest_is_not_loaded(store, registered, tag):
    reference = registered(GENERATOR)
    if tag is None:
        store.client.delete_model_version_tag(GENERATOR, "1", "sha256")
    else:
        store.client.set_model_version_tag(GENERATOR, "1", "sha256", tag)
    with pytest.raises(IntegrityError, match="carries no sha256 tag"):
        registry.resolve(store, reference, GENERATOR)
    assert registry.verify_all(store)[0].problem


@pytest.mark.parametrize("damage", ["manifest", "weights", "extra", "folder"])
def test_missing_and_added_files_are_refused(store, registered, stored_files, damage):
    reference = registered(GENERATOR)
    folder = stored_files(reference)
    if damage == "manifest":
        (folder / "checksums.json").unlink()
    elif damage == "weights":
        (folder / WEIGHTS[GENERATOR]).unlink()
    elif damage == "extra":
        (folder / "extra").write_text("")
    else:
        folder.rename(folder.with_name("moved"))
    with pytest.raises(IntegrityError, match="nt-gan version 1"):
        registry.resolve(store, reference, GENERATOR)


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("models:/nt-gan@champion", "no such version.*train_gan"),
        ("models:/nt-gan/7", "no such version"),
        ("models:/nt-gan/latest", "expected models:/"),
        ("models:/nt-classifier/1", "expected a version of nt-gan"),
        ("runs:/" + "0" * 32, "no such run"),
        ("nowhere", "does not exist"),
        ("weights.pth", "pickle"),
    ],
)
def test_a_reference_to_nothing_says_what_to_do(store, reference, told):
    with pytest.raises(UserError, match=told):
        registry.resolve(store, reference, GENERATOR)


def test_a_run_of_another_model_is_refused(store, registered):
    run_id = registry.resolve(store, registered(GENERATOR), GENERATOR).run_id
    with pytest.raises(UserError, match="registered no nt-classifier"):
        registry.resolve(store, f"runs:/{run_id}", CLASSIFIER)


def test_an_alias_moves_to_a_better_classifier_only(store, registered):
    def alias(name):
        return str(store.client.get_model_version_by_alias(CLASSIFIER, name).version)

    def add(auc, mix, **tags):
        version = registered(CLASSIFIER, {"val.auc": auc}, mix=mix, **tags).rsplit("/", 1)[1]
        return registry.update_mix_aliases(store, version, mix)

    assert add(0.8, "real") == ["real", "champion"]
    assert add(0.7, "hybrid") == ["hybrid"]  # the first of its mix, but no champion
    assert add(0.8, "real") == []  # as good is not better
    assert add(0.9, "hybrid") == ["hybrid", "champion"]
    assert (alias("real"), alias("hybrid"), alias("champion")) == ("1", "4", "4")
    # scores on another data set do not compare
    assert add(0.6, "real", data_digest="e" * 64) == ["real", "champion"]


def test_an_alias_moves_though_another_process_makes_it_in_the_same_moment(store, registered):
    """MLflow has looked and found none when the other inserts it: its own insert then meets a row that is there."""
    first, second = (registered(CLASSIFIER, mix="none").rsplit("/", 1)[1] for _ in range(2))
    others = []

    def another_inserts(session, *_):
        if not others and any(type(row).__name__ == "SqlRegisteredModelAlias" for row in session.new):
            row = ("default", CLASSIFIER, "raced", first)
            with contextlib.closing(sqlite3.connect(store.uri.removeprefix("sqlite:///"))) as database, database:
                database.execute(
                    "INSERT INTO registered_model_aliases (workspace, name, alias, version) VALUES (?, ?, ?, ?)", row
                )
            others.append(row)

    sqlalchemy.event.listen(sqlalchemy.orm.Session, "before_flush", another_inserts)
    try:
        registry.set_alias(store, CLASSIFIER, "raced", second)
    finally:
        sqlalchemy.event.remove(sqlalchemy.orm.Session, "before_flush", another_inserts)
    assert others, "the other process was never there"
    assert str(store.client.get_model_version_by_alias(CLASSIFIER, "raced").version) == second


def test_a_damaged_folder_is_not_registered(store, generator_folder):
    flip_a_bit(generator_folder / WEIGHTS[GENERATOR])
    with pytest.raises(IntegrityError), entry_run(store, "train_gan", load_config()) as run:
        registry.register(run, generator_folder, GENERATOR, {})
    assert registry.verify_all(store) == []


RACER = """
import sys
from pathlib import Path
from mlproject import registry, tracking
from mlproject.config import load_config
store = tracking.open_store("desk")
with tracking.entry_run(store, "train_gan", load_config()) as run:
    print("ready", flush=True)
    sys.stdin.readline()
    print(registry.register(run, Path(sys.argv[1]), "nt-gan", {"seed": "0"}), flush=True)
"""


@pytest.mark.slow
def test_processes_that_register_the_first_version_at_once_all_succeed(store, generator_folder):
    source = str(Path(registry.__file__).parents[1])
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(generator_folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": source, "MLFLOW_TRACKING_URI": store.uri},
        )
        for _ in range(3)
    ]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    printed = sorted(racer.communicate(timeout=120)[0].strip() for racer in racers)
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    assert printed == ["1", "2", "3"]
    assert [verdict.problem for verdict in registry.verify_all(store)] == ["", "", ""]
