"""The plan of the house: which rooms stand on which floor, what imports what, and the drawing of it.

Read from the source with `ast`; nothing of the project is imported. `tests/docs/test_house.py` holds the rules.
"""

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "mlproject"

# from the roof down; an import goes to the same floor or to a lower one
FLOORS: dict[str, tuple[str, ...]] = {
    "doors": ("scripts", "cli"),
    "stages": ("stages", "chain", "together"),
    "store and models": (
        "promotion",
        "cards",
        "card_lines",
        "card_items",
        "card_rules",
        "card_answers",
        "card_facts",
        "registry",
        "served",
        "served_folder",
        "served_requests",
        "signing",
        "released",
        "tracking",
        "system_metrics",
        "lost_runs",
        "remote",
    ),
    "study": ("study", "tuning"),
    "networks": ("gan", "classifier"),
    "figures": ("evaluation",),
    "images": ("data",),
    "ground": (
        "config",
        "runtime",
        "checkpoint",
        "checksums",
        "files",
        "pipeline",
        "journal",
        "processes",
        "distributed",
        "torchrun",
        "memory",
        "environment",
        "terminal",
        "progress",
        "plain_text",
        "errors",
    ),
}
# libraries that act on the world outside, and the only rooms and modules that may import them
GUARDED: dict[str, tuple[str, ...]] = {
    "mlflow": ("tracking", "registry", "served", "served_folder", "served_requests", "lost_runs", "system_metrics"),
    "optuna": ("tuning.search", "tuning.plots", "stages.tune", "stages.tune_trial", "stages.tune_result"),
    "click": ("cli", "terminal"),
}
# mathematics: nothing that they import, and nothing that those import, may lead to a guarded library
PURE_FLOORS = ("networks", "figures", "images")
PURE_ROOMS = ("study",)


@dataclass(frozen=True)
class Module:
    """A module of the house.

    Attributes:
        name: dotted, without the package: `gan.losses`, `config`, `scripts.train_gan`.
        text: the first line of its docstring.
        imports: modules of the house that it imports, also inside functions, not for typing alone.
        libraries: top-level names of everything else that it imports.
    """

    name: str
    text: str
    imports: frozenset[str]
    libraries: frozenset[str]

    @property
    def room(self) -> str:
        return self.name.partition(".")[0]


@functools.cache
def modules(root: Path = ROOT) -> dict[str, Module]:
    """Every module of the package and every script, by name."""
    paths = {path.stem: path for path in (root / "src").glob("*.py")}
    paths = {f"scripts.{name}": path for name, path in paths.items()}
    for path in (root / "src" / PACKAGE).rglob("*.py"):
        relative = path.relative_to(root / "src" / PACKAGE)
        parts = relative.with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            paths[name] = path
    return {name: _read(name, path, paths.keys()) for name, path in sorted(paths.items())}


def _read(name: str, path: Path, known: object) -> Module:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    inside, outside = set(), set()
    for full in _imported(tree):
        if full.partition(".")[0] != PACKAGE:
            outside.add(full.partition(".")[0])
            continue
        target = full.partition(".")[2]
        # `from mlproject.data.crops import Crops` names a module and something in it
        while target and target not in known:  # type: ignore[operator]
            target = target.rpartition(".")[0]
        if target and target != name:
            inside.add(target)
    text = (ast.get_docstring(tree) or "").partition("\n")[0]
    return Module(name, text, frozenset(inside), frozenset(outside))


def _imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names that a module imports, except under `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for other in node.orelse:
                yield from _imported(other)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from _imported(node)


def floor_of(room: str) -> int:
    """The number of a room's floor, 0 at the roof; -1 for a room that no floor names."""
    return next((number for number, rooms in enumerate(FLOORS.values()) if room in rooms), -1)


def problems(found: dict[str, Module]) -> list[str]:
    """Everything that is not as the plan says, in words."""
    told = []
    for room in sorted({module.room for module in found.values()}):
        if floor_of(room) < 0:
            told.append(f"{room} stands on no floor: name it in FLOORS of tools/house.py")
    for module in found.values():
        for other in sorted(module.imports):
            if 0 <= floor_of(found[other].room) < floor_of(module.room):
                told.append(f"{module.name} imports {other}, which stands above it")
        for library in sorted(module.libraries & GUARDED.keys()):
            if not {module.name, module.room} & set(GUARDED[library]):
                told.append(f"{module.name} imports {library}; only {', '.join(GUARDED[library])} may")
        if module.room in pure_rooms():
            for other in sorted(reached(module.name, found)):
                for library in sorted(found[other].libraries & GUARDED.keys()):
                    told.append(f"{module.name} is mathematics and reaches {library} through {other}")
    told += [f"imports go round: {' -> '.join(circle)}" for circle in circles(found)]
    return told


def pure_rooms() -> set[str]:
    """Rooms of mathematics."""
    return {room for floor in PURE_FLOORS for room in FLOORS[floor]} | set(PURE_ROOMS)


def reached(name: str, found: dict[str, Module]) -> set[str]:
    """A module and all that it imports, directly or through others."""
    seen, waiting = {name}, [name]
    while waiting:
        for other in found[waiting.pop()].imports - seen:
            seen.add(other)
            waiting.append(other)
    return seen


def circles(found: dict[str, Module]) -> list[list[str]]:
    """Modules that import each other in a circle, each circle once, beginning and ending with the same name."""
    told, done = [], set()
    for name in sorted(found):
        for other in sorted(found[name].imports):
            if name in reached(other, found) and name not in done:
                inside = sorted(member for member in reached(name, found) if name in reached(member, found))
                done |= set(inside)
                told.append([*inside, inside[0]])
    return told


def room_imports(found: dict[str, Module]) -> dict[str, set[str]]:
    """Room -> the other rooms that its modules import."""
    rooms: dict[str, set[str]] = {module.room: set() for module in found.values()}
    for module in found.values():
        rooms[module.room] |= {found[other].room for other in module.imports} - {module.room}
    return rooms
