"""The whole chain on one seed: data, generator, synthetic images, three classifiers, the comparison."""

from mlproject.cli import Configuration, Next, entry_point


@entry_point(
    own=("data", "gan", "synthesis", "classifier", "evaluation"),
    references={
        "data": "data set: a folder or runs:/<id>; default: the one that the data section describes",
        "out": "folder of the comparison; default: main under run.outputs",
    },
    together=True,
)
def main(config: Configuration, data: str, out: str) -> list[Next]:
    """Run the whole chain on one seed and compare classifiers trained on real, synthetic and hybrid images."""
    from mlproject import chain, stages
    from mlproject.stages.own_images import study_options

    with stages.entry_run(config, "main") as run:
        chain.compare_mixes(run, config, data=data, out=out)
        if data.startswith("runs:/"):
            return []
        # a study makes its data sets itself, one for each seed: of a prepared one it takes the images
        images = study_options(run.store, config, data) if data else {}
    return [Next("study", "is the difference more than chance? several seeds and a report", images, same_data=not data)]


if __name__ == "__main__":
    main()
