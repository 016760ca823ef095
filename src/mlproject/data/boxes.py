"""The box of a frame as a person writes it: four sides in pixels, inside the frame."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mlproject.data.checks import BOX, Problems, read_rows
from mlproject.errors import UserError

_ORDER = ",".join(BOX)


def box_of(sides: Sequence[str | float], where: str) -> np.ndarray:
    """float32 [4] (h_min, w_min, h_max, w_max) in pixels, maximum exclusive.

    Raises:
        UserError: not four finite numbers, or a box without a pixel.
    """
    try:
        h_min, w_min, h_max, w_max = (float(side) for side in sides)
    except ValueError:
        shown = ",".join(str(side) for side in sides)[:100]
        raise UserError(f"{where}: box {shown!r} is not `{_ORDER}` in pixels") from None
    if not (0 <= h_min < h_max < math.inf and 0 <= w_min < w_max < math.inf):
        told = _told((h_min, w_min, h_max, w_max))
        raise UserError(f"{where}: box {told} is empty or begins outside the image (max must exceed min >= 0)")
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and so out of every image
        return np.array([h_min, w_min, h_max, w_max]).astype(np.float32)


def check_inside(box: np.ndarray, shape: tuple[int, ...], where: str) -> None:
    """Refuse a box that reaches out of an image of `shape` (height, width)."""
    if box[2] > shape[0] or box[3] > shape[1]:
        raise UserError(f"{where}: box {_told(box)} reaches out of the image, {shape[0]} high and {shape[1]} wide")


def read_boxes(path: str | Path) -> dict[str, np.ndarray]:
    """{image_path: box} of a CSV with the columns image_path, h_min, w_min, h_max, w_max; others are not read.

    A row with four empty sides is an image without a box and is left out.

    Raises:
        UserError: no such file, no CSV, a missing column, an image that stands there twice, or boxes that are none;
            all are listed with their lines.
    """
    table = read_rows(path, f"a CSV with the columns image_path,{_ORDER}")
    problems = Problems(str(path))
    missing = [name for name in ("image_path", *BOX) if name not in table]
    if missing:
        problems.add(f"column {', '.join(missing)} is missing; columns: {', '.join(table.columns)}")
        problems.raise_any()
    boxes: dict[str, np.ndarray] = {}
    for row, (name, *given) in enumerate(table[["image_path", *BOX]].itertuples(index=False)):
        if name in boxes:
            problems.add(f"image {name} stands there twice", row)
        elif any(given):
            try:
                boxes[name] = box_of(given, name)
            except UserError as error:
                problems.add(str(error), row)
    problems.raise_any()
    return boxes


def _told(box: Sequence[float] | np.ndarray) -> str:
    return f"h {box[0]:g}-{box[2]:g}, w {box[1]:g}-{box[3]:g}"
