"""Evaluate a generator: class fidelity, texture, distances to real images, privacy audit."""

from mlproject.cli import Configuration, Next, entry_point


@entry_point(
    own=("fidelity", "evaluation"),
    upstream=("data", "gan", "classifier"),
    references={
        "generator/checkpoint": "generator: a folder or file, runs:/<id> or models:/nt-gan@alias; default: the newest "
        "one trained on this data",
        "data": "data set: a folder or runs:/<id>; default: the one that the generator was trained on",
    },
)
def main(config: Configuration, generator: str, data: str) -> list[Next]:
    """Evaluate a generator on subjects it never saw, audit its privacy, and tag it with both verdicts."""
    from mlproject import stages

    with stages.entry_run(config, "eval_gan") as run:
        model = stages.resolve_generator(run, config, generator)
        stages.eval_gan(run, config, model, stages.resolve_data(run, config, data, of=model))
    if not model.version:
        return [Next("train_classifier", "does it help?", {"mix": "hybrid", "generator": model.reference})]
    gates = {"name": model.name, "version": model.version, "alias": "approved"}
    return [Next("promote", "an alias for this version, if every gate holds", gates, same_data=False)]


if __name__ == "__main__":
    main()
