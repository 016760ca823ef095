"""Every entry point through `mlflow run`, as a user types it, on a real sqlite store in a temporary folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from mlproject.config import PROJECT_ROOT

METRICS = {"accuracy", "precision", "recall", "f1", "auc"}


class Desk:
    """A user's folder: the store is made there, and commands are typed there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = f"sqlite:///{folder}/mlflow.db"
        self.client = mlflow.MlflowClient(self.store, self.store)

    def run(self, entry_point: str, config: str = "smoke.yaml", **parameters: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "mlflow", "run", str(PROJECT_ROOT), "-e", entry_point]
        command += ["--env-manager", "local", "--experiment-name", "desk"]
        given = {
            "config": str(PROJECT_ROOT / "configs" / config),
            "outputs": str(self.folder / "outputs"),
            **parameters,
        }
        for key, value in given.items():
            command += ["-P", f"{key}={value}"]
        environment = os.environ | {
            "MLFLOW_TRACKING_URI": self.store,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        return subprocess.run(command, capture_output=True, text=True, cwd=self.folder, env=environment)

    def newest(self, entry_point: str) -> mlflow.entities.Run:
        experiment = self.client.get_experiment_by_name("desk")
        wanted = f"tags.`mlflow.project.entryPoint` = '{entry_point}'"
        return self.client.search_runs([experiment.experiment_id], wanted, max_results=1)[0]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """One store for the module: the entry points build on one another, as they do for a user."""
    desk = Desk(tmp_path_factory.mktemp("desk"))
    done = desk.run("main", out=str(desk.folder / "outputs" / "demo"))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    desk.printed = done.stdout + done.stderr
    return desk


def succeed(desk: Desk, entry_point: str, **parameters: str) -> mlflow.entities.Run:
    done = desk.run(entry_point, **parameters)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    run = desk.newest(entry_point)
    assert run.info.status == "FINISHED"
    return run


def test_main_compares_the_three_mixes(desk) -> None:
    summary = json.loads((desk.folder / "outputs" / "demo" / "summary.json").read_text())
    assert set(summary) == {"real", "synthetic", "hybrid"}
    for metrics in summary.values():
        assert set(metrics) >= METRICS
        for entry in metrics.values():
            assert entry["ci_low"] <= entry["value"] <= entry["ci_high"]
    for mix in summary:
        assert mix in desk.printed


def test_main_is_a_parent_of_every_stage(desk) -> None:
    parent = desk.newest("main")
    children = desk.client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    )
    stages = sorted(child.data.tags["stage"] for child in children)
    assert stages == ["eval_classifier"] * 3 + ["generate_synthetic", "prepare_data"] + ["train_classifier"] * 3 + [
        "train_gan"
    ]
    assert {child.info.status for child in children} == {"FINISHED"}


def test_the_three_mixes_carry_the_same_metric_keys_and_test_only_in_evaluation(desk) -> None:
    parent = desk.newest("main")
    children = desk.client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    )
    for stage, prefix in (("train_classifier", "val."), ("eval_classifier", "test.")):
        keys = [set(child.data.metrics) for child in children if child.data.tags["stage"] == stage]
        assert keys[0] == keys[1] == keys[2]
        assert {f"{prefix}{metric}{end}" for metric in METRICS for end in ("", ".ci_low", ".ci_high")} <= keys[0]
        if stage == "train_classifier":
            assert not any(key.startswith("test.") for key in keys[0])


def test_models_are_registered_with_digest_provenance_and_aliases(desk) -> None:
    for name, alias in (("nt-gan", "champion"), ("nt-classifier", "hybrid"), ("nt-classifier", "champion")):
        version = desk.client.get_model_version_by_alias(name, alias)
        assert len(version.tags["sha256"]) == 64
        assert {"data_digest", "git_commit", "git_dirty", "seed", "data_kind"} <= set(version.tags)
        assert version.tags["data_kind"] == "phantom_not_clinical"


def test_prepare_data_again_is_reused(desk) -> None:
    run = succeed(desk, "prepare_data")
    assert "reused_from" in run.data.tags
    assert desk.client.list_artifacts(run.info.run_id) is not None


