"""The whole chain on one seed: data, generator, synthetic images, three classifiers, the comparison."""

from mlproject.cli import Configuration, entry_point


@entry_point(
    own=("data", "gan", "synthesis", "classifier", "evaluation"),
    references={
        "data": "data set: a folder or runs:/<id>; default: the one that the data section describes",
        "out": "folder of the comparison; default: main under run.outputs",
    },
)
def main(config: Configuration, data: str, out: str) -> None:
    """Run the whole chain on one seed and compare classifiers trained on real, synthetic and hybrid images."""
    from mlproject import chain, stages

    with stages.entry_run(config, "main") as run:
        chain.compare_mixes(run, config, data=data, out=out)


if __name__ == "__main__":
    main()
