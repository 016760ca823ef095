"""One setting: its field with help and range, and a given value turned into the field's type."""

import dataclasses
import difflib
import math
import re
import reprlib
from typing import Any

from mlproject.errors import UserError

_PASSWORD_IN_URL = re.compile(r"://[^/@:\s]*:[^/@\s]+@")
# a value in a message: one that fills the file would fill the screen
_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = _brief.maxlong = 100
shown = _brief.repr


def option(
    help: str, *, choices: tuple[str, ...] = (), minimum: float | None = None, maximum: float | None = None
) -> Any:
    """A dataclass field with its help text, its choices or its closed range."""
    metadata = {"help": help, "choices": choices, "minimum": minimum, "maximum": maximum}
    return dataclasses.field(metadata=metadata)


def nearest(name: str, known: list[str]) -> str:
    """`did you mean ...?` with the closest known name, or the list of all when none is close."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(known))}"


def convert(where: str, field: dataclasses.Field[Any], value: Any) -> Any:
    """`value` as the field's type, checked against its choices and range.

    Raises:
        UserError: names `where`, the value and what was expected.
    """
    kind = field.type

    def refuse(expected: str) -> UserError:
        return UserError(f"{where}: {shown(value)} is not {expected} ({field.metadata['help']})")

    if kind is bool:
        words = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
        if not isinstance(value, bool):
            if str(value).strip().lower() not in words:
                raise refuse("true or false")
            value = words[str(value).strip().lower()]
    elif kind in (int, float):
        if isinstance(value, bool):
            raise refuse("a number")
        try:
            # YAML 1.1 reads 1e-3 as text, so numbers are converted from text as well
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            raise refuse("a whole number" if kind is int else "a number") from None
        if not math.isfinite(number) or (kind is int and not number.is_integer()):
            raise refuse("a whole number" if kind is int else "a finite number")
        value = kind(number)
        low, high = field.metadata["minimum"], field.metadata["maximum"]
        if (low is not None and value < low) or (high is not None and value > high):
            raise refuse(f"between {low:g} and {high:g}")
    else:
        if value is None or isinstance(value, (dict, list)):
            raise refuse("text")
        value = str(value)
        if _PASSWORD_IN_URL.search(value):
            raise UserError(
                f"{where}: a password in a URL would be printed and logged; leave it out, and give it as PGPASSWORD in "
                "the environment or in ~/.pgpass"
            )
        choices = field.metadata["choices"]
        if choices and value not in choices:
            close = difflib.get_close_matches(value, choices, n=1)
            raise refuse(f"one of {', '.join(choices)}" + (f", did you mean {close[0]}?" if close else ""))
    return value
