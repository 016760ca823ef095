"""What is searched: a line of text for each setting, checked against the configuration's own types and ranges."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlproject.config import SECTIONS, Configuration, convert, nearest
from mlproject.errors import UserError

# settings of data and evaluation would change what a trial is measured on, those of synthesis would change nothing: a
# trial draws classifier.synthetic_per_class images of each class
SEARCHED_SECTIONS = ("gan", "classifier")
# who is trained on how much, and what the search sets itself, is the same for every trial
_FIXED = (
    "seed", "subjects", "anomalous_share", "steps", "epochs", "mix", "oversample",
    "log_every", "grid_every", "checkpoint_every", "eval_every",
)  # fmt: skip
_FORMS = {
    "uniform": "uniform <low> <high>",
    "log": "log <low> <high>",
    "integer": "integer <low> <high>",
    "grid": "grid <value> <value> ...",
    "choice": "choice <value> <value> ...",
    "log-grid": "log-grid <low> <high> <number of values>",
}
_DIGITS = 4  # significant ones of a drawn number: what is printed repeats the trial


@dataclass(frozen=True)
class Parameter:
    """One setting and where it may lie: between `low` and `high`, or among `values` in their order."""

    name: str  # section.key
    kind: str  # uniform, log, integer or choice; a grid is a choice
    low: float = 0.0
    high: float = 0.0
    values: tuple[Any, ...] = ()

    def __str__(self) -> str:
        shown = self.values if self.kind == "choice" else (self.low, self.high)
        return f"{self.name}: {self.kind} {' '.join(_shown(value) for value in shown)}"

    def contains(self, value: Any) -> bool:
        """Whether the search could come to this value."""
        return value in self.values if self.kind == "choice" else self.low <= value <= self.high

    def rounded(self, value: Any) -> Any:
        """A drawn number with four significant digits, still inside the range; anything else as it is."""
        if self.kind not in ("uniform", "log"):
            return value
        return min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def parse_space(text: str) -> tuple[Parameter, ...]:
    """The parameters of `<section>.<key>: <form>; <section>.<key>: <form>`, sorted by name.

    Forms: `uniform low high`, `log low high` (uniform in the logarithm), `integer low high`, `grid a b c` or
    `choice a b c`, and `log-grid low high n`, n values with equal ratios.

    Raises:
        UserError: another form, an unknown setting (the nearest one is named), one that cannot be searched, a value
            that the setting does not take, or a setting named twice.
    """
    parameters: dict[str, Parameter] = {}
    for entry in re.split(r"[;\n]", text):
        if not entry.strip():
            continue
        name, _, form = (part.strip() for part in entry.partition(":"))
        if name in parameters:
            raise UserError(f"tune.space: {name} stands twice; name each setting once")
        parameters[name] = _parse_parameter(name, form.split())
    if not parameters:
        raise UserError("tune.space: names nothing; expected such as 'classifier.synthetic_fraction: uniform 0 0.8'")
    return tuple(parameters[name] for name in sorted(parameters))


def _parse_parameter(name: str, words: list[str]) -> Parameter:
    field = _field(name)
    where = f"tune.space: {name}"
    kind, given = (words[0], words[1:]) if words else ("", [])
    if kind not in _FORMS:
        known = ", ".join(_FORMS.values())
        raise UserError(f"{where}: {' '.join(words)!r} is no form of a range; expected one of: {known}")
    wanted = {"uniform": 2, "log": 2, "integer": 2, "log-grid": 3}.get(kind)
    if (wanted and len(given) != wanted) or (not wanted and len(given) < 2):
        raise UserError(f"{where}: {' '.join(words)!r}; expected {_FORMS[kind]}")
    if kind in ("grid", "choice"):
        values = tuple(convert(where, field, value) for value in given)
        if len(set(values)) < len(values):
            raise UserError(f"{where}: {' '.join(given)} names a value twice; name each once")
        return Parameter(name, "choice", values=values)
    numeric = {"integer": (int,), "log-grid": (int, float)}.get(kind, (float,))
    if field.type not in numeric:
        takes: dict[Any, str] = {
            int: "whole numbers: use integer, grid or log-grid",
            float: "numbers: use uniform, log or a grid",
        }
        raise UserError(f"{where}: {kind} does not fit; it takes {takes.get(field.type, 'words: use choice')}")
    low, high = (convert(where, field, value) for value in given[:2])
    if not low < high:
        raise UserError(f"{where}: {given[0]} is not below {given[1]}; expected {_FORMS[kind]}")
    if kind in ("log", "log-grid") and low <= 0:
        raise UserError(f"{where}: a logarithmic range starts above 0, found {given[0]}")
    if kind != "log-grid":
        return Parameter(name, kind, low, high)
    if not given[2].isdigit() or not 2 <= int(given[2]) <= 100:
        raise UserError(f"{where}: {given[2]!r} values; expected a number from 2 to 100")
    drawn = [float(f"{value:.{_DIGITS}g}") for value in np.geomspace(low, high, int(given[2]))]
    values = tuple(convert(where, field, round(value) if field.type is int else value) for value in drawn)
    if len(set(values)) < len(values):
        raise UserError(
            f"{where}: {given[2]} whole numbers do not fit between {given[0]} and {given[1]}; ask for fewer"
        )
    return Parameter(name, "choice", values=values)


def _field(name: str) -> dataclasses.Field[Any]:
    section, _, key = name.partition(".")
    if section not in SEARCHED_SECTIONS:
        raise UserError(
            f"tune.space: {name!r}: only settings of {', '.join(SEARCHED_SECTIONS)} are searched, written as "
            f"<section>.<key>; {nearest(section, list(SEARCHED_SECTIONS))}"
        )
    fields = {field.name: field for field in dataclasses.fields(SECTIONS[section])}
    if key not in fields:
        raise UserError(f"tune.space: unknown setting {name}; {nearest(key, list(fields))}")
    if key in _FIXED:
        raise UserError(
            f"tune.space: {name} is the same for every trial and cannot be searched; set it outside the space"
        )
    return fields[key]


def space_text(space: tuple[Parameter, ...]) -> str:
    """The space in one spelling, by which two spaces are told apart."""
    return "; ".join(str(parameter) for parameter in space)


def settings_of(config: Configuration, space: tuple[Parameter, ...]) -> dict[str, Any]:
    """What a configuration has in the place of each parameter."""
    return {parameter.name: _read(config, parameter.name) for parameter in space}


def _read(config: Configuration, name: str) -> Any:
    section, _, key = name.partition(".")
    return getattr(getattr(config, section), key)


def with_settings(config: Configuration, settings: Mapping[str, Any]) -> Configuration:
    """The configuration with some settings, under dotted names, replaced."""
    for name, value in settings.items():
        section, _, key = name.partition(".")
        changed = dataclasses.replace(getattr(config, section), **{key: value})
        config = dataclasses.replace(config, **{section: changed})
    return config
