"""Draw synthetic images from a trained generator."""

from mlproject.cli import Configuration, Next, entry_point


@entry_point(
    own=("synthesis",),
    upstream=("data", "gan"),
    references={
        "generator/checkpoint": "generator: a folder or file, runs:/<id> or models:/nt-gan@alias; "
        "default: the newest one trained on the data that the data section describes",
        "out": "folder to write; default: under run.outputs, named by its content",
    },
    aliases={"num": "synthesis.per_class", "class": "synthesis.class_name"},
)
def main(config: Configuration, generator: str, out: str) -> list[Next]:
    """Draw synthetic images from a trained generator, each with its generator, seed, class and data digest."""
    from mlproject import stages

    with stages.entry_run(config, "generate_synthetic") as run:
        model = stages.resolve_generator(run, config, generator)
        drawn = stages.generate_synthetic(run, config, model, out=out)
    return [Next("train_classifier", "real and these images", {"mix": "hybrid", "synthetic": str(drawn.root)})]


if __name__ == "__main__":
    main()
