"""Real runs of the real scripts, killed ten times with SIGKILL: the same weights, and every metric step once."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from workshops import unfinished_runs, wait_until

KILLS = 10
CONFIG = """
run: {workers: 1, threads: 1, device: cpu}
data: {source: classes, size: 32, val_fraction: 0.3, test_fraction: 0.3, split: fractions, clahe_clip: 0}
gan: {steps: 400, batch_size: 8, base_channels: 8, latent_dim: 8, log_every: 1, grid_every: 100, checkpoint_every: 10,
      precision: fp32, critic_steps: 2}
classifier: {backbone: test_efficientnet, weights: none, steps: 200, batch_size: 8, eval_every: 20,
             checkpoint_every: 5, dropout: 0.3}
evaluation: {bootstrap: 100}
"""
STAGES = {
    "train_gan": ("nt-gan", "generator.safetensors"),
    "train_classifier": ("nt-classifier", "artifacts/classifier/classifier.safetensors"),
}


class Training:
    """One entry point in one workshop, started as often as it is killed."""

    def __init__(self, workshop, entry_point: str) -> None:
        self.workshop, self.entry_point = workshop, entry_point
        self.name, self.weights = STAGES[entry_point]
        (workshop.folder / "config.yaml").write_text(CONFIG)
        pictures = ("--source", "classes", "--path", str(workshop.folder / "pictures"))
        prepared = workshop.script("prepare_data", *pictures, "--out", str(workshop.folder / "set"))
        assert prepared.code == 0, prepared.err

    def start(self) -> subprocess.Popen:
        command = self.workshop.command(self.entry_point, "--data", str(self.workshop.folder / "set"))
        with open(self.workshop.folder / "log.txt", "ab") as log:
            return subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.workshop.folder,
                env=os.environ | self.workshop.environment,
            )

    def journal(self) -> bytes:
        """The metrics that the unfinished work holds; b"" when there is none."""
        found = list((self.workshop.folder / "outputs" / "work").glob(f"{self.entry_point}-*/metrics.jsonl"))
        try:
            return found[0].read_bytes() if found else b""
        except FileNotFoundError:
            return b""  # the work ended in between

    def last_step(self) -> int:
        lines = self.journal().split(b"\n")[:-1]
        return json.loads(lines[-1])["step"] if lines else 0

    def finish(self) -> None:
        process = self.start()
        assert process.wait(timeout=600) == 0, (self.workshop.folder / "log.txt").read_text()[-3000:]

    def result(self) -> tuple[bytes, dict[str, list]]:
        """The newest version's weights, and the history of every metric of the run that registered it."""
        client = self.workshop.client
        versions = client.search_model_versions(f"name = '{self.name}'")
        newest = max(versions, key=lambda version: int(version.version))
        run = client.get_run(newest.run_id)
        assert run.info.status == "FINISHED"
        history = {}
        for key in run.data.metrics:
            entries = client.get_metric_history(newest.run_id, key)
            # speed is the machine's: its steps are compared, its values are not
            speed = key.endswith("images_per_second")
            history[key] = sorted((entry.step, 0.0 if speed else entry.value) for entry in entries)
        folder: Path = self.workshop.model_folder(self.name, newest.version)
        return (folder / self.weights).read_bytes(), history


def kill_at_random(training: Training, moments: random.Random, moment: str, total: int) -> bool:
    """Start, wait for a random moment, send SIGKILL; whether the process was still there to be killed."""
    process = training.start()
    if moment == "starting":
        time.sleep(moments.uniform(0.0, 8.0))
    else:
        before = training.last_step()
        # a tenth of the work or less, so that ten kills find it unfinished
        goal = total if moment == "ending" else min(total - 1, before + moments.randrange(1, total // 12))
        wait_until(lambda: training.last_step() >= goal, process)
        time.sleep(moments.uniform(0.0, 0.5 if moment == "ending" else 0.1))
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return alive


@pytest.mark.slow
@pytest.mark.parametrize("entry_point", STAGES)
def test_ten_kills_change_neither_weights_nor_history(new_workshop, entry_point):
    undisturbed = Training(new_workshop("undisturbed"), entry_point)
    undisturbed.finish()
    expected_weights, expected_history = undisturbed.result()
    steps = {"train_gan": 400, "train_classifier": 200}[entry_point]
    logged = {"train_gan": "gan.critic_loss", "train_classifier": "train.loss"}[entry_point]
    assert [step for step, _ in expected_history[logged]] == list(range(1, steps + 1))

    killed = Training(new_workshop("killed"), entry_point)
    moments = random.Random(20240517)
    order = ["working"] * (KILLS - 4) + ["starting"] * 2
    moments.shuffle(order)
    deaths = [kill_at_random(killed, moments, moment, steps) for moment in (*order, "ending", "ending")]
    assert sum(deaths) == KILLS, "a process ended before it was killed"
    killed.finish()
    weights, history = killed.result()
    assert weights == expected_weights
    assert history == expected_history
    # every start ends the runs of the processes that were killed before it
    assert unfinished_runs(killed.workshop) == []
