"""What a model's card says, line by line: plain sentences from what is known of a version."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mlproject.card_facts import NO, NOT_APPLICABLE, PART, YES, Facts
from mlproject.card_items import Verdict
from mlproject.data import kinds
from mlproject.data.checks import CLASS_NAMES
from mlproject.evaluation.tables import metric_title
from mlproject.plain_text import escaped
from mlproject.registry import ModelReference

_DATA_WORDS = {
    kinds.PHANTOM: "phantom, not clinical data",
    kinds.CLINICAL: "clinical frames, labels by proxy",
    kinds.USER: "imported images",
}
_SOURCES = {
    kinds.PHANTOM: "drawn by the code, see data/README.md.",
    kinds.CLINICAL: "Dataset for Fetus Framework, doi 10.17632/n2rbrb9t4f.1, see data/README.md.",
}
_LIMITS = {
    kinds.PHANTOM: (
        "Phantom, not clinical: it has never seen an image of a person. Only relative statements hold (real against "
        "synthetic against hybrid, at equal subjects)."
    ),
    kinds.CLINICAL: "One public collection of frames: other scanners, operators and populations may differ.",
    kinds.USER: "Imported images: who was imaged, how and why is not recorded here.",
}
_MARKS = str.maketrans({"<": "&lt;", "[": "&#91;", "`": "&#96;", "|": "&#124;", "@": "&#64;"})
# GitHub and the UI make links of these without any mark
_BARE_LINK = re.compile(r"://|www\.", re.IGNORECASE)
_BOUNDS = (".ci_low", ".ci_high")
# in this order, the others after them by name
_FIRST = ("auc", "accuracy", "precision", "recall", "specificity", "f1", "brier")


def metrics_note(facts: Facts) -> str:
    """How the intervals were taken, on which data test figures are, and how often test had been read."""
    if facts.generator:
        return "How each figure and its interval are taken: distribution.py and privacy.py in src/mlproject/evaluation."
    note = "Intervals are bootstraps by subject."
    if len(facts.levels) > 1:
        note += f" Their levels differ: {' and '.join(plain(level) for level in facts.levels)}."
    if facts.elsewhere:
        note += f" Test figures are of another data set than it was trained on, `{plain(facts.evaluated_on)}`."
    if readings := facts.metrics.get("test.readings"):
        note += f" The test split had been read {readings:.0f} {_times(readings)} by then."
    return note


def _times(count: float) -> str:
    return "time" if count == 1 else "times"


def plain(text: object) -> str:
    """Text from a file on one line, without what opens HTML, a link or a picture, or ends a code span or a cell."""
    marked = escaped(" ".join(str(text).split())).translate(_MARKS)
    return _BARE_LINK.sub(lambda found: found[0].replace(":", "&#58;").replace(".", "&#46;"), marked)


def summary_lines(model: ModelReference, facts: Facts) -> list[str]:
    """The card's first lines: what it is, on what data, how good, and what it is not for."""
    kind = _DATA_WORDS.get(str(facts.meta.get("data_kind")), f"data of kind {plain(facts.meta.get('data_kind'))}")
    if facts.generator:
        what = "A conditional WGAN-GP that draws grey ultrasound crops of the class asked for"
        score = f"Privacy audit: {plain(facts.tags.get('audit', 'not run'))}; class asked for: {_conditioning(facts)}."
    else:
        what = (
            f"An EfficientNet that tells anomalous from normal crops, trained on {plain(facts.meta.get('mix'))} images"
        )
        score = _score(facts)
    return [f"{what} ({kind}).", score, "For research; not for clinical use."]


def _score(facts: Facts) -> str:
    for split, words in (("test", "Test"), ("val", "Validation")):
        if f"{split}.auc" in facts.metrics:
            (row,) = metric_rows({key: facts.metrics[key] for key in _keys(f"{split}.auc") if key in facts.metrics})
            return f"{words} AUC {row[1]}, interval {row[2]}."
    return "No score was measured."


def _conditioning(facts: Facts) -> str:
    return plain(facts.tags.get("conditioning", "not examined"))


def _keys(name: str) -> list[str]:
    return [name, *(name + bound for bound in _BOUNDS)]


def metric_rows(metrics: Mapping[str, float]) -> list[tuple[str, str, str]]:
    """(name, value, bounds) of each metric, those of test first, of these the AUC."""
    order = {"test": 0, "val": 1}

    def place(name: str) -> tuple[int, int, str]:
        split, _, metric = name.partition(".")
        return order.get(split, 2), _FIRST.index(metric) if metric in _FIRST else len(_FIRST), name

    names = [name for name in metrics if not name.endswith(_BOUNDS) and not name.endswith(".readings")]
    names.sort(key=place)
    rows = []
    for name in names:
        low, high = (metrics.get(name + bound) for bound in _BOUNDS)
        told = "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"
        if low is None and high is not None:
            told = f"at most {high:.3f}"
        rows.append((_metric_name(name), f"{metrics[name]:.3f}", told))
    return rows


