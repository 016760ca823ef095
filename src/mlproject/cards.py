"""Model cards: what a registered version is, what it was measured to do and not, in Markdown, from its own records."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from mlproject.card_items import Facts, Verdict, judge_items
from mlproject.evaluation.tables import metric_title
from mlproject.files import atomic_write_text
from mlproject.plain_text import escaped
from mlproject.registry import CLASSIFIER, GENERATOR, ModelReference
from mlproject.released import released_file
from mlproject.tracking import MlflowException, Store

FOLDER = "cards"
# of a description, which the UI shows on one screen and MLflow cuts at 5000 characters
_DESCRIBED_METRICS, _DESCRIBED_CHARACTERS = 12, 5000
_ABOUT = {
    GENERATOR: "Draws grey ultrasound crops of the class that is asked for.",
    CLASSIFIER: "Tells anomalous from normal ultrasound crops.",
}
_DIGITS_IN_NAME = 12
_DATA_WORDS = {
    "phantom_not_clinical": "phantom, not clinical data",
    "clinical_frames": "clinical frames, labels by proxy",
    "user_images": "imported images",
}
_LIMITS = {
    "phantom_not_clinical": (
        "Phantom, not clinical: it has never seen an image of a person. Only relative statements hold (real against "
        "synthetic against hybrid, at equal subjects)."
    ),
    "clinical_frames": "One public collection of frames: other scanners, operators and populations may differ.",
    "user_images": "Imported images: who was imaged, how and why is not recorded here.",
}
_MARKS = str.maketrans({"<": "&lt;", "[": "&#91;", "`": "&#96;"})
# what MLflow logs of a fit's progress is not a result
_RESULTS = re.compile(r"(val|test|fidelity|audit)\..+")
_BOUNDS = (".ci_low", ".ci_high")


def card_facts(store: Store, model: ModelReference, evaluation: str = "") -> Facts:
    """What the registry and the store know of a version: its tags, its run's metrics and those of its evaluations.

    Of several evaluations the newest counts. A run that was deleted leaves its metrics out.

    Args:
        evaluation: id of the run that evaluates it now and has not ended; "": the newest finished one.
    """
    generator = model.name == GENERATOR
    tags = dict(store.client.get_model_version(model.name, model.version).tags)
    stage, key = ("eval_gan", "generator_digest") if generator else ("eval_classifier", "classifier_digest")
    metrics: dict[str, float] = {}
    evaluated = [evaluation] if evaluation else store.find(stage, {key: model.digest})[:1]
    for run_id in (model.run_id, *evaluated):
        try:
            metrics |= store.metrics_of(run_id)
        except MlflowException:
            continue
    return Facts(generator, model.meta, tags, metrics)


def write_card(store: Store, model: ModelReference, gates: Sequence[str], folder: Path) -> Path:
    """Write the card of a registered version, and set the version's description to its first lines.

    Args:
        model: verified, with its version.
        gates: what each gate says of it.
        folder: `registry`; the card goes to `cards/<name>-<first digits of sha256>.md` in it. Versions are numbered by
            each store anew, a digest is one model's everywhere.

    Returns:
        The card.

    Raises:
        UserError: the place cannot be written.
    """
    facts = card_facts(store, model)
    path = _card_file(folder, model, facts)
    atomic_write_text(path, card_text(model, facts, gates))
    describe(store, model)
    return path


def _card_file(folder: Path, model: ModelReference, facts: Facts) -> Path:
    return folder / FOLDER / f"{model.name}-{facts.tags['sha256'][:_DIGITS_IN_NAME]}.md"


def describe(store: Store, model: ModelReference, evaluation: str = "") -> None:
    """Tell the registry, whose pages the UI opens, what a version is and which version has which alias.

    Called whenever more is known of it: registered, evaluated, released. A model that is no version is left alone.

    Args:
        evaluation: as in `card_facts`.
    """
    if not model.version:
        return
    facts, released = card_facts(store, model, evaluation), released_file()
    card = _card_file(released.parent, model, facts) if released else None
    told = f"{card.parent.parent.name}/{FOLDER}/{card.name}" if card is not None and card.is_file() else ""
    text = _render("description.md.j2", model, facts, (), card=told, described=_DESCRIBED_METRICS)
    store.client.update_model_version(model.name, model.version, description=text.strip()[:_DESCRIBED_CHARACTERS])
    aliases = store.client.get_registered_model(model.name).aliases
    lines = [_ABOUT[model.name], "For research; not for clinical use.", ""]
    for alias, version in sorted(aliases.items()):
        about = store.client.get_model_version(model.name, version).description or ""
        lines.append(f"- **{alias}**, version {version}: {' '.join(about.splitlines()[:2])}")
    store.client.update_registered_model(model.name, "\n".join(lines)[:_DESCRIBED_CHARACTERS])


def card_text(model: ModelReference, facts: Facts, gates: Sequence[str]) -> str:
    """The card in Markdown."""
    return _render("card.md.j2", model, facts, gates)


def _render(template: str, model: ModelReference, facts: Facts, gates: Sequence[str], **more: object) -> str:
    environment = Environment(
        loader=PackageLoader("mlproject"),
        autoescape=False,  # Markdown; texts from files go through `plain` or `cell`
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = lambda text: plain(text).replace("|", "\\|")
    verdicts = judge_items(facts)
    results = {name: value for name, value in facts.metrics.items() if _RESULTS.fullmatch(name)}
    shortcuts = {name: value for name, value in facts.metrics.items() if name.startswith("shortcut.")}
    readings = facts.metrics.get("test.readings")
    return environment.get_template(template).render(
        title=_title(model, facts),
        summary=summary_lines(model, facts),
        use=_use(facts),
        model=_model_lines(facts),
        data=_data_lines(facts),
        metrics=_rows(results),
        metrics_note="Intervals are bootstraps by subject."
        + (f" The test split had been read {readings:.0f} {_times(readings)} by then." if readings else ""),
        level="interval",
        audit=_audit_lines(facts) if facts.generator else [],
        shortcuts=_rows(shortcuts),
        gates=[plain(gate) for gate in gates],
        limits=_limit_lines(facts),
        integrity=_integrity(model, facts),
        module="gan.sampling" if facts.generator else "classifier.inference",
        loader="load_generator" if facts.generator else "load_classifier",
        folder=f"outputs/release/{model.name}-{model.version}",
        payload=model.digest,
        verdicts=verdicts,
        counts=_counts(verdicts),
        **more,
    )


def _times(count: float) -> str:
    return "time" if count == 1 else "times"


def plain(text: object) -> str:
    """Text from a file on one line, and without the marks that open HTML, a link or a picture, or end a code span."""
    return escaped(" ".join(str(text).split())).translate(_MARKS)


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
            (row,) = _rows({key: facts.metrics[key] for key in _keys(f"{split}.auc") if key in facts.metrics})
            return f"{words} AUC {row[1]}, interval {row[2]}."
    return "No score was measured."


def _conditioning(facts: Facts) -> str:
    return plain(facts.tags.get("conditioning", "not examined"))


def _keys(name: str) -> list[str]:
    return [name, *(name + bound for bound in _BOUNDS)]


def _rows(metrics: Mapping[str, float]) -> list[tuple[str, str, str]]:
    """(name, value, bounds) of each metric, those of test first."""
    order = {"test": 0, "val": 1}
    names = [name for name in metrics if not name.endswith(_BOUNDS) and not name.endswith(".readings")]
    names.sort(key=lambda name: (order.get(name.split(".")[0], 2), name))
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


def _title(model: ModelReference, facts: Facts) -> str:
    what = "generator" if facts.generator else f"{plain(facts.meta.get('mix', ''))} classifier"
    return f"{model.name}, {what}"


def _use(facts: Facts) -> str:
    if facts.generator:
        return (
            "Research on whether synthetic images help a classifier: drawing training images of a class, together with "
            "real ones of the same data set and never in place of validation or test."
        )
    return (
        "Research on whether synthetic images help a classifier: comparing mixes of training images on crops that are "
        "cut as its own were."
    )


def _model_lines(facts: Facts) -> list[str]:
    meta, config = facts.meta, facts.meta.get("config", {})
    classes = ", ".join(plain(name) for name in meta.get("class_names", ())) or "not recorded"
    crop = meta.get("preprocessing", {})
    if facts.generator:
        lines = [
            f"Conditional WGAN-GP, architecture `{plain(meta.get('architecture', 'not recorded'))}`; a single network.",
            f"Input: a class ({classes}) and a seed. Output: uint8 crops of {plain(meta.get('size', '?'))} px.",
            f"Trained for {plain(config.get('steps', '?'))} configured steps; the weights are their moving average at "
            f"step {plain(meta.get('step', '?'))}. No test image was used.",
        ]
    else:
        lines = [
            f"Backbone `{plain(meta.get('backbone', 'not recorded'))}`, starting weights "
            f"`{plain(config.get('weights', 'not recorded'))}`; a single network.",
            f"Input: grey crops of {plain(crop.get('size', '?'))} px. Output: the probability of "
            f"{plain((meta.get('class_names') or ['', 'the second class'])[1])}; called from "
            f"{plain(meta.get('threshold', '?'))} on ({classes}).",
            f"Trained for {plain(config.get('steps', '?'))} steps with class weighting "
            f"`{plain(config.get('class_weighting', 'not recorded'))}`; step "
            f"{plain(meta.get('best_step', '?'))} was best on validation. No test image was used.",
        ]
    return [*lines, f"Seed {plain(meta.get('seed', facts.tags.get('seed', '?')))}; never updated after training."]


def _data_lines(facts: Facts) -> list[str]:
    meta = facts.meta
    rule = meta.get("label_rule")
    rule = rule.get("text", "") if isinstance(rule, Mapping) else rule
    subjects = meta.get("train_subjects") or ()
    lines = [
        f"Kind: {_DATA_WORDS.get(str(meta.get('data_kind')), plain(meta.get('data_kind')))}.",
        f"Digest of the data set: `{plain(meta.get('data_digest', facts.tags.get('data_digest', 'not recorded')))}`.",
        f"Training subjects: {len(subjects)}, listed in the model's description file; split by subject before anything "
        "is trained.",
        f"The label: {plain(rule) if rule else 'its rule is that of the data set, not recorded with the model'}",
        f"The crop: `{plain(json.dumps(meta.get('preprocessing', {}), sort_keys=True))}`.",
    ]
    if generator := meta.get("generator_digest"):
        lines.append(
            f"Synthetic images of the generator `{plain(generator)}`, which was trained on "
            f"{len(meta.get('generator_subjects') or ())} subjects."
        )
    return lines


def _audit_lines(facts: Facts) -> list[str]:
    return [
        f"Privacy audit: {plain(facts.tags.get('audit', 'not run'))}.",
        f"The class that was asked for is in the images: {_conditioning(facts)}.",
        f"Images of a class differ as real ones do: {plain(facts.tags.get('diversity', 'not examined'))}.",
    ]


def _limit_lines(facts: Facts) -> list[str]:
    kind = str(facts.meta.get("data_kind"))
    lines = [_LIMITS.get(kind, f"Data of kind {plain(kind)}."), "Label: proxy, not a clinical outcome."]
    if facts.generator:
        lines.append("An audit that finds no copies is no proof that there are none.")
        if facts.tags.get("audit") != "pass":
            lines.append("It has not passed a privacy audit: do not share its images of anything but a phantom.")
    else:
        lines.append("Predictive values depend on how common anomalies are where it is used; these sets do not say.")
        if not facts.has("test."):
            lines.append("It was not evaluated on test: validation chose its step and flatters it.")
    if facts.tags.get("git_dirty") == "true":
        lines.append("Its code had uncommitted changes, so the commit does not tell all of it.")
    return lines


def _integrity(model: ModelReference, facts: Facts) -> list[tuple[str, str]]:
    tags = facts.tags
    return [
        ("SHA-256 of the registered folder", tags["sha256"]),
        ("SHA-256 of weights and description", model.digest),
        ("version where it was registered", model.version),
        ("run", model.run_id),
        ("commit", tags.get("git_commit", "unknown")),
    ]


def _counts(verdicts: Sequence[Verdict]) -> str:
    guidelines = list(dict.fromkeys(verdict.guideline for verdict in verdicts))
    told = []
    for guideline in guidelines:
        own = [verdict.met for verdict in verdicts if verdict.guideline == guideline]
        told.append(f"{guideline}: {sum(own)} of {len(own)} items met")
    return "; ".join(told)
