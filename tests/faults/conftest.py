"""What the tests of faults share: what they observe is recorded for docs/faults.md."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# the helper modules of these tests and those above, here and in the processes that they start
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "study"))
sys.path.insert(0, str(Path(__file__).parent))
import table
from workshops import Workshop, new_workshop

__all__ = ["new_workshop"]

SMALL = """
run: {workers: 1, threads: 1, device: cpu}
data: {source: classes, size: 32, val_fraction: 0.3, test_fraction: 0.3, split: fractions, clahe_clip: 0}
gan: {steps: 2, batch_size: 4, base_channels: 4, latent_dim: 8, log_every: 1, grid_every: 100, checkpoint_every: 1,
      precision: fp32, critic_steps: 1, feature_critic: 0, auxiliary: 0}
synthesis: {per_class: 4, batch_size: 8}
classifier: {backbone: test_efficientnet, weights: none, steps: 2, batch_size: 4, eval_every: 1, checkpoint_every: 1,
             synthetic_per_class: 4}
fidelity: {while_training: 0}
evaluation: {bootstrap: 100}
"""


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


@pytest.fixture
def desk(new_workshop: Callable[[str], Workshop]) -> Workshop:
    """A workshop of its own for each test, with images, the smallest networks and an empty store."""
    workshop = new_workshop("desk")
    (workshop.folder / "config.yaml").write_text(SMALL)
    return workshop


@pytest.fixture
def prepared(desk: Workshop) -> Workshop:
    """The desk with its data set made, in the folder `set`."""
    pictures = ("--data.path", str(desk.folder / "pictures"))
    desk.succeed("prepare_data", *pictures, "--out", str(desk.folder / "set"))
    return desk
