"""Two processes that torchrun starts, once for all tests that compare them with one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# `pair.py` and the tiny trainings of the GAN's tests are found here and in the processes
PLACES = [str(HERE), str(HERE.parent / "gan"), str(HERE.parents[1] / "src")]
sys.path[:0] = PLACES[:2]


@pytest.fixture(scope="session")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what two processes left behind after every case of `pair.py`."""
    folder = tmp_path_factory.mktemp("together")
    from pair import torchrun  # found by the path above

    command = torchrun(str(HERE / "pair.py"), str(folder))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(PLACES)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    return folder
