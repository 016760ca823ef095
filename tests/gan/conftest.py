"""The GAN tests' helper module is found beside them, that of the workshop beside this folder."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
from workshops import new_workshop

__all__ = ["new_workshop"]
