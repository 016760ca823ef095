"""Prepare a data set: draw the phantom or import images, split by subject, write one validated manifest."""

from mlproject.cli import Configuration, entry_point


@entry_point(own=("data",), references={"out": "folder to write; default: under run.outputs, named by its content"})
def main(config: Configuration, out: str) -> None:
    """Prepare a data set: draw the phantom or import images, split by subject, write one validated manifest."""
    from mlproject import stages

    with stages.entry_run(config, "prepare_data") as run:
        stages.prepare_data(run, config, out=out)


if __name__ == "__main__":
    main()
