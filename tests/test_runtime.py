"""Seeds are stable across processes and versions: a golden value holds them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlproject import runtime
from mlproject.errors import UserError


def test_seed_is_the_first_eight_bytes_of_sha256_without_the_sign_bit() -> None:
    # the first 16 hex digits of printf '0\x1fnoise\x1f7' | sha256sum
    assert runtime.seed_for(0, "noise", 7) == 0xAB71921967D7E720 >> 1


@given(st.integers(0, 2**31), st.integers(0, 10**6), st.integers(0, 10**6))
def test_streams_differ_and_fit_torch(seed, a, b) -> None:
    first, second = runtime.seed_for(seed, "x", a), runtime.seed_for(seed, "x", b)
    assert (first == second) == (a == b)
    assert 0 <= first < 2**63
    torch.Generator().manual_seed(first)


def test_keys_are_not_run_together() -> None:
    assert runtime.seed_for(1, 23) != runtime.seed_for(12, 3)


def test_cuda_that_is_absent_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert runtime.resolve_device("auto").type == "cpu"
    with pytest.raises(UserError, match="--device cpu"):
        runtime.resolve_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert runtime.resolve_device("auto").type == "cuda"
    assert runtime.resolve_device("cpu").type == "cpu"
