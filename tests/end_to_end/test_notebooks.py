"""The notebooks run from top to bottom on smoke settings, and are committed without what they printed."""

import json

import nbformat
import pytest
from nbclient import NotebookClient

from mlproject.config import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "notebooks"
# in the order in which a reader runs them: the second reads what the first has stored
NAMES = ("experiments", "evaluation")


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def texts(cell: nbformat.NotebookNode) -> str:
    """Everything that a cell showed, as text."""
    return "".join(
        output.get("text", "") + "".join(output.get("data", {}).get("text/markdown", "")) for output in cell.outputs
    )


def executed(name: str, desk) -> nbformat.NotebookNode:
    """The notebook after a run in a folder of its own."""
    notebook = read(name)
    (place,) = [number for number, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())]
    given = nbformat.v4.new_code_cell(f"CONFIG, DESK = 'smoke.yaml', {str(desk)!r}")
    notebook.cells.insert(place + 1, given)
    beside_it = {"metadata": {"path": str(FOLDER)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=beside_it).execute()
    return notebook


def test_every_notebook_is_known_here():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_committed_without_outputs(name):
    content = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    # nothing of whoever ran it last
    assert set(content["metadata"]) == {"kernelspec", "language_info"}


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_begins_with_what_can_be_switched(name):
    cells = read(name).cells
    (first,) = [cell for cell in cells if "parameters" in cell.metadata.get("tags", ())]
    assert first is next(cell for cell in cells if cell.cell_type == "code")
    scope: dict[str, str] = {}
    exec(first.source, scope)
    assert (PROJECT_ROOT / "configs" / scope["CONFIG"]).is_file()
    assert scope["DESK"] == ""


@pytest.mark.slow
def test_the_notebooks_run_one_after_the_other(tmp_path, monkeypatch):
    for name in ("OMP_NUM_THREADS", "JUPYTER_PLATFORM_DIRS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    before = set(FOLDER.iterdir())
    experiments, evaluation = (executed(name, tmp_path) for name in NAMES)
    shown = [texts(cell) for cell in experiments.cells if cell.cell_type == "code"]
    assert any("| hybrid |" in text and "| synthetic |" in text for text in shown)
    pictures = [
        output for notebook in (experiments, evaluation) for cell in notebook.cells if cell.cell_type == "code"
        for output in cell.outputs if "image/png" in output.get("data", {})
    ]  # fmt: skip
    # the comparison; three ROC curves, closest pairs and three explained crops
    assert len(pictures) == 1 + 3 + 1 + 3
    shown = [texts(cell) for cell in evaluation.cells if cell.cell_type == "code"]
    assert any("| hybrid |" in text for text in shown)
    assert any(text.startswith("Privacy audit: **") for text in shown)
    assert any("nt-classifier version " in text for text in shown)
    # all of it went to the folder that was named
    assert (tmp_path / "mlflow.db").is_file()
    assert set(FOLDER.iterdir()) == before
