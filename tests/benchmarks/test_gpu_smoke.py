"""The GPU smoke test, tried on a CPU: it says so where there is no GPU, and finds passes that differ."""

import dataclasses

import gpu_smoke
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from mlproject.config import load_config

PASS = gpu_smoke.Pass(
    critic_loss=2.0,
    images=np.full((4, 8, 8), 100, np.uint8),
    probabilities=np.array([0.2, 0.8]),
    on_cpu=np.array([0.2, 0.8]),
    rates={},
    seconds=1.0,
)


def test_without_cuda_it_ends_with_one_line_and_exit_code_2(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu_smoke, "smoke", lambda *_: pytest.fail("it began"))
    done = CliRunner().invoke(gpu_smoke.main, [])
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "error: device: cuda was asked for, but torch finds no CUDA device; use --device cpu or auto"
    ]


def test_equal_passes_agree():
    assert [(check.found, check.passed) for check in gpu_smoke.compare(PASS, PASS)] == [(0.0, True)] * 4


@pytest.mark.parametrize(
    ("change", "place", "found"),
    [
        ({"critic_loss": 1.0}, 0, 0.5),  # half of the larger one
        ({"images": np.full((4, 8, 8), 90, np.uint8)}, 1, 10.0),
        ({"images": np.full((4, 8, 8), 255, np.uint8)}, 1, 155.0),  # no wrap-around of bytes
        ({"probabilities": np.array([0.4, 0.6]), "on_cpu": np.array([0.4, 0.6])}, 2, 0.2),
        ({"on_cpu": np.array([0.2, 0.5])}, 3, 0.3),
        ({"critic_loss": float("nan")}, 0, None),
    ],
)
def test_a_difference_fails_its_own_check_alone(change, place, found):
    checks = gpu_smoke.compare(PASS, dataclasses.replace(PASS, **change))
    assert [check.passed for check in checks] == [number != place for number in range(4)]
    assert found is None or checks[place].found == pytest.approx(found)


def test_its_configuration_is_the_chain_in_bf16():
    config = load_config(gpu_smoke.CONFIG)
    assert config.gan.precision == config.classifier.precision == "bf16"


@pytest.mark.slow
def test_both_passes_run_and_agree_to_the_bit_on_a_cpu(tmp_path):
    config = tmp_path / "tiny.yaml"
    config.write_text("""
run: {workers: 1, threads: 1}
data: {n_train: 6, n_val: 6, n_test: 6, frames_per_subject: 2, size: 32}
gan: {steps: 2, batch_size: 4, base_channels: 4, latent_dim: 8, log_every: 1, grid_every: 2, checkpoint_every: 2,
      feature_critic: 0, precision: bf16}
classifier: {backbone: test_efficientnet, weights: none, steps: 2, batch_size: 4, eval_every: 1, synthetic_per_class: 4,
             precision: bf16}
fidelity: {while_training: 0}
evaluation: {bootstrap: 100}
""")
    done = CliRunner().invoke(gpu_smoke.main, ["--device", "cpu", "--config", str(config)])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("cpu, torch ")
    assert sum("images a second: train_gan " in line for line in lines) == 2
    assert [line.split(": ")[1].split(",")[0] for line in lines if line.startswith("ok  ")] == ["0"] * 4
