"""The report's page: sections of text, figures, tables and pictures in one HTML file that asks nothing of a network."""

import base64
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mlproject.plain_text import as_cells
from mlproject.study.drawing import THEME, Drawing

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def data_uri(kind: str, content: bytes) -> str:
    """`content` as a data URI of the media type `kind`."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """A table as CSV, texts as cells, with numbers that read back exactly."""
    return as_cells(frame).to_csv(index=False, float_format="%.17g", lineterminator="\n").encode("utf-8")


@dataclass(frozen=True)
class Table:
    """A table for the page, and the numbers behind it for its CSV.

    `rows` are texts, the first of each row its heading; `name` is the stem of the CSV.
    """

    name: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: pd.DataFrame
    folded: bool = False

    @property
    def csv(self) -> str:
        """The CSV as a data URI."""
        return data_uri("text/csv", csv_bytes(self.numbers))


def table(
    name: str,
    caption: str,
    frame: pd.DataFrame,
    columns: Mapping[str, Callable[[Any], str]],
    *,
    numbers: pd.DataFrame | None = None,
    folded: bool = False,
) -> Table:
    """A table whose cells are made from the rows of a data frame.

    Args:
        name: letters, digits and hyphens.
        caption: text above it.
        frame: the rows.
        columns: {heading: text of a row}; the first column heads the rows.
        numbers: what its CSV holds; default: `frame`.
        folded: shown on demand, for long ones.
    """
    rows = [[text(row) for text in columns.values()] for row in frame.itertuples(index=False)]
    return Table(name, caption, list(columns), rows, frame if numbers is None else numbers, folded)


@dataclass(frozen=True)
class Exhibit:
    """A figure with its caption and the table of its numbers."""

    drawing: Drawing
    caption: str
    numbers: pd.DataFrame

    @property
    def wide(self) -> Markup:
        """The SVG for wide screens; matplotlib has escaped its text."""
        return Markup(self.drawing.wide)

    @property
    def narrow(self) -> Markup:
        """The SVG for phones."""
        return Markup(self.drawing.narrow)

    @property
    def png(self) -> str:
        """The PNG as a data URI."""
        return data_uri("image/png", self.drawing.png)

    @property
    def csv(self) -> str:
        """The numbers as a data URI."""
        return data_uri("text/csv", csv_bytes(self.numbers))


@dataclass(frozen=True)
class Picture:
    """A PNG with what it shows. `alt` is for those who do not see it."""

    content: bytes
    alt: str
    caption: str

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return data_uri("image/png", self.content)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, from the file's header; (0, 0) for what is no PNG."""
        if self.content[:8] != _PNG_SIGNATURE or len(self.content) < 24:
            return 0, 0
        width, height = struct.unpack(">II", self.content[16:24])
        return width, height


@dataclass
class Section:
    """A part of the page under one heading."""

    id: str
    title: str
    paragraphs: list[str] = field(default_factory=list)
    exhibits: list[Exhibit] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    terms: list[tuple[str, str]] = field(default_factory=list)
    gallery: str = "grids"  # how pictures stand: grids (two in a row) or cases (small ones)

    @property
    def widest(self) -> int:
        """Pixels of the widest picture: the others are shown narrower, so that all are magnified alike."""
        return max((picture.size[0] for picture in self.pictures), default=0) or 1


def render(**context: Any) -> str:
    """The page as HTML. Every text is escaped; only the SVG of `Exhibit`s passes as it is.

    Args:
        context: what report.html.j2 names.
    """
    environment = Environment(
        loader=PackageLoader("mlproject.study", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # a per cent sign stays with its number
        finalize=lambda value: value.replace(" %", "\N{NO-BREAK SPACE}%") if type(value) is str else value,
    )
    light, dark = (Markup("".join(f"--{name}:{pair[place]};" for name, pair in THEME.items())) for place in (0, 1))
    return environment.get_template("report.html.j2").render(light=light, dark=dark, **context).lstrip()
