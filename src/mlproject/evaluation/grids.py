"""Grids of images as figures, with a label for each row."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from mlproject.data.checks import CLASS_NAMES
from mlproject.data.images import image_grid
from mlproject.errors import UserError
from mlproject.evaluation.figures import INK, new_figure


def _shown_at(image: np.ndarray, width_px: int) -> np.ndarray:
    """The image enlarged by a whole number, at most to `width_px`: pixels stay squares of their own grey."""
    factor = max(1, width_px // image.shape[1])
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def labelled_grid_figure(rows: Mapping[str, np.ndarray], columns: int = 8, title: str = "") -> Figure:
    """Images under a label for each group, at their true grey levels and at a whole-number scale.

    Args:
        rows: {label: uint8 [n, height, width]}; a group takes as many lines as it needs.
        columns: images in a line.
        title: above the grid.
    """
    grids = {name: _shown_at(image_grid(images, columns), 1100) for name, images in rows.items() if len(images)}
    if not grids:
        raise UserError("image grid: no images in any row; expected at least one")
    label_px, title_px, width_px = 28, 40 if title else 8, 800
    height_px = title_px + sum(grid.shape[0] + label_px for grid in grids.values()) + 8
    width_px = max(width_px, 40 + max(grid.shape[1] for grid in grids.values()))
    figure = new_figure(width_px, height_px)
    figure.set_layout_engine("none")
    if title:
        figure.text(20 / width_px, 1 - 14 / height_px, title, fontsize=14, color=INK, va="top")
    top = title_px
    for name, grid in grids.items():
        figure.text(20 / width_px, 1 - (top + 5) / height_px, name, fontsize=12, color=INK, va="top")
        top += label_px
        # an axes of exactly the grid's size: one grid pixel is one figure pixel, nothing is resampled
        box = (
            20 / width_px,
            1 - (top + grid.shape[0]) / height_px,
            grid.shape[1] / width_px,
            grid.shape[0] / height_px,
        )
        axes = figure.add_axes(box)
        # as colours, since a grey colour map rounds some levels to their neighbours
        colours = grid if grid.ndim == 3 else grid[..., None].repeat(3, axis=2)
        axes.imshow(colours, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        top += grid.shape[0]
    return figure


def real_beside_synthetic_figure(
    real: np.ndarray,
    real_labels: np.ndarray,
    synthetic: np.ndarray,
    synthetic_labels: np.ndarray,
    class_names: Sequence[str] = CLASS_NAMES,
    columns: int = 8,
    lines: int = 2,
    title: str = "",
) -> Figure:
    """For each class the first real images, and under them the first synthetic ones, without choosing among them.

    Args:
        real: uint8 [n, height, width].
        real_labels: index into `class_names`, [n].
        synthetic: uint8 [m, height, width].
        synthetic_labels: class asked for, [m].
        columns: images in a line.
        lines: lines of each group.
        title: above the grid.
    """
    rows = {}
    for label, name in enumerate(class_names):
        rows[f"{name}, real"] = real[np.asarray(real_labels) == label][: columns * lines]
        rows[f"{name}, synthetic"] = synthetic[np.asarray(synthetic_labels) == label][: columns * lines]
    return labelled_grid_figure(rows, columns, title)
