"""The table in docs/faults.md is what the tests recorded, and no test of a fault is missing from it."""

import table


def test_every_fault_test_is_in_the_table():
    recorded: dict[str, set[str]] = {}
    for entry in table.load():
        recorded.setdefault(entry["test"], set()).add(entry["row"])
    tests = {test: rows for test, rows in table.declared().items() if not test.startswith("test_table.py")}
    assert set(recorded) == set(tests), "record with WRITE_DOCS=1, or take the row of a test that is gone out"
    for test, rows in tests.items():
        assert rows <= recorded[test], f"{test}: record with WRITE_DOCS=1"


def test_the_document_is_what_was_recorded():
    assert table.document() == table.DOCUMENT.read_text(encoding="utf-8"), "run python tests/faults/table.py"
