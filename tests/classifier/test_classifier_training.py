"""The training loop: learns, reports every step once, keeps the best, resumes exactly, refuses clearly."""

import math
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mlproject.checkpoint import latest_checkpoint
from mlproject.classifier import training
from mlproject.classifier.network import build_classifier
from mlproject.classifier.snapshot import Best
from mlproject.classifier.training import class_weights, log_loss
from mlproject.errors import UserError


class Killed(BaseException):
    """Ends a run at once, as a signal would; no handler of the loop may catch it."""


def kill_at(step: int):
    def progress(completed: int) -> None:
        if completed == step:
            raise Killed

    return progress


def test_it_learns_a_plain_difference_and_returns_the_best_validation(tiny_config, train, make_crops):
    trained = train(tiny_config(steps=24, batch_size=16))
    best = max(trained.history, key=lambda entry: (entry["val.auc"], -entry["val.loss"], -entry["step"]))
    assert best["step"] == trained.best_step
    assert best["val.auc"] > 0.9
    validation = make_crops(20, seed=1)
    logits = training.predict_logits(trained.module, validation.images, torch.device("cpu"), 256)
    np.testing.assert_array_equal(training.sigmoid(logits), trained.probabilities)
    assert not trained.module.training


def test_every_step_is_reported_once_and_validations_at_their_steps(tiny_config, train):
    seen: list[tuple[int, str]] = []
    train(tiny_config(), report=lambda step, values: seen.extend((step, name) for name in values))
    assert sorted(step for step, name in seen if name == "train.loss") == list(range(1, 13))
    assert sorted(step for step, name in seen if name == "train.learning_rate") == list(range(1, 13))
    # every 4 of 12 steps, the last one included once
    assert [step for step, name in seen if name == "val.auc"] == [4, 8, 12]
    assert [step for step, name in seen if name == "val.loss"] == [4, 8, 12]
    assert len(seen) == len(set(seen))


def test_the_last_step_validates_even_off_the_beat(tiny_config, train):
    trained = train(tiny_config(steps=5, eval_every=100, checkpoint_every=100))
    assert [entry["step"] for entry in trained.history] == [5]
    assert trained.best_step == 5


def test_the_first_augmented_batch_is_shown(tiny_config, train):
    shown = []
    train(tiny_config(steps=2), report_image=lambda *picture: shown.append(picture))
    ((step, name, image),) = shown
    assert (step, name, image.dtype, image.shape) == (0, "augmented_batch", np.uint8, (32, 8 * 32 + 7 * 2)), (
        "a gap of two between images"
    )


def test_the_callers_random_state_neither_matters_nor_moves(tiny_config, train, tmp_path):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = train(tiny_config(dropout=0.5), work_dir=tmp_path / "first")
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002 - it must not matter
    second = train(tiny_config(dropout=0.5), work_dir=tmp_path / "second")
    assert_identical(first, second)


@pytest.mark.parametrize("killed_at", [1, 3, 5, 8, 11])
def test_a_killed_run_continues_to_the_same_bits_and_reports(tiny_config, train, tmp_path, killed_at):
    # dropout, augmentation and a stage that unfreezes at step 6: everything that could depend on history
    config = tiny_config(dropout=0.5, augment="light", freeze_steps=4)
    whole: dict[tuple[int, str], float] = {}
    expected = train(config, work_dir=tmp_path / "whole", report=collect(whole))

    pieces: dict[tuple[int, str], float] = {}
    with pytest.raises(Killed):
        train(config, progress=kill_at(killed_at), report=collect(pieces))
    checkpoint = latest_checkpoint(tmp_path / "work" / "checkpoints")
    resumed_from = 0 if checkpoint is None else checkpoint.step
    # the step that was killed had not been saved: the checkpoint is of an earlier multiple of 3
    assert resumed_from == (killed_at - 1) // 3 * 3
    # the metric journal drops what is above the checkpoint
    pieces = {key: value for key, value in pieces.items() if key[0] <= resumed_from}
    starts = []
    again = train(config, report=collect(pieces), progress=starts.append)
    assert starts == list(range(resumed_from, 13))
    assert_identical(expected, again)
    assert without_speed(pieces) == without_speed(whole)


