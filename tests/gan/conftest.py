"""The GAN tests' helper module is found beside them, that of the workshop beside this folder."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from workshops import new_workshop

__all__ = ["new_workshop"]
