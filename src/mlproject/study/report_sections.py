"""Sections of what was found: differences, learning curves, images, the audit, sites and runs."""

from operator import attrgetter
from typing import Any

import pandas as pd

from mlproject.data.checks import CLASS_NAMES
from mlproject.study import report_figures as figures
from mlproject.study import report_tables as tables
from mlproject.study import words
from mlproject.study.report_material import Material, bracketed, estimate
from mlproject.study.report_page import Exhibit, Picture, Section, table


def differences(material: Material) -> Section:
    """The forest plot, and every contrast with its tests."""
    frames, analysis = material.frames, material.analysis
    contrasts = frames["contrasts"]
    shown = table(
        "contrasts",
        f"Every declared contrast, arm minus reference, with its t interval over seeds ({material.interval_name})",
        contrasts,
        {
            "Contrast": lambda row: f"{words.arm_title(row.arm)} {words.MINUS} {words.arm_title(row.reference)}",
            "Difference": _difference,
            "Subjects, metric": lambda row: f"{row.subjects or 'all'}, {words.metric_label(row.metric)}",
            "Seeds": lambda row: f"{row.seeds}",
            "p (t)": lambda row: words.p_value(row.p_t),
            "p (sign flip)": lambda row: words.p_value(row.p_sign_flip),
            "p (Holm)": lambda row: words.p_value(row.p_holm) if row.role == "secondary" else "primary",
            "Effect size": lambda row: words.signed(row.effect_size, 2),
            "Detectable": lambda row: words.number(row.detectable),
            "Verdict": lambda row: row.verdict,
        },
    )
    caption = (
        "Large marks: mean difference over seeds with its interval; small dots: one seed each. The primary contrast is "
        "the first; it was declared before the first fit and decides the answer."
    )
    drawing = figures.forest_figure(contrasts, frames["differences"])
    own = "generator and classifiers on the one split" if material.one_split else "subjects, generator and classifiers"
    text = (
        f"A seed draws its own {own}, and every arm of that seed shares its subjects. So the arms are compared within "
        "each seed, and the seeds are what is counted."
    )
    section = Section(
        "differences", "Paired differences", [text], [Exhibit(drawing, caption, contrasts)], tables=[shown]
    )
    if analysis.primary.nested:
        found = analysis.primary.nested
        section.paragraphs.append(
            "A bootstrap of seeds and, within each, of test subjects gives the primary difference the interval "
            f"{words.bounds(found.low, found.high, with_sign=True)}."
        )
    return section


def _difference(row: Any) -> str:
    """A difference with its interval, "–" where too few seeds have both arms."""
    if not pd.notna(row.mean):
        return "–"
    return f"{words.signed(row.mean)} {bracketed(words.bounds(row.ci_low, row.ci_high, with_sign=True))}"


def learning(material: Material) -> Section:
    """Scores over the number of real subjects, and the means of all metrics."""
    arms, metric = material.frames["arms"], material.analysis.primary.metric
    curve = arms[(arms["split"] == "test") & (arms["metric"] == metric)]
    drawing = figures.learning_figure(curve, material.arms, metric)
    caption = (
        f"Mean over seeds with its t interval ({material.interval_name}); at one size the arms stand side by side."
    )
    metrics = [
        name
        for name in ("auc", "accuracy", "recall", "specificity", "precision", "f1", "brier")
        if name in set(arms["metric"])
    ]
    test = arms[arms["split"] == "test"].copy()
    order = {arm: place for place, arm in enumerate(material.arms)}
    wide = test.assign(text=[estimate(row) for row in test.itertuples()]).pivot_table(
        index=["subjects", "arm"], columns="metric", values="text", aggfunc="first"
    )
    wide = wide.reset_index().sort_values(
        ["subjects", "arm"], key=lambda column: column.map(order if column.name == "arm" else words.by_size)
    )
    columns: dict[str, Any] = {
        "Arm": lambda row: words.arm_title(row.arm),
        "Subjects": lambda row: f"{row.subjects or 'all'}",
    }
    columns |= {words.metric_label(name): attrgetter(name) for name in metrics}
    shown = table(
        "arms", f"Test scores of every arm, mean over seeds ({material.interval_name})", wide, columns, numbers=arms
    )
    return Section("learning", "Learning curves", [], [Exhibit(drawing, caption, curve)], tables=[shown])


def samples(material: Material) -> Section:
    """Grids of real and synthetic images, side by side."""
    section = Section("samples", "Real beside synthetic")
    shown = ("real", "synthetic") if material.may_show_real else ("synthetic",)
    for name in CLASS_NAMES:
        for kind in shown:
            path = material.folder / "images" / f"{kind}-{name}.png"
            if path.is_file():
                alt = f"Grid of {kind} images of the class {name}"
                section.pictures.append(Picture(path.read_bytes(), alt, f"{kind.capitalize()}, {name}"))
    if not section.pictures:
        section.paragraphs.append("The folder holds no sample grids.")
    else:
        section.paragraphs.append(
            "The first images of each kind at the largest size of one declared seed, at their true grey levels, chosen "
            "by nobody."
        )
    if not material.may_show_real:
        section.paragraphs.append("Real images of this data set are not free to be shown, so none is in this report.")
    return section


