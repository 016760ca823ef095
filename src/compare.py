"""Print the comparison of arms from a store."""

from mlproject.cli import Configuration, Next, entry_point


@entry_point(
    own=(),
    references={
        "study": "folder of a study or runs:/<id>; default: the newest finished study, or every evaluated classifier"
    },
)
def main(config: Configuration, study: str) -> list[Next]:
    """Print arms and contrasts of a finished study, or without one the test scores of every evaluated classifier."""
    from mlproject import tracking
    from mlproject.stages.compare import compare

    compare(tracking.open_store(config.run.experiment), study)
    return [Next("verify_models", "are the models still what was registered?")]


if __name__ == "__main__":
    main()
