"""Limits of the system, a store of another time, and who reaches the server."""

import resource
import shlex
import subprocess

import pytest
import sqlalchemy
import torch
from alembic import command
from alembic.script import ScriptDirectory
from click.testing import CliRunner
from mlflow.cli import cli as mlflow_command
from mlflow.store.db.utils import _get_alembic_config
from mlflow.store.tracking.dbmodels.initial_models import Base as InitialBase

from mlproject.checkpoint import latest_checkpoint, save_checkpoint
from mlproject.config import PROJECT_ROOT
from mlproject.errors import UserError


def test_make_ui_is_for_this_machine_alone(fault):
    shown = subprocess.run(["make", "-n", "ui"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True).stdout
    (line,) = [line for line in shown.splitlines() if "mlflow ui" in line]
    words = shlex.split(line)
    assert words[words.index("--host") + 1] == "127.0.0.1"
    fault("another machine calls the server of `make ui`", "it is started with --host 127.0.0.1")


def test_a_checkpoint_larger_than_a_file_may_be(tmp_path, fault):
    """RLIMIT_FSIZE needs no mount: the system refuses the write as it does on a full disk."""
    save_checkpoint(tmp_path, 1, {"w": torch.zeros(10)}, {})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(UserError) as caught:
            save_checkpoint(tmp_path, 2, {"w": torch.zeros(100_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    told = str(caught.value)
    assert f"cannot write {tmp_path}/step-00000002/tensors.safetensors: File too large; make room there" in told
    assert latest_checkpoint(tmp_path).step == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001"]
    fault(
        "a checkpoint larger than the system lets a file be (RLIMIT_FSIZE)",
        f"“{told.replace(str(tmp_path), '…')}”; the checkpoint before is whole, nothing else is left",
    )


def test_a_store_of_an_older_schema(desk, fault):
    """Made as MLflow made it then, up to an earlier revision; the command that the message names mends it."""
    engine = sqlalchemy.create_engine(desk.store)
    InitialBase.metadata.create_all(engine)
    config = _get_alembic_config(desk.store)
    revisions = [revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()]
    older, newest = revisions[len(revisions) // 2], revisions[0]
    command.upgrade(config, older)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("INSERT INTO experiments (name, lifecycle_stage) VALUES ('old', 'active')"))
    engine.dispose()
    done = desk.run("verify_models")
    assert done.code == 2
    assert "Traceback" not in done.err
    told = next(line for line in done.err.splitlines() if line.startswith("error: ")).removeprefix("error: ")
    assert f"found schema {older}, expected {newest}" in told
    assert "make a copy of the database" in told
    assert f"`mlflow db upgrade {desk.store}`" in told
    upgraded = CliRunner().invoke(mlflow_command, ["db", "upgrade", desk.store])
    assert upgraded.exit_code == 0, upgraded.output
    desk.succeed("verify_models")
    assert desk.client.get_experiment_by_name("old") is not None
    fault(
        "a store of an older schema",
        f"ended with 2: “{told.replace(str(desk.folder), '…')}”; after that command it opened, with what was in it",
    )
