"""The tracking store, its runs and the output folder."""

import signal
import sqlite3
import time

import pytest
from starter import Started, leftovers
from workshops import unfinished_runs, wait_until

from mlproject.data.manifest import load_dataset
from mlproject.lost_runs import PROCESS_TAG

pytestmark = pytest.mark.slow

PROCESSES = 8


def runs_of(workshop):
    experiment = workshop.client.get_experiment_by_name("nt-synthetic")
    return workshop.client.search_runs([experiment.experiment_id], max_results=1000)


def running_in(workshop) -> int:
    """Runs that say RUNNING, looked up without MLflow, which would make the tables beside the process watched."""
    try:
        with sqlite3.connect(f"file:{workshop.folder}/mlflow.db?mode=ro", uri=True) as database:
            return database.execute("SELECT count(*) FROM runs WHERE status = 'RUNNING'").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def test_eight_processes_start_on_a_fresh_store(desk, fault):
    """They also write one and the same data set folder."""
    pictures = ("--data.path", str(desk.folder / "pictures"))
    started = [Started(desk, "prepare_data", *pictures) for _ in range(PROCESSES)]
    assert [process.wait() for process in started] == [0] * PROCESSES, started[0].printed()[-3000:]
    runs = runs_of(desk)
    assert [run.info.status for run in runs] == ["FINISHED"] * PROCESSES
    assert len({run.data.tags["data_digest"] for run in runs}) == 1
    (folder,) = (path for path in (desk.folder / "outputs" / "data").iterdir())
    assert load_dataset(folder).digest == runs[0].data.tags["data_digest"]
    assert leftovers(desk.folder) == []
    reused = sum("reused_from" in run.data.tags for run in runs)
    seen = f"all 8 ended with 0; one experiment, 8 runs FINISHED, {reused} of them reuse; one data set, one digest"
    fault("eight processes start on a fresh store at once and make the same data set", seen)


def test_two_trainings_on_one_output_folder(prepared, fault):
    steps = ("--data", str(prepared.folder / "set"), "--steps", "60")
    first = Started(prepared, "train_gan", *steps)
    assert wait_until(lambda: list(prepared.folder.glob("outputs/work/*/metrics.jsonl")), first), first.printed()
    first.send_signal(signal.SIGSTOP)
    second = Started(prepared, "train_gan", *steps)
    assert second.wait() == 2
    first.send_signal(signal.SIGCONT)
    assert first.wait() == 0
    told = second.error()
    assert "is in use: another process runs the same train_gan" in told
    trained = {run.info.status: run for run in runs_of(prepared) if run.data.tags["stage"] == "train_gan"}
    assert set(trained) == {"FINISHED", "FAILED"}
    history = prepared.client.get_metric_history(trained["FINISHED"].info.run_id, "gan.critic_loss")
    assert sorted(entry.step for entry in history) == list(range(1, 61))
    fault(
        "two runs of one training on one output folder",
        f"the second ended with 2: “{told.partition(' is ')[2]}”; the first finished with all 60 steps",
    )


def test_the_next_start_ends_runs_whose_process_is_gone(prepared, fault):
    started = Started(prepared, "train_gan", "--data", str(prepared.folder / "set"))
    assert wait_until(lambda: running_in(prepared), started), started.printed()
    assert started.kill()
    # beside it: one that another machine works on, and two of `mlflow run` that no process has taken up
    client, experiment = prepared.client, prepared.client.get_experiment_by_name("nt-synthetic").experiment_id
    (killed,) = [run for run in runs_of(prepared) if run.info.status == "RUNNING"]
    hour = 3600 * 1000
    now = int(time.time() * 1000)
    other = {"elsewhere": ({PROCESS_TAG: "elsewhere:1:1.00"}, 48), "new": ({}, 1), "forgotten": ({}, 25)}
    made = {}
    for name, (tags, hours) in other.items():
        tags = tags or {"mlflow.project.entryPoint": "train_gan"}
        made[name] = client.create_run(experiment, now - hours * hour, tags, run_name=name).info.run_id
    prepared.succeed("prepare_data", "--data.path", str(prepared.folder / "pictures"))
    assert client.get_run(killed.info.run_id).info.status == "KILLED"
    assert sorted(unfinished_runs(prepared)) == ["elsewhere", "new"]
    assert client.get_run(made["forgotten"]).info.status == "KILLED"
    begun = "after" if "stage.key" in killed.data.tags else "before"
    fault(
        "kill -9 of a run, and a run of `mlflow run` that no process ever took up",
        f"killed {begun} its stage began; the next start of another entry point gave it the status KILLED, as it did "
        "with a run that nobody had taken up for 25 hours; a run of another machine and one of an hour ago were left",
    )
