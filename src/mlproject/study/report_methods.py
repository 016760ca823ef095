"""The report's methods in words and its limits, from the study's design."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from mlproject.data import kinds
from mlproject.study import words
from mlproject.study.contrasts import MINIMUM_SEEDS, MINIMUM_SEEDS_OF_BOOTSTRAP
from mlproject.study.report_material import Material
from mlproject.study.report_page import Section, table

_DATA_LIMITS = {
    kinds.PHANTOM: (
        "Phantom, not clinical: the images are drawn by a simulation. Only relative statements hold (one arm against "
        "another, at equal subjects); no score here says how a classifier would do on people."
    ),
    kinds.CLINICAL: (
        "Clinical frames of one public collection: other scanners, operators and populations may behave otherwise."
    ),
    kinds.USER: "Imported images: who was imaged, how and why is known to who provided them, not to this page.",
}
_COUNT_NAMES = {
    "val_subjects": "Validation subjects",
    "test_subjects": "Test subjects, sites that training saw",
    "unseen_site_subjects": "Test subjects of the site that training never saw",
}


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in content.items():
        title = _COUNT_NAMES.get(name, f"{prefix}{name.replace('_', ' ')}".capitalize())
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name.replace('_', ' ')}, ")
        elif isinstance(value, list):
            yield title, ", ".join(str(part) for part in value)
        else:
            yield title, str(value)


def methods(material: Material) -> Section:
    """How the study was made, in words."""
    design, analysis = material.design, material.analysis
    primary = analysis.primary
    config = design.get("config", {})
    sizes = [str(size or "all") for size in sorted(design["subjects"], key=words.by_size)]
    steps, gan_steps, trials = (design.get(name) for name in ("steps", "gan_steps", "trials"))
    backbone = config.get("classifier", {}).get("backbone", "an EfficientNet")
    drawn = "takes the one split that came with the images" if material.one_split else "draws its own subjects"
    paragraphs = [
        f"Design. {len(design['arms'])} arms, {len(design['seeds'])} seeds, {' and '.join(sizes)} real training "
        f"subjects; the smaller sets of a seed lie within its larger ones. Each seed {drawn}, trains "
        "its own generator on the training subjects of its cell, and its own classifiers. Generator and classifiers "
        "see the same real subjects and never one of validation or test.",
        f"Training. Every classifier ({backbone}) takes {_count(steps, 'optimiser steps')} on the same schedule "
        "whatever its arm, and the step that is best on validation is kept. The generator, a conditional WGAN-GP, "
        f"takes {_count(gan_steps, 'steps')}. Arms that are tuned try {_count(trials, 'settings')} and take the best "
        "on validation; the others try nothing.",
        "Scores. Probabilities are averaged over each subject's images before anything is scored, so a subject counts "
        "once. Test is read once for each fit; sites that training never saw are scored apart.",
        f"Statistics. The primary contrast is {words.arm_title(primary.arm)} minus "
        f"{words.arm_title(primary.reference)} in {words.split_title(primary.split)} "
        f"{words.metric_label(primary.metric)} with {material.size_text} for training, declared before the first fit. "
        f"The unit of inference is the seed's paired difference: its mean with a {material.interval_name} from the t "
        "distribution, the p of the t test and of sign flips, and Cohen's d_z with Hedges' correction. At least "
        f"{MINIMUM_SEEDS} seeds are needed, and from {MINIMUM_SEEDS_OF_BOOTSTRAP} on a bootstrap of seeds and subjects "
        "stands beside. Of the secondary contrasts, the p values of the t tests are adjusted by Holm's method.",
    ]
    if primary.detectable:
        found = primary.detectable
        paragraphs.append(
            f"Power. With the spread that was seen, these seeds had {100 * analysis.power:g} % power to find a "
            f"difference of {words.number(found.value)} (from {words.bounds(found.low, found.high)}, as uncertain as "
            "the spread itself). Smaller ones would mostly go unseen."
        )
    arms = pd.DataFrame([{"arm": arm, "images": words.arm_at_length(arm)} for arm in material.arms])
    counts = pd.DataFrame(list(_flat(design.get("counts", {}))), columns=["set", "number"])
    section = Section("methods", "Methods", paragraphs)
    section.terms = [(words.arm_title(row.arm), row.images) for row in arms.itertuples() if row.images]
    if len(counts):
        shown = {"Set": lambda row: row.set, "Number": lambda row: row.number}
        section.tables.append(table("counts", "Sizes of the sets", counts, shown))
    return section


def _count(value: object, what: str) -> str:
    return f"{value} {what}" if value else f"the configured number of {what}"


def limits(material: Material, sections: list[Section]) -> Section:
    """What the study cannot say."""
    design, analysis = material.design, material.analysis
    primary, present = analysis.primary, {section.id for section in sections}
    kind, rule = str(design["data_kind"]), _sentence(str(design.get("label_rule", "Its rule is not stated.")))
    items = [_DATA_LIMITS.get(kind, f"Data of kind {kind}."), f"{kinds.label_limit(kind)} {rule}"]
    if primary.contrast is None:
        items.append(
            f"{len(primary.seeds)} seeds have both arms of the primary contrast; below {MINIMUM_SEEDS} there is no "
            "test."
        )
    elif primary.verdict == "no evidence":
        items.append(
            "No evidence of a difference is not evidence of none: see the interval and the detectable difference."
        )
    items.append(
        "The answer holds for this generator at this budget, this classifier and these numbers of subjects; a better "
        "generator or fewer subjects may change it."
    )
    if material.one_split:
        items.append(
            "All seeds share one split, the one that came with the images: the interval holds for these training and "
            "test subjects, not for what other subjects would have given."
        )
    if design.get("gan_steps"):
        items.append(f"The generator had {design['gan_steps']} steps; more may help or hurt.")
    items.append("Secondary contrasts, calibration, operating points and sites describe; they were not powered for.")
    items += list(analysis.notes)
    absent = {
        "shortcuts": "shortcut baselines",
        "cases": "a gallery of right and wrong calls",
        "features": "features of real and synthetic images",
        "sites": "sites",
    }
    if missing := [name for key, name in absent.items() if key not in present]:
        items.append(f"Not in this folder, so not in this report: {', '.join(missing)}.")
    return Section("limits", "Limits", items=items)


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