def test_a_finished_run_started_again_returns_at_once_what_it_found(tiny_config, train):
    first = train(tiny_config())
    second = train(tiny_config(), report=lambda step, values: pytest.fail("a step was repeated"))
    assert_identical(first, second)


@pytest.mark.slow
def test_a_process_killed_by_the_system_continues_to_the_same_bits(tmp_path):
    script = Path(__file__).with_name("train_tiny.py")

    def start(folder: str) -> subprocess.Popen:
        arguments = [sys.executable, str(script), str(tmp_path / folder)]
        return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)

    whole = start("whole")
    expected = whole.communicate()[0].splitlines()[-1]
    assert whole.returncode == 0
    assert len(expected) == 64

    generator = np.random.default_rng(0)
    for _ in range(4):
        process = start("killed")
        assert process.stdout is not None
        for _ in range(int(generator.integers(2, 14))):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0)
    final = start("killed")
    lines = final.communicate()[0].splitlines()
    assert lines[-1] == expected


def test_a_work_folder_of_another_training_is_refused(tiny_config, train, make_crops):
    train(tiny_config())
    with pytest.raises(UserError, match=r"holds another training \(different: learning_rate\)"):
        train(tiny_config(learning_rate=0.004))
    with pytest.raises(UserError, match="different: the images"):
        train(tiny_config(), real=make_crops(40, seed=9))


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tiny_config, train, monkeypatch, tmp_path):
    wanted = {"step": 0}
    original = torch.nn.functional.binary_cross_entropy_with_logits

    def broken(logits, *args, **kwargs):
        wanted["step"] += 1
        loss = original(logits, *args, **kwargs)
        return loss * math.nan if wanted["step"] == 8 else loss

    monkeypatch.setattr(training.F, "binary_cross_entropy_with_logits", broken)
    with pytest.raises(
        UserError, match="the loss is not finite at step 8; the last good checkpoint is step 6 in"
    ) as told:
        train(tiny_config())
    assert "fp32" not in str(told.value)  # which it is already
    checkpoint = latest_checkpoint(tmp_path / "work" / "checkpoints")
    assert checkpoint.step == 6
    assert all(tensor.isfinite().all() for tensor in checkpoint.tensors.values())