def audit(material: Material) -> Section:
    """Is the generator safe to release?"""
    section = Section("audit", "Privacy audit of the generator")
    found = tables.read_audit(material.folder)
    if found is None:
        section.paragraphs.append(
            "No audit was run on these generators, so this study says nothing about whether they are safe to release."
        )
        return section
    section.paragraphs.append(f"Verdict: {found['verdict']}.")
    if found.get("rule"):
        section.paragraphs.append(str(found["rule"]))
    alarms = [alarm.get("text", alarm) if isinstance(alarm, dict) else alarm for alarm in found.get("alarms") or ()]
    section.items = [str(told) for told in (*(found.get("reasons") or ()), *alarms)]
    if not section.items:
        section.paragraphs.append(
            "Nothing raised an alarm. An audit that finds nothing is no proof that nothing is there."
        )
    numbers = tables.audit_table(found)
    if len(numbers):
        section.tables.append(
            table(
                "audit",
                "What the verdict stands on",
                numbers[numbers["shown"]],
                {
                    "Figure": lambda row: row.figure.replace("_", " ").replace("auc", "AUC"),
                    "Where": lambda row: row.where or "all",
                    "Value": lambda row: words.number(row.value, 0 if float(row.value).is_integer() else 3),
                    "Interval": lambda row: words.bounds(row.ci_low, row.ci_high) if pd.notna(row.ci_low) else "–",
                },
                numbers=numbers.drop(columns="shown"),
            )
        )
    return section


def sites(material: Material) -> Section | None:
    """Each site by itself, and the one that training never saw."""
    found = tables.site_table(material.study, material.size, material.analysis.level)
    if found.empty:
        return None
    unseen = sorted(set(found.loc[found["unseen"], "site"]))
    text = "Only sites that training saw count in the scores above."
    if unseen:
        text += f" Site {', '.join(unseen)} was never seen: it asks what is left of the score elsewhere."
    order = {arm: place for place, arm in enumerate(material.arms)}
    found = found.assign(order=found["arm"].map(order)).sort_values(["unseen", "site", "order"], ignore_index=True)
    found = found.drop(columns="order")
    drawing = figures.sites_figure(found, material.arms)
    caption = f"Test AUC with {material.size_text} for training, mean over seeds ({material.interval_name})."
    shown = table(
        "sites",
        f"Test AUC by site with {material.size_text} for training ({material.interval_name})",
        found,
        {
            "Arm": lambda row: words.arm_title(row.arm),
            "Site": lambda row: f"{row.site}" + (", never seen" if row.unseen else ""),
            "AUC": estimate,
            "Test subjects": lambda row: words.number(float(row.test_subjects), 0),
            "Seeds": lambda row: f"{row.seeds}",
        },
    )
    return Section("sites", "Sites", [text], [Exhibit(drawing, caption, found)], tables=[shown])


def runs(material: Material) -> Section:
    """Every fit with its run, and the generators."""
    section = Section("runs", "Runs")
    found, made = tables.run_table(material.folder), tables.generator_table(material.folder)
    if len(found):
        minutes = found.loc[found["reused"] == 0, "seconds"].sum() / 60
        took = f"{minutes / 60:.1f} hours" if minutes >= 60 else f"{max(1, round(minutes))} minutes"
        section.paragraphs.append(
            f"{len(found)} runs, {int((found['reused'] == 1).sum())} of them taken from earlier work; the others took "
            f"{took} of fitting and evaluation."
        )
        section.tables.append(
            table(
                "runs",
                "Every run of the study, as its tracking store names it",
                found,
                {
                    "Run": lambda row: str(row.run_id),
                    "Stage": lambda row: str(row.stage),
                    "Arm": lambda row: words.arm_title(row.arm) if isinstance(row.arm, str) else "–",
                    "Subjects": lambda row: f"{row.subjects or 'all'}",
                    "Seed": lambda row: f"{row.seed}",
                    "Seconds": lambda row: words.number(row.seconds, 1),
                    "Reused": lambda row: "yes" if row.reused else "no",
                },
                folded=True,
            )
        )
    if len(made):
        extra = [name for name in made.columns if name not in ("seed", "subjects", "digest", "run_id", "seconds")]
        columns = {
            "Digest": lambda row: str(getattr(row, "digest", "–"))[:16],
            "Subjects": lambda row: f"{row.subjects or 'all'}",
            "Seed": lambda row: f"{row.seed}",
        }
        positions = {name: made.columns.get_loc(name) for name in extra}
        columns |= {
            name: (lambda row, place=place: words.number(row[place]) if not isinstance(row[place], str) else row[place])
            for name, place in positions.items()
        }
        section.tables.append(table("generators", "Every generator", made, columns, folded=True))
    if not section.tables:
        section.paragraphs.append("The folder holds no list of runs.")
    return section
