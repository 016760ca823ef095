"""System metrics: handed to the run that was sampled, and nobody waits for them."""

import time

import pytest

from mlproject import tracking
from mlproject.config import load_config
from mlproject.system_metrics import sampled


@pytest.fixture(autouse=True)
def turned_on(monkeypatch):
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")


def test_an_entry_point_s_run_has_samples_and_one_that_stands_for_it_has_none(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    store = tracking.open_store("desk")
    with tracking.entry_run(store, "predict", load_config()) as run:
        run.report(0, {"predict.images": 3.0})
        time.sleep(1)
    found = store.metrics_of(run.id)
    assert 0 <= found["system/cpu_utilization_percentage"] <= 100
    assert 0 < found["system/system_memory_usage_percentage"] <= 100
    history = store.history_of(run.id, "system/cpu_utilization_percentage")
    assert list(history) == list(range(len(history)))
    assert len(history) >= 2
    # children are parts of it
    with tracking.entry_run(store, "main", load_config()) as parent, parent.child("predict", load_config()) as child:
        child.finish_as_reused(run.id)
    assert store.metrics_of(child.id) == {"predict.images": 3.0}


def test_a_short_block_has_one_sample_and_ends_at_once(monkeypatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "600")
    noted = []
    start = time.monotonic()
    with pytest.raises(KeyError), sampled(lambda number, values: noted.append((number, values))):
        raise KeyError
    assert time.monotonic() - start < 60
    assert [number for number, _ in noted] == [0]


def test_turned_off_it_does_nothing(monkeypatch):
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    noted = []  # a failure in the thread that samples would not be one of the test
    with sampled(lambda number, values: noted.append(number)):
        time.sleep(0.1)
    assert noted == []
