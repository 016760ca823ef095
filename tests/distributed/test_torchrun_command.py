"""Entry points under torchrun: one run, the figures of a single process, and an end for all when one process ends."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import psutil
import pytest
from pair import torchrun

from mlproject.config import PROJECT_ROOT

pytestmark = pytest.mark.slow

OPTIONS = ("--config", str(PROJECT_ROOT / "configs" / "smoke.yaml"), "--device", "cpu", "--threads", "1")
SAME_STEPS = 25
# no feature critic and no minibatch deviation, whose derivatives magnify rounding over so many steps, and images as
# they are: moved and mirrored ones, which few steps together compare, are learnt by other ways that part sooner
GAN = (
    str(PROJECT_ROOT / "src" / "train_gan.py"),
    *OPTIONS,
    *("--precision", "fp32", "--feature_critic", "0", "--minibatch_group", "0", "--auxiliary", "0"),
    *("--mirror", "false", "--jitter_px", "0"),
    *("--steps", "80", "--grid_every", "40", "--checkpoint_every", "10", "--learning_rate", "0.0001"),
)


def start(folder: Path, command: list[str], **environment: str) -> subprocess.Popen:
    variables = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    return subprocess.Popen(
        command, cwd=folder, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def client(folder: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")


def runs(folder: Path, stage: str) -> list:
    """The runs of a stage, the oldest first."""
    found = client(folder).search_runs([experiment(folder)], f"tags.stage = '{stage}'", order_by=["start_time"])
    return list(found)


def experiment(folder: Path) -> str:
    return client(folder).get_experiment_by_name("nt-synthetic").experiment_id


def history(folder: Path, run_id: str, metric: str) -> list[tuple[int, float]]:
    return [(entry.step, entry.value) for entry in client(folder).get_metric_history(run_id, metric)]


def member(leader: subprocess.Popen, rank: int) -> psutil.Process:
    for process in psutil.Process(leader.pid).children():
        if process.environ().get("RANK") == str(rank):
            return process
    raise AssertionError(f"torchrun has no process {rank}")


def test_a_generator_by_two_processes_of_which_one_is_killed(tmp_path):
    together, alone = tmp_path / "together", tmp_path / "alone"
    together.mkdir()
    alone.mkdir()

    # the second process is killed behind the first checkpoint: the first ends as well, with one line, and says FAILED
    process = start(together, torchrun(*GAN))
    while not list(together.glob("outputs/work/*/checkpoints/step-*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.2)
    member(process, 1).send_signal(signal.SIGKILL)
    killed = time.monotonic()
    said, _ = process.communicate(timeout=60)
    assert time.monotonic() - killed < 30
    assert process.returncode != 0
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, said
    assert re.match(r"error: process 0 of 2 stops because another has ended", errors[0])
    (failed,) = runs(together, "train_gan")
    assert failed.info.status == "FAILED"
    assert "another has ended" in failed.data.tags["error"]

    # the same command goes on, in the run that `mlflow run` would have made, which the first process alone takes
    given = client(together).create_run(experiment(together)).info.run_id
    process = start(together, torchrun(*GAN), MLFLOW_RUN_ID=given)
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert said.count("registered nt-gan version 1") == 1, said
    first, second = runs(together, "train_gan")
    assert (second.info.run_id, second.info.status) == (given, "FINISHED")
    assert first.data.tags["continued_by"] == given

    # with every step once, and the figures of one process for as long as rounding has not grown in the game of the two
    process = start(alone, [sys.executable, *GAN])
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
    (reference,) = runs(alone, "train_gan")
    for metric in ("gan.critic_loss", "gan.generator_loss", "gan.gradient_norm"):
        expected = history(alone, reference.info.run_id, metric)
        found = history(together, given, metric)
        # the penalty is taken in every fourth step
        every = 4 if metric == "gan.gradient_norm" else 1
        assert [step for step, _ in found] == [step for step, _ in expected] == list(range(1, 81, every))
        early = [value for _, value in found[:SAME_STEPS]]
        assert early == pytest.approx([value for _, value in expected[:SAME_STEPS]], rel=0.01, abs=0.01)


def test_a_classifier_by_processes_that_the_command_starts_itself(tmp_path):
    network = ("--backbone", "test_efficientnet", "--weights", "none", "--zero_init_head", "false")
    command = [sys.executable, str(PROJECT_ROOT / "src" / "train_classifier.py"), *OPTIONS, *network]
    folders = [tmp_path / "1", tmp_path / "2"]
    histories = []
    for processes, folder in enumerate(folders, start=1):
        folder.mkdir()
        process = start(folder, [*command, "--processes", str(processes)])
        said, _ = process.communicate(timeout=200)
        assert process.returncode == 0, said
        assert said.count("registered nt-classifier version 1") == 1, said
        (run,) = runs(folder, "train_classifier")
        histories.append(history(folder, run.info.run_id, "train.loss"))
    assert [step for step, _ in histories[1]] == [1, 2, 3, 4]
    assert [loss for _, loss in histories[1]] == pytest.approx([loss for _, loss in histories[0]], rel=1e-3)


def test_a_mistake_is_said_once_with_its_own_exit_code(tmp_path):
    command = [sys.executable, str(PROJECT_ROOT / "src" / "train_gan.py"), *OPTIONS, "--processes", "3"]
    process = start(tmp_path, command)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 2, said
    assert [line for line in said.splitlines() if line.startswith("error")] == [
        "error: gan.batch_size: 8 images cannot be shared out evenly in groups of 4 among 3 processes; "
        "use a multiple of 12"
    ]
    assert "Traceback" not in said
    (run,) = runs(tmp_path, "train_gan")
    assert run.info.status == "FAILED"
