"""The study's report: one HTML file that needs nothing else, its figures as PNG, its numbers as CSV."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from mlproject.data import kinds
from mlproject.files import atomic_folder, atomic_write_text
from mlproject.study import report_sections as found
from mlproject.study import report_sections_use as use
from mlproject.study import words
from mlproject.study.folder import read_study
from mlproject.study.report_material import Material
from mlproject.study.report_methods import limits, methods
from mlproject.study.report_page import Section, csv_bytes, render
from mlproject.study.statistics import Analysis

REPORT = "report.html"
TITLE = "Does synthetic ultrasound help the classifier?"
_KICKERS = {
    kinds.PHANTOM: "Study report. Phantom, not clinical data.",
    kinds.CLINICAL: "Study report. Clinical frames, labels by proxy.",
    kinds.USER: "Study report. Imported images.",
}
_BUILDERS: tuple[Callable[[Material], Section | None], ...] = (
    found.differences,
    found.learning,
    found.samples,
    found.audit,
    use.calibration,
    use.operating,
    use.decision,
    found.sites,
    use.shortcuts,
    use.cases,
    use.features,
    found.runs,
)


def write_report(folder: Path, analysis: Analysis) -> Path:
    """Write report.html, figures/*.png and tables/*.csv into a study's folder; returns the page.

    The same folder gives the same bytes. What the folder does not hold is left out of the page, and the page says so.

    Args:
        folder: holds the files that `read_study` reads, and may hold generators.csv, runs.csv, audit.json,
            shortcuts.csv (see `shortcut_table`), features.csv (see `feature_table`), images/*.png and
            images/failures/ (see `mlproject.classifier.explain.write_cases`).
        analysis: what `analyse` says of it.

    Raises:
        UserError: a file of the folder is not what it should be, or the place cannot be written.
    """
    folder = Path(folder)
    material = Material(folder, read_study(folder), analysis)
    sections = [section for build in _BUILDERS if (section := build(material)) is not None]
    sections += [methods(material), limits(material, sections)]
    _write_exhibits(folder, sections)
    page = folder / REPORT
    atomic_write_text(page, render(**_context(material, sections)))
    return page


def _write_exhibits(folder: Path, sections: list[Section]) -> None:
    """Every figure as PNG and the numbers of every figure and table as CSV; what an earlier report left goes."""
    with atomic_folder(folder / "figures") as pictures, atomic_folder(folder / "tables") as numbers:
        for section in sections:
            for shown in section.exhibits:
                (pictures / f"{shown.drawing.name}.png").write_bytes(shown.drawing.png)
                (numbers / f"{shown.drawing.name}.csv").write_bytes(csv_bytes(shown.numbers))
            for shown_table in section.tables:
                (numbers / f"{shown_table.name}.csv").write_bytes(csv_bytes(shown_table.numbers))


def _context(material: Material, sections: list[Section]) -> dict[str, Any]:
    design, analysis = material.design, material.analysis
    commit = str(design.get("git_commit", "unknown"))
    return {
        "title": TITLE,
        "kicker": _KICKERS.get(str(design["data_kind"]), f"Study report. Data of kind {design['data_kind']}."),
        "answer": analysis.answer,
        "verdict_class": analysis.verdict.replace(" ", "-"),
        "key_figures": _key_figures(material),
        "sections": sections,
        "configuration": yaml.safe_dump(design.get("config", {}), sort_keys=False, allow_unicode=True),
        "footer": [
            f"mlproject {design.get('mlproject_version', '')}, commit {commit[:12]}.",
            "Every figure stands beside this page in figures/ as PNG, every number in tables/ as CSV.",
        ],
    }


def _key_figures(material: Material) -> list[tuple[str, str]]:
    primary = material.analysis.primary
    counted = [
        ("Real training subjects", str(primary.subjects or "all")),
        ("Seeds with both arms", str(len(primary.seeds))),
    ]
    if primary.contrast is None:
        return counted
    contrast = primary.contrast
    name = f"Difference in {primary.split} {words.metric_label(primary.metric)}"
    figures = [(name, words.signed(contrast.mean))]
    if math.isfinite(contrast.interval.low):
        told = words.bounds(contrast.interval.low, contrast.interval.high, with_sign=True)
        figures.append((material.interval_name, told))
    figures.append(
        ("p, t test and sign flips", f"{words.p_value(contrast.p_t)}, {words.p_value(contrast.p_sign_flip)}")
    )
    if primary.detectable:
        label = f"Detectable with {100 * material.analysis.power:g} % power"
        figures.append((label, words.number(primary.detectable.value)))
    return figures + counted
