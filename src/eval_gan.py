"""Evaluate a generator: class fidelity, texture, distances to real images, privacy audit."""

from mlproject.cli import Configuration, entry_point


@entry_point(
    own=("fidelity", "evaluation"),
    upstream=("data", "gan", "classifier"),
    references={
        "generator/checkpoint": "generator: a folder or file, runs:/<id> or models:/nt-gan@alias; default: the newest "
        "one trained on this data",
        "data": "data set: a folder or runs:/<id>; default: the one that the generator was trained on",
    },
)
def main(config: Configuration, generator: str, data: str) -> None:
    """Evaluate a generator on subjects it never saw, audit its privacy, and tag it with both verdicts."""
    from mlproject import stages

    with stages.entry_run(config, "eval_gan") as run:
        model = stages.resolve_generator(run, config, generator)
        stages.eval_gan(run, config, model, stages.resolve_data(run, config, data, of=model))


if __name__ == "__main__":
    main()
