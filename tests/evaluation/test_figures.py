"""Curves by hand, figures as PNG of the promised size, grids pixel by pixel."""

import io

import numpy as np
import pytest
from PIL import Image

from mlproject.data.images import image_grid
from mlproject.errors import UserError
from mlproject.evaluation import figures
from mlproject.evaluation.curves import precision_recall_with_band, roc_with_band
from mlproject.evaluation.grids import labelled_grid_figure, real_beside_synthetic_figure
from mlproject.evaluation.intervals import Interval

LABELS = np.array([0, 1] * 30)
PROBABILITIES = np.clip(0.3 + 0.3 * LABELS + np.linspace(-0.35, 0.35, 60)[np.arange(60) * 7 % 60], 0, 1)
SUBJECTS = np.arange(60) // 2 * 2 + LABELS


def opened(figure) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(figures.figure_png(figure))).convert("RGB"))


def test_roc_by_hand():
    # scores from above: 0.9 (1), 0.6 (0), 0.4 (1), 0.1 (0): sensitivity .5 at once, then one false alarm, and so on
    curve = roc_with_band(np.array([0, 1, 0, 1]), np.array([0.1, 0.9, 0.6, 0.4]), np.arange(4), 50, 0.9, 0)
    assert list(zip(curve.x.tolist(), curve.y.tolist(), strict=True)) == [
        (0, 0),
        (0, 0.5),
        (0.5, 0.5),
        (0.5, 1),
        (1, 1),
    ]


def test_bands_hold_the_curves_area_and_its_ends():
    roc = roc_with_band(LABELS, PROBABILITIES, SUBJECTS, 200, 0.95, 0)
    assert (roc.low <= roc.high).all()
    assert roc.low[-1] == roc.high[-1] == 1
    inside = np.interp(roc.grid, roc.x, roc.y)
    assert np.mean((roc.low - 1e-9 <= inside) & (inside <= roc.high + 1e-9)) > 0.95
    assert np.mean(roc.high - roc.low) > 0.05


def test_precision_recall_band_at_full_recall_is_reached_by_the_lowest_positive():
    # The lowest positive, 0.4, has one of two negatives above it. Subjects are drawn within classes, so in a draw the
    # negative 0.6 comes 0, 1 or 2 times, and at full recall precision is 2/2, 2/3 or 2/4 (all positives above: 1).
    labels, probabilities = np.array([0, 1, 0, 1]), np.array([0.1, 0.9, 0.6, 0.4])
    curve = precision_recall_with_band(labels, probabilities, np.arange(4), 2000, 0.98, 0)
    assert curve.low[-1] == pytest.approx(0.5)
    assert curve.high[-1] == pytest.approx(1.0)
    assert (curve.low <= curve.high).all()


def test_perfect_curves_are_flat():
    roc = roc_with_band(LABELS, LABELS * 0.8 + 0.1, SUBJECTS, 50, 0.95, 0)
    pr = precision_recall_with_band(LABELS, LABELS * 0.8 + 0.1, SUBJECTS, 50, 0.95, 0)
    assert (roc.low[1:] == 1).all()
    assert (pr.low == 1).all()


def figure_of(kind: str):
    curves = {"real": roc_with_band(LABELS, PROBABILITIES, SUBJECTS, 50, 0.95, 0)}
    results = {
        mix: {"auc": Interval(0.9, 0.85, 0.95), "recall": Interval(0.8, 0.7, 0.9)}
        for mix in ("real", "synthetic", "hybrid", "another")
    }
    return {
        "confusion": lambda: figures.confusion_matrix_figure(LABELS, PROBABILITIES, 0.5),
        "roc": lambda: figures.roc_figure(curves, 0.95),
        "pr": lambda: figures.precision_recall_figure(curves, 0.95, 0.5),
        "scores": lambda: figures.score_histogram_figure(LABELS, PROBABILITIES, 0.5),
        "comparison": lambda: figures.comparison_figure(results),
    }[kind]()


@pytest.mark.parametrize("kind", ["confusion", "roc", "pr", "scores", "comparison"])
def test_figures_are_drawn_readably(kind):
    figure = figure_of(kind)
    image = opened(figure)
    assert 600 <= image.shape[1] <= 900
    assert image.std() > 10  # neither blank nor one colour
    assert (image[:, :3] == 255).all()  # nothing runs over the left edge
    assert (image[:, -3:] == 255).all()
    assert all(axes.get_xlabel() or axes.get_ylabel() for axes in figure.axes)


def test_figures_are_the_same_twice():
    assert figures.figure_png(figure_of("scores")) == figures.figure_png(figure_of("scores"))


def test_confusion_matrix_shows_the_counts():
    figure = figures.confusion_matrix_figure(np.array([0, 0, 0, 1, 1]), np.array([0.1, 0.2, 0.9, 0.4, 0.8]), 0.5)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["2", "66.7%", "1", "33.3%", "1", "50.0%", "1", "50.0%"]


def test_image_grid_by_hand():
    images = np.arange(3, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 3), dtype=np.uint8)
    grid = image_grid(images, 2)
    assert grid.shape == (2 + 2 + 2, 3 + 2 + 3)
    assert (grid[:2, :3] == 0).all()
    assert (grid[:2, 5:] == 1).all()
    assert (grid[4:, :3] == 2).all()
    assert (grid[4:, 5:] == 255).all()  # the place that stays free
    assert (grid[2:4] == 255).all()  # the gap
    assert image_grid(np.zeros((2, 4, 4, 3), dtype=np.uint8), 8).shape == (4, 10, 3)


@pytest.mark.parametrize("images", [np.zeros((2, 4, 4)), np.zeros((0, 4, 4), np.uint8), np.zeros((4, 4), np.uint8)])
def test_image_grid_refuses_what_is_no_list_of_uint8_images(images):
    with pytest.raises(UserError, match="image grid"):
        image_grid(images, 2)


def test_grid_figure_keeps_grey_levels():
    images = np.arange(16, dtype=np.uint8).repeat(64 * 64).reshape(16, 64, 64) * 15
    image = opened(labelled_grid_figure({"row": images}, 8, "Title"))
    levels, counts = np.unique(image[..., 0], return_counts=True)
    # each image is shown at twice its size: 128 x 128 figure pixels of exactly its level, apart from black and white,
    # which text and paper add to
    for level in range(15, 240, 15):
        assert counts[levels == level].sum() >= 128 * 128, level


def test_real_beside_synthetic_has_a_row_for_each_class_and_kind():
    images, labels = np.zeros((10, 16, 16), dtype=np.uint8), np.array([0, 1] * 5)
    figure = real_beside_synthetic_figure(images, labels, images, labels, columns=5)
    assert [text.get_text() for text in figure.texts] == [
        "normal, real", "normal, synthetic", "anomalous, real", "anomalous, synthetic",
    ]  # fmt: skip
    with pytest.raises(UserError, match="no images"):
        labelled_grid_figure({"empty": images[:0]})
