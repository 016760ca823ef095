"""The comparison of training mixes as terminal text, Markdown and JSON.

All take `{mix: {metric: Interval}}` in the order in which the rows are to stand.
"""

from collections.abc import Mapping, Sequence

from mlproject.evaluation.intervals import Interval

Results = Mapping[str, Mapping[str, Interval]]

COLUMNS = ("accuracy", "precision", "recall", "f1", "auc")
TITLES = {"f1": "F1", "auc": "AUC", "brier": "Brier"}


def metric_title(metric: str) -> str:
    """The metric as a heading: `AUC`, `Recall`."""
    return TITLES.get(metric, metric.capitalize())


def interval_text(interval: Interval | None, digits: int = 3) -> str:
    """`0.912 [0.887, 0.934]`; `-` for what was not measured."""
    if interval is None:
        return "-"
    return f"{interval.value:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def _rows(results: Results, columns: Sequence[str], first: str) -> list[list[str]]:
    header = [first, *(metric_title(metric) for metric in columns)]
    return [
        header,
        *([mix, *(interval_text(found.get(metric)) for metric in columns)] for mix, found in results.items()),
    ]


def comparison_text(results: Results, columns: Sequence[str] = COLUMNS, first: str = "mix") -> str:
    """An aligned table for a terminal, one row for each mix."""
    return "\n".join(aligned(_rows(results, columns, first)))


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table for a terminal, its first row ruled off."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def comparison_markdown(results: Results, columns: Sequence[str] = COLUMNS, first: str = "mix") -> str:
    """The same table in Markdown."""
    lines = [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in _rows(results, columns, first)
    ]
    return "\n".join([lines[0], "|" + "---|" * (len(columns) + 1), *lines[1:]])


def summary_json(results: Results) -> dict[str, dict[str, dict[str, float]]]:
    """`{mix: {metric: {value, ci_low, ci_high}}}`, ready for JSON."""
    return {
        mix: {
            metric: {"value": float(found.value), "ci_low": float(found.low), "ci_high": float(found.high)}
            for metric, found in metrics.items()
        }
        for mix, metrics in results.items()
    }