def test_a_broken_weight_never_reaches_a_checkpoint(tiny_config, train, monkeypatch, tmp_path):
    original = torch.optim.AdamW.step

    def broken(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls == 6:
            self.param_groups[0]["params"][0].data.fill_(math.inf)
        return result

    monkeypatch.setattr(torch.optim.AdamW, "step", broken)
    with pytest.raises(
        UserError, match="a weight is not finite at step 6; the last good checkpoint is step 3 in"
    ) as told:
        train(tiny_config(precision="bf16"))
    assert "classifier.precision=fp32 (now bf16)" in str(told.value)
    assert latest_checkpoint(tmp_path / "work" / "checkpoints").step == 3


def test_freezing_leaves_the_backbone_as_it_was(tiny_config, train):
    config = tiny_config(steps=4, freeze_steps=10, zero_init_head=False)
    trained, fresh = train(config).module.state_dict(), build_classifier(config).state_dict()
    changed = {name for name in fresh if not torch.equal(fresh[name], trained[name])}
    assert changed == {"network.classifier.weight", "network.classifier.bias"}


def test_weight_decay_spares_norms_and_biases(tiny_config, train, tmp_path):
    # a rate so small that only decay by rate * 10 could show; norms start at 1 and biases at 0
    train(tiny_config(steps=1, weight_decay=10, learning_rate=1e-8))
    checkpoint = latest_checkpoint(tmp_path / "work" / "checkpoints")
    decays = {name: value.item() for name, value in checkpoint.tensors.items() if name.endswith(".weight_decay")}
    assert sorted(decays.values()) == [0.0, 10.0]


def test_a_hybrid_mix_trains_on_both_pools(tiny_config, train, make_crops, tmp_path):
    real, synthetic = make_crops(40), make_crops(30, seed=2, prefix="synthetic")
    pools = {
        "both": (real, synthetic),
        "other real": (make_crops(40, seed=3), synthetic),
        "other synthetic": (real, make_crops(30, seed=4, prefix="synthetic")),
    }
    both, *others = (
        train(tiny_config(mix="hybrid", steps=4), real=mine, synthetic=made, work_dir=tmp_path / name).probabilities
        for name, (mine, made) in pools.items()
    )
    assert not any(np.array_equal(both, other) for other in others)


def test_a_synthetic_mix_needs_no_real_image(tiny_config, train, make_crops):
    trained = train(tiny_config(mix="synthetic", steps=4), real=None, synthetic=make_crops(30, seed=2))
    assert len(trained.probabilities) == 20


def test_bf16_trains_to_finite_weights(tiny_config, train):
    trained = train(tiny_config(precision="bf16", steps=4))
    assert training.all_finite(trained.module)
    assert {tensor.dtype for tensor in trained.module.parameters()} == {torch.float32}


def test_sizes_that_differ_are_refused(tiny_config, train, make_crops):
    with pytest.raises(UserError, match="training crops are 16 px and validation crops 32 px"):
        train(tiny_config(), real=make_crops(40, size=16))


def test_one_class_alone_is_refused(tiny_config, train, make_crops):
    crops = make_crops(40)
    with pytest.raises(UserError, match="all of one class; a classifier needs both"):
        train(tiny_config(), real=crops.select(crops.labels == 1))
    with pytest.raises(UserError, match="validation: all 20 images are of one class"):
        train(tiny_config(), validation=crops.select(crops.labels == 0))


def test_no_images_for_the_mix_are_refused(tiny_config, train):
    with pytest.raises(UserError, match="mix=hybrid needs synthetic images"):
        train(tiny_config(mix="hybrid"))
    with pytest.raises(UserError, match="mix=real needs real"):
        train(tiny_config(), real=None)


def test_balanced_class_weights_by_hand():
    # shares 4/5 and 1/5: weights 5/8 and 5/2, each class contributes 1/2, the mean weight is 1
    torch.testing.assert_close(class_weights((0.8, 0.2), "balanced"), torch.tensor([0.625, 2.5]))
    assert class_weights((0.8, 0.2), "none").tolist() == [1, 1]


def test_log_loss_by_hand():
    # logit 0 costs log 2 whatever the label; logit log 3 means 3/4, so label 1 costs log(4/3) and label 0 log 4
    assert log_loss(np.array([0.0, np.log(3), np.log(3)]), np.array([1, 1, 0])) == pytest.approx(
        (np.log(2) + np.log(4 / 3) + np.log(4)) / 3
    )
    assert log_loss(np.array([-1000.0]), np.array([1])) == 1000


def test_the_better_validation_has_more_auc_then_less_loss_then_came_first():
    best = Best(4, 0.8, 0.5, np.zeros(0), {})
    assert best.beaten_by(0.81, 9.0)
    assert best.beaten_by(0.8, 0.49)
    assert not best.beaten_by(0.8, 0.5)
    assert not best.beaten_by(0.79, 0.1)


def collect(into: dict[tuple[int, str], float]):
    def report(step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            assert (step, name) not in into, "reported twice"
            into[step, name] = value

    return report


def without_speed(reports: dict[tuple[int, str], float]) -> dict[tuple[int, str], float]:
    return {key: value for key, value in reports.items() if key[1] != "train.images_per_second"}


def assert_identical(first: training.TrainedClassifier, second: training.TrainedClassifier) -> None:
    assert first.best_step == second.best_step
    assert first.history == second.history
    np.testing.assert_array_equal(first.probabilities, second.probabilities)
    expected = first.module.state_dict()
    for name, tensor in second.module.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
