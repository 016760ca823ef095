"""The table of faults: what each test observed, kept in seen.json and written to docs/faults.md.

`WRITE_DOCS=1 pytest -m "" tests/faults` records what is seen, `python tests/faults/table.py` writes the document.
"""

import ast
import fcntl
import json
import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
SEEN = HERE / "seen.json"
DOCUMENT = HERE.parents[1] / "docs" / "faults.md"
_HEAD = """# Faults, and what happens then

Every row was observed by the test beside it, which makes the fault happen to the real thing: real processes are
killed, real servers stopped, real disks filled. The tests of tests/faults/ record what they see
(`WRITE_DOCS=1 pytest -m "" tests/faults`), and `python tests/faults/table.py` writes it here. Times are of two shared
cores.
"""


def record(test: str, row: str, seen: str) -> None:
    """Keep what a test saw; a later observation of the same row replaces it. Several processes may record at once."""
    folder = os.open(HERE, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        entries = [entry for entry in load() if (entry["test"], entry["row"]) != (test, row)]
        entries.append({"test": test, "row": row, "seen": seen})
        entries.sort(key=lambda entry: (entry["test"], entry["row"]))
        unfinished = SEEN.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(entries, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        unfinished.replace(SEEN)
    finally:
        os.close(folder)


def load() -> list[dict[str, str]]:
    """Every observation: test (`test_x.py::test_y`), row and seen."""
    return json.loads(SEEN.read_text(encoding="utf-8")) if SEEN.exists() else []


def declared() -> dict[str, set[str]]:
    """Test -> the rows that its source names as literals in `fault("...", ...)`, in the order of the files."""
    found: dict[str, set[str]] = {}
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found[f"{path.name}::{node.name}"] = {
                    call.args[0].value
                    for call in ast.walk(node)
                    if isinstance(call, ast.Call)
                    and isinstance(call.func, ast.Name)
                    and call.func.id == "fault"
                    and call.args
                    and isinstance(call.args[0], ast.Constant)
                }
    return found


def document() -> str:
    """docs/faults.md: a table for each file of tests, its rows in the order of the tests."""
    entries = load()
    lines = [_HEAD]
    for path in sorted(HERE.glob("test_*.py")):
        rows = [
            f"| {_cell(entry['row'])} | {_cell(entry['seen'])} | `{test.partition('::')[2]}` |"
            for test in declared()
            if test.startswith(f"{path.name}::")
            for entry in entries
            if entry["test"] == test
        ]
        if rows:
            title = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or path.stem).splitlines()[0]
            lines += [f"## {title.rstrip('.')}", "", f"tests/faults/{path.name}", ""]
            lines += ["| fault | what was seen | test |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
    print(f"{len(load())} rows written to {DOCUMENT}")
