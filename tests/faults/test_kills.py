"""Twenty kills in a row, at random moments of preparation, synthesis, registration, study and tuning."""

import json
import random
import sqlite3
import time
from pathlib import Path

import pandas as pd
import pytest
from starter import Started, leftovers, versions_without_digest
from workshops import Workshop, unfinished_runs

from mlproject import registry, tracking

CONFIG = """
run: {workers: 1, threads: 1, device: cpu}
data: {n_train: 12, n_val: 8, n_test: 8, frames_per_subject: 1, size: 32}
gan: {steps: 20, batch_size: 4, base_channels: 4, latent_dim: 8, log_every: 1, grid_every: 10, checkpoint_every: 2,
      precision: fp32, critic_steps: 1, feature_critic: 0, auxiliary: 0}
synthesis: {per_class: 200, batch_size: 8}
classifier: {backbone: test_efficientnet, weights: none, steps: 4, batch_size: 4, eval_every: 2, checkpoint_every: 1,
             synthetic_per_class: 6}
fidelity: {while_training: 0}
evaluation: {bootstrap: 100}
study: {subjects: "6", seeds: 2, primary: hybrid_0.5_add - real_augmented @ 6, gan_steps: 0, classifier_steps: 0,
        trials: 2, unseen_site_subjects: 8}
tune: {space: "gan.lambda_gp: grid 5 10", trials: 2, gan_steps: 0, classifier_steps: 0, confirm_seeds: 0, workers: 1,
       heartbeat_seconds: 5}
"""
ENTRY_POINTS = ("prepare_data", "train_gan", "generate_synthetic", "study", "tune")
KILLS_OF_EACH = 4
MOMENTS = random.Random(20260101)


def finished(workshop: Workshop) -> set[str]:
    """Ids of the runs that are FINISHED, looked up without MLflow, which would make the tables itself.

    Not read-only: what a kill left of a transaction is rolled back by whoever reads next.
    """
    try:
        with sqlite3.connect(f"file:{workshop.folder}/mlflow.db?mode=rw", uri=True) as database:
            return {row[0] for row in database.execute("SELECT run_uuid FROM runs WHERE status = 'FINISHED'")}
    except sqlite3.OperationalError:
        return set()


def configured(workshop: Workshop) -> Workshop:
    (workshop.folder / "config.yaml").write_text(CONFIG)
    return workshop


def undisturbed(workshop: Workshop) -> dict[str, float]:
    """Every entry point from its start to its end; the seconds that each took."""
    seconds = {}
    for entry_point in ENTRY_POINTS:
        began = time.monotonic()
        started = Started(workshop, entry_point)
        assert started.wait(600) == 0, started.printed()[-4000:]
        seconds[entry_point] = time.monotonic() - began
    return seconds


def results(workshop: Workshop) -> dict[str, object]:
    """What the entry points made: data sets, models and tables, without times, places and ids."""
    client, outputs = workshop.client, workshop.folder / "outputs"
    found: dict[str, object] = {}
    for name in (registry.GENERATOR, registry.CLASSIFIER):
        versions = client.search_model_versions(f"name = '{name}'", max_results=1000)
        found[name] = {client.get_model_version(name, v.version).tags["payload_sha256"] for v in versions}
    sets = [*outputs.glob("data/*/dataset.json"), *outputs.glob("synthetic/*/dataset.json")]
    found["data"] = {json.loads(path.read_text())["digest"] for path in sets}
    for name in ("scores.csv", "predictions.csv"):
        found[name] = only(outputs.glob(f"study/*/{name}")).read_bytes()
    trials = pd.read_csv(only(outputs.glob("tune/*/trials.csv")), dtype=str)
    trials = trials[trials["state"] == "finished"]  # one that was killed is tried again under another number
    found["trials"] = sorted(zip(trials["gan.lambda_gp"], trials["val.auc"], strict=True))
    return found


def only(paths) -> Path:
    (path,) = paths
    return path


def assert_whole(workshop: Workshop) -> None:
    """Nothing half-written, no run RUNNING, no version without its digest, no model that is still being stored."""
    assert unfinished_runs(workshop) == []
    assert versions_without_digest(workshop) == []
    assert leftovers(workshop.folder) == []
    experiments = [workshop.client.get_experiment_by_name("nt-synthetic").experiment_id]
    models = workshop.client.search_logged_models(experiments, max_results=1000)
    assert "PENDING" not in {model.status.value for model in models}


@pytest.mark.slow
def test_twenty_kills_in_a_row_lose_nothing(desk, new_workshop, fault):
    calm = configured(new_workshop("calm"))
    lasts = undisturbed(calm)
    configured(desk)
    deaths, moments, kept = 0, [], set()
    for entry_point in ENTRY_POINTS:
        for _ in range(KILLS_OF_EACH):
            # what was done before a kill is not done again, so each of four has a quarter of the work before it
            seconds = MOMENTS.uniform(0.2, 0.6 * lasts[entry_point])
            started = Started(desk, entry_point)
            end = time.monotonic() + seconds
            while time.monotonic() < end and started.poll() is None:
                time.sleep(0.01)
            deaths += started.kill()
            moments.append(seconds)
            assert kept <= finished(desk), "a finished run was lost"
            kept = finished(desk)
        last = Started(desk, entry_point)
        assert last.wait(600) == 0, last.printed()[-4000:]
        assert_whole(desk)
        kept = finished(desk)
    assert deaths >= 15, "most ended before they were killed"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in desk.environment.items():
            patch.setenv(name, value)
        patch.chdir(desk.folder)
        verdicts = registry.verify_all(tracking.open_store("nt-synthetic"))
    assert verdicts
    assert [verdict for verdict in verdicts if verdict.problem] == []
    assert results(desk) == results(calm)
    before = finished(desk)
    undisturbed(desk)
    new = [desk.client.get_run(run_id) for run_id in finished(desk) - before]
    fits = [run for run in new if run.data.tags["stage"] in ("prepare_data", "train_gan", "train_classifier")]
    assert fits
    assert all("reused_from" in run.data.tags for run in fits), "finished work was done again"
    fault(
        "20 kills (SIGKILL) in a row at random moments of prepare_data, train_gan, generate_synthetic, study and tune",
        f"{deaths} found the process at work, {min(moments):.1f} to {max(moments):.1f} s after its start; each entry "
        f"point then ended with 0, no finished run was lost, no run is RUNNING, {len(verdicts)} registered versions "
        "carry their digest and verify, nothing half-written is left; data sets, weights, scores, predictions and "
        "trials are those of commands that nobody disturbed; the same commands again reuse what there is",
    )
