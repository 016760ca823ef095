"""The benchmark's modules are found beside `run.py`, as Python finds them when it is run."""

import sys

from mlproject.config import PROJECT_ROOT

sys.path.insert(0, str(PROJECT_ROOT / "benchmarks"))
