"""The GAN's loop: schedule, reports, averaging, refusals, and resuming to the same bits."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from gan_tiny import tiny_config, tiny_data, tiny_run
from hypothesis import given, settings
from hypothesis import strategies as st

from mlproject.checkpoint import latest_checkpoint
from mlproject.config import load_config
from mlproject.errors import UserError
from mlproject.gan import losses
from mlproject.gan.batches import batch_indices, mirror_some, rate_share, with_mismatched
from mlproject.gan.training import average_weights, ema_decay, generator_steps, supports_bf16, train_gan

ROOT = Path(__file__).resolve().parents[2]


def last_tensors(folder):
    return latest_checkpoint(folder).tensors


def assert_same_tensors(one, other):
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different, different


def without_speed(reports):
    return [(step, {name: x for name, x in values.items() if "per_second" not in name}) for step, values in reports]


def test_steps_from_epochs_by_hand():
    # 1110 images in batches of 32 are 35 critic steps an epoch; 1501 epochs are 52535 of them, 5 to a generator step
    assert generator_steps(tiny_config(epochs=1501, batch_size=32, critic_steps=5), 1110) == 10507
    # 10 images in batches of 4: 3 critic steps, 2 to a generator step, rounded up
    assert generator_steps(tiny_config(epochs=1, batch_size=4, critic_steps=2), 10) == 2
    assert generator_steps(tiny_config(epochs=0, steps=7), 10) == 7


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 40), batch=st.integers(1, 50), seed=st.integers(0, 5))
def test_batches_walk_through_all_images_once_an_epoch(n, batch, seed):
    turns = -(-3 * n // batch)
    walked = np.concatenate([batch_indices(seed, n, batch, turn) for turn in range(turns)])
    for epoch in range(3):
        assert sorted(walked[epoch * n : (epoch + 1) * n].tolist()) == list(range(n))


def test_the_learning_rate_falls_in_the_second_half():
    assert [rate_share("linear", step, 100) for step in (1, 50, 75, 100)] == pytest.approx([1, 1, 0.55, 0.1])
    assert rate_share("constant", 100, 100) == 1


def test_half_of_the_images_are_mirrored():
    images = torch.arange(400.0).view(100, 1, 1, 4)
    found = mirror_some(images, torch.Generator().manual_seed(0))
    mirrored = [not torch.equal(one, other) for one, other in zip(found, images, strict=True)]
    assert 35 <= sum(mirrored) <= 65
    for one, other, changed in zip(found, images, mirrored, strict=True):
        assert torch.equal(one, other.flip(2) if changed else other)


def test_mismatched_images_by_hand():
    fake, real = torch.zeros(4, 1, 1, 1), torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1, 1)
    labels = torch.tensor([0, 0, 1, 0])
    # the first two take the next real image of the other class, around the end
    found = with_mismatched(fake, real, labels, 0.5)
    assert found.flatten().tolist() == [3, 3, 0, 0]
    # the only image of class 1 takes the next of class 0
    assert with_mismatched(fake, real, torch.tensor([0, 1, 0, 0]), 0.5).flatten().tolist() == [2, 3, 0, 0]
    assert with_mismatched(fake, real, torch.zeros(4, dtype=torch.long), 0.5).flatten().tolist() == [0, 0, 0, 0]
    assert with_mismatched(fake, real, labels, 0) is fake


def test_a_falling_rate_belongs_to_its_number_of_steps(tmp_path):
    tiny_run(tmp_path, tiny_config(steps=4, schedule="linear"))
    with pytest.raises(UserError, match="belongs to another run .*steps 4 -> 8"):
        tiny_run(tmp_path, tiny_config(steps=8, schedule="linear"))


def test_ema_by_hand():
    # half-life 64 images and batches of 32: two batches halve; before 640 images the half-life is a tenth of them
    assert ema_decay(64, 32, 1000) == pytest.approx(0.5**0.5)
    assert ema_decay(64, 32, 10) == pytest.approx(0.5)
    assert ema_decay(0, 32, 1000) == 0.0
    network, average = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    with torch.no_grad():
        network.weight.fill_(5.0)
        network.running_mean.fill_(7.0)
    average_weights(average, network, 0.75)
    # 0.75 * 1 + 0.25 * 5; buffers are copied
    assert average.weight.tolist() == pytest.approx([2.0, 2.0])
    assert average.running_mean.tolist() == [7.0, 7.0]


@pytest.mark.parametrize("architecture", ["compact", "dcgan"])
def test_names_steps_and_grids(tmp_path, architecture):
    reports, pictures, steps = [], [], []
    state = torch.get_rng_state()
    trained = tiny_run(
        tmp_path,
        tiny_config(architecture=architecture, steps=12, precision="fp32"),
        report=lambda step, values: reports.append((step, values)),
        report_image=lambda step, name, image: pictures.append((step, name, image)),
        progress=lambda done, total: steps.append((done, total)),
    )
    assert [step for step, _ in reports] == [5, 10, 12]
    assert set(reports[0][1]) == {
        "gan.critic_loss",
        "gan.wasserstein",
        "gan.gradient_penalty",
        "gan.gradient_norm",
        "gan.generator_loss",
        "gan.images_per_second",
    }
    assert all(np.isfinite(list(values.values())).all() for _, values in reports)
    assert [(step, name) for step, name, _ in pictures] == [(12, "samples")]
    assert pictures[0][2].dtype == np.uint8
    assert steps == [(done, 12) for done in range(13)]
    assert trained.step == 12
    assert not trained.generator.training
    # nobody else's draws are touched
    assert torch.equal(state, torch.get_rng_state())


def test_the_classes_come_apart(tmp_path):
    # class 1 is bright above by construction: 80 steps are enough for the generator to say so
    trained = tiny_run(tmp_path, tiny_config(steps=80, learning_rate=3e-3, checkpoint_every=1000, grid_every=1000))
    inputs = torch.randn(40, trained.generator.inputs_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        normal, anomalous = (trained.generator(inputs, torch.full((40,), label)) for label in (0, 1))
    assert (anomalous[:, 0, :16].mean() - normal[:, 0, :16].mean()).item() > 0.5


EVERYTHING = {
    "feature_critic": 1,
    "auxiliary": 0.5,
    "mismatched": 0.25,
    "mirror": True,
    "schedule": "linear",
    "augment": "translation",
}
TWINS = {"feature_critic": 1, "auxiliary": 2, "auxiliary_kind": "twins"}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("architecture", ["compact", "dcgan", "compact with everything", "compact with twins"])
def test_stopped_runs_go_on_to_the_same_bits(tmp_path, architecture, precision):
    if precision == "bf16" and not supports_bf16(torch.device("cpu")):
        pytest.skip("this processor has no bfloat16")
    options = EVERYTHING if "everything" in architecture else TWINS if "twins" in architecture else {}
    config = tiny_config(architecture=architecture.split()[0], precision=precision, steps=16, grid_every=6, **options)
    whole, parts = [], []

    def evaluate(step, generator):
        # the highest at the middle grid, so that the best generator has to survive a stop
        return {"gan.selection": -abs(step - 6.0)}

    first = tiny_run(
        tmp_path / "whole", config, report=lambda step, values: whole.append((step, values)), evaluate=evaluate
    )
    for stop in (3, 7, 13):
        # stops between checkpoints: what follows the newest is done again
        def report_until(step, values, stop=stop):
            parts.append((step, values))
            if step >= stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            tiny_run(tmp_path / "parts", config, report=report_until, evaluate=evaluate)
    second = tiny_run(
        tmp_path / "parts", config, report=lambda step, values: parts.append((step, values)), evaluate=evaluate
    )
    assert_same_tensors(last_tensors(tmp_path / "whole"), last_tensors(tmp_path / "parts"))
    assert_same_tensors(first.generator.state_dict(), second.generator.state_dict())
    # the best is that of step 6, which is not the last average
    assert not torch.equal(
        first.generator.state_dict()[next(iter(first.generator.state_dict()))],
        last_tensors(tmp_path / "whole")["average." + next(iter(first.generator.state_dict()))],
    )
    # what is reported again is the same; a journal keeps the last of each
    again = {(step, *values): values for step, values in without_speed(parts)}
    assert again == {(step, *values): values for step, values in without_speed(whole)}


def start(folder, config):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{Path(__file__).parent}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "gan_tiny.py"), str(folder), json.dumps(config)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_and_compare(tmp_path, kills, config):
    """Kill a real process after random numbers of reports, then let it end and compare with a whole run."""
    generator = random.Random(0)
    tiny_run(tmp_path / "whole", tiny_config(**config))
    killed = 0
    for _ in range(kills):
        process = start(tmp_path / "killed", config)
        assert process.stdout is not None
        # one for each step: all kills together find the work unfinished, however fast the machine is
        for _ in range(generator.randrange(1, config["steps"] // (kills + 1))):
            process.stdout.readline()
        time.sleep(generator.uniform(0, 0.02))  # anywhere in a step
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    last = start(tmp_path / "killed", config)
    _, errors = last.communicate(timeout=120)
    assert last.returncode == 0, errors
    assert killed > 0
    assert_same_tensors(last_tensors(tmp_path / "whole"), last_tensors(tmp_path / "killed"))
    assert not list((tmp_path / "killed").glob(".*"))


def test_a_killed_process_goes_on_to_the_same_bits(tmp_path):
    kill_and_compare(tmp_path, kills=1, config={"steps": 40, "log_every": 1, "checkpoint_every": 4})


@pytest.mark.slow
def test_ten_kills_and_the_same_bits(tmp_path):
    kill_and_compare(tmp_path, kills=10, config={"steps": 400, "log_every": 1, "checkpoint_every": 3})


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    original, calls = losses.generator_loss, []

    def poisoned(scores):
        calls.append(1)
        # step 6 is between the checkpoints at 4 and 8 and between the reports at 5 and 10
        return original(scores) * (float("nan") if len(calls) == 6 else 1.0)

    monkeypatch.setattr(losses, "generator_loss", poisoned)
    with pytest.raises(UserError, match=r"gan\.generator_loss at step 6 is not finite.*step-00000004"):
        tiny_run(tmp_path, tiny_config())
    kept = latest_checkpoint(tmp_path)
    assert kept.step == 4
    assert all(torch.isfinite(tensor).all() for tensor in kept.tensors.values())


def test_another_run_in_the_work_folder_is_refused(tmp_path):
    tiny_run(tmp_path, tiny_config(steps=4))
    default = load_config().gan.learning_rate
    assert default != 0.001
    with pytest.raises(UserError, match=re.escape(f"another run (learning_rate {default} -> 0.001)")):
        tiny_run(tmp_path, tiny_config(steps=4, learning_rate=0.001))
    with pytest.raises(UserError, match="past the 3 steps"):
        tiny_run(tmp_path, tiny_config(steps=3))
    images, labels = tiny_data()
    with pytest.raises(UserError, match="images_sha256"):
        train_gan(
            255 - images,
            labels,
            tiny_config(steps=4),
            work_dir=tmp_path,
            device="cpu",
            report=lambda step, values: None,
            report_image=lambda step, name, image: None,
        )


def test_a_finished_run_that_is_asked_for_more_goes_on_as_if_it_had_been_asked_at_once(tmp_path):
    tiny_run(tmp_path / "extended", tiny_config(steps=4))
    extended = tiny_run(tmp_path / "extended", tiny_config(steps=6)).generator.state_dict()
    at_once = tiny_run(tmp_path / "at_once", tiny_config(steps=6)).generator.state_dict()
    assert all(torch.equal(extended[name], at_once[name]) for name in at_once)


def test_what_lies_around_the_crops_is_what_the_critic_is_shown(tmp_path):
    config = tiny_config(steps=4)
    images, _ = tiny_data()
    reach = config.jitter_px
    mirrored = np.pad(images, ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
    other = mirrored.copy()
    other[:, :reach] = 255
    runs = {"default": None, "mirrored": mirrored, "other": other}
    first = {name: tiny_run(tmp_path / name, config, surroundings=around) for name, around in runs.items()}
    weights = {name: torch.cat([w.flatten() for w in run.generator.parameters()]) for name, run in first.items()}
    assert torch.equal(weights["default"], weights["mirrored"])
    assert not torch.equal(weights["default"], weights["other"])


@pytest.mark.parametrize("labels", [np.zeros(14), np.ones(14), np.arange(14) % 3])
def test_one_class_or_three_are_refused(tmp_path, labels):
    images, _ = tiny_data()
    with pytest.raises(UserError, match="expected both 0"):
        train_gan(
            images,
            labels.astype(int),
            tiny_config(),
            work_dir=tmp_path,
            device="cpu",
            report=lambda step, values: None,
            report_image=lambda step, name, image: None,
        )
