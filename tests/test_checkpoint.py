"""Checkpoints: exact optimiser state, damaged folders, pruning."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlproject.checkpoint import latest_checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint
from mlproject.errors import UserError


def trained_network(optimizer_class=torch.optim.AdamW, steps=3):
    torch.manual_seed(0)
    network = torch.nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
    optimizer = optimizer_class(network.parameters(), lr=0.0123, betas=(0.1, 0.97))
    for step in range(steps):
        one_step(network, optimizer, step)
    return network, optimizer


def one_step(network, optimizer, step):
    images = torch.randn(2, 2, 5, 5, generator=torch.Generator().manual_seed(step))
    optimizer.zero_grad()
    network(images).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("optimizer_class", [torch.optim.Adam, torch.optim.AdamW])
def test_a_restored_optimizer_takes_the_same_step_bit_for_bit(tmp_path, optimizer_class):
    network, optimizer = trained_network(optimizer_class)
    tensors = {**network.state_dict(), **optimizer_tensors(optimizer, "adam")}
    save_checkpoint(tmp_path, 3, tensors, {})
    one_step(network, optimizer, 3)

    loaded = latest_checkpoint(tmp_path)
    other = torch.nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
    other.load_state_dict({name: loaded.tensors[name] for name in other.state_dict()})
    # another rate and other decays: the stored ones must come back, as a schedule needs it
    restored = optimizer_class(other.parameters(), lr=1.0)
    restore_optimizer(restored, loaded.tensors, "adam")
    assert restored.param_groups[0]["lr"] == 0.0123
    assert restored.param_groups[0]["betas"] == (0.1, 0.97)
    moment = restored.state[other.weight]["exp_avg"]
    assert moment.stride() == other.weight.stride()
    one_step(other, restored, 3)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_an_optimizer_of_another_network_is_refused():
    _, optimizer = trained_network()
    other = torch.optim.AdamW(torch.nn.Conv2d(2, 4, 3).parameters())
    with pytest.raises(UserError, match="does not fit this network"):
        restore_optimizer(other, optimizer_tensors(optimizer, "adam"), "adam")


def test_views_and_shared_storage_come_back_equal(tmp_path):
    whole = torch.arange(24.0).view(2, 3, 2, 2)
    tensors = {"transposed": whole.transpose(0, 1), "part": whole[0], "whole": whole, "count": torch.tensor(7)}
    save_checkpoint(tmp_path, 1, tensors, {"note": "ä", "list": [1, 2.5, None]})
    loaded = latest_checkpoint(tmp_path)
    assert loaded.step == 1
    assert loaded.state == {"note": "ä", "list": [1, 2.5, None]}
    assert all(torch.equal(loaded.tensors[name], tensors[name]) for name in tensors)


def test_no_checkpoint_is_none(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "absent") is None


def test_old_checkpoints_and_leftovers_go(tmp_path):
    (tmp_path / ".step-00000009.ab.unfinished").mkdir()
    for step in (1, 2, 3, 10):
        save_checkpoint(tmp_path, step, {"x": torch.tensor(float(step))}, {}, keep=2)
    assert latest_checkpoint(tmp_path).step == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000010"]


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "unlisted"])
def test_a_damaged_newest_checkpoint_falls_back_with_a_warning(tmp_path, capsys, damage):
    save_checkpoint(tmp_path, 1, {"x": torch.tensor(1.0)}, {})
    newest = save_checkpoint(tmp_path, 2, {"x": torch.tensor(2.0)}, {}) / "tensors.safetensors"
    content = newest.read_bytes()
    if damage == "flip":
        newest.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "truncate":
        newest.write_bytes(content[:10])
    elif damage == "remove":
        newest.unlink()
    else:
        (newest.parent / "checksums.json").write_text("{}")
    assert latest_checkpoint(tmp_path).step == 1
    assert "step-00000002" in capsys.readouterr().err

    # the run goes on from step 1: what lies ahead of it is removed, what it came from stays
    save_checkpoint(tmp_path, 1, {"x": torch.tensor(1.0)}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_a_step_that_contradicts_its_folder_is_passed_over(tmp_path, capsys):
    path = save_checkpoint(tmp_path, 4, {"x": torch.tensor(1.0)}, {})
    path.rename(tmp_path / "step-00000005")
    assert latest_checkpoint(tmp_path) is None
    assert "of step 4" in capsys.readouterr().err


def test_numbers_that_json_lacks_are_refused_and_leave_nothing(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        save_checkpoint(tmp_path, 1, {"x": torch.tensor(1.0)}, {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=20, deadline=None)
@given(steps=st.lists(st.integers(0, 10**9), min_size=1, max_size=5, unique=True), keep=st.integers(1, 3))
def test_the_newest_of_any_ascending_steps_is_found(tmp_path_factory, steps, keep):
    folder = tmp_path_factory.mktemp("checkpoints")
    for step in sorted(steps):
        save_checkpoint(folder, step, {"x": torch.tensor(step)}, {"step": step}, keep=keep)
    found = latest_checkpoint(folder)
    assert (found.step, int(found.tensors["x"]), found.state) == (max(steps), max(steps), {"step": max(steps)})
    assert len(list(folder.iterdir())) == min(keep, len(steps))
    assert json.loads((found.path / "state.json").read_text())["step"] == max(steps)
