"""The learning rate and the parts that learn, as functions of the step."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mlproject.classifier.network import build_classifier
from mlproject.classifier.schedule import learning_rate, learning_stages, set_learning


@pytest.mark.parametrize("steps", [10, 37, 200])
def test_one_cycle_is_torchs(tiny_config, steps):
    config = tiny_config(schedule="onecycle", steps=steps, learning_rate=0.01)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps, cycle_momentum=False)
    for step in range(steps):
        assert learning_rate(step, config) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        if step + 1 < steps:
            reference.step()


def test_cosine_and_constant_by_hand(tiny_config):
    cosine = tiny_config(schedule="cosine", steps=4, learning_rate=0.8)
    # peak / 2 * (1 + cos(pi * step / 4)): 1, (2 + sqrt 2) / 4, 1 / 2, (2 - sqrt 2) / 4 of the peak
    expected = [0.8, 0.2 * (2 + 2**0.5), 0.4, 0.2 * (2 - 2**0.5)]
    assert [learning_rate(step, cosine) for step in range(4)] == pytest.approx(expected)
    constant = tiny_config(schedule="constant", steps=4, learning_rate=0.8)
    assert {learning_rate(step, constant) for step in range(4)} == {0.8}


@given(steps=st.integers(1, 12), schedule=st.sampled_from(["onecycle", "cosine", "constant"]))
def test_rates_are_positive_and_at_most_the_peak(steps, schedule):
    from mlproject.config import load_config

    config = load_config(None, {"classifier.steps": steps, "classifier.schedule": schedule}).classifier
    for step in range(steps):
        assert 0 < learning_rate(step, config) <= config.learning_rate * (1 + 1e-12)


def test_stages_follow_one_by_one_by_hand():
    # the head alone in steps 0 to 3, then 4 further stages over steps 4 to 7: one at each
    assert [learning_stages(step, 4, 5) for step in range(10)] == [1, 1, 1, 1, 2, 3, 4, 5, 5, 5]
    # 2 further stages over 4 steps: one every two steps
    assert [learning_stages(step, 4, 3) for step in range(10)] == [1, 1, 1, 1, 2, 2, 3, 3, 3, 3]
    assert learning_stages(0, 0, 9) == 9


@given(freeze_steps=st.integers(1, 50), stages=st.integers(2, 12))
def test_stages_never_shrink_and_all_learn_in_the_end(freeze_steps, stages):
    counts = [learning_stages(step, freeze_steps, stages) for step in range(2 * freeze_steps + 1)]
    assert counts == sorted(counts)
    assert counts[:freeze_steps] == [1] * freeze_steps
    assert counts[freeze_steps] >= 2
    assert max(counts) == counts[-1] == stages


def test_what_stands_still_keeps_weights_and_statistics(tiny_config):
    module = build_classifier(tiny_config(zero_init_head=False))
    module.train()
    set_learning(module.stages(), 1)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module(torch.rand(4, 1, 32, 32)).sum().backward()
    optimizer.step()
    changed = {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"network.classifier.weight", "network.classifier.bias"}

    set_learning(module.stages(), len(module.stages()))
    assert all(parameter.requires_grad for parameter in module.parameters())
    module(torch.rand(4, 1, 32, 32))
    assert not torch.equal(module.state_dict()["network.bn1.running_mean"], before["network.bn1.running_mean"])
