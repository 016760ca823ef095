"""The comparison table in its three forms."""

import json

from mlproject.evaluation.intervals import Interval
from mlproject.evaluation.tables import comparison_markdown, comparison_text, interval_text, summary_json

RESULTS = {
    "real": {"auc": Interval(0.9123, 0.887, 0.934), "f1": Interval(1.0, 0.9, 1.0)},
    "hybrid": {"auc": Interval(0.95, 0.93, 0.97)},
}


def test_interval_text():
    assert interval_text(Interval(0.9123, 0.8871, 0.9339)) == "0.912 [0.887, 0.934]"
    assert interval_text(Interval(-0.0123, -0.05, 0.0123), digits=2) == "-0.01 [-0.05, 0.01]"
    assert interval_text(None) == "-"


def test_text_table_is_aligned():
    lines = comparison_text(RESULTS, ("auc", "f1")).splitlines()
    assert lines == [
        "mix     AUC                   F1",
        "------  --------------------  --------------------",
        "real    0.912 [0.887, 0.934]  1.000 [0.900, 1.000]",
        "hybrid  0.950 [0.930, 0.970]  -",
    ]


def test_markdown_table():
    assert comparison_markdown(RESULTS, ("auc",)).splitlines() == [
        "| mix | AUC |",
        "|---|---|",
        "| real | 0.912 [0.887, 0.934] |",
        "| hybrid | 0.950 [0.930, 0.970] |",
    ]


def test_summary_survives_json():
    summary = json.loads(json.dumps(summary_json(RESULTS)))
    assert summary["real"]["auc"] == {"value": 0.9123, "ci_low": 0.887, "ci_high": 0.934}
    assert list(summary) == ["real", "hybrid"]
    assert list(summary["hybrid"]) == ["auc"]
