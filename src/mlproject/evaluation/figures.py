"""The project's figures: matplotlib's object interface (no global state, no display), 800 px wide or close to it."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from mlproject.data.checks import CLASS_NAMES
from mlproject.evaluation.curves import Curve
from mlproject.evaluation.metrics import check_predictions
from mlproject.evaluation.tables import COLUMNS, Results, metric_title

# Okabe & Ito's colours, told apart with every kind of colour vision
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
CLASS_COLOURS = PALETTE[:2]
MIX_COLOURS = {"real": "#0072B2", "synthetic": "#E69F00", "hybrid": "#009E73"}
INK, FAINT = "#222222", "#9a9a9a"
DPI = 100


def new_figure(width_px: int, height_px: int) -> Figure:
    """An empty white figure of this size in pixels, drawn by Agg."""
    layout = ConstrainedLayoutEngine(w_pad=0.14, h_pad=0.12)
    figure = Figure(figsize=(width_px / DPI, height_px / DPI), dpi=DPI, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes: Axes, x_label: str, y_label: str, title: str) -> None:
    """The look that all figures share."""
    axes.set_xlabel(x_label, fontsize=13, color=INK)
    axes.set_ylabel(y_label, fontsize=13, color=INK)
    axes.set_title(title, fontsize=14, color=INK, loc="left", pad=10)
    axes.tick_params(labelsize=11, colors=INK)
    axes.grid(color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)


def figure_png(figure: Figure) -> bytes:
    """The figure as PNG."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI)
    return stream.getvalue()


def confusion_matrix_figure(
    labels: np.ndarray,
    probabilities: np.ndarray,
    threshold: float,
    class_names: Sequence[str] = CLASS_NAMES,
    title: str = "",
) -> Figure:
    """Counts of images and shares of their true class (rows)."""
    labels, probabilities = check_predictions(labels, probabilities)
    called = (probabilities >= threshold).astype(int)
    counts = np.array([[int(((labels == i) & (called == j)).sum()) for j in (0, 1)] for i in (0, 1)])
    shares = counts / counts.sum(axis=1, keepdims=True)
    figure = new_figure(640, 560)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i in (0, 1):
        for j in (0, 1):
            ink = "white" if shares[i, j] > 0.55 else INK
            axes.text(j, i - 0.06, f"{counts[i, j]}", ha="center", va="center", fontsize=26, color=ink)
            axes.text(j, i + 0.16, f"{shares[i, j]:.1%}", ha="center", va="center", fontsize=13, color=ink)
    style_axes(axes, f"called (threshold {threshold:g})", "true class", title or "Confusion matrix, images")
    axes.grid(visible=False)
    axes.set_xticks([0, 1], class_names, fontsize=12)
    axes.set_yticks([0, 1], class_names, fontsize=12, rotation=90, va="center")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def _curve_figure(curves: Mapping[str, Curve], level: float, step: bool) -> tuple[Figure, Axes]:
    figure = new_figure(760, 640)
    axes = figure.subplots()
    for position, (name, curve) in enumerate(curves.items()):
        colour = MIX_COLOURS.get(name, PALETTE[position % len(PALETTE)])
        axes.fill_between(curve.grid, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(curve.x, curve.y, color=colour, linewidth=2.2, label=name, drawstyle="steps-post" if step else None)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.02)
    axes.set_aspect("equal")
    axes.text(
        0.99, 0.01, f"band: pointwise {level:.0%} bootstrap by subject", transform=axes.transAxes, fontsize=10,
        color="#666666", ha="right", va="bottom",
    )  # fmt: skip
    return figure, axes


def roc_figure(curves: Mapping[str, Curve], level: float, title: str = "") -> Figure:
    """ROC curves by name (of `roc_with_band`), with their bands and the line of chance."""
    figure, axes = _curve_figure(curves, level, step=False)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.2, linestyle=(0, (4, 4)), zorder=1)
    style_axes(axes, "false positive rate (1 - specificity)", "sensitivity (recall)", title or "ROC curve, images")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.06), frameon=False, fontsize=12)
    return figure


def precision_recall_figure(curves: Mapping[str, Curve], level: float, prevalence: float, title: str = "") -> Figure:
    """Precision-recall curves by name (of `precision_recall_with_band`); the dashed line is the prevalence."""
    figure, axes = _curve_figure(curves, level, step=True)
    axes.axhline(prevalence, color=FAINT, linewidth=1.2, linestyle=(0, (4, 4)), zorder=1)
    style_axes(axes, "recall (sensitivity)", "precision", title or "Precision-recall curve, images")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 0.06), frameon=False, fontsize=12)
    return figure


def score_histogram_figure(
    labels: np.ndarray,
    probabilities: np.ndarray,
    threshold: float,
    class_names: Sequence[str] = CLASS_NAMES,
    title: str = "",
) -> Figure:
    """How many images of each class got which probability, with the threshold."""
    labels, probabilities = check_predictions(labels, probabilities)
    figure = new_figure(800, 460)
    axes = figure.subplots()
    bins = np.linspace(0, 1, 31).tolist()
    for label, name in enumerate(class_names):
        chosen = probabilities[labels == label]
        axes.hist(chosen, bins=bins, color=CLASS_COLOURS[label], alpha=0.55, label=f"{name} ({len(chosen)})")
        axes.hist(chosen, bins=bins, color=CLASS_COLOURS[label], histtype="step", linewidth=1.6)
    axes.axvline(threshold, color=INK, linewidth=1.4, linestyle=(0, (4, 3)), label=f"threshold {threshold:g}")
    axes.set_xlim(0, 1)
    style_axes(axes, "probability of anomalous", "images", title or "Scores by true class")
    # outside the axes, since scores pile up at both ends
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=12)
    return figure


def comparison_figure(results: Results, columns: Sequence[str] = COLUMNS, title: str = "") -> Figure:
    """Every metric of every mix as a point with its interval.

    Args:
        results: {mix: {metric: Interval}}, as in `tables`.
        columns: metrics, from left to right; a missing one is left out.
    """
    figure = new_figure(max(800, 110 * len(columns)), 480)
    axes = figure.subplots()
    offsets = (np.arange(len(results)) - (len(results) - 1) / 2) * min(0.2, 0.7 / max(len(results), 1))
    lowest = 1.0
    for position, (mix, found) in enumerate(results.items()):
        present = [(column, found[metric]) for column, metric in enumerate(columns) if metric in found]
        colour = MIX_COLOURS.get(mix, PALETTE[position % len(PALETTE)])
        x = [column + offsets[position] for column, _ in present]
        values = [interval.value for _, interval in present]
        lows, highs = [interval.low for _, interval in present], [interval.high for _, interval in present]
        axes.vlines(x, lows, highs, color=colour, linewidth=2.6, alpha=0.55)
        axes.scatter(x, values, color=colour, s=62, zorder=3, label=mix, edgecolor="white", linewidth=0.8)
        for at, value, high in zip(x, values, highs, strict=True):
            axes.annotate(
                f"{value:.2f}", (at, high), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=9,
                color=INK,
            )  # fmt: skip
        lowest = min([lowest, *lows])
    axes.set_xlim(-0.6, len(columns) - 0.4)
    axes.set_ylim(max(-0.03, np.floor(lowest * 10) / 10 - 0.05), 1.05)
    style_axes(axes, "", "value with interval", title or "Training mixes compared")
    axes.set_xticks(range(len(columns)), [metric_title(metric) for metric in columns], fontsize=12)
    axes.grid(visible=False, axis="x")
    figure.legend(loc="outside lower center", ncols=min(max(len(results), 1), 5), frameon=False, fontsize=12)
    return figure
