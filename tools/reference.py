"""The pages of docs/reference/: every entry point with every option, read from the commands themselves."""

import importlib.util
from pathlib import Path
from typing import Any

import yaml

from mlproject.cli import EntryPoint
from mlproject.config import PROJECT_ROOT, as_nested, load_config
from mlproject.terminal import EXIT_CODES, GroupedOption, default_of, range_of

FOLDER = Path("docs/reference")
MLPROJECT: dict[str, Any] = yaml.safe_load((PROJECT_ROOT / "MLproject").read_text(encoding="utf-8"))
ENTRY_POINTS: tuple[str, ...] = tuple(MLPROJECT["entry_points"])


def command_of(entry_point: str) -> EntryPoint:
    """The command in `src/<entry point>.py`, loaded without running it."""
    path = PROJECT_ROOT / "src" / f"{entry_point}.py"
    spec = importlib.util.spec_from_file_location(f"door_{entry_point}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: EntryPoint = module.main
    return found


def options_of(command: EntryPoint) -> list[GroupedOption]:
    """The options of a command in the order of its help."""
    return [parameter for parameter in command.params if isinstance(parameter, GroupedOption)]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def page(entry_point: str) -> str:
    """The page of one entry point."""
    command = command_of(entry_point)
    defaults = as_nested(load_config(command.default_config or None))
    declared = list(MLPROJECT["entry_points"][entry_point]["parameters"])
    example = f"mlflow run . -e {entry_point} --env-manager local"
    file = Path(command.default_config).name if command.default_config else "default.yaml"
    lines = [
        f"# {entry_point}",
        "",
        f"{(command.help or '').strip()}",
        "",
        "```bash",
        example,
        f"python src/{entry_point}.py --help",
        "```",
        "",
        f"Defaults are those of `configs/{file}`; `-P <name>=<value>` after `mlflow run`, `--<name> <value>` after the "
        f"script. Declared in `MLproject`: {', '.join(f'`{name}`' for name in declared)}; every other option is given "
        "in the same way.",
    ]
    group = ""
    for option in options_of(command):
        if option.group != group:
            group = option.group
            lines += ["", f"## {_cell(group.split('. ')[0])}", ""]
            if note := group.partition(". ")[2]:
                lines += [f"{note[:1].upper()}{note[1:].replace('<', '&lt;')}.", ""]
            head = "| option | what it is | default | range |" if option.field else "| option | what it is |"
            lines += [head, "|" + "---|" * (head.count("|") - 1)]
        names = ", ".join(f"`{name.removeprefix('--')}`" for name in option.spellings)
        if option.field is None:
            lines.append(f"| {names} | {_cell(option.help or '')} |")
            continue
        section, _, key = option.key.partition(".")
        default = default_of(defaults[section][key])
        shown = f"`{_cell(default)}`" if default else "empty"
        lines.append(f"| {names} | {_cell(option.help or '')} | {shown} | {_cell(range_of(option.field)) or 'text'} |")
    return "\n".join(lines) + "\n"


def index() -> str:
    """The list of entry points, and what holds for all."""
    lines = [
        "# Entry points",
        "",
        "Written by `python tools/write_docs.py` from the commands themselves; a test holds these pages current.",
        "",
        "| entry point | what it does |",
        "|---|---|",
    ]
    for name in ENTRY_POINTS:
        lines.append(f"| [{name}]({name}.md) | {_cell(' '.join((command_of(name).help or '').split()))} |")
    lines += [
        "",
        "Names take underscores or hyphens, truth values are `true` and `false`, and an empty value means what the "
        "configuration file says. A key of an earlier stage has a dotted name (`data.n_train`), and the dotted name "
        "works for own keys as well (`gan.lambda_gp`). `dry_run=true` prints the resolved configuration and stops.",
        "",
        "## Exit codes",
        "",
        "| code | meaning |",
        "|---|---|",
        *(f"| {code} | {_cell(text)} |" for code, text in EXIT_CODES.items()),
        "",
        "`mlflow run` turns every code but 0 into 1. What ends in 2 is listed as it is printed in "
        "[What is refused](../errors.md).",
    ]
    return "\n".join(lines) + "\n"


def pages() -> dict[Path, str]:
    """Path from the project's root -> text."""
    return {FOLDER / "index.md": index()} | {FOLDER / f"{name}.md": page(name) for name in ENTRY_POINTS}