def _metric_name(name: str) -> str:
    """`test.auc` as "Test AUC"; a longer name keeps its parts."""
    split, _, metric = name.partition(".")
    if split in ("val", "test") and "." not in metric:
        return f"{'Validation' if split == 'val' else 'Test'} {metric_title(metric)}"
    return name


def title_of(model: ModelReference, facts: Facts) -> str:
    """Name and kind of the model."""
    what = "generator" if facts.generator else f"{plain(facts.meta.get('mix', ''))} classifier"
    return f"{model.name}, {what}"


def intended_use(facts: Facts) -> str:
    """What it was made for."""
    if facts.generator:
        return (
            "Research on whether synthetic images help a classifier: drawing training images of a class, together with "
            "real ones of the same data set and never in place of validation or test."
        )
    return (
        "Research on whether synthetic images help a classifier: comparing mixes of training images on crops that are "
        "cut as its own were."
    )


def model_lines(facts: Facts) -> list[str]:
    """Network, input and output, threshold, training images, budget and choice of the step."""
    meta, config = facts.meta, facts.meta.get("config", {})
    classes = ", ".join(plain(name) for name in meta.get("class_names", ())) or "not recorded"
    crop = meta.get("preprocessing", {})
    if facts.generator:
        lines = [
            f"Conditional WGAN-GP, architecture `{plain(config.get('architecture', 'not recorded'))}`; one network.",
            f"Input: a class ({classes}) and a seed. Output: uint8 crops of {plain(meta.get('size', '?'))} px.",
            f"Trained for {_generator_budget(config)}; the weights are "
            f"{'their moving average at' if config.get('ema_images') else 'those of'} step "
            f"{plain(meta.get('step', '?'))}, {_chosen(facts)}. No test image was used.",
        ]
    else:
        lines = [
            f"Backbone `{plain(meta.get('backbone', 'not recorded'))}`, starting weights "
            f"`{plain(config.get('weights', 'not recorded'))}`; a single network.",
            f"Input: grey crops of {plain(crop.get('size', '?'))} px. Output: the probability of "
            f"{_second_class(meta)} ({classes}).",
            _threshold_line(meta),
            _mix_line(config),
            f"Trained for {plain(config.get('steps', '?'))} steps with class weighting "
            f"`{plain(config.get('class_weighting', 'not recorded'))}`; step "
            f"{plain(meta.get('best_step', '?'))} was best on validation. No test image was used.",
        ]
    return [*lines, f"Seed {plain(meta.get('seed', facts.tags.get('seed', '?')))}; never updated after training."]


def _generator_budget(config: Mapping[str, Any]) -> str:
    if config.get("epochs"):
        return f"{plain(config['epochs'])} epochs"
    return f"{plain(config.get('steps', '?'))} generator steps"


def _chosen(facts: Facts) -> str:
    """How the step of a generator was chosen: training measured validation at some steps, or at none."""
    measured = facts.params.get("fidelity.while_training")
    if measured is None:
        return "how it was chosen is not recorded"
    return "the last" if measured == "0" else "of the lowest KID to validation images"


def _threshold_line(meta: Mapping[str, Any]) -> str:
    fixed = plain(meta.get("threshold", "?"))
    point = meta.get("operating_point")
    if not point:
        return f"Called {_second_class(meta)} from {fixed} on; why there is not recorded."
    return (
        f"Served, it is called {_second_class(meta)} from {float(point['threshold']):.3f} on, Youden's point on "
        f"validation; the metrics below take {fixed}, which is the same for every classifier."
    )


def _second_class(meta: Mapping[str, Any]) -> str:
    return plain((meta.get("class_names") or ["", "the second class"])[1])


def _mix_line(config: Mapping[str, Any]) -> str:
    mix, pool = config.get("mix"), f"at most {plain(config.get('synthetic_per_class', '?'))} of each class"
    if mix == "synthetic":
        return f"Training images: synthetic alone, {pool}; no real one but those of validation, which chose its step."
    if mix == "hybrid":
        return (
            f"Training images: real and synthetic ({pool}), an expected share of "
            f"{plain(config.get('synthetic_fraction', '?'))} synthetic, mode `{plain(config.get('mix_mode', '?'))}`."
        )
    return "Training images: real alone." if mix == "real" else "Training images: not recorded."


