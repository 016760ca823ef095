"""The plan of the house (`house.py`) as a drawing, docs/images/plan.svg, and as a page, docs/plan.md."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import house

DRAWING, PAGE = Path("docs/images/plan.svg"), Path("docs/plan.md")
_WIDTH, _LABEL, _BOX, _GAP, _LINE = 1040, 130, (124, 34), 10, 46
_ACROSS = (_WIDTH - _LABEL - _GAP) // (_BOX[0] + _GAP)


def drawing(found: dict[str, house.Module]) -> str:
    """The floors from the roof down, each with its rooms; a room's tooltip says what it does and what it imports."""
    imports, rooms = house.room_imports(found), {module.room for module in found.values()}
    parts, top = [], 12
    for floor, names in house.FLOORS.items():
        present = [name for name in names if name in rooms]
        lines = -(-len(present) // _ACROSS)
        height = lines * _LINE + 8
        parts.append(f'<rect class="floor" x="4" y="{top}" width="{_WIDTH - 8}" height="{height}" rx="6"/>')
        parts.append(f'<text class="name" x="16" y="{top + height / 2 + 5:g}">{escape(floor)}</text>')
        for number, name in enumerate(present):
            x = _LABEL + (number % _ACROSS) * (_BOX[0] + _GAP)
            y = top + 10 + (number // _ACROSS) * _LINE
            told = f"{text_of(name, found)} Imports: {', '.join(sorted(imports[name])) or 'nothing of the house'}."
            parts.append(
                f'<g><title>{escape(told)}</title><rect class="{_kind(name)}" x="{x}" y="{y}" width="{_BOX[0]}" '
                f'height="{_BOX[1]}" rx="4"/><text x="{x + _BOX[0] / 2:g}" y="{y + 22}" text-anchor="middle">'
                f"{escape(name)}</text></g>"
            )
        top += height + 8
    parts.append(f'<text class="foot" x="16" y="{top + 16}">An import goes to the same floor or to a lower one.</text>')
    parts.append(f'<rect class="pure" x="470" y="{top + 4}" width="16" height="16" rx="3"/>')
    parts.append(f'<text class="foot" x="494" y="{top + 16}">mathematics: reaches no MLflow, Optuna or click</text>')
    style = (
        "text{font:13px sans-serif;fill:#1b1f24}.name{font-weight:bold}.foot{fill:#4a525c}"
        ".floor{fill:#f1f3f6}.room{fill:#fff;stroke:#8a94a0}.pure{fill:#dcefe3;stroke:#3f8f63}"
    )
    size = f'width="{_WIDTH}" height="{top + 30}" viewBox="0 0 {_WIDTH} {top + 30}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>The plan of the house</title>'
    back = f'<rect width="{_WIDTH}" height="{top + 30}" rx="8" fill="#ffffff"/>'
    return "\n".join([head, f"<style>{style}</style>", back, *parts, "</svg>"]) + "\n"


def _kind(room: str) -> str:
    return "pure" if room in house.pure_rooms() else "room"


def text_of(room: str, found: dict[str, house.Module]) -> str:
    """What a room does: the first line of its docstring, or of the modules in it their names."""
    if room in found and found[room].text:
        return found[room].text
    names = sorted(name.partition(".")[2] for name in found if name.startswith(f"{room}."))
    return ", ".join(names) + "."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def page(found: dict[str, house.Module]) -> str:
    """The drawing, the rules, and every room with what it does and imports."""
    imports, rooms = house.room_imports(found), {module.room for module in found.values()}
    lines = [
        "# The plan of the house",
        "",
        "Written by `python tools/write_docs.py` from the source; `tests/docs/test_house.py` holds the rules:",
        "",
        "- an import goes to the same floor or to a lower one, and never round in a circle;",
        *(
            f"- `{name}` is imported by {', '.join(f'`{m}`' for m in may)} alone;"
            for name, may in house.GUARDED.items()
        ),
        "- mathematics (" + ", ".join(f"`{room}`" for room in sorted(house.pure_rooms())) + ") reaches none of these.",
        "",
        f"![floors and rooms of the package]({DRAWING.relative_to('docs').as_posix()})",
    ]
    for floor, names in house.FLOORS.items():
        lines += ["", f"## {floor.capitalize()}", "", "| room | what is in it | imports |", "|---|---|---|"]
        for name in names:
            if name in rooms:
                told = text_of(name, found).replace("|", "\\|").replace("<", "&lt;")
                lines.append(f"| `{name}` | {told} | {', '.join(sorted(imports[name])) or '–'} |")
    return "\n".join(lines) + "\n"
