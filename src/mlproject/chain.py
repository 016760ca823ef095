"""The whole chain on one seed: three classifiers that differ in their training images alone."""

import dataclasses
from pathlib import Path

from mlproject import stages
from mlproject.classifier.inference import load_classifier
from mlproject.config import Configuration
from mlproject.data.crops import load_crops
from mlproject.data.manifest import DataSet
from mlproject.errors import UserError
from mlproject.evaluation.fidelity import class_fidelity
from mlproject.evaluation.figures import comparison_figure, figure_png
from mlproject.evaluation.intervals import Interval
from mlproject.evaluation.tables import comparison_markdown, comparison_text, interval_text, summary_json
from mlproject.files import atomic_write_bytes, atomic_write_json, atomic_write_text
from mlproject.registry import ModelReference
from mlproject.stages.common import say
from mlproject.tracking import Run

MIXES = ("real", "synthetic", "hybrid")
Results = dict[str, dict[str, Interval]]


def compare_mixes(run: Run, config: Configuration, data: str = "", out: str = "") -> Results:
    """Data, generator, synthetic pool, a classifier for each mix, and the evaluation of each on test.

    Every stage is a child run. Writes summary.json ({mix: {metric: {value, ci_low, ci_high}}}), comparison.md and
    comparison.png to `out` and to the parent run, and prints the table.
    """
    folder = Path(out or Path(config.run.outputs) / "main")
    dataset = stages.resolve_data(run, config, data)
    run.set_tags({"data_digest": dataset.digest, "data_kind": dataset.data_kind})
    with run.child("train_gan", config) as child:
        generator = stages.train_gan(child, config, dataset)
    pool: DataSet | None = None
    models: dict[str, ModelReference] = {}
    results: Results = {}
    for mix in MIXES:
        arm = dataclasses.replace(config, classifier=dataclasses.replace(config.classifier, mix=mix))
        if mix != "real" and pool is None:
            pool = stages.resolve_synthetic(run, arm, dataset, "", str(generator.folder))
        with run.child(f"train_classifier {mix}", arm) as child:
            models[mix] = stages.train_classifier(child, arm, dataset, None if mix == "real" else pool)
        with run.child(f"eval_classifier {mix}", arm) as child:
            results[mix] = stages.eval_classifier(child, arm, models[mix], dataset)
    assert pool is not None
    fidelity = _say_class_fidelity(run, config, dataset, pool, models["real"])
    summary = summary_json(results)
    atomic_write_json(folder / "summary.json", summary)
    text = f"{comparison_markdown(results)}\n\n{fidelity}\n\n{dataset.label_rule['text']}\n"
    atomic_write_text(folder / "comparison.md", text)
    atomic_write_bytes(folder / "comparison.png", figure_png(comparison_figure(results)))
    for name in ("summary.json", "comparison.md", "comparison.png"):
        run.log_artifact(folder / name, "comparison")
    run.log_metrics({f"{mix}.test.{name}": found.value for mix, row in results.items() for name, found in row.items()})
    people = f"{dataset.data_kind}, {len(dataset.subjects('test'))} subjects"
    say(f"\ntest split of {dataset.name} ({people}), {config.evaluation.level:.0%} intervals")
    say(comparison_text(results))
    say(f"\nwritten to {folder}: summary.json, comparison.md, comparison.png")
    say(f"look at the runs:  {run.store.ui_command()}")
    return results


def _say_class_fidelity(
    run: Run, config: Configuration, dataset: DataSet, pool: DataSet, judge_model: ModelReference
) -> str:
    """Does the real-trained classifier find the class that was asked of the generator? Printed beside its own recall
    on validation images, whatever it is."""
    judge = load_classifier(judge_model.folder, judge_model.digest)
    threshold, level = config.evaluation.threshold, config.evaluation.level
    synthetic, validation = load_crops(pool, "train"), load_crops(dataset, "val")
    lines = []
    for name, crops in {"synthetic": synthetic, "real": validation}.items():
        try:
            found = class_fidelity(crops.labels, judge.probabilities(crops.images), threshold, level=level)
        except UserError as error:
            lines.append(f"class fidelity of {name} images is not measured: {error}")
            continue
        figures = {"auc": found.auc} | {f"recall_{label}": interval for label, interval in found.recall.items()}
        run.log_metrics({f"fidelity.{name}.{key}": interval.value for key, interval in figures.items()})
        told = ", ".join(f"{key} {interval_text(interval)}" for key, interval in figures.items())
        lines.append(f"class fidelity of {name} images, judged by the real-trained classifier: {told}")
    text = "\n".join(lines)
    say(text)
    return text