def data_lines(facts: Facts) -> list[str]:
    """Kind, source, digest, subjects, splits, label and crop of the data it was trained on."""
    meta = facts.meta
    rule = meta.get("label_rule")
    rule = rule.get("text", "") if isinstance(rule, Mapping) else rule
    subjects = meta.get("train_subjects") or ()
    kind, behind = str(meta.get("data_kind")), meta.get("generator_subjects") or ()
    synthetic_alone = not facts.generator and meta.get("mix") == "synthetic"
    trained_on = (
        f"Training subjects: none of its own; the {len(behind)} of its generator are listed"
        if synthetic_alone
        else f"Training subjects: {len(subjects)}, listed"
    )
    by = "image number, near-copies joined (the release has no patient ids)" if facts.clinical else "subject"
    lines = [
        f"Kind: {_DATA_WORDS.get(kind, plain(kind))}.",
        f"Source: {_SOURCES.get(kind, 'not recorded.')}",
        f"Digest of the data set: `{plain(meta.get('data_digest', facts.tags.get('data_digest', 'not recorded')))}`.",
        f"{trained_on} in the model's description file; split by {by} before anything is trained.",
        *_split_lines(facts),
        f"The label: {plain(rule) if rule else 'its rule is that of the data set, not recorded with the model'}",
        f"The crop: `{plain(json.dumps(meta.get('preprocessing', {}), sort_keys=True))}`.",
    ]
    if generator := meta.get("generator_digest"):
        lines.append(
            f"Synthetic images of the generator `{plain(generator)}`, which was trained on {len(behind)} subjects."
        )
    return lines


def _split_lines(facts: Facts) -> list[str]:
    """The size of each split of the data set, and what it was used for."""
    test = "not read" if facts.generator else "measures, never chooses"
    uses = {"train": "to train on", "val": "chooses the step", "test": test}
    if facts.generator and facts.params.get("fidelity.while_training", "0") == "0":
        uses["val"] = "not read in training"
    if not facts.generator and facts.meta.get("mix") == "synthetic":
        uses["train"] = "to train its generator on"
    lines = []
    for split, found in facts.counts.items():
        classes = ", ".join(f"{found[name]} {name}" for name in CLASS_NAMES if name in found)
        told = f"{found.get('subjects', '?')} subjects, {found.get('images', '?')} images ({classes})"
        lines.append(f"Split {plain(split)} of the data set, {uses.get(split, '')}: {plain(told)}.")
    return lines


def audit_lines(facts: Facts) -> list[str]:
    """The verdicts on a generator: on itself, or on the one behind a classifier's synthetic images."""
    if not (facts.generator or facts.meta.get("generator_digest")):
        return []
    tags, whose = (facts.tags, "") if facts.generator else (facts.generator_tags, " of its generator")
    return [
        f"Privacy audit{whose}: {plain(tags.get('audit', 'not run'))}.",
        f"The class that was asked for is in the images: {plain(tags.get('conditioning', 'not examined'))}.",
        f"Images of a class differ as real ones do: {plain(tags.get('diversity', 'not examined'))}.",
    ]


def limit_lines(facts: Facts) -> list[str]:
    """What its figures do not say."""
    kind = str(facts.meta.get("data_kind"))
    lines = [_LIMITS.get(kind, f"Data of kind {plain(kind)}."), kinds.label_limit(kind)]
    if facts.generator:
        lines.append("An audit that finds no copies is no proof that there are none.")
        if facts.tags.get("audit") != "pass":
            lines.append("It has not passed a privacy audit: do not share its images of anything but a phantom.")
    else:
        lines.append("Predictive values depend on how common anomalies are where it is used; these sets do not say.")
        if facts.meta.get("generator_digest") and facts.generator_tags.get("audit") != "pass":
            lines.append("The generator behind its synthetic images has not passed a privacy audit.")
        if not facts.has("test."):
            lines.append("It was not evaluated on test: validation chose its step and flatters it.")
    if facts.tags.get("git_dirty") == "true":
        lines.append("Its code had uncommitted changes, so the commit does not tell all of it.")
    return lines


def integrity_rows(model: ModelReference, facts: Facts) -> list[tuple[str, str]]:
    """(what, value) of each digest, and the run and commit that made it."""
    tags = facts.tags
    return [
        ("SHA-256 of the registered folder", tags["sha256"]),
        ("SHA-256 of weights and description", model.digest),
        ("version where it was registered", model.version),
        ("run", model.run_id),
        ("commit", tags.get("git_commit", "unknown")),
    ]


def answer_counts(verdicts: Sequence[Verdict]) -> str:
    """How many items of each guideline have which answer, in words."""
    guidelines = list(dict.fromkeys(verdict.guideline for verdict in verdicts))
    told = []
    for guideline in guidelines:
        own = [verdict.answer for verdict in verdicts if verdict.guideline == guideline]
        told.append(
            f"{guideline}: {own.count(YES)} of {len(own)} items met, {own.count(PART)} in part, {own.count(NO)} not, "
            f"{own.count(NOT_APPLICABLE)} not applicable"
        )
    return "; ".join(told)
