"""What a store knows of the comparison: its newest finished study, or else its evaluations one by one."""

from collections import defaultdict
from pathlib import Path

from mlproject.errors import UserError
from mlproject.evaluation.tables import comparison_text
from mlproject.stages.classifier import Metrics, logged_metrics
from mlproject.stages.common import say
from mlproject.study.statistics import analyse
from mlproject.study.text import study_text
from mlproject.tracking import Store


def compare(store: Store, study: str = "") -> None:
    """Print arms and contrasts of a study, or the test scores of every evaluated classifier.

    Args:
        study: the folder of a study or `runs:/<id>`; "" takes the newest finished study of the store and, where there
            is none, the runs of eval_classifier, newest first, those on the same test split together.

    Raises:
        UserError: the reference leads nowhere, or the store has neither.
    """
    folder = _folder_of(store, study)
    if folder is not None:
        say(study_text(analyse(folder)))
        return
    by_data: dict[tuple[str, str], dict[str, Metrics]] = defaultdict(dict)
    for run_id in store.find("eval_classifier", {}):
        tags = store.tags_of(run_id)
        data = (tags.get("data_kind", "unknown"), tags.get("data_digest", "unknown")[:12])
        by_data[data][f"{tags.get('mix') or 'model'} {run_id[:8]}"] = logged_metrics(store.metrics_of(run_id), "test")
    if not by_data:
        raise UserError(
            "the store has no finished study and no evaluated classifier; `mlflow run . -e study` or "
            "`mlflow run . -e main` make them"
        )
    for (kind, digest), results in by_data.items():
        say(f"\ntest split of data {digest} ({kind}), intervals by subject of single runs: no study, so no contrast")
        say(comparison_text(results, first="mix and run"))


def _folder_of(store: Store, study: str) -> Path | None:
    if study and not study.startswith("runs:/"):
        return Path(study)
    run_id = study.removeprefix("runs:/").split("/")[0]
    found = [run_id] if run_id else store.find("study", {})
    for candidate in found:
        folder = store.download(candidate, "study")
        if folder is not None:
            say(f"study of run {candidate}")
            return folder
    if study:
        raise UserError(f"{study}: that run has no study; name the run of a study, or its folder")
    return None
