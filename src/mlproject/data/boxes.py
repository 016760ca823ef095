"""The box of a frame as a person writes it: four sides in pixels, inside the frame."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mlproject.data.checks import BOX, Problems
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
        shown = ",".join(str(side) for side in sides)
        raise UserError(f"{where}: box {shown!r} is not `{_ORDER}` in pixels") from None
    box = np.array([h_min, w_min, h_max, w_max], dtype=np.float32)
    if not np.isfinite(box).all() or not (0 <= h_min < h_max and 0 <= w_min < w_max):
        raise UserError(f"{where}: box {_told(box)} is empty or begins outside the image (max must exceed min >= 0)")
    return box


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
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; expected a CSV with the columns image_path,{_ORDER}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as CSV: {' '.join(str(error).split())}") from None
    missing = [name for name in ("image_path", *BOX) if name not in table]
    if missing:
        raise UserError(f"{path}: column {', '.join(missing)} is missing; columns: {', '.join(table.columns)}")
    problems = Problems(str(path))
    boxes: dict[str, np.ndarray] = {}
    names = table["image_path"].str.strip().tolist()
    for row, (name, sides) in enumerate(zip(names, table[list(BOX)].itertuples(index=False), strict=True)):
        given = [str(side).strip() for side in sides]
        if name in boxes:
            problems.add(f"image {name} stands there twice", row)
        elif any(given):
            try:
                boxes[name] = box_of(given, name)
            except UserError as error:
                problems.add(str(error), row)
    problems.raise_any()
    return boxes


def _told(box: np.ndarray) -> str:
    return f"h {box[0]:g}-{box[2]:g}, w {box[1]:g}-{box[3]:g}"
