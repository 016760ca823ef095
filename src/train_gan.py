"""Train the conditional WGAN-GP on the training split."""

from mlproject.cli import Configuration, entry_point


@entry_point(
    own=("gan",),
    upstream=("data", "fidelity"),
    references={"data": "data set: a folder or runs:/<id>; default: the one that the data section describes"},
)
def main(config: Configuration, data: str) -> None:
    """Train the conditional WGAN-GP on the training split, and on nothing else."""
    from mlproject import stages

    with stages.entry_run(config, "train_gan") as run:
        stages.train_gan(run, config, stages.resolve_data(run, config, data))


if __name__ == "__main__":
    main()
