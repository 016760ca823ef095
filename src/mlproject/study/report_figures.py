"""The report's figures: each takes a table of numbers, the same that is written as CSV, and draws nothing else."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlproject.study.drawing import FONT_PX, INK, MARKERS, MUTED, SERIES, SURFACE, Drawing, draw, legend, style
from mlproject.study.words import MINUS, arm_title, bounds, by_size, metric_label, percent, signed, size_text

_DASHED = (0, (4, 4))
_SHOWN_POINTS = 250  # of one kind and class in a scatter: more make a page heavy and a cloud unreadable


def plain(text: object) -> str:
    """Text that matplotlib does not read as mathematics: names come from files."""
    return str(text).replace("$", r"\$")


def _look(arms: Sequence[str], arm: str) -> dict[str, Any]:
    """Colour and marker of an arm: the same in every figure of a report."""
    place = list(arms).index(arm)
    return {"color": SERIES[place % len(SERIES)], "marker": MARKERS[place % len(MARKERS)]}


def _dots(axes: Axes, rows: pd.DataFrame, y: np.ndarray, look: dict[str, Any], label: str = "") -> None:
    """Means with their intervals, lying."""
    axes.hlines(y, rows["ci_low"], rows["ci_high"], color=look["color"], linewidth=2)
    axes.plot(
        rows["mean"],
        y,
        linestyle="none",
        markersize=9,
        markeredgecolor=SURFACE,
        markeredgewidth=0.8,
        label=plain(label),
        **look,
    )


def forest_figure(contrasts: pd.DataFrame, differences: pd.DataFrame) -> Drawing:
    """Every declared contrast as its mean difference with interval; the small dots are the seeds.

    Args:
        contrasts: as `analysis_tables` gives them, the primary one first.
        differences: one row for each contrast and seed.
    """
    keys = ["arm", "reference", "subjects", "split", "metric"]
    metric = contrasts["metric"].iloc[0]

    def paint(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        style(axes, grid="x")
        for place, row in enumerate(contrasts.itertuples()):
            y, primary = -place, row.role == "primary"
            same = (differences[keys] == [getattr(row, key) for key in keys]).all(axis=1)
            seeds = differences.loc[same, "difference"].to_numpy()
            colour = SERIES[3] if primary else SERIES[0]
            axes.plot(seeds, np.full(len(seeds), y - 0.16), "o", color=colour, markersize=5, alpha=0.7, mew=0)
            name = f"{arm_title(row.arm)} {MINUS} {arm_title(row.reference)}"
            size = size_text(row.subjects)
            size += "" if row.metric == metric else f", {metric_label(row.metric)}"
            told = "no interval"
            if np.isfinite(row.mean):
                axes.hlines(y, row.ci_low, row.ci_high, color=colour, linewidth=3 if primary else 2)
                axes.plot(row.mean, y, "D" if primary else "s", color=colour, markersize=9 if primary else 7)
                told = f"{signed(row.mean)} ({bounds(row.ci_low, row.ci_high, with_sign=True)})"
            else:
                axes.plot(seeds.mean(), y, "|", color=colour, markersize=12)
            lines = f"{name}\n{size}: {told}" if narrow else f"{name}, {size}"
            across = axes.get_yaxis_transform()
            weight = "bold" if primary else "normal"
            text: dict[str, Any] = {
                "transform": across,
                "color": INK,
                "fontsize": FONT_PX - 1,
                "va": "bottom",
                "weight": weight,
            }
            text["bbox"] = {"facecolor": SURFACE, "edgecolor": "none", "pad": 1}
            axes.text(0, y + 0.16, plain(lines), **text)
            if not narrow:
                axes.text(1, y + 0.16, told, ha="right", **text)
        axes.axvline(0, color=MUTED, linewidth=1.4)
        ends = [*contrasts[["ci_low", "ci_high"]].to_numpy().ravel(), *differences["difference"], -1e-3, 1e-3]
        low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
        axes.set_xlim(low - 0.08 * (high - low), high + 0.08 * (high - low))
        axes.locator_params(axis="x", nbins=5 if narrow else 9)
        axes.set_ylim(-len(contrasts) + 0.6, 0.95 if narrow else 0.75)
        axes.set_yticks([])
        axes.set_xlabel(f"← reference better | {metric_label(metric)} | arm better →", fontsize=FONT_PX - 1, color=INK)

    alt = "; ".join(
        f"{arm_title(row.arm)} minus {arm_title(row.reference)} at {size_text(row.subjects)}, "
        f"{metric_label(row.metric)}: "
        + (
            f"{signed(row.mean)}, {bounds(row.ci_low, row.ci_high, with_sign=True)}"
            if np.isfinite(row.mean)
            else "too few seeds for an interval"
        )
        for row in contrasts.itertuples()
    )
    count = len(contrasts)
    return draw("forest", f"Forest plot of paired differences. {alt}.", paint, 56 + 54 * count, 56 + 78 * count)


def learning_figure(curve: pd.DataFrame, arms: Sequence[str], metric: str) -> Drawing:
    """Mean score over the number of real training subjects, with t intervals over seeds.

    Args:
        curve: rows of the table `arms` of one split and metric.
        arms: in the order of the design.
    """
    sizes = sorted(curve["subjects"].unique(), key=by_size)
    present = [arm for arm in arms if arm in set(curve["arm"])]

    def paint(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        style(axes, "real training subjects (each with its frames)", f"test {metric_label(metric)}", grid="y")
        for place, arm in enumerate(present):
            rows = curve[curve["arm"] == arm].sort_values("subjects", key=lambda column: column.map(by_size))
            # side by side, so that intervals at one size do not cover one another
            x = np.array([sizes.index(size) for size in rows["subjects"]], dtype=float)
            x += (place - (len(present) - 1) / 2) * (0.09 if narrow else 0.06)
            look = _look(arms, arm)
            axes.vlines(x, rows["ci_low"], rows["ci_high"], color=look["color"], linewidth=2, alpha=0.6)
            axes.plot(x, rows["mean"], linewidth=1.6, markersize=7, label=plain(arm_title(arm)), **look)
        axes.set_xticks(range(len(sizes)), [f"{size or 'all'}" for size in sizes])
        axes.set_xlim(-0.4, len(sizes) - 0.6)
        legend(figure, axes, narrow)

    alt = "; ".join(
        f"{arm_title(row.arm)} at {size_text(row.subjects)}: {row.mean:.3f}"
        for row in curve.sort_values("subjects", key=lambda column: column.map(by_size)).itertuples()
    )
    return draw("learning", f"Mean test {metric_label(metric)} by training subjects. {alt}.", paint, 400, 400)


def reliability_figure(curves: pd.DataFrame, arms: Sequence[str]) -> Drawing:
    """Observed share of anomalous subjects over predicted probability, before and after temperature scaling.

    Args:
        curves: arm, scaling (before or after), predicted, observed, count, sorted by predicted.
    """
    present = [arm for arm in arms if arm in set(curves["arm"])]

    def paint(figure: Figure, narrow: bool) -> None:
        panels = figure.subplots(*((2, 1) if narrow else (1, 2)), sharex=True, sharey=True)
        for axes, scaling in zip(panels, ("before", "after"), strict=True):
            lowest = axes is panels[-1] or not narrow
            style(
                axes, "predicted probability" if lowest else "", "observed share" if axes is panels[0] or narrow else ""
            )
            axes.set_title(f"{scaling} temperature scaling", fontsize=FONT_PX, color=INK, loc="left")
            axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.2, linestyle=_DASHED)
            for arm in present:
                rows = curves[(curves["arm"] == arm) & (curves["scaling"] == scaling)]
                axes.plot(
                    rows["predicted"],
                    rows["observed"],
                    linewidth=1.8,
                    markersize=6,
                    label=plain(arm_title(arm)),
                    **_look(arms, arm),
                )
            axes.set_xlim(-0.03, 1.03)
            axes.set_ylim(-0.03, 1.03)
        legend(figure, panels[0], narrow)

    named = " and ".join(arm_title(arm) for arm in present)
    alt = f"Reliability curves of {named}, before and after temperature scaling; the diagonal is perfect calibration."
    return draw("reliability", alt, paint, 400, 640)


def decision_figure(curves: pd.DataFrame, arms: Sequence[str], prevalence: float) -> Drawing:
    """Net benefit over the threshold probability, with calling everyone and no one anomalous.

    Args:
        curves: strategy (an arm, "all" or "none"), threshold, net_benefit.
        prevalence: share of anomalous subjects that the curves hold for.
    """
    present = [arm for arm in arms if arm in set(curves["strategy"])]

    def paint(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        style(axes, "threshold probability", "net benefit")
        for arm in present:
            rows = curves[curves["strategy"] == arm]
            look = _look(arms, arm)
            step = max(1, len(rows) // 9)
            axes.plot(
                rows["threshold"],
                rows["net_benefit"],
                linewidth=1.8,
                markersize=6,
                markevery=step,
                label=plain(arm_title(arm)),
                **look,
            )
        for name, label, line in (("all", "Call everyone", _DASHED), ("none", "Call no one", "-")):
            rows = curves[curves["strategy"] == name]
            axes.plot(rows["threshold"], rows["net_benefit"], color=MUTED, linewidth=1.4, linestyle=line, label=label)
        top = max(float(curves["net_benefit"].max()), 1e-3)
        axes.set_ylim(-0.25 * top, 1.1 * top)
        legend(figure, axes, narrow)

    named = ", ".join(arm_title(arm) for arm in present)
    beside = f"beside calling everyone and calling no one, at a prevalence of {percent(prevalence, 1)}"
    alt = f"Decision curves of {named} {beside}."
    return draw("decision", alt, paint, 380, 420)


def sites_figure(sites: pd.DataFrame, arms: Sequence[str]) -> Drawing:
    """AUC of each arm at each site; sites that training never saw are named so.

    Args:
        sites: arm, site, unseen, mean, ci_low, ci_high.
    """
    present = [arm for arm in arms if arm in set(sites["arm"])]
    places = list(dict.fromkeys(sites["site"]))
    unseen = set(sites.loc[sites["unseen"], "site"])

    def paint(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        style(axes, "test AUC", grid="x")
        for number, arm in enumerate(present):
            rows = sites[sites["arm"] == arm]
            offset = (number - (len(present) - 1) / 2) * 0.6 / max(len(present), 1)
            y = np.array([-places.index(site) - offset for site in rows["site"]], dtype=float)
            _dots(axes, rows, y, _look(arms, arm), arm_title(arm))
        names = [f"Site {site}" + ("\nnever seen" if site in unseen else "") for site in places]
        axes.set_yticks([-place for place in range(len(places))], [plain(name) for name in names])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(-len(places) + 0.4, 0.6)
        axes.axvline(0.5, color=MUTED, linewidth=1.2, linestyle=_DASHED)
        legend(figure, axes, narrow)

    alt = "; ".join(f"{arm_title(row.arm)} at site {row.site}: {row.mean:.3f}" for row in sites.itertuples())
    return draw("sites", f"Test AUC by site. {alt}.", paint, 90 + 90 * len(places), 110 + 90 * len(places))


def shortcuts_figure(shortcuts: pd.DataFrame) -> Drawing:
    """AUC of linear models that see no anatomy, beside the classifier's.

    Args:
        shortcuts: name, title, mean, ci_low, ci_high; the classifier's row is named "classifier".
    """

    def paint(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        style(axes, "test AUC", grid="x")
        for place, (_, row) in enumerate(shortcuts.iterrows()):
            own = row["name"] == "classifier"
            look: dict[str, Any] = {"color": SERIES[3] if own else SERIES[0], "marker": "D" if own else "o"}
            _dots(axes, pd.DataFrame([row]), np.array([-place]), look)
        axes.set_yticks([-place for place in range(len(shortcuts))], [plain(title) for title in shortcuts["title"]])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(-len(shortcuts) + 0.4, 0.6)
        axes.axvline(0.5, color=MUTED, linewidth=1.2, linestyle=_DASHED)

    alt = "; ".join(f"{row.title}: {row.mean:.3f}" for row in shortcuts.itertuples())
    return draw("shortcuts", f"AUC of shortcut baselines. {alt}.", paint, 70 + 40 * len(shortcuts))


def features_figure(points: pd.DataFrame, explained: tuple[float, float]) -> Drawing:
    """Real and synthetic images on the first two principal components of their features, a panel for each class.

    Args:
        points: kind (real or synthetic), class, x, y.
        explained: share of the variance along x and y.
    """
    classes = list(dict.fromkeys(points["class"]))

    def paint(figure: Figure, narrow: bool) -> None:
        shape = (len(classes), 1) if narrow else (1, len(classes))
        panels = figure.subplots(*shape, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, name in zip(panels, classes, strict=True):
            lowest = axes is panels[-1] or not narrow
            style(
                axes,
                f"component 1 ({percent(explained[0])} of variance)" if lowest else "",
                f"component 2 ({percent(explained[1])})" if axes is panels[0] or narrow else "",
            )
            axes.set_title(plain(name), fontsize=FONT_PX, color=INK, loc="left")
            for kind, place in (("real", 1), ("synthetic", 2)):
                rows = points[(points["class"] == name) & (points["kind"] == kind)][:_SHOWN_POINTS]
                axes.plot(
                    rows["x"],
                    rows["y"],
                    MARKERS[place],
                    color=SERIES[place],
                    markersize=4,
                    alpha=0.6,
                    mew=0,
                    label=kind,
                )
        legend(figure, panels[0], narrow)

    alt = "Real and synthetic images on the first two principal components of their features, by class."
    return draw("features", alt, paint, 380, 640)
