"""Train a classifier on real, synthetic or hybrid images."""

from mlproject.cli import Configuration, Next, entry_point


@entry_point(
    own=("classifier",),
    upstream=("data", "gan", "synthesis", "evaluation"),
    references={
        "data": "data set: a folder or runs:/<id>; default: the one that the data section describes",
        "synthetic": "synthetic data set: a folder or runs:/<id>; default: drawn from the generator",
        "generator": "generator: a folder or file, runs:/<id> or models:/nt-gan@alias; "
        "default: the newest one trained on the same data and subjects",
    },
    together=True,
)
def main(config: Configuration, data: str, synthetic: str, generator: str) -> list[Next]:
    """Train a classifier on real, synthetic or hybrid images; choose and report on validation."""
    from mlproject import stages

    with stages.entry_run(config, "train_classifier") as run:
        dataset = stages.resolve_data(run, config, data)
        pool = stages.resolve_synthetic(run, config, dataset, synthetic, generator)
        model = stages.train_classifier(run, config, dataset, pool)
    return [Next("eval_classifier", "on the test split; each reading is counted", {"classifier": model.reference})]


if __name__ == "__main__":
    main()
