"""What a store holds of a run, for tests that look for values that are lost or doubled."""


def history(store, run_id: str, name: str) -> list[tuple[int, float]]:
    """Every (step, value) of a metric, also one that is there twice."""
    return sorted((metric.step, metric.value) for metric in store.client.get_metric_history(run_id, name))


def status(store, run_id: str) -> str:
    return store.client.get_run(run_id).info.status
