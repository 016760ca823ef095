"""Disks that are full or cannot be written."""

import os
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from starter import Started, leftovers
from workshops import unfinished_runs, wait_until

from mlproject.checkpoint import latest_checkpoint

pytestmark = pytest.mark.slow

STEPS = 40


@contextmanager
def small_disk(place: Path, options: str):
    """A disk of its own, in memory; only root may mount one."""
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(path: Path, left: int) -> None:
    """Write until only `left` bytes are free."""
    free = os.statvfs(path.parent)
    path.write_bytes(bytes(free.f_bavail * free.f_bsize - left))


def test_a_disk_that_is_full_during_a_checkpoint(prepared, fault):
    with small_disk(prepared.folder / "disk", "size=64m") as disk:
        options = ("--data", str(prepared.folder / "set"), "--steps", str(STEPS), "--outputs", str(disk / "outputs"))
        started = Started(prepared, "train_gan", *options)
        assert wait_until(lambda: list(disk.glob("outputs/work/*/checkpoints/step-*")), started), started.printed()
        started.send_signal(signal.SIGSTOP)
        fill(disk / "ballast", left=16 * 1024)
        started.send_signal(signal.SIGCONT)
        assert started.wait() == 2
        told = started.error()
        assert "checkpoints/step-" in told
        assert "No space left on device; make room there and start again" in told
        (work,) = disk.glob("outputs/work/train_gan-*/checkpoints")
        kept = latest_checkpoint(work)
        assert kept is not None
        assert leftovers(disk) == []
        (disk / "ballast").unlink()
        again = Started(prepared, "train_gan", *options)
        assert again.wait() == 0
    client = prepared.client
    (version,) = client.search_model_versions("name = 'nt-gan'")
    history = client.get_metric_history(version.run_id, "gan.critic_loss")
    assert sorted(entry.step for entry in history) == list(range(1, STEPS + 1))
    assert unfinished_runs(prepared) == []
    fault(
        "the disk is full during a checkpoint (a tmpfs of 64 MB)",
        "ended with 2: “cannot write …/checkpoints/step-…: No space left on device; make room there and start again”; "
        f"the checkpoint before (step {kept.step}) verifies, nothing half-written is left; after room was made the "
        f"same command went on and its run has all {STEPS} steps once",
    )


def test_output_that_is_read_only(desk, fault):
    with small_disk(desk.folder / "disk", "size=1m,ro") as disk:
        pictures = ("--data.path", str(desk.folder / "pictures"))
        out = desk.run("prepare_data", *pictures, "--out", str(disk / "set"))
        desk.succeed("prepare_data", *pictures, "--out", str(desk.folder / "set"))
        training = desk.run("train_gan", "--data", str(desk.folder / "set"), "--outputs", str(disk / "outputs"))
        store = desk.run("verify_models", MLFLOW_TRACKING_URI=f"sqlite:///{disk}/mlflow.db")
    told = []
    for done in (out, training, store):
        assert done.code == 2
        assert "Traceback" not in done.err
        (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
        assert "Read-only file system" in line
        told.append(line.removeprefix("error: ").replace(str(desk.folder), "…"))
    assert unfinished_runs(desk) == []
    said = "; ".join(f"“{line}”" for line in told)
    fault("read-only output: a data set, a training, a store", f"ended with 2: {said}")
