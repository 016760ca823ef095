"""Hostile bytes: readers under random input let out nothing but the project's own refusal."""

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
