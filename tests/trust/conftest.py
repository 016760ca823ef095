"""The workshop of these tests: its helper module is found beside this folder."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from workshops import finished_workshop, new_workshop, pristine

__all__ = ["finished_workshop", "new_workshop", "pristine"]
