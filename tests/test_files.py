"""Files and folders appear whole or not at all."""

import json

import pytest

from mlproject.errors import UserError
from mlproject.files import atomic_folder, atomic_write_bytes, atomic_write_json, sweep_unfinished


def test_content_is_replaced_whole(tmp_path) -> None:
    path = tmp_path / "deep" / "value.json"
    atomic_write_json(path, {"a": 1})
    atomic_write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 2}
    assert [p.name for p in path.parent.iterdir()] == ["value.json"]


def test_a_value_json_cannot_hold_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "value.json"
    atomic_write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        atomic_write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}


def test_a_file_in_the_way_is_a_user_error(tmp_path) -> None:
    (tmp_path / "taken").write_text("a file where a folder is needed")
    with pytest.raises(UserError, match="cannot write"):
        atomic_write_bytes(tmp_path / "taken" / "x.bin", b"1")
    with pytest.raises(UserError, match="cannot write"), atomic_folder(tmp_path / "taken" / "x"):
        pass


def test_a_folder_appears_when_its_block_ends_well(tmp_path) -> None:
    with atomic_folder(tmp_path / "set") as folder:
        (folder / "one").write_text("1")
        assert not (tmp_path / "set").exists()
    assert [p.name for p in (tmp_path / "set").iterdir()] == ["one"]


def test_a_failed_block_leaves_the_old_folder_and_no_rest(tmp_path) -> None:
    with atomic_folder(tmp_path / "set") as folder:
        (folder / "old").write_text("1")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "set") as folder:
        (folder / "new").write_text("2")
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["set"]
    assert [p.name for p in (tmp_path / "set").iterdir()] == ["old"]


def test_a_finished_block_replaces_the_old_folder(tmp_path) -> None:
    for name in ("old", "new"):
        with atomic_folder(tmp_path / "set") as folder:
            (folder / name).write_text("1")
    assert [p.name for p in (tmp_path / "set").iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_what_a_kill_left_is_swept_and_nothing_else(tmp_path) -> None:
    (tmp_path / ".set.0123abcd.unfinished").mkdir()
    (tmp_path / ".file.0123abcd.unfinished").write_text("torn")
    (tmp_path / "kept").mkdir()
    sweep_unfinished(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
