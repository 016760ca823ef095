"""Hostile bytes: readers under random input let out nothing but the project's own refusal."""

import os
import subprocess
import sys
from pathlib import Path

import hostile
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


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
def test_fuzzing_by_coverage_finds_nothing_but_refusals(fault, tmp_path, reader):
    pytest.importorskip("atheris", reason="fuzzing by coverage needs atheris")
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, str(here / "fuzz.py"), reader, str(tmp_path), "5"],
        capture_output=True,
        text=True,
        errors="replace",
        env=os.environ | {"PYTHONPATH": str(here.parents[1] / "src")},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "stat::number_of_executed_units" in done.stderr
    fault("the same readers fuzzed by coverage (atheris), 5 seconds each", "no defect, below 8 GiB and 10 s an input")
