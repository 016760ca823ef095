"""Two processes on one batch leave the weights and the figures that one process leaves, but for rounding."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pair
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlproject import runtime
from mlproject.checkpoint import latest_checkpoint
from mlproject.cli import entry_point
from mlproject.distributed import ALONE, World, join
from mlproject.errors import UserError
from mlproject.gan.augment import draw_augmentation
from mlproject.gan.batches import mirror_some, with_mismatched
from mlproject.gan.compact import group_size, minibatch_deviation
from mlproject.runtime import torch_generator
from mlproject.together import received_crops

TRAININGS = [name for name in pair.CASES if name != "told"]


# a shift before another batch norm has no effect and no gradient: Adam divides rounding by rounding, and the shift goes
# where it will; the mean that the next norm keeps moves along
WITHOUT_GRADIENT = re.compile(r"(best|model)\.network\..*bn\d\.(bias|running_mean)")


def last_tensors(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint = latest_checkpoint(folder) or latest_checkpoint(folder / "checkpoints")
    assert checkpoint is not None
    return checkpoint.tensors


def is_weight(name: str) -> bool:
    """Of a network, and defined by what it computes."""
    return "optimizer" not in name and name != "probabilities" and not WITHOUT_GRADIENT.fullmatch(name)


def squares(tensors: dict[str, torch.Tensor]) -> float:
    """The sum of Adam's mean squares: the size of the gradients, which its steps do not show."""
    return float(sum(tensor.sum() for name, tensor in tensors.items() if name.endswith("exp_avg_sq")))


def reports(folder: Path, rank: int) -> list[tuple[int, dict[str, float]]]:
    """What a process reported, without speeds."""
    lines = [json.loads(line) for line in (folder / f"reports-{rank}.jsonl").read_text().splitlines()]
    return [(step, {name: x for name, x in values.items() if "per_second" not in name}) for step, values in lines]


@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_train_what_one_does(name, together, tmp_path):
    pair.run(name, tmp_path)
    alone, shared = last_tensors(tmp_path / name), last_tensors(together / name)
    assert alone.keys() == shared.keys()
    assert squares(shared) == pytest.approx(squares(alone), rel=1e-3)
    for key, tensor in alone.items():
        if not is_weight(key):
            continue
        torch.testing.assert_close(
            shared[key], tensor, rtol=1e-4, atol=2e-5, msg=lambda text, key=key: f"{key}: {text}"
        )
    # means over the whole batch, the same in both processes
    expected = reports(tmp_path / name, 0)
    for rank in (0, 1):
        found = reports(together / name, rank)
        assert [step for step, _ in found] == [step for step, _ in expected]
        for (_, values), (_, wanted) in zip(found, expected, strict=True):
            assert values == pytest.approx(wanted, rel=2e-3, abs=2e-4)


def test_only_the_first_process_writes_checkpoints(together):
    assert latest_checkpoint(together / "resumed").step == 6
    assert not (together / "resumed" / "empty").exists()


def test_every_process_hears_what_the_first_says(together):
    values, tensors = pair.TOLD
    for rank in (0, 1):
        heard_values, heard = json.loads((together / "told" / f"heard-{rank}.json").read_text())
        assert heard_values == values
        assert heard == {name: [str(x.dtype), list(x.shape), x.tolist()] for name, x in tensors.items()}


def test_crops_as_a_helper_receives_them_can_be_chosen_from():
    images, labels = torch.zeros(3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 1])
    crops = received_crops("real", ["a", "b", "c"], {"real.images": images, "real.labels": labels})
    chosen = crops.select(np.array([True, False, True]))
    assert (len(chosen), chosen.subjects.tolist(), chosen.labels.tolist()) == (2, ["a", "c"], [0, 1])


def worlds(size: int) -> list[World]:
    return [World(rank, size) for rank in range(size)]


def test_rows_by_hand():
    batch = torch.arange(6)
    assert [world.rows(batch).tolist() for world in worlds(3)] == [[0, 1], [2, 3], [4, 5]]
    assert ALONE.rows(batch).tolist() == batch.tolist()


