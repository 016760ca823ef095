"""The database of a search: which ones are taken, and locks that end with the process holding them."""

import subprocess
import sys
from pathlib import Path

import pytest

from mlproject.config import PROJECT_ROOT, load_config
from mlproject.errors import UserError
from mlproject.plain_text import without_password
from mlproject.tuning.database import Locks, engine_arguments, parsed


@pytest.mark.parametrize("url", ["", "optuna.db", "sqlite://", "sqlite:///:memory:", "mysql://me@host/db", "postgres"])
def test_another_database_is_refused_with_what_is_expected(url) -> None:
    with pytest.raises(UserError, match="expected sqlite:///<file> for one machine, or postgresql://"):
        parsed(url)


def test_both_kinds_are_reached_as_they_must_be(tmp_path) -> None:
    assert engine_arguments(f"sqlite:///{tmp_path}/optuna.db")["connect_args"]["timeout"] == 60
    server = engine_arguments("postgresql://me@host/db")
    assert server["pool_pre_ping"]
    assert server["connect_args"]["options"] == "-csearch_path=optuna"


def test_a_password_is_neither_shown_nor_taken() -> None:
    assert without_password("postgresql://me:secret@host/db") == "postgresql://me@host/db"
    assert without_password("postgresql://me@host/db") == "postgresql://me@host/db"
    with pytest.raises(UserError, match=r"tune\.storage: a password in a URL") as caught:
        load_config(None, {"tune.storage": "postgresql://me:secret@host/db"})
    assert "secret" not in str(caught.value)
    kept = "postgresql+psycopg://me@host:5432/db"
    assert load_config(None, {"tune.storage": kept}).tune.storage == kept


def test_one_at_a_time_and_each_thing_by_itself(tmp_path) -> None:
    one, two = (Locks(f"sqlite:///{tmp_path}/optuna.db") for _ in range(2))
    assert one.take("turn")
    assert not two.take("turn", wait=False)
    assert two.take("generator/a", wait=False)
    one.give("turn")
    assert two.take("turn", wait=False)
    assert two.holds("turn")
    two.close()
    with one.held("turn"):
        assert one.holds("turn")
    assert not one.holds("turn")
    one.give("turn")  # what is not held is given away without harm


def test_a_place_that_cannot_be_written_is_one_line(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose a writable place"):
        Locks(f"sqlite:///{tmp_path}/file/optuna.db").take("turn")


def test_turns_are_taken_one_after_the_other_and_end_with_their_process(tmp_path) -> None:
    count = tmp_path / "count"
    count.write_text("0")
    command = [sys.executable, str(Path(__file__).with_name("turns.py")), f"sqlite:///{tmp_path}/optuna.db", str(count)]
    running = [subprocess.Popen(command, env={"PYTHONPATH": str(PROJECT_ROOT / "src")}) for _ in range(3)]
    assert [process.wait() for process in running] == [1, 1, 1]
    assert count.read_text() == "90", "two at a time overwrite each other"
