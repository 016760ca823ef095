"""What the tests of faults share: what they observe is recorded for docs/faults.md."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# the helper modules of these tests, here and in the processes that they start
sys.path.insert(0, str(Path(__file__).parent))
import table


@pytest.fixture
def fault(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`fault(row, seen)`: what the test did to the project, in words, and what was observed, with the numbers.

    Called at the end, when the test's assertions held. With WRITE_DOCS=1 it is recorded (see table.py). A test under
    Hypothesis's `@given` takes no such fixture: wrap the property in a function of the test and call `fault` after it.
    """
    test = f"{request.path.name}::{request.node.originalname}"

    def observed(row: str, seen: str) -> None:
        if os.environ.get("WRITE_DOCS"):
            table.record(test, row, seen)

    return observed
