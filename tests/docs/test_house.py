"""Imports go downwards, never round, and mathematics reaches nothing that acts on the world outside."""

from pathlib import Path

import house
import pytest


def test_the_house_is_as_the_plan_says() -> None:
    assert house.problems(house.modules()) == []


def test_every_room_of_the_plan_exists() -> None:
    rooms = {module.room for module in house.modules().values()}
    planned = {room for rooms_of_floor in house.FLOORS.values() for room in rooms_of_floor}
    assert planned - rooms == set()
    named = {name for names in house.GUARDED.values() for name in names}
    assert named - house.modules().keys() == set()


@pytest.fixture
def built(tmp_path: Path):
    """A house of these files."""

    def build(**texts: str) -> list[str]:
        for name, text in texts.items():
            path = tmp_path / "src" / "mlproject" / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return house.problems(house.modules(tmp_path))

    return build


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        ({"files": "from mlproject import tracking", "tracking": ""}, "files imports tracking, which stands above it"),
        ({"gan__losses": "import mlflow.pytorch"}, "gan.losses imports mlflow; only tracking"),
        (
            {"data__crops": "def f():\n    from mlproject.terminal import echo", "terminal": "import click"},
            "data.crops is mathematics and reaches click through terminal",
        ),
        (
            {"files": "from mlproject.checksums import x", "checksums": "from mlproject.files import y"},
            "imports go round: checksums -> files -> checksums",
        ),
        ({"attic": ""}, "attic stands on no floor"),
    ],
)
def test_what_is_against_the_plan_is_told(built, texts, told) -> None:
    assert any(line.startswith(told) for line in built(**texts)), built(**texts)


def test_imports_for_typing_alone_do_not_count(built) -> None:
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from mlproject import tracking\n"
    assert built(files=text, tracking="") == []