@given(size=st.sampled_from([2, 3, 4]), share=st.integers(1, 3), mismatched=st.floats(0, 0.5), seed=st.integers(0, 99))
def test_what_is_drawn_does_not_depend_on_the_number_of_processes(size, share, mismatched, seed):
    count = size * share
    draw = torch.Generator().manual_seed(seed)
    real, fake = torch.rand(count, 1, 4, 4, generator=draw), torch.rand(count, 1, 4, 4, generator=draw)
    labels = torch.randint(2, (count,), generator=draw)
    replaced = [with_mismatched(world.rows(fake), real, labels, mismatched, world) for world in worlds(size)]
    assert torch.equal(torch.cat(replaced), with_mismatched(fake, real, labels, mismatched))
    mirrored = [mirror_some(world.rows(real), torch_generator(seed, "m"), world) for world in worlds(size)]
    assert torch.equal(torch.cat(mirrored), mirror_some(real, torch_generator(seed, "m")))
    cpu = torch.device("cpu")
    kind = "translation_brightness"
    whole = draw_augmentation(kind, count, 64, torch_generator(seed, "a"), cpu)
    parts = [draw_augmentation(kind, count, 64, torch_generator(seed, "a"), cpu, world) for world in worlds(size)]
    for name in ("down", "right", "brightness", "contrast"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))


def test_a_batch_is_cut_between_groups_of_the_minibatch_deviation():
    maps = torch.randn(12, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    # 12 images in groups of 4: three processes keep whole groups, two would cut the second one
    assert group_size(12, 4) == 4
    World(0, 3).require_shares(12, "gan.batch_size", 4)
    parts = [minibatch_deviation(world.rows(maps), 4) for world in worlds(3)]
    assert torch.equal(torch.cat(parts), minibatch_deviation(maps, 4))
    with pytest.raises(UserError, match=r"gan\.batch_size: 12 images .* in groups of 4 among 2 processes"):
        World(0, 2).require_shares(12, "gan.batch_size", 4)
    with pytest.raises(UserError, match=r"batch_size: 7 images cannot be shared out evenly among 2 processes; use a"):
        World(0, 2).require_shares(7, "classifier.batch_size")
    ALONE.require_shares(7, "classifier.batch_size", 4)


def test_a_lost_process_is_told_in_one_line_and_other_errors_stay_what_they_are():
    with pytest.raises(UserError, match="process 1 of 2 stops because another has ended"), World(1, 2).loss_told():
        raise RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer")
    with pytest.raises(RuntimeError, match="shape"), World(1, 2).loss_told():
        raise RuntimeError("shape")
    with pytest.raises(RuntimeError, match="gloo"), ALONE.loss_told():
        raise RuntimeError("gloo")


def ended(command: Callable, *arguments: str) -> int:
    with pytest.raises(SystemExit) as leaving:
        command.main(list(arguments))
    return leaving.value.code


def test_a_command_that_runs_in_one_process_refuses_more(capsys):
    def body(config, **references):
        raise AssertionError("never called")

    assert ended(entry_point(own=("gan",))(body), "--processes", "2") == 2
    assert "this command runs in one process; leave out --processes and torchrun" in capsys.readouterr().err


def test_of_the_processes_on_a_machine_the_first_says_what_is_wrong(monkeypatch, capsys):
    command = entry_point(own=("gan",), together=True)(lambda config: None)
    monkeypatch.setenv("LOCAL_RANK", "1")
    # set by another launcher, it means nothing
    assert ended(command, "--steps", "x") == 2
    assert "gan.steps: 'x' is not a whole number" in capsys.readouterr().err
    for name, value in {"TORCHELASTIC_RUN_ID": "id", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert ended(command, "--steps", "x") == 2
    assert ended(command, "--dry_run", "true") == 0
    assert capsys.readouterr() == ("", "")


def test_processes_on_a_machine_share_its_cores(monkeypatch):
    before = torch.get_num_threads()
    try:
        monkeypatch.setattr(runtime, "available_cores", lambda: 8)
        assert runtime.set_threads(0) == 8
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "id")
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
        assert runtime.set_threads(0) == 2
        assert runtime.set_threads(5) == 5
    finally:
        torch.set_num_threads(before)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(UserError, match="2 processes on a machine with 1 CUDA devices, and each needs one"):
        join(torch.device("cuda"))
