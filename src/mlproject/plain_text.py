"""Text that came from outside (names of files, subjects, sites), made fit for a terminal and a spreadsheet."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

# C0 and C1 controls, the line and paragraph separators, and halves of surrogate pairs, which UTF-8 cannot hold:
# os.listdir makes those of bytes that are no UTF-8
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# a spreadsheet runs a cell that begins with one of these, unless it is a number
_FORMULA = re.compile("'*(?![+-]?[0-9]+([.][0-9]+)?$)[=+\\-@\uff1d\uff0b\uff0d\uff20\t\r\n]")


def is_fit(text: str) -> bool:
    """Whether a name has no control characters, no line breaks and nothing that UTF-8 cannot hold."""
    return _UNFIT.search(text) is None


def escaped(text: str) -> str:
    """The text with the characters that `is_fit` refuses as Python writes them: `\\n`, `\\x1b`, `\\udcff`."""
    return _UNFIT.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def text_cell(text: str) -> str:
    """Text that a spreadsheet shows and does not run: one that begins like a formula gets an apostrophe in front.

    One that begins with apostrophes and then like a formula gets another, so that `text_of` takes back just what was
    added here. Numbers, -1 among them, stay as they are.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def text_of(cell: str) -> str:
    """The text that `text_cell` wrote as `cell`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def as_cells(rows: "pd.DataFrame") -> "pd.DataFrame":
    """A table with every text as `text_cell` writes it; numbers and gaps stay."""
    return _each_text(rows, text_cell)


def of_cells(rows: "pd.DataFrame") -> "pd.DataFrame":
    """The table that `as_cells` was given."""
    return _each_text(rows, text_of)


def _each_text(rows: "pd.DataFrame", change: Callable[[str], str]) -> "pd.DataFrame":
    texts = [name for name in rows if rows[name].dtype.kind not in "biuf"]
    return rows.assign(
        **{name: rows[name].map(lambda value: change(value) if isinstance(value, str) else value) for name in texts}
    )


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    scheme, separator, rest = url.partition("://")
    credentials, at, place = rest.rpartition("@")
    return f"{scheme}{separator}{credentials.partition(':')[0]}{at}{place}"
