"""What a person sees at the door: help in groups with defaults, colours on a terminal alone, the command to type next.

Imports nothing heavy: `--help` answers at once.
"""

import dataclasses
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mlproject.config import PROJECT_ROOT, load_config

EXIT_CODES = {
    0: "done",
    1: "something unforeseen (a traceback says where); verify_models: a model is not what was registered",
    2: "a mistake in options, configuration or input, told in one line",
    130: "interrupted by Ctrl-C or SIGTERM; the same command goes on from the last checkpoint",
}
_PROGRAM_OF_MLFLOW = "mlflow run . -e {entry_point} --env-manager local"


def echo(text: str, *, to_stderr: bool = False, **style: Any) -> None:
    """A line, coloured where it goes to a terminal and NO_COLOR (no-color.org) is not set."""
    click.secho(text, err=to_stderr, color=False if os.environ.get("NO_COLOR") else None, **style)


class GroupedOption(click.Option):
    """An option that says under which heading `--help` shows it, and from which field of which section it comes."""

    def __init__(self, *args: Any, group: str, field: dataclasses.Field[Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group, self.field = group, field

    @property
    def key(self) -> str:
        """`section.key` of the configuration; "" for an option that is not part of it."""
        return (self.name or "").replace("__", ".", 1) if self.field else ""

    @property
    def spellings(self) -> list[str]:
        """How the option is written, the plain name first; the dotted one only where there is no other."""
        return [name for name in self.opts if name != f"--{self.key}"] or list(self.opts)


def range_of(field: dataclasses.Field[Any]) -> str:
    """The closed range (`0 to 1`) or the choices of a field in words; "" where anything goes."""
    if field.type is bool:
        return "true or false"
    if field.metadata["choices"]:
        return ", ".join(field.metadata["choices"])
    low, high = field.metadata["minimum"], field.metadata["maximum"]
    return "" if low is None or high is None else f"{_number(low)} to {_number(high)}"


def default_of(value: Any) -> str:
    """A default as it is typed; "" for an empty text."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    return f"{int(value):,}" if float(value).is_integer() else f"{value:g}"


def help_records(options: list[GroupedOption], config_path: str) -> dict[str, list[tuple[str, str]]]:
    """Heading -> (spelling, explanation with range and default) of `--help`."""
    defaults = dataclasses.asdict(load_config(config_path or None))
    groups: dict[str, list[tuple[str, str]]] = {}
    for option in options:
        text = option.help or ""
        if option.field is not None:
            section, _, key = option.key.partition(".")
            default = default_of(defaults[section][key]) or "empty"
            allowed = "" if option.field.metadata["choices"] or option.field.type is bool else range_of(option.field)
            text += f"  [{f'{allowed}; ' if allowed else ''}default: {default}]"
        groups.setdefault(option.group, []).append((f"{', '.join(option.spellings)} {option.metavar}", text))
    return groups


@dataclasses.dataclass(frozen=True)
class Next:
    """A command to type after this one.

    Attributes:
        entry_point: its name.
        why: what it is good for, in a few words.
        options: name -> value.
        same_data: it works on the data that this command was told of, so its data options go along.
    """

    entry_point: str
    why: str
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    same_data: bool = True


def through_mlflow() -> bool:
    """Whether `mlflow run` started this process; to be asked at its start, as its run is taken out of the environment
    when it begins."""
    return bool(os.environ.get("MLFLOW_RUN_ID"))


def spelled(entry_point: str, options: Mapping[str, str], with_mlflow: bool = False) -> str:
    """The command as `mlflow run` or as a script, from the folder this process runs in."""
    given = {name: short_path(Path(value)) if Path(value).is_absolute() else value for name, value in options.items()}
    if with_mlflow:
        words = _PROGRAM_OF_MLFLOW.format(entry_point=entry_point).split()
        if (experiment := os.environ.get("MLFLOW_EXPERIMENT_ID", "0")) != "0":
            words += ["--experiment-id", experiment]
        return shlex.join(words + [part for name, value in given.items() for part in ("-P", f"{name}={value}")])
    script = short_path(PROJECT_ROOT / "src" / f"{entry_point}.py")
    return shlex.join(["python", script, *(part for name, value in given.items() for part in (f"--{name}", value))])


def short_path(path: Path) -> str:
    """Relative to the working folder where it lies in it, else absolute."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def say_next(steps: list[Next], carried: Mapping[str, str], with_mlflow: bool = False) -> None:
    """Print what to type next.

    Args:
        carried: options of this command that hold for the next one as well; those of data (`data`, `data.<key>`) go
            only where the next one works on the same data, and none over an option that it names itself.
        with_mlflow: spelled for `mlflow run`, as this command was.
    """
    if not steps:
        return
    echo("\nnext:", bold=True)
    activate = Path(sys.prefix) / "bin" / "activate"
    if activate.is_file() and os.environ.get("VIRTUAL_ENV") != sys.prefix:
        echo(f"  source {shlex.quote(short_path(activate))}", fg="cyan")
    for step in steps:
        along = {name: value for name, value in carried.items() if step.same_data or name.partition(".")[0] != "data"}
        echo(f"  {spelled(step.entry_point, along | dict(step.options), with_mlflow)}", fg="cyan", nl=False)
        echo(f"  # {step.why}", dim=True)
