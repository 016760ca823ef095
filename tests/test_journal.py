"""The metric journal: what was reported is there, whatever happened to the process."""

import math
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlproject.config import PROJECT_ROOT
from mlproject.errors import UserError
from mlproject.journal import Entry, Journal

floats = st.floats(allow_nan=False)
reports = st.lists(st.tuples(st.integers(0, 50), st.dictionaries(st.text(max_size=8), floats, max_size=3)), max_size=12)


@given(reports=reports)
def test_entries_come_back_exactly_and_in_order(tmp_path_factory, reports):
    path = tmp_path_factory.mktemp("journal") / "metrics.jsonl"
    with Journal(path) as journal:
        written = [journal.append(step, values, time_ms=7) for step, values in reports]
        assert journal.entries() == written  # while it is still open
    assert Journal(path).entries() == [Entry(step, values, 7) for step, values in reports]


@given(reports=reports, limit=st.integers(-1, 51), torn=st.binary(max_size=20))
def test_truncation_keeps_the_steps_up_to_the_limit_and_no_torn_line(tmp_path_factory, reports, limit, torn):
    path = tmp_path_factory.mktemp("journal") / "metrics.jsonl"
    with Journal(path) as journal:
        written = [journal.append(step, values) for step, values in reports]
    with open(path, "ab") as stream:
        stream.write(torn.replace(b"\n", b""))
    expected = [entry for entry in written if entry.step <= limit]
    journal = Journal(path)
    assert journal.truncate_above(limit) == expected
    journal.append(99, {"after": 1.0})
    journal.close()
    assert [entry.step for entry in Journal(path).entries()] == [entry.step for entry in expected] + [99]


def test_not_finite_values_survive(tmp_path):
    with Journal(tmp_path / "j") as journal:
        journal.append(1, {"a": math.nan, "b": math.inf, "c": -math.inf})
    values = Journal(tmp_path / "j").entries()[0].values
    assert math.isnan(values["a"])
    assert (values["b"], values["c"]) == (math.inf, -math.inf)
    assert "NaN" not in (tmp_path / "j").read_text()  # JSON has none


def test_a_torn_line_does_not_swallow_the_next_one(tmp_path):
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.append(1, {"a": 1.0})
    with open(path, "ab") as stream:
        stream.write(b'{"step": 2, "tim')
    with Journal(path) as journal:
        journal.append(3, {"a": 3.0})
    assert [entry.step for entry in Journal(path).entries()] == [1, 3]


def test_no_file_is_an_empty_journal(tmp_path):
    journal = Journal(tmp_path / "none")
    assert journal.entries() == []
    assert journal.truncate_above(5) == []
    assert not (tmp_path / "none").exists()


def test_a_line_that_is_no_entry_is_named(tmp_path):
    path = tmp_path / "j"
    path.write_text('{"step": 1, "time_ms": 1, "values": {}}\nnonsense\n')
    with pytest.raises(UserError, match="line 2"):
        Journal(path).entries()


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        Journal(tmp_path / "file" / "j").append(1, {})


WRITER = """
import sys
from mlproject.journal import Journal
journal = Journal(sys.argv[1])
for step in range(10**9):
    journal.append(step, {"loss": 1 / (step + 1), "rate": 0.1})
    if step % 100 == 0:
        print(step, flush=True)
"""


def test_a_killed_process_leaves_every_entry_it_had_reported(tmp_path):
    path = tmp_path / "metrics.jsonl"
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT / "src")}
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    for _ in range(5):
        told = int(process.stdout.readline())
    time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    entries = Journal(path).entries()
    # none missing, none doubled, at least as many as the process said before it died
    assert [entry.step for entry in entries] == list(range(len(entries)))
    assert len(entries) > told
    assert all(entry.values == {"loss": 1 / (entry.step + 1), "rate": 0.1} for entry in entries)
    kept = Journal(path).truncate_above(123)
    assert len(kept) == 124
