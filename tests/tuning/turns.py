"""python turns.py DATABASE FILE: adds 30 to the number in a file, one turn each, and ends with a turn in its hands."""

import sys
import time
from pathlib import Path

from mlproject.tuning.database import Locks

locks, path = Locks(sys.argv[1]), Path(sys.argv[2])
for _ in range(30):
    with locks.held("turn"):
        count = int(path.read_text())
        time.sleep(0.001)
        path.write_text(str(count + 1))
locks.take("turn")
sys.exit(1)
