"""The study as a user runs it: the same tables however it is run, no fit twice, and a failure that takes none along."""

import json
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import desks
import pandas as pd
import pytest

pytestmark = pytest.mark.slow

CHANGES = {
    "study": {
        "subjects": "6, 10",
        "seeds": 2,
        "primary": "hybrid_0.5_add - real_augmented @ 6",
        "gan_steps": 0,
        "classifier_steps": 0,
        "trials": 2,
        "unseen_site_subjects": 8,
    }
}
TABLES = ("scores.csv", "predictions.csv", "generators.csv", "shortcuts.csv", "features.csv")


class Desk(desks.Desk):
    """A folder for studies."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, CHANGES)

    def start(self, entry_point: str, *options: str) -> subprocess.Popen:
        # the tables are there before a test looks in while the study starts: two that make them get in each other's way
        self.client.search_experiments()
        return self.launch(entry_point, options)

    def run(self, entry_point: str, *options: str, code: int = 0) -> str:
        return self.finish(self.start(entry_point, *options), code)

    def fits(self) -> Counter:
        """How often each piece of work was really done to its end."""
        return self.counted([run for run in self.done() if run.data.tags["stage"] != "study"])

    def tables(self) -> dict[str, bytes]:
        (folder,) = (self.folder / "outputs" / "study").iterdir()
        return {name: (folder / name).read_bytes() for name in TABLES}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Desk:
    """The study run through, one cell at a time; what it printed is in `printed`."""
    desk = Desk(tmp_path_factory.mktemp("desk"))
    desk.printed = desk.run("study")
    return desk


def test_the_folder_holds_the_contract(finished) -> None:
    (folder,) = (finished.folder / "outputs" / "study").iterdir()
    design = json.loads((folder / "design.json").read_text())
    assert design["data_kind"] == "phantom_not_clinical"
    assert design["primary"] == {"arm": "hybrid_0.5_add", "reference": "real_augmented", "subjects": 6, "metric": "auc"}
    assert design["counts"]["train"]["subjects"] == [6, 10]
    assert (design["counts"]["test_subjects"], design["counts"]["unseen_site_subjects"]) == (8, 8)
    scores = pd.read_csv(folder / "scores.csv")
    assert set(scores["arm"]) == set(design["arms"])
    assert len(scores[(scores["metric"] == "auc") & (scores["split"] == "test")]) == 2 * 2 * 4
    predictions = pd.read_csv(folder / "predictions.csv")
    # 8 validation, 8 test and 8 subjects of the unseen site, one frame each, for each of 16 fits
    assert predictions.groupby(["split", "site"]).size().unstack(fill_value=0).loc["test", "C"] == 16 * 8
    assert (predictions["split"] == "val").sum() == 16 * 8
    runs = pd.read_csv(folder / "runs.csv")
    assert runs["run_id"].notna().all()
    assert {path.name for path in (folder / "images").glob("*.png")} == {
        "real-normal.png", "real-anomalous.png", "synthetic-normal.png", "synthetic-anomalous.png",
    }  # fmt: skip
    assert (folder / "report.html").is_file()


def test_every_fit_is_nested_and_the_study_is_logged(finished) -> None:
    (parent,) = finished.runs(stage="study")
    nested = finished.runs(**{"mlflow.parentRunId": parent.info.run_id})
    stages = Counter(run.data.tags["stage"] for run in nested)
    # trial "none" of real_augmented is the arm real again, as a run that stands for it
    assert stages == {
        "prepare_data": 2, "train_gan": 4, "generate_synthetic": 4, "train_classifier": 4 * 5, "eval_classifier": 4 * 4,
    }  # fmt: skip
    assert max(finished.fits().values()) == 1
    logged = {item.path for item in finished.client.list_artifacts(parent.info.run_id, "study")}
    assert {"study/report.html", "study/scores.csv", "study/design.json"} <= logged
    assert "fits: 4 generators, 16 classifiers, 16 evaluations" in finished.printed
    assert "expected time: " in finished.printed


def test_no_alias_of_the_registry_moves(finished) -> None:
    for name in ("nt-gan", "nt-classifier"):
        assert finished.client.search_model_versions(f"name = '{name}'")
        assert finished.client.get_registered_model(name).aliases == {}


def test_test_is_read_once_for_each_model(finished) -> None:
    readings = [
        run for run in finished.runs(stage="eval_classifier") if "reused_from" not in run.data.tags
    ]  # fmt: skip
    assert len({run.data.tags["classifier_digest"] for run in readings}) == len(readings)


def test_compare_prints_the_newest_study(finished) -> None:
    printed = finished.run("compare")
    assert "hybrid_0.5_add - real_augmented (primary)" in printed
    assert (
        finished.printed.split("paired differences")[1].splitlines()[1:4]
        == (printed.split("paired differences")[1].splitlines()[1:4])
    )


def test_again_nothing_is_repeated_and_the_bytes_are_the_same(finished) -> None:
    tables, fits = finished.tables(), finished.fits()
    (folder,) = (finished.folder / "outputs" / "study").iterdir()
    (folder / "audit.json").write_text("of another study")
    printed = finished.run("study")
    assert not (folder / "audit.json").exists()
    assert "nothing is left to fit" in printed
    assert finished.fits() == fits
    assert finished.tables() == tables


def test_killed_at_two_cells_at_a_time_and_started_again(finished, tmp_path) -> None:
    desk = Desk(tmp_path)
    process = desk.start("study", "--workers", "2")
    end = time.monotonic() + 900
    while time.monotonic() < end:
        if (desk.folder / "mlflow.db").exists() and process.poll() is None:
            done = [run for run in desk.runs(stage="train_classifier") if run.info.status == "FINISHED"]
            if len(done) >= 4:
                break
        assert process.poll() is None, process.communicate()[0][-3000:]
        time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {key for key, count in desk.fits().items() if count}
    printed = desk.run("study", "--workers", "2")
    assert "are finished" in printed
    assert max(desk.fits().values()) == 1, "a finished fit was repeated"
    assert before < set(desk.fits())
    assert not [run for run in desk.runs() if run.info.status == "RUNNING" and "stage.key" in run.data.tags]
    # neither the kill nor the number of processes shows in the results
    assert desk.tables() == finished.tables()


def test_one_failing_fit_takes_no_other_along(finished, tmp_path) -> None:
    desk = Desk(tmp_path)
    # weights that are not there fail every classifier, not the generator or its images
    printed = desk.run(
        "study", "--seeds", "1", "--subjects", "10", "--primary", "hybrid_0.5_add - real_augmented",
        "--classifier.weights", str(tmp_path / "none.safetensors"), code=2,
    )  # fmt: skip
    assert "train_gan, " in printed
    assert printed.count("FAILED") == 4
    assert "error: study: 4 of 6 pieces of work failed" in printed
    generators = [run for run in desk.runs(stage="train_gan") if run.info.status == "FINISHED"]
    assert len(generators) == 1


def test_imposed_imbalance_and_its_arms(tmp_path) -> None:
    desk = Desk(tmp_path)
    desk.run(
        "study", "--seeds", "1", "--subjects", "10", "--imbalance", "0.2",
        "--arms", "real_augmented, oversample_real, oversample_synthetic, hybrid_tuned",
        "--primary", "oversample_synthetic - oversample_real",
    )  # fmt: skip
    (folder,) = (desk.folder / "outputs" / "study").iterdir()
    counts = json.loads((folder / "design.json").read_text())["counts"]["train"]
    assert counts["anomalous_images"][0] <= 0.5 * (counts["images"][0] - counts["anomalous_images"][0])
    assert set(pd.read_csv(folder / "scores.csv")["arm"]) == {
        "real_augmented", "oversample_real", "oversample_synthetic", "hybrid_tuned",
    }  # fmt: skip
    # the generator saw what the classifiers saw
    (generator,) = desk.runs(stage="train_gan")
    assert generator.data.params["gan.anomalous_share"] == "0.2"
