"""Hostile bytes: readers under random input let out nothing but the project's own refusal."""

import os
import re
import subprocess
import sys
from pathlib import Path

import hostile
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlproject.config import PROJECT_ROOT

RUNS = 400


@st.composite
def spoiled(draw, reader: str) -> bytes:
    """A seed with a few bytes cut out and others put in."""
    content = bytearray(draw(st.sampled_from(hostile.seeds(reader))))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(content)))
        content[start : start + draw(st.integers(0, 12))] = draw(st.binary(max_size=12))
    return bytes(content)


@pytest.mark.parametrize("reader", hostile.READERS)
def test_random_input_meets_nothing_but_a_refusal(fault, tmp_path, reader):
    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(spoiled(reader))
    def holds(content: bytes) -> None:
        hostile.READERS[reader](content, tmp_path)

    holds()
    fault(
        "spoiled manifests, box files, configurations, workbooks, checkpoints, requests and images",
        "30 of each: read, or refused in one message",
    )


@pytest.mark.slow
@pytest.mark.parametrize("reader", hostile.READERS)
def test_mutations_that_reach_new_code_meet_nothing_but_a_refusal(fault, tmp_path, reader):
    """Under atheris, which keeps what takes a new branch and mutates it further; a process of its own for each."""
    pytest.importorskip("atheris", reason="atheris is not installed: its wheels are for Linux on x86-64")
    script = Path(hostile.__file__).with_name("fuzz.py")
    command = [sys.executable, str(script), reader, str(tmp_path), f"-runs={RUNS}", "-seed=1"]
    variables = os.environ | {"PYTHONPATH": str(PROJECT_ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=600)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    # at least so many: the corpus is read in before libFuzzer looks at the limit, and a unit may be run again
    executed = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    assert executed, done.stderr[-2000:]
    assert int(executed[1]) >= RUNS
    fault(
        "mutations of the same under atheris, which keeps what takes a new branch of the readers",
        f"{RUNS} of each: read, or refused in one message, each within 10 s and 8 GiB",
    )