def test_train_gan_with_another_penalty_is_new_work(desk) -> None:
    run = succeed(desk, "train_gan", lambda_gp="5")
    assert "reused_from" not in run.data.tags
    assert run.data.params["gan.lambda_gp"] == "5.0"
    logged = {"critic_loss", "wasserstein", "gradient_penalty", "gradient_norm", "generator_loss", "images_per_second"}
    assert {f"gan.{key}" for key in logged} <= set(run.data.metrics)
    history = desk.client.get_metric_history(run.info.run_id, "gan.critic_loss")
    assert sorted(entry.step for entry in history) == [1, 2, 3, 4]


def test_eval_gan_measures_audits_and_tags_the_version(desk) -> None:
    run = succeed(desk, "eval_gan", generator="models:/nt-gan@champion")
    folder = Path(desk.client.download_artifacts(run.info.run_id, "evaluation"))
    report = json.loads((folder / "generator_evaluation.json").read_text())
    found = report["distribution"]["lite0"]["all"]["kid"]
    assert found["low"] <= found["value"] <= found["high"]
    assert found["value"] > found["floor"]["high"], "four steps make no ultrasound"
    assert report["audit"]["verdict"] in ("passed", "undecided")
    assert run.data.metrics["fidelity.lite0.all.kid"] == pytest.approx(found["value"])
    taught = {"fidelity.tstr_auc", "fidelity.tstr_auc.training", "fidelity.tstr_auc.training.ci_low"}
    assert taught | {"fidelity.synthetic.recall_normal", "audit.pixels.attack_auc"} <= set(run.data.metrics)
    figures = {Path(item.path).name for item in desk.client.list_artifacts(run.info.run_id, "figures")}
    assert {"texture.png", "closest_pairs_pixels.png", "distances_features.png"} <= figures
    version = desk.client.get_model_version_by_alias("nt-gan", "champion")
    assert version.tags["audit"] in ("pass", "undecided")
    assert "conditioning_ignored" in version.tags["conditioning"], "four steps know no class"
    # what eval_gan found is what stands between the version and an alias
    refused = desk.run("promote", name="nt-gan", version=version.version, alias="staging")
    assert refused.returncode != 0
    assert "images show the class that was asked for" in refused.stdout + refused.stderr
    assert "reused_from" in succeed(desk, "eval_gan", generator="models:/nt-gan@champion").data.tags


def test_generate_synthetic_takes_an_undeclared_option(desk) -> None:
    out = desk.folder / "drawn"
    run = succeed(desk, "generate_synthetic", class_name="anomalous", per_class="5", out=str(out))
    assert run.info.status == "FINISHED"
    assert len(list((out / "images").rglob("*.png"))) == 5


def test_train_classifier_hybrid_with_nothing_else(desk) -> None:
    run = succeed(desk, "train_classifier", mix="hybrid", synthetic_fraction="0.25")
    assert run.data.params["classifier.synthetic_fraction"] == "0.25"
    assert run.inputs.dataset_inputs, "the data set is an input of the run"


def test_eval_classifier_counts_its_readings_of_test(desk) -> None:
    before = succeed(
        desk, "eval_classifier", config="smoke.yaml", classifier="models:/nt-classifier@hybrid", reuse="false"
    )
    after = succeed(
        desk, "eval_classifier", config="smoke.yaml", classifier="models:/nt-classifier@hybrid", reuse="false"
    )
    assert after.data.metrics["test.readings"] == before.data.metrics["test.readings"] + 1


def test_a_few_steps_of_the_thesis_settings(desk) -> None:
    run = succeed(
        desk, "train_gan", config="thesis.yaml", epochs="0", steps="2", log_every="1",
        **{"data.n_train": "8", "data.n_val": "6", "data.n_test": "6"},
    )  # fmt: skip
    assert run.data.params["gan.architecture"] == "dcgan"
    assert run.data.params["gan.critic_steps"] == "5"


def test_a_mistake_under_mlflow_run_leaves_no_run_running(desk) -> None:
    done = desk.run("train_classifier", mix="both")
    assert done.returncode == 1  # MLflow turns our exit code 2 into its own
    assert "classifier.mix: 'both' is not one of real, synthetic, hybrid" in done.stderr
    experiment = desk.client.get_experiment_by_name("desk")
    running = desk.client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'")
    assert running == []
