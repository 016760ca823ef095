"""Train the conditional WGAN-GP on the training split."""

from mlproject.cli import Configuration, Next, entry_point


@entry_point(
    own=("gan",),
    upstream=("data", "fidelity"),
    references={"data": "data set: a folder or runs:/<id>; default: the one that the data section describes"},
    together=True,
)
def main(config: Configuration, data: str) -> list[Next]:
    """Train the conditional WGAN-GP on the training split, and on nothing else."""
    from mlproject import stages

    with stages.entry_run(config, "train_gan") as run:
        generator = stages.train_gan(run, config, stages.resolve_data(run, config, data)).reference
    return [
        Next("eval_gan", "is its class right, does it give training images away?", {"generator": generator}),
        Next("train_classifier", "does it help?", {"mix": "hybrid", "generator": generator}),
    ]


if __name__ == "__main__":
    main()
