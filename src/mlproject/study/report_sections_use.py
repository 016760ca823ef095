"""Sections on use and on trust: calibration, operating points, decision curve, shortcuts, cases, features."""

from operator import attrgetter
from typing import Any

import pandas as pd

from mlproject.study import report_figures as figures
from mlproject.study import report_tables as tables
from mlproject.study import report_use as use
from mlproject.study import words
from mlproject.study.report_material import Material, estimate
from mlproject.study.report_page import Exhibit, Picture, Section, table

_USE_FIGURES = {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "threshold": "Threshold",
}
_CALIBRATION_FIGURES = {
    "ece_before": "ECE before",
    "ece_after": "ECE after",
    "brier_before": "Brier before",
    "brier_after": "Brier after",
    "temperature": "Temperature",
}
# what a case is called, and what that means
_CASES = {
    "missed": ("Missed", "anomalous, called normal"),
    "false_alarm": ("False alarm", "normal, called anomalous"),
    "found": ("Found", "anomalous, called anomalous"),
    "cleared": ("Cleared", "normal, called normal"),
}


def _by_arm(found: pd.DataFrame, keys: list[str], titles: dict[str, str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Figures as columns, with their texts; and the columns that a table shows."""
    rows = []
    for key, group in found.groupby(keys, sort=False):
        cells = {row.figure: estimate(row) for row in group.itertuples()}
        rows.append(dict(zip(keys, key if isinstance(key, tuple) else (key,), strict=True)) | cells)
    present = [name for name in titles if name in set(found["figure"])]
    columns = {titles[name]: attrgetter(name) for name in present}
    return pd.DataFrame(rows), {"Arm": lambda row: words.arm_title(row.arm), **columns}


def calibration(material: Material) -> Section:
    """Do the probabilities mean what they say?"""
    found = use.calibration_table(material.validation, material.test, material.arms, material.analysis.level)
    section = Section("calibration", "Calibration")
    if found.empty:
        section.paragraphs.append("The folder holds no predictions on validation and test at this size.")
        return section
    section.paragraphs.append(
        "Temperature scaling divides every logit by one number, fitted on validation; it moves probabilities and "
        "leaves their order, so the AUC stays."
    )
    curves = use.reliability_table(material.validation, material.test, material.pair, material.analysis.level)
    caption = (
        f"Reliability with {material.size_text} for training: test subjects of all seeds in ten bins of predicted "
        "probability. On the dashed line a probability means what it says."
    )
    section.exhibits.append(Exhibit(figures.reliability_figure(curves, material.arms), caption, curves))
    rows, columns = _by_arm(found, ["arm"], _CALIBRATION_FIGURES)
    title = (
        f"Expected calibration error (ten bins) and Brier score on test, mean over seeds ({material.interval_name}); "
        "lower is better"
    )
    section.tables.append(table("calibration", title, rows, columns, numbers=found))
    return section


def operating(material: Material) -> Section:
    """Thresholds that validation chose, and what they reach on test."""
    prevalence = use.screening_prevalence(material.design)
    found = use.operating_table(material.validation, material.test, material.arms, material.analysis.level, prevalence)
    section = Section("operating", "Operating points and predictive values")
    if found.empty:
        section.paragraphs.append("The folder holds no predictions on validation and test at this size.")
        return section
    section.paragraphs.append(
        "Each threshold was chosen on validation subjects, once for the largest Youden index and once for the highest "
        "sensitivity at a specificity of at least 95 %, and applied to test as it was; so the specificity on test may "
        "fall short of 95 %."
    )
    if prevalence is None:
        section.paragraphs.append("No screening prevalence was given, so there are no predictive values.")
    else:
        section.paragraphs.append(
            f"Predictive values are those of a population in which {words.percent(prevalence, 1)} are anomalous, by "
            "Bayes' rule from sensitivity and specificity; the test set itself has another share."
        )
    rows, columns = _by_arm(found, ["arm", "rule"], _USE_FIGURES)
    columns = {"Arm": columns["Arm"], "Chosen for": lambda row: use.RULES[row.rule], **columns}
    title = f"On test with {material.size_text} for training, mean over seeds ({material.interval_name})"
    section.tables.append(table("operating-points", title, rows, columns, numbers=found))
    return section


def decision(material: Material) -> Section | None:
    """Net benefit of acting on the probabilities."""
    given = use.screening_prevalence(material.design)
    curves, prevalence = use.decision_table(material.validation, material.test, material.arms, given)
    if curves.empty:
        return None
    where = "the given screening prevalence" if given is not None else "the test sample's own prevalence"
    text = (
        "Net benefit counts true calls minus false ones, a false one weighing p / (1 - p) at the threshold probability "
        "p: the probability of an anomaly from which on a person would act. A curve is worth following where it lies "
        "above calling everyone and above calling no one."
    )
    caption = f"Mean over seeds at {where}, {words.percent(prevalence, 1)}, after temperature scaling."
    drawing = figures.decision_figure(curves, material.arms, prevalence)
    return Section("decision", "Decision curve", [text], [Exhibit(drawing, caption, curves)])


def shortcuts(material: Material) -> Section | None:
    """What is reached without looking at anatomy."""
    found = tables.shortcut_table(material.folder, material.analysis.level)
    if found.empty:
        return None
    arms = material.frames["arms"]
    own = arms[
        (arms["arm"] == material.analysis.primary.arm)
        & (arms["subjects"] == material.size)
        & (arms["split"] == "test")
        & (arms["metric"] == "auc")
    ]
    if len(own):
        row = own.iloc[0]
        title = words.arm_title(material.analysis.primary.arm)
        entry = {"name": "classifier", "title": title, **row[["seeds", "mean", "ci_low", "ci_high"]]}
        found = pd.concat([pd.DataFrame([entry])[list(found.columns)], found], ignore_index=True)
    text = (
        "Logistic regressions that cannot see anatomy: the image at 16x16 pixels, its grey level, the geometry of its "
        "box. A classifier that is not clearly above them may have learnt no more than they did."
    )
    drawing = figures.shortcuts_figure(found)
    caption = f"Test AUC beside the primary arm ({material.interval_name}); the dashed line is guessing."
    return Section("shortcuts", "Shortcut baselines", [text], [Exhibit(drawing, caption, found)])


def cases(material: Material) -> Section | None:
    """The surest right and wrong calls, and where the classifier looked."""
    folder = material.folder / "images" / "failures"
    if not material.may_show_real or not folder.is_dir():
        return None
    section = Section("cases", "Right and wrong calls", gallery="cases")
    listed = folder / "cases.csv"
    if listed.is_file():
        rows = pd.read_csv(listed, dtype={"file": str, "overlay": str, "kind": str})
        for row in rows.itertuples():
            title, meaning = _CASES.get(row.kind, (str(row.kind), ""))
            shown = f"{title}, p = {row.probability:.2f}"
            for name, alt, caption in (
                (row.file, f"{shown}: {meaning}", shown),
                (row.overlay, f"Grad-CAM of the case before it: {shown}", "Grad-CAM"),
            ):
                path = folder / str(name)
                # a list must not reach out of its folder
                if path.parent == folder and path.is_file():
                    section.pictures.append(Picture(path.read_bytes(), alt, caption))
    else:
        section.pictures = [
            Picture(path.read_bytes(), f"Case {path.stem}", path.stem.replace("_", " ").replace("-", " "))
            for path in sorted(folder.glob("*.png"))
        ]
    if not section.pictures:
        return None
    kinds = "; ".join(f"{title.lower()}: {meaning}" for title, meaning in _CASES.values())
    section.paragraphs.append(
        "The calls on validation that the classifier was surest of, right and wrong, each beside its Grad-CAM map: "
        "where it found evidence for its call. The maps are a few pixels wide and enlarged; they show where, not why. "
        f"{kinds.capitalize()}."
    )
    return section


def features(material: Material) -> Section | None:
    """Real and synthetic images in a classifier's features."""
    found = tables.feature_table(material.folder)
    if found is None:
        return None
    points, explained = found
    drawing = figures.features_figure(points, explained)
    caption = (
        "The components are those of the real images. Clouds that lie apart differ; clouds that lie together may still "
        "differ in what two components do not show."
    )
    return Section("features", "Features of real and synthetic images", [], [Exhibit(drawing, caption, points)])
