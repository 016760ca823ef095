"""Search the settings of generator and hybrid classifier, and confirm the best on fresh seeds."""

from mlproject.cli import Configuration, Next, entry_point


@entry_point(
    own=("tune",),
    upstream=("data", "gan", "synthesis", "classifier", "evaluation", "fidelity"),
    references={
        "data": "data set: a folder or runs:/<id>; default: the one that the data section describes",
        "out": "folder of the search; default: tune/<name> under run.outputs",
    },
    aliases={"workers": "tune.workers"},
)
def main(config: Configuration, data: str, out: str) -> list[Next]:
    """Search lambda_gp, the synthetic fraction and more on validation; confirm the best on fresh seeds."""
    from mlproject import stages
    from mlproject.stages.tune import tune

    with stages.entry_run(config, "tune") as run:
        tune(run, config, data=data, out=out)
    return []  # it says itself how to have its best settings again


if __name__ == "__main__":
    main()
