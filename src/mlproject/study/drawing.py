"""One drawing, three forms: an SVG for wide screens, one for phones, and a PNG, all from the same function.

A figure is drawn by matplotlib in the colours of the light theme. In the SVG every theme colour becomes a CSS variable
of the page, so the figure follows light and dark, and text stays text, in the page's own font.
"""

import hashlib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlproject.evaluation.figures import new_figure

# {CSS variable: (light, dark)}; every light colour stands once, so that an SVG can be read back
THEME = {
    "ink": ("#1c2430", "#e6eaf0"),
    "muted": ("#566171", "#a3aebd"),
    "grid": ("#dfe4ea", "#323b48"),
    "surface": ("#fffffe", "#171c24"),
    "series-1": ("#5c6673", "#aab4c1"),
    "series-2": ("#0b63b0", "#74b6f2"),
    "series-3": ("#b35600", "#f0a152"),
    "series-4": ("#00785b", "#4fcaa2"),
    "series-5": ("#8437a5", "#d0a0ea"),
    "series-6": ("#c2255b", "#f78bb0"),
    "series-7": ("#666b00", "#c8ce58"),
    "series-8": ("#00727f", "#5ccfdf"),
}
INK, MUTED, GRID, SURFACE = (THEME[name][0] for name in ("ink", "muted", "grid", "surface"))
SERIES = tuple(THEME[f"series-{number}"][0] for number in range(1, 9))
# a shape for each series, so that colour is never the only difference
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

WIDE_PX, NARROW_PX = 720, 340
_PNG_SCALE = 2
_POINTS_PER_INCH = 72  # at which one unit of the SVG is one CSS pixel
FONT_PX = 13

Painter = Callable[[Figure, bool], None]


@dataclass(frozen=True)
class Drawing:
    """A figure's forms: `wide` and `narrow` are <svg> elements whose ids begin with the name, `png` is a file."""

    name: str
    wide: str
    narrow: str
    png: bytes


def draw(name: str, alt: str, painter: Painter, height_px: int, narrow_height_px: int | None = None) -> Drawing:
    """Draw a figure for wide screens and for phones.

    Args:
        name: letters, digits and hyphens; begins every id in the SVG.
        alt: what a screen reader says in place of the picture.
        painter: `painter(figure, narrow)` draws on an empty figure.
        height_px: height of the wide form, which is `WIDE_PX` wide.
        narrow_height_px: height of the narrow form, `NARROW_PX` wide; default: as the wide one.
    """
    wide = _painted(painter, WIDE_PX, height_px, narrow=False)
    narrow = _painted(painter, NARROW_PX, narrow_height_px or height_px, narrow=True)
    stream = io.BytesIO()
    wide.savefig(stream, format="png", dpi=_POINTS_PER_INCH * _PNG_SCALE, metadata={"Software": None})
    return Drawing(name, _svg(wide, f"{name}-wide", alt), _svg(narrow, f"{name}-narrow", alt), stream.getvalue())


def _painted(painter: Painter, width_px: int, height_px: int, narrow: bool) -> Figure:
    figure = new_figure(100, 100)
    figure.set_dpi(_POINTS_PER_INCH)
    figure.set_size_inches(width_px / _POINTS_PER_INCH, height_px / _POINTS_PER_INCH)
    figure.set_facecolor(SURFACE)
    figure.set_layout_engine("constrained", w_pad=0.04, h_pad=0.05)
    painter(figure, narrow)
    return figure


def style(axes: Axes, x_label: str = "", y_label: str = "", grid: str = "both") -> None:
    """The house style: labels in ink, a faint grid, no box.

    Args:
        grid: "x", "y", "both" or "none".
    """
    axes.set_facecolor("none")
    axes.set_xlabel(x_label, fontsize=FONT_PX, color=INK)
    axes.set_ylabel(y_label, fontsize=FONT_PX, color=INK)
    axes.tick_params(labelsize=FONT_PX - 1, colors=MUTED, length=0, pad=5)
    axes.set_axisbelow(True)
    if grid != "none":
        axes.grid(color=GRID, linewidth=1, axis=grid)  # type: ignore[arg-type]
    for spine in axes.spines.values():
        spine.set_visible(False)


def legend(figure: Figure, axes: Axes, narrow: bool, columns: int = 4) -> None:
    """The series' names below the axes; two columns at most on a phone."""
    handles, labels = axes.get_legend_handles_labels()
    count = min(len(labels), 2 if narrow else columns)
    figure.legend(
        handles, labels, loc="outside lower left", ncols=max(count, 1), frameon=False, fontsize=FONT_PX - 1,
        labelcolor=INK, handlelength=1.6, columnspacing=1.4, handletextpad=0.6,
    )  # fmt: skip


def _svg(figure: Figure, name: str, alt: str) -> str:
    """The figure as an <svg> element for a page: named ids, theme variables, no metadata, no foreign references."""
    stream = io.StringIO()
    # the salt makes matplotlib's own ids, and with them the page, the same in every process
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(stream, format="svg", dpi=_POINTS_PER_INCH, metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    short = "f" + hashlib.sha256(name.encode()).hexdigest()[:6]
    used = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', text))
    # only what is referred to needs an id; two figures have the same names for their axes and ticks
    text = re.sub(r' id="([^"]+)"', lambda found: f' id="{short}-{found[1]}"' if found[1] in used else "", text)
    text = re.sub(r'(xlink:href="#|url\(#)', lambda found: f"{found[1]}{short}-", text)
    for variable, (light, _) in THEME.items():
        text = text.replace(light, f"var(--{variable})")
    # matplotlib names the fonts of this machine
    text = re.sub(r"font: (?:(bold|italic|\d00) )?([\d.]+)px [^;\"]*", _font, text)
    width, height = (round(side * _POINTS_PER_INCH) for side in figure.get_size_inches())
    head = (
        f'<svg class="{name.rsplit("-", 1)[1]}" role="img" aria-label="{escape(alt)}" viewBox="0 0 {width} {height}" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return head + text[text.index(">") + 1 :].strip()


def _font(found: re.Match[str]) -> str:
    weight = "bold" if found[1] in ("bold", "600", "700") else "normal"
    return f"font-size: {found[2]}px; font-weight: {weight}; font-family: inherit"
