"""Model cards: what a registered version is, what it was measured to do and not, in Markdown, from its own records."""

import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from mlproject.card_facts import Facts
from mlproject.card_items import judge_items
from mlproject.card_lines import (
    answer_counts,
    audit_lines,
    data_lines,
    integrity_rows,
    intended_use,
    limit_lines,
    metric_rows,
    metrics_note,
    model_lines,
    plain,
    summary_lines,
    title_of,
)
from mlproject.files import atomic_write_text
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
# what MLflow logs of a fit's progress is not a result
_RESULTS = re.compile(r"(val|test|fidelity|audit)\..+")


def card_facts(store: Store, model: ModelReference, evaluation: str = "") -> Facts:
    """What the registry and the store know of a version: its tags, its run and its evaluation.

    Of several evaluations the newest counts. A run that was deleted leaves what it knew out.

    Args:
        evaluation: id of the run that evaluates it now and has not ended; "": the newest finished one.
    """
    generator = model.name == GENERATOR
    tags = dict(store.client.get_model_version(model.name, model.version).tags)
    stage, key = ("eval_gan", "generator_digest") if generator else ("eval_classifier", "classifier_digest")
    evaluated = evaluation or next(iter(store.find(stage, {key: model.digest})), "")
    runs = [run_id for run_id in (model.run_id, evaluated) if _exists(store, run_id)]
    trained = model.run_id if model.run_id in runs else ""
    drawn_by = "" if generator else model.meta.get("generator_digest")
    audited = store.find("eval_gan", {"generator_digest": drawn_by})[:1] if drawn_by else []
    levels = [level for run_id in runs if (level := store.params_of(run_id).get("evaluation.level"))]
    return Facts(
        generator,
        model.meta,
        tags,
        metrics={name: value for run_id in runs for name, value in store.metrics_of(run_id).items()},
        params=store.params_of(trained) if trained else {},
        counts=store.split_counts_of(trained) if trained else {},
        levels=tuple(dict.fromkeys(levels)),
        evaluated_on=store.tags_of(evaluated).get("data_digest", "") if evaluated in runs else "",
        generator_tags=store.tags_of(audited[0]) if audited else {},
    )


def _exists(store: Store, run_id: str) -> bool:
    """Whether the store still has a run: `mlflow gc` removes those that were deleted."""
    try:
        store.tags_of(run_id)
    except MlflowException:
        return False
    return bool(run_id)


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
        autoescape=False,  # Markdown; texts from files go through `plain`
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["plain"] = plain
    verdicts = judge_items(facts)
    results = {name: value for name, value in facts.metrics.items() if _RESULTS.fullmatch(name)}
    shortcuts = {name: value for name, value in facts.metrics.items() if name.startswith("shortcut.")}
    return environment.get_template(template).render(
        title=title_of(model, facts),
        summary=summary_lines(model, facts),
        use=intended_use(facts),
        model=model_lines(facts),
        data=data_lines(facts),
        metrics=metric_rows(results),
        metrics_note=metrics_note(facts),
        level=f"{float(facts.levels[0]) * 100:g} % interval" if len(facts.levels) == 1 else "interval",
        audit=audit_lines(facts),
        shortcuts=metric_rows(shortcuts),
        gates=[plain(gate) for gate in gates],
        limits=limit_lines(facts),
        integrity=integrity_rows(model, facts),
        module="gan.sampling" if facts.generator else "classifier.inference",
        loader="load_generator" if facts.generator else "load_classifier",
        folder=f"outputs/release/{model.name}-{model.version}",
        payload=model.digest,
        verdicts=verdicts,
        counts=answer_counts(verdicts),
        **more,
    )
